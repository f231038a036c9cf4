//! Servers of a test: started on any port, found by what they print, ended with the test.

use super::PASSWORD;
use super::support::{Desk, Done};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take: far more than it does, since tests share two cores.
const DEADLINE: Duration = Duration::from_secs(120);

/// A process that is killed with the test.
struct Server {
    process: Child,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// An index, nodes by the name of their racks, and people with a home each.
pub struct Cluster {
    pub desk: Desk,
    pub address: String,
    servers: BTreeMap<String, Server>,
    /// Of nodes.
    addresses: BTreeMap<String, String>,
}

impl Cluster {
    /// No server yet.
    pub fn none() -> Self {
        Self { desk: Desk::new(), address: String::new(), servers: BTreeMap::new(), addresses: BTreeMap::new() }
    }

    /// An index, a node in each rack, and Ada, who is admin and logged in.
    pub fn start(racks: &[&str], pool: &str) -> Self {
        let mut cluster = Self::none();
        cluster.serve_index();
        for rack in racks {
            cluster.join(rack, &[]);
        }
        if racks.len() > 1 {
            cluster.ada(["layout", "set-pool", "default", pool]).expect(0);
        }
        cluster
    }

    /// Makes the first user where there is none, serves the index, and logs Ada in.
    pub fn serve_index(&mut self) {
        let password = self.secret(PASSWORD);
        self.run("ada", &["index", "init", "index", "--admin", "ada", "--password-file", &password]).expect(0);
        let index = ["index", "serve", "index", "--listen", "127.0.0.1:0", "--http", "none", "--log-json"];
        self.address = self.spawn("index", "host", &index);
        self.login("ada", "ada", PASSWORD);
    }

    /// `kill -9` for the index, and all of its folder gone but the key.
    pub fn lose_index(&mut self) {
        self.kill("index");
        let (dir, kept) = (self.desk.path("index"), self.desk.path("key"));
        fs::rename(dir.join("key"), &kept).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        fs::rename(&kept, dir.join("key")).unwrap();
    }

    fn join(&mut self, rack: &str, more: &[&str]) {
        let token = self.ada(["node", "join-token", "--rack", rack]).expect(0).stdout;
        let address = self.address.clone();
        let join = ["--join", &address, "--token", token.trim(), "--capacity", "1G"];
        self.node(rack, &format!("node-{rack}"), &[&join, more].concat());
    }

    /// Stops a node, and lets it join the index that is there now.
    pub fn rejoin(&mut self, rack: &str) {
        self.kill(rack);
        self.join(rack, &["--rejoin"]);
    }

    /// The addresses of all nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.addresses.values().cloned().collect()
    }

    fn node(&mut self, rack: &str, dir: &str, join: &[&str]) {
        let serve = ["node", "serve", dir, "--listen", "127.0.0.1:0", "--beat", "100ms"];
        let address = self.spawn(rack, "host", &[&serve[..], join].concat());
        self.addresses.insert(rack.to_owned(), address);
    }

    /// Starts a node again that has joined.
    pub fn serve(&mut self, rack: &str) {
        self.node(rack, &format!("node-{rack}"), &[]);
    }

    /// Starts `cas up`.
    pub fn up(&mut self, who: &str, args: &[&str]) {
        self.address = self.spawn("up", who, args);
    }

    /// Starts a server; answers the line that it prints.
    fn spawn(&mut self, name: &str, who: &str, args: &[&str]) -> String {
        let log = self.desk.path(&format!("{name}.log"));
        let mut command = self.command(who, args);
        let made = File::options().create(true).append(true).open(&log).unwrap();
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(made).spawn().unwrap();
        let out = process.stdout.take().unwrap();
        self.servers.insert(name.to_owned(), Server { process, log });
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).for_each(|l| _ = sender.send(l)));
        receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("cas {} prints no address", args.join(" ")))
    }

    fn command(&self, who: &str, args: &[&str]) -> Command {
        let mut command = self.desk.command(args);
        for (name, dir) in [("DATA", "data"), ("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state")] {
            command.env(format!("XDG_{name}_HOME"), self.desk.path(&format!("home-{who}")).join(dir));
        }
        command
    }

    /// A command of somebody.
    pub fn run(&self, who: &str, args: &[&str]) -> Done {
        self.type_in(who, args, "")
    }

    /// A command of somebody, with something on its standard input.
    pub fn type_in(&self, who: &str, args: &[&str], input: &str) -> Done {
        let mut command = self.command(who, args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        Done {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A command of Ada's.
    pub fn ada<const N: usize>(&self, args: [&str; N]) -> Done {
        self.run("ada", &args)
    }

    /// Logs in with a password.
    pub fn login(&self, who: &str, user: &str, password: &str) {
        let file = self.secret(password);
        self.run(who, &["login", &self.address, "--user", user, "--password-file", &file]).expect(0);
    }

    /// A file with a secret.
    pub fn secret(&self, text: &str) -> String {
        let path = self.desk.path(&format!("secret-{}", text.replace(' ', "-")));
        fs::write(&path, format!("{text}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The key of the node in a rack.
    pub fn key_of(&self, rack: &str) -> String {
        let address = &self.addresses[rack];
        address.strip_prefix("cas://").and_then(|rest| rest.split_once('@')).unwrap().0.to_owned()
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        drop(self.servers.remove(name));
    }

    /// Asks all to end, and expects that they do so well. The index last.
    pub fn end(&mut self) {
        let mut names: Vec<String> = self.servers.keys().cloned().collect();
        names.sort_by_key(|name| name == "index");
        for name in names {
            let mut server = self.servers.remove(&name).unwrap();
            let id = rustix::process::Pid::from_child(&server.process);
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
            let mut code = None;
            eventually(&format!("{name} ends"), || {
                code = server.process.try_wait().unwrap();
                code.is_some()
            });
            let log = fs::read_to_string(&server.log).unwrap();
            assert_eq!(code.and_then(|status| status.code()), Some(0), "{name}: {log}");
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {} s", DEADLINE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}
