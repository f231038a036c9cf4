//! A node in memory that fails on demand.

use cas_core::id::{BlockId, Sum};
use cas_core::signing::SigningKey;
use cas_net::chain::{Chained, PendingChain, Returned, Way};
use cas_net::{
    Delete, Deleted, Done, Found, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result,
    Scrubbed, ServiceError, StoredBlock,
};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

/// Keeps blocks in memory; says nothing any more, or wrong bytes, when told.
pub(super) struct Fake {
    key: SigningKey,
    pub(super) held: Mutex<BTreeMap<BlockId, PutBlock>>,
    pub(super) dead: AtomicBool,
    pub(super) dies_before_receipt: AtomicBool,
    pub(super) lies: AtomicBool,
    /// Whom it sends blocks on to, if to anybody.
    pub(super) others: Mutex<Vec<Arc<Fake>>>,
    /// Puts that it got from a client.
    pub(super) puts: AtomicUsize,
    /// It answers reads when somebody lets it, not before.
    pub(super) slow: AtomicBool,
    pub(super) held_back: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    /// Reads that it got.
    pub(super) reads: AtomicUsize,
    /// It has no room.
    pub(super) full: AtomicBool,
    /// It says Busy to so many puts.
    pub(super) busy: AtomicUsize,
    /// It goes by a newer layout, in which it is no member.
    pub(super) foreign: AtomicBool,
    /// It refuses this client.
    pub(super) strange: AtomicBool,
}

impl Fake {
    pub(super) fn new(seed: u8) -> Arc<Self> {
        let key = SigningKey::from_seed(&[seed; 32]);
        let no = || AtomicBool::new(false);
        Arc::new(Self {
            key,
            held: Mutex::default(),
            dead: no(),
            dies_before_receipt: no(),
            lies: no(),
            others: Mutex::default(),
            puts: AtomicUsize::new(0),
            slow: no(),
            held_back: Mutex::default(),
            reads: AtomicUsize::new(0),
            full: no(),
            busy: AtomicUsize::new(0),
            foreign: no(),
            strange: no(),
        })
    }

    fn alive(&self) -> Result<()> {
        if self.strange.load(Relaxed) {
            return Err(ServiceError::Denied("the ticket has expired".into()));
        }
        if self.dead.load(Relaxed) { Err(gone()) } else { Ok(()) }
    }

    /// Whether it takes a block now.
    fn takes(&self) -> Result<()> {
        self.alive()?;
        if self.foreign.load(Relaxed) {
            return Err(ServiceError::Conflict { name: "layout".into(), latest: 2 });
        }
        if self.full.load(Relaxed) {
            return Err(ServiceError::Full { what: "a fake".into(), detail: "it is".into() });
        }
        match self.busy.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(ServiceError::Busy("a fake".into())),
            Err(_) => Ok(()),
        }
    }

    fn found(&self, id: &BlockId) -> Found {
        match self.held.lock().unwrap().get(id) {
            Some(block) => {
                let mut block = block.clone();
                if self.lies.load(Relaxed) {
                    block.bytes = vec![0; block.bytes.len()].into();
                }
                Found::Here(block)
            }
            None => Found::Absent,
        }
    }

    /// Answers what it held back.
    pub(super) fn let_go(&self) {
        let held_back = std::mem::take(&mut *self.held_back.lock().unwrap());
        held_back.into_iter().for_each(|answer| answer());
    }

    pub(super) fn holds(&self, id: &BlockId) -> bool {
        self.held.lock().unwrap().contains_key(id)
    }

    fn receipt(&self, grant: &Grant, ids: &[BlockId]) -> PendingReceipt {
        let (answer, pending) = PendingReceipt::new();
        let held = self.held.lock().unwrap();
        let blocks = ids.iter().filter_map(|id| held.get(id));
        let blocks =
            blocks.map(|b| Received { id: b.id, kind: b.kind, sum: b.sum, len: b.bytes.len() as u32 }).collect();
        let receipt = match self.dies_before_receipt.load(Relaxed) {
            true => Err(gone()),
            false => Ok(Receipt::sign(&self.key, grant.epoch, blocks)),
        };
        answer.send(receipt).unwrap();
        pending
    }
}

pub(super) fn gone() -> ServiceError {
    ServiceError::Unreachable { peer: "a fake".into(), detail: "it is dead".into() }
}

impl Node for Fake {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }
    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        self.alive()?;
        Ok((ids.iter().map(|id| !self.holds(id)).collect(), self.receipt(grant, ids)))
    }
    fn sends_on(&self) -> bool {
        !self.others.lock().unwrap().is_empty()
    }
    fn put_on(&self, grant: &Grant, blocks: Vec<PutBlock>, way: Way) -> Result<PendingChain, Returned> {
        way.check(blocks.len()).unwrap();
        self.puts.fetch_add(1, Relaxed);
        if let Err(why) = self.takes() {
            return Err(Returned { why, blocks });
        }
        let others = self.others.lock().unwrap().clone();
        let mut chained = Chained::default();
        for (block, hops) in blocks.iter().zip(&way.hops) {
            for hop in hops {
                let other = others.iter().find(|other| other.id() == way.nodes[usize::from(*hop)]).unwrap();
                let mut block = block.clone();
                if self.lies.load(Relaxed) {
                    let mut bytes = block.bytes.to_vec();
                    bytes[40] ^= 1;
                    (block.sum, block.bytes) = (Sum::of(&bytes), bytes.into());
                }
                match other.put(grant, vec![block]).and_then(PendingReceipt::wait) {
                    Ok(receipt) => chained.receipts.push(receipt),
                    Err(why) => chained.failed.push((other.id(), why)),
                }
                other.puts.fetch_sub(1, Relaxed);
            }
        }
        match self.put(grant, blocks)?.wait() {
            Ok(receipt) => chained.receipts.push(receipt),
            Err(why) => chained.failed.push((self.id(), why)),
        }
        self.puts.fetch_sub(1, Relaxed);
        let (answer, pending) = PendingChain::new();
        answer.send(Ok(chained)).unwrap();
        Ok(pending)
    }
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.puts.fetch_add(1, Relaxed);
        self.takes()?;
        let ids: Vec<_> = blocks.iter().map(|b| b.id).collect();
        self.held.lock().unwrap().extend(blocks.into_iter().map(|b| (b.id, b)));
        Ok(self.receipt(grant, &ids))
    }
    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        self.alive()?;
        let held = self.held.lock().unwrap();
        let block = held.get(id).ok_or(ServiceError::NotFound { what: "block", name: id.to_string() })?;
        Ok(if self.lies.load(Relaxed) { vec![0; block.bytes.len()] } else { block.bytes.to_vec() })
    }
    fn get_then(&self, ids: Vec<BlockId>, _: u64, done: Done<Vec<Found>>) {
        self.reads.fetch_add(1, Relaxed);
        let found = self.alive().map(|()| ids.iter().map(|id| self.found(id)).collect());
        if self.slow.load(Relaxed) {
            return self.held_back.lock().unwrap().push(Box::new(move || done(found)));
        }
        done(found);
    }
    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        Ok(vec![None; ids.len()])
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        unreachable!("nobody deletes here")
    }
    fn list(&self, _: Option<BlockId>, _: usize) -> Result<Vec<StoredBlock>> {
        unreachable!("nobody lists here")
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        unreachable!("nobody scrubs here")
    }
    fn compact(&self, _: f64) -> Result<u64> {
        unreachable!("nobody compacts here")
    }
    fn stats(&self) -> Result<NodeStats> {
        unreachable!("nobody counts here")
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}
