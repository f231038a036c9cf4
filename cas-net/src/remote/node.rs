//! A node over the network. PROTOCOL §9.
//!
//! `put` returns at once and streams; what is sent and not yet acknowledged is bounded in bytes, over all peers, and
//! `put` blocks above that. A lost connection repeats what was not acknowledged: putting twice is putting once.

use super::page;
use crate::address::Address;
use crate::calls::node::*;
use crate::chain::{Chained, PendingChain, Returned, Way};
use crate::limits::{MAX_BODIES, MAX_IDS};
use crate::transport::{Connection, Exchange, Failure, Network, Outgoing};
use crate::wire::Wire;
use crate::{
    Delete, Deleted, Done, Found, Grant, Node, NodeId, NodeStats, OfferAnswer, PendingReceipt, PutBlock, Receipt,
    Result, Scrubbed, ServiceError, StoredBlock,
};
use bytes::Bytes;
use cas_core::id::BlockId;
use std::sync::Arc;
use tokio::sync::Notify;

/// How often a put is sent when connections are lost between its answers.
const PUT_TRIES: usize = 3;

/// A node that answers at an address.
#[derive(Debug, Clone)]
pub struct RemoteNode {
    connection: Connection,
    sends_on: bool,
}

impl RemoteNode {
    /// The node at this address; it connects when it is first asked.
    pub fn new(network: &Arc<Network>, address: &Address) -> Self {
        Self { connection: network.connection(address), sends_on: true }
    }

    /// For a node that knows no others: it is asked for no chain, which it would only give back.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { sends_on: false, ..self }
    }

    /// Its connection, for requests of other families.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Node for RemoteNode {
    fn id(&self) -> NodeId {
        NodeId(self.connection.address().key)
    }

    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<OfferAnswer> {
        let offered = offered(self.connection.clone(), *grant, ids.to_vec());
        self.connection.network().handle().block_on(offered)
    }

    fn offer_then(&self, grant: &Grant, ids: Vec<BlockId>, done: Done<OfferAnswer>) {
        let offered = offered(self.connection.clone(), *grant, ids);
        self.connection.network().handle().spawn(async move { done(offered.await) });
    }

    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        let heads = blocks.iter().map(head).collect();
        let bodies: Vec<_> = blocks.into_iter().map(|block| block.bytes).collect();
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        let outgoing = self.connection.outgoing(&Put { grant: *grant, blocks: heads }, bodies)?;
        let network = self.connection.network();
        let permits = u32::try_from(bytes).expect("within the limit of bodies");
        let room = network.handle().block_on(network.in_flight().clone().acquire_many_owned(permits));
        let room = room.expect("it is never closed");
        let (answer, pending, hurry) = pending();
        let connection = self.connection.clone();
        network.handle().spawn(async move {
            let receipt = send::<Receipt>(&connection, &outgoing, &hurry).await;
            drop((outgoing, room));
            let _ = answer.send(receipt); // Nobody waits any more.
        });
        Ok(pending)
    }

    fn sends_on(&self) -> bool {
        self.sends_on
    }

    fn put_on(&self, grant: &Grant, blocks: Vec<PutBlock>, way: Way) -> Result<PendingChain, Returned> {
        let heads: Vec<PutHead> = blocks.iter().map(head).collect();
        let bodies: Vec<_> = blocks.into_iter().map(|block| block.bytes).collect();
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        let call = PutOn { grant: *grant, way, blocks: heads.clone() };
        let outgoing = match self.connection.outgoing(&call, bodies.clone()) {
            Ok(outgoing) => outgoing,
            Err(why) => return Err(Returned { why, blocks: whole(heads, bodies) }),
        };
        let network = self.connection.network();
        let permits = u32::try_from(bytes).expect("within the limit of bodies");
        let room = network.handle().block_on(network.in_flight().clone().acquire_many_owned(permits));
        let room = room.expect("it is never closed");
        let (answer, pending) = PendingChain::new();
        let hurry = Arc::new(Notify::new());
        let (connection, hurried) = (self.connection.clone(), hurry.clone());
        network.handle().spawn(async move {
            let chained = send::<Chained>(&connection, &outgoing, &hurried).await;
            drop(outgoing);
            let chained = chained.map_err(|why| Returned { why, blocks: whole(heads, bodies) });
            drop(room);
            let _ = answer.send(chained); // Nobody waits any more.
        });
        Ok(pending.hurried_by(move || hurry.notify_one()))
    }

    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let outgoing = self.connection.outgoing(&Get { id: *id }, vec![])?;
        let mut exchange = self.connection.network().handle().block_on(self.connection.begin(&outgoing))?;
        exchange.end();
        let found = exchange.bodies();
        let count = found.len();
        let only: Option<[Bytes; 1]> = found.try_into().ok();
        only.map(|[body]| body.into())
            .ok_or_else(|| ServiceError::Protocol(format!("Get: {count} bodies for one block")))
    }

    fn get_many(&self, ids: &[BlockId], byte_limit: u64) -> Result<Vec<Found>> {
        let found = found(self.connection.clone(), ids.to_vec(), byte_limit);
        self.connection.network().handle().block_on(found)
    }

    fn get_then(&self, ids: Vec<BlockId>, byte_limit: u64, done: Done<Vec<Found>>) {
        let found = found(self.connection.clone(), ids, byte_limit);
        self.connection.network().handle().spawn(async move { done(found.await) });
    }

    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let mut places = Vec::with_capacity(ids.len());
        for part in ids.chunks(MAX_IDS) {
            places.append(&mut self.connection.call(&Locality { ids: part.to_vec() })?);
        }
        Ok(places)
    }

    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>> {
        let mut answers = Vec::with_capacity(deletes.len());
        for part in deletes.chunks(MAX_IDS) {
            answers.append(&mut self.connection.call(&DeleteBlocks { deletes: part.to_vec() })?);
        }
        Ok(answers)
    }

    fn list(&self, mut after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let mut blocks = Vec::new();
        while blocks.len() < limit {
            let mut part = self.connection.call(&List { after, limit: page(limit - blocks.len()) })?;
            let Some(last) = part.last() else { break };
            after = Some(last.id);
            blocks.append(&mut part);
        }
        Ok(blocks)
    }

    fn scrub(&self, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
        self.connection.call(&Scrub { after, byte_limit })
    }

    fn compact(&self, dead_share: f64) -> Result<u64> {
        self.connection.call(&Compact { dead_share })
    }

    fn stats(&self) -> Result<NodeStats> {
        self.connection.call(&Stats {})
    }

    fn close(&self) -> Result<()> {
        self.connection.call(&Close {})
    }
}

async fn offered(connection: Connection, grant: Grant, ids: Vec<BlockId>) -> Result<OfferAnswer> {
    let count = ids.len();
    let outgoing = connection.outgoing(&Offer { grant, ids }, vec![])?;
    let mut exchange = connection.begin(&outgoing).await?;
    let wanted: Vec<bool> = exchange.answer::<Offer>()?;
    if wanted.len() != count {
        return Err(ServiceError::Protocol(format!("Offer: {} answers for {count} ids", wanted.len())));
    }
    let (answer, pending, hurry) = pending();
    tokio::spawn(async move {
        let receipt = second::<Receipt>(&connection, &mut exchange, &hurry).await;
        let receipt = receipt.unwrap_or_else(|failure| Err(failure.into_error(&connection.peer())));
        let _ = answer.send(receipt); // Nobody waits any more.
    });
    Ok((wanted, pending))
}

async fn found(connection: Connection, ids: Vec<BlockId>, byte_limit: u64) -> Result<Vec<Found>> {
    let asked = &ids[..ids.len().min(MAX_BODIES)];
    let outgoing = connection.outgoing(&GetMany { ids: asked.to_vec(), byte_limit }, vec![])?;
    let mut exchange = connection.begin(&outgoing).await?;
    exchange.end();
    let heads: Vec<FoundHead> = exchange.answer::<GetMany>()?;
    let mut found = many(asked, heads, exchange.bodies())?;
    found.resize_with(ids.len(), || Found::Later);
    Ok(found)
}

/// Blocks by their heads and bodies, if those are what was asked for.
fn many(asked: &[BlockId], heads: Vec<FoundHead>, bodies: Vec<Bytes>) -> Result<Vec<Found>> {
    let wrong = |what: &str| ServiceError::Protocol(format!("GetMany: {what}"));
    if heads.len() != asked.len() {
        return Err(wrong(&format!("{} answers for {} ids", heads.len(), asked.len())));
    }
    let mut bodies = bodies.into_iter();
    let mut block = |(id, head): (&BlockId, FoundHead)| match head {
        FoundHead::Here(PutHead { id: named, kind, domain, sum }) if named == *id => {
            let bytes = bodies.next().ok_or_else(|| wrong("a body is missing"))?;
            Ok(Found::Here(PutBlock { id: named, kind, domain, sum, bytes }))
        }
        FoundHead::Here(_) => Err(wrong("another block than was asked for")),
        FoundHead::Absent => Ok(Found::Absent),
        FoundHead::Damaged(detail) => Ok(Found::Damaged(detail)),
        FoundHead::Later => Ok(Found::Later),
    };
    let found = asked.iter().zip(heads).map(&mut block).collect::<Result<_>>()?;
    if bodies.next().is_some() { Err(wrong("a body too many")) } else { Ok(found) }
}

type Answer = std::sync::mpsc::SyncSender<Result<Receipt>>;

fn head(block: &PutBlock) -> PutHead {
    PutHead { id: block.id, kind: block.kind, domain: block.domain, sum: block.sum }
}

/// A receipt to come, and what says that somebody waits for it.
fn pending() -> (Answer, PendingReceipt, Arc<Notify>) {
    let (answer, pending) = PendingReceipt::new();
    let hurry = Arc::new(Notify::new());
    let notify = hurry.clone();
    (answer, pending.hurried_by(move || notify.notify_one()), hurry)
}

/// Blocks again from what was to be sent of them.
fn whole(heads: Vec<PutHead>, bodies: Vec<Bytes>) -> Vec<PutBlock> {
    let block = |(head, bytes): (PutHead, Bytes)| {
        let PutHead { id, kind, domain, sum } = head;
        PutBlock { id, kind, domain, sum, bytes }
    };
    heads.into_iter().zip(bodies).map(block).collect()
}

async fn send<T: Wire>(connection: &Connection, outgoing: &Outgoing, hurry: &Notify) -> Result<T> {
    let mut outgoing = outgoing.clone();
    let mut tries = 0;
    loop {
        let mut exchange = connection.begin(&outgoing).await?;
        tries += 1;
        match second(connection, &mut exchange, hurry).await {
            Err(Failure::Lost(_)) if tries < PUT_TRIES => outgoing = outgoing.again(),
            other => return other.unwrap_or_else(|failure| Err(failure.into_error(&connection.peer()))),
        }
    }
}

async fn second<T: Wire>(
    connection: &Connection,
    exchange: &mut Exchange,
    hurry: &Notify,
) -> Result<Result<T>, Failure> {
    exchange.second(hurry, connection.network().settings().patience).await?;
    Ok(exchange.value::<T>())
}
