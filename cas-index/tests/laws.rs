//! Whole worlds from a seed: clients, a collector, a node, crashes and power cuts, in any order.
//!
//! Laws 2 (the collector never takes what a version reaches), 3 (counts equal a recount) and 8 (histories are linear,
//! nothing acknowledged is lost) are asserted after every step; law 9 (a rebuilt index answers the same) and
//! law 5 (what nobody references goes) at rest. The collector can be stopped between any two of its steps, deletes
//! arrive late, twice or never, and clients pause anywhere. Clients obey the protocol: they ask before they put.

mod support;

use cas_core::frame::Header;
use cas_core::id::{BlockId, Epoch, SnapshotId};
use cas_core::snapshot::SnapshotObject;
use cas_index::{Index, Options, rebuild};
use cas_net::{Commit, Delete, Deleted, Grant, Index as _, Node, Receipt, Registration, ServiceError, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use support::*;

const NAMES: [&str; 3] = ["a", "a/b", "c"];
/// One step in so many is followed by a rebuild.
const REBUILDS: usize = 160;
const STEPS: usize = 160;

/// A push under way: blocks bottom-up, how far it is.
struct Push {
    session: SessionId,
    name: &'static str,
    blocks: Vec<Header>,
    stage: Stage,
}

enum Stage {
    Ask,
    Put { grant: Grant, absent: Vec<Header> },
    Register { receipts: Vec<Receipt> },
    Object,
    Commit { commit: Commit, seq: u64 },
}

struct Sim {
    world: World,
    dice: Dice,
    disk: SimDisk,
    checkpoints: (u64, u64),
    pushes: Vec<Push>,
    /// Deletes on their way to the node; they may arrive again.
    deletes: Vec<Delete>,
    answers: Vec<(Delete, Deleted)>,
    /// Acknowledged versions, until they are acknowledged to be gone.
    expected: BTreeMap<(String, u64), SnapshotId>,
    given: BTreeMap<String, u64>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        world.index = None;
        let disk = SimDisk::default();
        let mut sim = Self {
            world,
            dice: Dice(seed),
            checkpoints: [(2_000, 100), (1 << 30, 100), (1 << 30, 1 << 20)][seed as usize % 3],
            disk,
            pushes: Vec::new(),
            deletes: Vec::new(),
            answers: Vec::new(),
            expected: BTreeMap::new(),
            given: BTreeMap::new(),
        };
        sim.open();
        sim
    }

    fn open(&mut self) {
        let disk = std::sync::Arc::new(self.disk.clone());
        // Some worlds make checkpoints all the time, some at close, some never.
        let (checkpoint_log, checkpoint_worth) = self.checkpoints;
        let options = Options { disk, checkpoint_log, checkpoint_worth, ..options(&self.world.clock) };
        self.world.index = Some(Index::open(self.world.path(), options).unwrap());
    }

    fn index(&self) -> &Index {
        self.world.index()
    }

    fn step(&mut self) {
        self.world.clock.turn(1_000_000);
        match self.dice.below(20) {
            0..=1 => self.begin(),
            2..=9 => self.advance(),
            10..=12 => self.condemn(),
            13 => self.deliver(),
            14 => self.answer(),
            15 => self.forget_or_undelete(),
            16 if self.dice.chance(3) => self.empty_trash(),
            17 if self.dice.chance(3) => self.expire(),
            18 if self.dice.chance(4) => self.crash(),
            19 if self.dice.chance(3) => self.mark(),
            _ => self.world.clock.turn(1),
        }
    }

    /// A tree over a small universe, so that versions share blocks.
    fn tree(&mut self) -> Vec<Header> {
        let mut blocks: Vec<Header> = Vec::new();
        let mut pages = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let group = self.dice.below(4) as u64;
            let children: Vec<Header> = (0..1 + self.dice.below(3) as u64).map(|n| data(group * 10 + n)).collect();
            let ids: Vec<BlockId> = children.iter().map(Header::id).collect();
            let leaf = page(1000 + group, &ids);
            blocks.extend(children);
            pages.push(leaf);
        }
        pages.sort_by_key(Header::id);
        pages.dedup_by_key(|p| p.id());
        let ids: Vec<BlockId> = pages.iter().map(Header::id).collect();
        blocks.extend(pages);
        blocks.push(page(2000, &ids));
        let mut seen = BTreeSet::new();
        blocks.retain(|b| seen.insert(b.id()));
        blocks
    }

    fn begin(&mut self) {
        if self.pushes.len() < 4 {
            let session = self.world.start();
            let name = NAMES[self.dice.below(NAMES.len())];
            let blocks = self.tree();
            self.pushes.push(Push { session, name, blocks, stage: Stage::Ask });
        }
    }

    fn advance(&mut self) {
        if self.pushes.is_empty() {
            return;
        }
        let at = self.dice.below(self.pushes.len());
        let push = self.pushes.swap_remove(at);
        match self.advance_one(push) {
            Ok(Some(push)) => self.pushes.push(push),
            Ok(None) => {}
            // Expired, taken back by a power cut, or another was faster: the client begins anew some time.
            Err(ServiceError::SessionGone(_) | ServiceError::Conflict { .. }) => {}
            Err(e) => panic!("{e:?}"),
        }
    }

    fn advance_one(&mut self, mut push: Push) -> cas_net::Result<Option<Push>> {
        let index = self.world.index.as_ref().unwrap();
        push.stage = match push.stage {
            Stage::Ask => {
                let ids: Vec<BlockId> = push.blocks.iter().map(Header::id).collect();
                let have = index.have(push.session, &ids)?;
                let absent = push.blocks.iter().zip(&have.present).filter(|(_, is)| !**is).map(|(b, _)| b.clone());
                Stage::Put { absent: absent.collect(), grant: have.grant }
            }
            Stage::Put { grant, absent } => {
                Stage::Register { receipts: vec![self.world.node.put_headers(&grant, &absent)] }
            }
            Stage::Register { receipts } => {
                let pages = push.blocks.iter().filter(|b| b.kind.has_children());
                let registration = Registration { headers: pages.map(Header::encode).collect(), receipts };
                let missing = index.register(push.session, registration)?.missing;
                if missing.is_empty() { Stage::Object } else { Stage::Ask }
            }
            Stage::Object => {
                let (seq, previous) = index.head(&vault(), push.name)?.unwrap_or_default();
                let root = push.blocks.last().unwrap().id();
                let object = snapshot(push.name, seq + 1, previous, root, self.world.clock.now());
                let receipt = self.world.put_object(&index.grant(push.session)?, &object);
                self.world.keys += 1;
                let mut key = [0; 16];
                key[..8].copy_from_slice(&self.world.keys.to_le_bytes());
                Stage::Commit { commit: Commit { object: object.encode(), receipts: vec![receipt], key }, seq: seq + 1 }
            }
            Stage::Commit { commit, seq } => {
                let done = match index.commit(push.session, &commit) {
                    Err(ServiceError::RootMissing(_)) => {
                        push.stage = Stage::Ask;
                        return Ok(Some(push));
                    }
                    done => done?,
                };
                assert_eq!(done.seq, seq);
                let newest = self.given.entry(push.name.to_owned()).or_default();
                assert_eq!(*newest + 1, seq, "a seq is given once, without gaps");
                *newest = seq;
                self.expected.insert((push.name.to_owned(), seq), done.snapshot);
                return Ok(None);
            }
        };
        Ok(Some(push))
    }

    fn condemn(&mut self) {
        let limit = 1 + self.dice.below(6);
        self.deletes.extend(self.index().condemn(limit).unwrap().deletes);
    }

    /// A delete reaches the node, perhaps not for the last time.
    fn deliver(&mut self) {
        for _ in 0..self.dice.below(8) {
            if self.deletes.is_empty() {
                return;
            }
            let at = self.dice.below(self.deletes.len());
            let delete = if self.dice.chance(3) { self.deletes[at] } else { self.deletes.swap_remove(at) };
            let answer = self.world.node.delete(&[delete]).unwrap()[0];
            if !self.dice.chance(5) {
                self.answers.push((delete, answer));
            }
        }
    }

    fn answer(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        self.index().deleted(self.world.node.id(), &answers).unwrap();
    }

    fn versions(&self) -> Vec<cas_net::SnapshotRow> {
        self.index().snapshots(&vault(), None, true).unwrap()
    }

    fn forget_or_undelete(&mut self) {
        let versions = self.versions();
        let Some(version) = self.dice.pick(&versions).cloned() else { return };
        match version.state {
            cas_net::SnapshotState::Live => match self.world.forget(&version.snapshot) {
                Ok(()) => {}
                Err(e) => panic!("{e:?}"),
            },
            cas_net::SnapshotState::Trash { .. } if self.dice.chance(3) => {
                self.world.undelete(&version).unwrap();
            }
            cas_net::SnapshotState::Trash { .. } => {}
        }
    }

    fn empty_trash(&mut self) {
        for gone in self.index().empty_trash(i64::MAX).unwrap() {
            assert_eq!(self.expected.remove(&(gone.name, gone.seq)), Some(gone.snapshot));
        }
    }

    fn expire(&mut self) {
        let alive: Vec<SessionId> = self.pushes.iter().map(|p| p.session).collect();
        let keep: Vec<SessionId> = alive.into_iter().filter(|_| !self.dice.chance(2)).collect();
        self.index().end_sessions_except(&keep).unwrap();
    }

    fn mark(&mut self) {
        let rows = self.index().list_rows(None, usize::MAX).unwrap();
        let Some(row) = self.dice.pick(&rows) else { return };
        if row.kind.is_sealed() {
            self.index().mark(&[row.id], true).unwrap();
        }
    }

    /// The process dies, or the power fails and what was not synced goes from some byte on.
    fn crash(&mut self) {
        if self.dice.chance(3) {
            self.index().close().unwrap();
        }
        self.world.index = None;
        if self.dice.chance(2) {
            self.disk.power_cut(&mut self.dice);
        }
        self.open();
    }

    /// Laws 2, 3 and 8.
    fn check(&self) {
        self.world.assert_counts();
        let versions = self.versions();
        let found: BTreeMap<(String, u64), SnapshotId> =
            versions.iter().map(|v| ((v.name.clone(), v.seq), v.snapshot)).collect();
        assert_eq!(found, self.expected, "the acknowledged versions");
        for version in &versions {
            assert!(self.world.node.has(&version.object), "the object of {} {}", version.name, version.seq);
            self.assert_whole(&version.root);
        }
    }

    /// Everything below a page is on the node, whatever the index says.
    fn assert_whole(&self, id: &BlockId) {
        let bytes = self.world.node.get(id).unwrap_or_else(|e| panic!("{id} is reached by a version: {e}"));
        for child in Header::parse(&bytes).unwrap().0.children {
            self.assert_whole(&child);
        }
    }

    /// Law 9 at any moment: versions that were acknowledged are rebuilt as they are, in the trash or not. Besides there
    /// may be, in the trash, what was emptied from it a moment ago, and what was stored as the next version of a name. Of
    /// two pushes that stored the same version, one for nothing, the other may be taken: then it is said.
    fn assert_rebuilt_knows_what_lives(&self) {
        let dir = tempfile::tempdir().unwrap();
        let options = options(&self.world.clock);
        let found = rebuild(dir.path(), &options, &[&self.world.node]).unwrap();
        let doubtful: BTreeSet<(String, u64)> = found.skipped.iter().map(|(id, _)| self.place_of(id)).collect();
        let rebuilt = Index::open(dir.path(), options).unwrap();
        let recount = rebuilt.recount().unwrap();
        assert!(recount.wrong.is_empty() && recount.dangling.is_empty(), "{recount:?}");
        let (old, new) = (Answers::of(self.index(), &NAMES), Answers::of(&rebuilt, &NAMES));
        assert_eq!(old.vaults, new.vaults);
        let is_doubtful = |v: &cas_net::SnapshotRow| doubtful.contains(&(v.name.clone(), v.seq));
        let is_known = |v: &cas_net::SnapshotRow| self.expected.contains_key(&(v.name.clone(), v.seq));
        let (known, more): (Vec<_>, Vec<_>) = new.versions.into_iter().filter(|v| !is_doubtful(v)).partition(is_known);
        assert_eq!(known, old.versions.into_iter().filter(|v| !is_doubtful(v)).collect::<Vec<_>>());
        for version in more.iter().filter(|v| v.state == cas_net::SnapshotState::Live) {
            let given = self.given.get(&version.name).copied().unwrap_or(0);
            assert_eq!(version.seq, given + 1, "{version:?} came back to life");
        }
    }

    fn place_of(&self, object: &BlockId) -> (String, u64) {
        let object = SnapshotObject::parse(&self.world.node.get(object).unwrap()).unwrap();
        (object.record().name.as_str().to_owned(), object.record().seq)
    }

    /// Everybody goes home, the collector finishes, orphans are swept.
    fn rest(&mut self) {
        self.index().end_sessions_except(&[]).unwrap();
        self.pushes.clear();
        self.index().mark(&self.bad(), false).unwrap();
        self.world.collect(3);
        let listed = self.world.node.list(None, usize::MAX).unwrap();
        let ids: Vec<BlockId> = listed.iter().map(|b| b.id).collect();
        let rows = self.index().rows(&ids).unwrap();
        let bound = Epoch(self.index().status().unwrap().epoch.0 + 1);
        let orphans: Vec<Delete> = ids
            .iter()
            .zip(&rows)
            .filter(|(_, row)| row.is_none())
            .map(|(id, _)| Delete { id: *id, epoch: bound })
            .collect();
        self.world.node.delete(&orphans).unwrap();
    }

    fn bad(&self) -> Vec<BlockId> {
        let rows = self.index().list_rows(None, usize::MAX).unwrap();
        rows.iter().filter(|row| row.state == cas_net::RowState::Bad).map(|row| row.id).collect()
    }

    /// Law 5: what is on the node is what versions reach, and objects.
    fn assert_nothing_else_is_stored(&self) {
        let mut reached = BTreeSet::new();
        for version in self.versions() {
            let mut todo = vec![version.root];
            while let Some(id) = todo.pop() {
                if reached.insert(id) {
                    todo.extend(Header::parse(&self.world.node.get(&id).unwrap()).unwrap().0.children);
                }
            }
        }
        for (id, kept) in self.world.node.blocks.lock().unwrap().iter() {
            if kept.kind.is_sealed() {
                assert!(reached.contains(id), "{id} is stored and nobody needs it");
            } else {
                let object = SnapshotObject::parse(&kept.bytes).unwrap();
                let (name, seq) = (object.record().name.as_str().to_owned(), object.record().seq);
                let is_stub = self.given.get(&name) == Some(&seq) && object.record().removes.is_some();
                assert!(self.expected.contains_key(&(name, seq)) || is_stub, "a removed object is still stored");
            }
        }
    }

    /// Law 9.
    fn assert_rebuilt_equals(&self) {
        let dir = tempfile::tempdir().unwrap();
        let options = options(&self.world.clock);
        let found = rebuild(dir.path(), &options, &[&self.world.node]).unwrap();
        assert_eq!((&found.unreadable[..], &found.skipped[..], &found.collected[..]), (&[][..], &[][..], &[][..]));
        let rebuilt = Index::open(dir.path(), options).unwrap();
        assert_eq!(Answers::of(&rebuilt, &NAMES), Answers::of(self.index(), &NAMES));
        assert!(rebuilt.status().unwrap().epoch.era() == self.index().status().unwrap().epoch.era() + 1);
        let recount = rebuilt.recount().unwrap();
        assert!(recount.wrong.is_empty() && recount.dangling.is_empty(), "{recount:?}");
        let (old, new) = (self.index().status().unwrap(), rebuilt.status().unwrap());
        assert_eq!((old.live, old.bad, old.bytes), (new.live, new.bad, new.bytes));
    }
}

#[test]
fn no_order_of_events_loses_a_version_or_miscounts() {
    for_seeds(150, |seed| {
        let mut sim = Sim::new(seed);
        sim.world.index().add_node(sim.world.node.id()).unwrap();
        for _ in 0..STEPS {
            sim.step();
            sim.check();
            if sim.dice.chance(REBUILDS) {
                sim.assert_rebuilt_knows_what_lives();
            }
        }
        sim.rest();
        sim.check();
        sim.assert_nothing_else_is_stored();
        sim.assert_rebuilt_equals();
    });
}
