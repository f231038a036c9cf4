//! A node as a map in memory; it obeys DESIGN §6 and §7.1.

use crate::support::domain;
use cas_core::id::{BlockId, Epoch, Kind, Sum};
use cas_core::signing::SigningKey;
use cas_net::cluster::DiskId;
use cas_net::{
    Delete, Deleted, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result, Scrubbed,
    ServiceError, StoredBlock,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A copy.
#[derive(Clone)]
pub struct Kept {
    kind: Kind,
    bytes: Arc<[u8]>,
    pub put_epoch: Epoch,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} put at {:?}", self.kind, self.put_epoch)
    }
}

/// A node that obeys DESIGN §6 and §7.1. Copies by block and sum: other bytes lie beside, they replace nothing.
pub struct SimNode {
    key: SigningKey,
    pub disk: DiskId,
    /// The disk that the index knows of.
    pub said: DiskId,
    pub copies: BTreeMap<BlockId, BTreeMap<Sum, Kept>>,
    pub floors: BTreeMap<u16, Epoch>,
    pub is_up: bool,
}

impl SimNode {
    pub fn new(seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let disk = DiskId([seed; 16]);
        Self { key, disk, said: disk, copies: BTreeMap::new(), floors: BTreeMap::new(), is_up: true }
    }

    pub fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    pub fn has(&self, id: &BlockId, sum: &Sum) -> bool {
        self.copies.get(id).is_some_and(|copies| copies.contains_key(sum))
    }

    /// It goes on with another disk, which is empty.
    pub fn lose_disk(&mut self) {
        (self.copies, self.floors) = Default::default();
        self.disk.0[15] += 1;
    }

    pub fn keep(&mut self, grant: &Grant, blocks: &[(Kind, BlockId, Vec<u8>)]) -> Receipt {
        let mut received = Vec::new();
        for (kind, id, bytes) in blocks {
            let copies = self.copies.entry(*id).or_default();
            let sum = match copies.keys().next() {
                Some(first) if !grant.replace => *first,
                _ => Sum::of(bytes),
            };
            let fresh = Kept { kind: *kind, bytes: bytes.as_slice().into(), put_epoch: grant.epoch };
            let kept = copies.entry(sum).or_insert(fresh);
            kept.put_epoch = kept.put_epoch.max(grant.epoch);
            received.push(Received { id: *id, kind: kept.kind, sum, len: kept.bytes.len() as u32 });
        }
        Receipt::sign(&self.key, grant.epoch, received)
    }

    pub fn carry(&mut self, delete: &Delete) -> Deleted {
        let is_void = self.floors.get(&delete.id.partition()).is_some_and(|floor| delete.epoch <= *floor);
        if let Some(copies) = self.copies.get_mut(&delete.id).filter(|_| !is_void) {
            copies.retain(|_, kept| kept.put_epoch >= delete.epoch);
        }
        self.copies.retain(|_, copies| !copies.is_empty());
        if self.copies.contains_key(&delete.id) { Deleted::Kept } else { Deleted::Gone }
    }
}

/// As a rebuild asks it.
impl Node for SimNode {
    fn id(&self) -> NodeId {
        SimNode::id(self)
    }
    fn offer(&self, _: &Grant, _: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        unasked()
    }
    fn put(&self, _: &Grant, _: Vec<PutBlock>) -> Result<PendingReceipt> {
        unasked()
    }
    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let found = self.copies.get(id).and_then(|copies| copies.values().next());
        let error = || ServiceError::NotFound { what: "block", name: id.to_string() };
        found.map(|kept| kept.bytes.to_vec()).ok_or_else(error)
    }
    fn locality(&self, _: &[BlockId]) -> Result<Vec<Option<u64>>> {
        unasked()
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        unasked()
    }
    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let all = self.copies.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).take(limit);
        let stored = |(id, copies): (&BlockId, &BTreeMap<Sum, Kept>)| {
            let (sum, kept) = copies.iter().next().expect("a place without copies is removed");
            let (kind, len, put_epoch) = (kept.kind, kept.bytes.len() as u32, kept.put_epoch);
            StoredBlock { id: *id, domain: domain(), kind, sum: *sum, len, put_epoch }
        };
        Ok(all.map(stored).collect())
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        unasked()
    }
    fn compact(&self, _: f64) -> Result<u64> {
        unasked()
    }
    fn stats(&self) -> Result<NodeStats> {
        unasked()
    }
    fn close(&self) -> Result<()> {
        unasked()
    }
}

fn unasked<T>() -> Result<T> {
    Err(ServiceError::Denied("not in these tests".into()))
}
