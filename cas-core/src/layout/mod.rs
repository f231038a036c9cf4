//! Placement: which nodes hold the copies of each partition of a pool. DESIGN §8, FORMAT §11.
//!
//! Promise: [`plan`] is a function of the table as it is, of the nodes and of the pool; equal arguments give equal
//! plans on every machine, whatever the order of the nodes. In its table every partition has as many members as the
//! pool wants, on distinct nodes, over as many racks as there can be and evenly; every node holds its share of the
//! weight to less than a copy up or down; and little more moves than must, for shares to be met.
//! It refuses what cannot be: see [`LayoutError`]. A plan is a value: what it would move is seen before it is applied.
//! Not here: who is alive, and how copies get from node to node.
//!
//! **The algorithm.** Shares come from a water level (weights, bounded by what a node and a rack can hold).
//! Free places go to the node that wins a rendezvous (highest random weight: Thaler & Ravishankar, 1998) in which the
//! drawn number is multiplied by what the node still lacks, with shares as hard bounds (in the spirit of *consistent
//! hashing with bounded loads*, Mirrokni, Thorup & Zadimoghaddam, 2018); so the copies of a lost node have their
//! others everywhere. What is left unbalanced moves along shortest augmenting paths between nodes (Edmonds & Karp,
//! 1972), as in the layouts of Garage (Auvolat & Oulamara, 2022), which solve the same flow problem exactly.

mod moves;
mod plan;
mod shares;
mod table;

#[cfg(test)]
mod tests;

pub use moves::{NodeTraffic, Traffic};
pub use plan::{Move, Plan, plan};
pub use table::Table;

use crate::id::PublicKey;
use std::fmt;
use std::str::FromStr;

/// Groups of blocks that are placed as one: see [`BlockId::partition`](crate::id::BlockId::partition).
pub const PARTITIONS: usize = 4096;

/// The most nodes a layout may have.
pub const MAX_NODES: usize = 4096;

/// The most bytes in the name of a rack.
pub const MAX_RACK: usize = 64;

/// How often a block is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Pool {
    /// One copy.
    R1 = 1,
    /// Two copies.
    R2 = 2,
    /// Three copies.
    R3 = 3,
}

impl Pool {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::R1, Self::R2, Self::R3];

    /// How many members a partition has.
    pub fn replicas(self) -> usize {
        self as usize
    }

    /// How many copies an acknowledgement needs.
    pub fn minimum(self) -> usize {
        self.replicas().min(2)
    }

    /// Reads the byte of a format.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|pool| *pool as u8 == byte)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::R1 => "r1",
            Self::R2 => "r2",
            Self::R3 => "r3",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pool {
    type Err = LayoutError;

    fn from_str(word: &str) -> Result<Self, LayoutError> {
        let known = Self::ALL.into_iter().find(|pool| pool.name() == word);
        known.ok_or_else(|| match word.strip_prefix("ec") {
            Some(_) => LayoutError::CodedPool(word.to_owned()),
            None => LayoutError::UnknownPool(word.to_owned()),
        })
    }
}

/// What a node is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NodeState {
    /// Holds its share.
    Member = 0,
    /// Is to hold nothing, and gives away what it has.
    Draining = 1,
    /// Is lost or removed: nothing can be read from it.
    Gone = 2,
}

impl NodeState {
    /// Reads the byte of a format.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Member, Self::Draining, Self::Gone].into_iter().find(|state| *state as u8 == byte)
    }
}

/// A node as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Who it is.
    pub key: PublicKey,
    /// What fails together with it.
    pub rack: String,
    /// Its share relative to the others: usually its bytes of capacity. One of weight 0 holds nothing.
    pub weight: u64,
    /// What it is wanted for.
    pub state: NodeState,
}

impl Node {
    /// Whether it may hold copies.
    pub fn holds(&self) -> bool {
        self.state == NodeState::Member && self.weight > 0
    }
}

/// Why there can be no such layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// More nodes are needed: add some, end a drain, or choose a pool with fewer copies.
    #[error("pool {pool} needs {needed} nodes that hold data, there are {found}")]
    TooFewNodes {
        /// The pool.
        pool: Pool,
        /// How many it needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// More than a layout may have.
    #[error("{0} nodes; a layout has at most {MAX_NODES}")]
    TooManyNodes(usize),
    /// A node stands there twice.
    #[error("node {0} is named twice")]
    NamedTwice(PublicKey),
    /// An erasure-coded pool.
    #[error("pool {0}: erasure coding is not available in this version; known are r1, r2, r3")]
    CodedPool(String),
    /// No such pool.
    #[error("pool {0:?} is unknown; known are r1, r2, r3")]
    UnknownPool(String),
}
