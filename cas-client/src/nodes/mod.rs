//! The nodes of a store as one: which of them a block goes to, and which it comes from. DESIGN §8, §9.
//!
//! ```text
//! offer, put ──▶ every member of the block's partition       read ──▶ the best member, then the next
//! ```
//!
//! Promise: a write is under way only where [`Layout::is_enough`] can still come true; a member that fails is passed over until
//! it has proved itself, and said when too few are left; what is read was verified by whoever opens it, and a member that gave
//! wrong bytes or none is reported. Nobody waits for a node that is known to be away, nor for an index that just did not answer.
//! A store on one node is the layout of one member.
//! Not here: retrying a push (its session is started again), deciding where blocks should be (the index).

pub(crate) mod again;
mod ahead;
mod chain;
mod choice;
mod instead;
mod read;
mod report;
mod view;
mod write;

#[cfg(test)]
mod tests;

pub use ahead::Coming;
pub use view::View;
pub use write::{Offered, Places, Sent};

use again::PATIENCE;
use ahead::Room;
use cas_core::id::BlockId;
use cas_net::cluster::{Cluster, Layout, NodeInfo};
use cas_net::{Node, NodeId, Result, ServiceError};
use choice::Choice;
use report::Reports;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Reaches a node by what the layout says of it; `None` if it has no address that can be used.
pub type Reach = dyn Fn(&NodeInfo) -> Option<Arc<dyn Node>> + Send + Sync;

/// Hears of a layout.
pub type Note = dyn Fn(&Layout) + Send + Sync;

/// Shows a node that refuses this client a newer ticket. Answers whether that is worth another try.
pub type Admit = dyn Fn(&NodeId) -> bool + Send + Sync;

/// How long an index that did not answer is not asked for a newer layout.
const AWAY_PAUSE: Duration = Duration::from_secs(15);

/// All nodes of a store.
pub struct Nodes {
    view: RwLock<Arc<View>>,
    source: Option<Source>,
    choice: Arc<Choice>,
    room: Arc<Room>,
    /// How long a write waits for nodes to come back while too few are there.
    patience: Duration,
}

/// Where layouts come from.
struct Source {
    cluster: Arc<dyn Cluster>,
    reach: Box<Reach>,
    reports: Reports,
    /// Hears of each new layout.
    note: Box<Note>,
    admit: Box<Admit>,
    /// Before this nobody asks for a layout: the index did not answer.
    ask_after: Mutex<Option<Instant>>,
}

impl Nodes {
    /// A store on one node.
    pub fn one(node: Arc<dyn Node>) -> Self {
        Self {
            view: RwLock::new(Arc::new(View::one(node))),
            source: None,
            choice: Arc::default(),
            room: Arc::default(),
            patience: PATIENCE,
        }
    }

    /// The nodes of a cluster, beginning with a layout (a fresh one, or one that was kept while the index is away). Nodes in `rack`
    /// are read from first.
    pub fn of(cluster: Arc<dyn Cluster>, layout: Layout, rack: Option<String>, reach: Box<Reach>) -> Self {
        let view = View::of(layout, &reach, None);
        let choice = Arc::new(Choice::in_rack(rack));
        let reports = Reports::to(cluster.clone());
        let (note, admit) = (Box::new(|_: &Layout| ()), Box::new(|_: &NodeId| false));
        let source = Source { cluster, reach, reports, note, admit, ask_after: Mutex::default() };
        Self {
            view: RwLock::new(Arc::new(view)),
            source: Some(source),
            choice,
            room: Arc::default(),
            patience: PATIENCE,
        }
    }

    /// Has somebody told of each new layout.
    #[must_use]
    pub fn noting(mut self, note: Box<Note>) -> Self {
        if let Some(source) = &mut self.source {
            source.note = note;
        }
        self
    }

    /// Has somebody show newer tickets to nodes that refuse this client: one lives for hours, a push may take days.
    #[must_use]
    pub fn admitted_by(mut self, admit: Box<Admit>) -> Self {
        if let Some(source) = &mut self.source {
            source.admit = admit;
        }
        self
    }

    /// Whether one of these nodes, that refused this client, may take it now.
    fn is_admitted(&self, refused_by: &[NodeId]) -> bool {
        let Some(source) = &self.source else { return false };
        // Each of them is shown the ticket.
        refused_by.iter().filter(|node| (source.admit)(node)).count() > 0
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
        (source.note)(&layout);
        let view = Arc::new(View::of(layout, &source.reach, Some(&old)));
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(true)
    }

    /// Whether there is a newer layout than the one of this view. An index that is away is asked now and then at most: it
    /// must not hold up every block.
    fn is_outdated(&self, view: &View) -> bool {
        let Some(source) = &self.source else { return false };
        // Whoever waits here finds what the one before him was told.
        let mut ask_after = source.ask_after.lock().unwrap_or_else(PoisonError::into_inner);
        if self.view().layout.version > view.layout.version {
            return true;
        }
        if ask_after.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let refreshed = self.refresh();
        *ask_after = refreshed.is_err().then(|| Instant::now() + AWAY_PAUSE);
        refreshed.unwrap_or_else(|why| {
            tracing::debug!("no newer layout: {why}");
            false
        })
    }

    /// Who has a block, by what the index knows; nobody if it does not answer, and then it is not asked for a while.
    fn located(&self, id: &BlockId) -> Vec<NodeId> {
        let Some(source) = &self.source else { return Vec::new() };
        let mut ask_after = source.ask_after.lock().unwrap_or_else(PoisonError::into_inner);
        if ask_after.is_some_and(|at| Instant::now() < at) {
            return Vec::new();
        }
        match source.cluster.locate(&[*id]) {
            Ok(located) => located.into_iter().flatten().flat_map(|located| located.nodes).collect(),
            Err(why) => {
                *ask_after = matches!(why, ServiceError::Unreachable { .. }).then(|| Instant::now() + AWAY_PAUSE);
                Vec::new()
            }
        }
    }

    /// Looks whether a node that failed answers again, if it is time to. Nobody waits for that.
    fn look_after(&self, id: NodeId, node: &Arc<dyn Node>) {
        if !self.choice.wants_look(&id, Instant::now()) {
            return;
        }
        let choice = self.choice.clone();
        let done = move |answer: Result<_>| match answer {
            Ok(_) => choice.works(id),
            Err(why) => choice.looked_in_vain(id, &why, Instant::now()),
        };
        node.get_then(Vec::new(), 1, Box::new(done));
    }
}
