//! Commands: every change of an index as a value, with all that its result depends on. FORMAT §9.
//!
//! A command is logged, then applied; applying it again to the same state gives the same state and the same answer.
//! Time comes with it, conditions are tested when it is applied. Variants are only ever added at the end.

use cas_core::id::{BlockId, Sum};
use cas_net::encoding::{self, DecodeError};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The most edges (children of pages) one command may add or drop: bounds the time that readers wait.
pub const MAX_EDGES: usize = 65_536;

/// Bytes that are written as they stand.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Packed(pub Vec<u8>);

impl Packed {
    /// Ids one after the other.
    pub fn of_ids<'a>(ids: impl IntoIterator<Item = &'a BlockId>) -> Self {
        Self(ids.into_iter().flat_map(|id| id.0).collect())
    }

    /// How many 32-byte values it holds.
    pub fn count(&self) -> usize {
        self.0.len() / 32
    }

    /// The n-th 32-byte value.
    pub fn at(&self, n: usize) -> [u8; 32] {
        self.0[n * 32..n * 32 + 32].try_into().expect("32 bytes")
    }

    /// All ids; whatever follows the last whole one is left out.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = BlockId> + '_ {
        self.0.chunks_exact(32).map(|c| BlockId(c.try_into().expect("32 bytes")))
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Packed;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Packed, E> {
                Ok(Packed(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// What a verified receipt says of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCover {
    /// The node's key.
    pub node: [u8; 32],
    /// The epoch of the grant under which it was put.
    pub grant: u64,
    /// BLAKE3 of the stored bytes.
    pub sum: [u8; 32],
    /// Their length in bytes.
    pub len: u32,
}

impl ObjectCover {
    /// The sum.
    pub fn sum(&self) -> Sum {
        Sum(self.sum)
    }
}

/// What verified receipts say of one block of a [`Register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// Length of the stored bytes.
    pub len: u32,
    /// The newest grant epoch with this sum.
    pub grant: u64,
    /// The node, by its place in [`Register::nodes`].
    pub node: u32,
}

/// A page or list of a [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPage {
    /// Its place in [`Register::ids`].
    pub at: u32,
    /// The byte of its kind.
    pub kind: u8,
    /// The places of its children, each once.
    pub children: Vec<u32>,
}

/// Pages and what they hold. The first ids have a sum and a cover.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Register {
    /// The session.
    pub session: u64,
    /// Keys of the nodes that the covers name.
    pub nodes: Packed,
    /// Every block that is named here, once.
    pub ids: Packed,
    /// Sums of the first ids.
    pub sums: Packed,
    /// What receipts say of the first ids.
    pub covers: Vec<Cover>,
    /// The pages and lists, children before parents.
    pub pages: Vec<NewPage>,
}

/// A change of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a node known.
    AddNode {
        /// Its key.
        node: [u8; 32],
    },
    /// A new keyring of a vault.
    PutKeyring {
        /// The keyring object.
        object: Packed,
        /// Its receipts.
        covers: Vec<ObjectCover>,
    },
    /// Starts a push session; its number is the epoch of this command.
    StartSession {
        /// The vault.
        vault: [u8; 16],
        /// The domain.
        domain: [u8; 16],
        /// The device.
        device: [u8; 32],
        /// For people.
        label: String,
    },
    /// Ends a session that was closed or expired.
    EndSession {
        /// Which.
        session: u64,
    },
    /// Ends all sessions but these.
    EndSessionsExcept {
        /// Those that go on.
        keep: Vec<u64>,
    },
    /// Protects unreferenced blocks for a session.
    Touch {
        /// Which session.
        session: u64,
        /// The blocks.
        ids: Packed,
    },
    /// Pages and what they hold.
    Register(Register),
    /// A new version of a name.
    Commit {
        /// The session, which ends.
        session: u64,
        /// Idempotency.
        key: [u8; 16],
        /// The snapshot object.
        object: Packed,
        /// Its receipts.
        covers: Vec<ObjectCover>,
    },
    /// Moves a version to the trash.
    Forget {
        /// The removal object.
        removal: Packed,
        /// Its receipts.
        covers: Vec<ObjectCover>,
    },
    /// Brings a version back from the trash: as logs have it that are older than [`Command::Return`].
    Undelete {
        /// The snapshot.
        snapshot: [u8; 32],
    },
    /// Removes what went to the trash before a time.
    EmptyTrash {
        /// Nanoseconds since 1970.
        before_ns: i64,
        /// At most so many versions.
        limit: u32,
    },
    /// Condemns unreferenced blocks.
    Condemn {
        /// At most so many.
        limit: u32,
    },
    /// What a node answered to deletes.
    Deleted {
        /// The node's key.
        node: [u8; 32],
        /// The blocks.
        ids: Packed,
        /// Per block the epoch of the delete.
        epochs: Vec<u64>,
        /// Per block whether the node no longer has it.
        gone: Vec<bool>,
    },
    /// Marks blocks bad or good.
    Mark {
        /// The blocks.
        ids: Packed,
        /// Bad or good.
        bad: bool,
    },
    /// Lets the collector go on although not everything could be read at the rebuild.
    ReleaseHold,
    /// People and rights, and commands that a device gives.
    Rights(crate::rights::Command),
    /// Nodes, placement and copies.
    Cluster(crate::cluster::Command),
    /// Brings a version back from the trash.
    Return {
        /// The object that takes the removal back.
        returning: Packed,
        /// Its receipts.
        covers: Vec<ObjectCover>,
    },
}

impl Command {
    /// Its bytes in the log.
    pub fn encode(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// Reads the bytes of a log record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::from_bytes(bytes)
    }

    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddNode { .. } => "add node",
            Self::PutKeyring { .. } => "put keyring",
            Self::StartSession { .. } => "start session",
            Self::EndSession { .. } => "end session",
            Self::EndSessionsExcept { .. } => "end sessions except",
            Self::Touch { .. } => "touch",
            Self::Register(_) => "register",
            Self::Commit { .. } => "commit",
            Self::Forget { .. } => "forget",
            Self::Undelete { .. } | Self::Return { .. } => "undelete",
            Self::EmptyTrash { .. } => "empty trash",
            Self::Condemn { .. } => "condemn",
            Self::Deleted { .. } => "deleted",
            Self::Mark { .. } => "mark",
            Self::ReleaseHold => "release hold",
            Self::Rights(_) => "rights",
            Self::Cluster(command) => command.name(),
        }
    }
}

#[cfg(test)]
mod tests;
