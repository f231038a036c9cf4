//! What nodes and operators say to the index and hear from it.

use super::Order;
use super::orders::Damage;
use crate::NodeId;
use crate::wire::wire;
use cas_core::id::{BlockId, Epoch, PublicKey, Sum};
use cas_core::kdf;
use std::fmt;
use std::str::FromStr;

/// A secret that lets one node join, once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JoinToken(pub [u8; 32]);

wire!(newtype JoinToken);

impl JoinToken {
    /// What the index keeps of it.
    pub fn hash(&self) -> [u8; 32] {
        kdf::derive("join token", &self.0)
    }

    /// The word for a command line. It is a secret.
    pub fn reveal(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for JoinToken {
    type Err = cas_core::id::HexError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        word.parse::<Sum>().map(|bytes| Self(bytes.0))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(secret)")
    }
}

/// Names what a node keeps its blocks on: drawn when its directory is made. A node that comes back with another one
/// has lost everything it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiskId(pub [u8; 16]);

wire!(newtype DiskId);

/// A node asks to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Who it is.
    pub node: NodeId,
    /// Its leave; a node that has joined needs none.
    pub token: Option<JoinToken>,
    /// What it keeps blocks on.
    pub disk: DiskId,
    /// How many bytes it may use.
    pub capacity: u64,
    /// Where it can be reached: host and port, in order of preference.
    pub addresses: Vec<String>,
}

wire!(struct Join { node, token, disk, capacity, addresses });

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its rack, from the token.
    pub rack: String,
    /// The key with which grants are signed.
    pub index: PublicKey,
    /// The epoch now.
    pub epoch: Epoch,
}

wire!(struct Joined { rack, index, epoch });

/// Room on a node, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// What it may use.
    pub capacity: u64,
    /// Live and dead records.
    pub used: u64,
    /// What it can still take.
    pub free: u64,
}

wire!(struct Space { capacity, used, free });

/// How busy a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests under way.
    pub requests: u32,
    /// Bytes of bodies in flight.
    pub bytes: u64,
    /// How long its newest groups took to become durable, in microseconds.
    pub sync_us: u32,
}

wire!(struct Load { requests, bytes, sync_us });

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Whose.
    pub node: NodeId,
    /// What it keeps blocks on.
    pub disk: DiskId,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// Its room.
    pub space: Space,
    /// Its load.
    pub load: Load,
    /// The version of the layout it goes by.
    pub layout: u64,
    /// Blocks that it found it has lost since the last beat that was answered.
    pub damage: Vec<Damage>,
    /// Whether it takes orders: not while it shuts down, and not with the first beat after a start. A node that takes none has
    /// none, either: what it was ordered before is forgotten.
    pub takes_orders: bool,
}

wire!(struct Beat { node, disk, addresses, space, load, layout, damage, takes_orders });

/// The answer.
#[derive(Debug, Clone)]
pub struct BeatAnswer {
    /// The version of the layout; a node with an older one asks for it.
    pub layout: u64,
    /// Cluster time, nanoseconds since 1970.
    pub time_ns: i64,
    /// What is to be done. Not in order; those that are still under way from before may stand here again.
    pub orders: Vec<Order>,
}

wire!(struct BeatAnswer { layout, time_ns, orders });

/// What a node is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeWant {
    /// To hold its share.
    Member,
    /// To give away what it has.
    Draining,
    /// Nothing: it is given up.
    Removed,
    /// To hold its share, once a layout with it is applied.
    New,
}

wire!(enum NodeWant as "what a node is wanted for" { 0 = Member, 1 = Draining, 2 = Removed, 3 = New });

/// What is known of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It beats.
    Up,
    /// It has been silent: readers avoid it, writes that it misses are healed.
    Suspect,
    /// It has been silent for long: its copies do not count, and are made elsewhere.
    Down,
}

wire!(enum Health as "health of a node" { 0 = Up, 1 = Suspect, 2 = Down });

/// A node, for its peers and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Who it is.
    pub node: NodeId,
    /// What fails together with it.
    pub rack: String,
    /// Its share relative to the others.
    pub weight: u64,
    /// Where it can be reached: host and port.
    pub addresses: Vec<String>,
    /// What it is wanted for.
    pub want: NodeWant,
    /// Until when its silence is expected, nanoseconds since 1970.
    pub maintenance_until_ns: Option<i64>,
    /// What is known of its life.
    pub health: Health,
    /// How long it has been silent, in milliseconds; `None` if not heard since the index started.
    pub silent_ms: Option<u64>,
    /// Its room, as it last said.
    pub space: Space,
    /// Its load, as it last said.
    pub load: Load,
    /// Copies of partitions it holds or is to hold.
    pub partitions: u32,
}

wire!(struct NodeInfo {
    node, rack, weight, addresses, want, maintenance_until_ns, health, silent_ms, space, load, partitions
});

/// What an operator changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeChange {
    /// It is to hold its share (again).
    Member,
    /// It is to give away what it has.
    Drain,
    /// It is given up: what it still holds counts no more. Refused while it holds the last copy of anything, unless `lost`.
    Remove {
        /// Its disk is known to be gone.
        lost: bool,
    },
    /// Its share relative to the others.
    Weight(u64),
    /// What fails together with it.
    Rack(String),
    /// Its silence until then (nanoseconds since 1970) is expected; `None` ends that.
    Maintenance(Option<i64>),
}

wire!(enum NodeChange as "change of a node" {
    0 = Member, 1 = Drain, 2 = Remove { lost }, 3 = Weight(weight), 4 = Rack(rack), 5 = Maintenance(until)
});

/// Where a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The block.
    pub id: BlockId,
    /// BLAKE3 of its stored bytes.
    pub sum: Sum,
    /// Their length.
    pub len: u32,
    /// Whose copies count.
    pub nodes: Vec<NodeId>,
    /// Whose copies are missing.
    pub missing: Vec<NodeId>,
}

wire!(struct Located { id, sum, len, nodes, missing });

/// What a plan changes for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTraffic {
    /// The node.
    pub node: NodeId,
    /// Copies of partitions before.
    pub before: u32,
    /// And after.
    pub after: u32,
    /// Bytes that come to it, as far as the index can tell.
    pub bytes_in: u64,
    /// Bytes that leave it.
    pub bytes_out: u64,
}

wire!(struct NodeTraffic { node, before, after, bytes_in, bytes_out });

/// A plan, before it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanShown {
    /// The version of the layout it would change.
    pub based_on: u64,
    /// The pool.
    pub pool: String,
    /// BLAKE3 of the table it would bring: applying makes the same plan again and compares.
    pub table: Sum,
    /// What changes, by node.
    pub nodes: Vec<NodeTraffic>,
    /// Copies of partitions that are made.
    pub copies: u32,
    /// Their bytes, as far as the index can tell.
    pub bytes: u64,
}

wire!(struct PlanShown { based_on, pool, table, nodes, copies, bytes });

/// How the cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterStatus {
    /// The version of the layout; 0 while there is none: then every node that is known may hold everything.
    pub layout: u64,
    /// The pool.
    pub pool: String,
    /// Nodes that hold something, and those of them that are suspect or down.
    pub nodes: u32,
    /// See `nodes`.
    pub suspect: u32,
    /// See `nodes`.
    pub down: u32,
    /// Partitions that are not where the table wants them.
    pub to_move: u32,
    /// Partitions of which a copy is on its way.
    pub moving: u32,
    /// Copies of partitions that are not counted yet: of nodes that came anew.
    pub uncounted: u32,
    /// Partitions of which no member that is up counts.
    pub unreachable: u32,
    /// Blocks with fewer copies than they should have.
    pub short: u64,
    /// Blocks without any copy that counts.
    pub lost: u64,
    /// Whether healing is suspended because too many nodes vanished at once.
    pub suspended: bool,
    /// Blocks copied since the index started.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
}

wire!(struct ClusterStatus {
    layout, pool, nodes, suspect, down, to_move, moving, uncounted, unreachable, short, lost, suspended, copied,
    copied_bytes
});

impl ClusterStatus {
    /// Whether everything is where it should be and everybody is there.
    pub fn is_healthy(&self) -> bool {
        let Self { suspect, down, to_move, moving, uncounted, unreachable, short, lost, suspended, .. } = self;
        [suspect, down, to_move, moving, uncounted, unreachable].iter().all(|n| **n == 0)
            && [short, lost].iter().all(|n| **n == 0)
            && !suspended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_there_and_back_and_are_not_printed() {
        let token = JoinToken([77; 32]);
        assert_eq!(token.reveal().parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains("4d"));
        assert_ne!(token.hash(), token.0);
    }
}
