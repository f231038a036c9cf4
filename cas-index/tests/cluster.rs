//! The laws of a cluster (DESIGN §12: 1, 2, 4, 5) under random events: pushes, losses, returns, drains, layouts, collection,
//! and crashes of the index, with nodes that are maps in memory. `CAS_SEED=n` replays one.

mod support;

use cas_core::frame::Header;
use cas_core::id::{BlockId, Epoch, Kind, SnapshotId, Sum};
use cas_core::layout::Pool;
use cas_core::signing::SigningKey;
use cas_core::snapshot::SnapshotObject;
use cas_index::cluster::planner::Throttle;
use cas_index::{Index, Options, rebuild};
use cas_net::cluster::{
    Beat, Cluster, CopyBlock, CopyDone, CopyFailed, CopyFault, DiskId, Floored, InventoryChunk, Join, Layout, Load,
    NodeChange, Order, Space,
};
use cas_net::{
    Commit, Delete, Deleted, Grant, Index as _, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received,
    Registration, Result, Scrubbed, ServiceError, SnapshotState, StoredBlock,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::*;

const SECOND: i64 = 1_000_000_000;

/// A copy.
#[derive(Clone)]
struct Kept {
    kind: Kind,
    bytes: Arc<[u8]>,
    put_epoch: Epoch,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} put at {:?}", self.kind, self.put_epoch)
    }
}

/// A node that obeys DESIGN §6 and §7.1. Copies by block and sum: other bytes lie beside, they replace nothing.
struct SimNode {
    key: SigningKey,
    disk: DiskId,
    /// The disk that the index knows of.
    said: DiskId,
    copies: BTreeMap<BlockId, BTreeMap<Sum, Kept>>,
    floors: BTreeMap<u16, Epoch>,
    is_up: bool,
}

impl SimNode {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let disk = DiskId([seed; 16]);
        Self { key, disk, said: disk, copies: BTreeMap::new(), floors: BTreeMap::new(), is_up: true }
    }

    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    fn has(&self, id: &BlockId, sum: &Sum) -> bool {
        self.copies.get(id).is_some_and(|copies| copies.contains_key(sum))
    }

    fn keep(&mut self, grant: &Grant, blocks: &[(Kind, BlockId, Vec<u8>)]) -> Receipt {
        let mut received = Vec::new();
        for (kind, id, bytes) in blocks {
            let copies = self.copies.entry(*id).or_default();
            let sum = match copies.keys().next() {
                Some(first) if !grant.replace => *first,
                _ => Sum::of(bytes),
            };
            let fresh = Kept { kind: *kind, bytes: bytes.as_slice().into(), put_epoch: grant.epoch };
            let kept = copies.entry(sum).or_insert(fresh);
            kept.put_epoch = kept.put_epoch.max(grant.epoch);
            received.push(Received { id: *id, kind: kept.kind, sum, len: kept.bytes.len() as u32 });
        }
        Receipt::sign(&self.key, grant.epoch, received)
    }

    fn carry(&mut self, delete: &Delete) -> Deleted {
        let is_void = self.floors.get(&delete.id.partition()).is_some_and(|floor| delete.epoch <= *floor);
        if let Some(copies) = self.copies.get_mut(&delete.id).filter(|_| !is_void) {
            copies.retain(|_, kept| kept.put_epoch >= delete.epoch);
        }
        self.copies.retain(|_, copies| !copies.is_empty());
        if self.copies.contains_key(&delete.id) { Deleted::Kept } else { Deleted::Gone }
    }
}

/// As a rebuild asks it.
impl Node for SimNode {
    fn id(&self) -> NodeId {
        SimNode::id(self)
    }
    fn offer(&self, _: &Grant, _: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        unasked()
    }
    fn put(&self, _: &Grant, _: Vec<PutBlock>) -> Result<PendingReceipt> {
        unasked()
    }
    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let found = self.copies.get(id).and_then(|copies| copies.values().next());
        let error = || ServiceError::NotFound { what: "block", name: id.to_string() };
        found.map(|kept| kept.bytes.to_vec()).ok_or_else(error)
    }
    fn locality(&self, _: &[BlockId]) -> Result<Vec<Option<u64>>> {
        unasked()
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        unasked()
    }
    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let all = self.copies.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).take(limit);
        let stored = |(id, copies): (&BlockId, &BTreeMap<Sum, Kept>)| {
            let (sum, kept) = copies.iter().next().expect("a place without copies is removed");
            let (kind, len, put_epoch) = (kept.kind, kept.bytes.len() as u32, kept.put_epoch);
            StoredBlock { id: *id, domain: domain(), kind, sum: *sum, len, put_epoch }
        };
        Ok(all.map(stored).collect())
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        unasked()
    }
    fn compact(&self, _: f64) -> Result<u64> {
        unasked()
    }
    fn stats(&self) -> Result<NodeStats> {
        unasked()
    }
    fn close(&self) -> Result<()> {
        unasked()
    }
}

fn unasked<T>() -> Result<T> {
    Err(ServiceError::Denied("not in these tests".into()))
}

/// An index, nodes, and what was promised to clients.
struct Sim {
    dice: Dice,
    dir: tempfile::TempDir,
    clock: Clock,
    options: Options,
    index: Option<Index>,
    nodes: Vec<SimNode>,
    now_ns: i64,
    pushes: u64,
    /// Versions that were acknowledged and not forgotten, and the blocks they need.
    kept: BTreeMap<SnapshotId, Vec<BlockId>>,
    /// Deletes that are still on their way.
    late: Vec<(usize, Delete)>,
    events: Vec<String>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::default());
        let throttle = Throttle { moves_per_node: 4096, ..Throttle::default() };
        let options = Options { throttle, ..options(&clock) };
        let index = Some(Index::open(dir.path(), options.clone()).unwrap());
        let mut sim = Self {
            dice: Dice(seed),
            dir,
            clock,
            options,
            index,
            nodes: Vec::new(),
            now_ns: 0,
            pushes: 0,
            kept: BTreeMap::new(),
            late: Vec::new(),
            events: Vec::new(),
        };
        sim.join();
        sim
    }

    fn index(&self) -> &Index {
        self.index.as_ref().unwrap()
    }

    fn say(&mut self, what: impl Into<String>) {
        self.events.push(what.into());
    }

    fn join(&mut self) {
        self.nodes.push(SimNode::new(self.nodes.len() as u8 + 10));
        self.let_in(self.nodes.len() - 1);
        self.say("join");
    }

    fn let_in(&self, n: usize) {
        let node = &self.nodes[n];
        let without = Join { node: node.id(), token: None, disk: node.disk, capacity: 1000, addresses: vec![] };
        assert!(self.index().join(&without).is_err(), "nobody joins without a token");
        let token = Some(self.index().join_token(&format!("rack {}", (n + 10) % 3), 60 * SECOND).unwrap());
        let join = Join { token, ..without };
        self.index().join(&join).unwrap();
        assert!(self.index().join(&Join { node: NodeId(device().public()), ..join }).is_err(), "a token is used once");
    }

    /// The index is lost, and made anew from the nodes; they join again. Answers the versions that live, before and after.
    fn lose_index(&mut self) -> [BTreeSet<SnapshotId>; 2] {
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

    fn layout(&self) -> Layout {
        self.index().layout(0).unwrap().expect("a node has joined")
    }

    /// So many seconds go by; nodes that are up beat, and carry out what they are told.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_ns += SECOND;
            self.clock.turn(SECOND);
            if self.now_ns / SECOND % 2 == 0 {
                self.beats(true);
            }
            self.index().tick(self.now_ns).unwrap();
        }
    }

    fn beats(&mut self, reliably: bool) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].is_up {
                continue;
            }
            let node = &self.nodes[n];
            let (space, load) = (Space::default(), Load::default());
            let (id, disk) = (node.id(), node.disk);
            let beat =
                Beat { node: id, disk, addresses: vec![], space, load, layout: 0, damage: vec![], takes_orders: true };
            let orders = self.index().beat(&beat).unwrap().orders;
            self.nodes[n].said = disk;
            for order in orders {
                if reliably || !self.dice.chance(4) {
                    self.carry_out(n, order, reliably);
                }
            }
        }
    }

    fn carry_out(&mut self, n: usize, order: Order, reliably: bool) {
        let (id, disk) = (self.nodes[n].id(), self.nodes[n].disk);
        match order {
            Order::Floor { partitions, epoch } => {
                for partition in &partitions {
                    let floor = self.nodes[n].floors.entry(*partition).or_default();
                    *floor = epoch.max(*floor);
                }
                self.index().floored(&Floored { node: id, disk, partitions, floor: epoch }).unwrap();
            }
            Order::Inventory { partition, floor, after } => {
                let inside = |id: &BlockId| id.partition() == partition && after.is_none_or(|after| *id > after);
                let copies = self.nodes[n].copies.iter().filter(|(id, _)| inside(id));
                let mut blocks: Vec<(BlockId, Sum)> =
                    copies.map(|(id, copies)| (*id, *copies.keys().next().unwrap())).collect();
                // Sometimes in small pieces.
                let upto = (blocks.len() > 1 && self.dice.chance(2)).then(|| blocks[0].0);
                blocks.truncate(if upto.is_some() { 1 } else { blocks.len() });
                let chunk = InventoryChunk { node: id, disk, partition, floor, after, blocks, upto };
                self.index().inventory(&chunk).unwrap();
            }
            Order::Copy(order) => {
                assert!(order.grant.is_from(&self.index().public_key()));
                let (mut stored, mut failed) = (Vec::new(), Vec::new());
                for block in order.blocks {
                    self.copy(n, &order.from, &order.grant, block, &mut stored, &mut failed);
                }
                let done = CopyDone { node: id, disk, grant: order.grant.epoch, stored, failed };
                if reliably || !self.dice.chance(4) {
                    self.index().copies_done(&done).unwrap();
                }
            }
            Order::Delete(deletes) => {
                let mut answers = Vec::new();
                for delete in deletes {
                    if self.dice.chance(8) {
                        self.late.push((n, delete));
                    }
                    answers.push((delete, self.nodes[n].carry(&delete)));
                }
                self.index().deleted(id, &answers).unwrap();
            }
            Order::Verify(_) => {}
        }
    }

    fn copy(
        &mut self,
        n: usize,
        from: &[NodeId],
        grant: &Grant,
        block: CopyBlock,
        stored: &mut Vec<CopyBlock>,
        failed: &mut Vec<CopyFailed>,
    ) {
        let gives = |node: &&SimNode| from.contains(&node.id()) && node.is_up && node.has(&block.id, &block.sum);
        let own = self.nodes[n].copies.get(&block.id).and_then(|copies| copies.get(&block.sum)).cloned();
        let source =
            own.or_else(|| self.nodes.iter().find(gives).map(|source| source.copies[&block.id][&block.sum].clone()));
        let Some(source) = source else {
            failed.push(CopyFailed { id: block.id, from: from[0], fault: CopyFault::Unreachable });
            return;
        };
        let kept = self.nodes[n].copies.entry(block.id).or_default().entry(block.sum).or_insert(source);
        kept.put_epoch = kept.put_epoch.max(grant.epoch);
        stored.push(block);
    }

    /// A page with some blocks, to nodes that are up; as few copies as are allowed, sometimes. Not acknowledged if
    /// too few nodes take it.
    fn push(&mut self) {
        self.pushes += 1;
        let start =
            cas_net::StartSession { vault: vault(), domain: domain(), device: device().public(), label: String::new() };
        let session = self.index().start_session(&start).unwrap().session;
        let children: BTreeSet<u64> = (0..1 + self.dice.below(5)).map(|_| self.dice.below(24) as u64).collect();
        let mut blocks: Vec<Header> = children.iter().map(|n| data(*n)).collect();
        let ids: Vec<BlockId> = blocks.iter().map(Header::id).collect();
        blocks.push(page(children.iter().fold(0, |all, n| all * 31 + n), &ids));
        let root = blocks.last().unwrap().id();
        let salt = self.dice.below(2) as u8;
        for _ in 0..4 {
            let ids: Vec<BlockId> = blocks.iter().map(Header::id).collect();
            let have = self.index().have(session, &ids).unwrap();
            let mut receipts = Vec::new();
            for (block, _) in blocks.iter().zip(&have.present).filter(|(_, present)| !**present) {
                let bytes = [block.encode(), vec![salt]].concat();
                receipts.extend(self.send(&have.grant, block.kind, block.id(), bytes));
            }
            if self.dice.chance(10) {
                self.events(false); // Something happens in between.
            }
            let headers = vec![blocks.last().unwrap().encode()];
            match self.index().register(session, Registration { headers, receipts }) {
                Ok(registered) if registered.missing.is_empty() => return self.commit(session, root, ids),
                Ok(_) => {}
                Err(ServiceError::SessionGone(_)) => return,
                Err(other) => panic!("{other}"),
            }
        }
        self.index().close_session(session).unwrap();
    }

    /// Puts a block on members that are up, and on others if they are too few.
    fn send(&mut self, grant: &Grant, kind: Kind, id: BlockId, bytes: Vec<u8>) -> Vec<Receipt> {
        let layout = self.layout();
        let members: Vec<NodeId> =
            layout.members(&id).iter().filter_map(|member| layout.node(*member)).map(|info| info.node).collect();
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up).collect();
        order.sort_by_key(|n| !members.contains(&self.nodes[*n].id()));
        let is_short = self.dice.chance(3);
        let (mut receipts, mut stored) = (Vec::new(), Vec::new());
        for n in order {
            let is_member = members.contains(&self.nodes[n].id());
            let enough = layout.is_enough(&id, &stored) || stored.len() > members.len();
            if enough && (is_short || !is_member) {
                break;
            }
            receipts.push(self.nodes[n].keep(grant, &[(kind, id, bytes.clone())]));
            stored.push(self.nodes[n].id());
        }
        receipts
    }

    fn commit(&mut self, session: cas_net::SessionId, root: BlockId, mut blocks: Vec<BlockId>) {
        let name = format!("n{}", self.dice.below(3));
        let (seq, previous) = self.index().head(&vault(), &name).unwrap().unwrap_or_default();
        let object = snapshot(&name, seq + 1, previous, root, self.clock.now());
        let grant = self.index().grant(session).unwrap();
        let receipts = self.send(&grant, Kind::Snapshot, object.object_id(), object.encode());
        let is_enough = self.is_enough(&object.object_id(), &receipts);
        let key = cas_core::kdf::derive("test key", &self.pushes.to_le_bytes())[..16].try_into().unwrap();
        let commit = Commit { object: object.encode(), receipts, key };
        match self.index().commit(session, &commit) {
            Ok(done) => {
                assert!(is_enough, "a version was acknowledged with too few copies of its record");
                blocks.push(object.object_id());
                self.kept.insert(done.snapshot, blocks);
                self.say("push");
            }
            Err(ServiceError::Unreachable { .. }) => {}
            Err(ServiceError::Denied(_) | ServiceError::RootMissing(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Whether so many nodes took an object as an acknowledgement needs.
    fn is_enough(&self, id: &BlockId, receipts: &[Receipt]) -> bool {
        let nodes: Vec<NodeId> = receipts.iter().map(|receipt| receipt.node).collect();
        self.layout().is_enough(id, &nodes)
    }

    fn forget(&mut self) {
        let Some(snapshot) = self.kept.keys().nth(self.dice.below(self.kept.len())).copied() else { return };
        let object = SnapshotObject::parse(&self.index().snapshot_object(&snapshot).unwrap()).unwrap();
        let removal = removal(&object, self.clock.now());
        let start =
            cas_net::StartSession { vault: vault(), domain: domain(), device: device().public(), label: String::new() };
        let session = self.index().start_session(&start).unwrap().session;
        let grant = self.index().grant(session).unwrap();
        let receipts = self.send(&grant, Kind::Snapshot, removal.object_id(), removal.encode());
        self.index().close_session(session).unwrap();
        if self.index().forget(&removal.encode(), &receipts).is_ok() {
            self.kept.remove(&snapshot);
            self.say("forget");
        }
    }

    fn collect(&mut self) {
        self.index().empty_trash(i64::MAX).unwrap();
        let limit = 1 + self.dice.below(30);
        self.index().condemn(limit).unwrap();
        self.say("condemn");
    }

    /// Deletes of what the index says is nobody's.
    fn sweep(&mut self) {
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

    /// Something that is no push.
    fn events(&mut self, may_lose: bool) {
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

    /// A layout with all nodes, and everything where it belongs.
    fn settle(&mut self, pool: &str) {
        let shown = self.index().plan_layout(Some(pool)).unwrap();
        self.index().apply_layout(&shown).unwrap();
        self.pass(120);
        assert!(self.index().cluster_status().unwrap().is_healthy());
    }

    /// Fewer than the minimum: a second one only when the first is made good.
    fn lose(&mut self) {
        if self.nodes.iter().all(|node| node.is_up) {
            self.pass(100);
        }
        let status = self.index().cluster_status().unwrap();
        let minimum = status.pool.parse::<Pool>().unwrap().minimum();
        let whole = status.short == 0 && status.uncounted == 0 && status.moving == 0 && status.to_move == 0;
        if minimum < 2 || !whole || self.nodes.iter().any(|node| !node.is_up) {
            return;
        }
        let n = self.dice.below(self.nodes.len());
        match self.dice.below(3) {
            0 => {
                self.nodes[n].is_up = false;
                self.say(format!("node {n} is silent"));
            }
            1 => {
                self.nodes[n].is_up = false;
                self.say(format!("node {n} is silent for long"));
                self.pass(620);
            }
            _ => {
                let node = &mut self.nodes[n];
                (node.copies, node.floors) = Default::default();
                node.disk.0[15] = node.disk.0[15].wrapping_add(1);
                let again = (1..200).map(|n| n as u8).find(|last| *last != node.disk.0[0]).unwrap();
                node.disk.0[0] = again;
                node.disk.0[1] = node.disk.0[1].wrapping_add(1);
                self.say(format!("node {n} has lost its disk"));
            }
        }
    }

    fn operate(&mut self) {
        let n = self.dice.below(self.nodes.len());
        let node = self.nodes[n].id();
        let change = match self.dice.below(6) {
            0 => Some(NodeChange::Drain),
            1 => Some(NodeChange::Member),
            2 => Some(NodeChange::Weight(500 + self.dice.below(1000) as u64)),
            3 => Some(NodeChange::Rack(format!("rack {}", self.dice.below(3)))),
            _ => None,
        };
        let done = match &change {
            Some(change) => self.index().change_node(node, change),
            None => {
                let pool = *self.dice.pick(&["r1", "r2", "r2", "r3", "r3", "r3", "r3"]).unwrap();
                let shown = self.index().plan_layout(Some(pool));
                shown.and_then(|shown| self.index().apply_layout(&shown))
            }
        };
        match done {
            Ok(()) => self.say(format!("{change:?} of node {n}, or a layout")),
            Err(ServiceError::Denied(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Laws that hold at every moment.
    fn check(&self) {
        let status = self.index().cluster_status().unwrap();
        let rows = self.index().list_rows(None, usize::MAX).unwrap();
        let live: Vec<BlockId> =
            rows.iter().filter(|row| row.state == cas_net::RowState::Live).map(|row| row.id).collect();
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

    /// Everybody is there, nothing happens: then everything is where the layout says, and nothing else is anywhere.
    fn rest(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.is_up = true);
        let keep = [];
        self.index().end_sessions_except(&keep).unwrap();
        for _ in 0..400 {
            self.pass(4);
            if self.index().cluster_status().unwrap().is_healthy() {
                break;
            }
        }
        let status = self.index().cluster_status().unwrap();
        assert!(status.is_healthy(), "does not come to rest: {status:?}\n{}", self.short());
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
        let others: Vec<_> = rows.iter().filter(|row| row.state != cas_net::RowState::Live).collect();
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
}

#[test]
fn no_order_of_events_loses_a_copy_that_counts() {
    for_seeds(6, |seed| {
        let mut sim = Sim::new(seed);
        (0..sim.dice.below(5)).for_each(|_| sim.join());
        match sim.nodes.len() {
            1 => {}
            2 => sim.settle("r2"),
            _ => sim.settle(if seed % 3 == 0 { "r2" } else { "r3" }),
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..100 {
                if sim.dice.chance(2) {
                    sim.push()
                } else {
                    sim.events(true)
                }
                sim.check();
            }
            sim.rest();
            let said = |what: &str| sim.events.iter().filter(|event| event.contains(what)).count();
            println!(
                "seed {seed}: {} nodes, {}: {} of {} pushes, {} forgotten, {} silent, {} disks, {} crashes, {} operations",
                sim.nodes.len(),
                sim.layout().pool().unwrap(),
                said("push"),
                sim.pushes,
                said("forget"),
                said("silent"),
                said("disk"),
                said("crash"),
                said("layout")
            );
        }));
        if let Err(panic) = result {
            eprintln!("events: {}", sim.events.join(", "));
            std::panic::resume_unwind(panic);
        }
    });
}

/// Law 9. Nobody has looked for strays: what a node gave away, it still holds.
#[test]
fn an_index_made_from_nodes_knows_what_the_old_one_knew_whatever_has_moved() {
    for_seeds(4, |seed| {
        let mut sim = Sim::new(seed);
        (0..3 + sim.dice.below(3)).for_each(|_| sim.join());
        let pool = if seed % 3 == 0 { "r2" } else { "r3" };
        sim.settle(pool);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..2 {
                for _ in 0..30 {
                    match sim.dice.below(5) {
                        0 | 1 => sim.push(),
                        2 => sim.forget(),
                        3 => sim.collect(),
                        _ => sim.operate(),
                    }
                    let some = sim.dice.below(8) as i64;
                    sim.pass(some);
                }
                let nodes: Vec<NodeId> = sim.nodes.iter().map(SimNode::id).collect();
                nodes.iter().for_each(|node| sim.index().change_node(*node, &NodeChange::Member).unwrap());
                sim.settle(pool);
                let [before, after] = sim.lose_index();
                assert_eq!(after, before, "versions after round {round}");
                sim.settle(pool);
                sim.check();
                assert_eq!(sim.index().status().unwrap().bad, 0);
            }
            sim.rest();
        }));
        if let Err(panic) = result {
            eprintln!("events: {}", sim.events.join(", "));
            std::panic::resume_unwind(panic);
        }
    });
}
