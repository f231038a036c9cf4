//! Receipts: a node's word that blocks are durable, signed once per group.

use crate::NodeId;
use crate::wire::wire;
use cas_core::id::{BlockId, Epoch, Kind, Sum};
use cas_core::signing::{SIGNATURE_LEN, SigningKey, verify};

const PURPOSE: &str = "cas v1 receipt";

/// One block in a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The block.
    pub id: BlockId,
    /// What it is, as its header says: nobody can pass a page off as data and so hide its children.
    pub kind: Kind,
    /// The sum of the bytes that the node has (its own, if it had the block before).
    pub sum: Sum,
    /// Their length in bytes.
    pub len: u32,
}

wire!(struct Received { id, kind, sum, len });

/// A node's word that it holds these blocks durably, under a grant of this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Who says so.
    pub node: NodeId,
    /// The epoch of the grant under which they were put or touched.
    pub grant_epoch: Epoch,
    /// What it holds.
    pub blocks: Vec<Received>,
    signature: [u8; SIGNATURE_LEN],
}

wire!(struct Receipt { node, grant_epoch, blocks, signature });

impl Receipt {
    /// Signs a receipt.
    pub fn sign(key: &SigningKey, grant_epoch: Epoch, blocks: Vec<Received>) -> Self {
        let signature = key.sign(PURPOSE, &message(grant_epoch, &blocks));
        Self { node: NodeId(key.public()), grant_epoch, blocks, signature }
    }

    /// Whether the named node signed exactly this.
    pub fn is_genuine(&self) -> bool {
        verify(&self.node.0, PURPOSE, &message(self.grant_epoch, &self.blocks), &self.signature)
    }
}

fn message(grant_epoch: Epoch, blocks: &[Received]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + blocks.len() * 69);
    out.extend_from_slice(&grant_epoch.0.to_le_bytes());
    for block in blocks {
        out.extend_from_slice(block.id.as_bytes());
        out.push(block.kind as u8);
        out.extend_from_slice(block.sum.as_bytes());
        out.extend_from_slice(&block.len.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_holds_only_as_it_was_signed() {
        let key = SigningKey::from_seed(&[1; 32]);
        let block = Received { id: BlockId([1; 32]), kind: Kind::Data, sum: Sum([2; 32]), len: 3 };
        let receipt = Receipt::sign(&key, Epoch(5), vec![block]);
        assert!(receipt.is_genuine());
        assert!(!Receipt { grant_epoch: Epoch(6), ..receipt.clone() }.is_genuine());
        assert!(!Receipt { node: NodeId(PublicKey::ZERO), ..receipt.clone() }.is_genuine());
        assert!(!Receipt { blocks: vec![], ..receipt }.is_genuine());
    }

    use cas_core::id::PublicKey;
}
