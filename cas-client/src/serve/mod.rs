//! Servers, for programs that run one: the index of a cluster, a node of it, both together in one process.
//!
//! [`local`] is a small cluster on one machine; [`crate::store::served`] serves an embedded store as it lies there.

pub mod local;
mod reached;

pub use cas_index::serve as index;
pub use cas_node::member as node;
pub use reached::{advertised, own_ip};
