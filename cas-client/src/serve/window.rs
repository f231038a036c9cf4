//! The HTTP port of a node: as that of an index, with the numbers of the node.

use crate::error::Result;
use cas_index::serve::http::{Port, Shown};
use cas_node::member::{Member, Window};
use std::net::SocketAddr;
use std::sync::Arc;

/// Looks at a node for whoever asks.
struct Look(Window);

impl Shown for Look {
    fn metrics(&self) -> cas_net::Result<String> {
        self.0.metrics()
    }

    fn health(&self) -> cas_net::Result<()> {
        self.0.health()
    }
}

/// Opens it, until the port is dropped: before the node is shut down.
///
/// # Errors
/// The port is taken.
pub fn open(node: &Member, at: SocketAddr) -> Result<Port> {
    Ok(Port::open(node.runtime().runtime(), at, Arc::new(Look(node.window())))?)
}
