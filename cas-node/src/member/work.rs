//! Carries out orders, one after the other in each lane, and answers them. What the index does not hear of it orders again.

use super::Inner;
use super::copy;
use super::desk::Lane;
use cas_core::id::{BlockId, Epoch};
use cas_net::cluster::{Cluster, Floored, InventoryChunk, MAX_INVENTORY, Order};
use cas_net::{Delete, Index, Node, Result, ServiceError, StoredBlock};

/// Works until the desk is closed.
pub fn run(inner: &Inner, lane: Lane) {
    while let Some(mut taken) = inner.desk.take(lane) {
        let order = taken.order.take().expect("nobody else takes it");
        let (name, before) = (name(&order), copied(inner));
        match carry_out(inner, order) {
            Ok(()) => {
                drop(taken);
                // Who has made copies and has nothing left to do asks for more at once.
                if lane == Lane::Copies && copied(inner) > before && inner.desk.under_way() == 0 {
                    inner.stop.wake();
                }
            }
            Err(why) if inner.store.check().is_err() => return inner.fail(why.to_string()),
            Err(why) => tracing::warn!(order = name, %why, "an order was not carried out"),
        }
    }
}

/// Copies that were made or were there.
fn copied(inner: &Inner) -> u64 {
    inner.metrics.copies.get() + inner.metrics.touched.get()
}

fn name(order: &Order) -> &'static str {
    match order {
        Order::Copy(_) => "copy",
        Order::Floor { .. } => "floor",
        Order::Inventory { .. } => "inventory",
        Order::Delete(_) => "delete",
        Order::Verify(_) => "verify",
    }
}

fn carry_out(inner: &Inner, order: Order) -> Result<()> {
    match order {
        Order::Copy(order) => copy::copy(inner, &order),
        Order::Floor { partitions, epoch } => floor(inner, partitions, epoch),
        Order::Inventory { partition, floor, after } => inventory(inner, partition, floor, after),
        Order::Delete(deletes) => delete(inner, &deletes),
        Order::Verify(ids) => verify(inner, &ids),
    }
}

fn floor(inner: &Inner, partitions: Vec<u16>, floor: Epoch) -> Result<()> {
    inner.store.set_floors(&partitions, floor)?;
    inner.link.cluster.floored(&Floored { node: inner.node, disk: inner.disk, partitions, floor })
}

/// Lists a partition in chunks. Whether a chunk is the last one is known when the next page is.
fn inventory(inner: &Inner, partition: u16, floor: Epoch, mut after: Option<BlockId>) -> Result<()> {
    if inner.store.floor(partition) < floor {
        inner.store.set_floor(partition, floor)?;
    }
    let list = |after| inner.store.list_partition(partition, after, MAX_INVENTORY);
    let mut page = list(after)?;
    loop {
        let upto = page.last().map(|block| block.id);
        let next = if upto.is_some() { list(upto)? } else { Vec::new() };
        let is_end = next.is_empty();
        let blocks = page.iter().map(|StoredBlock { id, sum, .. }| (*id, *sum)).collect();
        let (node, disk) = (inner.node, inner.disk);
        let upto = upto.filter(|_| !is_end);
        let fits =
            inner.link.cluster.inventory(&InventoryChunk { node, disk, partition, floor, after, blocks, upto })?;
        if is_end || !fits || inner.stop.is_said() {
            return Ok(());
        }
        (after, page) = (upto, next);
    }
}

fn delete(inner: &Inner, deletes: &[Delete]) -> Result<()> {
    let answers = inner.store.delete(deletes)?;
    inner.metrics.deletes.add(answers.iter().filter(|answer| **answer == cas_net::Deleted::Gone).count() as u64);
    let answers: Vec<_> = deletes.iter().copied().zip(answers).collect();
    inner.link.index.deleted(inner.node, &answers)
}

fn verify(inner: &Inner, ids: &[BlockId]) -> Result<()> {
    let mut lost = Vec::new();
    for id in ids {
        match inner.store.get(id) {
            Ok(_) => {}
            Err(ServiceError::NotFound { .. } | ServiceError::Damaged { .. }) => lost.push(*id),
            Err(e) => return Err(e),
        }
        if inner.stop.is_said() {
            break;
        }
    }
    if !lost.is_empty() {
        tracing::warn!(blocks = lost.len(), "blocks that the index asked for are lost here");
        inner.metrics.damaged.add(lost.len() as u64);
        inner.losses.note(lost);
        inner.stop.wake();
    }
    Ok(())
}
