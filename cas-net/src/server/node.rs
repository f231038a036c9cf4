//! Requests of the node family, answered by a [`Node`]. PROTOCOL §9.

use super::{Handler, Peer, Reply, Request};
use crate::calls::Call;
use crate::calls::node::*;
use crate::limits::{MAX_BODIES, MAX_BODY, MAX_BODY_BYTES, MAX_ROWS};
use crate::{Bytes, Found, Node, PutBlock, Result, ServiceError};
use std::sync::Arc;

/// Bytes in one answer before its last block.
const MANY_BYTES: u64 = 8 << 20;

const _: () = assert!(MANY_BYTES as usize + MAX_BODY <= MAX_BODY_BYTES);

/// Answers with the node that a peer may use: whoever opens it decides by the peer's key what that is, by giving a node
/// that checks rights, or an error.
pub struct NodeHandler<O> {
    open: O,
}

impl<O: Fn(&Peer) -> Result<Arc<dyn Node>> + Send + Sync> NodeHandler<O> {
    /// Opens the node with this, at each request.
    pub fn new(open: O) -> Self {
        Self { open }
    }
}

impl<O: Fn(&Peer) -> Result<Arc<dyn Node>> + Send + Sync> Handler for NodeHandler<O> {
    fn handle(&self, peer: &Peer, mut request: Request) -> Result<Reply> {
        let node = (self.open)(peer)?;
        match request.method() {
            Offer::METHOD => offer(&*node, &request),
            Put::METHOD => put(&*node, &mut request),
            Get::METHOD => get(&*node, &request),
            Locality::METHOD => request.answer(|c: Locality| node.locality(&c.ids)),
            DeleteBlocks::METHOD => request.answer(|c: DeleteBlocks| node.delete(&c.deletes)),
            List::METHOD => request.answer(|c: List| node.list(c.after, (c.limit as usize).min(MAX_ROWS))),
            Scrub::METHOD => request.answer(|c: Scrub| node.scrub(c.after, c.byte_limit)),
            Compact::METHOD => request.answer(|c: Compact| node.compact(c.dead_share)),
            Stats::METHOD => request.answer(|_: Stats| node.stats()),
            Close::METHOD => request.answer(|_: Close| node.close()),
            GetMany::METHOD => get_many(&*node, &request),
            PutOn::METHOD => put_on(&*node, &mut request),
            _ => Err(request.unknown()),
        }
    }
}

fn offer(node: &dyn Node, request: &Request) -> Result<Reply> {
    let call: Offer = request.take()?;
    let (wanted, receipt) = node.offer(&call.grant, &call.ids)?;
    Ok(Reply::of::<Offer>(&wanted).with_receipt(receipt))
}

fn put(node: &dyn Node, request: &mut Request) -> Result<Reply> {
    let call: Put = request.take()?;
    let receipt = node.put(&call.grant, blocks(call.blocks, request.bodies())?)?;
    Ok(Reply::of::<Put>(&()).with_receipt(receipt))
}

fn put_on(node: &dyn Node, request: &mut Request) -> Result<Reply> {
    let call: PutOn = request.take()?;
    call.way.check(call.blocks.len())?;
    let blocks = blocks(call.blocks, request.bodies())?;
    let chain = node.put_on(&call.grant, blocks, call.way).map_err(|returned| returned.why)?;
    Ok(Reply::of::<PutOn>(&()).with_chain(chain))
}

fn blocks(heads: Vec<PutHead>, bodies: Vec<Bytes>) -> Result<Vec<PutBlock>> {
    if bodies.len() != heads.len() {
        let (blocks, bodies) = (heads.len(), bodies.len());
        return Err(ServiceError::Protocol(format!("Put: {blocks} blocks are named, {bodies} bodies follow")));
    }
    let block = |(head, bytes): (PutHead, Bytes)| PutBlock {
        id: head.id,
        kind: head.kind,
        domain: head.domain,
        sum: head.sum,
        bytes,
    };
    Ok(heads.into_iter().zip(bodies).map(block).collect())
}

fn get_many(node: &dyn Node, request: &Request) -> Result<Reply> {
    let call: GetMany = request.take()?;
    if call.ids.len() > MAX_BODIES {
        let asked = call.ids.len();
        return Err(ServiceError::Protocol(format!(
            "GetMany: {asked} blocks are asked for, at most {MAX_BODIES} may be"
        )));
    }
    let found = node.get_many(&call.ids, call.byte_limit.min(MANY_BYTES))?;
    let mut bodies = Vec::new();
    let mut head = |found: Found| match found {
        Found::Here(PutBlock { id, kind, domain, sum, bytes }) => {
            bodies.push(bytes);
            FoundHead::Here(PutHead { id, kind, domain, sum })
        }
        Found::Absent => FoundHead::Absent,
        Found::Damaged(detail) => FoundHead::Damaged(detail),
        Found::Later => FoundHead::Later,
    };
    let heads: Vec<FoundHead> = found.into_iter().map(&mut head).collect();
    Ok(Reply::of::<GetMany>(&heads).with_bodies(bodies))
}

fn get(node: &dyn Node, request: &Request) -> Result<Reply> {
    let call: Get = request.take()?;
    Ok(Reply::of::<Get>(&()).with_bodies(vec![node.get(&call.id)?.into()]))
}
