//! A small cluster in one process: an index and its nodes, each in a rack of its own, for trying things out.
//!
//! Promise: started again in the same folder it is the same cluster. What it stores survives what a real one does, except the
//! machine. The admin's password lies in the folder, for its owner's eyes only.

use crate::entropy::random;
use crate::error::{ClientError, Result};
use crate::fleet;
use crate::store::directory::write_private;
use cas_core::layout::Pool;
use cas_index::serve::{Running, ServeOptions, console, init, seed, serve};
use cas_net::address::Address;
use cas_net::cluster::{Cluster, NodeInfo, NodeWant};
use cas_net::rights::{NewUser, Password, Rights};
use cas_net::{Index, ServiceError};
use cas_node::member::{JoinOptions, Member, MemberOptions, join, serve as serve_node};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the token of a node lives: it is used at once.
const TOKEN_NS: i64 = 60 * 1_000_000_000;
/// Between two beats of a node: what is ordered comes with their answers, and there are few nodes and no network.
const BEAT: Duration = Duration::from_millis(200);
/// The most nodes in one process.
pub const MAX_NODES: usize = 16;
/// Memory of the index for its tables, in bytes: it shares a machine with its nodes.
const INDEX_CACHE: usize = 128 << 20;

/// What to start.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Where everything lies.
    pub dir: PathBuf,
    /// How many nodes, at least; those that are there already stay.
    pub nodes: usize,
    /// Where the index listens; nodes take any port beside it.
    pub listen: SocketAddr,
    /// Where metrics are read.
    pub http: Option<SocketAddr>,
    /// Bytes each node may use; 0: what the disk has.
    pub capacity: u64,
    /// The name of the first user.
    pub admin: String,
}

/// A cluster that runs.
#[derive(Debug)]
pub struct LocalCluster {
    index: Running,
    nodes: Vec<Member>,
    password: PathBuf,
    admin: String,
}

impl LocalCluster {
    /// Makes it where there is none, and starts it.
    ///
    /// # Errors
    /// Ports are taken, another process runs it, or its folder holds something else.
    pub fn start(options: &LocalOptions) -> Result<Self> {
        if !(1..=MAX_NODES).contains(&options.nodes) {
            return Err(ClientError::Usage(format!("from 1 to {MAX_NODES} nodes run in one process")));
        }
        let (home, password) = (options.dir.join("index"), options.dir.join("password"));
        let admin = found(&options.dir, &home, &password, &options.admin)?;
        let mut serving = ServeOptions::new(home.clone(), seed(&home)?);
        (serving.listen, serving.http, serving.index.cache_bytes) = (options.listen, options.http, INDEX_CACHE);
        let index = serve(serving)?;
        let address = index.address()?;
        let mut started = Self { index, nodes: Vec::new(), password, admin };
        for number in 1..=options.nodes.max(nodes_in(&options.dir)) {
            let node = started.node(options, number, &address)?;
            started.nodes.push(node);
        }
        started.lay_out()?;
        Ok(started)
    }

    fn node(&self, options: &LocalOptions, number: usize, index: &Address) -> Result<Member> {
        let dir = options.dir.join(format!("node{number}"));
        let listen = SocketAddr::new(options.listen.ip(), 0);
        let member = || {
            let mut member = MemberOptions::new(&dir);
            (member.listen, member.settings.beat) = (Some(listen), BEAT);
            serve_node(member)
        };
        match member() {
            Err(ServiceError::NotFound { what: "membership of", .. }) => {}
            served => return Ok(served?),
        }
        let token = self.index.index().join_token(&format!("rack{number}"), TOKEN_NS)?;
        join(&JoinOptions {
            dir: dir.clone(),
            index: index.clone(),
            token: Some(token),
            capacity: options.capacity,
            listen,
            addresses: Vec::new(),
            network: cas_net::Settings::default(),
            tune: |_| (),
        })?;
        Ok(member()?)
    }

    /// Gives every node its share, the first time it is there.
    fn lay_out(&self) -> Result<()> {
        let index = self.index.index();
        let is_new = |node: &NodeInfo| node.want == NodeWant::New;
        let status = index.cluster_status()?;
        let nodes = index.nodes()?;
        let wanted = Pool::ALL[nodes.len().clamp(1, Pool::ALL.len()) - 1];
        let has = status.pool.parse::<Pool>().map_or(0, Pool::replicas);
        if nodes.iter().any(is_new) || has < wanted.replicas() {
            let pool = if has < wanted.replicas() { wanted.name() } else { &status.pool };
            let plan = index.plan_layout(Some(pool))?;
            fleet::apply(&**index, Some(pool), &plan)?;
        }
        Ok(())
    }

    /// The address of its index.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<Address> {
        Ok(self.index.address()?)
    }

    /// Where metrics are read.
    pub fn http(&self) -> Option<SocketAddr> {
        self.index.http()
    }

    /// How many nodes it has.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The first user.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The file with the password of the first user.
    pub fn password_file(&self) -> &Path {
        &self.password
    }

    /// Why a node of it acknowledges nothing any more, if one does not.
    pub fn fault(&self) -> Option<String> {
        self.nodes.iter().find_map(Member::fault)
    }

    /// Ends all of it, nodes first.
    ///
    /// # Errors
    /// Something did not end cleanly; nothing that was acknowledged is lost.
    pub fn shutdown(self, grace: Duration) -> Result<()> {
        let mut ended: cas_net::Result<()> = Ok(());
        for node in self.nodes {
            ended = ended.and(node.shutdown(grace).map(drop));
        }
        ended.and(self.index.shutdown(grace).map(drop)).map_err(ClientError::from)
    }
}

/// Makes the index and its first user, unless they are there. Answers the user's name.
fn found(dir: &Path, home: &Path, password: &Path, admin: &str) -> Result<String> {
    fs::create_dir_all(dir).map_err(|e| ClientError::io(format!("create {}", dir.display()), e))?;
    let name = dir.join("admin");
    if let Some(admin) = read_line(&name)? {
        return Ok(admin);
    }
    let user = NewUser { name: admin.to_owned(), password: Some(kept_password(password)?), may_found: true };
    match init(home, &user) {
        // Interrupted between the two: the user is there with just this password.
        Err(ServiceError::Denied(_)) if has_people(home)? => {}
        made => drop(made?),
    }
    write_private(&name, format!("{admin}\n").as_bytes())?;
    Ok(admin.to_owned())
}

fn has_people(home: &Path) -> Result<bool> {
    let (index, owner) = console(home)?;
    let there = !owner.users()?.is_empty();
    index.close()?;
    Ok(there)
}

/// The password in a file; drawn and kept the first time.
pub(crate) fn kept_password(path: &Path) -> Result<Password> {
    let kept = match read_line(path)? {
        Some(kept) => kept,
        None => {
            let drawn = drawn_password();
            write_private(path, format!("{drawn}\n").as_bytes())?;
            drawn
        }
    };
    Ok(Password::new(kept))
}

/// 80 random bits, in letters that are not mistaken for others.
fn drawn_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: [u8; 16] = random();
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// The first line of a file that may be missing or, after a crash, empty.
fn read_line(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().next().map(str::to_owned)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ClientError::io(format!("read {}", path.display()), e)),
    }
}

/// Nodes that are in the folder from before.
fn nodes_in(dir: &Path) -> usize {
    let there = |number: &usize| dir.join(format!("node{number}")).is_dir();
    (1..=MAX_NODES).take_while(there).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn options(dir: &Path, nodes: usize) -> LocalOptions {
        LocalOptions {
            dir: dir.to_owned(),
            nodes,
            listen: "127.0.0.1:0".parse().unwrap(),
            http: None,
            capacity: 1 << 30,
            admin: "ada".to_owned(),
        }
    }

    #[test]
    fn it_is_the_same_cluster_after_a_restart_and_grows_by_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let grace = Duration::from_secs(20);
        let first = LocalCluster::start(&options(dir.path(), 1)).unwrap();
        let (key, password) = (first.address().unwrap().key, fs::read(first.password_file()).unwrap());
        first.shutdown(grace).unwrap();
        let again = LocalCluster::start(&options(dir.path(), 3)).unwrap();
        assert_eq!((again.address().unwrap().key, fs::read(again.password_file()).unwrap()), (key, password));
        let index = again.index.index().clone();
        let is_whole = || index.cluster_status().unwrap().is_healthy() && index.cluster_status().unwrap().nodes == 3;
        let until = Instant::now() + Duration::from_secs(60);
        while !is_whole() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let nodes = index.nodes().unwrap();
        assert!(nodes.iter().all(|node| node.want == NodeWant::Member && node.partitions > 0), "{nodes:?}");
        assert_eq!(index.cluster_status().unwrap().pool, "r3");
        drop(index);
        again.shutdown(grace).unwrap();
    }

    #[test]
    fn what_an_interrupted_start_left_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let (home, password) = (dir.path().join("index"), dir.path().join("password"));
        assert_eq!(found(dir.path(), &home, &password, "ada").unwrap(), "ada");
        let drawn = fs::read(&password).unwrap();
        fs::remove_file(dir.path().join("admin")).unwrap();
        assert_eq!(found(dir.path(), &home, &password, "ada").unwrap(), "ada");
        assert_eq!(fs::read(&password).unwrap(), drawn);
        fs::remove_file(dir.path().join("admin")).unwrap();
        assert!(found(&dir.path().join("other"), &dir.path().join("other/index"), &password, "no name").is_err());
    }
}
