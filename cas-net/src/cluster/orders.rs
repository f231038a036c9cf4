//! What the index has nodes do, and what they answer.

use super::DiskId;
use crate::wire::wire;
use crate::{Delete, Grant, NodeId};
use cas_core::id::{BlockId, Epoch, Sum};

/// A block to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyBlock {
    /// The block.
    pub id: BlockId,
    /// BLAKE3 of the bytes that are wanted: others are refused.
    pub sum: Sum,
    /// Their length.
    pub len: u32,
}

wire!(struct CopyBlock { id, sum, len });

/// Fetch these blocks from one of these nodes and keep them, under this grant.
#[derive(Debug, Clone)]
pub struct CopyOrder {
    /// Who has them, best first.
    pub from: Vec<NodeId>,
    /// Fresh leave to write; its session is 0.
    pub grant: Grant,
    /// What to copy.
    pub blocks: Vec<CopyBlock>,
}

wire!(struct CopyOrder { from, grant, blocks });

/// Something to do for a node.
#[derive(Debug, Clone)]
pub enum Order {
    /// Copy from others. What the node has already is touched under the grant. Answer: [`CopyDone`].
    Copy(CopyOrder),
    /// Make deletes bounded at or below this epoch void in these partitions, durably. Answer: [`Floored`].
    Floor {
        /// Which.
        partitions: Vec<u16>,
        /// The bound.
        epoch: Epoch,
    },
    /// List what lies in a partition, beginning after a block. Answer: chunks, until the end ([`InventoryChunk`]).
    Inventory {
        /// Which.
        partition: u16,
        /// The floor that was written before.
        floor: Epoch,
        /// Go on after this block.
        after: Option<BlockId>,
    },
    /// Delete. Answer: `Index::deleted`.
    Delete(Vec<Delete>),
    /// Look whether you still have these blocks, and whether they are whole. What is not comes with the next beat.
    Verify(Vec<BlockId>),
}

wire!(enum Order as "order" {
    0 = Copy(order), 1 = Floor { partitions, epoch }, 2 = Inventory { partition, floor, after }, 3 = Delete(deletes),
    4 = Verify(ids)
});

/// Why a copy was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFault {
    /// The source does not have the block.
    Absent,
    /// The source sent other bytes.
    WrongBytes,
    /// The source did not answer.
    Unreachable,
    /// There is no room here.
    Full,
}

wire!(enum CopyFault as "why a copy failed" { 0 = Absent, 1 = WrongBytes, 2 = Unreachable, 3 = Full });

/// A copy that was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFailed {
    /// The block.
    pub id: BlockId,
    /// Who was asked last.
    pub from: NodeId,
    /// Why.
    pub fault: CopyFault,
}

wire!(struct CopyFailed { id, from, fault });

/// What became of copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyDone {
    /// Who made them.
    pub node: NodeId,
    /// On what.
    pub disk: DiskId,
    /// The epoch of their grant.
    pub grant: Epoch,
    /// Those that are durable, with the sum of the bytes that lie there.
    pub stored: Vec<CopyBlock>,
    /// The others.
    pub failed: Vec<CopyFailed>,
}

wire!(struct CopyDone { node, disk, grant, stored, failed });

/// Deletes bounded at or below `floor` are void now in these partitions, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floored {
    /// Who says so.
    pub node: NodeId,
    /// On what.
    pub disk: DiskId,
    /// Which.
    pub partitions: Vec<u16>,
    /// The bound.
    pub floor: Epoch,
}

wire!(struct Floored { node, disk, partitions, floor });

/// A piece of what lies in a partition, in order of id, listed after the floor was durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryChunk {
    /// Who lists.
    pub node: NodeId,
    /// On what.
    pub disk: DiskId,
    /// Which partition.
    pub partition: u16,
    /// The floor.
    pub floor: Epoch,
    /// The piece begins after this block; `None`: at the beginning.
    pub after: Option<BlockId>,
    /// All that is there, with the sums of the bytes, up to and including `upto`.
    pub blocks: Vec<(BlockId, Sum)>,
    /// The piece ends here; `None`: this is the end.
    pub upto: Option<BlockId>,
}

wire!(struct InventoryChunk { node, disk, partition, floor, after, blocks, upto });

/// Somebody found that a node's copy is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Whose copy.
    pub node: NodeId,
    /// The block.
    pub id: BlockId,
}

wire!(struct Damage { node, id });
