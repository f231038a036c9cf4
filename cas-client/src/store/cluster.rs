//! A store that is a cluster: an index at an address, and the nodes that it names. DESIGN §8 to §10.
//!
//! Promise: nothing is said to a server whose key is not the one in its address; nodes are shown a ticket before anything else
//! is asked of them, and another one when it has expired; what the index said last is kept, so that a reader can go on while it is away ([`super::Away`]).

use super::away::{Recalling, Watch};
use super::kept::Kept;
use super::{Home, Store, now_ns};
use crate::error::{ClientError, Result};
use crate::nodes::Nodes;
use cas_core::id::{DomainId, VaultId};
use cas_net::address::{Address, SCHEME};
use cas_net::cluster::{Cluster as Placement, Layout, NodeInfo, RemoteCluster};
use cas_net::rights::calls::ShowTicket;
use cas_net::rights::{RemoteRights, Rights, Ticket};
use cas_net::{
    Connection, Identity, Index, Introduce, Network, Node, NodeId, RawCall, RemoteIndex, RemoteNode, ServiceError,
    Settings, Waiting,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The name that the layout is kept under.
const LAYOUT: &str = "layout";
/// A ticket so young is not asked for anew.
const TICKET_PAUSE: Duration = Duration::from_secs(60);
/// Bytes on their way to nodes, at most. As many again may have come back from nodes that failed.
const IN_FLIGHT: usize = 128 << 20;

/// How long a call waits for a node that does not answer. The index is the only one of its kind and worth waiting for; for a node
/// stand others.
const NODE_RECONNECT: Duration = Duration::from_secs(1);

/// How to reach a cluster.
pub struct Reach<'a> {
    /// The index.
    pub address: Address,
    /// The seed of the device's key.
    pub device: &'a [u8; 32],
    /// The rack this machine stands in, if it matters for reading.
    pub rack: Option<String>,
    /// Where what was seen last is kept.
    pub state: &'a Path,
    /// Who hears that the index does not answer and is waited for.
    pub waiting: Option<Waiting>,
}

/// A cluster: its index, asked as one device.
pub struct Cluster {
    address: Address,
    index: Arc<dyn Index>,
    placement: Arc<dyn Placement>,
    rights: Arc<dyn Rights>,
    tickets: Arc<Tickets>,
    watch: Arc<Watch>,
}

/// Whether a person names a cluster, not a folder.
pub fn is_address(text: &str) -> bool {
    text.starts_with(SCHEME)
}

impl Store {
    /// Reaches a cluster.
    ///
    /// # Errors
    /// No socket; or neither the index answers nor was its layout ever seen.
    pub fn connect(reach: &Reach<'_>) -> Result<Self> {
        let cluster = Cluster::reach(reach)?;
        let watch = cluster.watch.clone();
        let layout = watch.ask(LAYOUT, || cluster.placement.layout(0))?.ok_or_else(no_layout)?;
        let settings = Settings { reconnect: NODE_RECONNECT, in_flight: IN_FLIGHT, ..Settings::default() };
        let network = Network::new(Identity::from_seed(reach.device), settings);
        let (network, shown) = (network.map_err(|e| ClientError::io("open a socket", e))?, cluster.tickets.clone());
        let ways = Ways::default();
        let known = ways.clone();
        let to_node = move |info: &NodeInfo| {
            let node = to_node(&network, info, &shown)?;
            lock(&known).insert(info.node, node.connection().clone());
            Some(Arc::new(node) as Arc<dyn Node>)
        };
        let nodes = Nodes::of(cluster.placement.clone(), layout, reach.rack.clone(), Box::new(to_node));
        let index = Arc::new(Recalling::over(cluster.index.clone(), watch.clone()));
        let noting = watch.clone();
        let note = move |layout: &Layout| noting.kept().keep(LAYOUT, &Some(layout.clone()), now_ns());
        let (tickets, rights) = (cluster.tickets.clone(), cluster.rights.clone());
        let admit = move |node: &NodeId| {
            let way = lock(&ways).get(node).cloned();
            way.is_some_and(|way| tickets.show_another(&*rights, &way))
        };
        let nodes = nodes.noting(Box::new(note)).admitted_by(Box::new(admit)).into();
        Ok(Self { index, nodes, home: Home::Cluster(cluster), watch: Some(watch) })
    }
}

impl Cluster {
    /// What asks the index alone: for whoever looks after nodes and people, who need neither a layout nor, before they
    /// log in, a device that is known. Nothing is sent yet.
    ///
    /// # Errors
    /// No socket.
    pub fn reach(reach: &Reach<'_>) -> Result<Self> {
        let settings = Settings { waiting: reach.waiting.clone(), ..Settings::default() };
        let network = Network::new(Identity::from_seed(reach.device), settings);
        let network = network.map_err(|e| ClientError::io("open a socket", e))?;
        let index = Arc::new(RemoteIndex::new(&network, &reach.address));
        let placement: Arc<dyn Placement> = Arc::new(RemoteCluster(index.connection().clone()));
        let rights: Arc<dyn Rights> = Arc::new(RemoteRights(index.connection().clone()));
        let tickets = Arc::new(Tickets::default());
        let kept = Kept::in_folder(reach.state.join(format!("cluster-{}", reach.address.key)));
        let way = index.connection().clone();
        let watch = Arc::new(Watch::over(kept, Box::new(move |within| way.connect(within).map(drop))));
        Ok(Self { address: reach.address.clone(), index, placement, rights, tickets, watch })
    }

    /// Its index.
    pub fn index(&self) -> &Arc<dyn Index> {
        &self.index
    }

    /// Where its index is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Nodes and placement.
    pub fn placement(&self) -> &Arc<dyn Placement> {
        &self.placement
    }

    /// People and rights.
    pub fn rights(&self) -> &Arc<dyn Rights> {
        &self.rights
    }

    /// Gets a ticket for the blocks of a vault, to be shown to nodes from now on.
    ///
    /// # Errors
    /// As [`Rights::ticket`]. A vault that nobody has pushed to has no blocks to read.
    pub fn admit(&self, vault: &VaultId, domain: &DomainId) -> Result<()> {
        let ticket = self.watch.ask(&format!("ticket-{domain}"), || self.rights.ticket(vault, domain));
        match ticket {
            Ok(ticket) if ticket.expires_ns <= now_ns() && self.watch.away().is_some() => {
                let detail = "it does not answer, and the ticket it gave last has expired".to_owned();
                Err(ServiceError::Unreachable { peer: self.address.to_string(), detail }.into())
            }
            Ok(ticket) => {
                self.tickets.keep(*vault, ticket);
                Ok(())
            }
            Err(ServiceError::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// The tickets that this program holds, the newest of each domain.
#[derive(Default)]
struct Tickets {
    held: Mutex<Vec<Held>>,
}

/// How each node is reached. Not part of the tickets, which connections hold: they would hold one another.
type Ways = Arc<Mutex<HashMap<NodeId, Connection>>>;

#[derive(Clone, Copy)]
struct Held {
    vault: VaultId,
    ticket: Ticket,
    since: Instant,
}

impl Tickets {
    fn keep(&self, vault: VaultId, ticket: Ticket) {
        let mut held = lock(&self.held);
        held.retain(|old| old.ticket.domain != ticket.domain);
        held.push(Held { vault, ticket, since: Instant::now() });
    }

    /// Asks the index for tickets anew, if these are not of this minute, and shows them to a node that refused the old ones. Answers
    /// whether it took them.
    fn show_another(&self, rights: &dyn Rights, way: &Connection) -> bool {
        let held = lock(&self.held).clone();
        for old in held.iter().filter(|old| old.since.elapsed() > TICKET_PAUSE) {
            match rights.ticket(&old.vault, &old.ticket.domain) {
                Ok(ticket) => self.keep(old.vault, ticket),
                Err(why) => tracing::debug!("there is no other ticket: {why}"),
            }
        }
        let fresh: Vec<Held> =
            lock(&self.held).iter().filter(|held| held.since.elapsed() <= TICKET_PAUSE).copied().collect();
        !fresh.is_empty() && fresh.iter().all(|held| way.call(&ShowTicket { ticket: held.ticket }).is_ok())
    }
}

impl Introduce for Tickets {
    fn calls(&self) -> Vec<RawCall> {
        lock(&self.held).iter().map(|held| RawCall::of(&ShowTicket { ticket: held.ticket })).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The node, at the first of its addresses that is one.
fn to_node(network: &Arc<Network>, info: &NodeInfo, tickets: &Arc<Tickets>) -> Option<RemoteNode> {
    let address = info.addresses.iter().find_map(|place| format!("{SCHEME}{}@{place}", info.node.0).parse().ok())?;
    let node = RemoteNode::new(network, &address);
    node.connection().introduce(tickets.clone());
    Some(node)
}

fn no_layout() -> ServiceError {
    ServiceError::Unreachable {
        peer: "every node".to_owned(),
        detail: "the cluster has no layout yet: nodes have to join".to_owned(),
    }
}
