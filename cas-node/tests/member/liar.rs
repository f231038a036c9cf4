//! A node that lies, for tests of who believes it.

use crate::store::block;
use cas_core::id::{BlockId, PublicKey};
use cas_net::chain::{PendingChain, Returned, Way};
use cas_net::{
    Delete, Deleted, Found, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Result, Scrubbed, ServiceError,
    StoredBlock,
};

/// A node that gives rubbish, under any name.
pub struct Liar;

impl Node for Liar {
    fn id(&self) -> NodeId {
        NodeId(PublicKey::ZERO)
    }
    fn offer(&self, _: &Grant, _: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        Err(ServiceError::Denied("no".into()))
    }
    fn put(&self, _: &Grant, _: Vec<PutBlock>) -> Result<PendingReceipt> {
        Err(ServiceError::Denied("no".into()))
    }
    fn put_on(&self, _: &Grant, blocks: Vec<PutBlock>, _: Way) -> Result<PendingChain, Returned> {
        Err(Returned { why: ServiceError::Denied("there is no ticket for this".into()), blocks })
    }
    fn get(&self, _: &BlockId) -> Result<Vec<u8>> {
        Ok(vec![7; 100])
    }
    fn get_many(&self, ids: &[BlockId], _: u64) -> Result<Vec<Found>> {
        let other = block(900, 1, 100);
        Ok(ids.iter().map(|id| Found::Here(PutBlock { id: *id, ..other.clone() })).collect())
    }
    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        Ok(vec![None; ids.len()])
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        Ok(vec![])
    }
    fn list(&self, _: Option<BlockId>, _: usize) -> Result<Vec<StoredBlock>> {
        Ok(vec![])
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        Ok(Scrubbed::default())
    }
    fn compact(&self, _: f64) -> Result<u64> {
        Ok(0)
    }
    fn stats(&self) -> Result<NodeStats> {
        Ok(NodeStats::default())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}
