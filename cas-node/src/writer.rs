//! The one thread that writes. Durable first, findable second, acknowledged third: [`Writer::commit`].
//!
//! What waits becomes one group: one write, one sync. A group is begun when [`Limits::group_bytes`] are there, when [`LINGER`]
//! has passed since its first body came, or as soon as somebody waits for an answer. A failed sync stops the node
//! for good: what the disk holds is known again only after a restart. A failed write is cut off again, and what was in it is
//! refused.

use crate::disk::DiskFile;
use crate::group::{Copied, Group, Looked};
use crate::index::Position;
use crate::record::{At, HEADER_LEN, Record};
use crate::segment::{self, SEGMENT_HEADER};
use crate::shared::Shared;
use cas_core::id::{BlockId, Epoch};
use cas_core::signing::SigningKey;
use cas_net::{Delete, Deleted, PutBlock, Receipt, Received, Result, ServiceError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// How long a body waits for others, at most.
const LINGER: Duration = Duration::from_millis(5);
/// Records that a start may have to read again rather than pay for a checkpoint at close.
const REPLAY_RECORDS: u64 = 4096;

/// Bounds of a group, of a segment and of memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes written at once, about.
    pub group_bytes: usize,
    /// Bytes of a segment, about.
    pub segment_bytes: u64,
    /// Changes kept in memory before they go to the cache.
    pub fresh: usize,
}

/// Where an answer goes.
pub type Answer<T> = SyncSender<Result<T>>;

/// What the writer is asked.
pub enum Order {
    /// Keep blocks; each with what the caller found of it.
    Put { epoch: Epoch, blocks: Vec<(PutBlock, Option<Looked>)>, answer: Answer<Receipt> },
    /// Touch blocks, as far as they are here: `here` is told before the sync, `answer` after it.
    Offer { epoch: Epoch, held: Vec<(BlockId, Looked)>, here: SyncSender<Vec<bool>>, answer: Answer<Receipt> },
    /// Delete blocks.
    Delete { deletes: Vec<Delete>, answer: Answer<Vec<Deleted>> },
    /// Set a floor.
    Floor { partition: u16, epoch: Epoch, answer: Answer<()> },
    /// Append what compaction took out of a segment.
    Move { copies: Vec<Copied>, notes: Vec<(Record, At)>, answer: Answer<()> },
    /// Get ready for emptying these segments.
    StartCompaction { emptying: Vec<u32>, answer: Answer<Start> },
    /// Make the cache durable if that is worth it, and mark a clean end.
    Close { answer: Answer<()> },
    /// Somebody waits for an answer: do not linger.
    Hurry,
}

/// Where compaction starts from.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The segment that is being written: none of those to empty.
    pub active: u32,
    /// The first record that the cache on the disk does not know; nothing if there is no cache.
    pub saved: Option<At>,
}

impl Order {
    /// Bytes that will be written for it, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { blocks, .. } => blocks.iter().map(|(block, _)| block.bytes.len()).sum(),
            Self::Move { copies, .. } => copies.iter().map(|copied| copied.body.len()).sum(),
            Self::Offer { held, .. } => held.len() * HEADER_LEN,
            Self::Delete { deletes, .. } => deletes.len() * HEADER_LEN,
            _ => 0,
        }
    }

    /// Whether it can wait for others.
    fn lingers(&self) -> bool {
        matches!(self, Self::Put { .. })
    }
}

/// The writer.
pub struct Writer {
    pub shared: Arc<Shared>,
    pub key: Arc<SigningKey>,
    pub limits: Limits,
    pub file: Arc<dyn DiskFile>,
    pub position: Position,
    /// The first record that the cache on the disk does not know; nothing if there is no cache.
    pub saved: Option<At>,
    /// Block records that are dead though no delete says so yet: the next group does.
    pub dead: Vec<(BlockId, At)>,
    /// Records since the last checkpoint.
    pub unsaved: u64,
    /// Changes in memory at which the next checkpoint is tried.
    pub checkpoint_at: usize,
}

impl Writer {
    /// Serves until nobody can ask any more.
    pub fn run(mut self, orders: &Receiver<Order>) {
        let _guard = Closing(self.shared.clone());
        let mut next = orders.recv().ok();
        while let Some(order) = next.take() {
            match order {
                Order::Hurry => {}
                Order::StartCompaction { emptying, answer } => {
                    let _ = answer.send(self.start_compaction(&emptying));
                }
                Order::Close { answer } => {
                    let _ = answer.send(self.close());
                }
                first => next = self.serve(first, orders),
            }
            next = next.or_else(|| orders.recv().ok());
        }
    }

    /// Writes one group of `first` and what comes behind it. Answers an order that does not belong into it.
    fn serve(&mut self, first: Order, orders: &Receiver<Order>) -> Option<Order> {
        let began = Instant::now();
        let mut linger = first.lingers();
        let mut bytes = first.bytes();
        let (mut group, mut left) = (vec![first], None);
        while bytes < self.limits.group_bytes && left.is_none() {
            let patience = if linger { LINGER.saturating_sub(began.elapsed()) } else { Duration::ZERO };
            match orders.recv_timeout(patience) {
                Ok(Order::Hurry) => linger = false,
                Ok(order @ (Order::StartCompaction { .. } | Order::Close { .. })) => left = Some(order),
                Ok(order) => {
                    linger &= order.lingers();
                    bytes += order.bytes();
                    group.push(order);
                }
                Err(_) => break,
            }
        }
        self.commit(group);
        self.shared.waiting.release(bytes);
        left
    }

    /// Durable first, findable second, acknowledged third.
    fn commit(&mut self, orders: Vec<Order>) {
        if let Err(e) = self.shared.check().and_then(|()| self.make_room()) {
            let mut refuse = refusals(e);
            orders.into_iter().for_each(|order| order.refuse(refuse()));
            return;
        }
        let shared = self.shared.clone();
        let mut group = Group::new(&shared, self.position.at(), self.position.group);
        group.bury(&self.dead);
        let decided: Vec<Decided> = orders.into_iter().map(|order| order.decide(&mut group)).collect();
        match self.append(&mut group) {
            Ok(()) => decided.into_iter().for_each(|decided| decided.acknowledge(&self.key)),
            Err(e) => {
                let mut refuse = refusals(e);
                decided.into_iter().for_each(|decided| decided.refuse(refuse()));
            }
        }
        if self.shared.read().places.fresh() >= self.checkpoint_at
            && let Err(e) = self.checkpoint()
        {
            tracing::warn!("the node's index was not saved: {e}");
            self.checkpoint_at *= 2;
        }
    }

    /// One write, one sync; then the records are findable.
    fn append(&mut self, group: &mut Group<'_>) -> Result<()> {
        if group.records().is_empty() {
            return Ok(());
        }
        self.write(&group.parts(), group.end())?;
        self.position.group += 1;
        self.position.ended = false;
        self.dead = group.take_dead();
        self.unsaved += group.records().len() as u64;
        let mut state = self.shared.write();
        state.places.usage.entry(self.position.segment).or_default().total = group.end();
        for written in group.records() {
            let applied = state.apply(written.at, &written.record);
            // The record is durable, and what is known no longer follows from it.
            applied.map_err(|e| self.shared.stop(format!("the node's index failed: {e}")))?;
        }
        Ok(())
    }

    fn write(&mut self, parts: &[&[u8]], end: u64) -> Result<()> {
        let before = self.position.offset;
        let path = self.shared.files.path(self.position.segment);
        if let Err(e) = self.file.write_at(before, parts) {
            if let Err(again) = self.file.set_len(before) {
                let why = format!("writing {} failed ({e}) and cannot be undone ({again})", path.display());
                return Err(self.shared.stop(why));
            }
            return Err(write_failed(&path, e));
        }
        if let Err(e) = self.file.sync_data() {
            return Err(self.shared.stop(format!("syncing {} failed: {e}", path.display())));
        }
        self.position.offset = end;
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        if self.position.offset >= self.limits.segment_bytes { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> Result<()> {
        self.shared.check()?;
        if self.position.offset <= SEGMENT_HEADER {
            return Ok(());
        }
        let number = self.position.segment + 1;
        self.file = create(&self.shared, number)?;
        self.position = Position { segment: number, offset: SEGMENT_HEADER, group: 0, ended: false };
        self.shared.write().places.usage.entry(number).or_default().total = SEGMENT_HEADER;
        Ok(())
    }

    fn start_compaction(&mut self, emptying: &[u32]) -> Result<Start> {
        if emptying.contains(&self.position.segment) {
            self.rotate()?;
        }
        // With a cache that knows the deletes, they need not be written again.
        if self.unsaved > REPLAY_RECORDS {
            self.checkpoint()?;
        }
        Ok(Start { active: self.position.segment, saved: self.saved })
    }

    fn checkpoint(&mut self) -> Result<()> {
        if self.unsaved == 0 {
            return Ok(());
        }
        let checkpoint = self.shared.write().places.begin_checkpoint(self.position);
        let written = checkpoint.write();
        drop(checkpoint);
        self.shared.write().places.end_checkpoint(written)?;
        self.saved = Some(self.position.at());
        self.unsaved = 0;
        self.checkpoint_at = self.limits.fresh;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.shared.check()?;
        if !self.position.ended {
            let shared = self.shared.clone();
            let mut group = Group::new(&shared, self.position.at(), self.position.group);
            group.bury(&self.dead);
            group.end_mark();
            self.append(&mut group)?;
            self.position.ended = true;
        }
        if self.unsaved > REPLAY_RECORDS { self.checkpoint() } else { Ok(()) }
    }
}

/// Lets nobody wait for a writer that is gone.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.waiting.close();
    }
}

/// An order whose records are in the group, and what will be answered.
enum Decided {
    Receipt(Result<(Epoch, Vec<Received>)>, Answer<Receipt>),
    Deleted(Result<Vec<Deleted>>, Answer<Vec<Deleted>>),
    Done(Result<()>, Answer<()>),
    Nothing,
}

impl Order {
    fn decide(self, group: &mut Group<'_>) -> Decided {
        match self {
            Self::Put { epoch, blocks, answer } => {
                let put = blocks.into_iter().map(|(block, looked)| group.put(epoch, block, looked));
                Decided::Receipt(put.collect::<Result<_>>().map(|blocks| (epoch, blocks)), answer)
            }
            Self::Offer { epoch, held, here, answer } => {
                let offered = held.iter().map(|(id, looked)| group.offer(epoch, id, *looked));
                let found = offered.collect::<Result<Vec<_>>>();
                let _ = here.send(found.as_deref().unwrap_or_default().iter().map(Option::is_some).collect());
                Decided::Receipt(found.map(|found| (epoch, found.into_iter().flatten().collect())), answer)
            }
            Self::Delete { deletes, answer } => {
                Decided::Deleted(deletes.iter().map(|delete| group.delete(delete)).collect(), answer)
            }
            Self::Floor { partition, epoch, answer } => {
                group.floor(partition, epoch);
                Decided::Done(Ok(()), answer)
            }
            Self::Move { copies, notes, answer } => {
                let copied = copies.into_iter().try_for_each(|copied| group.copy(copied));
                let repeated = copied.and_then(|()| notes.iter().try_for_each(|(note, at)| group.repeat(note, *at)));
                Decided::Done(repeated, answer)
            }
            Self::StartCompaction { .. } | Self::Close { .. } | Self::Hurry => Decided::Nothing,
        }
    }

    fn refuse(self, e: ServiceError) {
        match self {
            Self::Put { answer, .. } | Self::Offer { answer, .. } => drop(answer.send(Err(e))),
            Self::Delete { answer, .. } => drop(answer.send(Err(e))),
            Self::Floor { answer, .. } | Self::Move { answer, .. } | Self::Close { answer } => {
                drop(answer.send(Err(e)))
            }
            Self::StartCompaction { answer, .. } => drop(answer.send(Err(e))),
            Self::Hurry => {}
        }
    }
}

impl Decided {
    fn acknowledge(self, key: &SigningKey) {
        match self {
            Self::Receipt(decided, answer) => {
                drop(answer.send(decided.map(|(epoch, blocks)| Receipt::sign(key, epoch, blocks))));
            }
            Self::Deleted(decided, answer) => drop(answer.send(decided)),
            Self::Done(decided, answer) => drop(answer.send(decided)),
            Self::Nothing => {}
        }
    }

    fn refuse(self, e: ServiceError) {
        match self {
            Self::Receipt(_, answer) => drop(answer.send(Err(e))),
            Self::Deleted(_, answer) => drop(answer.send(Err(e))),
            Self::Done(_, answer) => drop(answer.send(Err(e))),
            Self::Nothing => {}
        }
    }
}

/// One error for everybody in a group: the first gets it, the others a copy of what it says.
fn refusals(error: ServiceError) -> impl FnMut() -> ServiceError {
    let copy: Box<dyn Fn() -> ServiceError> = match &error {
        ServiceError::Full { what, detail } => {
            let (what, detail) = (what.clone(), detail.clone());
            Box::new(move || ServiceError::Full { what: what.clone(), detail: detail.clone() })
        }
        ServiceError::Io { what, source } => {
            let (what, kind, text) = (what.clone(), source.kind(), source.to_string());
            Box::new(move || ServiceError::io(what.clone(), io::Error::new(kind, text.clone())))
        }
        other => {
            let text = other.to_string();
            Box::new(move || ServiceError::Stopped(text.clone()))
        }
    };
    let mut first = Some(error);
    move || first.take().unwrap_or_else(&copy)
}

/// Makes a new segment, durably.
pub fn create(shared: &Shared, number: u32) -> Result<Arc<dyn DiskFile>> {
    let (disk, path) = (shared.files.disk(), shared.files.path(number));
    let created = disk.create(&path).and_then(|file| {
        file.write_at(0, &[&segment::header(number)])?;
        Ok(file)
    });
    let file = created.map_err(|e| {
        let _ = disk.remove(&path);
        write_failed(&path, e)
    })?;
    let synced = file.sync_data().and_then(|()| disk.sync_dir(shared.files.folder()));
    synced.map_err(|e| shared.stop(format!("syncing {} failed: {e}", path.display())))?;
    Ok(file)
}

fn write_failed(path: &Path, error: io::Error) -> ServiceError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let detail = "nothing of what was being written was kept".to_owned();
            ServiceError::Full { what: format!("the disk of {}", path.display()), detail }
        }
        _ => ServiceError::io(format!("write {}", path.display()), error),
    }
}
