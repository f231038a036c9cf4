//! A served index over real connections on the loopback: who hears what, what outlives it, what it does by itself.

mod support;

use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey};
use cas_core::keyring::KeyringObject;
use cas_index::cluster::liveness;
use cas_index::serve::{self, Backups, End, Running, Schedule, ServeOptions, Task, backup};
use cas_net::address::Address;
use cas_net::cluster::{Beat, Cluster, DiskId, Health, Join, Load, NodeChange, Order, RemoteCluster, RunEnd, Space};
use cas_net::rights::{Login, NewUser, Password, RemoteRights, Rights};
use cas_net::{
    Delete, Deleted, Identity, Index as _, Network, NodeId, Registration, RemoteIndex, ServiceError, Settings,
    StartSession,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use support::{MemNode, keyring_object};

const MINUTE_NS: i64 = 60_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn password() -> Password {
    Password::new("correct horse battery")
}

fn init(dir: &Path) -> PublicKey {
    let admin = NewUser { name: "ada".into(), password: Some(password()), may_found: true };
    serve::init(dir, &admin).unwrap()
}

fn options(dir: &Path) -> ServeOptions {
    let mut options = ServeOptions::new(dir.to_owned(), serve::seed(dir).unwrap());
    options.index.cache_bytes = 8 << 20;
    (options.listen, options.http) = (LOCAL, Some(LOCAL));
    options.schedules.clear();
    options.tick = Duration::from_millis(20);
    options
}

/// A new index, served.
struct Served {
    running: Option<Running>,
    dir: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path());
        Self { running: Some(serve::serve(options(dir.path())).unwrap()), dir }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn caller(&self, seed: u8) -> Caller {
        Caller::new(&self.running().address().unwrap(), seed)
    }

    /// The admin at a device of his.
    fn admin(&self) -> Caller {
        let caller = self.caller(200);
        let login = Login { user: "ada".into(), password: password(), label: "desk".into() };
        assert_eq!(caller.rights.login(&login).unwrap().user, "ada");
        caller
    }

    fn join(&self, admin: &Caller, seed: u8) -> Caller {
        let node = self.caller(seed);
        let token = admin.cluster.join_token("r1", MINUTE_NS).unwrap();
        node.cluster.join(&node.join(Some(token))).unwrap();
        node
    }
}

/// Somebody on the network, who proves the key of this seed.
struct Caller {
    key: PublicKey,
    seed: u8,
    index: RemoteIndex,
    cluster: RemoteCluster<cas_net::Connection>,
    rights: RemoteRights<cas_net::Connection>,
}

impl Caller {
    fn new(to: &Address, seed: u8) -> Self {
        let settings = Settings { patience: PATIENCE, reconnect: Duration::from_millis(200), ..Settings::default() };
        let network = Network::new(Identity::from_seed(&[seed; 32]), settings).unwrap();
        let index = RemoteIndex::new(&network, to);
        let (cluster, rights) = (RemoteCluster(index.connection().clone()), RemoteRights(index.connection().clone()));
        Self { key: network.public_key(), seed, index, cluster, rights }
    }

    fn join(&self, token: Option<cas_net::cluster::JoinToken>) -> Join {
        let (node, disk) = (NodeId(self.key), DiskId([self.seed; 16]));
        Join { node, token, disk, capacity: 1000, addresses: vec!["127.0.0.1:1".into()] }
    }

    fn beat(&self) -> Beat {
        let Join { node, disk, addresses, .. } = self.join(None);
        let (space, load) = (Space { capacity: 1000, used: 1, free: 999 }, Load::default());
        Beat { node, disk, addresses, space, load, layout: 0, damage: vec![], takes_orders: true }
    }
}

fn denied<T: std::fmt::Debug>(answer: cas_net::Result<T>) {
    match answer {
        Err(ServiceError::Denied(_)) => {}
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn get(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_key_that_nobody_knows_hears_nothing() {
    let served = Served::new();
    let stranger = served.caller(1);
    denied(stranger.index.vaults());
    denied(stranger.index.status());
    denied(stranger.cluster.nodes());
    denied(stranger.cluster.layout(0));
    denied(stranger.cluster.cluster_status());
    denied(stranger.cluster.join_token("r1", MINUTE_NS));
    denied(stranger.cluster.locate(&[BlockId([0; 32])]));
    denied(stranger.cluster.report(&[]));
    denied(stranger.rights.users());
    denied(stranger.rights.clock());
    denied(stranger.cluster.join(&stranger.join(None)));
    let guess = Login { user: "ada".into(), password: Password::new("wrong, of course"), label: String::new() };
    denied(stranger.rights.login(&guess));
    assert!(matches!(stranger.cluster.beat(&stranger.beat()), Err(ServiceError::NotFound { .. })));
}

#[test]
fn a_token_lets_one_node_in_and_a_node_speaks_for_itself_alone() {
    let served = Served::new();
    let admin = served.admin();
    let token = admin.cluster.join_token("r1", MINUTE_NS).unwrap();
    let (node, other) = (served.caller(2), served.caller(3));
    denied(node.cluster.join(&other.join(Some(token))));
    let joined = node.cluster.join(&node.join(Some(token))).unwrap();
    assert_eq!((joined.rack.as_str(), joined.index), ("r1", served.running().public_key()));
    denied(other.cluster.join(&other.join(Some(token))));
    node.cluster.join(&node.join(None)).unwrap();

    assert!(node.cluster.beat(&node.beat()).unwrap().layout > 0);
    let layout = node.cluster.layout(0).unwrap().unwrap();
    assert_eq!(layout.nodes[0].rack, "r1");
    assert_eq!(node.cluster.revocations(Epoch(u64::MAX)).unwrap().unwrap().devices, []);
    let third = served.join(&admin, 4);
    denied(node.cluster.beat(&third.beat()));
    denied(node.cluster.join_token("r1", MINUTE_NS));
    denied(node.cluster.change_node(NodeId(node.key), &NodeChange::Drain));
    let answer = [(Delete { id: BlockId([1; 32]), epoch: Epoch(1) }, Deleted::Gone)];
    denied(node.index.deleted(NodeId(third.key), &answer));
    node.index.deleted(NodeId(node.key), &answer).unwrap();
    denied(node.index.vaults());
    denied(node.index.add_node(NodeId(other.key)));
    denied(node.rights.users());
}

#[test]
fn people_do_what_their_roles_let_them() {
    let served = Served::new();
    let admin = served.admin();
    let bob = NewUser { name: "bob".into(), password: Some(password()), may_found: false };
    admin.rights.add_user(&bob).unwrap();
    let caller = served.caller(7);
    caller.rights.login(&Login { user: "bob".into(), password: password(), label: "laptop".into() }).unwrap();
    assert_eq!(caller.index.vaults().unwrap(), []);
    denied(caller.index.status());
    denied(caller.index.condemn(10));
    denied(caller.cluster.runs(10));
    denied(caller.cluster.ask_run("gc"));
    let vault = KeyringObject::parse(&keyring_object(1)).unwrap().vault();
    let start = StartSession { vault, domain: support::domain(), device: caller.key, label: String::new() };
    denied(caller.index.start_session(&start));
    denied(caller.cluster.join_token("r1", MINUTE_NS));
    assert_eq!(caller.cluster.nodes().unwrap(), []);
    admin.rights.revoke_device(&caller.key).unwrap();
    denied(caller.cluster.nodes());
    denied(caller.index.vaults());
}

#[test]
fn what_was_answered_outlives_a_shutdown_and_a_death() {
    let mut served = Served::new();
    let admin = served.admin();
    served.join(&admin, 2);
    let begun = Instant::now();
    let tail = served.running.take().unwrap().shutdown(2 * PATIENCE).unwrap();
    eprintln!("shut down after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(tail.log_tail < 1 << 20);
    assert!(matches!(admin.cluster.nodes(), Err(ServiceError::Unreachable { .. })));

    served.running = Some(serve::serve(options(served.dir.path())).unwrap());
    let busy = serve::serve(options(served.dir.path()));
    assert!(matches!(busy, Err(ServiceError::Busy(_))), "{busy:?}");
    assert!(matches!(serve::console(served.dir.path()), Err(ServiceError::Busy(_))));
    let again = served.caller(200);
    assert_eq!(again.rights.whoami().unwrap().device.user, "ada");
    served.join(&again, 3);
    drop(served.running.take());
    served.running = Some(serve::serve(options(served.dir.path())).unwrap());
    assert_eq!(served.caller(200).cluster.nodes().unwrap().len(), 2);
    drop(served.running.take());
    let (index, _console) = serve::console(served.dir.path()).unwrap();
    assert_eq!(index.nodes().unwrap().len(), 2);
}

#[test]
fn init_makes_one_index_and_takes_up_what_was_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let key = init(dir.path());
    let again = NewUser { name: "ada".into(), password: Some(password()), may_found: true };
    denied(serve::init(dir.path(), &again));
    let begun = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("key"), begun.path().join("key")).unwrap();
    assert_eq!(init(begun.path()), key, "a key that is there is kept");
    let other = NewUser { name: "eve".into(), password: Some(password()), may_found: true };
    denied(serve::init(dir.path(), &other));
    let (_, console) = serve::console(dir.path()).unwrap();
    assert_eq!(console.users().unwrap().len(), 1);
    assert!(matches!(serve::console(&dir.path().join("none")), Err(ServiceError::NotFound { .. })));
}

#[test]
fn a_silent_node_becomes_suspect_then_down_and_is_back_when_it_beats() {
    const MS: i64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let mut options = options(dir.path());
    options.index.liveness =
        liveness::Settings { suspect_ns: 400 * MS, down_ns: 900 * MS, ..liveness::Settings::default() };
    let served = Served { running: Some(serve::serve(options).unwrap()), dir };
    let admin = served.admin();
    let (quiet, loud) = (served.join(&admin, 2), served.join(&admin, 3));
    let health = |caller: &Caller| {
        let nodes = admin.cluster.nodes().unwrap();
        nodes.iter().find(|node| node.node.0 == caller.key).unwrap().health
    };
    for expected in [Health::Suspect, Health::Down] {
        until("it is seen", || {
            loud.cluster.beat(&loud.beat()).unwrap();
            health(&quiet) == expected
        });
        assert_eq!(health(&loud), Health::Up);
    }
    assert!(!admin.cluster.cluster_status().unwrap().is_healthy());
    until("it is trusted again", || {
        quiet.cluster.beat(&quiet.beat()).unwrap();
        health(&quiet) == Health::Up
    });
}

#[test]
fn metrics_and_health_are_shown_to_whoever_asks_and_nothing_else_is() {
    let served = Served::new();
    let admin = served.admin();
    served.join(&admin, 2);
    let at = served.running().http().unwrap();
    let metrics = get(at, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for line in [
        "HTTP/1.1 200",
        "cas_epoch ",
        "cas_node_health{node=",
        "cas_requests_total{family=\"rights\",request=\"LogIn\",end=\"ok\"} 1",
        "cas_request_seconds_count{family=\"cluster\",request=\"JoinCluster\"} 1",
        "cas_held 0",
        "cas_run_under_way{task=\"gc\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(get(at, "GET /healthz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
    assert!(get(at, "GET /key HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get(at, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").starts_with("HTTP/1.1 405"));
}

/// A page and its block, pushed by the admin through the connection, on a node that is played here.
struct Pushed {
    ids: Vec<BlockId>,
}

fn push(admin: &Caller, node: &MemNode) -> Pushed {
    let keyring = keyring_object(1);
    let vault = KeyringObject::parse(&keyring).unwrap().vault();
    let start = StartSession { vault, domain: support::domain(), device: admin.key, label: "push".into() };
    let session = admin.index.start_session(&start).unwrap().session;
    let leaf: Header = support::data(1);
    let root = support::page(2, &[leaf.id()]);
    let ids = vec![leaf.id(), root.id()];
    let have = admin.index.have(session, &ids).unwrap();
    assert_eq!(have.present, [false, false]);
    let mut receipts = vec![node.put_headers(&have.grant, &[leaf, root.clone()])];
    let registration = Registration { headers: vec![root.encode()], receipts: receipts.clone() };
    assert_eq!(admin.index.register(session, registration).unwrap().missing, []);
    assert_eq!(admin.index.have(session, &ids).unwrap().present, [true, true]);
    let id = BlockId::of_object(Kind::Keyring, &keyring);
    let grant = admin.index.grant(session).unwrap();
    receipts = vec![node.put_all(&grant, vec![(Kind::Keyring, DomainId::ZERO, id, keyring.clone())])];
    admin.index.put_keyring(&keyring, &receipts).unwrap();
    admin.index.close_session(session).unwrap();
    Pushed { ids }
}

#[test]
fn what_nobody_references_is_collected_by_asking_and_deleted_by_beats() {
    let served = Served::new();
    let admin = served.admin();
    let node = served.join(&admin, 2);
    let memory = MemNode::new(2);
    let pushed = push(&admin, &memory);
    assert!(admin.cluster.locate(&pushed.ids).unwrap().iter().all(Option::is_some));
    admin.cluster.ask_run("gc").unwrap();
    assert!(matches!(admin.cluster.ask_run("nothing"), Err(ServiceError::NotFound { .. })));
    let ended = || admin.cluster.runs(10).unwrap().into_iter().find(|run| run.ended_ns.is_some());
    until("a run ends", || ended().is_some());
    let run = ended().unwrap();
    assert_eq!((run.task.as_str(), &run.end, run.items), ("gc", &RunEnd::Done, 2), "{run:?}");
    assert!(run.bytes > 0 && run.slot_s.is_none());

    let orders = node.cluster.beat(&node.beat()).unwrap().orders;
    let deletes: Vec<_> =
        orders.into_iter().filter_map(|order| if let Order::Delete(d) = order { Some(d) } else { None }).collect();
    let deletes = deletes.concat();
    assert_eq!(deletes.len(), 2);
    let answers = cas_net::Node::delete(&memory, &deletes).unwrap();
    let answers: Vec<_> = deletes.into_iter().zip(answers).collect();
    node.index.deleted(NodeId(node.key), &answers).unwrap();
    assert_eq!(admin.index.status().unwrap().condemned, 0);
    assert_eq!(node.cluster.beat(&node.beat()).unwrap().orders.len(), 0);
}

#[test]
fn an_exported_index_is_restored_into_a_new_era_and_sweeps_nothing_until_it_is_released() {
    let served = Served::new();
    let admin = served.admin();
    let node = served.join(&admin, 2);
    let pushed = push(&admin, &MemNode::new(2));
    let (old, place) = (served.dir.path().to_owned(), tempfile::tempdir().unwrap());
    drop(served.running);
    let mut options_with = options(&old);
    options_with.backups = Some(Backups { dir: place.path().to_owned(), keep: 2 });
    let running = serve::serve(options_with).unwrap();
    for runs in 1..=3 {
        running.ask(Task::Backup);
        until("an export is written", || running.runs().len() == runs);
        assert_eq!(running.runs().last().unwrap().end, End::Done);
        std::thread::sleep(Duration::from_millis(1100)); // Names are seconds.
    }
    let epoch = running.index().durable_epoch();
    running.shutdown(2 * PATIENCE).unwrap();
    let mut exports: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    exports.sort();
    assert_eq!(exports.len(), 2, "{exports:?}");
    let export = exports.last().unwrap();
    assert!(backup::verify(export).unwrap().rows > 0);

    let seed = serve::seed(&old).unwrap();
    let index_options = cas_index::Options { cache_bytes: 8 << 20, ..cas_index::Options::new(seed) };
    denied(backup::restore(export, &old, &index_options));
    let new = tempfile::tempdir().unwrap();
    let other_key = cas_index::Options::new([77; 32]);
    denied(backup::restore(export, new.path(), &other_key));
    let restored = backup::restore(export, new.path(), &index_options).unwrap();
    assert!(restored.epoch.era() > epoch.era() && restored.nodes == 1);
    std::fs::copy(old.join("key"), new.path().join("key")).unwrap();

    let served = Served { running: Some(serve::serve(options(new.path())).unwrap()), dir: new };
    assert!(served.running().is_held());
    let (admin, node) = (served.caller(200), Caller::new(&served.running().address().unwrap(), node.seed));
    assert_eq!(admin.rights.whoami().unwrap().device.user, "ada");
    let rows = admin.index.rows(&pushed.ids).unwrap();
    assert!(rows.iter().all(Option::is_some));
    let located = admin.cluster.locate(&pushed.ids).unwrap();
    assert!(located.iter().flatten().all(|located| located.nodes.is_empty()), "no node is believed: {located:?}");
    denied(admin.index.condemn(10));
    let orders = node.cluster.beat(&node.beat()).unwrap().orders;
    assert!(orders.iter().any(|order| matches!(order, Order::Floor { .. })), "it has to say what it holds");
    assert_eq!(node.cluster.strays(NodeId(node.key), &[BlockId([1; 32])]).unwrap(), []);
    served.running().ask(Task::Gc);
    until("a run ends", || !served.running().runs().is_empty());
    assert!(matches!(&served.running().runs()[0].end, End::Held(why) if why.contains("restored")));
    served.running().release().unwrap();
    assert!(!served.running().is_held() && !backup::is_held(served.dir.path()));
    let stray = node.cluster.strays(NodeId(node.key), &[BlockId([1; 32])]).unwrap();
    assert_eq!(stray.len(), 1, "now what nobody knows may go");
}

#[test]
fn schedules_run_their_slots_and_the_history_outlives_restarts() {
    let mut served = Served::new();
    served.running().ask(Task::Retention);
    until("a run ends", || served.running().runs().len() == 1);
    served.running.take().unwrap().shutdown(2 * PATIENCE).unwrap();
    assert_eq!(serve::history::read(served.dir.path()).unwrap()[0].task, Task::Retention);
    let ahead = Arc::new(AtomicI64::new(0));
    let mut with_schedule = options(served.dir.path());
    let (machine, read) = (with_schedule.index.clock.clone(), ahead.clone());
    // In five minutes, and then every hour.
    let slot_s = (machine().div_euclid(MINUTE_NS) + 5) * 60;
    let cron = format!("{} * * * *", slot_s / 60 % 60).parse().unwrap();
    with_schedule.schedules = vec![Schedule { task: Task::Gc, cron, jitter_s: 30 }];
    with_schedule.index.clock = Arc::new(move || machine() + read.load(Ordering::SeqCst));
    let running = serve::serve(with_schedule).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(running.runs().len(), 1, "no slot has passed");
    ahead.store(6 * MINUTE_NS, Ordering::SeqCst);
    until("the slot is run", || running.runs().len() == 2);
    assert_eq!(running.runs()[1].cause, serve::Cause::Slot(slot_s));
    ahead.store(30 * MINUTE_NS, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(running.runs().len(), 2, "each slot is run once");
}
