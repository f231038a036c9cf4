//! Orders leave with the answers to beats; nodes answer with copies, floors and lists.

use crate::cluster::command::Chunk;
use crate::cluster::planner::Draft;
use crate::cluster::{self, Command, Count, NodeRow, Partition};
use crate::command::Packed;
use crate::service::Index;
use crate::state::Meta;
use cas_core::id::{Epoch, PublicKey};
use cas_net::cluster::{CopyDone, CopyFault, CopyOrder, Damage, Floored, InventoryChunk, MAX_INVENTORY, Order};
use cas_net::{Grant, NodeId, Result, ServiceError, SessionId};
use std::collections::HashMap;

/// The session of grants for healing and moving.
const HEALING: SessionId = SessionId(0);

impl Index {
    pub(super) fn orders(&self, node: &NodeRow, key: PublicKey) -> Result<Vec<Order>> {
        let (drafts, meta, keys) = {
            let tables = self.tables();
            let rows = cluster::nodes(&*tables)?;
            let (meta, alive) = (Meta::load(&*tables)?, self.alive(&rows, self.now_ns()));
            let mut desk = self.desk.open();
            let now_ns = desk.now_ns;
            let drafts = desk.planner.orders(&*tables, &meta, node.number, &alive, now_ns)?;
            let keys: HashMap<u32, PublicKey> = rows.into_iter().map(|row| (row.1.number, row.0)).collect();
            (drafts, meta, keys)
        };
        let verify = self.desk.open().verify.remove(&key).unwrap_or_default();
        let mut orders = if verify.is_empty() { Vec::new() } else { vec![Order::Verify(verify)] };
        for draft in drafts {
            orders.push(match draft {
                Draft::Floor(partitions) => Order::Floor { partitions, epoch: self.durable_from(Epoch(meta.layout))? },
                Draft::Inventory { partition, floor, after } => Order::Inventory { partition, floor, after },
                Draft::Copy { from, blocks, not_older } => {
                    let grant = Grant::sign(&self.key, HEALING, self.durable_from(not_older)?, true);
                    let from = from.iter().filter_map(|node| keys.get(node)).map(|key| NodeId(*key)).collect();
                    Order::Copy(CopyOrder { from, grant, blocks })
                }
                Draft::Delete(deletes) => {
                    // Deletes leave when their condemnation is durable.
                    let newest = deletes.iter().map(|delete| delete.epoch).max().unwrap_or_default();
                    self.durable_from(newest)?;
                    Order::Delete(deletes)
                }
            });
        }
        Ok(orders)
    }

    pub(super) fn take_copies(&self, done: &CopyDone) -> Result<()> {
        let row = self.row_on(done.node, &done.disk)?;
        {
            let mut desk = self.desk.open();
            done.stored.iter().for_each(|block| desk.planner.answered(row.number, &block.id));
            done.failed.iter().for_each(|failed| desk.planner.answered(row.number, &failed.id));
            desk.copied += done.stored.len() as u64;
            desk.copied_bytes += done.stored.iter().map(|block| u64::from(block.len)).sum::<u64>();
        }
        if !done.stored.is_empty() {
            let ids = Packed::of_ids(done.stored.iter().map(|block| &block.id));
            let sums = Packed(done.stored.iter().flat_map(|block| block.sum.0).collect());
            self.note(Command::Copies { node: done.node.0.0, grant: done.grant.0, ids, sums })?;
        }
        let blamed = done.failed.iter().filter(|f| matches!(f.fault, CopyFault::Absent | CopyFault::WrongBytes));
        self.take_reports(&blamed.map(|failed| Damage { node: failed.from, id: failed.id }).collect::<Vec<_>>())
    }

    pub(super) fn take_floors(&self, floored: &Floored) -> Result<()> {
        self.row_on(floored.node, &floored.disk)?;
        let (node, partitions) = (floored.node.0.0, floored.partitions.clone());
        self.note(Command::Floored { node, partitions, floor: floored.floor.0 })
    }

    pub(super) fn take_inventory(&self, chunk: &InventoryChunk) -> Result<bool> {
        let row = self.row_on(chunk.node, &chunk.disk)?;
        if chunk.blocks.len() > MAX_INVENTORY {
            return Err(ServiceError::Denied(format!("an inventory of more than {MAX_INVENTORY} blocks at once")));
        }
        let command = Command::Inventory(Chunk {
            node: chunk.node.0.0,
            partition: chunk.partition,
            floor: chunk.floor.0,
            after: chunk.after.map(|id| id.0),
            ids: Packed::of_ids(chunk.blocks.iter().map(|(id, _)| id)),
            sums: Packed(chunk.blocks.iter().flat_map(|(_, sum)| sum.0).collect()),
            upto: chunk.upto.map(|id| id.0),
        });
        match self.note(command) {
            Ok(()) => {}
            Err(ServiceError::NotFound { .. }) => return Ok(false),
            Err(other) => return Err(other),
        }
        let partition = Partition::of(&*self.tables(), chunk.partition)?;
        let count = partition.and_then(|partition| partition.entry(row.number).map(|entry| entry.count));
        let expected = match chunk.upto {
            None => Count::Counted,
            upto => Count::Listing { floor: chunk.floor, upto },
        };
        Ok(count == Some(expected))
    }
}
