//! The node's store: checks what comes in, finds what is asked for, leaves writing to the writer.

use crate::places::{Place, Places};
use crate::record::{HEADER_LEN, Record, What};
use crate::replay::{self, Tail};
use crate::segment;
use crate::writer::{self, Append, Change, Limits, Order, Request, Writer};
use cas_core::frame::Header;
use cas_core::id::{BlockId, Epoch, PublicKey, Sum};
use cas_core::signing::SigningKey;
use cas_net::{
    Delete, Deleted, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result, Scrubbed,
    ServiceError, StoredBlock,
};
use rustix::fs::{FlockOperation, flock, statvfs};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;

/// Bytes of bodies that may wait for the writer.
const MAX_WAITING: usize = 32 << 20;
/// Segment files kept open for reading.
const OPEN_SEGMENTS: usize = 16;
/// How often a read looks again because compaction moved the block meanwhile.
const READ_ATTEMPTS: usize = 8;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    seed: [u8; 32],
    index: PublicKey,
    /// Open without writing anything.
    pub read_only: bool,
    /// Bytes of a segment, about; at most 4 GiB less the longest record.
    pub segment_bytes: u64,
    /// Bytes written at once, about.
    pub group_bytes: usize,
    /// New blocks are refused when less than this is free on the disk, so that deleting and compacting go on. Bytes.
    pub soft_free: u64,
}

impl Options {
    /// Defaults, for a node with this key that obeys this index.
    pub fn new(seed: [u8; 32], index: PublicKey) -> Self {
        Self { seed, index, read_only: false, segment_bytes: 256 << 20, group_bytes: 8 << 20, soft_free: 16 << 20 }
    }
}

/// Bytes of a segment that are no records and were written once: damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub segment: u32,
    pub from: u64,
    pub to: u64,
}

/// What is known of the segments.
pub struct State {
    pub places: Places,
    pub damaged: Vec<Region>,
}

impl State {
    /// Makes what a durable record says findable.
    pub fn apply(&mut self, id: BlockId, change: Change) -> Result<()> {
        match change {
            Change::At(place) => {
                let before = self.places.get(&id)?.map_or(Epoch::ZERO, |p| p.put_epoch);
                self.places.set(id, Some(Place { put_epoch: place.put_epoch.max(before), ..place }))
            }
            Change::Touched(epoch) => match self.places.get(&id)? {
                Some(place) if place.put_epoch < epoch => {
                    self.places.set(id, Some(Place { put_epoch: epoch, ..place }))
                }
                _ => Ok(()),
            },
            Change::Gone => self.places.set(id, None),
            Change::Floor(epoch) => {
                let floor = self.places.floors.entry(partition_of_floor(&id)).or_default();
                *floor = (*floor).max(epoch);
                Ok(())
            }
            Change::Nothing => Ok(()),
        }
    }
}

/// What writer and readers share of the disk.
pub struct Disk {
    pub segments: PathBuf,
    pub waiting: Waiting,
    pub poisoned: AtomicBool,
}

/// Bytes on their way to the writer, bounded.
#[derive(Default)]
pub struct Waiting {
    bytes: Mutex<usize>,
    fewer: Condvar,
}

impl Waiting {
    fn take(&self, bytes: usize) {
        let waiting = self.bytes.lock().expect("no thread panics with this lock");
        let full = |waiting: &mut usize| *waiting > 0 && *waiting + bytes > MAX_WAITING;
        let mut waiting = self.fewer.wait_while(waiting, full).expect("no thread panics with this lock");
        *waiting += bytes;
    }

    /// Gives room back.
    pub fn release(&self, bytes: usize) {
        let mut waiting = self.bytes.lock().expect("no thread panics with this lock");
        *waiting = waiting.saturating_sub(bytes);
        self.fewer.notify_all();
    }
}

/// A local store of blocks.
pub struct Store {
    key: Arc<SigningKey>,
    index: PublicKey,
    soft_free: u64,
    disk: Arc<Disk>,
    pub(crate) state: Arc<RwLock<State>>,
    files: Mutex<HashMap<u32, Arc<File>>>,
    trusted: Mutex<Option<Grant>>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    _lock: Option<File>,
}

impl Store {
    /// Opens the store in a directory; makes it if there is none.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let segments = dir.join("segments");
        if !options.read_only {
            std::fs::create_dir_all(&segments)
                .map_err(|e| ServiceError::io(format!("create {}", segments.display()), e))?;
        }
        let lock = if options.read_only { None } else { Some(lock(dir)?) };
        let (places, position) = Places::open(&dir.join("index.redb"), options.read_only);
        let mut state = State { places, damaged: Vec::new() };
        let tail = replay::replay(&segments, position, &mut state, options.read_only)?;
        let state = Arc::new(RwLock::new(state));
        let disk = Arc::new(Disk { segments, waiting: Waiting::default(), poisoned: AtomicBool::new(false) });
        let mut store = Self {
            key: Arc::new(SigningKey::from_seed(&options.seed)),
            index: options.index,
            soft_free: options.soft_free,
            disk,
            state,
            files: Mutex::default(),
            trusted: Mutex::new(None),
            orders: None,
            thread: None,
            _lock: lock,
        };
        if !options.read_only {
            store.start_writer(tail, &options)?;
        }
        Ok(store)
    }

    fn start_writer(&mut self, tail: Option<Tail>, options: &Options) -> Result<()> {
        let tail = match tail {
            Some(tail) => tail,
            None => {
                writer::create(&self.disk.segments, 0)?;
                Tail { segment: 0, len: segment::SEGMENT_HEADER, group: 0, replayed: 0, open_end: false }
            }
        };
        let path = segment::path(&self.disk.segments, tail.segment);
        let open = OpenOptions::new().read(true).append(true).open(&path);
        let writer = Writer {
            disk: self.disk.clone(),
            state: self.state.clone(),
            limits: Limits { group_bytes: options.group_bytes, segment_bytes: options.segment_bytes },
            segment: tail.segment,
            file: open.map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?,
            len: tail.len,
            group: tail.group,
            unsaved: tail.replayed,
            open_end: tail.open_end,
            poisoned: None,
        };
        let (orders, received) = channel();
        let spawned = std::thread::Builder::new().name("node-writer".into()).spawn(move || writer.run(&received));
        self.thread = Some(spawned.map_err(|e| ServiceError::io("start the writer", e))?);
        self.orders = Some(orders);
        Ok(())
    }

    /// Makes deletes of a partition at or below `epoch` void, durably: what is listed afterwards counts.
    pub fn set_floor(&self, partition: u16, epoch: Epoch) -> Result<()> {
        let mut id = BlockId::ZERO;
        id.0[..2].copy_from_slice(&partition.to_be_bytes());
        self.append_and_wait(vec![Append::Note(What::Floor, id, epoch)])
    }

    pub(crate) fn order(&self, order: Order) -> Result<()> {
        let orders = self.orders.as_ref().ok_or_else(|| ServiceError::Denied("the store is open read-only".into()))?;
        orders.send(order).map_err(|_| ServiceError::Stopped("the writer ended".into()))
    }

    fn append(&self, appends: Vec<Append>, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        if self.disk.poisoned.load(Ordering::Acquire) {
            return Err(ServiceError::Stopped("an earlier sync of the disk failed".into()));
        }
        self.disk.waiting.take(appends.iter().map(Append::len).sum());
        self.order(Order::Append(Request { appends, done: Box::new(done) }))
    }

    pub(crate) fn append_and_wait(&self, appends: Vec<Append>) -> Result<()> {
        let (sender, receiver) = sync_channel(1);
        self.append(appends, move |done| drop(sender.send(done)))?;
        receiver.recv().unwrap_or_else(|_| Err(ServiceError::Stopped("the writer ended".into())))
    }

    pub(crate) fn segments(&self) -> &Path {
        &self.disk.segments
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
        let Ok(stat) = statvfs(&self.disk.segments) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= self.soft_free {
            return Ok(());
        }
        let detail = format!("{free} bytes are free, {} are kept for deleting and compacting", self.soft_free);
        Err(ServiceError::Full { what: format!("the disk of {}", self.disk.segments.display()), detail })
    }

    pub(crate) fn place(&self, id: &BlockId) -> Result<Option<Place>> {
        self.state.read().expect("no thread panics with this lock").places.get(id)
    }

    /// An open segment file; at most a few stay open.
    pub(crate) fn file(&self, number: u32) -> std::io::Result<Arc<File>> {
        let mut files = self.files.lock().expect("no thread panics with this lock");
        if let Some(file) = files.get(&number) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(segment::path(&self.disk.segments, number))?);
        if files.len() >= OPEN_SEGMENTS
            && let Some(other) = files.keys().next().copied()
        {
            files.remove(&other);
        }
        files.insert(number, file.clone());
        Ok(file)
    }

    pub(crate) fn forget_file(&self, number: u32) {
        self.files.lock().expect("no thread panics with this lock").remove(&number);
    }

    /// Reads a record and its body, and verifies both.
    pub(crate) fn read(&self, id: &BlockId, place: &Place) -> Result<(Record, Vec<u8>)> {
        let path = || segment::path(&self.disk.segments, place.segment);
        let damaged = |detail: String| ServiceError::Damaged {
            what: format!("block {id}"),
            detail: format!("segment {}, byte {}: {detail}", path().display(), place.offset),
        };
        let file = self.file(place.segment).map_err(|e| damaged(e.to_string()))?;
        let mut bytes = vec![0; HEADER_LEN + place.len as usize];
        file.read_exact_at(&mut bytes, place.offset.into()).map_err(|e| damaged(e.to_string()))?;
        let record = Record::parse(&bytes).filter(|r| r.id == *id && r.what == What::Block && r.len == place.len);
        let record = record.ok_or_else(|| damaged("its record header is not there".to_owned()))?;
        bytes.drain(..HEADER_LEN);
        let found = Sum::of(&bytes);
        if found != record.sum {
            return Err(damaged(format!("its bytes hash to {found}, expected {}", record.sum)));
        }
        Ok((record, bytes))
    }

    /// The header of a stored block, without its body.
    fn header(&self, id: &BlockId, place: &Place) -> Result<Record> {
        let damaged = |detail: String| ServiceError::Damaged { what: format!("block {id}"), detail };
        let file = self.file(place.segment).map_err(|e| damaged(e.to_string()))?;
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, place.offset.into()).map_err(|e| damaged(e.to_string()))?;
        let record = Record::parse(&bytes).filter(|r| r.id == *id);
        record.ok_or_else(|| damaged(format!("segment {}, byte {}: no record", place.segment, place.offset)))
    }

    /// What a receipt says of a block that is here; nothing if its record cannot be read.
    fn received(&self, id: &BlockId, place: &Place) -> Option<Received> {
        self.header(id, place).ok().map(|r| Received { id: *id, kind: place.kind, sum: r.sum, len: r.len })
    }

    fn receipt_when_done(
        &self,
        epoch: Epoch,
        blocks: Vec<Received>,
        answer: std::sync::mpsc::SyncSender<Result<Receipt>>,
    ) -> impl FnOnce(Result<()>) + Send + 'static {
        let key = self.key.clone();
        move |done| drop(answer.send(done.map(|()| Receipt::sign(&key, epoch, blocks))))
    }
}

impl Node for Store {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        self.check_grant(grant)?;
        let places = self.state.read().expect("no thread panics with this lock").places.get_all(ids)?;
        let (answer, pending) = PendingReceipt::new();
        let mut wanted = vec![true; ids.len()];
        let (mut touches, mut held) = (Vec::new(), Vec::new());
        for ((id, place), wanted) in ids.iter().zip(places).zip(&mut wanted) {
            let Some(place) = place else { continue };
            let good = if grant.replace { self.read(id, &place).is_ok() } else { true };
            if let Some(received) = self.received(id, &place).filter(|_| good) {
                *wanted = false;
                held.push(received);
                if place.put_epoch < grant.epoch {
                    touches.push(Append::Note(What::Touch, *id, grant.epoch));
                }
            }
        }
        let done = self.receipt_when_done(grant.epoch, held, answer);
        if touches.is_empty() {
            done(Ok(()));
        } else {
            self.append(touches, done)?;
        }
        Ok((wanted, pending))
    }

    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.check_grant(grant)?;
        // Removals and keyrings are small, and forgetting must work on a full disk.
        if blocks.iter().any(|block| block.kind.is_sealed()) {
            self.check_space()?;
        }
        blocks.iter().try_for_each(check_block)?;
        let ids: Vec<BlockId> = blocks.iter().map(|b| b.id).collect();
        let places = self.state.read().expect("no thread panics with this lock").places.get_all(&ids)?;
        let (answer, pending) = PendingReceipt::new();
        let mut appends = Vec::with_capacity(blocks.len());
        let mut received = Vec::with_capacity(blocks.len());
        for (block, place) in blocks.into_iter().zip(places) {
            let held = place.filter(|p| !grant.replace || self.read(&block.id, p).is_ok());
            match held.and_then(|place| self.received(&block.id, &place)) {
                Some(own) => {
                    received.push(own);
                    appends.push(Append::Note(What::Touch, block.id, grant.epoch));
                }
                None => {
                    received.push(Received {
                        id: block.id,
                        kind: block.kind,
                        sum: block.sum,
                        len: block.bytes.len() as u32,
                    });
                    appends.push(Append::Block(block, grant.epoch));
                }
            }
        }
        self.append(appends, self.receipt_when_done(grant.epoch, received, answer))?;
        Ok(pending)
    }

    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let mut before = None;
        for _ in 0..READ_ATTEMPTS {
            let place = self.place(id)?;
            let place = place.ok_or_else(|| ServiceError::NotFound { what: "block", name: id.to_string() })?;
            match self.read(id, &place) {
                Ok((_, bytes)) => return Ok(bytes),
                // Moved by compaction between looking and reading?
                Err(_) if before != Some(place) => before = Some(place),
                Err(e) => return Err(e),
            }
        }
        Err(ServiceError::Busy(format!("block {id} is being moved")))
    }

    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let places = self.state.read().expect("no thread panics with this lock").places.get_all(ids)?;
        Ok(places.into_iter().map(|p| p.map(|p| u64::from(p.segment) << 32 | u64::from(p.offset))).collect())
    }

    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>> {
        let mut answers = Vec::with_capacity(deletes.len());
        let mut appends = Vec::new();
        {
            let state = self.state.read().expect("no thread panics with this lock");
            let ids: Vec<BlockId> = deletes.iter().map(|d| d.id).collect();
            for (delete, place) in deletes.iter().zip(state.places.get_all(&ids)?) {
                let floor = state.places.floors.get(&delete.id.partition()).copied().unwrap_or_default();
                let answer = match place {
                    None => Deleted::Gone,
                    Some(place) if place.put_epoch < delete.epoch && floor < delete.epoch => {
                        appends.push(Append::Note(What::Delete, delete.id, delete.epoch));
                        Deleted::Gone
                    }
                    Some(_) => Deleted::Kept,
                };
                answers.push(answer);
            }
        }
        if !appends.is_empty() {
            self.append_and_wait(appends)?;
        }
        Ok(answers)
    }

    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let listed = self.state.read().expect("no thread panics with this lock").places.list(after, limit)?;
        let stored = |(id, place): (BlockId, Place)| {
            // A record that cannot be read any more is listed with an empty sum: whoever compares sees that it is damaged.
            let header = self.header(&id, &place).ok();
            StoredBlock {
                id,
                domain: header.map_or(cas_core::id::DomainId::ZERO, |h| h.domain),
                kind: place.kind,
                sum: header.map_or(Sum::ZERO, |h| h.sum),
                len: place.len,
                put_epoch: place.put_epoch,
            }
        };
        Ok(listed.into_iter().map(stored).collect())
    }

    fn scrub(&self, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
        let mut scrubbed = Scrubbed { next: after, ..Scrubbed::default() };
        while scrubbed.bytes < byte_limit {
            let listed =
                self.state.read().expect("no thread panics with this lock").places.list(scrubbed.next, 1024)?;
            if listed.is_empty() {
                scrubbed.next = None;
                return Ok(scrubbed);
            }
            for (id, place) in listed {
                scrubbed.blocks += 1;
                scrubbed.bytes += u64::from(place.len);
                scrubbed.next = Some(id);
                if let Err(e @ ServiceError::Damaged { .. }) = self.get(&id) {
                    scrubbed.damaged.push((id, e.to_string()));
                }
            }
        }
        Ok(scrubbed)
    }

    fn compact(&self, dead_share: f64) -> Result<u64> {
        crate::compact::compact(self, dead_share)
    }

    fn stats(&self) -> Result<NodeStats> {
        let state = self.state.read().expect("no thread panics with this lock");
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
        if self.orders.is_none() {
            return Ok(());
        }
        let (sender, receiver) = sync_channel(1);
        self.order(Order::Close(sender))?;
        receiver.recv().unwrap_or_else(|_| Err(ServiceError::Stopped("the writer ended".into())))
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

/// Whether the bytes are what their name says.
fn check_block(block: &PutBlock) -> Result<()> {
    let denied = |why: &str| Err(ServiceError::Denied(format!("block {}: {why}", block.id)));
    if block.bytes.len() > cas_core::limits::MAX_FRAME {
        return denied("it is longer than any block");
    }
    if Sum::of(&block.bytes) != block.sum {
        return denied("its bytes are not those of its sum");
    }
    if !block.kind.is_sealed() {
        let named = BlockId::of_object(block.kind, &block.bytes) == block.id;
        return if named { Ok(()) } else { denied("its bytes are not those of its name") };
    }
    match Header::parse(&block.bytes) {
        Ok((header, _)) if header.id() != block.id => denied("its header is that of another block"),
        Ok((header, _)) if header.kind != block.kind || header.domain != block.domain => {
            denied("its header is of another kind or domain")
        }
        Ok(_) => Ok(()),
        Err(e) => denied(&e.to_string()),
    }
}

fn partition_of_floor(id: &BlockId) -> u16 {
    u16::from_be_bytes([id.0[0], id.0[1]])
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(ServiceError::Busy(format!("{} is open in another process", dir.display()))),
    }
}
