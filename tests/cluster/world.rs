//! The cluster: an index and six nodes in three racks, each with its own directory, port and key.

use crate::member::Member;
use cas_core::id::BlockId;
use cas_core::layout::Pool;
use cas_index::cluster::liveness;
use cas_index::serve::{self, Backups, Running, ServeOptions, Task};
use cas_net::address::Address;
use cas_net::cluster::{Cluster, ClusterStatus, Health, NodeChange, NodeInfo};
use cas_net::rights::{NewUser, Password};
use cas_net::{Identity, Index as _, Network, NodeId, RowState, StoredBlock, StoredRow};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const PASSWORD: &str = "correct horse battery";
/// Anything takes less, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const MS_NS: i64 = 1_000_000;
/// Silence until readers avoid a node.
const SUSPECT_NS: i64 = 1_000 * MS_NS;
/// Silence until its copies are made elsewhere.
const DOWN_NS: i64 = 2_500 * MS_NS;
/// Silence until nodes that vanished one by one would be down, and some more.
pub const DOWN: Duration = Duration::from_nanos(DOWN_NS as u64 + 1_000_000_000);
const RACKS: usize = 3;

/// What contents are drawn from.
pub fn seed() -> u64 {
    let seed = std::env::var("CAS_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("replay: CAS_TEST_SEED={seed} cargo test -p cas-tests --test cluster");
    seed
}

/// See the module.
pub struct World {
    pub index: Option<Running>,
    pub nodes: Vec<Member>,
    /// Asks nodes in the name of the index.
    network: Arc<Network>,
    down_ns: i64,
    listen: SocketAddr,
    dir: tempfile::TempDir,
}

impl World {
    /// Six nodes, three copies.
    pub fn new() -> Self {
        Self::with(6, "r3")
    }

    /// The same, and no node is declared down while a test lasts.
    pub fn patient() -> Self {
        Self::of(6, "r3", 3600 * 1000 * MS_NS)
    }

    pub fn with(nodes: usize, pool: &str) -> Self {
        Self::of(nodes, pool, DOWN_NS)
    }

    fn of(nodes: usize, pool: &str, down_ns: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admin = NewUser { name: "ada".into(), password: Some(Password::new(PASSWORD)), may_found: true };
        serve::init(&dir.path().join("index"), &admin).unwrap();
        let identity = Identity::from_seed(&serve::seed(&dir.path().join("index")).unwrap());
        let network = Network::new(identity, cas_net::Settings::default()).unwrap();
        let mut world = Self { index: None, nodes: Vec::new(), network, down_ns, listen: LOCAL, dir };
        world.start_index();
        (0..nodes).for_each(|_| world.add_node());
        world.apply(Some(pool));
        world.rest();
        world
    }

    /// Serves the index, at the port it had.
    pub fn start_index(&mut self) {
        let dir = self.index_dir();
        let mut options = ServeOptions::new(dir.clone(), serve::seed(&dir).unwrap());
        options.index.cache_bytes = 16 << 20;
        options.index.liveness =
            liveness::Settings { suspect_ns: SUSPECT_NS, down_ns: self.down_ns, ..liveness::Settings::default() };
        (options.listen, options.http, options.tick) = (self.listen, None, Duration::from_millis(50));
        options.schedules.clear();
        options.trash_ns = 0;
        options.backups = Some(Backups { dir: self.exports(), keep: 3 });
        let running = serve::serve(options).unwrap();
        self.listen.set_port(running.address().unwrap().port());
        self.index = Some(running);
    }

    pub fn index_dir(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    pub fn exports(&self) -> PathBuf {
        self.dir.path().join("exports")
    }

    /// Ends the index; of its directory nothing is left but the key.
    pub fn lose_index(&mut self) {
        drop(self.index.take());
        for entry in fs::read_dir(self.index_dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name != "key") {
                fs::remove_file(path).unwrap();
            }
        }
    }

    pub fn index(&self) -> &cas_index::Index {
        self.index.as_ref().unwrap().index()
    }

    pub fn address(&self) -> Address {
        self.index.as_ref().unwrap().address().unwrap()
    }

    /// One more node, in the next rack. A layout has to be applied before it holds anything.
    pub fn add_node(&mut self) {
        let n = self.nodes.len();
        let token = self.index().join_token(&format!("rack {}", n % RACKS), 3600 * 1000 * MS_NS).unwrap();
        let dir = self.dir.path().join(format!("node {n}"));
        self.nodes.push(Member::join(dir, self.address(), token));
    }

    /// The layout with all nodes.
    pub fn apply(&self, pool: Option<&str>) {
        let plan = self.index().plan_layout(pool).unwrap();
        self.index().apply_layout(&plan).unwrap();
    }

    pub fn change(&self, n: usize, change: NodeChange) {
        self.index().change_node(self.nodes[n].id(), &change).unwrap();
    }

    pub fn status(&self) -> ClusterStatus {
        self.index().cluster_status().unwrap()
    }

    pub fn info(&self, n: usize) -> NodeInfo {
        let id = self.nodes[n].id();
        self.index().nodes().unwrap().into_iter().find(|info| info.node == id).unwrap()
    }

    pub fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "never: {what}: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{what}: after {:.1} s", begun.elapsed().as_secs_f64());
    }

    pub fn until_health(&self, n: usize, health: Health) {
        self.until(&format!("node {n} is {health:?}"), |world| world.info(n).health == health);
    }

    /// A node comes back, and the index has heard it.
    pub fn start(&mut self, n: usize) {
        self.nodes[n].start();
        self.until_health(n, Health::Up);
    }

    /// Until everything is where it should be.
    pub fn rest(&self) {
        self.until("everything is where it should be", |world| world.status().is_healthy());
    }

    /// Has a task done and waits for it.
    pub fn run(&self, task: Task) -> serve::Run {
        let running = self.index.as_ref().unwrap();
        let before = running.runs().len();
        running.ask(task);
        self.until(&format!("{task} is done"), |_| running.runs().len() > before);
        running.runs().pop().unwrap()
    }

    pub fn rows(&self) -> Vec<StoredRow> {
        self.index().list_rows(None, usize::MAX).unwrap()
    }

    /// Laws 3, 4 and 5, at rest: every live row has all its copies on distinct nodes, in as many racks as there can be;
    /// nobody holds anything else; counts are right.
    pub fn check(&self) {
        let layout = self.index().layout(0).unwrap().unwrap();
        let replicas = layout.pool().map_or(0, Pool::replicas);
        let holding = layout.nodes.iter().filter(|info| info.partitions > 0);
        let all_racks: BTreeSet<&str> = holding.map(|info| info.rack.as_str()).collect();
        let rows = self.rows();
        let held = self.held();
        assert!(rows.iter().all(|row| row.state == RowState::Live), "{rows:?}");
        for row in &rows {
            let members: Vec<&NodeInfo> =
                layout.members(&row.id).iter().map(|member| layout.node(*member).unwrap()).collect();
            assert_eq!(members.len(), replicas);
            let racks: BTreeSet<&str> = members.iter().map(|info| info.rack.as_str()).collect();
            assert_eq!(racks.len(), replicas.min(all_racks.len()), "copies share a rack: {members:?}");
            for info in members {
                let block = held[&info.node].get(&row.id);
                assert!(block.is_some_and(|b| b.sum == row.sum), "{:?} lacks {}: {block:?}", info.node, row.id);
            }
        }
        let recount = self.index().recount().unwrap();
        assert!(recount.wrong.is_empty() && recount.dangling.is_empty(), "{recount:?}");
    }

    /// Law 5: what is nobody's is nowhere.
    pub fn check_nothing_else(&self) {
        let layout = self.index().layout(0).unwrap().unwrap();
        let known: BTreeSet<BlockId> = self.rows().iter().map(|row| row.id).collect();
        for (node, blocks) in self.held() {
            for id in blocks.keys() {
                assert!(known.contains(id), "{node:?} holds {id}, which nobody knows");
                assert!(layout.takes(&node, id), "{node:?} holds {id} for nothing");
            }
        }
    }

    /// What each node holds that runs.
    pub fn held(&self) -> BTreeMap<NodeId, BTreeMap<BlockId, StoredBlock>> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        running.map(|node| (node.id(), node.blocks(&self.network))).collect()
    }
}
