//! A town: an index and six nodes in three racks, each a process of its own behind a relay of its own, and people's devices.
//!
//! Times are short: a node is suspect after some seconds and down after some more, a silent push is given up after as many.

use crate::desk::Desk;
use crate::dice::Dice;
use crate::program::Done;
use crate::relay::Relay;
use crate::server::Server;
use crate::sky::{Party, Sky};
use serde_json::Value;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse battery";
pub const NODES: usize = 6;
pub const RACKS: usize = 3;
/// Silence until readers avoid a node, until it is healed, until a push is given up.
const SILENCES: [&str; 6] = ["--suspect-after", "4s", "--down-after", "8s", "--lease", LEASE_TEXT];
const LEASE_TEXT: &str = "5s";
/// Longer than a silent push lives.
pub const LEASE: Duration = Duration::from_secs(7);
/// Longer than a node is silent before it is given up.
pub const DOWN: Duration = Duration::from_secs(9);
/// How long everything may take to be where it should be.
const REST: Duration = Duration::from_secs(120);

/// See the module.
pub struct Town {
    pub sky: Arc<Sky>,
    pub index: Server,
    pub nodes: Vec<Server>,
    /// Of the admin, who is also the owner of the vault.
    pub office: Desk,
    pub address: String,
    /// The only vault.
    pub vault: String,
    relays: Vec<Relay>,
    dir: TempDir,
}

impl Town {
    /// Builds it: three copies of everything.
    pub fn build(dice: &Dice) -> Result<Self, String> {
        Self::with(NODES, "r3", dice)
    }

    pub fn with(nodes: usize, pool: &str, dice: &Dice) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("cas-siege-").tempdir().expect("a folder");
        let sky = Sky::new(dice.clone());
        let office = Desk::new(dir.path().join("office"));
        let place = dir.path().join("index");
        let made = office.cas(["index", "init", &text(&place), "--admin", "ada", "--json"])?.ok()?;
        let key = field(&made.summary()?, "key")?;
        let port = free_port();
        let relay = Relay::start(Party::Index, port, sky.clone());
        let address = format!("cas://{key}@127.0.0.1:{}", relay.port());
        let args = index_args(&text(&place), port, relay.port());
        let index = Server::new(Party::Index, port, Desk::new(dir.path().join("index-desk")), args, sky.clone());
        index.start()?;
        office.cas(["login", &address, "--user", "ada"])?.ok()?;
        let mut town =
            Self { sky, index, nodes: vec![], office, address, vault: String::new(), relays: vec![relay], dir };
        for _ in 0..nodes {
            town.add_node()?;
        }
        town.start_all()?;
        town.office.cas(["layout", "apply", "--pool", pool])?.ok()?;
        let founded = town.office.cas(["init", "--blocks", "fine", "--json"])?.ok()?;
        town.vault = field(&founded.summary()?, "vault")?;
        town.rest()?;
        Ok(town)
    }

    /// One more, in the next rack. It does not run yet, and holds nothing before a layout is applied.
    fn add_node(&mut self) -> Result<(), String> {
        let n = self.nodes.len();
        let (server, relay) = self.new_node(n)?;
        self.nodes.push(server);
        self.relays.push(relay);
        Ok(())
    }

    /// Another one, in the place of one that is dead.
    pub fn replace(&mut self, n: usize) -> Result<(), String> {
        (self.nodes[n], self.relays[n + 1]) = self.new_node(n)?;
        Ok(())
    }

    fn new_node(&self, n: usize) -> Result<(Server, Relay), String> {
        let port = free_port();
        let relay = Relay::start(Party::Node(n), port, self.sky.clone());
        let args = self.node_args(&self.node_dir(n), n, port, relay.port())?;
        let desk = Desk::new(self.dir.path().join(format!("node{n}-desk{port}")));
        Ok((Server::new(Party::Node(n), port, desk, args, self.sky.clone()), relay))
    }

    fn node_args(&self, dir: &std::path::Path, n: usize, port: u16, relay: u16) -> Result<Vec<String>, String> {
        let rack = format!("rack{}", n % RACKS);
        let token = self.office.cas(["node", "join-token", "--rack", &rack, "--json"])?.ok()?;
        let token = field(&token.summary()?, "token")?;
        let (listen, advertise) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{relay}"));
        let args = ["node", "serve", &text(dir), "--join", &self.address, "--token", &token, "--capacity", "1G"];
        let more = ["--listen", &listen, "--advertise", &advertise, "--grace", "1s", "--json"];
        Ok(args.iter().chain(&more).map(ToString::to_string).collect())
    }

    /// Where a node keeps what it holds.
    pub fn node_dir(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("node{n}"))
    }

    /// The key under which a node is known: whatever reaches it through this relay.
    pub fn node_key(&self, n: usize) -> Result<String, String> {
        let nodes = self.office.cas(["nodes", "--json"])?.ok()?;
        let place = self.reached_at(n);
        let is_it = |node: &Value| node["addresses"].as_array().is_some_and(|all| all.iter().any(|at| at == &place));
        nodes.objects().iter().find(|node| is_it(node)).map_or(Err(format!("no node at {place}")), |n| field(n, "node"))
    }

    /// Where others reach a node.
    pub fn reached_at(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.relays[n + 1].port())
    }

    /// A node that runs joins an index that has never heard of it.
    pub fn rejoin(&mut self, n: usize) -> Result<(), String> {
        self.nodes[n].kill();
        let (port, relay) = (self.nodes[n].port, self.relays[n + 1].port());
        let args = self.node_args(&self.node_dir(n), n, port, relay)?;
        let once = args.iter().cloned().chain(["--rejoin".to_owned()]).collect();
        self.nodes[n].args = once;
        self.nodes[n].start()?;
        self.nodes[n].args = args;
        Ok(())
    }

    /// A folder for a new device.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts whatever does not run.
    pub fn start_all(&self) -> Result<(), String> {
        self.index.start()?;
        self.nodes.iter().try_for_each(Server::start)
    }

    /// All servers.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.index).chain(&self.nodes)
    }

    /// A fault of any server that nobody killed.
    pub fn faults(&self) -> Result<(), String> {
        self.servers().find_map(Server::fault).map_or(Ok(()), Err)
    }

    /// The sky clears, everybody is there; waits until everything is where it should be.
    pub fn rest(&self) -> Result<Done, String> {
        self.sky.clear();
        self.servers().for_each(Server::thaw);
        self.faults()?;
        self.start_all()?;
        let began = Instant::now();
        loop {
            let done = self.office.cas(["status", "--wait", "--timeout", "30s", "--json"])?;
            if done.code == 0 {
                return Ok(done);
            }
            self.faults()?;
            if began.elapsed() > REST {
                return Err(format!("it does not come to rest: {done:#?}"));
            }
        }
    }

    /// What the servers said last, for whoever looks for the reason of a failure.
    pub fn last_words(&self) -> String {
        let words = self.servers().map(|server| format!("--- {:?}\n{}", server.party, server.last_words(25)));
        words.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.servers().for_each(Server::thaw);
        self.sky.end();
        if std::env::var_os("CAS_SIEGE_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}

fn index_args(dir: &str, port: u16, relay: u16) -> Vec<String> {
    let (listen, advertise) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{relay}"));
    let mut args = vec!["index", "serve", dir, "--listen", &listen, "--advertise", &advertise];
    args.extend([
        "--http",
        "none",
        "--gc",
        "none",
        "--scrub",
        "none",
        "--retention",
        "none",
        "--grace",
        "1s",
        "--json",
    ]);
    args.extend(SILENCES);
    args.into_iter().map(str::to_owned).collect()
}

/// A free port that the system gives to nobody who asks for any (those begin at 32768): a server can be started there again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16;
    let ports = || 10_240 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
    std::iter::repeat_with(ports)
        .find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok())
        .expect("it goes on for ever")
}

fn text(path: &std::path::Path) -> String {
    path.to_str().expect("in UTF-8").to_owned()
}

/// A text in a result.
pub fn field(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {value}"))
}
