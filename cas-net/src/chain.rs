//! Chains: bytes that go from node to node, so that whoever has them sends them once. DESIGN §9, PROTOCOL §9.
//!
//! Promise: every node that is to have a block is answered for, by its own receipt or by why there is none. A node in between
//! could change what it passes on: whoever sends compares the sums in the receipts ([`Chained::vouched`]).

use crate::wire::wire;
use crate::{NodeId, Pending, PutBlock, Receipt, ServiceError};
use cas_core::id::{BlockId, Sum};
use std::collections::HashMap;

/// Nodes on the way of one block, at most: members as they are and as they will be.
pub const MAX_HOPS: usize = 8;
/// Nodes in all ways of one request.
pub const MAX_WAY_NODES: usize = 256;

const _: () = assert!(MAX_WAY_NODES <= u8::MAX as usize + 1);

/// Where blocks go after the node that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Way {
    /// All nodes that are meant.
    pub nodes: Vec<NodeId>,
    /// For each block the numbers of its nodes, in order.
    pub hops: Vec<Vec<u8>>,
    /// Whether those that are asked keep the blocks in the stead of members that are away, whatever they are members of.
    pub instead: bool,
}

wire!(struct Way { nodes, hops, instead });

/// What became of blocks that were sent on a way.
#[derive(Debug, Default)]
pub struct Chained {
    /// The word of nodes that keep some of them.
    pub receipts: Vec<Receipt>,
    /// Nodes that do not keep all they should, and why.
    pub failed: Vec<(NodeId, ServiceError)>,
}

wire!(struct Chained { receipts, failed });

/// Blocks that could not be sent at all.
#[derive(Debug)]
pub struct Returned {
    /// Why.
    pub why: ServiceError,
    /// The blocks, as far as there is still something to be done with them.
    pub blocks: Vec<PutBlock>,
}

/// The answer to blocks on their way.
pub type PendingChain = Pending<Chained, Returned>;

impl From<ServiceError> for Returned {
    fn from(why: ServiceError) -> Self {
        Self { why, blocks: Vec::new() }
    }
}

impl Way {
    /// Whether it fits so many blocks, and is not longer than any.
    ///
    /// # Errors
    /// [`ServiceError::Protocol`]: what is wrong with it.
    pub fn check(&self, blocks: usize) -> crate::Result<()> {
        let wrong = |what: &str| Err(ServiceError::Protocol(format!("PutOn: {what}")));
        if self.hops.len() != blocks {
            return wrong(&format!("{} ways for {blocks} blocks", self.hops.len()));
        }
        if self.nodes.len() > MAX_WAY_NODES || self.hops.iter().any(|hops| hops.len() > MAX_HOPS) {
            return wrong("a way is too long");
        }
        if self.hops.iter().flatten().any(|hop| usize::from(*hop) >= self.nodes.len()) {
            return wrong("a way leads to nobody");
        }
        let repeats = |hops: &Vec<u8>| (1..hops.len()).any(|at| hops[..at].contains(&hops[at]));
        if self.hops.iter().any(repeats) {
            return wrong("a way leads to a node twice");
        }
        Ok(())
    }
}

impl Chained {
    /// The receipts that are signed by nodes of the way and name what was sent; for every other node why it counts as
    /// failed.
    #[must_use]
    pub fn vouched(self, nodes: &[NodeId], sent: &HashMap<BlockId, Sum>) -> Self {
        let Self { receipts, mut failed } = self;
        let (mut good, bad): (Vec<Receipt>, Vec<Receipt>) = receipts.into_iter().partition(|receipt| {
            let names = |block: &crate::Received| sent.get(&block.id) == Some(&block.sum);
            nodes.contains(&receipt.node) && receipt.blocks.iter().all(names) && receipt.is_genuine()
        });
        good.sort_by_key(|receipt| receipt.node);
        let why = "its receipt is not what was sent: another node may have changed it on the way";
        failed.extend(bad.into_iter().map(|receipt| (receipt.node, ServiceError::Denied(why.into()))));
        Self { receipts: good, failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Received;
    use cas_core::id::{Epoch, Kind};
    use cas_core::signing::SigningKey;

    #[test]
    fn a_receipt_counts_only_if_its_node_signed_what_was_sent() {
        let (key, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let (id, sum) = (BlockId([1; 32]), Sum([2; 32]));
        let block = |sum| vec![Received { id, kind: Kind::Data, sum, len: 3 }];
        let nodes = [NodeId(key.public())];
        let sent = HashMap::from([(id, sum)]);
        let vouched = |receipt: Receipt| {
            let chained = Chained { receipts: vec![receipt], failed: vec![] }.vouched(&nodes, &sent);
            (chained.receipts.len(), chained.failed.len())
        };
        assert_eq!(vouched(Receipt::sign(&key, Epoch(5), block(sum))), (1, 0));
        assert_eq!(vouched(Receipt::sign(&key, Epoch(5), block(Sum([9; 32])))), (0, 1), "other bytes");
        assert_eq!(vouched(Receipt::sign(&other, Epoch(5), block(sum))), (0, 1), "a node that was not meant");
        let mut forged = Receipt::sign(&other, Epoch(5), block(sum));
        forged.node = nodes[0];
        assert_eq!(vouched(forged), (0, 1));
        let unknown = vec![Received { id: BlockId([7; 32]), kind: Kind::Data, sum, len: 3 }];
        assert_eq!(vouched(Receipt::sign(&key, Epoch(5), unknown)), (0, 1));
    }

    #[test]
    fn a_way_leads_somewhere_and_ends() {
        let nodes = vec![NodeId(cas_core::id::PublicKey::ZERO); 2];
        let way = |hops: Vec<Vec<u8>>| Way { nodes: nodes.clone(), hops, instead: false };
        assert!(way(vec![vec![0, 1], vec![]]).check(2).is_ok());
        assert!(way(vec![vec![0, 1]]).check(2).is_err());
        assert!(way(vec![vec![2]]).check(1).is_err());
        assert!(way(vec![vec![1, 0, 1]]).check(1).is_err());
        assert!(way(vec![vec![0; MAX_HOPS + 1]]).check(1).is_err());
    }
}
