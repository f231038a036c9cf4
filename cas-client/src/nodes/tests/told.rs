//! An index that knows a layout, and what it is told.

use cas_core::id::{BlockId, Sum};
use cas_net::cluster::*;
use cas_net::{Delete, NodeId, Result};
use std::sync::Mutex;

/// An index that only knows a layout and notes what is reported.
pub(super) struct Told {
    pub(super) newer: Mutex<Option<Layout>>,
    pub(super) damage: Mutex<Vec<Damage>>,
    /// Where all blocks are.
    pub(super) located: Mutex<Vec<NodeId>>,
}

impl Cluster for Told {
    fn layout(&self, known: u64) -> Result<Option<Layout>> {
        Ok(self.newer.lock().unwrap().clone().filter(|layout| layout.version > known))
    }
    fn report(&self, damage: &[Damage]) -> Result<()> {
        self.damage.lock().unwrap().extend_from_slice(damage);
        Ok(())
    }
    fn join_token(&self, _: &str, _: i64) -> Result<JoinToken> {
        unreachable!()
    }
    fn join(&self, _: &Join) -> Result<Joined> {
        unreachable!()
    }
    fn beat(&self, _: &Beat) -> Result<BeatAnswer> {
        unreachable!()
    }
    fn copies_done(&self, _: &CopyDone) -> Result<()> {
        unreachable!()
    }
    fn floored(&self, _: &Floored) -> Result<()> {
        unreachable!()
    }
    fn inventory(&self, _: &InventoryChunk) -> Result<bool> {
        unreachable!()
    }
    fn strays(&self, _: NodeId, _: &[BlockId]) -> Result<Vec<Delete>> {
        unreachable!()
    }
    fn locate(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>> {
        let nodes = self.located.lock().unwrap().clone();
        Ok(ids
            .iter()
            .map(|id| Some(Located { id: *id, sum: Sum::ZERO, len: 0, nodes: nodes.clone(), missing: vec![] }))
            .collect())
    }
    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        unreachable!()
    }
    fn cluster_status(&self) -> Result<ClusterStatus> {
        unreachable!()
    }
    fn change_node(&self, _: NodeId, _: &NodeChange) -> Result<()> {
        unreachable!()
    }
    fn plan_layout(&self, _: Option<&str>) -> Result<PlanShown> {
        unreachable!()
    }
    fn apply_layout(&self, _: &PlanShown) -> Result<()> {
        unreachable!()
    }
}
