//! The state machine against a naive model of DESIGN §7.1, command by command, over memory and over redb.
//!
//! The model keeps lists and counts by looking through them; it knows nothing of tables, queues or net effects. Unlike
//! the clients of `laws.rs` these commands need not make sense: receipts come from any time, pages are registered
//! without being asked for, deletes are answered that were never given. After every command both tables say the same
//! as the model, and at the end they are equal byte by byte.

mod support;

use cas_core::id::{BlockId, Epoch, Kind, Sum};
use cas_index::LocalDisk;
use cas_index::command::{Command, Cover, NewPage, ObjectCover, Packed, Register};
use cas_index::recount::recount;
use cas_index::state::blocks::{Row, State, row};
use cas_index::state::{Answer, Meta, Outcome, Stamp, apply};
use cas_index::tables::{Layered, MemTables, Table, Tables, TablesFile};
use cas_net::{Delete, ServiceError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::*;

const NODE: [u8; 32] = [2; 32];
const IDS: u64 = 14;
/// Ids from here on are pages.
const PAGES_FROM: u64 = 8;

fn id(n: u64) -> BlockId {
    BlockId(cas_core::kdf::derive("test id", &n.to_le_bytes()))
}

/// What a page holds: always the same, since its id commits to it; only smaller numbers.
fn children(n: u64) -> Vec<u64> {
    (0..n).filter(|child| (n * 7 + child * 13).is_multiple_of(5) || *child + 1 == n).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    state: State,
    sum: u8,
    zero: u64,
    /// Known to be a page: it was registered as one.
    is_page: bool,
}

#[derive(Default)]
struct Model {
    blocks: BTreeMap<u64, Block>,
    /// Pages whose edges count.
    pages: BTreeSet<u64>,
    sessions: BTreeSet<u64>,
    /// Roots of versions; in the trash or not is the same to the counts.
    roots: Vec<u64>,
    last_gone: u64,
}

impl Model {
    fn count(&self, n: u64) -> usize {
        let in_pages = self.pages.iter().filter(|page| children(**page).contains(&n)).count();
        in_pages + self.roots.iter().filter(|root| **root == n).count()
    }

    /// Does something; whatever is unreferenced after it and was not before enters the queue.
    fn changing(&mut self, epoch: u64, work: impl FnOnce(&mut Self)) {
        let before: BTreeMap<u64, usize> = self.blocks.keys().map(|n| (*n, self.count(*n))).collect();
        work(self);
        let now: Vec<u64> = self.blocks.keys().copied().filter(|n| self.count(*n) == 0).collect();
        for n in now {
            if before.get(&n).is_none_or(|count| *count > 0) {
                self.blocks.get_mut(&n).unwrap().zero = epoch;
            }
        }
    }

    fn not_older(&self, n: u64) -> u64 {
        match self.blocks.get(&n).map(|b| b.state) {
            None => self.last_gone,
            Some(State::Live) => 0,
            Some(State::Bad(epoch) | State::Condemned(epoch)) => epoch.0,
        }
    }

    fn is_live(&self, n: u64) -> bool {
        self.blocks.get(&n).is_some_and(|b| b.state == State::Live)
    }

    /// `covers`: block → (sum, grant). Answers what is missing; `None` if the session is gone.
    fn register(
        &mut self,
        epoch: u64,
        session: u64,
        named: &BTreeSet<u64>,
        pages: &[u64],
        covers: &BTreeMap<u64, (u8, u64)>,
    ) -> Option<BTreeSet<u64>> {
        self.sessions.contains(&session).then_some(())?;
        let lacks_edges =
            |n: &u64| self.blocks.get(n).is_some_and(|b| b.is_page) && !self.pages.contains(n) && !pages.contains(n);
        let holds = |n: &u64| {
            covers.get(n).is_some_and(|(_, grant)| *grant >= session && *grant >= self.not_older(*n) && *grant < epoch)
        };
        let missing: BTreeSet<u64> =
            named.iter().copied().filter(|n| !self.is_live(*n) && (lacks_edges(n) || !holds(n))).collect();
        if missing.is_empty() {
            self.changing(epoch, |model| {
                for n in named {
                    if !model.is_live(*n) {
                        let is_page = model.blocks.get(n).is_some_and(|b| b.is_page);
                        model.blocks.insert(*n, Block { state: State::Live, sum: covers[n].0, zero: epoch, is_page });
                    }
                }
                for page in pages {
                    model.pages.insert(*page);
                    let block = model.blocks.get_mut(page).unwrap();
                    (block.zero, block.is_page) = (epoch, true);
                }
            });
        }
        Some(missing)
    }

    fn condemn(&mut self, epoch: u64, limit: usize) -> BTreeSet<(u64, u64)> {
        let condemned = |b: &Block| match b.state {
            State::Condemned(at) => Some(at.0),
            _ => None,
        };
        let mut old: Vec<(u64, BlockId, u64)> =
            self.blocks.iter().filter_map(|(n, b)| Some((condemned(b)?, id(*n), *n))).collect();
        old.sort();
        old.truncate(limit);
        let bound = self.sessions.first().copied().unwrap_or(u64::MAX);
        let mut due: Vec<(u64, BlockId, u64)> = self
            .blocks
            .iter()
            .filter(|(n, b)| condemned(b).is_none() && self.count(**n) == 0 && b.zero < bound)
            .map(|(n, b)| (b.zero, id(*n), *n))
            .collect();
        due.sort();
        due.truncate(limit - old.len());
        self.changing(epoch, |model| {
            for (_, _, n) in &due {
                model.blocks.get_mut(n).unwrap().state = State::Condemned(Epoch(epoch));
                model.pages.remove(n);
            }
        });
        old.iter().map(|(at, _, n)| (*n, *at)).chain(due.iter().map(|(_, _, n)| (*n, epoch))).collect()
    }
}

struct Both {
    memory: MemTables,
    redb: Layered,
    epoch: u64,
}

impl Both {
    fn apply(&mut self, command: &Command) -> Answer {
        self.epoch += 1;
        let stamp = Stamp { epoch: Epoch(self.epoch), time_ns: self.epoch as i64 };
        // As it is read from a log.
        let command = Command::decode(&command.encode()).unwrap();
        let answer = apply(&mut self.memory, stamp, &command).unwrap();
        let other = apply(&mut self.redb, stamp, &command).unwrap();
        assert_eq!(format!("{answer:?}"), format!("{other:?}"), "memory and redb answer the same");
        answer
    }
}

fn check(both: &Both, model: &Model) {
    for n in 0..IDS {
        let expected = model.blocks.get(&n);
        for found in [row(&both.memory, &id(n)).unwrap(), row(&both.redb, &id(n)).unwrap()] {
            let found = found.map(|Row { state, sum, count, zero, .. }| (state, sum.0[0], count as usize, zero.0));
            let expected = expected.map(|b| {
                let count = model.count(n);
                let queued = count == 0 && !matches!(b.state, State::Condemned(_));
                (b.state, b.sum, count, if queued { b.zero } else { 0 })
            });
            let found = found.map(|(state, sum, count, zero)| {
                let queued = count == 0 && !matches!(state, State::Condemned(_));
                (state, sum, count, if queued { zero } else { 0 })
            });
            assert_eq!(found, expected, "block {n} at epoch {}", both.epoch);
        }
    }
    let counted = recount(&both.redb).unwrap();
    assert!(counted.wrong.is_empty() && counted.dangling.is_empty(), "{counted:?}");
    let meta = Meta::load(&both.memory).unwrap();
    let is = |wanted: fn(&State) -> bool| model.blocks.values().filter(|b| wanted(&b.state)).count() as u64;
    assert_eq!(meta.condemned, is(|s| matches!(s, State::Condemned(_))));
    assert_eq!(meta.bad, is(|s| matches!(s, State::Bad(_))));
    assert_eq!(meta.last_gone.0, model.last_gone);
}

/// A session that is there, mostly.
fn some_session(dice: &mut Dice, model: &Model, epoch: u64) -> u64 {
    let all: Vec<u64> = model.sessions.iter().copied().collect();
    if dice.chance(8) { 1 + dice.roll() % epoch } else { dice.pick(&all).copied().unwrap_or(1) }
}

fn step(dice: &mut Dice, both: &mut Both, model: &mut Model) {
    let epoch = both.epoch + 1;
    match dice.below(12) {
        0 => {
            let (vault, domain, device) = (vault().0, domain().0, [5; 32]);
            both.apply(&Command::StartSession { vault, domain, device, label: "x".into() }).unwrap();
            model.sessions.insert(epoch);
        }
        1 => {
            let session = some_session(dice, model, epoch);
            both.apply(&Command::EndSession { session }).unwrap();
            model.sessions.remove(&session);
        }
        2 => {
            let session = some_session(dice, model, epoch);
            let touched: Vec<u64> = (0..IDS).filter(|_| dice.chance(4)).collect();
            let ids: Vec<BlockId> = touched.iter().map(|n| id(*n)).collect();
            let answer = both.apply(&Command::Touch { session, ids: Packed::of_ids(&ids) });
            if !model.sessions.contains(&session) {
                assert!(matches!(answer, Err(ServiceError::SessionGone(_))));
                return;
            }
            let Ok(Outcome::Touched(present, _)) = answer else { panic!("{answer:?}") };
            for (n, present) in touched.iter().zip(present) {
                assert_eq!(present, model.is_live(*n));
                if present {
                    model.blocks.get_mut(n).unwrap().zero = epoch;
                }
            }
        }
        3..=6 => register(dice, both, model, epoch),
        7 | 8 => {
            let limit = 1 + dice.below(4);
            let answer = both.apply(&Command::Condemn { limit: limit as u32 });
            let Ok(Outcome::Condemned(found)) = answer else { panic!("{answer:?}") };
            let found: BTreeSet<Delete2> = found.deletes.iter().map(Delete2::from).collect();
            let expected = model.condemn(epoch, limit);
            assert_eq!(found, expected.iter().map(|(n, at)| Delete2(id(*n), *at)).collect());
        }
        9 => {
            let n = dice.roll() % IDS;
            let at = match model.blocks.get(&n).map(|b| b.state) {
                Some(State::Condemned(at)) if !dice.chance(4) => at.0,
                _ => dice.roll() % epoch,
            };
            let ids = Packed::of_ids([&id(n)]);
            both.apply(&Command::Deleted { node: NODE, ids, epochs: vec![at], gone: vec![true] }).unwrap();
            if model.blocks.get(&n).is_some_and(|b| b.state == State::Condemned(Epoch(at))) {
                model.blocks.remove(&n);
                model.last_gone = model.last_gone.max(at);
            }
        }
        10 => {
            let (n, bad) = (dice.roll() % IDS, !dice.chance(3));
            both.apply(&Command::Mark { ids: Packed::of_ids([&id(n)]), bad }).unwrap();
            if let Some(block) = model.blocks.get_mut(&n) {
                block.state = match (block.state, bad) {
                    (State::Live, true) => State::Bad(Epoch(epoch)),
                    (State::Bad(_), false) => State::Live,
                    (state, _) => state,
                };
            }
        }
        _ => commit(dice, both, model, epoch),
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delete2(BlockId, u64);

impl From<&Delete> for Delete2 {
    fn from(delete: &Delete) -> Self {
        Self(delete.id, delete.epoch.0)
    }
}

fn register(dice: &mut Dice, both: &mut Both, model: &mut Model, epoch: u64) {
    let session = some_session(dice, model, epoch);
    let mut pages: Vec<u64> = (PAGES_FROM..IDS).filter(|_| dice.chance(3)).collect();
    if pages.is_empty() {
        pages.push(PAGES_FROM);
    }
    let mut named: BTreeSet<u64> = pages.iter().copied().collect();
    pages.iter().for_each(|page| named.extend(children(*page)));
    let mut covers = BTreeMap::new();
    for n in &named {
        if !dice.chance(6) {
            let grant = if dice.chance(4) { dice.roll() % (epoch + 2) } else { epoch - 1 };
            covers.insert(*n, (1 + (dice.roll() % 255) as u8, grant));
        }
    }
    let mut places: Vec<u64> = named.iter().copied().collect();
    places.sort_by_key(|n| !covers.contains_key(n));
    let place = |n: &u64| places.iter().position(|other| other == n).unwrap() as u32;
    let ids: Vec<BlockId> = places.iter().map(|n| id(*n)).collect();
    let covered: Vec<(u8, u64)> = places.iter().map_while(|n| covers.get(n)).copied().collect();
    let command = Register {
        session,
        nodes: Packed(NODE.to_vec()),
        ids: Packed::of_ids(&ids),
        sums: Packed(covered.iter().flat_map(|(sum, _)| [*sum; 32]).collect()),
        covers: covered.iter().map(|(_, grant)| Cover { len: 9, grant: *grant, node: 0 }).collect(),
        pages: pages
            .iter()
            .map(|page| NewPage {
                at: place(page),
                kind: Kind::Page as u8,
                children: children(*page).iter().map(place).collect(),
            })
            .collect(),
    };
    let answer = both.apply(&Command::Register(command));
    match (answer, model.register(epoch, session, &named, &pages, &covers)) {
        (Ok(Outcome::Registered(missing)), Some(expected)) => {
            let expected: BTreeSet<BlockId> = expected.iter().map(|n| id(*n)).collect();
            assert_eq!(missing.into_iter().collect::<BTreeSet<_>>(), expected);
        }
        (Err(ServiceError::SessionGone(_)), None) => {}
        (answer, expected) => panic!("{answer:?}, the model says {expected:?}"),
    }
}

/// A version of a name of its own, so that only the counts matter here.
fn commit(dice: &mut Dice, both: &mut Both, model: &mut Model, epoch: u64) {
    let session = some_session(dice, model, epoch);
    let root = PAGES_FROM + dice.roll() % (IDS - PAGES_FROM);
    let object = snapshot(&format!("n{epoch}"), 1, Default::default(), id(root), 0);
    let bytes = object.encode();
    let cover = ObjectCover { node: NODE, grant: epoch - 1, sum: Sum::of(&bytes).0, len: bytes.len() as u32 };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&epoch.to_le_bytes());
    let answer = both.apply(&Command::Commit { session, key, object: Packed(bytes), covers: vec![cover] });
    match answer {
        Err(ServiceError::SessionGone(_)) => assert!(!model.sessions.contains(&session)),
        Err(ServiceError::RootMissing(_)) => assert!(!model.is_live(root)),
        Ok(Outcome::Committed(done)) => {
            assert!(model.sessions.remove(&session) && model.is_live(root) && done.seq == 1);
            model.roots.push(root);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_redb_and_a_naive_model_agree_after_every_command() {
    for_seeds(40, |seed| {
        let dir = tempfile::tempdir().unwrap();
        let file = || TablesFile::open(dir.path(), Arc::new(LocalDisk), 1 << 20, false).unwrap();
        let mut dice = Dice(seed);
        let mut both = Both { memory: MemTables::default(), redb: Layered::over(file()), epoch: 0 };
        let mut model = Model::default();
        both.apply(&Command::AddNode { node: NODE }).unwrap();
        for _ in 0..200 {
            step(&mut dice, &mut both, &mut model);
            check(&both, &model);
            if dice.chance(60) {
                both.redb.save().unwrap();
            }
            if dice.chance(80) {
                both.redb.save().unwrap();
                drop(std::mem::replace(&mut both.redb, Layered::over(file())));
                both.redb = Layered::over(file());
            }
        }
        for table in Table::ALL {
            let (memory, redb) = (all_rows(&both.memory, table), all_rows(&both.redb, table));
            assert_eq!(memory, redb, "table {}", table.name());
        }
    });
}

fn all_rows(tables: &impl Tables, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    let mut take = |key: &[u8], value: &[u8]| {
        out.push((key.to_vec(), value.to_vec()));
        Ok(true)
    };
    tables.scan(table, &[], &mut take).unwrap();
    out
}
