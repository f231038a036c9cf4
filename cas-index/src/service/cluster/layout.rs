//! The layout: shown before it is applied, and made to fit the nodes again whenever one of them goes or is back.

use super::{Row, known};
use crate::cluster::{self, Command, Count, Entry, NodeRow, Partition, Want, partition};
use crate::command::Packed;
use crate::service::Index;
use crate::state::Meta;
use cas_core::id::{PublicKey, Sum};
use cas_core::layout::{self, PARTITIONS, Plan, Pool, Table};
use cas_net::cluster::{Layout, Member, NodeTraffic, PlanShown};
use cas_net::{NodeId, Result, ServiceError};
use std::collections::{HashMap, HashSet};

/// So often a layout is planned anew because something else changed meanwhile.
const APPLY_TRIES: usize = 16;

impl Index {
    /// The layout, if it is newer than the known one.
    pub(super) fn layout_after(&self, known: u64) -> Result<Option<Layout>> {
        let tables = self.tables();
        let version = Meta::load(&*tables)?.layout;
        if version <= known {
            return Ok(None);
        }
        let Some(pool) = partition::pool(&*tables)? else { return Ok(None) };
        let (rows, all) = (cluster::nodes(&*tables)?, Partition::all(&*tables)?);
        drop(tables);
        let places: HashMap<u32, u16> = rows.iter().map(|row| row.1.number).zip(0..).collect();
        let mut held: HashMap<u32, u32> = HashMap::new();
        let member = |entry: &Entry| {
            let uncounted = if entry.count == Count::Counted { 0 } else { Member::UNCOUNTED };
            let joins = if entry.joins { Member::JOINING } else { 0 };
            let leaves = if entry.leaves { Member::LEAVING } else { 0 };
            places.get(&entry.node).map(|node| Member { node: *node, flags: joins | leaves | uncounted })
        };
        let partitions = all.iter().map(|partition| {
            partition.entries.iter().for_each(|entry| *held.entry(entry.node).or_default() += 1);
            partition.entries.iter().filter_map(member).collect()
        });
        let partitions = partitions.collect();
        let nodes = rows.iter().map(|row| self.info(row, held.get(&row.1.number).copied().unwrap_or(0))).collect();
        Ok(Some(Layout { version, pool: pool as u8, nodes, partitions }))
    }

    pub(super) fn show_plan(&self, pool: Option<&str>) -> Result<PlanShown> {
        let pool = pool.map(str::parse::<Pool>).transpose().map_err(|e| ServiceError::Denied(e.to_string()))?;
        let (rows, meta) = {
            let tables = self.tables();
            (cluster::nodes(&*tables)?, Meta::load(&*tables)?)
        };
        let plan = self.planned(&rows, pool, true, &HashSet::new())?;
        let bytes = vec![meta.bytes / PARTITIONS as u64; PARTITIONS];
        let traffic = plan.traffic(&bytes);
        let node = |n: &layout::NodeTraffic| NodeTraffic {
            node: NodeId(n.node),
            before: n.before,
            after: n.after,
            bytes_in: n.bytes_in,
            bytes_out: n.bytes_out,
        };
        Ok(PlanShown {
            based_on: meta.layout,
            pool: plan.table.pool().name().to_owned(),
            table: Sum::of(&plan.table.encode()),
            nodes: traffic.nodes.iter().map(node).collect(),
            copies: traffic.copies,
            bytes: traffic.bytes,
        })
    }

    /// The table counts, not the version it was planned for: addresses and steps that went on meanwhile change nothing of
    /// what was shown.
    pub(super) fn apply_shown(&self, shown: &PlanShown) -> Result<()> {
        let pool: Pool = shown.pool.parse().map_err(|e: layout::LayoutError| ServiceError::Denied(e.to_string()))?;
        for _ in 0..APPLY_TRIES {
            let (rows, based_on) = {
                let tables = self.tables();
                (cluster::nodes(&*tables)?, Meta::load(&*tables)?.layout)
            };
            let plan = self.planned(&rows, Some(pool), true, &HashSet::new())?;
            if Sum::of(&plan.table.encode()) != shown.table {
                return Err(ServiceError::Conflict { name: "layout".into(), latest: based_on });
            }
            match self.apply_plan(&plan, based_on) {
                Err(ServiceError::Conflict { .. }) => {}
                done => return done,
            }
        }
        Err(ServiceError::Busy("the layout changes all the time".into()))
    }

    /// Makes the table fit the nodes again, if it can: with too few of them it stays as it is.
    pub(super) fn replan(&self, returned: &HashSet<u32>) -> Result<()> {
        for _ in 0..APPLY_TRIES {
            let (rows, based_on) = {
                let tables = self.tables();
                (cluster::nodes(&*tables)?, Meta::load(&*tables)?.layout)
            };
            let applied = match self.planned(&rows, None, false, returned) {
                Ok(plan) if plan.is_empty() && returned.is_empty() => Ok(()),
                Ok(plan) => self.apply_plan(&plan, based_on),
                Err(ServiceError::Denied(why)) => {
                    tracing::warn!(why, "the layout stays as it is");
                    Ok(())
                }
                Err(ServiceError::NotFound { .. }) => Ok(()),
                Err(other) => Err(other),
            };
            match applied {
                Err(ServiceError::Conflict { .. }) => {}
                Err(why) => return Err(why),
                Ok(()) => {
                    self.desk.open().has_planned = true;
                    return Ok(());
                }
            }
        }
        Err(ServiceError::Busy("the layout changes all the time".into()))
    }

    fn apply_plan(&self, plan: &Plan, based_on: u64) -> Result<()> {
        let pool = plan.table.pool() as u8;
        self.command(Command::ApplyLayout { based_on, pool, table: Packed(plan.table.encode()) })
    }

    fn planned(&self, rows: &[Row], pool: Option<Pool>, with_new: bool, returned: &HashSet<u32>) -> Result<Plan> {
        let base = self.base(rows, returned)?;
        let pool = match (pool, partition::pool(&*self.tables())?) {
            (Some(pool), _) | (None, Some(pool)) => pool,
            (None, None) => return Err(ServiceError::NotFound { what: "layout", name: "no node has joined".into() }),
        };
        let (time_ns, desk) = (self.now_ns(), self.desk.open());
        let nodes = rows.iter().map(|row| {
            let want = if row.1.want == Want::New && with_new { Want::Member } else { row.1.want };
            let down = row.1.down || desk.watch.is_gone(&known(row, time_ns), desk.now_ns);
            NodeRow { want, down, ..row.1.clone() }.planned(row.0)
        });
        layout::plan(base.as_ref(), &nodes.collect::<Vec<_>>(), pool).map_err(|e| ServiceError::Denied(e.to_string()))
    }

    /// The table that is wanted now; partitions that a node left and may stay with, since it is back, count as they are.
    fn base(&self, rows: &[Row], returned: &HashSet<u32>) -> Result<Option<Table>> {
        let tables = self.tables();
        let Some(pool) = partition::pool(&*tables)? else { return Ok(None) };
        let keys: HashMap<u32, PublicKey> = rows.iter().map(|row| (row.1.number, row.0)).collect();
        let mut members = Vec::with_capacity(PARTITIONS);
        for partition in Partition::all(&*tables)? {
            let old: Vec<u32> = partition.entries.iter().filter(|e| e.is_old()).map(|e| e.node).collect();
            let stays = old.len() == pool.replicas() && old.iter().any(|node| returned.contains(node));
            let wanted = if stays { old } else { partition.target };
            members.push(wanted.iter().filter_map(|node| keys.get(node).copied()).collect::<Vec<_>>());
        }
        let is_whole = members.len() == PARTITIONS && members.iter().all(|m| m.len() == pool.replicas());
        Ok(is_whole.then(|| Table::new(1, pool, &members)))
    }
}
