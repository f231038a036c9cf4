//! A store that is a cluster: an index at an address, and the nodes that it names. DESIGN §8 to §10.
//!
//! Promise: nothing is said to a server whose key is not the one in its address; nodes are shown a ticket before anything else
//! is asked of them, a new one when it comes to its end; the layout that was seen last is kept, so that
//! a reader finds the nodes while the index is away.

use super::{Home, Store};
use crate::error::{ClientError, Result};
use crate::nodes::Nodes;
use crate::store::directory::write_private;
use cas_core::id::{DomainId, VaultId};
use cas_net::address::{Address, SCHEME};
use cas_net::cluster::{Cluster as Placement, Layout, NodeInfo, RemoteCluster};
use cas_net::rights::calls::ShowTicket;
use cas_net::rights::{RemoteRights, Rights, Ticket};
use cas_net::wire::{decode, encode};
use cas_net::{Identity, Index, Introduce, Network, Node, RawCall, RemoteIndex, RemoteNode, ServiceError, Settings};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most elements a kept layout may have.
const MAX_LAYOUT_ITEMS: usize = cas_net::limits::MAX_ANSWER_ITEMS;

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
}

/// A cluster: its index, asked as one device.
pub struct Cluster {
    address: Address,
    index: Arc<dyn Index>,
    placement: Arc<dyn Placement>,
    rights: Arc<dyn Rights>,
    tickets: Arc<Tickets>,
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
        let kept = reach.state.join(format!("layout-{}", reach.address.key));
        let layout = layout(&*cluster.placement, &kept)?;
        let settings = Settings { reconnect: NODE_RECONNECT, ..Settings::default() };
        let network = Network::new(Identity::from_seed(reach.device), settings);
        let (network, shown) = (network.map_err(|e| ClientError::io("open a socket", e))?, cluster.tickets.clone());
        let to_node = move |info: &NodeInfo| to_node(&network, info, &shown);
        let nodes = Nodes::of(cluster.placement.clone(), layout, reach.rack.clone(), Box::new(to_node));
        Ok(Self { index: cluster.index.clone(), nodes: nodes.into(), home: Home::Cluster(cluster) })
    }
}

impl Cluster {
    /// What asks the index alone: for whoever looks after nodes and people, who need neither a layout nor, before they
    /// log in, a device that is known. Nothing is sent yet.
    ///
    /// # Errors
    /// No socket.
    pub fn reach(reach: &Reach<'_>) -> Result<Self> {
        let network = Network::new(Identity::from_seed(reach.device), Settings::default());
        let network = network.map_err(|e| ClientError::io("open a socket", e))?;
        let index = Arc::new(RemoteIndex::new(&network, &reach.address));
        let placement: Arc<dyn Placement> = Arc::new(RemoteCluster(index.connection().clone()));
        let rights: Arc<dyn Rights> = Arc::new(RemoteRights(index.connection().clone()));
        let tickets = Arc::new(Tickets::default());
        Ok(Self { address: reach.address.clone(), index, placement, rights, tickets })
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
        match self.rights.ticket(vault, domain) {
            Ok(ticket) => self.tickets.keep(ticket),
            Err(ServiceError::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

/// The tickets that this program holds, the newest of each domain.
#[derive(Default)]
struct Tickets {
    held: Mutex<Vec<Ticket>>,
}

impl Tickets {
    fn keep(&self, ticket: Ticket) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|old| old.domain != ticket.domain);
        held.push(ticket);
    }
}

impl Introduce for Tickets {
    fn calls(&self) -> Vec<RawCall> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|ticket| RawCall::of(&ShowTicket { ticket: *ticket })).collect()
    }
}

/// The node, at the first of its addresses that is one.
fn to_node(network: &Arc<Network>, info: &NodeInfo, tickets: &Arc<Tickets>) -> Option<Arc<dyn Node>> {
    let address = info.addresses.iter().find_map(|place| format!("{SCHEME}{}@{place}", info.node.0).parse().ok())?;
    let node = RemoteNode::new(network, &address);
    node.connection().introduce(tickets.clone());
    Some(Arc::new(node))
}

/// The layout as the index tells it, or as it told it last.
fn layout(placement: &dyn Placement, kept: &Path) -> Result<Layout> {
    match placement.layout(0) {
        Ok(Some(layout)) => {
            if let Err(e) = keep(kept, &layout) {
                tracing::warn!("the layout is not kept: {e}");
            }
            Ok(layout)
        }
        Ok(None) => Err(ServiceError::Unreachable {
            peer: "every node".to_owned(),
            detail: "the cluster has no layout yet: nodes have to join".to_owned(),
        }
        .into()),
        Err(away @ ServiceError::Unreachable { .. }) => {
            let bytes = std::fs::read(kept).map_err(|_| ClientError::from(away))?;
            decode(&bytes, MAX_LAYOUT_ITEMS).map_err(|e| ClientError::Untrusted {
                what: format!("the layout in {}", kept.display()),
                why: e.to_string(),
            })
        }
        Err(e) => Err(e.into()),
    }
}

/// Replaces the layout that is kept, in one step: two programs may do it at once.
fn keep(kept: &Path, layout: &Layout) -> Result<()> {
    if let Some(folder) = kept.parent() {
        std::fs::create_dir_all(folder).map_err(|e| ClientError::io(format!("create {}", folder.display()), e))?;
    }
    let made = kept.with_extension(format!("new-{}", std::process::id()));
    write_private(&made, &encode(layout))?;
    std::fs::rename(&made, kept).map_err(|e| ClientError::io(format!("write {}", kept.display()), e))
}
