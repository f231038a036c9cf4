//! Changes of nodes, placement and copies. FORMAT §12. Variants are only ever added at the end.

use super::Want;
use crate::command::{Packed, Register};
use serde::{Deserialize, Serialize};

/// One more receipt for a block of a [`Register`], of the same bytes as its cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoreCover {
    /// Its place in [`Register::ids`], among those with a cover.
    pub at: u32,
    /// The node, by its place in [`Register::nodes`].
    pub node: u32,
    /// The epoch of the grant.
    pub grant: u64,
}

/// A piece of what a node found in a partition after its floor, in order of id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The node's key.
    pub node: [u8; 32],
    /// The partition.
    pub partition: u16,
    /// The floor.
    pub floor: u64,
    /// It begins after this block, or at the beginning.
    pub after: Option<[u8; 32]>,
    /// Every block that is there.
    pub ids: Packed,
    /// The sums of their bytes.
    pub sums: Packed,
    /// It ends with this block, or at the end.
    pub upto: Option<[u8; 32]>,
}

/// A change of nodes, placement or copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A one-use token.
    AddToken {
        /// The hash of the token.
        hash: [u8; 32],
        /// The rack of whoever uses it.
        rack: String,
        /// When it is void, nanoseconds since 1970.
        expires_ns: i64,
    },
    /// A node joins, or says again who it is.
    Join {
        /// Its key.
        node: [u8; 32],
        /// The hash of its token; needed the first time.
        token: Option<[u8; 32]>,
        /// What it keeps blocks on.
        disk: [u8; 16],
        /// Bytes it may use.
        capacity: u64,
        /// Host and port.
        addresses: Vec<String>,
    },
    /// A node that is known from before there was a cluster, or is in the hands of the operator, joins.
    Adopt {
        /// Its key.
        node: [u8; 32],
        /// Its rack.
        rack: String,
        /// What it keeps blocks on.
        disk: [u8; 16],
        /// Bytes it may use.
        capacity: u64,
        /// Host and port.
        addresses: Vec<String>,
    },
    /// A node has moved to other addresses.
    Readdress {
        /// Its key.
        node: [u8; 32],
        /// Host and port.
        addresses: Vec<String>,
    },
    /// What a node is wanted for.
    Want {
        /// Its key.
        node: [u8; 32],
        /// What for.
        want: Want,
    },
    /// Its share relative to the others.
    Weigh {
        /// Its key.
        node: [u8; 32],
        /// The weight.
        weight: u64,
    },
    /// It stands in another rack.
    Rerack {
        /// Its key.
        node: [u8; 32],
        /// The rack.
        rack: String,
    },
    /// Its silence is expected until then, nanoseconds since 1970.
    Maintain {
        /// Its key.
        node: [u8; 32],
        /// Until when; `None` ends it.
        until_ns: Option<i64>,
    },
    /// It has been silent for so long that its copies do not count, or is back.
    Down {
        /// Its key.
        node: [u8; 32],
        /// Silent, or back.
        down: bool,
    },
    /// It came back without what it held.
    NewDisk {
        /// Its key.
        node: [u8; 32],
        /// What it keeps blocks on now.
        disk: [u8; 16],
    },
    /// The table that is wanted.
    ApplyLayout {
        /// The version of the layout this was planned for.
        based_on: u64,
        /// The byte of the pool.
        pool: u8,
        /// The table: FORMAT §11.
        table: Packed,
    },
    /// The next step of these partitions towards the table begins.
    Begin {
        /// Which.
        partitions: Vec<u16>,
    },
    /// The step that is under way is finished where it can be.
    Flip {
        /// Which.
        partitions: Vec<u16>,
    },
    /// A node has written its floor.
    Floored {
        /// Its key.
        node: [u8; 32],
        /// Where.
        partitions: Vec<u16>,
        /// Deletes at or below are void.
        floor: u64,
    },
    /// What a node found.
    Inventory(Chunk),
    /// Copies that a node has made or kept, under a grant.
    Copies {
        /// Its key.
        node: [u8; 32],
        /// The epoch of the grant.
        grant: u64,
        /// The blocks.
        ids: Packed,
        /// The sums of their bytes.
        sums: Packed,
    },
    /// Copies that a node no longer has, or not whole.
    Missing {
        /// Its key.
        node: [u8; 32],
        /// The blocks.
        ids: Packed,
    },
    /// A registration whose blocks have receipts of several nodes.
    Register {
        /// The registration, with one receipt each.
        register: Register,
        /// The other receipts.
        more: Vec<MoreCover>,
    },
}

impl Command {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddToken { .. } => "add join token",
            Self::Join { .. } => "join",
            Self::Adopt { .. } => "adopt node",
            Self::Readdress { .. } => "readdress node",
            Self::Want { .. } => "want node",
            Self::Weigh { .. } => "weigh node",
            Self::Rerack { .. } => "rerack node",
            Self::Maintain { .. } => "maintain node",
            Self::Down { .. } => "node down",
            Self::NewDisk { .. } => "new disk",
            Self::ApplyLayout { .. } => "apply layout",
            Self::Begin { .. } => "begin moves",
            Self::Flip { .. } => "flip",
            Self::Floored { .. } => "floored",
            Self::Inventory(_) => "inventory",
            Self::Copies { .. } => "copies",
            Self::Missing { .. } => "missing",
            Self::Register { .. } => "register",
        }
    }
}
