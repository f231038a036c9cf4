//! What a plan would move: for people, before it is applied.

use super::{PARTITIONS, Plan};
use crate::id::PublicKey;
use std::collections::BTreeMap;

/// What changes for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTraffic {
    /// The node.
    pub node: PublicKey,
    /// Copies of partitions it holds before.
    pub before: u32,
    /// And after.
    pub after: u32,
    /// Copies that come to it.
    pub copies_in: u32,
    /// Copies that leave it.
    pub copies_out: u32,
    /// Bytes that come to it.
    pub bytes_in: u64,
    /// Bytes that leave it.
    pub bytes_out: u64,
}

/// What changes for all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// One for each node that holds something before or after, by key.
    pub nodes: Vec<NodeTraffic>,
    /// Copies that are made.
    pub copies: u32,
    /// Their bytes.
    pub bytes: u64,
}

impl Plan {
    /// What it would move. `partition_bytes` says how much each partition holds, in bytes of one copy.
    ///
    /// # Panics
    /// If that is not one number for each partition.
    pub fn traffic(&self, partition_bytes: &[u64]) -> Traffic {
        assert_eq!(partition_bytes.len(), PARTITIONS, "one number for each partition");
        let mut nodes: BTreeMap<PublicKey, NodeTraffic> = BTreeMap::new();
        let mut of = |node: PublicKey, change: &dyn Fn(&mut NodeTraffic)| {
            let empty =
                NodeTraffic { node, before: 0, after: 0, copies_in: 0, copies_out: 0, bytes_in: 0, bytes_out: 0 };
            change(nodes.entry(node).or_insert(empty));
        };
        for partition in 0..PARTITIONS as u16 {
            if let Some(before) = &self.before {
                before.members(partition).for_each(|node| of(node, &|n| n.before += 1));
            }
            self.table.members(partition).for_each(|node| of(node, &|n| n.after += 1));
        }
        let mut out = Traffic::default();
        for step in &self.moves {
            let bytes = partition_bytes[usize::from(step.partition)];
            if let Some(node) = step.to {
                of(node, &|n| (n.copies_in, n.bytes_in) = (n.copies_in + 1, n.bytes_in + bytes));
                (out.copies, out.bytes) = (out.copies + 1, out.bytes + bytes);
            }
            if let Some(node) = step.from {
                of(node, &|n| (n.copies_out, n.bytes_out) = (n.copies_out + 1, n.bytes_out + bytes));
            }
        }
        out.nodes = nodes.into_values().collect();
        out
    }
}
