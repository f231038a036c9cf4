//! Which member to ask first: what was seen of each node lately.
//!
//! A node that failed is passed over for a while; the others are ranked by rack, then by what they have under way times how long
//! they take. Time is this process's monotonic clock, read where calls begin and end.

use cas_net::cluster::{Health, NodeInfo};
use cas_net::{NodeId, ServiceError};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a node that failed is passed over.
pub const AVOIDED: Duration = Duration::from_secs(10);
/// The share of a new measurement in the average.
const WEIGHT: f64 = 0.1;

/// What was seen of the nodes.
#[derive(Default)]
pub struct Choice {
    rack: Option<String>,
    seen: Mutex<HashMap<NodeId, Seen>>,
}

#[derive(Default)]
struct Seen {
    avoided_until: Option<Instant>,
    under_way: u32,
    /// Average time of a read, in seconds.
    takes: f64,
}

/// How good a node is to ask; less is better.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rank {
    avoided: bool,
    silent: bool,
    far: bool,
    wait: f64,
}

impl Choice {
    /// For a reader in this rack.
    pub fn in_rack(rack: Option<String>) -> Self {
        Self { rack, seen: Mutex::default() }
    }

    /// How good a node is to ask now.
    pub fn rank(&self, info: &NodeInfo, now: Instant) -> Rank {
        let seen = self.lock();
        let seen = seen.get(&info.node);
        Rank {
            avoided: seen.and_then(|s| s.avoided_until).is_some_and(|until| now < until),
            silent: info.health != Health::Up,
            far: self.rack.as_ref().is_some_and(|rack| *rack != info.rack),
            wait: seen.map_or(0.0, |s| f64::from(s.under_way + 1) * s.takes),
        }
    }

    /// Whether a node is passed over now.
    pub fn avoids(&self, node: &NodeId, now: Instant) -> bool {
        self.lock().get(node).and_then(|seen| seen.avoided_until).is_some_and(|until| now < until)
    }

    /// Whether others should get bytes before this node, that it may send them on: it is away, or far.
    pub fn is_behind(&self, info: &NodeInfo, now: Instant) -> (bool, bool) {
        let Rank { avoided, silent, far, .. } = self.rank(info, now);
        (avoided || silent, far)
    }

    /// A read begins.
    pub fn begins(&self, node: NodeId) {
        self.lock().entry(node).or_default().under_way += 1;
    }

    /// A read ended well after so long.
    pub fn ends(&self, node: NodeId, took: Duration) {
        let mut seen = self.lock();
        let seen = seen.entry(node).or_default();
        seen.under_way = seen.under_way.saturating_sub(1);
        seen.avoided_until = None;
        seen.takes += (took.as_secs_f64() - seen.takes) * WEIGHT;
    }

    /// A call ended badly: the node is passed over for a while if that is its own fault.
    pub fn failed(&self, node: NodeId, why: &ServiceError, now: Instant) {
        let mut seen = self.lock();
        let seen = seen.entry(node).or_default();
        seen.under_way = seen.under_way.saturating_sub(1);
        if is_of_the_node(why) {
            seen.avoided_until = Some(now + AVOIDED);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_node_that_failed_comes_last_until_its_time_is_over() {
        let choice = Choice::in_rack(Some("r1".into()));
        let (near, far) = (info(1, "r1"), info(2, "r2"));
        let now = Instant::now();
        assert!(choice.rank(&near, now) < choice.rank(&far, now));
        choice.failed(near.node, &ServiceError::Stopped("its disk".into()), now);
        assert!(choice.rank(&far, now) < choice.rank(&near, now) && choice.avoids(&near.node, now));
        assert!(choice.rank(&near, now + AVOIDED) < choice.rank(&far, now + AVOIDED));
    }

    #[test]
    fn a_missing_block_is_no_fault_of_the_node() {
        let choice = Choice::default();
        let now = Instant::now();
        choice.failed(info(1, "").node, &ServiceError::NotFound { what: "block", name: "x".into() }, now);
        assert!(!choice.avoids(&info(1, "").node, now));
    }

    #[test]
    fn the_faster_and_less_busy_node_is_asked_first() {
        let choice = Choice::default();
        let (a, b) = (info(1, ""), info(2, ""));
        choice.ends(a.node, Duration::from_millis(10));
        choice.ends(b.node, Duration::from_millis(15));
        let now = Instant::now();
        assert!(choice.rank(&a, now) < choice.rank(&b, now));
        choice.begins(a.node);
        assert!(choice.rank(&b, now) < choice.rank(&a, now));
    }
}
