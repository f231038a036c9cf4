//! The nodes of a store as one: which of them a block goes to, and which it comes from. DESIGN §8, §9.
//!
//! ```text
//! offer, put ──▶ every member of the block's partition       read ──▶ the best member, then the next
//! ```
//!
//! Promise: a write is under way only where [`Layout::is_enough`] can still come true; a member that fails is passed over
//! for a while and said when too few are left; what is read was verified by whoever opens it, and a member that gave wrong
//! bytes or none is reported. A store on one node is the layout of one member.
//! Not here: retrying a push (its session is started again), deciding where blocks should be (the index).

mod chain;
mod choice;
mod read;
mod view;
mod write;

#[cfg(test)]
mod tests;

pub use view::View;
pub use write::{Offered, Places, Sent};

use cas_net::cluster::{Cluster, Layout, NodeInfo};
use cas_net::{Node, Result, ServiceError};
use choice::Choice;
use std::sync::{Arc, PoisonError, RwLock};

/// Reaches a node by what the layout says of it; `None` if it has no address that can be used.
pub type Reach = dyn Fn(&NodeInfo) -> Option<Arc<dyn Node>> + Send + Sync;

/// All nodes of a store.
pub struct Nodes {
    view: RwLock<Arc<View>>,
    source: Option<Source>,
    choice: Choice,
}

/// Where layouts come from.
struct Source {
    cluster: Arc<dyn Cluster>,
    reach: Box<Reach>,
}

impl Nodes {
    /// A store on one node.
    pub fn one(node: Arc<dyn Node>) -> Self {
        Self { view: RwLock::new(Arc::new(View::one(node))), source: None, choice: Choice::default() }
    }

    /// The nodes of a cluster, beginning with a layout (a fresh one, or one that was kept while the index is away). Nodes in `rack`
    /// are read from first.
    pub fn of(cluster: Arc<dyn Cluster>, layout: Layout, rack: Option<String>, reach: Box<Reach>) -> Self {
        let view = View::of(layout, &reach, None);
        let choice = Choice::in_rack(rack);
        Self { view: RwLock::new(Arc::new(view)), source: Some(Source { cluster, reach }), choice }
    }

    /// The layout that is gone by now, with a way to each node.
    pub fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for a newer layout. Answers whether there was one.
    ///
    /// # Errors
    /// The index does not answer.
    pub fn refresh(&self) -> Result<bool> {
        let Some(source) = &self.source else { return Ok(false) };
        let old = self.view();
        let Some(layout) = source.cluster.layout(old.layout.version)? else { return Ok(false) };
        if layout.pool().is_none() {
            return Err(ServiceError::Protocol(format!(
                "a pool of kind {} that this program does not know",
                layout.pool
            )));
        }
        let view = Arc::new(View::of(layout, &source.reach, Some(&old)));
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(true)
    }
}
