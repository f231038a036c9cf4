//! Reclaims space: empties the trash by age, condemns what nobody references, deletes it on the node, compacts.
//!
//! The index decides (DESIGN §7.1), this carries its deletes to the node and the answers back; in a cluster the index does that
//! too. It can stop after any step: the next run goes on where this one ended.

use crate::error::{ClientError, Result};
use crate::store::Store;
use cas_core::id::{BlockId, Epoch};
use cas_net::{Delete, Deleted, GcHolder, Index, ServiceError, SessionInfo, SnapshotRow, StoredBlock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Blocks condemned in one step.
const CONDEMN: usize = 16_384;
/// Deletes that nodes of a cluster have not answered, at most: then the next step waits for them.
const BACKLOG: usize = 32_768;
/// Between two looks at that.
const PAUSE: Duration = Duration::from_millis(100);
/// How long nodes of a cluster may take to answer anything; then the rest is theirs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks listed in one step when looking for orphans.
const LIST: usize = 16_384;
/// A push that was interrupted can be resumed for this long without sending anything twice.
pub const RESUME_NS: i64 = 24 * 3600 * 1_000_000_000;
/// How much of the store may be dead bytes afterwards.
pub const DEAD_SHARE: f64 = 0.05;

/// How to collect.
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// The time, nanoseconds since 1970.
    pub now_ns: i64,
    /// How long a forgotten snapshot stays in the trash, in nanoseconds.
    pub trash_ns: i64,
    /// Empty the trash whatever its age, and give up pushes that were interrupted.
    pub all: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Snapshots that are gone for good.
    pub emptied: Vec<SnapshotRow>,
    /// Interrupted pushes that can no longer be resumed.
    pub ended: Vec<SessionInfo>,
    /// Blocks that were deleted.
    pub blocks: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Blocks on the node that the index had never heard of: left by interrupted pushes.
    pub orphans: u64,
    /// By how much the files of the store shrank.
    pub freed: u64,
    /// Dead bytes that are left in segments.
    pub dead: u64,
    /// Whether there was too little room on the disk to copy what lives out of half-dead segments.
    pub no_room: bool,
    /// Who keeps the rest from being collected.
    pub held: Option<GcHolder>,
    /// Blocks of a cluster whose nodes have yet to say that they are gone: their next beats bring them the order.
    pub waiting: u64,
}

/// Collects. `step` hears of blocks deleted so far; `stop` may be set from a signal handler.
pub fn gc(store: &Store, options: GcOptions, step: &mut dyn FnMut(&GcReport), stop: &AtomicBool) -> Result<GcReport> {
    if store.cluster().is_some() {
        return in_cluster(&**store.index(), options, step, stop);
    }
    let (index, node) = (store.index(), store.node()?);
    let before = node.stats()?.segment_bytes;
    let keep: Vec<_> =
        index.status()?.sessions.into_iter().filter(|s| !options.gives_up(s)).map(|s| s.session).collect();
    let mut report = GcReport { ended: index.end_sessions_except(&keep)?, ..GcReport::default() };
    report.emptied = index.empty_trash(options.trash_limit())?;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let condemned = index.condemn(CONDEMN)?;
        report.held = condemned.held;
        let gone = carry(store, &condemned.deletes)?;
        report.blocks += gone;
        report.bytes += condemned.bytes;
        step(&report);
        if !condemned.more {
            break;
        }
    }
    // A rebuilt index that misses pages does not know their children: they only look like orphans.
    if report.held != Some(GcHolder::NewEra) {
        report.orphans = delete_orphans(store, stop)?;
    }
    report.no_room = match node.compact(DEAD_SHARE) {
        Err(ServiceError::Full { .. }) => true,
        done => done.map(|_| false)?,
    };
    let after = node.stats()?;
    report.freed = before.saturating_sub(after.segment_bytes);
    report.dead = after.dead_bytes;
    Ok(report)
}

/// Condemns; the index has the nodes delete, and they look after their segments themselves. Pushes of others are left alone.
fn in_cluster(
    index: &dyn Index,
    options: GcOptions,
    step: &mut dyn FnMut(&GcReport),
    stop: &AtomicBool,
) -> Result<GcReport> {
    let mut report = GcReport { emptied: index.empty_trash(options.trash_limit())?, ..GcReport::default() };
    let (mut seen, mut answered) = (index.status()?.epoch, Instant::now());
    let mut before = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let waiting = usize::try_from(index.status()?.condemned).unwrap_or(usize::MAX);
        if waiting < before {
            answered = Instant::now();
        }
        before = waiting;
        if waiting >= BACKLOG && answered.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            continue;
        }
        let condemned = index.condemn((waiting + CONDEMN).min(BACKLOG))?;
        // Deletes that were not answered yet stand in every step.
        let new: Vec<BlockId> = condemned.deletes.iter().filter(|d| d.epoch > seen).map(|d| d.id).collect();
        seen = condemned.deletes.iter().map(|d| d.epoch).fold(seen, Epoch::max);
        report.blocks += new.len() as u64;
        report.bytes += index.rows(&new)?.iter().flatten().map(|row| u64::from(row.len)).sum::<u64>();
        report.held = condemned.held;
        step(&report);
        if !condemned.more || waiting >= BACKLOG {
            report.waiting = index.status()?.condemned;
            return Ok(report);
        }
    }
}

impl GcOptions {
    fn gives_up(&self, session: &SessionInfo) -> bool {
        self.all || session.started_ns < self.now_ns.saturating_sub(RESUME_NS)
    }

    fn trash_limit(&self) -> i64 {
        if self.all { i64::MAX } else { self.now_ns.saturating_sub(self.trash_ns) }
    }
}

/// Carries deletes to the node and its answers back. Answers how many are gone.
fn carry(store: &Store, deletes: &[Delete]) -> Result<u64> {
    if deletes.is_empty() {
        return Ok(0);
    }
    let answers = store.node()?.delete(deletes)?;
    let answered: Vec<_> = deletes.iter().copied().zip(answers.iter().copied()).collect();
    store.index().deleted(store.node()?.id(), &answered)?;
    Ok(answers.iter().filter(|a| **a == Deleted::Gone).count() as u64)
}

/// Nothing was put under an epoch that the index has yet to reach. An index that lost its end does not know what it would delete.
fn refuse_lost_end(store: &Store, listed: &[StoredBlock], reached: Epoch) -> Result<()> {
    let Some(newer) = listed.iter().find(|block| block.put_epoch > reached) else { return Ok(()) };
    let (what, epoch) = (format!("the index of {}", store.place()), newer.put_epoch);
    let detail = format!("it ends at epoch {reached}, and block {} was stored at {epoch}", newer.id);
    Err(ServiceError::Damaged { what, detail }.into())
}

/// Deletes what the node has and the index has no row for, as far as no living push can have put it.
fn delete_orphans(store: &Store, stop: &AtomicBool) -> Result<u64> {
    let (index, node) = (store.index(), store.node()?);
    let status = index.status()?;
    let rows = status.live + status.bad + status.condemned;
    if node.stats()?.blocks <= rows {
        return Ok(0);
    }
    let bound = status.sessions.iter().map(|s| s.epoch).min().unwrap_or(status.epoch);
    let mut orphans = 0;
    let mut after = None;
    loop {
        let listed = node.list(after, LIST)?;
        let Some(last) = listed.last() else { return Ok(orphans) };
        after = Some(last.id);
        refuse_lost_end(store, &listed, status.epoch)?;
        let ids: Vec<BlockId> = listed.iter().map(|b| b.id).collect();
        let rows = index.rows(&ids)?;
        let unknown = ids.iter().zip(rows).filter(|(_, row)| row.is_none());
        let deletes: Vec<Delete> = unknown.map(|(id, _)| Delete { id: *id, epoch: bound }).collect();
        if !deletes.is_empty() && bound > Epoch::ZERO {
            let answers = node.delete(&deletes)?;
            orphans += answers.iter().filter(|a| **a == Deleted::Gone).count() as u64;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted);
        }
    }
}
