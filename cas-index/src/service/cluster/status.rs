//! How the cluster stands, for people.

use super::{Row, known};
use crate::cluster::{self, Count, Partition, Placement, partition};
use crate::service::Index;
use crate::state::Meta;
use cas_net::Result;
use cas_net::cluster::{ClusterStatus, Health};

impl Index {
    pub(super) fn how_nodes_stand(&self) -> Result<ClusterStatus> {
        let tables = self.tables();
        let (meta, time_ns) = (Meta::load(&*tables)?, self.now_ns());
        let Some(pool) = partition::pool(&*tables)? else { return Ok(ClusterStatus::default()) };
        let (rows, all) = (cluster::nodes(&*tables)?, Partition::all(&*tables)?);
        let placement = Placement::load(&*tables, &meta)?;
        let alive = self.alive(&rows, time_ns);
        let holds = |number: u32| all.iter().any(|partition| partition.entry(number).is_some());
        let holding: Vec<&Row> = rows.iter().filter(|row| holds(row.1.number)).collect();
        let desk = self.desk.open();
        let in_health =
            |health| holding.iter().filter(|row| desk.watch.health(&known(row, time_ns)) == health).count() as u32;
        let count = |is: &dyn Fn(&Partition) -> bool| all.iter().filter(|partition| is(partition)).count() as u32;
        let reached = |partition: &Partition| {
            partition.entries.iter().any(|entry| alive.up.contains(&entry.node) && placement.counts(entry))
        };
        let uncounted = all.iter().flat_map(|p| &p.entries).filter(|entry| entry.count != Count::Counted).count();
        Ok(ClusterStatus {
            layout: meta.layout,
            pool: pool.name().to_owned(),
            nodes: holding.len() as u32,
            suspect: in_health(Health::Suspect),
            down: in_health(Health::Down),
            to_move: count(&|partition| !partition.is_settled()).max(u32::from(!desk.has_planned)),
            moving: count(&Partition::is_moving),
            uncounted: uncounted as u32,
            unreachable: count(&|partition| !reached(partition)),
            short: meta.short,
            lost: desk.planner.lost(),
            suspended: desk.watch.is_suspended(),
            copied: desk.copied,
            copied_bytes: desk.copied_bytes,
        })
    }
}
