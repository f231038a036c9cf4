//! The layout as nodes and clients know it: who is a member of which partition, and on which way.

use super::NodeInfo;
use crate::NodeId;
use crate::wire::wire;
use cas_core::id::BlockId;
use cas_core::layout::Pool;

/// A member of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its place in [`Layout::nodes`].
    pub node: u16,
    /// Bits: see the methods.
    pub flags: u8,
}

wire!(struct Member { node, flags });

impl Member {
    /// It is on its way in: it takes writes, an acknowledgement without it would be of the old members alone.
    pub const JOINING: u8 = 1;
    /// It is on its way out, and takes writes until then.
    pub const LEAVING: u8 = 2;
    /// Not everything that it should have is known to be there: readers ask others first.
    pub const UNCOUNTED: u8 = 4;

    /// See [`Self::JOINING`].
    pub fn joins(self) -> bool {
        self.flags & Self::JOINING != 0
    }

    /// See [`Self::LEAVING`].
    pub fn leaves(self) -> bool {
        self.flags & Self::LEAVING != 0
    }

    /// See [`Self::UNCOUNTED`].
    pub fn is_uncounted(self) -> bool {
        self.flags & Self::UNCOUNTED != 0
    }
}

/// Who is a member of which partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Rises with each change.
    pub version: u64,
    /// The number of copies that is wanted: the byte of a [`Pool`].
    pub pool: u8,
    /// All nodes that have joined.
    pub nodes: Vec<NodeInfo>,
    /// The members of each partition.
    pub partitions: Vec<Vec<Member>>,
}

wire!(struct Layout { version, pool, nodes, partitions });

impl Layout {
    /// The pool, if this version knows it.
    pub fn pool(&self) -> Option<Pool> {
        Pool::from_byte(self.pool)
    }

    /// The members of the partition of a block; none if the layout is malformed.
    pub fn members(&self, id: &BlockId) -> &[Member] {
        self.partitions.get(usize::from(id.partition())).map_or(&[], |members| &members[..])
    }

    /// The node of a member.
    pub fn node(&self, member: Member) -> Option<&NodeInfo> {
        self.nodes.get(usize::from(member.node))
    }

    /// Whether a node may take writes of this block.
    pub fn takes(&self, node: &NodeId, id: &BlockId) -> bool {
        self.members(id).iter().any(|member| self.node(*member).is_some_and(|info| info.node == *node))
    }

    /// Whether these nodes are enough to acknowledge a block: the minimum among the members as they were, and among those that
    /// will be. Nodes that are no members stand in for some that are away.
    pub fn is_enough(&self, id: &BlockId, stored: &[NodeId]) -> bool {
        let minimum = self.pool().map_or(usize::MAX, Pool::minimum);
        let is_member = |node: &NodeId| self.takes(node, id);
        let extra = stored.iter().filter(|node| !is_member(node)).count();
        let enough = |counts: &dyn Fn(&Member) -> bool| {
            let set = self.members(id).iter().filter(|member| counts(member));
            let has = |member: &&Member| self.node(**member).is_some_and(|info| stored.contains(&info.node));
            let size = set.clone().count();
            size > 0 && set.filter(has).count() + extra >= minimum.min(size)
        };
        enough(&|member| !member.joins()) && enough(&|member| !member.leaves())
    }
}
