//! Which member to ask first, and how long to wait for it alone: what was seen of each node lately.
//!
//! A node that failed is passed over until it has proved itself: after a pause that grows, somebody looks whether it answers, and
//! no block waits for that. The others are ranked by rack, then by what they have under way times how long they take. Time is this
//! process's monotonic clock, read where calls begin and end.

use cas_net::cluster::{Health, NodeInfo};
use cas_net::{NodeId, ServiceError};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a node that failed is left alone at first; twice as long each further time.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at most.
pub const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long a full node is left alone: room does not come in a second.
pub const FULL_PAUSE: Duration = Duration::from_secs(60);
/// The share of a new measurement in the average.
const WEIGHT: f64 = 0.1;
/// Reads of a node that are remembered.
const TIMES: usize = 64;
/// With fewer, nobody knows how long it takes.
const ENOUGH_TIMES: usize = 16;
/// How long to wait for a node that is not known.
pub const UNKNOWN_WAIT: Duration = Duration::from_millis(200);
/// Nobody is hedged before this: a busy machine is no slow node.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// After this another member is asked in any case.
pub const SILENCE: Duration = Duration::from_secs(3);
/// Extra reads that each read allows.
const HEDGES_PER_READ: f64 = 0.05;
/// Extra reads that may be saved up.
pub const MOST_HEDGES: f64 = 8.0;

/// What was seen of the nodes.
pub struct Choice {
    rack: Option<String>,
    seen: Mutex<AllSeen>,
}

struct AllSeen {
    nodes: HashMap<NodeId, Seen>,
    /// Extra reads that are allowed now.
    hedges: f64,
}

#[derive(Default)]
struct Seen {
    /// It has failed, and has not proved itself since.
    failed: Option<Failed>,
    under_way: u32,
    /// Average time of a read, in seconds.
    takes: f64,
    /// The times of the last reads.
    times: VecDeque<Duration>,
}

#[derive(Clone, Copy)]
struct Failed {
    /// Before this nobody looks.
    alone_until: Instant,
    times: u32,
    /// Somebody looks.
    looked_at: bool,
}

/// How good a node is to ask; less is better.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rank {
    avoided: bool,
    silent: bool,
    far: bool,
    wait: f64,
}

impl Default for Choice {
    fn default() -> Self {
        Self::in_rack(None)
    }
}

impl Choice {
    /// For a reader in this rack.
    pub fn in_rack(rack: Option<String>) -> Self {
        Self { rack, seen: Mutex::new(AllSeen { nodes: HashMap::new(), hedges: MOST_HEDGES }) }
    }

    /// How good a node is to ask now.
    pub fn rank(&self, info: &NodeInfo) -> Rank {
        let all = self.lock();
        let seen = all.nodes.get(&info.node);
        Rank {
            avoided: seen.is_some_and(|seen| seen.failed.is_some()),
            silent: info.health != Health::Up,
            far: self.rack.as_ref().is_some_and(|rack| *rack != info.rack),
            wait: seen.map_or(0.0, |s| f64::from(s.under_way + 1) * s.takes),
        }
    }

    /// Whether a node is passed over: it has failed, and not proved itself since.
    pub fn avoids(&self, node: &NodeId) -> bool {
        self.lock().nodes.get(node).is_some_and(|seen| seen.failed.is_some())
    }

    /// Whether others should get bytes before this node, that it may send them on: it is away, or far.
    pub fn is_behind(&self, info: &NodeInfo) -> (bool, bool) {
        let Rank { avoided, silent, far, .. } = self.rank(info);
        (avoided || silent, far)
    }

    /// Whether the caller is to look if a node that failed answers again. Only one caller hears so, and tells how it went.
    pub fn wants_look(&self, node: &NodeId, now: Instant) -> bool {
        let mut all = self.lock();
        let Some(failed) = all.nodes.get_mut(node).and_then(|seen| seen.failed.as_mut()) else { return false };
        let due = !failed.looked_at && now >= failed.alone_until;
        failed.looked_at |= due;
        due
    }

    /// A read begins.
    pub fn begins(&self, node: NodeId) {
        let mut all = self.lock();
        all.nodes.entry(node).or_default().under_way += 1;
    }

    /// A read that began has ended: well after so long, or not.
    pub fn ends(&self, node: NodeId, outcome: Result<Duration, &ServiceError>, now: Instant) {
        let mut all = self.lock();
        let seen = all.nodes.entry(node).or_default();
        seen.under_way = seen.under_way.saturating_sub(1);
        match outcome {
            Ok(took) => {
                seen.failed = None;
                seen.takes += (took.as_secs_f64() - seen.takes) * WEIGHT;
                if seen.times.len() == TIMES {
                    seen.times.pop_front();
                }
                seen.times.push_back(took);
            }
            Err(why) => seen.judge(why, now),
        }
    }

    /// The same of a read of many blocks: how long that took says nothing of one.
    pub fn ends_many(&self, node: NodeId, fault: Option<&ServiceError>, now: Instant) {
        let mut all = self.lock();
        let seen = all.nodes.entry(node).or_default();
        seen.under_way = seen.under_way.saturating_sub(1);
        match fault {
            None => seen.failed = None,
            Some(why) => seen.judge(why, now),
        }
    }

    /// A call ended badly: the node is passed over if that is its own fault.
    pub fn failed(&self, node: NodeId, why: &ServiceError, now: Instant) {
        self.lock().nodes.entry(node).or_default().judge(why, now);
    }

    /// Whoever looked after a node that failed heard this.
    pub fn looked_in_vain(&self, node: NodeId, why: &ServiceError, now: Instant) {
        let mut all = self.lock();
        let seen = all.nodes.entry(node).or_default();
        if is_of_the_node(why) {
            seen.judge(why, now);
        } else {
            seen.failed = None; // It answers.
        }
    }

    /// It has answered.
    pub fn works(&self, node: NodeId) {
        self.lock().nodes.entry(node).or_default().failed = None;
    }

    /// How long to wait for a node before another one is asked as well: as long as 19 of 20 reads took.
    pub fn wait_alone(&self, node: &NodeId) -> Duration {
        let all = self.lock();
        let Some(seen) = all.nodes.get(node).filter(|seen| seen.times.len() >= ENOUGH_TIMES) else {
            return UNKNOWN_WAIT;
        };
        let mut times: Vec<Duration> = seen.times.iter().copied().collect();
        let at = (times.len() * 19).div_ceil(20) - 1;
        let (_, wait, _) = times.select_nth_unstable(at);
        (*wait).clamp(SHORTEST_WAIT, SILENCE)
    }

    /// A read earns its share of an extra one.
    pub fn earns(&self) {
        let mut all = self.lock();
        all.hedges = (all.hedges + HEDGES_PER_READ).min(MOST_HEDGES);
    }

    /// Whether an extra read may be made; then it is counted.
    pub fn may_hedge(&self) -> bool {
        let mut all = self.lock();
        let may = all.hedges >= 1.0;
        all.hedges -= if may { 1.0 } else { 0.0 };
        may
    }

    fn lock(&self) -> MutexGuard<'_, AllSeen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn judge(&mut self, why: &ServiceError, now: Instant) {
        if !is_of_the_node(why) {
            return;
        }
        let times = self.failed.map_or(0, |failed| failed.times);
        let pause = match why {
            ServiceError::Full { .. } => FULL_PAUSE,
            _ => LAST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(times.min(16))),
        };
        // Many calls end at once when a node dies: that is one failure.
        match &mut self.failed {
            Some(failed) if !failed.looked_at && now < failed.alone_until => {}
            failed => *failed = Some(Failed { alone_until: now + pause, times: times + 1, looked_at: false }),
        }
    }
}

/// Whether an error says something of the node, not of what was asked.
fn is_of_the_node(why: &ServiceError) -> bool {
    use ServiceError::*;
    matches!(why, Busy(_) | Stopped(_) | Io { .. } | Unreachable { .. } | WrongKey { .. } | Protocol(_) | Full { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::info;

    fn stopped() -> ServiceError {
        ServiceError::Stopped("its disk".into())
    }

    #[test]
    fn a_node_that_failed_comes_last_until_it_has_proved_itself() {
        let choice = Choice::in_rack(Some("r1".into()));
        let (near, far) = (info(1, "r1"), info(2, "r2"));
        assert!(choice.rank(&near) < choice.rank(&far));
        let now = Instant::now();
        choice.failed(near.node, &stopped(), now);
        assert!(choice.rank(&far) < choice.rank(&near) && choice.avoids(&near.node));
        choice.works(near.node);
        assert!(choice.rank(&near) < choice.rank(&far) && !choice.avoids(&near.node));
    }

    #[test]
    fn one_looks_after_a_failed_node_after_a_pause_that_grows() {
        let choice = Choice::default();
        let node = info(1, "").node;
        let mut now = Instant::now();
        assert!(!choice.wants_look(&node, now), "it has not failed");
        let mut pause = FIRST_PAUSE;
        choice.failed(node, &stopped(), now);
        for _ in 0..8 {
            choice.failed(node, &stopped(), now); // Another call that was under way.
            assert!(!choice.wants_look(&node, now + pause - Duration::from_millis(1)));
            now += pause;
            assert!(choice.wants_look(&node, now) && !choice.wants_look(&node, now), "one, not everybody");
            choice.failed(node, &stopped(), now);
            pause = LAST_PAUSE.min(pause * 2);
        }
    }

    #[test]
    fn a_missing_block_is_no_fault_of_the_node() {
        let choice = Choice::default();
        let missing = ServiceError::NotFound { what: "block", name: "x".into() };
        choice.failed(info(1, "").node, &missing, Instant::now());
        assert!(!choice.avoids(&info(1, "").node));
    }

    #[test]
    fn the_faster_and_less_busy_node_is_asked_first() {
        let choice = Choice::default();
        let (a, b) = (info(1, ""), info(2, ""));
        let now = Instant::now();
        choice.ends(a.node, Ok(Duration::from_millis(10)), now);
        choice.ends(b.node, Ok(Duration::from_millis(15)), now);
        assert!(choice.rank(&a) < choice.rank(&b));
        choice.begins(a.node);
        assert!(choice.rank(&b) < choice.rank(&a));
    }

    #[test]
    fn a_node_is_waited_for_as_long_as_nineteen_of_twenty_reads_took() {
        let choice = Choice::default();
        let node = info(1, "").node;
        assert_eq!(choice.wait_alone(&node), UNKNOWN_WAIT);
        for ms in 1..=20 {
            choice.ends(node, Ok(Duration::from_millis(ms * 10)), Instant::now());
        }
        assert_eq!(choice.wait_alone(&node), Duration::from_millis(190));
        for _ in 0..TIMES {
            choice.ends(node, Ok(Duration::from_micros(50)), Instant::now());
        }
        assert_eq!(choice.wait_alone(&node), SHORTEST_WAIT);
    }

    #[test]
    fn extra_reads_are_a_small_share_of_all() {
        let choice = Choice::default();
        let extra = (0..1000).filter(|_| {
            choice.earns();
            choice.may_hedge()
        });
        let extra = extra.count();
        assert!((50..=60).contains(&extra), "{extra}");
    }
}
