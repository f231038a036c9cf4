//! Blocks on their way from node to node: kept here, sent on at the same time. DESIGN §9, PROTOCOL §9.
//!
//! Promise: for every node of a way there is a receipt of its own, or why not; one that does not answer is passed over. Bytes are
//! kept no longer than they are under way: whoever must be sent them after all is sent those that are durable here.

use super::Inner;
use super::turns::Turn;
use cas_core::id::BlockId;
use cas_net::chain::{Chained, PendingChain, Returned, Way};
use cas_net::{Grant, Node, NodeId, PendingReceipt, PutBlock, Result, ServiceError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks that go to the same node next.
#[derive(Default)]
struct Leg {
    blocks: Vec<PutBlock>,
    /// What comes after that node, for each block.
    rest: Vec<Vec<u8>>,
}

/// A leg that is under way.
struct Sent {
    to: NodeId,
    ids: Vec<BlockId>,
    rest: Vec<Vec<u8>>,
    chain: Result<PendingChain, Returned>,
}

/// Keeps blocks and sends them on. Answers as soon as they are on their way.
pub fn put_on(
    inner: &Arc<Inner>,
    grant: &Grant,
    blocks: Vec<PutBlock>,
    way: Way,
    turn: Option<Turn>,
) -> Result<PendingChain, Returned> {
    way.check(blocks.len())?;
    let legs = legs(blocks.iter(), way.hops.clone());
    // On their way first: the others are as slow as this disk.
    let mut sent: Vec<Sent> = legs.into_iter().map(|(to, leg)| send(inner, grant, &way, to, leg)).collect();
    let mut own = inner.put(grant, blocks);
    let mut hurries: Vec<_> = sent.iter_mut().filter_map(|sent| sent.chain.as_mut().ok()?.take_hurry()).collect();
    hurries.extend(own.as_mut().ok().and_then(PendingReceipt::take_hurry));
    let (answer, pending) = PendingChain::new();
    let (inner, grant) = (inner.clone(), *grant);
    inner.network.clone().runtime().spawn_blocking(move || {
        let _ = answer.send(Ok(settle(&inner, &grant, &way, own, sent))); // Nobody waits any more.
        drop(turn);
    });
    let hurries = std::sync::Mutex::new(hurries);
    Ok(pending.hurried_by(move || {
        let hurries = hurries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        hurries.iter().for_each(|hurry| hurry());
    }))
}

/// Blocks by where they go next.
fn legs<'a>(blocks: impl Iterator<Item = &'a PutBlock>, hops: Vec<Vec<u8>>) -> BTreeMap<u8, Leg> {
    let mut legs: BTreeMap<u8, Leg> = BTreeMap::new();
    for (block, hops) in blocks.zip(hops) {
        if let Some((next, rest)) = hops.split_first() {
            let leg = legs.entry(*next).or_default();
            leg.blocks.push(block.clone());
            leg.rest.push(rest.to_vec());
        }
    }
    legs
}

fn send(inner: &Inner, grant: &Grant, way: &Way, to: u8, leg: Leg) -> Sent {
    let Way { nodes, instead, .. } = way;
    let to = nodes[usize::from(to)];
    let Leg { blocks, rest } = leg;
    let ids = blocks.iter().map(|block| block.id).collect::<Vec<_>>();
    inner.metrics.sent_on.add(ids.len() as u64);
    let way = Way { nodes: nodes.clone(), hops: rest.clone(), instead: *instead };
    let chain = match inner.link.peer(&inner.standing, &to.0).into_iter().next() {
        Some(_) if inner.link.avoids(&to.0) => Err(unreached(&to, "it did not answer just now").into()),
        Some(node) => node.put_on(grant, blocks, way),
        None => Err(unreached(&to, "it is no node of this cluster that has an address").into()),
    };
    Sent { to, ids, rest, chain }
}

fn unreached(node: &NodeId, why: &str) -> ServiceError {
    ServiceError::Unreachable { peer: node.0.to_string(), detail: why.to_owned() }
}

/// Waits for everybody. Who failed is passed over: what was behind him is sent from here.
fn settle(inner: &Inner, grant: &Grant, way: &Way, own: Result<PendingReceipt>, sent: Vec<Sent>) -> Chained {
    let mut out = Chained::default();
    match own.and_then(PendingReceipt::wait) {
        Ok(receipt) => out.receipts.push(receipt),
        Err(why) => out.failed.push((inner.node, why)),
    }
    let mut waiting = sent;
    while let Some(Sent { to, ids, rest, chain }) = waiting.pop() {
        let why = match chain.and_then(PendingChain::wait) {
            Ok(Chained { receipts, failed }) => {
                inner.link.works(&to.0, 0);
                out.receipts.extend(receipts);
                out.failed.extend(failed);
                continue;
            }
            Err(Returned { why, .. }) => why,
        };
        tracing::debug!(node = %to.0, %why, blocks = ids.len(), "passed over");
        inner.metrics.passed_over.add(ids.len() as u64);
        if matches!(why, ServiceError::Unreachable { .. }) {
            inner.link.failed(&to.0);
        }
        // The next one may not know this node yet. That says nothing of whoever asked: he may send to that one himself.
        let why = match why {
            ServiceError::Denied(detail) => unreached(&to, &detail),
            why => why,
        };
        out.failed.push((to, why));
        let (blocks, hops) = durable(inner, ids, rest);
        waiting.extend(legs(blocks.iter(), hops).into_iter().map(|(to, leg)| send(inner, grant, way, to, leg)));
    }
    out
}

/// Those of the blocks that still have somewhere to go, as they are durable here.
fn durable(inner: &Inner, ids: Vec<BlockId>, rest: Vec<Vec<u8>>) -> (Vec<PutBlock>, Vec<Vec<u8>>) {
    let onward = ids.into_iter().zip(rest).filter(|(_, rest)| !rest.is_empty());
    onward.filter_map(|(id, rest)| Some((inner.store.read(&id).ok()?, rest))).unzip()
}
