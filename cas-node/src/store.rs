//! A node's directory, open: opens it, locks it, starts the writer, and says what else can be asked than a [`cas_net::Node`] answers.
//!
//! Promise: one process writes to it, or some read. An open for reading writes nothing, and reads what one for writing reads: the
//! saved index, and of the segments what came after it.

use crate::answers::MAX_PUT_BYTES;
use crate::disk::Disk;
use crate::files::Files;
use crate::index::{Places, Position, Region};
use crate::latency::Latency;
use crate::listing;
use crate::options::{MAX_SEGMENT_BYTES, Options};
use crate::order::{Answer, Order};
use crate::replay::{self, Replayed};
use crate::reserve::Reserve;
use crate::scrub;
use crate::segment::SEGMENT_HEADER;
use crate::shared::Shared;
use crate::state::State;
use crate::writer::{self, Limits, Writer};
use cas_core::id::{BlockId, Epoch, PublicKey};
use cas_core::signing::SigningKey;
use cas_net::{Grant, PendingReceipt, Receipt, Result, ServiceError, StoredBlock};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A local store of blocks. Dropping it loses nothing, but only [`cas_net::Node::close`] ends it cleanly.
pub struct Store {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) index: PublicKey,
    pub(crate) soft_free: u64,
    pub(crate) shared: Arc<Shared>,
    /// One compaction at a time.
    pub(crate) compacting: Mutex<()>,
    /// The grant that was verified last.
    pub(crate) trusted: Mutex<Option<Grant>>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    rebuilt: bool,
    _lock: Option<File>,
}

impl Store {
    /// Opens the store in a directory; makes it if there is none.
    ///
    /// Errors: `Busy` if another process writes to it (or, for writing, has it open at all), `Version`, `Damaged` if a segment has
    /// the name of another, `Io`. Damage inside of segments is no error: see [`Self::regions`].
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let (disk, read_only) = (options.disk.clone(), options.read_only);
        if !read_only {
            make_folders(dir, &*disk)?;
        }
        let lock = lock(dir, read_only)?;
        let files = Files::new(disk.clone(), dir.join("segments"), options.seed);
        let reserve = Reserve::new(disk.clone(), dir, options.reserve);
        let (state, replayed) = read_state(dir, &files, disk, read_only)?;
        let rebuilt = replayed.saved.is_none() && replayed.has_gaps;
        let mut store = Self {
            key: Arc::new(SigningKey::from_seed(&options.seed)),
            index: options.index,
            soft_free: options.soft_free,
            shared: Arc::new(Shared::new(files, reserve, state)),
            compacting: Mutex::default(),
            trusted: Mutex::new(None),
            orders: None,
            thread: None,
            rebuilt,
            _lock: lock,
        };
        if !read_only {
            store.shared.reserve.settle(store.stored());
            store.start_writer(replayed, &options)?;
        }
        Ok(store)
    }

    fn start_writer(&mut self, replayed: Replayed, options: &Options) -> Result<()> {
        let shared = self.shared.clone();
        let (position, file, salt) = match replayed.position {
            Some((position, salt)) => {
                let path = shared.files.path(position.segment);
                let file = shared.files.disk().open(&path);
                (position, file.map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?, salt)
            }
            None => {
                let number = replayed.highest.map_or(0, |highest| highest + 1);
                let (file, salt) = writer::create(&shared, number)?;
                shared.write().places.usage.entry(number).or_default().total = SEGMENT_HEADER;
                (Position { segment: number, offset: SEGMENT_HEADER, group: 0, ended: false }, file, salt)
            }
        };
        let limits = Limits {
            group_bytes: options.group_bytes.min(MAX_PUT_BYTES),
            segment_bytes: options.segment_bytes.min(MAX_SEGMENT_BYTES),
            fresh: options.fresh,
        };
        let (key, unsaved, checkpoint_at) = (self.key.clone(), replayed.records, limits.fresh);
        let Replayed { saved, dead, .. } = replayed;
        let writer = Writer { shared, key, limits, file, salt, position, saved, dead, unsaved, checkpoint_at };
        let (orders, received) = channel();
        let spawned = std::thread::Builder::new().name("node-writer".into()).spawn(move || writer.run(&received));
        self.thread = Some(spawned.map_err(|e| ServiceError::io("start the writer", e))?);
        self.orders = Some(orders);
        Ok(())
    }

    /// Releases the room that is kept for a full disk, to whoever writes next: for an index beside it that finds none. It is
    /// taken back when the store goes. Answers the bytes; none if it was released before, or the store is read-only.
    pub fn release_reserve(&self) -> u64 {
        if self.orders.is_some() { self.shared.reserve.release() } else { 0 }
    }

    /// Makes deletes of a partition at or below `epoch` void, durably: what is listed afterwards counts. DESIGN §7.1.
    pub fn set_floor(&self, partition: u16, epoch: Epoch) -> Result<()> {
        self.ask(|answer| Order::Floor { partition, epoch, answer })
    }

    /// The same for several partitions, in as few groups as that takes.
    pub fn set_floors(&self, partitions: &[u16], epoch: Epoch) -> Result<()> {
        let (answer, answered) = sync_channel(partitions.len());
        for partition in partitions {
            self.order(Order::Floor { partition: *partition, epoch, answer: answer.clone() })?;
        }
        drop(answer);
        partitions.iter().try_for_each(|_| answered.recv().unwrap_or_else(|_| Err(gone())))
    }

    /// Bytes that it can still take on its disk.
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub fn free_bytes(&self) -> Result<u64> {
        let folder = self.shared.files.folder();
        let free = self.shared.files.disk().free_bytes(folder);
        let free = free.map_err(|e| ServiceError::io(format!("look at {}", folder.display()), e))?;
        Ok(free.saturating_sub(self.soft_free))
    }

    /// Whether it still writes.
    ///
    /// # Errors
    /// [`ServiceError::Stopped`] with the reason for which it does not, for good.
    pub fn check(&self) -> Result<()> {
        self.shared.check()
    }

    /// How long syncs take.
    pub fn syncs(&self) -> &Latency {
        &self.shared.syncs
    }

    /// Whether its index was made from the segments alone, and some of those that there once were are gone: by compaction, or they
    /// were lost, and what they held is not known.
    pub fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// At most `limit` blocks of a partition in order of id, behind `after`; none only at its end.
    ///
    /// A page is one moment's truth; all pages together hold every block that was there from the first to the last, none twice. Set a
    /// floor before the first page, and what is listed cannot be deleted by older orders.
    pub fn list_partition(&self, partition: u16, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        listing::list_partition(self, partition, after, limit)
    }

    /// The floor of a partition.
    pub fn floor(&self, partition: u16) -> Epoch {
        self.shared.read().places.floors.get(&partition).copied().unwrap_or_default()
    }

    /// Bytes of segments that are no records though they were written once: what stood there is not known. Blocks known to
    /// have stood there are named by [`cas_net::Node::scrub`]. Reads the headers of all segments.
    pub fn regions(&self) -> Result<Vec<Region>> {
        scrub::regions(self)
    }

    /// Asks the writer and waits for the answer.
    pub(crate) fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T> {
        let (answer, answered) = sync_channel(1);
        self.order(order(answer))?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Whether it was opened for reading only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.orders.is_none()
    }

    /// Bytes of all segments.
    fn stored(&self) -> u64 {
        self.shared.read().places.usage.values().map(|usage| usage.total).sum()
    }

    fn order(&self, order: Order) -> Result<()> {
        let orders = self.orders.as_ref().ok_or_else(|| ServiceError::Denied("the store is open read-only".into()))?;
        self.shared.check()?;
        self.shared.waiting.take(order.bytes());
        orders.send(order).map_err(|_| gone())
    }

    /// Asks the writer for a receipt.
    pub(crate) fn order_receipt(&self, order: impl FnOnce(Answer<Receipt>) -> Order) -> Result<PendingReceipt> {
        let (answer, pending) = PendingReceipt::new();
        self.order(order(answer))?;
        let orders = self.orders.clone();
        Ok(pending.hurried_by(move || {
            let _ = orders.as_ref().map(|orders| orders.send(Order::Hurry));
        }))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            self.shared.reserve.restore(self.stored());
        }
    }
}

/// The state as the cache and the segments say; from the segments alone if the cache does not fit them.
fn read_state(dir: &Path, files: &Files, disk: Arc<dyn Disk>, read_only: bool) -> Result<(State, Replayed)> {
    let (places, known) = Places::open(dir, disk, read_only);
    let mut state = State { places, damaged: Default::default() };
    match replay::replay(files, known, &mut state, read_only) {
        Err(ServiceError::Damaged { what, detail }) if known.is_some() => {
            tracing::warn!("the node's index is made anew: {what}: {detail}");
            state.places.clear(read_only);
            state.damaged.clear();
            let replayed = replay::replay(files, None, &mut state, read_only)?;
            Ok((state, replayed))
        }
        replayed => replayed.map(|replayed| (state, replayed)),
    }
}

/// Makes the directory and that of the segments, durably: what is synced in them is not to go with their names.
fn make_folders(dir: &Path, disk: &dyn Disk) -> Result<()> {
    let segments = dir.join("segments");
    if disk.list(&segments).is_ok() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    let made = disk.create_dir(&segments).and_then(|()| disk.sync_dir(dir));
    let synced = made.and_then(|()| above.map_or(Ok(()), |above| disk.sync_dir(above)));
    synced.map_err(|e| ServiceError::io(format!("create {}", segments.display()), e))
}

/// Locks the directory: for one that writes, or for many that read.
fn lock(dir: &Path, read_only: bool) -> Result<Option<File>> {
    let path = dir.join("lock");
    let opened = match read_only {
        true => OpenOptions::new().read(true).open(&path),
        false => OpenOptions::new().write(true).create(true).truncate(false).open(&path),
    };
    let file = match opened {
        Ok(file) => file,
        // A copy of a store that was never locked there.
        Err(e) if read_only && e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ServiceError::io(format!("open {}", path.display()), e)),
    };
    let how = if read_only { FlockOperation::NonBlockingLockShared } else { FlockOperation::NonBlockingLockExclusive };
    match flock(&file, how) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServiceError::Busy(format!("{} is open elsewhere", dir.display()))),
        Err(e) => Err(ServiceError::io(format!("lock {}", path.display()), e.into())),
    }
}

fn gone() -> ServiceError {
    ServiceError::Stopped("the writer ended".into())
}
