//! How a directory becomes a node, and a node a member of a cluster.

use super::home::{Home, Membership};
use super::{check_addresses, disk_bytes, open, reached_at};
use crate::Options;
use cas_core::id::PublicKey;
use cas_core::signing::SigningKey;
use cas_net::address::Address;
use cas_net::cluster::{Cluster, Join, JoinToken, Joined, RemoteCluster};
use cas_net::{Identity, Network, Node, Result, ServiceError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a node joins with.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// Its directory; made if it is not there.
    pub dir: PathBuf,
    /// The index, with its key.
    pub index: Address,
    /// Its leave, which also says which rack it stands in; a node that has joined needs none.
    pub token: Option<JoinToken>,
    /// Bytes it may use; 0: what its disk has.
    pub capacity: u64,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// Where others reach it (host and port), if that does not follow from where it listens.
    pub addresses: Vec<String>,
    /// How patient it is.
    pub network: cas_net::Settings,
    /// How its store is made.
    pub tune: fn(&mut Options),
}

/// Makes a node in a directory, or finds the one that is there. Answers its key, which is its name on the network.
///
/// # Errors
/// [`ServiceError::Io`]; [`ServiceError::Damaged`] if its key is.
pub fn init(dir: &Path) -> Result<PublicKey> {
    Ok(SigningKey::from_seed(&Home::new(dir)?.seed()?).public())
}

/// Joins a cluster: asks its index, and keeps what the next [`serve`](super::serve) needs. A node that has joined may say other
/// values this way.
///
/// # Errors
/// [`ServiceError::Denied`] if the token does not hold, or the node is a member of another cluster;
/// [`ServiceError::Busy`] while the node is served; whatever keeps the index from being reached.
pub fn join(options: &JoinOptions) -> Result<Joined> {
    check_addresses(&options.addresses)?;
    let home = Home::new(&options.dir)?;
    if let Some(member) = home.membership()?.filter(|member| member.index.key != options.index.key) {
        let (dir, old) = (options.dir.display(), member.index);
        return Err(ServiceError::Denied(format!("{dir} holds a node of the cluster at {old}")));
    }
    let network = Network::new(Identity::from_seed(&home.seed()?), options.network.clone());
    let network = network.map_err(|e| ServiceError::io("start the network", e))?;
    let (store, disk) = open(&home, &options.index.key, options.tune)?;
    let addresses = match options.addresses.is_empty() {
        true if options.listen.port() == 0 => Vec::new(),
        true => reached_at(options.listen, &options.index),
        false => options.addresses.clone(),
    };
    let join = Join {
        node: store.id(),
        token: options.token,
        disk,
        capacity: if options.capacity == 0 { disk_bytes(&options.dir)? } else { options.capacity },
        addresses,
    };
    let joined = RemoteCluster(network.connection(&options.index)).join(&join)?;
    if joined.index != options.index.key {
        let (named, signs) = (options.index.key, joined.index);
        return Err(ServiceError::Protocol(format!("the index {named} says that grants are signed by {signs}")));
    }
    home.keep_membership(&Membership {
        index: options.index.clone(),
        capacity: options.capacity,
        listen: options.listen,
        addresses: options.addresses.clone(),
    })?;
    store.close()?;
    Ok(joined)
}
