//! Law 10: retention, roles and quotas hold under any order of events and any clock.
//!
//! Random people, roles, locks, quotas, pushes, forgets and collections against a naive model that looks everything up in
//! lists; the machine's clock jumps in both directions. The model counts real time, which no clock shows. Bounds: an
//! account never holds more than its quota by a registration or a commit (what is in flight when one is refused has no row);
//! a lock is at most an hour shorter than it says, by the clock that nobody can set.

mod cast;
mod model;
mod people;
mod push;
#[path = "../support/mod.rs"]
mod support;
mod trash;

use cas_core::id::{Epoch, SnapshotId, Sum};
use cas_index::command::{Command, ObjectCover, Packed};
use cas_index::rights::command::{Command as Rights, Deed, To};
use cas_index::rights::{clock, quota};
use cas_index::state::snapshots::versions;
use cas_index::state::{Answer, Outcome, Stamp, apply};
use cas_index::tables::{MemTables, Table, Tables};
use cas_net::rights::Role;
use cas_net::{Delete, ServiceError, SnapshotState};
use cast::{DEVICES, HOUR, NODE, USERS, VAULTS, device, domain, keyring, own_rights, user, vault_id};
use model::{Given, Model};
use support::{Dice, for_seeds};

struct World {
    tables: MemTables,
    epoch: u64,
    model: Model,
    log: Vec<(Stamp, Command)>,
    rule: clock::Rule,
    machine_ns: i64,
    real_ns: i64,
    next: u64,
    /// Versions whose rows are gone.
    gone: Vec<SnapshotId>,
    deletes: Vec<Delete>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            tables: MemTables::default(),
            epoch: 0,
            model: Model::default(),
            log: Vec::new(),
            rule: clock::Rule::new(Some(0), 0, 0),
            machine_ns: 0,
            real_ns: 0,
            next: 0,
            gone: Vec::new(),
            deletes: Vec::new(),
        };
        world.run(Command::AddNode { node: NODE }).unwrap();
        for vault in 0..VAULTS {
            let object = keyring(vault);
            let cover = world.cover(object);
            world.run(Command::PutKeyring { object: Packed(object.clone()), covers: vec![cover] }).unwrap();
            let (vault, domain) = (vault_id(vault).0, domain(vault).0);
            let start = Command::StartSession { vault, domain, device: [1; 32], label: String::new() };
            let Ok(Outcome::Started(session)) = world.run(start) else { panic!("the index's owner may push") };
            world.run(Command::EndSession { session: session.0 }).unwrap();
        }
        for n in 0..USERS {
            world.by(None, Deed::AddUser { name: user(n), hash: String::new(), may_found: false }).unwrap();
        }
        for n in 0..DEVICES {
            let token = Sum::of(&[n as u8]).0;
            let life_ns = HOUR;
            let make = Deed::MakeToken { hash: token, user: user(n % USERS), own_rights: own_rights(n), life_ns };
            world.by(None, make).unwrap();
            world.by(Some(n), Deed::UseToken { hash: token, label: String::new() }).unwrap();
            let again = world.by(Some(n), Deed::UseToken { hash: token, label: String::new() });
            assert!(is_denied(&again), "a token enrols once");
        }
        for vault in 0..VAULTS {
            let (role, vault, who) = (Role::Owner, Some(vault), (true, vault));
            let share = Deed::Share {
                role: role as u8,
                vault: vault_id(who.1).0,
                prefix: String::new(),
                who: To::User(user(who.1)),
                give: true,
            };
            world.by(None, share).unwrap();
            world.model.given.push(Given { role, vault, prefix: "", who });
        }
        world
    }

    fn run(&mut self, command: Command) -> Answer {
        self.epoch += 1;
        let stamp = Stamp { epoch: Epoch(self.epoch), time_ns: self.rule.read(self.machine_ns, self.real_ns) };
        let before = self.content();
        let answer = apply(&mut self.tables, stamp, &command).expect("the tables are whole");
        if answer.is_err() {
            assert_eq!(before, self.content(), "a refused command changes nothing but the audit log");
        }
        self.log.push((stamp, command));
        assert_eq!(quota::kept(&self.tables).unwrap(), quota::recount(&self.tables).unwrap(), "usage is a recount");
        answer
    }

    /// All rows but those of the audit log and its counters.
    fn content(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let mut out = Vec::new();
        for table in Table::ALL.into_iter().filter(|table| ![Table::Meta, Table::Audit].contains(table)) {
            let mut keep = |key: &[u8], value: &[u8]| {
                if table != Table::Rights || !matches!(key[0], b'r' | b'h') {
                    out.push((table, key.to_vec(), value.to_vec()));
                }
                Ok(true)
            };
            self.tables.scan(table, &[], &mut keep).unwrap();
        }
        out
    }

    fn by(&mut self, by: Option<usize>, deed: Deed) -> Answer {
        self.run(Command::Rights(Rights { by: by.map(device), deed }))
    }

    fn carry(&mut self, by: Option<usize>, command: &Command) -> Answer {
        self.by(by, Deed::Carry { command: Packed(command.encode()) })
    }

    fn cover(&self, object: &[u8]) -> ObjectCover {
        ObjectCover { node: NODE, grant: self.epoch, sum: Sum::of(object).0, len: object.len() as u32 }
    }

    /// Real time passes; the machine's clock goes with it, or jumps.
    fn time(&mut self, dice: &mut Dice) {
        let passed = dice.below(HOUR as usize) as i64;
        self.real_ns += passed;
        self.machine_ns += passed;
        if dice.chance(4) {
            let jump = dice.below(2000 * HOUR as usize) as i64;
            self.machine_ns += if dice.chance(2) { jump } else { -jump };
        }
    }

    fn check(&self) {
        let verdict = cas_index::audit::verify(&self.tables, &[]).unwrap();
        assert_eq!(verdict.faults, []);
        for vault in 0..VAULTS {
            let live = versions(&self.tables, &vault_id(vault), None).unwrap();
            let mine = self.model.versions.iter().filter(|v| v.vault == vault && !self.gone.contains(&v.snapshot));
            assert_eq!(live.len(), mine.clone().count(), "every version that was not removed is there");
            for version in mine {
                let row = live.iter().find(|row| row.row.snapshot == version.snapshot).unwrap();
                assert_eq!(row.row.state != SnapshotState::Live, version.trash);
            }
        }
        let count = cas_index::recount::recount(&self.tables).unwrap();
        assert!(count.wrong.is_empty() && count.dangling.is_empty(), "{count:?}");
        let mut again = MemTables::default();
        for (stamp, command) in &self.log {
            let command = Command::decode(&command.encode()).unwrap();
            let _ = apply(&mut again, *stamp, &command).unwrap();
        }
        assert!(again == self.tables, "the same commands give the same tables");
    }
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer, Err(ServiceError::Denied(_)))
}

#[test]
fn law_10_retention_roles_and_quotas_hold_under_any_order_of_events_and_any_clock() {
    for_seeds(40, |seed| {
        let (mut dice, mut world) = (Dice(seed), World::new());
        for _ in 0..400 {
            world.time(&mut dice);
            match dice.below(12) {
                0..=3 => world.people(&mut dice),
                4..=7 => world.push(&mut dice),
                8 | 9 => world.forget(&mut dice),
                10 => world.undelete(&mut dice),
                _ if dice.chance(2) => world.empty_trash(&mut dice),
                _ => world.collect(),
            }
        }
        world.check();
    });
}
