//! Requests to a node: one for each method of [`Node`](crate::Node). PROTOCOL §9.

use super::Family;
use crate::chain::Way;
use crate::wire::{calls, wire};
use crate::{Delete, Deleted, Grant, NodeStats, Scrubbed, StoredBlock};
use cas_core::id::{BlockId, DomainId, Kind, Sum};

/// A block to keep, without its bytes: those are the body in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutHead {
    /// Its name.
    pub id: BlockId,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub domain: DomainId,
    /// BLAKE3 of the bytes.
    pub sum: Sum,
}

wire!(struct PutHead { id, kind, domain, sum });

/// What a node has of one of several blocks. The body of one that is here follows, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundHead {
    /// It is here.
    Here(PutHead),
    /// It is not here.
    Absent,
    /// Its stored bytes are wrong: where and how.
    Damaged(String),
    /// The answer was long enough without it.
    Later,
}

wire!(enum FoundHead as "what a node has of a block" { 0 = Here(head), 1 = Absent, 2 = Damaged(detail), 3 = Later });

calls! { Family::Node;
    /// `Node::offer`; a second answer is the receipt of what the node has.
    1 again Offer {
        /// The grant.
        grant: Grant,
        /// The blocks.
        ids: Vec<BlockId>,
    } -> Vec<bool>;
    /// `Node::put`; the bodies are the blocks' bytes, a second answer is their receipt.
    2 again Put {
        /// The grant.
        grant: Grant,
        /// What the bodies are.
        blocks: Vec<PutHead>,
    } -> ();
    /// `Node::get`; the body of the answer is the block.
    3 again Get {
        /// The block.
        id: BlockId,
    } -> ();
    /// `Node::locality`.
    4 again Locality {
        /// The blocks.
        ids: Vec<BlockId>,
    } -> Vec<Option<u64>>;
    /// `Node::delete`.
    5 again DeleteBlocks {
        /// The orders.
        deletes: Vec<Delete>,
    } -> Vec<Deleted>;
    /// `Node::list`; an answer may be shorter than the limit before the end: an empty one is the end.
    6 again List {
        /// After this block.
        after: Option<BlockId>,
        /// At most so many.
        limit: u32,
    } -> Vec<StoredBlock>;
    /// `Node::scrub`.
    7 again Scrub {
        /// After this block.
        after: Option<BlockId>,
        /// About so many bytes.
        byte_limit: u64,
    } -> Scrubbed;
    /// `Node::compact`.
    8 again Compact {
        /// The share of dead bytes that may stay.
        dead_share: f64,
    } -> u64;
    /// `Node::stats`.
    9 again Stats {} -> NodeStats;
    /// `Node::close`: makes its cache durable; the server goes on.
    10 again Close {} -> ();
    /// `Node::get_many`; bodies follow for those that are here.
    11 again GetMany {
        /// The blocks.
        ids: Vec<BlockId>,
        /// About so many bytes of them.
        byte_limit: u64,
    } -> Vec<FoundHead>;
    /// `Node::put_on`; the bodies are the blocks' bytes, a second answer is what became of them ([`Chained`](crate::chain::Chained)).
    12 again PutOn {
        /// The grant.
        grant: Grant,
        /// Where they go afterwards.
        way: Way,
        /// What the bodies are.
        blocks: Vec<PutHead>,
    } -> ();
}
