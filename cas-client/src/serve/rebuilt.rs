//! The index of a cluster made anew from what its nodes hold: the last resort. DESIGN §11.
//!
//! Promise: names, versions, keyrings and counts are those of the lost index; nodes are only read. Not on nodes, so not found
//! again: people, roles, locks, the audit log, racks. The key must be there: nodes obey that index and no other.

use crate::error::{ClientError, Result};
pub use cas_index::Rebuilt;
use cas_index::serve::seed;
use cas_index::{Options, rebuild};
use cas_net::address::Address;
use cas_net::{Identity, Network, Node, RemoteNode, Settings};
use std::path::Path;

/// Makes it in `dir`, which holds the key, from these nodes: all of them, or what the others hold is lost to it.
///
/// # Errors
/// As [`rebuild`]; a node does not answer: then nothing has changed.
pub fn from_nodes(dir: &Path, nodes: &[Address]) -> Result<Rebuilt> {
    let options = Options::new(seed(dir)?);
    let network = Network::new(Identity::from_seed(&options.key_seed), Settings::default());
    let network = network.map_err(|e| ClientError::io("open a socket", e))?;
    let remote: Vec<RemoteNode> = nodes.iter().map(|address| RemoteNode::new(&network, address)).collect();
    let nodes: Vec<&dyn Node> = remote.iter().map(|node| node as &dyn Node).collect();
    Ok(rebuild(dir, &options, &nodes)?)
}
