//! The one thread that writes. Durable first, findable second, acknowledged third: [`Writer::commit`].
//!
//! What waits becomes one group: one write, one sync. A group is begun when [`Limits::group_bytes`] are there, when [`LINGER`]
//! has passed since its first body came, or as soon as somebody waits for an answer. A failed sync stops the node
//! for good: what the disk holds is known again only after a restart. A failed write is cut off again, durably, and what was in it is
//! refused. If there was no room for it, and it brings no new sealed blocks, the reserve is released and it is tried once more.
//! A panic stops the node like a failed sync: nobody waits for a writer that is gone.

use crate::disk::{self, DiskFile};
use crate::group::Group;
use crate::index::Position;
use crate::order::{Decided, Order, Start, refusals};
use crate::record::{At, Salt};
use crate::segment::{self, SEGMENT_HEADER};
use crate::shared::Shared;
use cas_core::id::BlockId;
use cas_core::signing::SigningKey;
use cas_net::{Result, ServiceError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long a body waits for others, at most.
const LINGER: Duration = Duration::from_millis(5);
/// Records that a start may have to read again rather than pay for a checkpoint at close.
const REPLAY_RECORDS: u64 = 4096;

/// Dead records named in one group, at most.
const BURY: usize = 65_536;

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

/// The writer.
pub struct Writer {
    pub shared: Arc<Shared>,
    pub key: Arc<SigningKey>,
    pub limits: Limits,
    pub file: Arc<dyn DiskFile>,
    /// The salt of its segment.
    pub salt: Salt,
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
        // What a crash left half is named before anything else is written: see FORMAT §8.
        if !self.dead.is_empty() {
            self.commit(Vec::new());
        }
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
        let may_spend = !orders.iter().any(Order::grows);
        if let Err(e) = self.shared.check().and_then(|()| self.spending(may_spend, Self::make_room)) {
            let mut refuse = refusals(e);
            orders.into_iter().for_each(|order| order.refuse(refuse()));
            return;
        }
        let shared = self.shared.clone();
        let mut group = self.begin_group(&shared);
        let decided: Vec<Decided> = orders.into_iter().map(|order| order.decide(&mut group)).collect();
        match self.spending(may_spend, |writer| writer.append(&mut group)) {
            Ok(()) => decided.into_iter().for_each(|decided| decided.acknowledge(&self.key)),
            Err(e) => {
                let mut refuse = refusals(e);
                decided.into_iter().for_each(|decided| decided.refuse(refuse()));
            }
        }
        if self.shared.read().places.fresh() >= self.checkpoint_at && !self.try_checkpoint() {
            self.checkpoint_at *= 2;
        }
    }

    /// Saves the index. Without room the log goes on alone; an index that cannot be trusted, or read, stops the node.
    fn try_checkpoint(&mut self) -> bool {
        let saved = self.checkpoint();
        if let Err(e) = &saved {
            tracing::warn!("the node's index was not saved: {e}");
        }
        if let Err(e @ ServiceError::Damaged { .. }) = &saved {
            self.shared.stop(format!("the node's index failed: {e}"));
        }
        saved.is_ok()
    }

    /// A group at the end of the log; it begins with what earlier ones left to be said.
    fn begin_group<'a>(&self, shared: &'a Shared) -> Group<'a> {
        let mut group = Group::new(shared, self.position.at(), self.salt, self.position.group);
        group.bury(&self.dead[..self.dead.len().min(BURY)]);
        group
    }

    /// Tries again with the room of the reserve, if there was none.
    fn spending<T>(&mut self, may_spend: bool, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        match work(self) {
            Err(ServiceError::Full { .. }) if may_spend && self.shared.reserve.release() > 0 => work(self),
            done => done,
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
        self.dead.drain(..self.dead.len().min(BURY));
        self.dead.extend(group.take_dead());
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
            // What was refused must not come back after a crash.
            if let Err(again) = self.file.set_len(before).and_then(|()| self.file.sync_data()) {
                let why = format!("writing {} failed ({e}) and cannot be undone ({again})", path.display());
                return Err(self.shared.stop(why));
            }
            return Err(write_failed(&path, e));
        }
        let began = Instant::now();
        if let Err(e) = self.file.sync_data() {
            return Err(self.shared.stop(format!("syncing {} failed: {e}", path.display())));
        }
        self.shared.syncs.observe(began.elapsed());
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
        (self.file, self.salt) = create(&self.shared, number)?;
        self.position = Position { segment: number, offset: SEGMENT_HEADER, group: 0, ended: false };
        self.shared.write().places.usage.entry(number).or_default().total = SEGMENT_HEADER;
        Ok(())
    }

    fn start_compaction(&mut self, emptying: &[u32]) -> Result<Start> {
        self.shared.check()?;
        if emptying.contains(&self.position.segment) {
            self.spending(true, Self::rotate)?;
        }
        // With a cache that knows the deletes, they need not be written again; without, they are.
        if self.unsaved > REPLAY_RECORDS {
            self.try_checkpoint();
            self.shared.check()?;
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
            while self.dead.len() > BURY {
                let mut group = self.begin_group(&shared);
                self.spending(true, |writer| writer.append(&mut group))?;
            }
            let mut group = self.begin_group(&shared);
            group.end_mark();
            self.spending(true, |writer| writer.append(&mut group))?;
            self.position.ended = true;
        }
        if self.unsaved > REPLAY_RECORDS { self.checkpoint() } else { Ok(()) }
    }
}

/// Lets nobody wait for a writer that is gone.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the node's writer failed".to_owned());
        }
        self.0.waiting.close();
    }
}

/// Makes a new segment, durably. Answers also its salt.
pub fn create(shared: &Shared, number: u32) -> Result<(Arc<dyn DiskFile>, Salt)> {
    let (disk, path, salt) = (shared.files.disk(), shared.files.path(number), shared.files.salt(number));
    let created = disk.create(&path).and_then(|file| {
        file.write_at(0, &[&segment::header(number, salt)])?;
        Ok(file)
    });
    let file = created.map_err(|e| {
        let _ = disk.remove(&path);
        write_failed(&path, e)
    })?;
    let synced = file.sync_data().and_then(|()| disk.sync_dir(shared.files.folder()));
    synced.map_err(|e| shared.stop(format!("syncing {} failed: {e}", path.display())))?;
    Ok((file, salt))
}

fn write_failed(path: &Path, error: io::Error) -> ServiceError {
    if disk::is_full(&error) {
        let detail = "nothing of what was being written was kept".to_owned();
        return ServiceError::Full { what: format!("the disk of {}", path.display()), detail };
    }
    ServiceError::io(format!("write {}", path.display()), error)
}
