//! The laws: those that hold at every moment, and those that hold when everything has come to rest.

use crate::Sim;
use cas_core::id::BlockId;
use cas_core::layout::Pool;
use cas_net::cluster::Cluster;
use cas_net::{Index as _, NodeId, RowState};
use std::collections::BTreeSet;

impl Sim {
    /// Laws that hold at every moment.
    pub fn check(&self) {
        let status = self.index().cluster_status().unwrap();
        let rows = self.index().list_rows(None, usize::MAX).unwrap();
        let live: Vec<BlockId> = rows.iter().filter(|row| row.state == RowState::Live).map(|row| row.id).collect();
        for located in self.index().locate(&live).unwrap().into_iter().flatten() {
            for node in self.nodes.iter().filter(|node| located.nodes.contains(&node.id())) {
                let is_there = node.has(&located.id, &located.sum) || node.said != node.disk;
                assert!(is_there, "a copy that counts is not there: {}", located.id);
            }
            let minimum = status.pool.parse::<Pool>().unwrap().minimum();
            let enough = located.nodes.len() >= minimum.min(located.nodes.len() + located.missing.len());
            assert!(enough || !located.missing.is_empty(), "{} is short and nobody knows", located.id);
        }
        for (snapshot, blocks) in &self.kept {
            for (id, row) in blocks.iter().zip(self.index().rows(blocks).unwrap()) {
                let row = row.unwrap_or_else(|| panic!("{snapshot} needs {id}, which has no row"));
                let copies = self.nodes.iter().filter(|node| node.has(id, &row.sum)).count();
                assert!(copies > 0, "{snapshot} needs {id}, and nobody has it");
            }
        }
        let recount = self.index().recount().unwrap();
        assert!(recount.wrong.is_empty() && recount.dangling.is_empty(), "{recount:?}");
    }

    /// Everybody is there, nothing happens: then nothing is left to be done.
    pub fn come_to_rest(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.is_up = true);
        for _ in 0..400 {
            self.pass(4);
            if self.index().cluster_status().unwrap().is_healthy() {
                return;
            }
        }
        let status = self.index().cluster_status().unwrap();
        panic!("does not come to rest: {status:?}\n{}", self.short());
    }

    /// At rest everything is where the layout says, and nothing else is anywhere.
    pub fn rest(&mut self) {
        let keep = [];
        self.index().end_sessions_except(&keep).unwrap();
        self.come_to_rest();
        for _ in 0..40 {
            self.index().empty_trash(i64::MAX).unwrap();
            self.index().condemn(1000).unwrap();
            self.pass(2);
        }
        self.sweep();
        self.late.clear();
        self.sweep();
        self.check();
        let layout = self.layout();
        let rows = self.index().list_rows(None, usize::MAX).unwrap();
        let others: Vec<_> = rows.iter().filter(|row| row.state != RowState::Live).collect();
        let placed: Vec<_> = others.iter().map(|row| layout.members(&row.id)).collect();
        assert!(others.is_empty(), "{others:?} at {placed:?} of {:?}", layout.nodes);
        for row in &rows {
            let members = layout.members(&row.id);
            assert_eq!(members.len(), layout.pool().unwrap().replicas());
            for member in members {
                let node = layout.node(*member).unwrap().node;
                let node = self.nodes.iter().find(|n| n.id() == node).unwrap();
                assert!(node.has(&row.id, &row.sum), "a member lacks {}", row.id);
            }
        }
        let known: BTreeSet<BlockId> = rows.iter().map(|row| row.id).collect();
        for (n, node) in self.nodes.iter().enumerate() {
            for id in node.copies.keys() {
                let is_member = layout.takes(&node.id(), id);
                assert!(known.contains(id) && is_member, "node {n} keeps {id} for nothing");
            }
        }
    }

    /// For people: blocks that lack copies, and who has what of them.
    fn short(&self) -> String {
        let rows = self.index().list_rows(None, usize::MAX).unwrap();
        let mut out = String::new();
        for row in rows {
            let located = self.index().locate(&[row.id]).unwrap().remove(0);
            let Some(located) = located.filter(|located| !located.missing.is_empty()) else { continue };
            let place = |id: &NodeId| self.nodes.iter().position(|node| node.id() == *id).unwrap();
            let there: Vec<usize> = located.nodes.iter().map(place).collect();
            let missing: Vec<usize> = located.missing.iter().map(place).collect();
            out += &format!("{row:?}: at {there:?}, missing at {missing:?}\n");
            for (n, node) in self.nodes.iter().enumerate() {
                out += &format!("  node {n}: {:?}\n", node.copies.get(&row.id));
            }
        }
        out
    }
}
