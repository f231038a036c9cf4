//! Where copies are: those that count, those that receipts prove late, and those that are nobody's.

use crate::cluster::{self, Command, Placement, heal};
use crate::command::{MAX_EDGES, Packed};
use crate::service::Index;
use crate::state::blocks::{State, row};
use crate::state::{Meta, first_session};
use cas_core::id::{BlockId, PublicKey};
use cas_net::cluster::Located;
use cas_net::{Delete, NodeId, Receipt, Result};
use std::collections::HashMap;

impl Index {
    /// Who has a copy that counts of each block, and who lacks one.
    pub(super) fn copies_of(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>> {
        let tables = self.tables();
        let meta = Meta::load(&*tables)?;
        let mut placement = Placement::load(&*tables, &meta)?;
        let keys: HashMap<u32, PublicKey> =
            cluster::nodes(&*tables)?.into_iter().map(|row| (row.1.number, row.0)).collect();
        let ids_of = |numbers: Vec<u32>| numbers.iter().filter_map(|n| keys.get(n)).map(|key| NodeId(*key)).collect();
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(row) = row(&*tables, id)?.filter(|row| !row.is_condemned()) else {
                out.push(None);
                continue;
            };
            let (there, missing) = placement.copies(&*tables, &meta, id)?;
            out.push(Some(Located {
                id: *id,
                sum: row.sum,
                len: row.len,
                nodes: ids_of(there),
                missing: ids_of(missing),
            }));
        }
        Ok(out)
    }

    /// Deletes for those of the blocks that the node keeps for nobody.
    pub(super) fn strays_of(&self, node: NodeId, ids: &[BlockId]) -> Result<Vec<Delete>> {
        let number = self.row_of(node)?.number;
        let tables = self.tables();
        let meta = Meta::load(&*tables)?;
        let mut placement = Placement::load(&*tables, &meta)?;
        if meta.held || placement.is_open() {
            return Ok(Vec::new());
        }
        let bound = first_session(&*tables)?.map_or(meta.epoch, |session| session.start());
        let mut out = Vec::new();
        for id in ids {
            let row = row(&*tables, id)?;
            let is_member = placement
                .partition(&*tables, id.partition())?
                .is_some_and(|partition| partition.entry(number).is_some());
            let is_stray = match row {
                None => true,
                Some(_) if is_member => false,
                Some(row) if row.is_condemned() => true,
                Some(row) => {
                    // The last copy of anything is nobody's stray.
                    let (there, missing) = placement.copies(&*tables, &meta, id)?;
                    let kept = there.contains(&number) || there.is_empty() || matches!(row.state, State::Bad(_));
                    !kept && missing.is_empty()
                }
            };
            if is_stray {
                out.push(Delete { id: *id, epoch: bound });
            }
        }
        drop(tables);
        self.durable_from(bound)?;
        Ok(out)
    }

    /// What receipts say of blocks that lack these copies: under a grant that is new enough they are not missing any
    /// more. Others are touched when they are healed, without their bytes.
    pub(in crate::service) fn late_copies(&self, receipts: &[Receipt]) -> Result<()> {
        let mut found = Vec::new();
        {
            let tables = self.tables();
            let meta = Meta::load(&*tables)?;
            if meta.short == 0 {
                return Ok(());
            }
            for receipt in receipts {
                let Some(node) = cluster::node_of(&*tables, &receipt.node.0.0)? else { continue };
                let (mut ids, mut sums) = (Vec::new(), Vec::new());
                for block in &receipt.blocks {
                    let heal = heal::heal_row(&*tables, &meta, &block.id)?;
                    let since = heal.and_then(|heal| heal.missing_since(node.number));
                    if since.is_some_and(|since| receipt.grant_epoch >= since) && ids.len() < MAX_EDGES {
                        ids.push(block.id);
                        sums.extend_from_slice(block.sum.as_bytes());
                    }
                }
                if !ids.is_empty() {
                    found.push((receipt.node.0.0, receipt.grant_epoch.0, Packed::of_ids(&ids), Packed(sums)));
                }
            }
        }
        for (node, grant, ids, sums) in found {
            self.note(Command::Copies { node, grant, ids, sums })?;
        }
        Ok(())
    }
}
