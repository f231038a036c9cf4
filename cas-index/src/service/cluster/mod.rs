//! [`Cluster`] at an index: nodes join and beat, orders leave, layouts are planned. DESIGN §8.
//!
//! [`Index::tick`] is what makes time pass: whoever runs the index calls it about once a second. What it decides becomes
//! commands; orders leave with the answers to beats, under grants whose epoch is durable and not older than what they heal.

mod copies;
mod damage;
mod desk;
mod layout;
mod liveness;
mod nodes;
mod orders;
mod status;

pub(super) use desk::Desk;

use super::{Index, unexpected};
use crate::cluster::liveness::Known;
use crate::cluster::{Command, NodeRow, Want};
use crate::state::Outcome;
use cas_core::id::{BlockId, Epoch, PublicKey};
use cas_net::cluster::{
    Beat, BeatAnswer, Cluster, ClusterStatus, CopyDone, Damage, Floored, InventoryChunk, Join, JoinToken, Joined,
    Layout, Located, NodeChange, NodeInfo, PlanShown,
};
use cas_net::rights::Revocations;
use cas_net::{Delete, NodeId, Result};

/// A node with its row.
type Row = (PublicKey, NodeRow);

fn known(row: &Row, time_ns: i64) -> Known {
    // Nobody waits for a node that was given up.
    let in_maintenance = row.1.want == Want::Lost || row.1.maintenance_until_ns.is_some_and(|until| until > time_ns);
    Known { node: row.0, down: row.1.down, in_maintenance }
}

impl Index {
    fn command(&self, command: Command) -> Result<()> {
        self.commanded(command, true)
    }

    /// Without waiting for a sync: what a crash takes back of it is ordered and answered again.
    fn note(&self, command: Command) -> Result<()> {
        self.commanded(command, false)
    }

    fn commanded(&self, command: Command, durable: bool) -> Result<()> {
        match self.submit(crate::command::Command::Cluster(command), durable)? {
            Outcome::Done => Ok(()),
            other => unexpected(&other),
        }
    }
}

impl Cluster for Index {
    fn join_token(&self, rack: &str, lives_ns: i64) -> Result<JoinToken> {
        self.make_join_token(rack, lives_ns)
    }

    fn join(&self, join: &Join) -> Result<Joined> {
        self.let_in(join)
    }

    fn beat(&self, beat: &Beat) -> Result<BeatAnswer> {
        self.take_beat(beat)
    }

    fn copies_done(&self, done: &CopyDone) -> Result<()> {
        self.take_copies(done)
    }

    fn floored(&self, floored: &Floored) -> Result<()> {
        self.take_floors(floored)
    }

    fn inventory(&self, chunk: &InventoryChunk) -> Result<bool> {
        self.take_inventory(chunk)
    }

    fn strays(&self, node: NodeId, ids: &[BlockId]) -> Result<Vec<Delete>> {
        self.strays_of(node, ids)
    }

    fn report(&self, damage: &[Damage]) -> Result<()> {
        self.take_reports(damage)
    }

    fn layout(&self, known: u64) -> Result<Option<Layout>> {
        self.layout_after(known)
    }

    fn locate(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>> {
        self.copies_of(ids)
    }

    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.all_nodes()
    }

    fn cluster_status(&self) -> Result<ClusterStatus> {
        self.how_nodes_stand()
    }

    fn change_node(&self, node: NodeId, change: &NodeChange) -> Result<()> {
        self.change_one_node(node, change)
    }

    fn plan_layout(&self, pool: Option<&str>) -> Result<PlanShown> {
        self.show_plan(pool)
    }

    fn apply_layout(&self, shown: &PlanShown) -> Result<()> {
        self.apply_shown(shown)
    }

    fn revocations(&self, known: Epoch) -> Result<Option<Revocations>> {
        let now = Index::revocations(self)?;
        Ok((now.version != known).then_some(now))
    }
}
