//! Copies by order of the index: from peers, several at once, verified before they are kept.
//!
//! Promise: what is kept has the sum that the index named; what lies here already with that sum is touched, not fetched; a peer that
//! gives other bytes, or does not have what it should, is reported; nothing is answered as stored before it is durable.

use super::Inner;
use crate::verify::verify;
use cas_core::id::BlockId;
use cas_net::cluster::{Cluster, CopyBlock, CopyDone, CopyFailed, CopyFault, CopyOrder, Damage};
use cas_net::{Found, Node, NodeId, PendingReceipt, PutBlock, Receipt, Received, RemoteNode, Result, ServiceError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Bytes fetched with one request, about.
const STEP_BYTES: u64 = 4 << 20;
/// Blocks fetched with one request.
const STEP_BLOCKS: usize = 64;
/// Puts that wait for their sync.
const MAX_PENDING: usize = 2;

/// Carries out an order, and answers it.
pub fn copy(inner: &Inner, order: &CopyOrder) -> Result<()> {
    let steps = steps(&order.blocks);
    let next = AtomicUsize::new(0);
    let damage = Mutex::new(Vec::new());
    let fetchers = inner.settings.copy_fetchers.clamp(1, steps.len().max(1));
    let kept = std::thread::scope(|scope| {
        let (sender, fetched) = sync_channel(fetchers);
        for _ in 0..fetchers {
            let sender = sender.clone();
            scope.spawn(|| fetch_all(inner, order, &steps, &next, &damage, sender));
        }
        drop(sender);
        keep(inner, order, &fetched)
    });
    report(inner, damage.into_inner().unwrap_or_else(PoisonError::into_inner));
    let (stored, failed) = kept?;
    if stored.is_empty() && failed.is_empty() {
        return Ok(());
    }
    inner.metrics.copies_failed.add(failed.len() as u64);
    inner.link.cluster.copies_done(&CopyDone {
        node: inner.node,
        disk: inner.disk,
        grant: order.grant.epoch,
        stored,
        failed,
    })
}

/// What is fetched at once.
fn steps(blocks: &[CopyBlock]) -> Vec<&[CopyBlock]> {
    let (mut steps, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, block) in blocks.iter().enumerate() {
        if at > from && (at - from == STEP_BLOCKS || bytes + u64::from(block.len) > STEP_BYTES) {
            steps.push(&blocks[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += u64::from(block.len);
    }
    steps.push(&blocks[from..]);
    steps
}

/// What came of a step.
#[derive(Default)]
struct Fetched {
    blocks: Vec<PutBlock>,
    failed: Vec<CopyFailed>,
}

fn fetch_all(
    inner: &Inner,
    order: &CopyOrder,
    steps: &[&[CopyBlock]],
    next: &AtomicUsize,
    damage: &Mutex<Vec<Damage>>,
    to: SyncSender<Fetched>,
) {
    while !inner.stop.is_said() {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(step) = steps.get(at) else { return };
        let (fetched, found) = fetch(inner, order, step, at);
        damage.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        if to.send(fetched).is_err() {
            return;
        }
    }
}

/// Gets the blocks of a step: from here, or from one peer after the other, beginning with another one for each step.
fn fetch(inner: &Inner, order: &CopyOrder, step: &[CopyBlock], turn: usize) -> (Fetched, Vec<Damage>) {
    let (mut fetched, mut damage) = (Fetched::default(), Vec::new());
    let mut left: Vec<CopyBlock> = Vec::new();
    for wanted in step {
        match inner.store.read(&wanted.id) {
            Ok(block) if block.sum == wanted.sum => {
                inner.metrics.touched.add(1);
                fetched.blocks.push(block);
            }
            _ => left.push(*wanted),
        }
    }
    let nobody = NodeId(cas_core::id::PublicKey::ZERO);
    let mut faults = vec![(order.from.first().copied().unwrap_or(nobody), CopyFault::Unreachable); left.len()];
    let bytes = left.iter().map(|block| u64::from(block.len)).sum();
    if !left.is_empty() && inner.take_room(bytes).is_err() {
        faults.iter_mut().for_each(|(_, fault)| *fault = CopyFault::Full);
    } else {
        for from in sources(inner, order, turn) {
            if left.is_empty() || inner.stop.is_said() {
                break;
            }
            let got = ask(inner, from, &left);
            let (mut still, mut why) = (Vec::new(), Vec::new());
            for (wanted, got) in left.iter().zip(got) {
                match got {
                    Ok(block) => {
                        inner.metrics.copies.add(1);
                        inner.metrics.copied_bytes.add(block.bytes.len() as u64);
                        fetched.blocks.push(block);
                    }
                    Err(fault) => {
                        if fault != CopyFault::Unreachable {
                            damage.push(Damage { node: from, id: wanted.id });
                        }
                        still.push(*wanted);
                        why.push((from, fault));
                    }
                }
            }
            (left, faults) = (still, why);
        }
    }
    let failed = left.iter().zip(faults);
    fetched.failed.extend(failed.map(|(block, (from, fault))| CopyFailed { id: block.id, from, fault }));
    (fetched, damage)
}

/// Whom to ask, in turn; those that did not answer just now last.
fn sources(inner: &Inner, order: &CopyOrder, turn: usize) -> Vec<NodeId> {
    let mut from = order.from.clone();
    let count = from.len().max(1);
    from.rotate_left(turn % count);
    from.sort_by_key(|node| inner.link.avoids(&node.0));
    from
}

/// Asks one peer for blocks. Answers for each the block, verified, or why not.
fn ask(inner: &Inner, from: NodeId, wanted: &[CopyBlock]) -> Vec<Result<PutBlock, CopyFault>> {
    let mut got: Vec<Result<PutBlock, CopyFault>> = Vec::with_capacity(wanted.len());
    let ways = inner.link.peer(&inner.standing, &from.0);
    for (number, way) in ways.iter().enumerate() {
        while got.len() < wanted.len() {
            let rest = &wanted[got.len()..];
            if pace(inner, rest) {
                break;
            }
            match ask_on(way, rest) {
                Ok(some) if !some.is_empty() => got.extend(some),
                Ok(_) => break,
                Err(why) => {
                    tracing::debug!(peer = %from.0, %why, "a peer gives no copies");
                    break;
                }
            }
        }
        if got.len() == wanted.len() {
            inner.link.works(&from.0, number);
            return got;
        }
        if inner.stop.is_said() {
            break;
        }
    }
    inner.link.failed(&from.0);
    got.resize_with(wanted.len(), || Err(CopyFault::Unreachable));
    got
}

/// Waits until so many bytes may move. Answers whether the node stops.
fn pace(inner: &Inner, blocks: &[CopyBlock]) -> bool {
    let bytes = blocks.iter().map(|block| u64::from(block.len)).sum();
    let wait = inner.copying.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, Instant::now());
    !wait.is_zero() && inner.stop.sleep(wait)
}

/// One request: as many of the first blocks as one answer holds.
fn ask_on(way: &RemoteNode, wanted: &[CopyBlock]) -> Result<Vec<Result<PutBlock, CopyFault>>> {
    let ids: Vec<BlockId> = wanted.iter().map(|block| block.id).collect();
    let bytes: u64 = wanted.iter().map(|block| u64::from(block.len)).sum();
    let found = way.get_many(&ids, bytes.max(1))?;
    let told = wanted.iter().zip(found).map_while(|(wanted, found)| match found {
        Found::Here(block) => Some(checked(wanted, block)),
        Found::Absent => Some(Err(CopyFault::Absent)),
        Found::Damaged(_) => Some(Err(CopyFault::WrongBytes)),
        Found::Later => None,
    });
    Ok(told.collect())
}

/// What a peer says of a block is believed only as far as its bytes prove it.
fn checked(wanted: &CopyBlock, block: PutBlock) -> Result<PutBlock, CopyFault> {
    let block = PutBlock { sum: wanted.sum, ..block };
    match verify(&block) {
        Ok(()) => Ok(block),
        Err(_) => Err(CopyFault::WrongBytes),
    }
}

/// Keeps what was fetched. Answers what is durable, and what was not made.
fn keep(inner: &Inner, order: &CopyOrder, fetched: &Receiver<Fetched>) -> Result<(Vec<CopyBlock>, Vec<CopyFailed>)> {
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    let mut pending: VecDeque<Put> = VecDeque::new();
    let mut settle = |put: Put, failed: &mut Vec<CopyFailed>| -> Result<()> {
        match put.receipt.wait() {
            Ok(Receipt { blocks, .. }) => {
                stored.extend(blocks.iter().map(|Received { id, sum, len, .. }| CopyBlock {
                    id: *id,
                    sum: *sum,
                    len: *len,
                }));
                Ok(())
            }
            Err(ServiceError::Full { .. }) => {
                failed.extend(full(order, &put.ids));
                Ok(())
            }
            Err(e) => Err(e),
        }
    };
    for step in fetched {
        failed.extend(step.failed);
        if step.blocks.is_empty() {
            continue;
        }
        let ids: Vec<BlockId> = step.blocks.iter().map(|block| block.id).collect();
        match inner.store.put(&order.grant, step.blocks) {
            Ok(receipt) => pending.push_back(Put { ids, receipt }),
            Err(ServiceError::Full { .. }) => failed.extend(full(order, &ids)),
            Err(e) => return Err(e),
        }
        if pending.len() > MAX_PENDING {
            settle(pending.pop_front().expect("there are some"), &mut failed)?;
        }
    }
    for put in pending {
        settle(put, &mut failed)?;
    }
    Ok((stored, failed))
}

/// Blocks on their way to the disk.
struct Put {
    ids: Vec<BlockId>,
    receipt: PendingReceipt,
}

fn full(order: &CopyOrder, ids: &[BlockId]) -> Vec<CopyFailed> {
    let from = order.from.first().copied().unwrap_or(NodeId(cas_core::id::PublicKey::ZERO));
    ids.iter().map(|id| CopyFailed { id: *id, from, fault: CopyFault::Full }).collect()
}

/// Says whose copies are not what they should be. That it cannot be said now is no reason to fail: it is found again.
fn report(inner: &Inner, mut damage: Vec<Damage>) {
    damage.sort_by_key(|damage| (damage.node, damage.id));
    damage.dedup();
    for part in damage.chunks(cas_net::cluster::MAX_DAMAGE) {
        if let Err(why) = inner.link.cluster.report(part) {
            tracing::debug!(%why, blocks = part.len(), "damaged copies could not be reported");
        }
    }
}
