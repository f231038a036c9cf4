//! [`Cluster`] over a connection: nodes, clients and operators ask by calls, the index answers them.

use super::calls as c;
use super::{
    Beat, BeatAnswer, Cluster, ClusterStatus, CopyDone, Damage, Floored, InventoryChunk, Join, JoinToken, Joined,
    Layout, Located, NodeChange, NodeInfo, PlanShown, RunInfo,
};
use crate::calls::Call;
use crate::limits::MAX_REQUEST_ITEMS;
use crate::rights::{Ask, Revocations};
use crate::wire::{decode, encode};
use crate::{Delete, NodeId, Result, ServiceError};
use cas_core::id::{BlockId, Epoch, PublicKey};

/// [`Cluster`] by asking.
#[derive(Debug, Clone)]
pub struct RemoteCluster<A>(pub A);

impl<A: Ask> Cluster for RemoteCluster<A> {
    fn join_token(&self, rack: &str, lives_ns: i64) -> Result<JoinToken> {
        self.0.ask(&c::MakeJoinToken { rack: rack.to_owned(), lives_ns })
    }

    fn join(&self, join: &Join) -> Result<Joined> {
        self.0.ask(&c::JoinCluster { join: join.clone() })
    }

    fn beat(&self, beat: &Beat) -> Result<BeatAnswer> {
        self.0.ask(&c::SendBeat { beat: beat.clone() })
    }

    fn copies_done(&self, done: &CopyDone) -> Result<()> {
        self.0.ask(&c::CopiesDone { done: done.clone() })
    }

    fn floored(&self, floored: &Floored) -> Result<()> {
        self.0.ask(&c::FloorWritten { floored: floored.clone() })
    }

    fn inventory(&self, chunk: &InventoryChunk) -> Result<bool> {
        self.0.ask(&c::Inventory { chunk: chunk.clone() })
    }

    fn strays(&self, node: NodeId, ids: &[BlockId]) -> Result<Vec<Delete>> {
        self.0.ask(&c::Strays { node, ids: ids.to_vec() })
    }

    fn report(&self, damage: &[Damage]) -> Result<()> {
        self.0.ask(&c::Report { damage: damage.to_vec() })
    }

    fn layout(&self, known: u64) -> Result<Option<Layout>> {
        self.0.ask(&c::GetLayout { known })
    }

    fn locate(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>> {
        self.0.ask(&c::Locate { ids: ids.to_vec() })
    }

    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.0.ask(&c::Nodes {})
    }

    fn cluster_status(&self) -> Result<ClusterStatus> {
        self.0.ask(&c::GetClusterStatus {})
    }

    fn change_node(&self, node: NodeId, change: &NodeChange) -> Result<()> {
        self.0.ask(&c::ChangeNode { node, change: change.clone() })
    }

    fn plan_layout(&self, pool: Option<&str>) -> Result<PlanShown> {
        self.0.ask(&c::PlanLayout { pool: pool.map(str::to_owned) })
    }

    fn apply_layout(&self, plan: &PlanShown) -> Result<()> {
        self.0.ask(&c::ApplyLayout { plan: plan.clone() })
    }

    fn revocations(&self, known: Epoch) -> Result<Option<Revocations>> {
        self.0.ask(&c::GetRevocations { known })
    }

    fn runs(&self, limit: u32) -> Result<Vec<RunInfo>> {
        self.0.ask(&c::GetRuns { limit })
    }

    fn ask_run(&self, task: &str) -> Result<()> {
        self.0.ask(&c::AskRun { task: task.to_owned() })
    }

    fn release(&self) -> Result<()> {
        self.0.ask(&c::ReleaseIndex {})
    }
}

/// Who asks: the key that the other end of the connection proved, and whether it may change the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The key.
    pub key: PublicKey,
    /// Whether that is an operator (or an admin).
    pub operates: bool,
}

impl Asker {
    fn is(&self, node: NodeId) -> Result<()> {
        if node.0 == self.key {
            return Ok(());
        }
        Err(ServiceError::Denied(format!("{} speaks for node {}", self.key, node.0)))
    }

    fn operates(&self) -> Result<()> {
        if self.operates {
            return Ok(());
        }
        Err(ServiceError::Denied(format!("{} is no operator", self.key)))
    }
}

/// Carries out the request of this number; answers the bytes of its answer. Nobody speaks for a node but itself, and
/// changes are for operators.
///
/// # Errors
/// What the request is refused with; [`ServiceError::Protocol`] for bytes that are no such request.
pub fn answer(cluster: &dyn Cluster, asker: &Asker, method: u16, message: &[u8]) -> Result<Vec<u8>> {
    fn run<C: Call>(message: &[u8], work: impl FnOnce(C) -> Result<C::Answer>) -> Result<Vec<u8>> {
        let call =
            decode::<C>(message, MAX_REQUEST_ITEMS).map_err(|e| ServiceError::Protocol(format!("{}: {e}", C::NAME)))?;
        work(call).map(|answer| encode(&answer))
    }
    match method {
        c::MakeJoinToken::METHOD => run(message, |q: c::MakeJoinToken| {
            asker.operates()?;
            cluster.join_token(&q.rack, q.lives_ns)
        }),
        c::JoinCluster::METHOD => run(message, |q: c::JoinCluster| {
            asker.is(q.join.node)?;
            cluster.join(&q.join)
        }),
        c::SendBeat::METHOD => run(message, |q: c::SendBeat| {
            asker.is(q.beat.node)?;
            cluster.beat(&q.beat)
        }),
        c::CopiesDone::METHOD => run(message, |q: c::CopiesDone| {
            asker.is(q.done.node)?;
            cluster.copies_done(&q.done)
        }),
        c::FloorWritten::METHOD => run(message, |q: c::FloorWritten| {
            asker.is(q.floored.node)?;
            cluster.floored(&q.floored)
        }),
        c::Inventory::METHOD => run(message, |q: c::Inventory| {
            asker.is(q.chunk.node)?;
            cluster.inventory(&q.chunk)
        }),
        c::Strays::METHOD => run(message, |q: c::Strays| {
            asker.is(q.node)?;
            cluster.strays(q.node, &q.ids)
        }),
        c::Report::METHOD => run(message, |q: c::Report| cluster.report(&q.damage)),
        c::GetLayout::METHOD => run(message, |q: c::GetLayout| cluster.layout(q.known)),
        c::Locate::METHOD => run(message, |q: c::Locate| cluster.locate(&q.ids)),
        c::Nodes::METHOD => run(message, |_: c::Nodes| cluster.nodes()),
        c::GetClusterStatus::METHOD => run(message, |_: c::GetClusterStatus| cluster.cluster_status()),
        c::ChangeNode::METHOD => run(message, |q: c::ChangeNode| {
            asker.operates()?;
            cluster.change_node(q.node, &q.change)
        }),
        c::PlanLayout::METHOD => run(message, |q: c::PlanLayout| {
            asker.operates()?;
            cluster.plan_layout(q.pool.as_deref())
        }),
        c::ApplyLayout::METHOD => run(message, |q: c::ApplyLayout| {
            asker.operates()?;
            cluster.apply_layout(&q.plan)
        }),
        c::GetRevocations::METHOD => run(message, |q: c::GetRevocations| cluster.revocations(q.known)),
        c::GetRuns::METHOD => run(message, |q: c::GetRuns| cluster.runs(q.limit)),
        c::AskRun::METHOD => run(message, |q: c::AskRun| {
            asker.operates()?;
            cluster.ask_run(&q.task)
        }),
        c::ReleaseIndex::METHOD => run(message, |_: c::ReleaseIndex| {
            asker.operates()?;
            cluster.release()
        }),
        _ => Err(ServiceError::Protocol(format!("the cluster has no request {method}"))),
    }
}
