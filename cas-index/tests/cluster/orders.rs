//! Time passes: nodes beat, and carry out what they are told, if the message arrives.

use crate::node::SimNode;
use crate::{SECOND, Sim};
use cas_core::id::{BlockId, Sum};
use cas_net::cluster::{
    Beat, Cluster, CopyBlock, CopyDone, CopyFailed, CopyFault, Floored, InventoryChunk, Load, Order, Space,
};
use cas_net::{Grant, Index as _, NodeId};

impl Sim {
    /// So many seconds go by; nodes that are up beat, and carry out what they are told.
    pub fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_ns += SECOND;
            self.clock.turn(SECOND);
            if self.now_ns / SECOND % 2 == 0 {
                self.beats(true);
            }
            self.index().tick(self.now_ns).unwrap();
        }
    }

    pub fn beats(&mut self, reliably: bool) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].is_up {
                continue;
            }
            let node = &self.nodes[n];
            let (space, load) = (Space::default(), Load::default());
            let (id, disk) = (node.id(), node.disk);
            let beat =
                Beat { node: id, disk, addresses: vec![], space, load, layout: 0, damage: vec![], takes_orders: true };
            let orders = self.index().beat(&beat).unwrap().orders;
            self.nodes[n].said = disk;
            for order in orders {
                if reliably || !self.dice.chance(4) {
                    self.carry_out(n, order, reliably);
                }
            }
        }
    }

    fn carry_out(&mut self, n: usize, order: Order, reliably: bool) {
        let (id, disk) = (self.nodes[n].id(), self.nodes[n].disk);
        match order {
            Order::Floor { partitions, epoch } => {
                for partition in &partitions {
                    let floor = self.nodes[n].floors.entry(*partition).or_default();
                    *floor = epoch.max(*floor);
                }
                self.index().floored(&Floored { node: id, disk, partitions, floor: epoch }).unwrap();
            }
            Order::Inventory { partition, floor, after } => {
                let inside = |id: &BlockId| id.partition() == partition && after.is_none_or(|after| *id > after);
                let copies = self.nodes[n].copies.iter().filter(|(id, _)| inside(id));
                let mut blocks: Vec<(BlockId, Sum)> =
                    copies.map(|(id, copies)| (*id, *copies.keys().next().unwrap())).collect();
                // Sometimes in small pieces.
                let upto = (blocks.len() > 1 && self.dice.chance(2)).then(|| blocks[0].0);
                blocks.truncate(if upto.is_some() { 1 } else { blocks.len() });
                let chunk = InventoryChunk { node: id, disk, partition, floor, after, blocks, upto };
                self.index().inventory(&chunk).unwrap();
            }
            Order::Copy(order) => {
                assert!(order.grant.is_from(&self.index().public_key()));
                let (mut stored, mut failed) = (Vec::new(), Vec::new());
                for block in order.blocks {
                    self.copy(n, &order.from, &order.grant, block, &mut stored, &mut failed);
                }
                let done = CopyDone { node: id, disk, grant: order.grant.epoch, stored, failed };
                if reliably || !self.dice.chance(4) {
                    self.index().copies_done(&done).unwrap();
                }
            }
            Order::Delete(deletes) => {
                let mut answers = Vec::new();
                for delete in deletes {
                    if self.dice.chance(8) {
                        self.late.push((n, delete));
                    }
                    answers.push((delete, self.nodes[n].carry(&delete)));
                }
                self.index().deleted(id, &answers).unwrap();
            }
            Order::Verify(_) => {}
        }
    }

    fn copy(
        &mut self,
        n: usize,
        from: &[NodeId],
        grant: &Grant,
        block: CopyBlock,
        stored: &mut Vec<CopyBlock>,
        failed: &mut Vec<CopyFailed>,
    ) {
        let gives = |node: &&SimNode| from.contains(&node.id()) && node.is_up && node.has(&block.id, &block.sum);
        let own = self.nodes[n].copies.get(&block.id).and_then(|copies| copies.get(&block.sum)).cloned();
        let source =
            own.or_else(|| self.nodes.iter().find(gives).map(|source| source.copies[&block.id][&block.sum].clone()));
        let Some(source) = source else {
            failed.push(CopyFailed { id: block.id, from: from[0], fault: CopyFault::Unreachable });
            return;
        };
        let kept = self.nodes[n].copies.entry(block.id).or_default().entry(block.sum).or_insert(source);
        kept.put_epoch = kept.put_epoch.max(grant.epoch);
        stored.push(block);
    }
}
