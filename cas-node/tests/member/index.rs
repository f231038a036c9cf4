//! An index that says what a test wants, and remembers what it was told.

use crate::world::index_key;
use cas_core::id::{BlockId, Epoch};
use cas_net::calls::index::DeletesAnswered;
use cas_net::calls::{Call, Family};
use cas_net::cluster::*;
use cas_net::rights::Revocations;
use cas_net::server::{Peer, Reply, Request, Server, ServerSettings, Services};
use cas_net::{Delete, Deleted, Network, NodeId, Result, ServiceError};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

pub const TOKEN: JoinToken = JoinToken([5; 32]);

/// What the index was told, and what it says.
#[derive(Default)]
pub struct Said {
    pub layout: Option<Layout>,
    pub time_ns: i64,
    pub revoked: Revocations,
    pub orders: HashMap<NodeId, Vec<Order>>,
    joined: Vec<Join>,
    pub beats: BTreeMap<NodeId, Vec<Beat>>,
    pub done: Vec<CopyDone>,
    pub floors: Vec<Floored>,
    pub chunks: Vec<InventoryChunk>,
    pub reports: Vec<Damage>,
    pub deleted: Vec<(Delete, Deleted)>,
    pub strays: Vec<BlockId>,
}

#[derive(Default)]
pub struct FakeIndex(Mutex<Said>);

impl FakeIndex {
    pub fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.0.lock().unwrap()
    }
}

fn no<T>() -> Result<T> {
    Err(ServiceError::Denied("not in this test".into()))
}

impl Cluster for FakeIndex {
    fn join_token(&self, _: &str, _: i64) -> Result<JoinToken> {
        Ok(TOKEN)
    }

    fn join(&self, join: &Join) -> Result<Joined> {
        let mut said = self.said();
        let is_known = said.joined.iter().any(|known| known.node == join.node);
        if !is_known && join.token != Some(TOKEN) {
            return Err(ServiceError::Denied("the join token was used, has expired or never was".into()));
        }
        said.joined.push(join.clone());
        Ok(Joined { rack: "r1".into(), index: index_key().public(), epoch: Epoch(1) })
    }

    fn beat(&self, beat: &Beat) -> Result<BeatAnswer> {
        let mut said = self.said();
        said.beats.entry(beat.node).or_default().push(beat.clone());
        let orders = said.orders.remove(&beat.node).unwrap_or_default();
        let layout = said.layout.as_ref().map_or(0, |layout| layout.version);
        Ok(BeatAnswer { layout, time_ns: said.time_ns, orders })
    }

    fn copies_done(&self, done: &CopyDone) -> Result<()> {
        self.said().done.push(done.clone());
        Ok(())
    }

    fn floored(&self, floored: &Floored) -> Result<()> {
        self.said().floors.push(floored.clone());
        Ok(())
    }

    fn inventory(&self, chunk: &InventoryChunk) -> Result<bool> {
        self.said().chunks.push(chunk.clone());
        Ok(true)
    }

    fn strays(&self, _: NodeId, ids: &[BlockId]) -> Result<Vec<Delete>> {
        let said = self.said();
        let is_stray = |id: &&BlockId| said.strays.contains(id);
        Ok(ids.iter().filter(is_stray).map(|id| Delete { id: *id, epoch: Epoch(100) }).collect())
    }

    fn report(&self, damage: &[Damage]) -> Result<()> {
        self.said().reports.extend_from_slice(damage);
        Ok(())
    }

    fn layout(&self, known: u64) -> Result<Option<Layout>> {
        Ok(self.said().layout.clone().filter(|layout| layout.version > known))
    }

    fn locate(&self, _: &[BlockId]) -> Result<Vec<Option<Located>>> {
        no()
    }

    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        no()
    }

    fn cluster_status(&self) -> Result<ClusterStatus> {
        no()
    }

    fn change_node(&self, _: NodeId, _: &NodeChange) -> Result<()> {
        no()
    }

    fn plan_layout(&self, _: Option<&str>) -> Result<PlanShown> {
        no()
    }

    fn apply_layout(&self, _: &PlanShown) -> Result<()> {
        no()
    }

    fn revocations(&self, known: Epoch) -> Result<Option<Revocations>> {
        let revoked = self.said().revoked.clone();
        Ok((revoked.version != known).then_some(revoked))
    }
}

pub fn start_index(network: &Arc<Network>, index: &Arc<FakeIndex>, at: SocketAddr) -> Server {
    let (of_cluster, of_index) = (index.clone(), index.clone());
    let cluster = move |peer: &Peer, request: Request| {
        let asker = Asker { key: peer.key(), operates: true };
        Ok(Reply::of_bytes(answer(&*of_cluster, &asker, request.method(), request.message())?))
    };
    let blocks = move |_: &Peer, request: Request| {
        assert_eq!(request.method(), DeletesAnswered::METHOD);
        request.answer(|call: DeletesAnswered| {
            of_index.said().deleted.extend(call.answers);
            Ok(())
        })
    };
    let services = Services::new().with(Family::Cluster, cluster).with(Family::Index, blocks);
    Server::start(network, at, services, ServerSettings::default()).unwrap()
}
