//! The nodes of a cluster as those who look after them see them: which one is meant, how it stands, how long it takes.
//!
//! Everything here is a value made of what the index tells; nothing is changed.

use crate::error::{ClientError, Result};
use cas_net::ServiceError;
use cas_net::cluster::{Cluster, ClusterStatus, Health, NodeInfo, NodeWant, PlanShown};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at the flag that stops a wait.
const TICK: Duration = Duration::from_millis(50);
/// How often a plan is applied while the layout changes under it.
const APPLY_TRIES: usize = 20;

/// The node that a person means: by the first digits of its key, or by an address.
///
/// # Errors
/// [`ClientError::NotFound`], [`ClientError::Ambiguous`].
pub fn choose<'a>(nodes: &'a [NodeInfo], text: &str) -> Result<&'a NodeInfo> {
    let prefix = text.to_ascii_lowercase();
    let is_meant = |node: &&NodeInfo| {
        node.node.0.to_string().starts_with(&prefix) || node.addresses.iter().any(|address| address == text)
    };
    let fitting: Vec<&NodeInfo> = nodes.iter().filter(is_meant).collect();
    match &fitting[..] {
        [one] if !text.is_empty() => Ok(one),
        [] => Err(ClientError::NotFound { what: "node", name: text.to_owned() }),
        several => {
            let candidates = several.iter().map(|node| short(node)).collect::<Vec<_>>().join(" or ");
            Err(ClientError::Ambiguous { text: text.to_owned(), candidates })
        }
    }
}

/// The first digits of a node's key: enough to tell it from others.
pub fn short(node: &NodeInfo) -> String {
    let mut key = node.node.0.to_string();
    key.truncate(12);
    key
}

/// In one word what a node is and does.
pub fn state(node: &NodeInfo, now_ns: i64) -> &'static str {
    let in_maintenance = node.maintenance_until_ns.is_some_and(|until| until > now_ns);
    match (node.want, node.health) {
        (NodeWant::Removed, _) if node.partitions == 0 => "removed",
        (NodeWant::Removed, _) => "leaving",
        (_, Health::Up) if in_maintenance => "up, in maintenance",
        (_, _) if in_maintenance => "in maintenance",
        (_, Health::Suspect) => "silent",
        (_, Health::Down) => "down",
        (NodeWant::New, Health::Up) => "new",
        (NodeWant::Draining, Health::Up) if node.partitions == 0 => "drained",
        (NodeWant::Draining, Health::Up) => "draining",
        (NodeWant::Member, Health::Up) => "up",
    }
}

/// Applies a plan that was shown. Moves that are under way make new versions of the layout all the time: as long as the same
/// table comes of it, that is no conflict.
///
/// # Errors
/// [`ServiceError::Conflict`] if another table would come of it now: somebody has to look at the plan again.
pub fn apply(cluster: &dyn Cluster, pool: Option<&str>, shown: &PlanShown) -> Result<()> {
    let mut plan = shown.clone();
    for _ in 1..APPLY_TRIES {
        match cluster.apply_layout(&plan) {
            Err(ServiceError::Conflict { .. }) => {}
            done => return Ok(done?),
        }
        let again = cluster.plan_layout(pool)?;
        if again.table != shown.table {
            break;
        }
        plan = again;
    }
    Ok(cluster.apply_layout(&plan)?)
}

/// How a cluster stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// As the index tells it.
    pub status: ClusterStatus,
    /// All nodes.
    pub nodes: Vec<NodeInfo>,
    /// How fast copies are made now, if somebody waited to see it.
    pub pace: Option<Pace>,
}

/// How fast copies are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Blocks a second.
    pub blocks: f64,
    /// Bytes a second.
    pub bytes: f64,
    /// Partitions a second that come where they should be.
    pub partitions: f64,
}

impl Standing {
    /// Looks. While copies are due it looks again after `watch`, to tell how fast they are made.
    ///
    /// # Errors
    /// The index does not answer or this device may not ask.
    pub fn look(cluster: &dyn Cluster, watch: Duration, stop: &AtomicBool) -> Result<Self> {
        let (began, first) = (Instant::now(), cluster.cluster_status()?);
        let mut standing = Self { status: first.clone(), nodes: cluster.nodes()?, pace: None };
        if !standing.is_working() || watch.is_zero() {
            return Ok(standing);
        }
        while began.elapsed() < watch {
            if stop.load(Ordering::Relaxed) {
                return Err(ClientError::Interrupted);
            }
            std::thread::sleep(TICK.min(watch));
        }
        standing.status = cluster.cluster_status()?;
        standing.pace = Some(Pace::between(&first, &standing.status, began.elapsed()));
        Ok(standing)
    }

    /// Whether copies are due.
    pub fn is_working(&self) -> bool {
        let ClusterStatus { to_move, moving, uncounted, short, .. } = &self.status;
        *to_move > 0 || *moving > 0 || *uncounted > 0 || *short > 0
    }

    /// Whether there is a place for data at all.
    pub fn has_layout(&self) -> bool {
        self.status.layout > 0 && self.status.nodes > 0
    }

    /// Whether everything is where it should be and everybody is there.
    pub fn is_healthy(&self) -> bool {
        self.has_layout() && self.status.is_healthy()
    }

    /// How long until everything is where it should be, at the pace that was seen; `None` if nothing moved.
    pub fn left(&self) -> Option<Duration> {
        let (pace, status) = (self.pace?, &self.status);
        let time = |amount: f64, pace: f64| {
            if amount > 0.0 { Some(amount / pace).filter(|s| s.is_finite()) } else { Some(0.0) }
        };
        let (healing, moving) =
            (time(status.short as f64, pace.blocks)?, time(f64::from(status.to_move), pace.partitions)?);
        Some(Duration::from_secs_f64(healing.max(moving).min(f64::from(u32::MAX))))
    }

    /// Nodes that are known and hold nothing because no layout has a place for them yet.
    pub fn new_nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|node| node.want == NodeWant::New)
    }

    /// Nodes that hold something and are not heard.
    pub fn absent(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|node| node.health != Health::Up && node.partitions > 0)
    }
}

impl Pace {
    fn between(before: &ClusterStatus, after: &ClusterStatus, time: Duration) -> Self {
        let a_second = |amount: u64| amount as f64 / time.as_secs_f64();
        Self {
            blocks: a_second(after.copied.saturating_sub(before.copied)),
            bytes: a_second(after.copied_bytes.saturating_sub(before.copied_bytes)),
            partitions: a_second(u64::from(before.to_move.saturating_sub(after.to_move))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::id::PublicKey;
    use cas_net::NodeId;

    fn node(key: u8, health: Health, want: NodeWant) -> NodeInfo {
        NodeInfo {
            node: NodeId(PublicKey([key; 32])),
            rack: "r1".to_owned(),
            weight: 1,
            addresses: vec![format!("10.0.0.{key}:9474")],
            want,
            maintenance_until_ns: None,
            health,
            silent_ms: Some(0),
            space: Default::default(),
            load: Default::default(),
            partitions: 7,
        }
    }

    fn standing(status: ClusterStatus) -> Standing {
        Standing { status, nodes: vec![], pace: None }
    }

    #[test]
    fn a_node_is_named_by_the_beginning_of_its_key_or_by_its_address() {
        let nodes = [node(0x11, Health::Up, NodeWant::Member), node(0x12, Health::Up, NodeWant::Member)];
        assert_eq!(choose(&nodes, "11").unwrap(), &nodes[0]);
        assert_eq!(choose(&nodes, "10.0.0.18:9474").unwrap(), &nodes[1]);
        assert!(matches!(choose(&nodes, "1"), Err(ClientError::Ambiguous { .. })));
        assert!(matches!(choose(&nodes, "9"), Err(ClientError::NotFound { .. })));
        assert!(choose(&nodes[..1], "").is_err(), "nothing names nothing, even of one");
    }

    #[test]
    fn silence_in_maintenance_is_no_alarm_and_a_drained_node_can_go() {
        let mut silent = node(1, Health::Down, NodeWant::Member);
        assert_eq!(state(&silent, 10), "down");
        silent.maintenance_until_ns = Some(11);
        assert_eq!((state(&silent, 10), state(&silent, 11)), ("in maintenance", "down"));
        let mut drained = node(1, Health::Up, NodeWant::Draining);
        assert_eq!(state(&drained, 0), "draining");
        drained.partitions = 0;
        assert_eq!(state(&drained, 0), "drained");
    }

    #[test]
    fn a_cluster_without_nodes_is_not_healthy() {
        assert!(!standing(ClusterStatus::default()).is_healthy());
        let whole = ClusterStatus { layout: 3, nodes: 3, ..ClusterStatus::default() };
        assert!(standing(whole.clone()).is_healthy());
        for status in [
            ClusterStatus { suspect: 1, ..whole.clone() },
            ClusterStatus { short: 1, ..whole.clone() },
            ClusterStatus { suspended: true, ..whole },
        ] {
            assert!(!standing(status).is_healthy());
        }
    }

    #[test]
    fn the_time_left_is_that_of_what_takes_longest_and_unknown_without_progress() {
        let before = ClusterStatus { layout: 1, nodes: 3, short: 300, to_move: 30, ..ClusterStatus::default() };
        let after = ClusterStatus { short: 200, to_move: 20, copied: 100, copied_bytes: 1000, ..before.clone() };
        let mut seen = standing(after.clone());
        assert_eq!(seen.left(), None, "nobody watched");
        seen.pace = Some(Pace::between(&before, &after, Duration::from_secs(2)));
        assert_eq!(seen.left(), Some(Duration::from_secs(4)));
        seen.pace = Some(Pace::between(&after, &after, Duration::from_secs(2)));
        assert_eq!(seen.left(), None, "nothing moved");
    }
}
