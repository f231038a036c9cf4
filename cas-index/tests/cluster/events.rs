//! What happens beside pushes: losses and returns, operators, collection, crashes of the index.

use crate::Sim;
use crate::node::SimNode;
use crate::support::vault;
use cas_core::id::{BlockId, SnapshotId};
use cas_index::{Index, rebuild};
use cas_net::cluster::{Cluster, NodeChange};
use cas_net::{Index as _, Node, ServiceError, SnapshotState};
use std::collections::BTreeSet;

impl Sim {
    /// Something that is no push.
    pub fn events(&mut self, may_lose: bool) {
        match self.dice.below(15) {
            0 | 1 => self.pass(1 + self.nodes.len() as i64 % 5),
            2 => self.beats(false),
            3 => self.forget(),
            4 | 5 => self.collect(),
            6 => self.sweep(),
            7 => {
                self.index = None;
                self.index = Some(Index::open(self.dir.path(), self.options.clone()).unwrap());
                self.say("crash");
            }
            8 => {
                for (n, delete) in std::mem::take(&mut self.late) {
                    self.nodes[n].carry(&delete);
                }
            }
            9 | 10 if may_lose => self.lose(),
            11 => {
                let n = self.dice.below(self.nodes.len());
                if !self.nodes[n].is_up {
                    self.nodes[n].is_up = true;
                    self.say(format!("node {n} is back"));
                }
            }
            12 if self.nodes.len() < 7 => self.join(),
            13 => self.operate(),
            _ => {}
        }
    }

    /// A node, and never a second one before the first is made good.
    fn lose(&mut self) {
        if self.dice.chance(2) {
            self.nodes.iter_mut().for_each(|node| node.is_up = true);
        }
        let is_up = self.nodes.iter().all(|node| node.is_up);
        if !is_up || !self.is_made_good() || self.layout().pool().unwrap().minimum() < 2 {
            return;
        }
        let n = self.dice.below(self.nodes.len());
        match self.dice.below(4) {
            0 => {
                self.nodes[n].is_up = false;
                self.say(format!("node {n} is silent"));
            }
            1 => {
                self.nodes[n].is_up = false;
                self.say(format!("node {n} is silent for long"));
                self.pass(620);
            }
            _ => self.lose_disk_of(n),
        }
    }

    /// A disk, in any case: of a cluster that could be of single copies until now, and is not any more.
    pub fn lose_a_disk(&mut self) {
        (self.nodes.len()..4).for_each(|_| self.join());
        self.all_are_members();
        self.lay_out("r3");
        self.come_to_rest();
        let n = self.dice.below(self.nodes.len());
        self.lose_disk_of(n);
    }

    fn lose_disk_of(&mut self, n: usize) {
        self.nodes[n].lose_disk();
        self.say(format!("node {n} has lost its disk"));
    }

    pub fn all_are_members(&self) {
        let nodes = self.nodes.iter().map(SimNode::id);
        nodes.for_each(|node| self.index().change_node(node, &NodeChange::Member).unwrap());
    }

    /// Waits a while until everything is where it belongs.
    fn is_made_good(&mut self) -> bool {
        (0..25).any(|_| {
            // It takes a beat until the index knows what was lost.
            self.pass(4);
            let status = self.index().cluster_status().unwrap();
            status.short == 0 && status.uncounted == 0 && status.moving == 0 && status.to_move == 0
        })
    }

    pub fn operate(&mut self) {
        let n = self.dice.below(self.nodes.len());
        let node = self.nodes[n].id();
        let change = match self.dice.below(6) {
            0 => Some(NodeChange::Drain),
            1 => Some(NodeChange::Member),
            2 => Some(NodeChange::Weight(500 + self.dice.below(1000) as u64)),
            3 => Some(NodeChange::Rack(format!("rack {}", self.dice.below(3)))),
            _ => None,
        };
        let Some(change) = change else {
            let pool = *self.dice.pick(&["r1", "r2", "r2", "r3", "r3", "r3", "r3"]).unwrap();
            return self.lay_out(pool);
        };
        match self.index().change_node(node, &change) {
            Ok(()) => self.say(format!("operator: {change:?} of node {n}")),
            Err(ServiceError::Denied(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// A layout with all nodes, if there can be one of this pool.
    fn lay_out(&mut self, pool: &str) {
        let shown = self.index().plan_layout(Some(pool));
        match shown.and_then(|shown| self.index().apply_layout(&shown)) {
            Ok(()) => self.say(format!("operator: layout of {pool}")),
            Err(ServiceError::Denied(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// A layout with all nodes, and everything where it belongs.
    pub fn settle(&mut self, pool: &str) {
        let shown = self.index().plan_layout(Some(pool)).unwrap();
        self.index().apply_layout(&shown).unwrap();
        self.pass(120);
        assert!(self.index().cluster_status().unwrap().is_healthy());
    }

    pub fn collect(&mut self) {
        self.index().empty_trash(i64::MAX).unwrap();
        let limit = 1 + self.dice.below(30);
        self.index().condemn(limit).unwrap();
        self.say("condemn");
    }

    /// Deletes of what the index says is nobody's.
    pub fn sweep(&mut self) {
        for n in 0..self.nodes.len() {
            let ids: Vec<BlockId> = self.nodes[n].copies.keys().copied().collect();
            if self.nodes[n].is_up && !ids.is_empty() {
                for delete in self.index().strays(self.nodes[n].id(), &ids).unwrap() {
                    if self.dice.chance(4) {
                        self.late.push((n, delete));
                    }
                    self.nodes[n].carry(&delete);
                }
            }
        }
    }

    /// The index is lost, and made anew from the nodes; they join again. Answers the versions that live, before and after.
    pub fn lose_index(&mut self) -> [BTreeSet<SnapshotId>; 2] {
        let live = |index: &Index| {
            let rows = index.snapshots(&vault(), None, false).unwrap();
            assert!(rows.iter().all(|row| row.state == SnapshotState::Live));
            rows.iter().map(|row| row.snapshot).collect()
        };
        let before = live(self.index());
        self.index = None;
        self.dir = tempfile::tempdir().unwrap();
        let nodes: Vec<&dyn Node> = self.nodes.iter().map(|node| node as &dyn Node).collect();
        let found = rebuild(self.dir.path(), &self.options, &nodes).unwrap();
        assert_eq!(found.unreadable, []);
        self.index = Some(Index::open(self.dir.path(), self.options.clone()).unwrap());
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        while !order.is_empty() {
            let at = self.dice.below(order.len());
            self.let_in(order.swap_remove(at));
        }
        self.say("lost");
        [before, live(self.index())]
    }
}
