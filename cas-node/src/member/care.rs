//! What a node does by itself: verifies all it holds, gives back dead bytes, and asks about blocks that nobody may need.
//!
//! All of it gives way to clients, stops between two steps, and goes on where it was.

use super::Inner;
use super::home::ScrubPlace;
use super::throttle::Throttle;
use cas_core::id::BlockId;
use cas_net::cluster::Cluster;
use cas_net::{Deleted, Node, NodeStats, Result};
use std::time::{Duration, Instant};

/// Bytes read in one step of a scrub.
const SCRUB_STEP: u64 = 8 << 20;
/// Where a scrub is, is kept after so many steps.
const SCRUB_KEPT: u32 = 32;
/// The slowest scrub, in bytes a second: a small store is read in small pieces all the same.
const SCRUB_LEAST: u64 = 1 << 20;
/// What the index said is on the disk after so long.
const REMEMBER: Duration = Duration::from_millis(200);
/// Between two looks whether a round is due, at most.
const LOOK: Duration = Duration::from_secs(60);
/// After something went wrong.
const AGAIN: Duration = Duration::from_secs(60);
/// Blocks that the index is asked about at once.
const STRAYS_STEP: usize = 4096;
/// After a start, the index is asked no later.
const FIRST_STRAYS: Duration = Duration::from_secs(3600);
/// Between two such questions.
const STRAYS_PAUSE: Duration = Duration::from_millis(200);
/// The last id there can be: behind it nothing is scrubbed any more.
const END: BlockId = BlockId([0xff; BlockId::LEN]);

/// Keeps what the index said, soon after it was said.
pub fn remember(inner: &Inner) {
    while !inner.stop.sleep(REMEMBER) {
        inner.standing.keep(&inner.home);
    }
    inner.standing.keep(&inner.home);
}

/// Scrubs, round after round.
pub fn scrub(inner: &Inner) {
    let mut place = inner.home.scrub();
    let mut throttle = Throttle::new(0);
    let mut steps = 0;
    loop {
        if place.after == Some(END) {
            let period = i64::try_from(inner.settings.scrub_period.as_nanos()).unwrap_or(i64::MAX);
            if inner.standing.now_ns().saturating_sub(place.begun_ns) < period {
                if inner.stop.sleep(LOOK.min(inner.settings.scrub_period)) {
                    return;
                }
                continue;
            }
            place = ScrubPlace { begun_ns: inner.standing.now_ns(), after: None };
        } else if place.begun_ns == 0 {
            place.begun_ns = inner.standing.now_ns();
        }
        if steps == 0 {
            throttle = Throttle::new(rate(inner));
        }
        let wait = match inner.store.scrub(place.after, SCRUB_STEP) {
            Ok(scrubbed) => {
                inner.metrics.scrubbed_bytes.add(scrubbed.bytes);
                for (id, detail) in &scrubbed.damaged {
                    tracing::warn!(block = %id, detail, "damaged");
                }
                inner.metrics.damaged.add(scrubbed.damaged.len() as u64);
                inner.losses.note(scrubbed.damaged.iter().map(|(id, _)| *id));
                place.after = Some(scrubbed.next.unwrap_or(END));
                // What was read is paid for before more is.
                throttle.take(scrubbed.bytes, Instant::now());
                throttle.take(0, Instant::now())
            }
            Err(why) => {
                tracing::warn!(%why, "the scrub pauses");
                AGAIN
            }
        };
        steps = (steps + 1) % SCRUB_KEPT;
        if steps == 0 || place.after == Some(END) {
            keep(inner, &place);
        }
        if inner.stop.sleep(wait) {
            return keep(inner, &place);
        }
    }
}

fn keep(inner: &Inner, place: &ScrubPlace) {
    if let Err(why) = inner.home.keep_scrub(place) {
        tracing::warn!(%why, "where the scrub is, is not kept");
    }
}

/// So fast that a round takes its time, and not faster than allowed. Bytes a second.
fn rate(inner: &Inner) -> u64 {
    let live = inner.store.stats().map_or(0, |stats| stats.live_bytes);
    let period = inner.settings.scrub_period.as_secs().max(1);
    // A quarter faster, for what comes meanwhile.
    let needed = live / period + live / period / 4;
    match inner.settings.scrub_bytes_per_second {
        0 => 0,
        most => needed.clamp(SCRUB_LEAST.min(most), most),
    }
}

/// Gives dead bytes back, when it is worth it.
pub fn compact(inner: &Inner) {
    while !inner.stop.sleep(inner.settings.compact_pause) {
        match compact_once(inner) {
            Ok(0) => {}
            Ok(freed) => {
                inner.metrics.compacted_bytes.add(freed);
                tracing::info!(freed, "compacted");
            }
            Err(why) => tracing::warn!(%why, "not compacted"),
        }
    }
}

fn compact_once(inner: &Inner) -> Result<u64> {
    let settings = &inner.settings;
    let NodeStats { live_bytes, dead_bytes, .. } = inner.store.stats()?;
    let share = dead_bytes as f64 / live_bytes.max(1) as f64;
    let is_quiet = inner.load().requests <= settings.quiet_requests;
    if share <= settings.dead_share || (!is_quiet && share <= settings.dead_share_busy) {
        return Ok(0);
    }
    inner.store.compact(settings.dead_share)
}

/// Asks the index about all that is stored, once in a period, and sooner about partitions that the node gave away; deletes what is
/// of no use.
pub fn strays(inner: &Inner) {
    // A node that is restarted every day asks, too.
    let mut due = Instant::now() + inner.settings.stray_period.min(FIRST_STRAYS);
    while !inner.stop.sleep(inner.settings.left_pause.min(due.saturating_duration_since(Instant::now()))) {
        let is_round = Instant::now() >= due;
        let done = if is_round { strays_once(inner) } else { left_once(inner) };
        if is_round {
            due = Instant::now() + inner.settings.stray_period;
        }
        match done {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "blocks that nobody needs are deleted"),
            Err(why) => tracing::warn!(%why, "the index was not asked about all blocks"),
        }
    }
}

fn strays_once(inner: &Inner) -> Result<u64> {
    let (mut after, mut gone) = (None, 0);
    loop {
        let listed: Vec<BlockId> = inner.store.list(after, STRAYS_STEP)?.iter().map(|block| block.id).collect();
        let Some(last) = listed.last() else { return Ok(gone) };
        after = Some(*last);
        gone += drop_strays(inner, &listed)?;
        if inner.stop.sleep(STRAYS_PAUSE) {
            return Ok(gone);
        }
    }
}

/// Partitions of which something has to stay for now (a push may still need it, the new members do not have it yet) are looked at
/// again.
fn left_once(inner: &Inner) -> Result<u64> {
    let mut left = inner.standing.take_left();
    let mut gone = 0;
    while let Some(at) = left.pop_first() {
        match left_partition(inner, at) {
            Ok((dropped, is_empty)) => {
                gone += dropped;
                inner.standing.keep_left((!is_empty).then_some(at));
            }
            Err(why) => {
                inner.standing.keep_left(left.into_iter().chain([at]));
                return Err(why);
            }
        }
        if inner.stop.is_said() {
            break;
        }
    }
    Ok(gone)
}

/// How many blocks of a partition went, and whether that is all of them.
fn left_partition(inner: &Inner, partition: u16) -> Result<(u64, bool)> {
    let (mut after, mut gone, mut seen) = (None, 0, 0);
    loop {
        let page = inner.store.list_partition(partition, after, STRAYS_STEP)?;
        let Some(last) = page.last() else { return Ok((gone, gone == seen)) };
        after = Some(last.id);
        seen += page.len() as u64;
        let listed: Vec<BlockId> = page.iter().map(|block| block.id).collect();
        gone += drop_strays(inner, &listed)?;
    }
}

/// Answers how many of these went.
fn drop_strays(inner: &Inner, listed: &[BlockId]) -> Result<u64> {
    let deletes = inner.link.cluster.strays(inner.node, listed)?;
    if deletes.is_empty() {
        return Ok(0);
    }
    let answers = inner.store.delete(&deletes)?;
    let gone = answers.iter().filter(|answer| **answer == Deleted::Gone).count() as u64;
    inner.metrics.deletes.add(gone);
    Ok(gone)
}
