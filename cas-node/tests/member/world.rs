//! A small cluster for tests: nodes in folders of their own, clients with tickets, and the index that they know.

use crate::index::{FakeIndex, TOKEN, start_index};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, Sum};
use cas_core::layout::{PARTITIONS, Pool};
use cas_core::signing::SigningKey;
use cas_net::address::Address;
use cas_net::calls::Family;
use cas_net::cluster::*;
use cas_net::rights::calls::ShowTicket;
use cas_net::rights::ticket::{Ticket, TicketRights};
use cas_net::server::{NodeHandler, Peer, Server, ServerSettings, Services};
use cas_net::{
    Grant, Identity, Introduce, Network, Node, NodeId, PutBlock, RawCall, Receipt, RemoteNode, Result, ServiceError,
    SessionId,
};
use cas_node::Options;
use cas_node::member::{self, JoinOptions, Member, MemberOptions, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long a node that is shut down answers what was begun.
pub const GRACE: Duration = Duration::from_secs(10);
pub const INDEX_SEED: [u8; 32] = [9; 32];
pub const DOMAIN: DomainId = DomainId([3; 16]);
pub const HOUR_NS: i64 = 3600 * 1_000_000_000;
pub const NOW_NS: i64 = 1_800_000_000 * 1_000_000_000;

pub fn index_key() -> SigningKey {
    SigningKey::from_seed(&INDEX_SEED)
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub fn impatient() -> cas_net::Settings {
    let reconnect = Duration::from_millis(300);
    cas_net::Settings { patience: Duration::from_secs(20), reconnect, busy: reconnect, ..Default::default() }
}

pub fn grant(epoch: u64) -> Grant {
    Grant::sign(&index_key(), SessionId(1), Epoch(epoch), false)
}

pub fn healing(epoch: u64) -> Grant {
    Grant::sign(&index_key(), SessionId(0), Epoch(epoch), true)
}

/// The index behind a server.
pub struct World {
    pub index: Arc<FakeIndex>,
    server: Option<Server>,
    network: Arc<Network>,
    pub address: Address,
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let index = Arc::new(FakeIndex::default());
        index.said().time_ns = NOW_NS;
        let network = Network::new(Identity::from_seed(&INDEX_SEED), impatient()).unwrap();
        let server = start_index(&network, &index, loopback());
        let address = server.address().unwrap();
        Self { index, server: Some(server), network, address, dir: tempfile::tempdir().unwrap() }
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node that has joined, in the folder of this name.
    pub fn join(&self, name: &str) -> Joined {
        member::join(&self.joining(name)).unwrap()
    }

    pub fn joining(&self, name: &str) -> JoinOptions {
        JoinOptions {
            dir: self.dir(name),
            index: self.address.clone(),
            token: Some(TOKEN),
            capacity: 1 << 30,
            listen: loopback(),
            addresses: Vec::new(),
            network: impatient(),
            tune,
        }
    }

    pub fn options(&self, name: &str) -> MemberOptions {
        MemberOptions { settings: settings(), network: impatient(), tune, ..MemberOptions::new(&self.dir(name)) }
    }

    pub fn serve(&self, name: &str) -> Member {
        self.serve_tuned(name, tune)
    }

    /// With other options of its store.
    pub fn serve_tuned(&self, name: &str, tune: fn(&mut Options)) -> Member {
        member::serve(MemberOptions { tune, ..self.options(name) }).unwrap()
    }

    /// A node that joins and serves.
    pub fn node(&self, name: &str) -> Member {
        self.join(name);
        self.serve(name)
    }

    /// A layout in which these nodes are members of all partitions of which `is_theirs` holds.
    pub fn lay_out(&self, version: u64, nodes: &[Info], is_theirs: impl Fn(usize, u16) -> bool) {
        let infos = nodes.iter().map(|node| node.info()).collect();
        let members = |partition| {
            let theirs = (0..nodes.len()).filter(|at| is_theirs(*at, partition));
            theirs.map(|at| cas_net::cluster::Member { node: at as u16, flags: 0 }).collect()
        };
        let partitions = (0..PARTITIONS as u16).map(members).collect();
        self.index.said().layout = Some(Layout { version, pool: Pool::R3 as u8, nodes: infos, partitions });
    }

    /// The same, all members of everything; returns when all of these members know.
    pub fn all(&self, members: &[&Member], others: &[Info]) {
        let infos: Vec<Info> = members.iter().map(|m| Info::of(m)).chain(others.iter().cloned()).collect();
        let version = self.index.said().layout.as_ref().map_or(0, |layout| layout.version) + 1;
        self.lay_out(version, &infos, |_, _| true);
        for member in members {
            until(|| member.layout() == version);
        }
    }

    pub fn order(&self, member: &Member, order: Order) {
        let node = NodeId(member.public_key());
        self.index.said().orders.entry(node).or_default().push(order);
    }

    pub fn beats(&self, member: &Member) -> Vec<Beat> {
        self.index.said().beats.get(&NodeId(member.public_key())).cloned().unwrap_or_default()
    }

    /// Waits until a whole beat has begun and ended.
    pub fn beat(&self, member: &Member) {
        let before = self.beats(member).len();
        until(|| self.beats(member).len() >= before + 2);
    }

    pub fn stop_index(&mut self) {
        self.server.take().unwrap().shutdown(Duration::from_secs(1));
    }

    pub fn start_index(&mut self) {
        let at = self.address.place().parse().unwrap();
        self.server = Some(start_index(&self.network, &self.index, at));
    }
}

pub fn tune(options: &mut Options) {
    (options.soft_free, options.reserve) = (0, 0);
}

fn settings() -> Settings {
    let day = Duration::from_secs(24 * 3600);
    Settings {
        beat: Duration::from_millis(40),
        scrub_period: day,
        compact_pause: day,
        stray_period: day,
        ..Settings::default()
    }
}

/// A node for a layout.
#[derive(Clone)]
pub struct Info {
    pub node: NodeId,
    pub addresses: Vec<String>,
}

impl Info {
    pub fn of(member: &Member) -> Self {
        Self { node: NodeId(member.public_key()), addresses: vec![member.address().unwrap().place()] }
    }

    fn info(&self) -> NodeInfo {
        NodeInfo {
            node: self.node,
            rack: "r1".into(),
            weight: 1,
            addresses: self.addresses.clone(),
            want: NodeWant::Member,
            maintenance_until_ns: None,
            health: Health::Up,
            silent_ms: Some(0),
            space: Space::default(),
            load: Load::default(),
            partitions: PARTITIONS as u32,
        }
    }
}

/// A node that is not one of ours: it answers what a test wants.
pub struct Stranger {
    pub info: Info,
    _server: Server,
}

impl Stranger {
    pub fn new(seed: u8, node: impl Node + 'static) -> Self {
        let network = Network::new(Identity::from_seed(&[seed; 32]), impatient()).unwrap();
        let node: Arc<dyn Node> = Arc::new(node);
        let services = Services::new().with(Family::Node, NodeHandler::new(move |_: &Peer| Ok(node.clone())));
        let server = Server::start(&network, loopback(), services, ServerSettings::default()).unwrap();
        let addresses = vec![server.address().unwrap().place()];
        Self { info: Info { node: NodeId(network.public_key()), addresses }, _server: server }
    }
}

/// A client with a key of its own.
pub struct Client {
    pub key: PublicKey,
    pub network: Arc<Network>,
}

struct Shows(Vec<Ticket>);

impl Introduce for Shows {
    fn calls(&self) -> Vec<RawCall> {
        self.0.iter().map(|ticket| RawCall::of(&ShowTicket { ticket: *ticket })).collect()
    }
}

impl Client {
    pub fn new(seed: u8) -> Self {
        let network = Network::new(Identity::from_seed(&[seed; 32]), impatient()).unwrap();
        Self { key: network.public_key(), network }
    }

    pub fn ticket(&self, rights: TicketRights) -> Ticket {
        Ticket::sign(&index_key(), self.key, DOMAIN, rights, Epoch(10), NOW_NS + HOUR_NS)
    }

    /// A node, shown these tickets.
    pub fn at(&self, member: &Member, tickets: &[Ticket]) -> RemoteNode {
        let node = RemoteNode::new(&self.network, &member.address().unwrap());
        node.connection().introduce(Arc::new(Shows(tickets.to_vec())));
        node
    }

    /// A node, shown a ticket for everything.
    pub fn welcome(&self, member: &Member) -> RemoteNode {
        self.at(member, &[self.ticket(TicketRights::ReadWrite)])
    }
}

pub fn put(node: &RemoteNode, epoch: u64, block: &PutBlock) -> Receipt {
    let receipt = node.put(&grant(epoch), vec![block.clone()]).unwrap().wait().unwrap();
    assert!(receipt.is_genuine() && receipt.node == node.id());
    receipt
}

pub fn wanted(block: &PutBlock) -> CopyBlock {
    CopyBlock { id: block.id, sum: block.sum, len: block.bytes.len() as u32 }
}

/// An object, which does not say whose it is.
pub fn object(text: &str) -> PutBlock {
    let bytes = text.as_bytes().to_vec();
    let id = BlockId::of_object(Kind::Keyring, &bytes);
    PutBlock { id, kind: Kind::Keyring, domain: DOMAIN, sum: Sum::of(&bytes), bytes: bytes.into() }
}

/// Waits until something is so.
#[track_caller]
pub fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
pub fn denied<T: std::fmt::Debug>(found: Result<T>, why: &str) {
    match found {
        Err(ServiceError::Denied(said)) if said.contains(why) => {}
        other => panic!("expected a refusal because {why}, found {other:?}"),
    }
}

pub fn wipe(dir: &Path) {
    std::fs::remove_dir_all(dir.join("segments")).unwrap();
    let _ = std::fs::remove_file(dir.join("index.redb"));
}
