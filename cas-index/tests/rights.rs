//! Law 10: retention, roles and quotas hold under any order of events and any clock.
//!
//! Random people, roles, locks, quotas, pushes, forgets and collections against a naive model that looks everything up in
//! lists; the machine's clock jumps in both directions. The model counts real time, which no clock shows. Bounds: an
//! account never holds more than its quota by a registration or a commit (what is in flight when one is refused has no row);
//! a lock is at most an hour shorter than it says, by the clock that nobody can set.

mod support;

use cas_core::id::{BlockId, DomainId, Epoch, Kind, SnapshotId, Sum, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::{SnapshotObject, SnapshotRecord};
use cas_index::command::{Command, Cover, NewPage, ObjectCover, Packed, Register};
use cas_index::rights::command::{Change, Command as Rights, Deed, Of, To};
use cas_index::rights::{clock, quota};
use cas_index::state::snapshots::versions;
use cas_index::state::{Answer, Outcome, Stamp, apply, sessions};
use cas_index::tables::{MemTables, Table, Tables};
use cas_net::rights::{Account, Role};
use cas_net::{Delete, ServiceError, SnapshotState};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use support::{Dice, for_seeds};

const NODE: [u8; 32] = [2; 32];
const HOUR: i64 = 3600 * 1_000_000_000;
const NAMES: [&str; 5] = ["a", "a/x", "a2", "b", "b/y/z"];
const PREFIXES: [&str; 6] = ["", "a", "a/x", "a2", "b", "b/y"];
const USERS: usize = 4;
const DEVICES: usize = 7;
const VAULTS: usize = 2;

fn user(n: usize) -> String {
    format!("user{n}")
}

fn device(n: usize) -> [u8; 32] {
    [100 + n as u8; 32]
}

fn domain(n: usize) -> DomainId {
    DomainId([50 + n as u8; 16])
}

/// The last device has rights of its own only.
fn own_rights(n: usize) -> bool {
    n + 1 == DEVICES
}

#[derive(Debug, Clone, PartialEq)]
struct Given {
    role: Role,
    /// `None`: the system.
    vault: Option<usize>,
    prefix: &'static str,
    /// A user, or a device.
    who: (bool, usize),
}

struct Version {
    vault: usize,
    name: &'static str,
    seq: u64,
    snapshot: SnapshotId,
    object: SnapshotObject,
    /// Real time of the commit.
    real_ns: i64,
    trash: bool,
    /// How often it came back: each time its next removal is another.
    returns: i64,
}

/// What should be true, kept as lists.
#[derive(Default)]
struct Model {
    given: Vec<Given>,
    disabled: [bool; USERS],
    revoked: [bool; DEVICES],
    locks: Vec<(usize, &'static str, i64)>,
    quotas: BTreeMap<Account, u64>,
    versions: Vec<Version>,
    /// Vaults that an owner of both brought into the other's domain.
    joined: [bool; VAULTS],
}

impl Model {
    /// By whom: `None` is whoever runs the index.
    fn may(&self, by: Option<usize>, roles: &[Role], system: &[Role], vault: usize, at: Option<&str>) -> bool {
        let Some(by) = by else { return true };
        if self.revoked[by] || self.disabled[by % USERS] {
            return false;
        }
        self.given.iter().any(|given| {
            let mine = match given.who {
                (true, user) => user == by % USERS && !own_rights(by),
                (false, device) => device == by,
            };
            let under = at.is_none_or(|name| {
                given.prefix.is_empty() || format!("{name}/").starts_with(&format!("{}/", given.prefix))
            });
            mine && match given.vault {
                None => system.contains(&given.role),
                Some(on) => on == vault && under && roles.contains(&given.role),
            }
        })
    }

    fn may_push(&self, by: Option<usize>, vault: usize, at: Option<&str>) -> bool {
        self.may(by, &[Role::Owner, Role::Writer, Role::Pusher], &[], vault, at)
    }

    fn may_forget(&self, by: Option<usize>, vault: usize, name: &str) -> bool {
        self.may(by, &[Role::Owner, Role::Writer], &[], vault, Some(name))
    }

    fn may_share(&self, by: Option<usize>, vault: usize, prefix: &str) -> bool {
        // The empty prefix is under the empty prefix alone.
        self.may(by, &[Role::Owner], &[Role::Admin], vault, Some(prefix))
    }

    fn is_admin(&self, by: Option<usize>) -> bool {
        self.may(by, &[], &[Role::Admin], usize::MAX, None)
    }

    fn may_operate(&self, by: Option<usize>) -> bool {
        self.may(by, &[], &[Role::Admin, Role::Operator], usize::MAX, None)
    }

    /// For how long versions of a name are kept.
    fn kept_ns(&self, vault: usize, name: &str) -> i64 {
        let under = |prefix: &str| prefix.is_empty() || format!("{name}/").starts_with(&format!("{prefix}/"));
        let locks = self.locks.iter().filter(|(on, prefix, _)| *on == vault && under(prefix));
        locks.map(|(_, _, keep)| *keep).max().unwrap_or(0)
    }

    fn latest(&self, vault: usize, name: &str) -> Option<&Version> {
        self.versions.iter().filter(|v| v.vault == vault && v.name == name).max_by_key(|v| v.seq)
    }
}

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

    fn push(&mut self, dice: &mut Dice) {
        let (vault, name) = (dice.below(VAULTS), *dice.pick(&NAMES).unwrap());
        let by = dice.below(DEVICES);
        let in_domain = if dice.chance(8) { 1 - vault } else { vault };
        let start = Command::StartSession {
            vault: vault_id(vault).0,
            domain: domain(in_domain).0,
            device: device(if dice.chance(10) { dice.below(DEVICES) } else { by }),
            label: String::new(),
        };
        let Command::StartSession { device: named, .. } = start else { unreachable!() };
        let may = self.model.may_push(Some(by), vault, None) && named == device(by);
        let owns = |vault| self.model.may(Some(by), &[Role::Owner], &[], vault, Some(""));
        let enters = in_domain == vault || self.model.joined[vault] || owns(0) && owns(1);
        let session = match self.carry(Some(by), &start) {
            Ok(Outcome::Started(session)) => session.0,
            answer => {
                assert!(is_denied(&answer) && !(may && enters), "{answer:?}");
                return;
            }
        };
        assert!(may && enters, "device {by} started a push to vault {vault} in domain {in_domain}");
        if in_domain != vault {
            self.model.joined[vault] = true;
            self.carry(Some(by), &Command::EndSession { session }).unwrap();
            return;
        }
        let len = dice.below(5000) as u32 + 1;
        let (register, root) = self.registration(session, len);
        let (room, registered) = (self.room(vault, by), self.run(Command::Register(register)));
        match registered {
            Ok(Outcome::Registered(missing)) => assert!(missing.is_empty() && u64::from(2 * len) <= room),
            Err(ServiceError::Full { .. }) => return assert!(u64::from(2 * len) > room, "{len} fits into {room}"),
            other => panic!("{other:?}"),
        }
        // Somebody's rights may go in the middle of it.
        if dice.chance(5) {
            self.people(dice);
        }
        let committer = if dice.chance(10) { dice.below(DEVICES) } else { by };
        self.commit(vault, name, session, root, by, committer);
    }

    fn commit(&mut self, vault: usize, name: &'static str, session: u64, root: BlockId, by: usize, committer: usize) {
        let (seq, previous) =
            self.model.latest(vault, name).map_or((0, SnapshotId::default()), |v| (v.seq, v.snapshot));
        let object = snapshot(vault, name, seq + 1, previous, root);
        let bytes = object.encode();
        self.next += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.next.to_le_bytes());
        let cover = self.cover(&bytes);
        let command = Command::Commit { session, key, object: Packed(bytes.clone()), covers: vec![cover] };
        let room = self.room(vault, by);
        let lives = sessions(&self.tables).unwrap().iter().any(|s| s.id.0 == session);
        match self.carry(Some(committer), &command) {
            Ok(Outcome::Committed(done)) => {
                assert!(
                    self.model.may_push(Some(committer), vault, Some(name)),
                    "{committer} pushed to {vault} {name}"
                );
                assert!(committer == by && bytes.len() as u64 <= room && lives);
                let (snapshot, real_ns) = (done.snapshot, self.real_ns);
                let seq = done.seq;
                self.model.versions.push(Version {
                    vault,
                    name,
                    seq,
                    snapshot,
                    object,
                    real_ns,
                    trash: false,
                    returns: 0,
                });
            }
            Err(ServiceError::Full { .. }) => assert!(bytes.len() as u64 > room),
            Err(ServiceError::SessionGone(_)) => assert!(!lives),
            Err(ServiceError::Denied(why)) => {
                let might = self.model.may_push(Some(committer), vault, Some(name)) && committer == by;
                assert!(!might, "{why}");
            }
            other => panic!("{other:?}"),
        }
    }

    fn registration(&mut self, session: u64, len: u32) -> (Register, BlockId) {
        self.next += 1;
        let id = |what: u8| BlockId(Sum::of(&[&[what], &self.next.to_le_bytes()[..]].concat()).0);
        let (data, root) = (id(1), id(2));
        let cover = Cover { len, grant: self.epoch, node: 0 };
        let register = Register {
            session,
            nodes: Packed(NODE.to_vec()),
            ids: Packed::of_ids([&data, &root]),
            sums: Packed(vec![9; 64]),
            covers: vec![cover, cover],
            pages: vec![NewPage { at: 1, kind: Kind::Page as u8, children: vec![0] }],
        };
        (register, root)
    }

    fn room(&self, vault: usize, by: usize) -> u64 {
        let accounts = [Account::Vault(vault_id(vault)), Account::User(user(by % USERS))];
        let room = |of: &Account| {
            let quota = self.model.quotas.get(of)?;
            Some(quota.saturating_sub(quota::used(&self.tables, of).unwrap()))
        };
        accounts.iter().filter_map(room).min().unwrap_or(u64::MAX)
    }

    fn forget(&mut self, dice: &mut Dice) {
        let n = dice.below(self.model.versions.len());
        let Some(version) = self.model.versions.get(n) else { return };
        let by = self.somebody(dice);
        let (vault, name, real_ns, trash) = (version.vault, version.name, version.real_ns, version.trash);
        let removal = version.removal().encode();
        let gone = self.gone.contains(&version.snapshot);
        let cover = self.cover(&removal);
        let answer = self.carry(by, &Command::Forget { removal: Packed(removal), covers: vec![cover] });
        match answer {
            Ok(_) => {
                assert!(self.model.may_forget(by, vault, name), "{by:?} forgot {name} of vault {vault}");
                if !trash {
                    self.assert_unlocked(vault, name, real_ns);
                }
                self.model.versions[n].trash = true;
                // Somebody wants to keep it after all.
                if dice.chance(4) {
                    self.lock(dice, None, vault, name);
                }
            }
            Err(ServiceError::Denied(_)) => assert!(!self.model.may_forget(by, vault, name)),
            Err(ServiceError::Retained(_)) => assert!(self.model.kept_ns(vault, name) > 0),
            Err(ServiceError::NotFound { .. }) => assert!(gone || trash),
            other => panic!("{other:?}"),
        }
    }

    /// By real time, and an hour that a jump may gain.
    fn assert_unlocked(&self, vault: usize, name: &str, real_ns: i64) {
        let (age, keep) = (self.real_ns - real_ns, self.model.kept_ns(vault, name));
        assert!(age + clock::BELIEVED_NS >= keep, "{name} of vault {vault} is {age} ns old and locked for {keep}");
    }

    fn undelete(&mut self, dice: &mut Dice) {
        let n = dice.below(self.model.versions.len());
        let Some(version) = self.model.versions.get(n) else { return };
        let (vault, name, snapshot, trash) = (version.vault, version.name, version.snapshot, version.trash);
        let by = self.somebody(dice);
        let returning = version.returning().encode();
        let cover = self.cover(&returning);
        match self.carry(by, &Command::Return { returning: Packed(returning), covers: vec![cover] }) {
            Ok(_) => {
                assert!(self.model.may_forget(by, vault, name));
                let version = &mut self.model.versions[n];
                version.returns += i64::from(trash);
                version.trash = false;
            }
            Err(ServiceError::Denied(_)) => {
                assert!(!self.model.may_forget(by, vault, name) || self.gone.contains(&snapshot));
            }
            Err(ServiceError::NotFound { .. }) => assert!(self.gone.contains(&snapshot)),
            other => panic!("{other:?}"),
        }
    }

    fn empty_trash(&mut self, dice: &mut Dice) {
        let by = self.somebody(dice);
        match self.carry(by, &Command::EmptyTrash { before_ns: i64::MAX, limit: 3 }) {
            Ok(Outcome::Emptied(rows, _)) => {
                assert!(self.model.may_operate(by));
                for row in rows {
                    let version = self.model.versions.iter().find(|v| v.snapshot == row.snapshot).unwrap();
                    assert!(version.trash);
                    self.assert_unlocked(version.vault, version.name, version.real_ns);
                    self.gone.push(row.snapshot);
                }
            }
            answer => assert!(is_denied(&answer) && !self.model.may_operate(by), "{answer:?}"),
        }
    }

    fn collect(&mut self) {
        if let Ok(Outcome::Condemned(condemned)) = self.run(Command::Condemn { limit: 50 }) {
            self.deletes = condemned.deletes;
        }
        let ids = Packed::of_ids(self.deletes.iter().map(|d| &d.id));
        let epochs: Vec<u64> = self.deletes.iter().map(|d| d.epoch.0).collect();
        let gone = vec![true; epochs.len()];
        self.run(Command::Deleted { node: NODE, ids, epochs, gone }).unwrap();
    }

    fn somebody(&self, dice: &mut Dice) -> Option<usize> {
        (!dice.chance(3)).then(|| dice.below(DEVICES))
    }

    fn people(&mut self, dice: &mut Dice) {
        let by = self.somebody(dice);
        match dice.below(9) {
            0..=4 => self.share(dice, by),
            5 => {
                let n = dice.below(DEVICES);
                if !dice.chance(4) {
                    return;
                }
                let itself = by == Some(n) && !self.model.revoked[n] && !self.model.disabled[n % USERS];
                let same = by.is_some_and(|by| {
                    by % USERS == n % USERS
                        && !own_rights(by)
                        && !self.model.revoked[by]
                        && !self.model.disabled[by % USERS]
                });
                let may = itself || same || self.model.is_admin(by);
                let answer = self.by(by, Deed::Revoke { device: device(n) });
                assert_eq!(answer.is_ok(), may, "{by:?} revokes {n}: {answer:?}");
                self.model.revoked[n] |= may;
                self.assert_sessions();
            }
            6 => {
                let n = dice.below(USERS);
                let disable = dice.chance(3);
                let change = if disable { Change::Disable } else { Change::Enable };
                let may = self.model.is_admin(by);
                assert_eq!(self.by(by, Deed::ChangeUser { name: user(n), change }).is_ok(), may);
                if may {
                    self.model.disabled[n] = disable;
                    self.assert_sessions();
                }
            }
            7 => {
                let (vault, prefix) = (dice.below(VAULTS), *dice.pick(&PREFIXES).unwrap());
                self.lock(dice, by, vault, prefix);
            }
            _ => {
                let account = match dice.chance(2) {
                    true => Account::User(user(dice.below(USERS))),
                    false => Account::Vault(vault_id(dice.below(VAULTS))),
                };
                let of = match &account {
                    Account::User(name) => Of::User(name.clone()),
                    Account::Vault(vault) => Of::Vault(vault.0),
                };
                let bytes = (!dice.chance(3)).then(|| dice.roll() % 40_000);
                let may = self.model.is_admin(by);
                assert_eq!(self.by(by, Deed::Quota { of, bytes }).is_ok(), may);
                match bytes {
                    _ if !may => {}
                    Some(bytes) => drop(self.model.quotas.insert(account, bytes)),
                    None => drop(self.model.quotas.remove(&account)),
                }
            }
        }
    }

    fn lock(&mut self, dice: &mut Dice, by: Option<usize>, vault: usize, prefix: &'static str) {
        let keep_ns = (dice.below(20) as i64 + 1) * HOUR;
        let old = self.model.locks.iter().position(|(on, at, _)| *on == vault && *at == prefix);
        let may = self.model.may_share(by, vault, prefix);
        let grows = old.is_none_or(|old| keep_ns >= self.model.locks[old].2);
        let deed = Deed::Lock { vault: vault_id(vault).0, prefix: prefix.into(), keep_ns };
        assert_eq!(self.by(by, deed).is_ok(), may && grows, "{by:?} locks {vault} {prefix}");
        if may && grows {
            old.map(|old| self.model.locks.remove(old));
            self.model.locks.push((vault, prefix, keep_ns));
        }
    }

    fn share(&mut self, dice: &mut Dice, by: Option<usize>) {
        let role = *dice.pick(&Role::ALL).unwrap();
        let vault = (!dice.chance(4)).then(|| dice.below(VAULTS));
        let prefix = if vault.is_none() { "" } else { *dice.pick(&PREFIXES).unwrap() };
        let who = if dice.chance(4) { (false, dice.below(DEVICES)) } else { (true, dice.below(USERS)) };
        let give = !dice.chance(3);
        let fits = if vault.is_some() { role.is_of_vaults() } else { role.is_of_system() };
        let may = fits
            && match vault {
                Some(vault) => self.model.may_share(by, vault, prefix),
                None => self.model.is_admin(by),
            };
        let to = if who.0 { To::User(user(who.1)) } else { To::Device(device(who.1)) };
        let on = vault.map_or(VaultId::ZERO, vault_id).0;
        let answer = self.by(by, Deed::Share { role: role as u8, vault: on, prefix: prefix.into(), who: to, give });
        assert_eq!(answer.is_ok(), may, "{by:?} shares {role} on {vault:?} {prefix}: {answer:?}");
        if may {
            let given = Given { role, vault, prefix, who };
            self.model.given.retain(|old| *old != given);
            if give {
                self.model.given.push(given);
            }
            self.assert_sessions();
        }
    }

    /// No session outlives the right to push.
    fn assert_sessions(&self) {
        for session in sessions(&self.tables).unwrap() {
            let (vault, mut may) = ((0..VAULTS).find(|n| vault_id(*n) == session.vault).unwrap(), false);
            let all =
                cas_index::state::interned::all(&self.tables, cas_index::state::interned::Interned::Device).unwrap();
            let id = &all[session.device as usize - 1];
            for n in 0..DEVICES {
                may |= id[..32] == device(n) && self.model.may_push(Some(n), vault, None);
            }
            assert!(may, "a session goes on without the right to");
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

fn vault_id(n: usize) -> VaultId {
    KeyringObject::parse(keyring(n)).unwrap().vault()
}

fn keyring(n: usize) -> &'static Vec<u8> {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    &MADE.get_or_init(|| (0..VAULTS).map(|n| support::keyring_object(n as u8 + 1)).collect())[n]
}

fn snapshot(vault: usize, name: &str, seq: u64, previous: SnapshotId, root: BlockId) -> SnapshotObject {
    let made = support::snapshot(name, seq, previous, root, 5);
    let record = SnapshotRecord { vault: vault_id(vault), domain: domain(vault), ..made.record().clone() };
    support::resigned(&record)
}

impl Version {
    fn removal(&self) -> SnapshotObject {
        support::removal(&self.object, self.returns)
    }

    fn returning(&self) -> SnapshotObject {
        let (removal, keyring) = (self.removal().object_id(), self.object.record().keyring);
        SnapshotObject::returning(self.object.record(), removal, self.returns, keyring, &support::device()).unwrap()
    }
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
