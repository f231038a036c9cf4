//! The ways to others: to the index, and to peers by their keys.

use super::standing::Standing;
use cas_core::id::PublicKey;
use cas_net::address::Address;
use cas_net::cluster::RemoteCluster;
use cas_net::{Connection, Network, RemoteIndex, RemoteNode, Result, ServiceError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Refusals for want of a newer layout make the node ask for it at most so often.
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// So long after a peer did not answer, others are asked first.
const AVOID: Duration = Duration::from_secs(10);

/// The ways to others.
#[derive(Debug)]
pub struct Link {
    network: Arc<Network>,
    /// The index, about nodes.
    pub cluster: RemoteCluster<Connection>,
    /// The index, about blocks.
    pub index: RemoteIndex,
    peers: Mutex<HashMap<PublicKey, Peer>>,
    asked: Mutex<Option<Instant>>,
    /// Why the index did not answer last.
    silent: Mutex<Option<String>>,
}

/// The ways to a peer, best first.
#[derive(Debug)]
struct Peer {
    addresses: Vec<String>,
    ways: Vec<RemoteNode>,
    avoid_until: Option<Instant>,
}

impl Link {
    /// To this index; nothing is sent yet.
    pub fn new(network: &Arc<Network>, index: &Address) -> Self {
        Self {
            network: network.clone(),
            cluster: RemoteCluster(network.connection(index)),
            index: RemoteIndex::new(network, index),
            peers: Mutex::default(),
            asked: Mutex::default(),
            silent: Mutex::new(Some("the index was not reached yet".into())),
        }
    }

    /// The ways to a peer, the one that worked last first; none if it is no peer or has no address.
    pub fn peer(&self, standing: &Standing, key: &PublicKey) -> Vec<RemoteNode> {
        let Some(info) = standing.peer(key) else { return Vec::new() };
        let mut peers = lock(&self.peers);
        let peer =
            peers.entry(*key).or_insert_with(|| Peer { addresses: Vec::new(), ways: Vec::new(), avoid_until: None });
        if peer.addresses != info.addresses {
            let parsed = |place: &String| format!("cas://{key}@{place}").parse::<Address>().ok();
            let addresses = info.addresses.iter().filter_map(parsed);
            peer.ways = addresses.map(|address| RemoteNode::new(&self.network, &address)).collect();
            peer.addresses = info.addresses;
        }
        peer.ways.clone()
    }

    /// This way to a peer works.
    pub fn works(&self, key: &PublicKey, way: usize) {
        if let Some(peer) = lock(&self.peers).get_mut(key).filter(|peer| way < peer.ways.len()) {
            peer.ways[..=way].rotate_right(1);
            peer.avoid_until = None;
        }
    }

    /// Asks the index for a newer layout, for somebody who would be refused by this one. Whoever comes while another asks waits
    /// for that answer; nobody waits for an index that was silent just now.
    pub fn ask_once(&self, ask: impl FnOnce() -> Result<()>) {
        let came = Instant::now();
        let mut asked = lock(&self.asked);
        let is_recent = asked.is_some_and(|at| at > came || came - at < ASK_PAUSE);
        if is_recent || self.health().is_err() {
            return;
        }
        if let Err(why) = ask() {
            tracing::debug!(%why, "no newer layout");
        }
        *asked = Some(Instant::now());
    }

    /// The key of the index.
    pub fn index_key(&self) -> PublicKey {
        self.cluster.0.address().key
    }

    /// A peer did not answer: others are asked first, for a while.
    pub fn failed(&self, key: &PublicKey) {
        if let Some(peer) = lock(&self.peers).get_mut(key) {
            peer.avoid_until = Some(Instant::now() + AVOID);
        }
    }

    /// Whether a peer did not answer just now.
    pub fn avoids(&self, key: &PublicKey) -> bool {
        lock(&self.peers).get(key).and_then(|peer| peer.avoid_until).is_some_and(|until| until > Instant::now())
    }

    /// The index answered, or why not. Logged when that changes.
    pub fn heard(&self, why_not: Option<&ServiceError>) {
        let mut silent = lock(&self.silent);
        match why_not {
            None if silent.is_some() => tracing::info!("the index answers"),
            Some(why) if silent.is_none() => tracing::warn!(%why, "the index does not answer"),
            _ => {}
        }
        *silent = why_not.map(ToString::to_string);
    }

    /// Whether the index answered last.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<()> {
        match &*lock(&self.silent) {
            None => Ok(()),
            Some(why) => Err(ServiceError::Unreachable { peer: "the index".into(), detail: why.clone() }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
