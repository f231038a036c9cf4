//! A node of the cluster, which can die, come back, lose its disk or rot.

use crate::world::PATIENCE;
use cas_core::id::BlockId;
use cas_net::address::Address;
use cas_net::cluster::JoinToken;
use cas_net::{Network, Node as _, NodeId, RemoteNode, ServiceError, StoredBlock};
use cas_node::member::{self, JoinOptions, MemberOptions, Settings};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module.
pub struct Member {
    running: Option<member::Member>,
    id: NodeId,
    dir: PathBuf,
    listen: SocketAddr,
    index: Address,
}

fn tune(options: &mut cas_node::Options) {
    options.segment_bytes = 8 << 20;
    options.reserve = 0;
}

impl Member {
    /// Joins and serves.
    pub fn join(dir: PathBuf, index: Address, token: JoinToken) -> Self {
        let id = NodeId(member::init(&dir).unwrap());
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut member = Self { running: None, id, dir, listen, index };
        member.ask_in(Some(token));
        member.start();
        member
    }

    fn ask_in(&self, token: Option<JoinToken>) {
        let (dir, index, listen) = (self.dir.clone(), self.index.clone(), self.listen);
        let (capacity, addresses, network) = (1 << 30, vec![], cas_net::Settings::default());
        member::join(&JoinOptions { dir, index, token, capacity, listen, addresses, network, tune }).unwrap();
    }

    /// Serves, at the port it had.
    pub fn start(&mut self) {
        let options = MemberOptions {
            listen: Some(self.listen),
            settings: Settings {
                beat: Duration::from_millis(200),
                compact_pause: Duration::from_millis(500),
                stray_period: Duration::from_secs(2),
                ..Settings::default()
            },
            tune,
            ..MemberOptions::new(&self.dir)
        };
        let until = Instant::now() + PATIENCE;
        let running = loop {
            match member::serve(options.clone()) {
                // What died is not gone at once: as a process, it would be.
                Err(ServiceError::Busy(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                served => break served.unwrap(),
            }
        };
        self.listen.set_port(running.address().unwrap().port());
        self.running = Some(running);
    }

    /// Ends as in a crash.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    /// Its disk is replaced by an empty one; its key was kept elsewhere.
    pub fn lose_disk(&mut self) {
        assert!(self.running.is_none(), "a disk is replaced while the machine is off");
        fs::remove_dir_all(self.dir.join("segments")).unwrap();
        for file in ["index.redb", "floors"] {
            let _ = fs::remove_file(self.dir.join(file));
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn running(&self) -> &member::Member {
        self.running.as_ref().unwrap()
    }

    /// Everything it holds, as it tells the index.
    pub fn blocks(&self, network: &Arc<Network>) -> BTreeMap<BlockId, StoredBlock> {
        let node = RemoteNode::new(network, &self.running().address().unwrap());
        let (mut out, mut after) = (BTreeMap::new(), None);
        loop {
            let listed = node.list(after, 10_000).unwrap();
            let Some(last) = listed.last() else { return out };
            after = Some(last.id);
            out.extend(listed.into_iter().map(|block| (block.id, block)));
        }
    }

    /// Flips bits in the middle of its segments, where no group ends, under its hands: one that starts looks at some of them.
    pub fn rot(&self) -> usize {
        let segments = fs::read_dir(self.dir.join("segments")).unwrap().map(|entry| entry.unwrap().path());
        let rotten = segments.filter(|path| {
            let file = File::options().read(true).write(true).open(path).unwrap();
            let (at, mut byte) = (file.metadata().unwrap().len() / 3, [0]);
            let is_there = file.read_at(&mut byte, at).unwrap() == 1;
            is_there && file.write_at(&[byte[0] ^ 0x5a], at).unwrap() == 1
        });
        rotten.count()
    }
}
