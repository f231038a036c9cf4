//! An index as devices see it, through its whole service: who logs in, what he sees, what he may, when it ends.

mod support;

use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Kind, PublicKey, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::{SnapshotObject, SnapshotRecord};
use cas_index::Index;
use cas_index::rights::{Caller, Guarded, govern};
use cas_net::rights::audit::{Chain, Entry};
use cas_net::rights::{
    Account, EnrolToken, Lock, Login, NewToken, NewUser, Password, Retention, Rights, Role, RoleGrant, UserChange, Who,
};
use cas_net::{Commit, Committed, Index as _, Node as _, Registration, Result, ServiceError, StartSession};
use std::sync::Arc;
use support::{Clock, DAY_NS, MemNode, keyring_object, options};

const MINUTE_NS: i64 = 60 * 1_000_000_000;

struct World {
    index: Arc<Index>,
    node: MemNode,
    clock: Clock,
    _dir: tempfile::TempDir,
}

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn password() -> Password {
    Password::new("correct horse battery")
}

impl World {
    fn new() -> Self {
        let (dir, clock, node) = (tempfile::tempdir().unwrap(), Clock::default(), MemNode::new(2));
        clock.turn(400 * DAY_NS);
        let index = Arc::new(Index::open(dir.path(), options(&clock)).unwrap());
        index.add_node(node.id()).unwrap();
        Self { index, node, clock, _dir: dir }
    }

    fn console(&self) -> Guarded {
        Guarded::new(self.index.clone(), Caller::Console)
    }

    fn device(&self, n: u8) -> Guarded {
        Guarded::new(self.index.clone(), Caller::Device { key: key(n), peer: Some([10, 0, 0, n].into()) })
    }

    /// A user with a device of this number.
    fn person(&self, name: &str, n: u8) -> Guarded {
        self.console().add_user(&NewUser { name: name.into(), password: None, may_found: true }).unwrap();
        self.enrol(name, n, false)
    }

    fn enrol(&self, user: &str, n: u8, own_rights: bool) -> Guarded {
        let token = NewToken { user: user.into(), own_rights, life_ns: MINUTE_NS };
        let token = self.console().make_token(&token).unwrap();
        let device = self.device(n);
        assert_eq!(device.enrol(&token, "label").unwrap().user, user);
        device
    }

    /// A vault that this device makes and pushes to first.
    fn vault(&self, owner: &Guarded, n: u8) -> VaultId {
        let bytes = keyring_object(n);
        let vault = KeyringObject::parse(&bytes).unwrap().vault();
        let start = StartSession { vault, domain: domain(n), device: key(99), label: String::new() };
        let session = self.index.start_session(&start).unwrap().session;
        let grant = self.index.grant(session).unwrap();
        let id = BlockId::of_object(Kind::Keyring, &bytes);
        let receipt = self.node.put_all(&grant, vec![(Kind::Keyring, DomainId::ZERO, id, bytes.clone())]);
        self.index.close_session(session).unwrap();
        owner.put_keyring(&bytes, std::slice::from_ref(&receipt)).unwrap();
        vault
    }

    fn grant(&self, role: Role, vault: VaultId, prefix: &str, who: Who) {
        self.console().grant_role(&RoleGrant { role, vault: Some(vault), prefix: prefix.into(), who }).unwrap();
    }

    fn push(&self, device: &Guarded, n: u8, vault: VaultId, name: &str, number: u64) -> Result<Committed> {
        let key = match device_key(device) {
            Some(key) => key,
            None => key(98),
        };
        let start = StartSession { vault, domain: domain(n), device: key, label: String::new() };
        let session = device.start_session(&start)?.session;
        let (leaf, root) = tree(n, number);
        let have = device.have(session, &[leaf.id(), root.id()])?;
        let receipt = self.node.put_headers(&have.grant, &[leaf, root.clone()]);
        let registration = Registration { headers: vec![root.encode()], receipts: vec![receipt] };
        assert_eq!(device.register(session, registration)?.missing, []);
        let (seq, previous) = device.head(&vault, name)?.unwrap_or_default();
        let object = snapshot(vault, domain(n), name, seq + 1, previous, root.id());
        let receipt = self.put_object(&device.grant(session)?, n, &object);
        let mut key = [n; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        device.commit(session, &Commit { object: object.encode(), receipts: vec![receipt], key })
    }

    fn put_object(&self, grant: &cas_net::Grant, n: u8, object: &SnapshotObject) -> cas_net::Receipt {
        self.node.put_all(grant, vec![(Kind::Snapshot, domain(n), object.object_id(), object.encode())])
    }

    fn forget(&self, device: &Guarded, n: u8, snapshot: &SnapshotId) -> Result<()> {
        let (removal, receipt) = self.put_about(n, snapshot, |object| support::removal(object, 6));
        device.forget(&removal.encode(), std::slice::from_ref(&receipt))
    }

    /// Takes back what [`World::forget`] did.
    fn undelete(&self, device: &Guarded, n: u8, snapshot: &SnapshotId) -> Result<()> {
        let (returning, receipt) = self.put_about(n, snapshot, |object| {
            let (removal, keyring) = (support::removal(object, 6).object_id(), object.record().keyring);
            SnapshotObject::returning(object.record(), removal, 7, keyring, &support::device()).unwrap()
        });
        device.undelete(&returning.encode(), std::slice::from_ref(&receipt))
    }

    fn put_about(
        &self,
        n: u8,
        snapshot: &SnapshotId,
        about: impl FnOnce(&SnapshotObject) -> SnapshotObject,
    ) -> (SnapshotObject, cas_net::Receipt) {
        let object = SnapshotObject::parse(&self.index.snapshot_object(snapshot).unwrap()).unwrap();
        let (vault, object) = (object.record().vault, about(&object));
        let start = StartSession { vault, domain: domain(n), device: key(98), label: String::new() };
        let session = self.index.start_session(&start).unwrap().session;
        let receipt = self.put_object(&self.index.grant(session).unwrap(), n, &object);
        self.index.close_session(session).unwrap();
        (object, receipt)
    }

    fn log(&self) -> Vec<Entry> {
        let page = self.console().audit(0, 4096).unwrap();
        page.entries.iter().map(|entry| Entry::decode(&entry.bytes).unwrap()).collect()
    }
}

fn device_key(device: &Guarded) -> Option<PublicKey> {
    device.whoami().ok().map(|identity| identity.device.device)
}

fn domain(n: u8) -> DomainId {
    DomainId([n; 16])
}

fn tree(n: u8, number: u64) -> (Header, Header) {
    let header = |h: Header| Header { domain: domain(n), ..h };
    let leaf = header(support::data(number));
    let root = header(support::page(number + 1_000_000, &[leaf.id()]));
    (leaf, root)
}

fn snapshot(
    vault: VaultId,
    domain: DomainId,
    name: &str,
    seq: u64,
    previous: SnapshotId,
    root: BlockId,
) -> SnapshotObject {
    let made = support::snapshot(name, seq, previous, root, 5);
    support::resigned(&SnapshotRecord { vault, domain, ..made.record().clone() })
}

fn is_denied<T: std::fmt::Debug>(answer: Result<T>) -> bool {
    match answer {
        Err(ServiceError::Denied(_)) => true,
        other => panic!("not denied: {other:?}"),
    }
}

#[test]
fn whoever_has_the_password_gets_in_and_a_guesser_waits() {
    let world = World::new();
    world.console().add_user(&NewUser { name: "ada".into(), password: Some(password()), may_found: false }).unwrap();
    let login = |user: &str, password| Login { user: user.into(), password, label: "laptop".into() };
    let ada = world.device(1);
    assert!(is_denied(ada.whoami()));
    assert_eq!(ada.login(&login("ada", password())).unwrap().user, "ada");
    assert_eq!(ada.whoami().unwrap().device.label, "laptop");

    let eve = world.device(2);
    let wrong = || Password::new("incorrect horse");
    assert!(is_denied(eve.login(&login("ada", wrong()))) && is_denied(eve.login(&login("nobody", wrong()))));
    assert!(is_denied(eve.login(&login("nobody", wrong()))));
    assert!(matches!(eve.login(&login("ada", password())), Err(ServiceError::Busy(_))), "the peer waits now");
    assert!(is_denied(eve.whoami()));
    world.console().change_user("ada", UserChange::Disable).unwrap();
    assert!(is_denied(ada.whoami().map(drop).and(ada.vaults().map(drop))));
    assert!(is_denied(world.device(3).login(&login("ada", password()))), "a disabled user is as good as unknown");
    let log = world.log();
    assert!(log.iter().any(|e| e.deed == "log in" && e.refused == 0 && e.user.is_empty() && e.name == "ada"));
    assert!(log.iter().any(|e| e.deed == "log in" && e.refused > 0));
    assert!(!log.iter().any(|e| format!("{e:?}").contains("horse")), "no password stands in the log");
}

#[test]
fn a_token_enrols_once_and_not_after_its_time() {
    let world = World::new();
    let ada = world.person("ada", 1);
    let new = NewToken { user: "ada".into(), own_rights: false, life_ns: MINUTE_NS };
    let token = ada.make_token(&new).unwrap();
    world.device(2).enrol(&token, "second").unwrap();
    assert!(is_denied(world.device(3).enrol(&token, "third")));
    let late = ada.make_token(&new).unwrap();
    world.clock.turn(MINUTE_NS);
    assert!(is_denied(world.device(4).enrol(&late, "fourth")));
    assert!(is_denied(world.device(5).enrol(&EnrolToken([0; 32]), "fifth")));
    assert!(is_denied(ada.make_token(&NewToken { user: "root".into(), ..new })), "a token for another is an admin's");
}

#[test]
fn a_reader_of_one_vault_sees_nothing_of_another() {
    let world = World::new();
    let (ada, bob, eve) = (world.person("ada", 1), world.person("bob", 2), world.person("eve", 3));
    let (one, two) = (world.vault(&ada, 11), world.vault(&bob, 12));
    let first = world.push(&ada, 11, one, "a", 1).unwrap();
    let second = world.push(&bob, 12, two, "b", 2).unwrap();
    world.grant(Role::Reader, one, "", Who::User("eve".into()));

    assert_eq!(eve.vaults().unwrap(), [one]);
    assert_eq!(eve.snapshots(&one, None, true).unwrap().len(), 1);
    assert!(
        is_denied(eve.snapshots(&two, None, true)) && is_denied(eve.head(&two, "b")) && is_denied(eve.keyring(&two))
    );
    assert!(eve.snapshot_object(&first.snapshot).is_ok());
    assert!(is_denied(eve.snapshot_object(&second.snapshot)));
    let ((leaf, root), (other_leaf, other_root)) = (tree(11, 1), tree(12, 2));
    let rows = eve.rows(&[leaf.id(), root.id(), other_leaf.id(), other_root.id()]).unwrap();
    assert_eq!(rows.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(eve.children(&root.id()).unwrap(), [leaf.id()]);
    assert!(matches!(eve.children(&other_root.id()), Err(ServiceError::NotFound { .. })));
    let listed = eve.list_rows(None, 100).unwrap();
    assert!(!listed.is_empty() && listed.iter().all(|row| row.domain == domain(11)));
    assert!(is_denied(eve.status()) && is_denied(eve.recount()) && is_denied(eve.mark(&[leaf.id()], true)));
    assert!(
        is_denied(eve.empty_trash(i64::MAX))
            && is_denied(eve.condemn(5))
            && is_denied(world.forget(&eve, 11, &first.snapshot))
    );

    // A vault of one's own is no door into somebody's domain.
    let own = world.vault(&eve, 13);
    let start = StartSession { vault: own, domain: domain(12), device: key(3), label: String::new() };
    assert!(is_denied(eve.start_session(&start)));
    let session = eve.start_session(&StartSession { domain: domain(13), ..start }).unwrap().session;
    assert_eq!(eve.have(session, &[other_leaf.id()]).unwrap().present, [false], "have is no oracle");
    assert!(matches!(bob.have(session, &[leaf.id()]), Err(ServiceError::SessionGone(_))), "it is another's session");
    assert!(matches!(bob.grant(session), Err(ServiceError::SessionGone(_))));
}

#[test]
fn a_pusher_appends_to_its_names_and_does_nothing_else() {
    let world = World::new();
    let ada = world.person("ada", 1);
    let vault = world.vault(&ada, 11);
    let host = world.enrol("ada", 2, true);
    assert!(is_denied(world.push(&host, 11, vault, "host", 1)), "its user's roles are not its own");
    world.grant(Role::Pusher, vault, "host", Who::Device(key(2)));
    let done = world.push(&host, 11, vault, "host/etc", 1).unwrap();
    assert!(is_denied(world.push(&host, 11, vault, "host2", 2)));
    assert!(host.keyring(&vault).is_ok() && host.head(&vault, "host/etc").unwrap().is_some());
    assert!(is_denied(host.head(&vault, "host2")) && is_denied(host.snapshots(&vault, Some("host/etc"), false)));
    assert!(is_denied(host.snapshot_object(&done.snapshot)) && is_denied(host.children(&tree(11, 1).1.id())));
    assert!(is_denied(world.forget(&host, 11, &done.snapshot)) && is_denied(world.undelete(&host, 11, &done.snapshot)));
    assert!(is_denied(host.mark(&[tree(11, 1).0.id()], true)), "who marks and pushes could put other bytes there");
    let ticket = host.ticket(&vault, &domain(11)).unwrap();
    assert!(ticket.rights.writes() && !ticket.rights.reads());
    assert!(ada.ticket(&vault, &domain(11)).unwrap().rights.reads());
    assert!(matches!(ada.ticket(&vault, &domain(12)), Err(ServiceError::NotFound { .. })));
}

#[test]
fn a_revoked_device_is_out_at_once_with_its_session_and_its_tickets() {
    let world = World::new();
    let ada = world.person("ada", 1);
    let vault = world.vault(&ada, 11);
    let laptop = world.enrol("ada", 2, false);
    let start = StartSession { vault, domain: domain(11), device: key(2), label: String::new() };
    let session = laptop.start_session(&start).unwrap().session;
    let ticket = laptop.ticket(&vault, &domain(11)).unwrap();
    let index = world.index.public_key();
    ticket.verify(&index, &key(2)).unwrap();
    ticket.holds(world.index.cluster_time_ns(), &world.index.revocations().unwrap()).unwrap();

    ada.revoke_device(&key(2)).unwrap();
    assert!(ticket.holds(world.index.cluster_time_ns(), &world.index.revocations().unwrap()).is_err());
    assert!(matches!(laptop.have(session, &[]), Err(ServiceError::SessionGone(_))));
    assert!(is_denied(laptop.start_session(&start)) && is_denied(laptop.ticket(&vault, &domain(11))));
    assert!(is_denied(laptop.snapshots(&vault, None, false)));
    let token = ada.make_token(&NewToken { user: "ada".into(), own_rights: false, life_ns: MINUTE_NS }).unwrap();
    assert!(is_denied(laptop.enrol(&token, "again")), "for ever");
    assert!(ada.ticket(&vault, &domain(11)).unwrap().holds(0, &world.index.revocations().unwrap()).is_ok());
    assert!(ada.devices().unwrap().iter().any(|device| device.device == key(2) && device.revoked_ns.is_some()));
}

#[test]
fn a_locked_version_stays_whoever_asks() {
    let world = World::new();
    let ada = world.person("ada", 1);
    let vault = world.vault(&ada, 11);
    let done = world.push(&ada, 11, vault, "a/x", 1).unwrap();
    ada.set_lock(&Lock { vault, prefix: "a".into(), keep_ns: 30 * DAY_NS }).unwrap();
    assert!(is_denied(ada.set_lock(&Lock { vault, prefix: "a".into(), keep_ns: 29 * DAY_NS })));
    assert!(matches!(world.forget(&ada, 11, &done.snapshot), Err(ServiceError::Retained(_))));
    assert!(matches!(world.forget(&world.console(), 11, &done.snapshot), Err(ServiceError::Retained(_))));
    assert_eq!(ada.locks(&vault).unwrap().len(), 1);
    world.clock.turn(30 * DAY_NS - 1);
    assert!(matches!(world.forget(&ada, 11, &done.snapshot), Err(ServiceError::Retained(_))));
    world.clock.turn(1);
    world.forget(&ada, 11, &done.snapshot).unwrap();
    // Set while it lies in the trash, it keeps it there.
    ada.set_lock(&Lock { vault, prefix: String::new(), keep_ns: 31 * DAY_NS }).unwrap();
    assert_eq!(world.console().empty_trash(i64::MAX).unwrap(), []);
    world.undelete(&ada, 11, &done.snapshot).unwrap();
}

#[test]
fn rules_of_retention_are_set_by_those_who_may_forget_there() {
    let world = World::new();
    let ada = world.person("ada", 1);
    let vault = world.vault(&ada, 11);
    let rule = |prefix: &str, keep: &str| Retention { vault, prefix: prefix.into(), keep: keep.into() };
    ada.set_retention(&rule("a", "keep-within=1y,keep-last=3")).unwrap();
    assert_eq!(ada.retentions(&vault).unwrap(), [rule("a", "keep-last=3,keep-within=1y")], "in their one form");
    for bad in ["keep-last=many", "keep-tag=a", "last=3"] {
        assert!(is_denied(ada.set_retention(&rule("a", bad))), "{bad}");
    }
    assert!(is_denied(ada.set_retention(&rule("a//b", "keep-last=1"))), "no name begins so");
    let (writer, pusher) = (world.person("wim", 2), world.person("pam", 3));
    let role =
        |role, user: &str| RoleGrant { role, vault: Some(vault), prefix: "a".into(), who: Who::User(user.into()) };
    ada.grant_role(&role(Role::Writer, "wim")).unwrap();
    ada.grant_role(&role(Role::Pusher, "pam")).unwrap();
    writer.set_retention(&rule("a/b", "keep-daily=7")).unwrap();
    assert!(is_denied(writer.set_retention(&rule("", "keep-daily=7"))), "only where he may forget");
    assert!(is_denied(pusher.set_retention(&rule("a", ""))), "append-only is append-only");
    writer.set_retention(&rule("a", "")).unwrap();
    assert_eq!(ada.retentions(&vault).unwrap(), [rule("a/b", "keep-daily=7")]);
}

#[test]
fn a_set_clock_ends_no_lock_until_somebody_accepts_it() {
    let (dir, clock, steady) = (tempfile::tempdir().unwrap(), Clock::default(), Clock::default());
    clock.turn(400 * DAY_NS);
    let mut options = options(&clock);
    let governed = {
        let steady = steady.clone();
        cas_index::rights::clock::govern_with(&mut options, Arc::new(move || steady.now()))
    };
    let index = Arc::new(Index::open(dir.path(), options).unwrap());
    index.govern_by(governed).unwrap();
    let console = Guarded::new(index.clone(), Caller::Console);
    let start = index.cluster_time_ns();
    clock.turn(40 * DAY_NS);
    steady.turn(MINUTE_NS);
    let state = console.clock().unwrap();
    assert!(state.now_ns <= start + MINUTE_NS && state.waiting_ns == Some(start + 40 * DAY_NS), "{state:?}");
    assert!(is_denied(console.accept_clock(start + 400 * DAY_NS)), "not any time: the one that waits");
    console.accept_clock(start + 40 * DAY_NS).unwrap();
    assert_eq!(console.clock().unwrap().now_ns, start + 40 * DAY_NS);
    clock.turn(-80 * DAY_NS);
    assert_eq!(index.cluster_time_ns(), start + 40 * DAY_NS, "never back");
    assert!(is_denied(console.accept_clock(start)), "nothing waits");
}

#[test]
fn a_full_quota_is_said_before_bytes_are_sent_and_forgetting_still_works() {
    let world = World::new();
    let ada = world.person("ada", 1);
    let vault = world.vault(&ada, 11);
    let first = world.push(&ada, 11, vault, "a", 1).unwrap();
    let used = |of: &Account| ada.usage().unwrap().into_iter().find(|usage| usage.of == *of).unwrap();
    for of in [Account::Vault(vault), Account::User("ada".into())] {
        assert!(is_denied(ada.set_quota(&of, Some(1 << 40))), "a quota is an admin's");
        world.console().set_quota(&of, Some(used(&of).bytes)).unwrap();
        world.clock.turn(2 * MINUTE_NS);
        assert!(matches!(world.push(&ada, 11, vault, "a", 2), Err(ServiceError::Full { .. })));
        assert!(!world.node.has(&tree(11, 2).0.id()), "nothing was sent");
        world.console().set_quota(&of, None).unwrap();
    }
    world.console().set_quota(&Account::Vault(vault), Some(0)).unwrap();
    world.forget(&ada, 11, &first.snapshot).unwrap();
    assert!(world.log().iter().any(|entry| entry.deed.contains("quota is full") && entry.refused > 0));
}

#[test]
fn what_is_done_and_refused_stands_in_a_log_that_its_reader_verifies() {
    let world = World::new();
    let (ada, eve) = (world.person("ada", 1), world.person("eve", 2));
    let vault = world.vault(&ada, 11);
    world.push(&ada, 11, vault, "a", 1).unwrap();
    for _ in 0..100 {
        assert!(is_denied(eve.head(&vault, "a")));
    }
    let entries = world.log();
    let deeds = ["add user", "make token", "enrol", "make a vault", "push", "see newest version"];
    for deed in deeds {
        assert!(entries.iter().any(|entry| entry.deed == deed), "{deed}: {entries:?}");
    }
    assert_eq!(entries.iter().filter(|entry| entry.refused > 0).count(), 1, "a hundred refusals are one entry");
    world.clock.turn(2 * MINUTE_NS);
    world.index.tick_rights().unwrap();
    world.clock.turn(2 * MINUTE_NS);
    world.index.tick_rights().unwrap();
    assert_eq!(world.log().iter().map(|entry| entry.refused).sum::<u64>(), 100, "and a count");

    let page = world.console().audit(0, 4096).unwrap();
    let mut chain = Chain::new(&[]);
    page.entries.iter().for_each(|entry| chain.take(entry));
    assert_eq!(chain.finish(page.head).faults, []);
    assert_eq!(world.console().verify_audit().unwrap().head, page.head);
    assert!(is_denied(eve.audit(0, 10)) && is_denied(ada.verify_audit()));
    let own = ada.audit(0, 100).unwrap();
    assert!(!own.entries.is_empty());
    assert!(own.entries.iter().all(|e| Entry::decode(&e.bytes).unwrap().vault == Some(vault)), "of his vault alone");
}

#[test]
fn a_role_that_is_taken_back_ends_what_it_allowed() {
    let world = World::new();
    let (ada, bob) = (world.person("ada", 1), world.person("bob", 2));
    let vault = world.vault(&ada, 11);
    let role = |role, prefix: &str| RoleGrant {
        role,
        vault: Some(vault),
        prefix: prefix.into(),
        who: Who::User("bob".into()),
    };
    ada.grant_role(&role(Role::Owner, "shared")).unwrap();
    assert_eq!(bob.whoami().unwrap().roles, [role(Role::Owner, "shared")]);
    world.push(&bob, 11, vault, "shared/x", 1).unwrap();
    bob.grant_role(&role(Role::Reader, "shared/x")).unwrap();
    assert!(is_denied(bob.grant_role(&role(Role::Reader, ""))), "what he does not own he does not give");
    assert!(is_denied(bob.put_keyring(&keyring_object(11), &[world.node.put_headers(&world.some_grant(vault), &[])])));
    let start = StartSession { vault, domain: domain(11), device: key(2), label: String::new() };
    let session = bob.start_session(&start).unwrap().session;
    ada.withdraw_role(&role(Role::Owner, "shared")).unwrap();
    assert!(matches!(bob.have(session, &[]), Err(ServiceError::SessionGone(_))));
    assert!(is_denied(world.push(&bob, 11, vault, "shared/x", 2)));
    assert!(bob.head(&vault, "shared/x").unwrap().is_some(), "the other role is still there");
}

impl World {
    fn some_grant(&self, vault: VaultId) -> cas_net::Grant {
        let start = StartSession { vault, domain: domain(11), device: key(98), label: String::new() };
        let session = self.index.start_session(&start).unwrap().session;
        self.index.grant(session).unwrap()
    }
}

#[test]
fn an_index_opened_for_a_cluster_goes_by_cluster_time() {
    let clock = Clock::default();
    clock.turn(400 * DAY_NS);
    let mut with = options(&clock);
    let governed = govern(&mut with);
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), with).unwrap();
    index.govern_by(governed).unwrap();
    let ahead = index.cluster_time_ns() - clock.now();
    assert!((0..MINUTE_NS).contains(&ahead), "a new one believes the machine; that it stands still is made up for");
}
