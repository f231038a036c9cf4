//! The layout with which an index begins that was made from nodes: who holds what, as they listed it. DESIGN §11.
//!
//! Promise: whoever holds anything of a partition is a member of it until it has been asked what it has (a floor, a list), so
//! that nothing is out of reach that was found, wherever moves had brought it. Nodes are known by their keys and join again with a
//! token: racks, addresses and disks are not found on them. Until somebody applies a layout, nothing moves.

use super::nodes::{NodeRow, Want};
use super::partition::{Count, Entry, PARTITION_COUNT, Partition, store_pool};
use crate::state::Meta;
use crate::tables::Tables;
use cas_core::id::BlockId;
use cas_core::layout::{PARTITIONS, Pool};

/// Holders of one partition that become members: those with the most blocks. Beyond this a partition would have been moved
/// as often without anybody asking for strays; what only the others have stays with them and counts as missing.
const MAX_HOLDERS: usize = 8;

/// Blocks by node and partition.
#[derive(Debug, Default)]
pub struct Holders {
    /// Number, key, and blocks in each partition.
    nodes: Vec<(u32, [u8; 32], Vec<u64>)>,
}

impl Holders {
    /// A node that is being listed.
    pub fn begin(&mut self, number: u32, key: [u8; 32]) {
        if self.nodes.iter().all(|(known, ..)| *known != number) {
            self.nodes.push((number, key, vec![0; PARTITIONS]));
        }
    }

    /// The node that is being listed holds this.
    pub fn note(&mut self, number: u32, id: &BlockId) {
        if let Some((.., blocks)) = self.nodes.iter_mut().find(|(known, ..)| *known == number) {
            blocks[usize::from(id.partition())] += 1;
        }
    }

    /// Writes the layout. A single node is a store that needs none: whoever joins first is believed to have everything.
    pub fn place(&self, tables: &mut impl Tables, meta: &mut Meta) {
        if self.nodes.len() < 2 {
            return;
        }
        for (number, key, _) in &self.nodes {
            unjoined(*number, meta).store(tables, key);
        }
        let pool = self.pool();
        for at in 0..PARTITION_COUNT {
            self.partition(at, pool, meta).store(tables, at);
        }
        store_pool(tables, pool);
        meta.bump_layout();
    }

    /// As many copies as there are of most blocks.
    fn pool(&self) -> Pool {
        let of = |at: usize| self.nodes.iter().map(move |(.., blocks)| blocks[at]);
        let copies: u64 = (0..PARTITIONS).flat_map(of).sum();
        let blocks: u64 = (0..PARTITIONS).filter_map(|at| of(at).max()).sum();
        match (copies + blocks / 2) / blocks.max(1) {
            0 | 1 => Pool::R1,
            2 => Pool::R2,
            _ if self.nodes.len() < 3 => Pool::R2,
            _ => Pool::R3,
        }
    }

    fn partition(&self, at: u16, pool: Pool, meta: &Meta) -> Partition {
        // Those that hold nothing come in another order in each partition.
        let mut order: Vec<(u64, u32)> =
            self.nodes.iter().map(|(number, _, blocks)| (blocks[usize::from(at)], *number)).collect();
        order.rotate_left(usize::from(at) % self.nodes.len());
        order.sort_by_key(|(blocks, _)| std::cmp::Reverse(*blocks));
        let holding = order.iter().take_while(|(blocks, _)| *blocks > 0).count();
        let members = if holding == 0 { pool.replicas() } else { holding.min(MAX_HOLDERS) };
        let entry = |(_, node): &(u64, u32)| {
            let (since, count) = (meta.epoch, Count::Floorless);
            Entry { node: *node, since, joins: false, leaves: false, count }
        };
        let mut target: Vec<u32> = order.iter().take(pool.replicas()).map(|(_, node)| *node).collect();
        target.sort_unstable();
        Partition { entries: order.iter().take(members).map(entry).collect(), target }
    }
}

/// A node of which only its key is known.
fn unjoined(number: u32, meta: &Meta) -> NodeRow {
    NodeRow {
        number,
        want: Want::New,
        down: true,
        since: meta.epoch,
        weight: 1,
        capacity: 0,
        maintenance_until_ns: None,
        disk: [0; 16],
        rack: String::new(),
        addresses: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{node_of, partition};
    use super::*;
    use crate::tables::MemTables;
    use cas_core::id::Epoch;

    fn block(at: u16, n: u8) -> BlockId {
        let mut id = [n; 32];
        id[..2].copy_from_slice(&(at << 4).to_be_bytes());
        BlockId(id)
    }

    fn placed(holders: &Holders) -> MemTables {
        let (mut tables, mut meta) = (MemTables::default(), Meta { epoch: Epoch(9), ..Meta::default() });
        holders.place(&mut tables, &mut meta);
        tables
    }

    #[test]
    fn whoever_holds_anything_is_a_member_and_those_with_most_are_wanted() {
        let mut holders = Holders::default();
        for number in 1..=5 {
            holders.begin(number, [number as u8; 32]);
        }
        for (number, blocks) in [(1, 1), (2, 4), (3, 4), (5, 4)] {
            (0..blocks).for_each(|n| holders.note(number, &block(7, n)));
        }
        let tables = placed(&holders);
        assert_eq!(partition::pool(&tables).unwrap(), Some(Pool::R3));
        let row = Partition::of(&tables, 7).unwrap().unwrap();
        assert_eq!(row.target, [2, 3, 5]);
        let mut members: Vec<u32> = row.entries.iter().map(|entry| entry.node).collect();
        members.sort_unstable();
        assert_eq!(members, [1, 2, 3, 5]);
        assert!(row.entries.iter().all(|entry| entry.count == Count::Floorless));
        assert_eq!(Partition::of(&tables, 8).unwrap().unwrap().entries.len(), 3);
        let node = node_of(&tables, &[4; 32]).unwrap().unwrap();
        assert!(node.rack.is_empty() && !node.counts());
    }

    #[test]
    fn as_many_copies_are_wanted_as_there_are_and_one_node_needs_no_layout() {
        for (copies, pool) in [(1, Pool::R1), (2, Pool::R2), (3, Pool::R3), (4, Pool::R3)] {
            let mut holders = Holders::default();
            (1..=4).for_each(|number| holders.begin(number, [number as u8; 32]));
            for at in 0..100 {
                (0..copies).for_each(|n| holders.note(1 + (u32::from(at) + n) % 4, &block(at, 1)));
            }
            assert_eq!(partition::pool(&placed(&holders)).unwrap(), Some(pool));
        }
        let mut alone = Holders::default();
        alone.begin(1, [1; 32]);
        alone.note(1, &block(1, 1));
        assert_eq!(placed(&alone), MemTables::default());
    }
}
