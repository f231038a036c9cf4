//! [`Cluster`] at an index: nodes join and beat, orders leave, layouts are planned. DESIGN §8.
//!
//! [`Index::tick`] is what makes time pass: whoever runs the index calls it about once a second. What it decides becomes
//! commands; orders leave with the answers to beats, under grants whose epoch is durable and not older than what they heal.

use super::{Index, unexpected};
use crate::cluster::command::Chunk;
use crate::cluster::liveness::{Action, Known, Settings, Watch};
use crate::cluster::planner::{Alive, Draft, Planner, Throttle};
use crate::cluster::{self, Command, Count, NodeRow, Partition, Placement, Want, heal, partition};
use crate::command::{MAX_EDGES, Packed};
use crate::state::blocks::{State, row};
use crate::state::{Meta, Outcome, first_session};
use cas_core::id::{BlockId, Epoch, PublicKey, Sum};
use cas_core::layout::{self, PARTITIONS, Plan, Pool, Table};
use cas_net::cluster::{
    Beat, BeatAnswer, Cluster, ClusterStatus, CopyDone, CopyFault, CopyOrder, Damage, Floored, Health, InventoryChunk,
    Join, JoinToken, Joined, Layout, Load, Located, MAX_DAMAGE, MAX_INVENTORY, MAX_JOIN_TOKEN_NS, Member, NodeChange,
    NodeInfo, NodeTraffic, NodeWant, Order, PlanShown, Space,
};
use cas_net::rights::Revocations;
use cas_net::{Delete, Grant, NodeId, Result, ServiceError, SessionId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The session of grants for healing and moving.
const HEALING: SessionId = SessionId(0);
/// Reports about other nodes that are remembered.
const MAX_REPORTS: usize = 1 << 16;
/// So often a layout is planned anew because something else changed meanwhile.
const APPLY_TRIES: usize = 16;
/// So many reports of one copy are believed, whatever its node says.
const BELIEVED_REPORTS: u32 = 2;

/// What an index remembers of its nodes beside their rows.
pub(crate) struct Desk {
    inside: Mutex<Inside>,
    /// Held while it is declared what nodes are, and planned what follows.
    planning: Mutex<()>,
}

struct Inside {
    now_ns: i64,
    /// Whether the table fits the nodes, as far as is known here.
    has_planned: bool,
    watch: Watch,
    planner: Planner,
    beats: BTreeMap<PublicKey, (Space, Load)>,
    reports: HashMap<(PublicKey, BlockId), u32>,
    verify: HashMap<PublicKey, Vec<BlockId>>,
    copied: u64,
    copied_bytes: u64,
}

impl Desk {
    /// With these settings; everybody has the grace of a start.
    pub(crate) fn new(settings: Settings, throttle: Throttle) -> Self {
        let inside = Inside {
            now_ns: 0,
            has_planned: false,
            watch: Watch::new(settings),
            planner: Planner::new(throttle),
            beats: BTreeMap::new(),
            reports: HashMap::new(),
            verify: HashMap::new(),
            copied: 0,
            copied_bytes: 0,
        };
        Self { inside: Mutex::new(inside), planning: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan_alone(&self) -> MutexGuard<'_, ()> {
        self.planning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The node is to look at its copy.
    fn ask(&mut self, node: PublicKey, id: BlockId) {
        let asked = self.verify.entry(node).or_default();
        if asked.len() < MAX_DAMAGE && !asked.contains(&id) {
            asked.push(id);
        }
    }
}

/// A node with its row.
type Row = (PublicKey, NodeRow);

fn known(row: &Row, time_ns: i64) -> Known {
    // Nobody waits for a node that was given up.
    let in_maintenance = row.1.want == Want::Lost || row.1.maintenance_until_ns.is_some_and(|until| until > time_ns);
    Known { node: row.0, down: row.1.down, in_maintenance }
}

impl Index {
    /// Lets time pass: `now_ns` of a clock that nobody sets. Declares nodes down or back, and takes the next steps of
    /// moves. Answers what has changed with nodes, for people.
    pub fn tick(&self, now_ns: i64) -> Result<Vec<Action>> {
        let planning = self.desk.plan_alone();
        let rows = cluster::nodes(&*self.tables())?;
        let time_ns = self.now_ns();
        let watched: Vec<Known> = rows.iter().map(|row| known(row, time_ns)).collect();
        let actions = {
            let mut desk = self.desk.open();
            desk.now_ns = now_ns;
            desk.watch.tick(now_ns, &watched)
        };
        let mut returned = HashSet::new();
        for action in &actions {
            let (node, down) = match action {
                Action::Down(node) => (node, true),
                Action::Up(node) => (node, false),
                _ => continue,
            };
            self.desk.open().has_planned = false;
            self.command(Command::Down { node: node.0, down })?;
            let number = rows.iter().find(|row| row.0 == *node).map(|row| row.1.number);
            returned.extend(number.filter(|_| !down));
        }
        // Also of an index that died between a declaration and its plan. Steps go on by the old table if there is no new one.
        let has_planned = self.desk.open().has_planned;
        let planned = if has_planned { Ok(()) } else { self.replan(&returned) };
        drop(planning);
        let commands = {
            let tables = self.tables();
            let (meta, alive) = (Meta::load(&*tables)?, self.alive(&cluster::nodes(&*tables)?, time_ns));
            self.desk.open().planner.step(&*tables, &meta, &alive, now_ns)?
        };
        for command in commands {
            self.command(command)?;
        }
        planned.map(|()| actions)
    }

    /// What an operator says about nodes that vanished together: they are really gone, heal.
    pub fn accept_losses(&self) {
        self.desk.open().watch.accept();
    }

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

    fn alive(&self, rows: &[Row], time_ns: i64) -> Alive {
        let desk = self.desk.open();
        let is_up = |row: &&Row| desk.watch.health(&known(row, time_ns)) == Health::Up;
        let up = rows.iter().filter(is_up).map(|row| row.1.number).collect();
        Alive { up, suspended: desk.watch.is_suspended() }
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

    /// Makes the table fit the nodes again, if it can: with too few of them it stays as it is.
    fn replan(&self, returned: &HashSet<u32>) -> Result<()> {
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

    fn row_of(&self, node: NodeId) -> Result<NodeRow> {
        let found = cluster::node_of(&*self.tables(), &node.0.0)?;
        found.ok_or_else(|| ServiceError::NotFound { what: "node", name: node.0.to_string() })
    }

    /// The row, if the answer speaks of the disk that the node has.
    fn row_on(&self, node: NodeId, disk: &cas_net::cluster::DiskId) -> Result<NodeRow> {
        let row = self.row_of(node)?;
        if row.disk != disk.0 {
            return Err(ServiceError::Denied(format!("node {} speaks of another disk than it joined with", node.0)));
        }
        Ok(row)
    }

    fn orders(&self, node: &NodeRow, key: PublicKey) -> Result<Vec<Order>> {
        let (drafts, meta, keys) = {
            let tables = self.tables();
            let rows = cluster::nodes(&*tables)?;
            let (meta, alive) = (Meta::load(&*tables)?, self.alive(&rows, self.now_ns()));
            let mut desk = self.desk.open();
            let now_ns = desk.now_ns;
            let drafts = desk.planner.orders(&*tables, &meta, node.number, &alive, now_ns)?;
            let keys: HashMap<u32, PublicKey> = rows.into_iter().map(|row| (row.1.number, row.0)).collect();
            (drafts, meta, keys)
        };
        let verify = self.desk.open().verify.remove(&key).unwrap_or_default();
        let mut orders = if verify.is_empty() { Vec::new() } else { vec![Order::Verify(verify)] };
        for draft in drafts {
            orders.push(match draft {
                Draft::Floor(partitions) => Order::Floor { partitions, epoch: self.durable_from(Epoch(meta.layout))? },
                Draft::Inventory { partition, floor, after } => Order::Inventory { partition, floor, after },
                Draft::Copy { from, blocks, not_older } => {
                    let grant = Grant::sign(&self.key, HEALING, self.durable_from(not_older)?, true);
                    let from = from.iter().filter_map(|node| keys.get(node)).map(|key| NodeId(*key)).collect();
                    Order::Copy(CopyOrder { from, grant, blocks })
                }
                Draft::Delete(deletes) => {
                    // Deletes leave when their condemnation is durable.
                    let newest = deletes.iter().map(|delete| delete.epoch).max().unwrap_or_default();
                    self.durable_from(newest)?;
                    Order::Delete(deletes)
                }
            });
        }
        Ok(orders)
    }

    fn lost(&self, node: NodeId, ids: &[BlockId]) -> Result<()> {
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

    /// What receipts say of blocks that lack these copies: under a grant that is new enough they are not missing any
    /// more. Others are touched when they are healed, without their bytes.
    pub(super) fn late_copies(&self, receipts: &[cas_net::Receipt]) -> Result<()> {
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

    fn info(&self, row: &Row, partitions: u32) -> NodeInfo {
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
}

impl Cluster for Index {
    fn join_token(&self, rack: &str, lives_ns: i64) -> Result<JoinToken> {
        if !(1..=MAX_JOIN_TOKEN_NS).contains(&lives_ns) {
            return Err(ServiceError::Denied("a join token lives at most a week".into()));
        }
        let mut token = JoinToken([0; 32]);
        getrandom::fill(&mut token.0).map_err(|e| ServiceError::Stopped(format!("no randomness: {e}")))?;
        let expires_ns = self.now_ns().saturating_add(lives_ns);
        self.command(Command::AddToken { hash: token.hash(), rack: rack.to_owned(), expires_ns })?;
        Ok(token)
    }

    fn join(&self, join: &Join) -> Result<Joined> {
        let Join { node, token, disk, capacity, addresses } = join;
        let (token, addresses) = (token.map(|token| token.hash()), addresses.clone());
        self.command(Command::Join { node: node.0.0, token, disk: disk.0, capacity: *capacity, addresses })?;
        let rack = self.row_of(*node)?.rack;
        Ok(Joined { rack, index: self.key.public(), epoch: self.durable() })
    }

    fn beat(&self, beat: &Beat) -> Result<BeatAnswer> {
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

    fn copies_done(&self, done: &CopyDone) -> Result<()> {
        let row = self.row_on(done.node, &done.disk)?;
        {
            let mut desk = self.desk.open();
            done.stored.iter().for_each(|block| desk.planner.answered(row.number, &block.id));
            done.failed.iter().for_each(|failed| desk.planner.answered(row.number, &failed.id));
            desk.copied += done.stored.len() as u64;
            desk.copied_bytes += done.stored.iter().map(|block| u64::from(block.len)).sum::<u64>();
        }
        if !done.stored.is_empty() {
            let ids = Packed::of_ids(done.stored.iter().map(|block| &block.id));
            let sums = Packed(done.stored.iter().flat_map(|block| block.sum.0).collect());
            self.note(Command::Copies { node: done.node.0.0, grant: done.grant.0, ids, sums })?;
        }
        let blamed = done.failed.iter().filter(|f| matches!(f.fault, CopyFault::Absent | CopyFault::WrongBytes));
        self.report(&blamed.map(|failed| Damage { node: failed.from, id: failed.id }).collect::<Vec<_>>())
    }

    fn floored(&self, floored: &Floored) -> Result<()> {
        self.row_on(floored.node, &floored.disk)?;
        let (node, partitions) = (floored.node.0.0, floored.partitions.clone());
        self.note(Command::Floored { node, partitions, floor: floored.floor.0 })
    }

    fn inventory(&self, chunk: &InventoryChunk) -> Result<bool> {
        let row = self.row_on(chunk.node, &chunk.disk)?;
        if chunk.blocks.len() > MAX_INVENTORY {
            return Err(ServiceError::Denied(format!("an inventory of more than {MAX_INVENTORY} blocks at once")));
        }
        let command = Command::Inventory(Chunk {
            node: chunk.node.0.0,
            partition: chunk.partition,
            floor: chunk.floor.0,
            after: chunk.after.map(|id| id.0),
            ids: Packed::of_ids(chunk.blocks.iter().map(|(id, _)| id)),
            sums: Packed(chunk.blocks.iter().flat_map(|(_, sum)| sum.0).collect()),
            upto: chunk.upto.map(|id| id.0),
        });
        match self.note(command) {
            Ok(()) => {}
            Err(ServiceError::NotFound { .. }) => return Ok(false),
            Err(other) => return Err(other),
        }
        let partition = Partition::of(&*self.tables(), chunk.partition)?;
        let count = partition.and_then(|partition| partition.entry(row.number).map(|entry| entry.count));
        let expected = match chunk.upto {
            None => Count::Counted,
            upto => Count::Listing { floor: chunk.floor, upto },
        };
        Ok(count == Some(expected))
    }

    fn strays(&self, node: NodeId, ids: &[BlockId]) -> Result<Vec<Delete>> {
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

    fn report(&self, damage: &[Damage]) -> Result<()> {
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

    fn layout(&self, known: u64) -> Result<Option<Layout>> {
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
        let member = |entry: &cluster::Entry| {
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

    fn locate(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>> {
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

    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        let (rows, all) = {
            let tables = self.tables();
            (cluster::nodes(&*tables)?, Partition::all(&*tables)?)
        };
        let held = |number| all.iter().filter(|partition| partition.entry(number).is_some()).count() as u32;
        Ok(rows.iter().map(|row| self.info(row, held(row.1.number))).collect())
    }

    fn cluster_status(&self) -> Result<ClusterStatus> {
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

    fn change_node(&self, node: NodeId, change: &NodeChange) -> Result<()> {
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

    fn plan_layout(&self, pool: Option<&str>) -> Result<PlanShown> {
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
    fn apply_layout(&self, shown: &PlanShown) -> Result<()> {
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

    fn revocations(&self, known: Epoch) -> Result<Option<Revocations>> {
        let now = Index::revocations(self)?;
        Ok((now.version != known).then_some(now))
    }
}
