//! An index and a node at the other end of a connection: whoever calls them cannot tell.

mod index;
mod node;

pub use index::RemoteIndex;
pub use node::RemoteNode;

use crate::limits::MAX_ROWS;

/// The limit of the next page, as the wire says it.
fn page(limit: usize) -> u32 {
    limit.min(MAX_ROWS) as u32
}
