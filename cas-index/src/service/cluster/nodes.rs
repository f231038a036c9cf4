//! Nodes join, beat, and are what an operator wants of them.

use super::{Row, known};
use crate::cluster::{self, Command, NodeRow, Partition, Want};
use crate::service::Index;
use crate::state::Meta;
use cas_core::id::BlockId;
use cas_net::cluster::{
    Beat, BeatAnswer, DiskId, Join, JoinToken, Joined, MAX_DAMAGE, MAX_JOIN_TOKEN_NS, NodeChange, NodeInfo, NodeWant,
};
use cas_net::{NodeId, Result, ServiceError};
use std::collections::HashSet;

impl Index {
    pub(super) fn make_join_token(&self, rack: &str, lives_ns: i64) -> Result<JoinToken> {
        if !(1..=MAX_JOIN_TOKEN_NS).contains(&lives_ns) {
            return Err(ServiceError::Denied("a join token lives at most a week".into()));
        }
        let mut token = JoinToken([0; 32]);
        getrandom::fill(&mut token.0).map_err(|e| ServiceError::Stopped(format!("no randomness: {e}")))?;
        let expires_ns = self.now_ns().saturating_add(lives_ns);
        self.command(Command::AddToken { hash: token.hash(), rack: rack.to_owned(), expires_ns })?;
        Ok(token)
    }

    pub(super) fn let_in(&self, join: &Join) -> Result<Joined> {
        let Join { node, token, disk, capacity, addresses } = join;
        let (token, addresses) = (token.map(|token| token.hash()), addresses.clone());
        self.command(Command::Join { node: node.0.0, token, disk: disk.0, capacity: *capacity, addresses })?;
        let rack = self.row_of(*node)?.rack;
        Ok(Joined { rack, index: self.key.public(), epoch: self.durable() })
    }

    pub(super) fn take_beat(&self, beat: &Beat) -> Result<BeatAnswer> {
        let mut row = self.row_of(beat.node)?;
        if row.rack.is_empty() {
            return Err(ServiceError::NotFound { what: "node", name: beat.node.0.to_string() });
        }
        if row.disk != beat.disk.0 {
            self.command(Command::NewDisk { node: beat.node.0.0, disk: beat.disk.0 })?;
        }
        if row.addresses != beat.addresses {
            self.command(Command::Readdress { node: beat.node.0.0, addresses: beat.addresses.clone() })?;
        }
        {
            let mut desk = self.desk.open();
            let now_ns = desk.now_ns;
            desk.watch.heard(beat.node.0, now_ns);
            desk.beats.insert(beat.node.0, (beat.space, beat.load));
        }
        let own: Vec<BlockId> =
            beat.damage.iter().take(MAX_DAMAGE).filter(|d| d.node == beat.node).map(|d| d.id).collect();
        self.lost(beat.node, &own)?;
        row = self.row_of(beat.node)?;
        if !beat.takes_orders {
            self.desk.open().planner.forget(row.number);
        }
        let orders = if beat.takes_orders { self.orders(&row, beat.node.0)? } else { Vec::new() };
        let layout = Meta::load(&*self.tables())?.layout;
        Ok(BeatAnswer { layout, time_ns: self.now_ns(), orders })
    }

    pub(super) fn change_one_node(&self, node: NodeId, change: &NodeChange) -> Result<()> {
        let key = node.0.0;
        let want = |want| Command::Want { node: key, want };
        let _planning = self.desk.plan_alone();
        self.desk.open().has_planned = false;
        self.command(match change {
            NodeChange::Member => want(Want::Member),
            NodeChange::Drain => want(Want::Draining),
            NodeChange::Remove { lost: true } => want(Want::Lost),
            NodeChange::Remove { lost: false } => want(Want::Removed),
            NodeChange::Weight(weight) => Command::Weigh { node: key, weight: *weight },
            NodeChange::Rack(rack) => Command::Rerack { node: key, rack: rack.clone() },
            NodeChange::Maintenance(until_ns) => Command::Maintain { node: key, until_ns: *until_ns },
        })?;
        match change {
            NodeChange::Maintenance(_) => self.replan(&HashSet::new()),
            _ => self.replan(&HashSet::from([self.row_of(node)?.number])),
        }
    }

    pub(super) fn all_nodes(&self) -> Result<Vec<NodeInfo>> {
        let (rows, all) = {
            let tables = self.tables();
            (cluster::nodes(&*tables)?, Partition::all(&*tables)?)
        };
        let held = |number| all.iter().filter(|partition| partition.entry(number).is_some()).count() as u32;
        Ok(rows.iter().map(|row| self.info(row, held(row.1.number))).collect())
    }

    pub(super) fn info(&self, row: &Row, partitions: u32) -> NodeInfo {
        let (desk, time_ns) = (self.desk.open(), self.now_ns());
        let (node, row_known) = (&row.1, known(row, time_ns));
        let (space, load) = desk.beats.get(&row.0).copied().unwrap_or_default();
        let want = match node.want {
            Want::Member => NodeWant::Member,
            Want::Draining => NodeWant::Draining,
            Want::Removed | Want::Lost => NodeWant::Removed,
            Want::New => NodeWant::New,
        };
        NodeInfo {
            node: NodeId(row.0),
            rack: node.rack.clone(),
            weight: node.weight,
            addresses: node.addresses.clone(),
            want,
            maintenance_until_ns: node.maintenance_until_ns,
            health: desk.watch.health(&row_known),
            silent_ms: desk.watch.silent_ns(&row.0, desk.now_ns).map(|ns| ns as u64 / 1_000_000),
            space,
            load,
            partitions,
        }
    }

    pub(super) fn row_of(&self, node: NodeId) -> Result<NodeRow> {
        let found = cluster::node_of(&*self.tables(), &node.0.0)?;
        found.ok_or_else(|| ServiceError::NotFound { what: "node", name: node.0.to_string() })
    }

    /// The row, if the answer speaks of the disk that the node has.
    pub(super) fn row_on(&self, node: NodeId, disk: &DiskId) -> Result<NodeRow> {
        let row = self.row_of(node)?;
        if row.disk != disk.0 {
            return Err(ServiceError::Denied(format!("node {} speaks of another disk than it joined with", node.0)));
        }
        Ok(row)
    }
}
