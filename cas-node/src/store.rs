//! The node's store: checks what comes in, finds what is asked for, leaves deciding and writing to the writer.

use crate::disk::Disk;
use crate::files::Files;
use crate::group::Looked;
use crate::index::{Place, Places, Position, Region};
use crate::options::{MAX_SEGMENT_BYTES, Options};
use crate::record::{HEADER_LEN, Record};
use crate::replay::{self, Replayed};
use crate::scrub;
use crate::segment::{MAX_SEGMENT, SEGMENT_HEADER};
use crate::shared::Shared;
use crate::state::State;
use crate::verify::verify;
use crate::writer::{self, Answer, Limits, Order, Writer};
use cas_core::id::{BlockId, DomainId, Epoch, PublicKey, Sum};
use cas_core::limits::MAX_FRAME;
use cas_core::signing::SigningKey;
use cas_net::{
    Delete, Deleted, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result, Scrubbed,
    ServiceError, StoredBlock,
};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Bytes of one put, with [`HEADER_LEN`] for each block.
pub const MAX_PUT_BYTES: usize = 128 << 20;
/// Ids in one offer.
const MAX_OFFER: usize = 1 << 20;
/// Deletes written together.
const DELETE_STEP: usize = 65_536;
/// How often a read looks again because compaction moved the block meanwhile.
const READ_ATTEMPTS: usize = 8;

const _: () = assert!(MAX_FRAME + HEADER_LEN <= MAX_PUT_BYTES);
const _: () = assert!(MAX_OFFER * HEADER_LEN <= MAX_PUT_BYTES);
const _: () = assert!(MAX_SEGMENT_BYTES + 4 * (MAX_PUT_BYTES as u64) < MAX_SEGMENT);

/// A local store of blocks. Dropping it loses nothing, but only [`Node::close`] ends it cleanly.
pub struct Store {
    key: Arc<SigningKey>,
    index: PublicKey,
    soft_free: u64,
    pub(crate) shared: Arc<Shared>,
    /// One compaction at a time.
    pub(crate) compacting: Mutex<()>,
    trusted: Mutex<Option<Grant>>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    _lock: Option<File>,
}

impl Store {
    /// Opens the store in a directory; makes it if there is none.
    ///
    /// Errors: `Busy` if another process writes to it (or, for writing, has it open at all), `Version`, `Damaged` if a segment has
    /// the name of another, `Io`. Damage inside of segments is no error: see [`Self::regions`].
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let (disk, read_only) = (options.disk.clone(), options.read_only);
        let segments = dir.join("segments");
        if !read_only {
            disk.create_dir(&segments).map_err(|e| ServiceError::io(format!("create {}", segments.display()), e))?;
        }
        let lock = lock(dir, read_only)?;
        let files = Files::new(disk.clone(), segments);
        let (state, replayed) = read_state(dir, &files, disk, read_only)?;
        let mut store = Self {
            key: Arc::new(SigningKey::from_seed(&options.seed)),
            index: options.index,
            soft_free: options.soft_free,
            shared: Arc::new(Shared::new(files, state)),
            compacting: Mutex::default(),
            trusted: Mutex::new(None),
            orders: None,
            thread: None,
            _lock: lock,
        };
        if !read_only {
            store.start_writer(replayed, &options)?;
        }
        Ok(store)
    }

    fn start_writer(&mut self, replayed: Replayed, options: &Options) -> Result<()> {
        let shared = self.shared.clone();
        let (position, file) = match replayed.position {
            Some(position) => {
                let path = shared.files.path(position.segment);
                let file = shared.files.disk().open(&path);
                (position, file.map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?)
            }
            None => {
                let number = replayed.highest.map_or(0, |highest| highest + 1);
                let file = writer::create(&shared, number)?;
                shared.write().places.usage.entry(number).or_default().total = SEGMENT_HEADER;
                (Position { segment: number, offset: SEGMENT_HEADER, group: 0, ended: false }, file)
            }
        };
        let limits = Limits {
            group_bytes: options.group_bytes.min(MAX_PUT_BYTES),
            segment_bytes: options.segment_bytes.min(MAX_SEGMENT_BYTES),
            fresh: options.fresh,
        };
        let (key, unsaved, checkpoint_at) = (self.key.clone(), replayed.records, limits.fresh);
        let Replayed { saved, dead, .. } = replayed;
        let writer = Writer { shared, key, limits, file, position, saved, dead, unsaved, checkpoint_at };
        let (orders, received) = channel();
        let spawned = std::thread::Builder::new().name("node-writer".into()).spawn(move || writer.run(&received));
        self.thread = Some(spawned.map_err(|e| ServiceError::io("start the writer", e))?);
        self.orders = Some(orders);
        Ok(())
    }

    /// Makes deletes of a partition at or below `epoch` void, durably: what is listed afterwards counts. DESIGN §7.1.
    pub fn set_floor(&self, partition: u16, epoch: Epoch) -> Result<()> {
        self.ask(|answer| Order::Floor { partition, epoch, answer })
    }

    /// The floor of a partition.
    pub fn floor(&self, partition: u16) -> Epoch {
        self.shared.read().places.floors.get(&partition).copied().unwrap_or_default()
    }

    /// Bytes of segments that are no records though they were written once: what stood there is not known. Blocks known to
    /// have stood there are named by [`Node::scrub`]. Reads the headers of all segments.
    pub fn regions(&self) -> Result<Vec<Region>> {
        scrub::regions(self)
    }

    /// Asks the writer and waits for the answer.
    pub(crate) fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T> {
        let (answer, answered) = sync_channel(1);
        self.order(order(answer))?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    fn order(&self, order: Order) -> Result<()> {
        let orders = self.orders.as_ref().ok_or_else(|| ServiceError::Denied("the store is open read-only".into()))?;
        self.shared.check()?;
        self.shared.waiting.take(order.bytes());
        orders.send(order).map_err(|_| gone())
    }

    /// Asks the writer for a receipt.
    fn order_receipt(&self, order: impl FnOnce(Answer<Receipt>) -> Order) -> Result<PendingReceipt> {
        let (answer, pending) = PendingReceipt::new();
        self.order(order(answer))?;
        let orders = self.orders.clone();
        Ok(pending.hurried_by(move || {
            let _ = orders.as_ref().map(|orders| orders.send(Order::Hurry));
        }))
    }

    fn check_grant(&self, grant: &Grant) -> Result<()> {
        let mut trusted = self.trusted.lock().expect("no thread panics with this lock");
        if trusted.as_ref() != Some(grant) {
            if !grant.is_from(&self.index) {
                return Err(ServiceError::Denied("the grant is not signed by this node's index".into()));
            }
            *trusted = Some(*grant);
        }
        Ok(())
    }

    fn check_space(&self) -> Result<()> {
        let folder = self.shared.files.folder();
        let Ok(free) = self.shared.files.disk().free_bytes(folder) else { return Ok(()) };
        let free = free.saturating_sub(self.shared.waiting.bytes() as u64);
        if free >= self.soft_free {
            return Ok(());
        }
        let detail = format!("{free} bytes are free, {} are kept for deleting and compacting", self.soft_free);
        Err(ServiceError::Full { what: format!("the disk of {}", folder.display()), detail })
    }

    fn places(&self, ids: impl Iterator<Item = BlockId>) -> Result<Vec<Option<Place>>> {
        let state = self.shared.read();
        ids.map(|id| state.places.get(&id)).collect()
    }

    /// What a receipt can say of a block that lies here; nothing if its bytes are known to be wrong.
    fn look(&self, id: &BlockId, place: &Place) -> Looked {
        let is_damaged = self.shared.read().is_damaged(id, place.at);
        let received = if is_damaged { None } else { self.shared.files.received(id, place).ok() };
        Looked { at: place.at, good: received }
    }

    /// The same under a grant to replace: bytes are kept only if they verify and are the same as the new ones. The index gives
    /// such a grant when a block was found bad, be it that its bytes rotted or that they are well kept rubbish.
    fn look_to_replace(&self, block: &PutBlock, place: &Place) -> Looked {
        let good = self.shared.files.read(&block.id, place).ok().filter(|(record, _)| record.sum == block.sum);
        let received = |(record, _): (Record, Vec<u8>)| Received {
            id: block.id,
            kind: place.kind,
            sum: record.sum,
            len: record.len,
        };
        Looked { at: place.at, good: good.map(received) }
    }

    fn not_here(&self, id: &BlockId) -> ServiceError {
        match self.shared.read().damaged.get(id) {
            Some(damaged) => ServiceError::Damaged { what: format!("block {id}"), detail: damaged.why.clone() },
            None => ServiceError::NotFound { what: "block", name: id.to_string() },
        }
    }

    fn list_with_headers(&self, listed: Vec<(BlockId, Place)>) -> Vec<StoredBlock> {
        let mut order: Vec<usize> = (0..listed.len()).collect();
        order.sort_unstable_by_key(|i| listed[*i].1.at);
        // A record that cannot be read any more is listed with an empty sum: whoever compares sees that it is damaged.
        let unread = |(id, place): &(BlockId, Place)| StoredBlock {
            id: *id,
            domain: DomainId::ZERO,
            kind: place.kind,
            sum: Sum::ZERO,
            len: place.len,
            put_epoch: place.put_epoch,
        };
        let mut stored: Vec<StoredBlock> = listed.iter().map(unread).collect();
        for i in order {
            let (id, mut place) = listed[i];
            let mut header = self.shared.files.header(&id, &place);
            if header.is_err()
                && let Ok(Some(now)) = self.shared.read().places.get(&id)
                && now.at != place.at
            {
                place = now;
                header = self.shared.files.header(&id, &place);
            }
            if let Ok(header) = header {
                (stored[i].domain, stored[i].sum) = (header.domain, header.sum);
            }
        }
        stored
    }
}

impl Node for Store {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        self.check_grant(grant)?;
        if ids.len() > MAX_OFFER {
            return Err(ServiceError::Denied(format!("{} blocks are offered, {MAX_OFFER} may be at once", ids.len())));
        }
        let places = self.places(ids.iter().copied())?;
        // What shall be replaced is wanted: only with the new bytes at hand can be told whether it must be.
        let here = ids.iter().zip(&places).enumerate().filter(|_| !grant.replace);
        let looked = here.filter_map(|(i, (id, place))| Some((i, *id, self.look(id, place.as_ref()?))));
        let held: Vec<(usize, BlockId, Looked)> = looked.filter(|(_, _, looked)| looked.good.is_some()).collect();
        let mut wanted = vec![true; ids.len()];
        if held.is_empty() {
            let (answer, pending) = PendingReceipt::new();
            let _ = answer.send(Ok(Receipt::sign(&self.key, grant.epoch, Vec::new())));
            return Ok((wanted, pending));
        }
        let (here, told) = sync_channel(1);
        let asked = held.iter().map(|(_, id, looked)| (*id, *looked)).collect();
        let pending = self.order_receipt(|answer| Order::Offer { epoch: grant.epoch, held: asked, here, answer })?;
        // A refusal comes with the receipt: until then everything is wanted.
        let told = told.recv().unwrap_or_default();
        held.iter().zip(told).for_each(|((i, ..), is_here)| wanted[*i] = !is_here);
        Ok((wanted, pending))
    }

    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.check_grant(grant)?;
        let bytes: usize = blocks.iter().map(|block| block.bytes.len() + HEADER_LEN).sum();
        if bytes > MAX_PUT_BYTES {
            return Err(ServiceError::Denied(format!("{bytes} bytes are put, {MAX_PUT_BYTES} may be at once")));
        }
        blocks.iter().try_for_each(verify)?;
        let places = self.places(blocks.iter().map(|block| block.id))?;
        let look = |(block, place): (PutBlock, Option<Place>)| {
            let looked = place.map(|place| match grant.replace {
                true => self.look_to_replace(&block, &place),
                false => self.look(&block.id, &place),
            });
            (block, looked)
        };
        let blocks: Vec<_> = blocks.into_iter().zip(places).map(look).collect();
        // Objects are small, and forgetting, which writes one, must work on a full disk.
        let is_new = |looked: &Option<Looked>| looked.is_none_or(|looked| looked.good.is_none());
        if blocks.iter().any(|(block, looked)| block.kind.is_sealed() && is_new(looked)) {
            self.check_space()?;
        }
        self.order_receipt(|answer| Order::Put { epoch: grant.epoch, blocks, answer })
    }

    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let mut place = self.shared.read().places.get(id)?.ok_or_else(|| self.not_here(id))?;
        for _ in 0..READ_ATTEMPTS {
            let error = match self.shared.files.read(id, &place) {
                Ok((_, bytes)) => return Ok(bytes),
                Err(e) => e,
            };
            // Moved by compaction between looking and reading?
            let now = self.shared.read().places.get(id)?.ok_or_else(|| self.not_here(id))?;
            if now.at == place.at {
                if let ServiceError::Damaged { detail, .. } = &error {
                    self.shared.write().mark_damaged(*id, place.at, detail.clone());
                }
                return Err(error);
            }
            place = now;
        }
        Err(ServiceError::Busy(format!("block {id} is being moved")))
    }

    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let number = |place: Place| u64::from(place.at.segment) << 32 | u64::from(place.at.offset);
        Ok(self.places(ids.iter().copied())?.into_iter().map(|place| place.map(number)).collect())
    }

    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>> {
        let mut answers = Vec::with_capacity(deletes.len());
        for step in deletes.chunks(DELETE_STEP) {
            answers.extend(self.ask(|answer| Order::Delete { deletes: step.to_vec(), answer })?);
        }
        let mut state = self.shared.write();
        if !state.damaged.is_empty() {
            for delete in deletes {
                if state.places.get(&delete.id)?.is_none() {
                    state.damaged.remove(&delete.id);
                }
            }
        }
        Ok(answers)
    }

    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let listed = self.shared.read().places.list(after, limit)?;
        Ok(self.list_with_headers(listed))
    }

    fn scrub(&self, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
        scrub::scrub(self, after, byte_limit)
    }

    fn compact(&self, dead_share: f64) -> Result<u64> {
        crate::compact::compact(self, dead_share)
    }

    fn stats(&self) -> Result<NodeStats> {
        let state = self.shared.read();
        let live: u64 = state.places.usage.values().map(|u| u.live).sum();
        let total: u64 = state.places.usage.values().map(|u| u.total).sum();
        Ok(NodeStats {
            blocks: state.places.blocks,
            live_bytes: live,
            dead_bytes: total.saturating_sub(live),
            segment_bytes: total,
            segments: state.places.usage.len() as u64,
        })
    }

    fn close(&self) -> Result<()> {
        if self.orders.is_none() { Ok(()) } else { self.ask(|answer| Order::Close { answer }) }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
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
