//! What is said to be lost or rotten: a node is believed about itself, others when they say it again.

use crate::cluster::{self, Command, Placement};
use crate::command::Packed;
use crate::service::Index;
use crate::state::Meta;
use cas_core::id::{BlockId, PublicKey};
use cas_net::cluster::{Damage, MAX_DAMAGE};
use cas_net::{NodeId, Result};
use std::collections::{BTreeMap, HashMap};

/// Reports about other nodes that are remembered.
const MAX_REPORTS: usize = 1 << 16;
/// So many reports of one copy are believed, whatever its node says.
const BELIEVED_REPORTS: u32 = 2;

impl Index {
    pub(super) fn take_reports(&self, damage: &[Damage]) -> Result<()> {
        let numbers: HashMap<PublicKey, u32> =
            cluster::nodes(&*self.tables())?.into_iter().map(|(key, row)| (key, row.number)).collect();
        let mut believed: BTreeMap<NodeId, Vec<BlockId>> = BTreeMap::new();
        {
            let mut desk = self.desk.open();
            // Somebody may invent a node.
            for Damage { node, id } in damage.iter().take(MAX_DAMAGE).filter(|d| numbers.contains_key(&d.node.0)) {
                if desk.reports.len() >= MAX_REPORTS {
                    desk.reports.clear();
                }
                let count = desk.reports.entry((node.0, *id)).or_default();
                *count += 1;
                if *count >= BELIEVED_REPORTS {
                    desk.reports.remove(&(node.0, *id));
                    believed.entry(*node).or_default().push(*id);
                } else {
                    desk.ask(node.0, *id);
                }
            }
        }
        for (node, ids) in believed {
            let (others, last) = self.with_other_copies(numbers[&node.0], ids)?;
            self.lost(node, &others)?;
            last.into_iter().for_each(|id| self.desk.open().ask(node.0, id));
        }
        Ok(())
    }

    pub(super) fn lost(&self, node: NodeId, ids: &[BlockId]) -> Result<()> {
        match ids {
            [] => Ok(()),
            ids => self.command(Command::Missing { node: node.0.0, ids: Packed::of_ids(ids) }),
        }
    }

    /// Those of which another node has a copy that counts, and those of which this one is said to have the last: that is
    /// given up on nobody's word but its own.
    fn with_other_copies(&self, node: u32, ids: Vec<BlockId>) -> Result<(Vec<BlockId>, Vec<BlockId>)> {
        let tables = self.tables();
        let meta = Meta::load(&*tables)?;
        let mut placement = Placement::load(&*tables, &meta)?;
        let (mut others, mut last) = (Vec::new(), Vec::new());
        for id in ids {
            let there = placement.copies(&*tables, &meta, &id)?.0;
            if there.iter().any(|other| *other != node) { others.push(id) } else { last.push(id) }
        }
        Ok((others, last))
    }
}
