//! Servers, for programs that run one: the index of a cluster, a node of it, both together in one process.
//!
//! [`local`] is a small cluster on one machine; [`crate::store::served`] serves an embedded store as it lies there.

pub mod local;
mod reached;
pub mod rebuilt;
pub mod window;

pub use cas_index::serve as index;
pub use cas_node::member as node;
pub use reached::{advertised, own_ip};

use crate::error::Result;
use std::path::Path;

/// How the index in this directory, which holds its key, is opened.
///
/// # Errors
/// There is no key, or it is damaged.
pub fn index_options(dir: &Path) -> Result<cas_index::Options> {
    Ok(cas_index::Options::new(cas_index::serve::seed(dir)?))
}
