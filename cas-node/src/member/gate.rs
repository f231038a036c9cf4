//! Who may what at a node: every request of the network passes here. DESIGN §10.
//!
//! ```text
//! the index              reads, lists, scrubs, compacts, asks how much there is, writes removals by rules of retention
//! another node           reads, and writes what a client gave it on the way
//! a client with tickets  reads and writes blocks of the domains that its tickets name; to write needs a grant too
//! anybody else           shows a ticket, and hears nothing else
//! ```
//! Promise: tickets are judged at each request, by cluster time and by what the index voided last; blocks are taken only in
//! partitions this node is a member of; a client learns nothing of blocks of other domains, touches none, and nobody deletes
//! over the network: that is for orders.

use super::settings::{MAX_CHAINS, MAX_PUTS, MAX_READS};
use super::turns::{Turn, Turns};
use super::{Inner, beat, chain};
use cas_core::id::{BlockId, DomainId};
use cas_net::calls::Call;
use cas_net::chain::{PendingChain, Returned, Way};
use cas_net::rights::calls::ShowTicket;
use cas_net::rights::ticket::{Shown, TicketError};
use cas_net::server::{Handler, NodeHandler, Peer, Reply, Request};
use cas_net::{
    Delete, Deleted, Found, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Result, Scrubbed, ServiceError,
    StoredBlock,
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How long a request waits for its turn before the answer is Busy.
const TURN: Duration = Duration::from_secs(2);

/// A gate that opens when the node is ready.
#[derive(Clone, Default)]
pub struct Slot(Arc<OnceLock<Arc<Gate>>>);

/// What all requests of a node share.
pub struct Gate {
    inner: Arc<Inner>,
    reads: Arc<Turns>,
    puts: Arc<Turns>,
    chains: Arc<Turns>,
    passed_on: Arc<Turns>,
    /// Tickets are attached one after the other.
    showing: Mutex<()>,
}

/// The tickets that were shown on a connection.
type Attached = Mutex<Shown>;

/// Who asks.
enum Who {
    Index,
    Peer,
    Client(Arc<Attached>),
}

impl Slot {
    /// Lets requests in.
    pub fn open(&self, gate: Gate) {
        let _ = self.0.set(Arc::new(gate));
    }

    /// Whether a peer is the index, a node, or a client with a ticket that holds.
    pub fn knows(&self) -> impl Fn(&Peer) -> bool + Send + Sync + 'static {
        let slot = self.clone();
        move |peer| slot.0.get().is_none_or(|gate| gate.knows(peer))
    }

    fn gate(&self) -> Result<&Arc<Gate>> {
        self.0.get().ok_or_else(|| ServiceError::Busy("the node is starting".into()))
    }
}

impl Gate {
    /// In front of this node.
    pub fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            reads: Turns::new(MAX_READS),
            puts: Turns::new(MAX_PUTS),
            chains: Turns::new(MAX_CHAINS),
            passed_on: Turns::new(MAX_CHAINS),
            showing: Mutex::default(),
        }
    }

    fn who(&self, peer: &Peer) -> Result<Who> {
        let key = peer.key();
        if key == self.inner.link.index_key() {
            return Ok(Who::Index);
        }
        if self.inner.standing.is_peer(&key) {
            return Ok(Who::Peer);
        }
        match peer.attached::<Attached>() {
            Some(shown) => Ok(Who::Client(shown)),
            None => Err(ServiceError::Denied(TicketError::Missing.to_string())),
        }
    }

    fn knows(&self, peer: &Peer) -> bool {
        match self.who(peer) {
            Ok(Who::Client(shown)) => {
                let (now_ns, revoked) = self.inner.standing.judges();
                shown.lock().unwrap_or_else(PoisonError::into_inner).any_holds(now_ns, &revoked)
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn show(&self, peer: &Peer, call: &ShowTicket) -> Result<()> {
        let _one = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        let (now_ns, revoked) = self.inner.standing.judges();
        let known = peer.attached::<Attached>();
        let shown = known.clone().unwrap_or_default();
        let index = self.inner.link.index_key();
        let taken = {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.take(call.ticket, &index, &peer.key(), now_ns, &revoked)
        };
        if let Err(why) = taken {
            tracing::info!(client = %peer.key(), from = %peer.from(), %why, "a ticket is refused");
            return Err(self.refused(why));
        }
        if known.is_none() {
            peer.attach(shown);
        }
        Ok(())
    }

    fn refused(&self, why: TicketError) -> ServiceError {
        self.inner.metrics.refusals.add(1);
        ServiceError::Denied(why.to_string())
    }
}

/// Requests about blocks.
pub struct Blocks {
    slot: Slot,
    handler: Box<dyn Handler>,
}

impl Blocks {
    /// Behind this gate.
    pub fn new(slot: Slot) -> Self {
        let open = slot.clone();
        let handler = NodeHandler::new(move |peer: &Peer| {
            let gate = open.gate()?;
            Ok(Arc::new(Visit { who: gate.who(peer)?, gate: gate.clone() }) as Arc<dyn Node>)
        });
        Self { slot, handler: Box::new(handler) }
    }
}

impl Handler for Blocks {
    /// Whoever has shown no ticket has nothing read that he sends.
    fn admit(&self, peer: &Peer, _: u16) -> Result<()> {
        let gate = self.slot.gate()?;
        gate.who(peer).map(drop).inspect_err(|_| gate.inner.metrics.refusals.add(1))
    }

    fn handle(&self, peer: &Peer, request: Request) -> Result<Reply> {
        self.handler.handle(peer, request)
    }
}

/// Tickets being shown.
pub struct Tickets(Slot);

impl Tickets {
    /// To this gate.
    pub fn new(slot: Slot) -> Self {
        Self(slot)
    }
}

impl Handler for Tickets {
    fn admit(&self, _: &Peer, method: u16) -> Result<()> {
        if method == ShowTicket::METHOD {
            return Ok(());
        }
        Err(ServiceError::Protocol("a node knows tickets, and nothing else about rights".into()))
    }

    fn handle(&self, peer: &Peer, request: Request) -> Result<Reply> {
        let gate = self.0.gate()?;
        request.answer(|call: ShowTicket| gate.show(peer, &call))
    }
}

/// The node as one who asks sees it.
struct Visit {
    gate: Arc<Gate>,
    who: Who,
}

impl Visit {
    fn inner(&self) -> &Inner {
        &self.gate.inner
    }

    /// Whether blocks of a domain may be read or written by whoever asks.
    fn may(&self, domain: &DomainId, write: bool) -> Result<(), TicketError> {
        let shown = match &self.who {
            // The index writes removals by rules of retention; it signs the grants it shows.
            Who::Index | Who::Peer => return Ok(()),
            Who::Client(shown) => shown.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let (now_ns, revoked) = self.inner().standing.judges();
        shown.may(domain, write, now_ns, &revoked)
    }

    fn must(&self, domain: &DomainId, write: bool) -> Result<()> {
        self.may(domain, write).map_err(|why| self.gate.refused(why))
    }

    fn is_index(&self) -> Result<()> {
        match self.who {
            Who::Index => Ok(()),
            _ => {
                self.inner().metrics.refusals.add(1);
                Err(ServiceError::Denied("that is for the index alone".into()))
            }
        }
    }

    /// A block that is not here, to somebody who asks where it should be.
    fn not_here(&self, id: &BlockId, error: ServiceError) -> ServiceError {
        match error {
            ServiceError::NotFound { .. } if !self.inner().standing.takes(id) => self.foreign(),
            error => error,
        }
    }

    /// Whether whoever asks may put these blocks here.
    fn must_write(&self, blocks: &[PutBlock]) -> Result<()> {
        self.may_write(blocks)?;
        self.must_be_ours(blocks.iter().map(|block| &block.id))
    }

    /// Whether whoever asks may write blocks of these domains.
    fn may_write(&self, blocks: &[PutBlock]) -> Result<()> {
        let mut last = None;
        for block in blocks {
            if last != Some(block.domain) {
                self.must(&block.domain, true)?;
                last = Some(block.domain);
            }
        }
        Ok(())
    }

    /// Keeps blocks in the stead of members that are away. The index hears of it by the receipt, and has them copied when those are
    /// back; until then, and no longer, it calls them no strays.
    fn stand_in(&self, blocks: &[PutBlock]) -> Result<()> {
        self.may_write(blocks)?;
        let standing = &self.inner().standing;
        let partitions = blocks.iter().map(|block| &block.id).filter(|id| !standing.takes(id)).map(BlockId::partition);
        standing.keep_left(partitions);
        Ok(())
    }

    fn foreign(&self) -> ServiceError {
        ServiceError::Conflict { name: "layout".into(), latest: self.inner().standing.version() }
    }

    /// Refuses blocks of partitions that this node is no member of, by the newest layout there is.
    fn must_be_ours<'a>(&self, mut ids: impl Iterator<Item = &'a BlockId>) -> Result<()> {
        let standing = &self.inner().standing;
        let Some(id) = ids.find(|id| !standing.takes(id)) else { return Ok(()) };
        self.inner().link.ask_once(|| beat::refresh(self.inner()));
        if standing.takes(id) && ids.all(|id| standing.takes(id)) {
            return Ok(());
        }
        self.inner().metrics.refusals.add(1);
        Err(self.foreign())
    }

    fn turn(&self, turns: &Arc<Turns>, what: &str) -> Result<Turn> {
        turns.take(TURN).ok_or_else(|| ServiceError::Busy(format!("too many {what} are under way")))
    }

    /// What is told of a block that was read.
    fn told(&self, block: PutBlock) -> Result<PutBlock> {
        self.must(&block.domain, false)?;
        self.inner().metrics.gets.add(1);
        self.inner().metrics.get_bytes.add(block.bytes.len() as u64);
        Ok(block)
    }

    fn damaged(&self, id: &BlockId) {
        self.inner().metrics.damaged.add(1);
        self.inner().losses.note([*id]);
    }
}

impl Node for Visit {
    fn id(&self) -> NodeId {
        self.inner().node
    }

    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        self.must_be_ours(ids.iter())?;
        let _turn = self.turn(&self.gate.puts, "puts")?;
        let store = &self.inner().store;
        // What lies here and is somebody else's is not touched: it is wanted, and refused when it comes.
        let mut ours = Vec::with_capacity(ids.len());
        for id in ids {
            let is_ours = match store.domain_of(id)? {
                Some(domain) => self.may(&domain, true).is_ok(),
                None => true,
            };
            ours.push(is_ours);
        }
        let asked: Vec<BlockId> = ids.iter().zip(&ours).filter(|(_, ours)| **ours).map(|(id, _)| *id).collect();
        let (told, receipt) = store.offer(grant, &asked)?;
        let mut told = told.into_iter();
        let wanted = ours.iter().map(|ours| if *ours { told.next().unwrap_or(true) } else { true }).collect();
        Ok((wanted, receipt))
    }

    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.must_write(&blocks)?;
        let _turn = self.turn(&self.gate.puts, "puts")?;
        self.inner().put(grant, blocks)
    }

    fn sends_on(&self) -> bool {
        true
    }

    fn put_on(&self, grant: &Grant, blocks: Vec<PutBlock>, way: Way) -> Result<PendingChain, Returned> {
        if way.instead {
            self.stand_in(&blocks)?
        } else {
            self.must_write(&blocks)?
        }
        let chains = match (&self.who, way.hops.iter().all(Vec::is_empty)) {
            (_, true) => None,
            (Who::Client(_), _) => Some(&self.gate.chains),
            // Those that wait for others must not wait for one another: nodes have turns of their own, and what ends here none.
            _ => Some(&self.gate.passed_on),
        };
        let chain = chains.map(|chains| self.turn(chains, "chains")).transpose()?;
        let _turn = self.turn(&self.gate.puts, "puts")?;
        chain::put_on(&self.gate.inner, grant, blocks, way, chain)
    }

    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let _turn = self.turn(&self.gate.reads, "reads")?;
        match self.inner().store.read(id) {
            Ok(block) => self.told(block).map(|block| block.bytes.into()),
            Err(error) => {
                if matches!(error, ServiceError::Damaged { .. }) {
                    self.damaged(id);
                }
                Err(self.not_here(id, error))
            }
        }
    }

    fn get_many(&self, ids: &[BlockId], byte_limit: u64) -> Result<Vec<Found>> {
        let _turn = self.turn(&self.gate.reads, "reads")?;
        let found = self.inner().store.get_many(ids, byte_limit)?;
        let told = found.into_iter().zip(ids).map(|(found, id)| match found {
            Found::Here(block) => self.told(block).map(Found::Here),
            Found::Damaged(detail) => {
                self.damaged(id);
                Ok(Found::Damaged(detail))
            }
            other => Ok(other),
        });
        told.collect()
    }

    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let store = &self.inner().store;
        let mut places = store.locality(ids)?;
        if let Who::Client(_) = self.who {
            for (id, place) in ids.iter().zip(&mut places).filter(|(_, place)| place.is_some()) {
                if store.domain_of(id)?.is_none_or(|domain| self.may(&domain, false).is_err()) {
                    *place = None;
                }
            }
        }
        Ok(places)
    }

    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        self.inner().metrics.refusals.add(1);
        Err(ServiceError::Denied("a member of a cluster deletes by order of its index".into()))
    }

    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        self.is_index()?;
        self.inner().store.list(after, limit)
    }

    fn scrub(&self, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
        self.is_index()?;
        let scrubbed = self.inner().store.scrub(after, byte_limit)?;
        scrubbed.damaged.iter().for_each(|(id, _)| self.damaged(id));
        Ok(scrubbed)
    }

    fn compact(&self, dead_share: f64) -> Result<u64> {
        self.is_index()?;
        self.inner().store.compact(dead_share)
    }

    fn stats(&self) -> Result<NodeStats> {
        self.is_index()?;
        self.inner().store.stats()
    }

    fn close(&self) -> Result<()> {
        self.is_index()?;
        self.inner().store.close()
    }
}
