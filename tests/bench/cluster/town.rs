//! A cluster of processes on the loopback, and somebody who is logged in.

use super::figures::title;
use super::meter::{self, Cost};
use cas_tests::program;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct horse battery";
/// Anything takes less.
const PATIENCE: Duration = Duration::from_secs(150);

/// A server.
pub struct Server {
    name: String,
    process: Child,
    pub address: String,
}

/// See the module.
pub struct Town {
    dir: tempfile::TempDir,
    pub index: Server,
    pub nodes: Vec<Server>,
}

impl Server {
    /// Starts one; what it prints first is its address.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let err = File::create(log).expect("a log");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(err).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let address = lines.next().and_then(Result::ok);
        let address = address.unwrap_or_else(|| panic!("{name}: {}", fs::read_to_string(log).unwrap_or_default()));
        // Nobody may be held up by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { name: name.to_owned(), process, address }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// As kill -9 does.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Town {
    /// An index, so many nodes in as many racks, and a person with a vault.
    pub fn new(nodes: usize, pool: &str) -> Self {
        let dir = scratch();
        let password = dir.path().join("password");
        fs::write(&password, PASSWORD).expect("a file");
        let password = password.to_str().expect("a path").to_owned();
        run(dir.path(), &["index", "init", "index", "--admin", "ada", "--password-file", &password]);
        let serve = ["index", "serve", "index", "--listen", "127.0.0.1:0", "--http", "none"];
        let index = Server::start("index", command(dir.path(), &serve), &dir.path().join("index.log"));
        run(dir.path(), &["login", &index.address, "--user", "ada", "--password-file", &password]);
        let mut town = Self { dir, index, nodes: Vec::new() };
        (0..nodes).for_each(|n| town.join(n));
        town.cas(&["layout", "set-pool", "default", pool]);
        fs::create_dir(town.path("seed")).expect("a folder");
        fs::write(town.path("seed/file"), "a file").expect("a file");
        town.cas(&["push", "seed", "--name", "seed"]);
        town.rest();
        town
    }

    fn join(&mut self, n: usize) {
        let (rack, dir) = (format!("r{n}"), format!("node{n}"));
        let token = self.cas(&["node", "join-token", "--rack", &rack]);
        let index = self.index.address.clone();
        let serve = ["node", "serve", &dir, "--listen", "127.0.0.1:0", "--capacity", "100G", "--copy-rate", "0"];
        let join = ["--join", &index, "--token", token.trim()];
        let command = command(self.dir.path(), &[&serve[..], &join].concat());
        self.nodes.push(Server::start(&dir, command, &self.path(&format!("{dir}.log"))));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command of the person; answers what it prints.
    pub fn cas(&self, args: &[&str]) -> String {
        run(self.dir.path(), args)
    }

    pub fn status(&self) -> Value {
        let done = command(self.dir.path(), &["status", "--json"]).output().expect("it starts");
        serde_json::from_slice(&done.stdout).unwrap_or_default()
    }

    /// Until nothing is under way.
    pub fn rest(&self) {
        let until = Instant::now() + PATIENCE;
        while self.status()["healthy"] != true {
            assert!(Instant::now() < until, "it does not come to rest: {}", self.status());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// All its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().chain([&self.index]).map(Server::pid).collect()
    }

    /// CPU time of each so far.
    pub fn shares(&self) -> Vec<Duration> {
        self.pids().into_iter().map(meter::of).collect()
    }

    /// Who took how much of something.
    pub fn tell_shares(&self, what: &str, before: &[Duration], cost: &Cost) {
        let took: Vec<Duration> = self.shares().iter().zip(before).map(|(now, then)| *now - *then).collect();
        let (index, nodes) = took.split_last().expect("there is an index");
        let client = cost.cpu.saturating_sub(took.iter().sum());
        let seconds = |time: &Duration| format!("{:.2}", time.as_secs_f64());
        let nodes: Vec<String> = nodes.iter().map(seconds).collect();
        let (client, index) = (seconds(&client), seconds(index));
        eprintln!(
            "  {what}: {} s; CPU: client {client}, nodes {}, index {index}",
            seconds(&cost.wall),
            nodes.join(" + ")
        );
    }

    /// Key of a node.
    pub fn key(&self, n: usize) -> String {
        let rest = self.nodes[n].address.strip_prefix("cas://").expect("an address");
        rest.split('@').next().expect("a key").to_owned()
    }

    /// The most memory each server has had.
    pub fn tell_memory(&self) {
        title("peak memory of servers so far");
        for server in self.nodes.iter().chain([&self.index]) {
            println!("{:<44} {:>7.0} MB", server.name, meter::peak(server.pid()) as f64 / 1e6);
        }
    }
}

/// A folder in memory that is removed at the end.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("cas-bench-").tempdir_in(at()).expect("a folder in memory")
}

fn at() -> PathBuf {
    std::env::var_os("CAS_BENCH_DIR").map_or_else(|| "/dev/shm".into(), PathBuf::from)
}

/// Has so much memory at hand: on a virtual machine it costs more the first time.
pub fn warm(bytes: usize) {
    let file = tempfile::NamedTempFile::new_in(at()).expect("a file in memory");
    let part = vec![1; 1 << 20];
    (0..bytes >> 20).for_each(|_| (&mut file.as_file()).write_all(&part).expect("there is room"));
}

/// A command of somebody who lives in this folder.
pub fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(home).env_clear();
    for (name, dir) in [("DATA", "data"), ("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state")] {
        command.env(format!("XDG_{name}_HOME"), home.join(dir));
    }
    command
}

/// Runs it to its end, which has to be good.
pub fn run(home: &Path, args: &[&str]) -> String {
    let done = command(home, args).output().expect("it starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "cas {}: {:?} {said}", args.join(" "), done.status.code());
    String::from_utf8_lossy(&done.stdout).into_owned()
}
