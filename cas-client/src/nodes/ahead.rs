//! Reading ahead: blocks that will be wanted soon are asked for together, from the best member of each.
//!
//! Promise: nothing is held but what [`AHEAD_BYTES`] allow for all readers together; what does not come, or comes late or wrong, is read as
//! if nobody had asked. Where there is one node in this process, nothing is read ahead: it is no faster.

use super::Nodes;
use super::choice::{Choice, SILENCE};
use cas_core::id::BlockId;
use cas_net::cluster::Damage;
use cas_net::{Found, Node, NodeId, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes that may be asked for ahead, by all readers together. The last block of an answer may go beyond.
const AHEAD_BYTES: usize = 64 << 20;
/// Bytes that are asked for at once, of all members together, about.
const SET_BYTES: usize = 24 << 20;
/// Bytes of one answer, about.
const ANSWER_BYTES: usize = 8 << 20;
/// Blocks in one request.
const MAX_BLOCKS: usize = 1024;

/// Room for what is read ahead.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self(AtomicUsize::new(AHEAD_BYTES))
    }
}

const _: () = assert!(ANSWER_BYTES <= SET_BYTES && SET_BYTES <= AHEAD_BYTES);

/// Room that is taken, until dropped.
struct Taken(Arc<Room>, usize);

impl Room {
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Taken> {
        let taken = self.0.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes));
        taken.ok().map(|_| Taken(self.clone(), bytes))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.fetch_add(self.1, Relaxed);
    }
}

/// Blocks that were asked for.
pub struct Coming {
    shared: Arc<Shared>,
}

struct Shared {
    blocks: Mutex<Blocks>,
    changed: Condvar,
    _room: Vec<Taken>,
}

#[derive(Default)]
struct Blocks {
    /// Those that have not been taken.
    by_id: HashMap<BlockId, Place>,
    /// Somebody has waited long enough.
    given_up: bool,
}

enum Place {
    OnItsWay,
    Here(NodeId, Vec<u8>),
}

/// What one member is asked for.
struct Request<'v> {
    node: &'v Arc<dyn Node>,
    ids: Vec<BlockId>,
}

impl Nodes {
    /// Asks for blocks that will be wanted soon, none longer than `longest` bytes as stored, about. `None` if there is nothing to be
    /// gained, or no room.
    pub fn ahead(&self, ids: &[BlockId], longest: usize) -> Option<Coming> {
        if self.source.is_none() || ids.len() < 2 {
            return None;
        }
        let view = self.view();
        let mut requests: BTreeMap<NodeId, Request<'_>> = BTreeMap::new();
        let mut by_id = HashMap::new();
        for id in ids.iter().take(MAX_BLOCKS) {
            let Some(best) = self.ranked(&view, id).into_iter().next() else { continue };
            if by_id.insert(*id, Place::OnItsWay).is_none() {
                let request = requests.entry(best.id).or_insert_with(|| Request { node: best.node, ids: Vec::new() });
                request.ids.push(*id);
            }
        }
        // Where the best members are many, each is asked for less.
        let share = ANSWER_BYTES.min(SET_BYTES / requests.len().max(1));
        let bytes_of = |request: &Request<'_>| share.min(request.ids.len().saturating_mul(longest));
        let room: Option<Vec<Taken>> = requests.values().map(|request| self.room.take(bytes_of(request))).collect();
        let blocks = Mutex::new(Blocks { by_id, given_up: false });
        let shared = Arc::new(Shared { blocks, changed: Condvar::new(), _room: room? });
        for (node, request) in requests {
            let (bytes, Request { node: way, ids }) = (bytes_of(&request) as u64, request);
            let (choice, shared) = (self.choice.clone(), shared.clone());
            choice.begins(node);
            let asked = ids.clone();
            let done = move |found| arrived(node, &asked, found, &choice, &shared);
            way.get_then(ids, bytes, Box::new(done));
        }
        Some(Coming { shared })
    }

    /// A reader could not open what this node had sent ahead.
    pub fn sent_wrong(&self, node: NodeId, id: &BlockId) {
        self.report(&[Damage { node, id: *id }]);
    }
}

fn arrived(node: NodeId, asked: &[BlockId], found: Result<Vec<Found>>, choice: &Choice, shared: &Shared) {
    choice.ends_many(node, found.as_ref().err(), Instant::now());
    let mut here: HashMap<BlockId, Vec<u8>> = HashMap::new();
    for found in found.unwrap_or_default() {
        if let Found::Here(block) = found {
            here.insert(block.id, block.bytes.into());
        }
    }
    let mut blocks = shared.lock();
    for id in asked {
        let Some(place) = blocks.by_id.get_mut(id) else { continue };
        match here.remove(id) {
            Some(bytes) => *place = Place::Here(node, bytes),
            None => _ = blocks.by_id.remove(id),
        }
    }
    drop(blocks);
    shared.changed.notify_all();
}

impl Coming {
    /// The stored bytes of a block and who sent them, if it was asked for and has come; a block that is on its way is waited for.
    pub fn take(&self, id: &BlockId) -> Option<(NodeId, Vec<u8>)> {
        let until = Instant::now() + SILENCE;
        let mut blocks = self.shared.lock();
        loop {
            match blocks.by_id.get(id)? {
                Place::Here(..) => break,
                Place::OnItsWay if blocks.given_up => return None,
                Place::OnItsWay => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.shared.changed.wait_timeout(blocks, left);
            let (again, end) = waited.unwrap_or_else(PoisonError::into_inner);
            blocks = again;
            blocks.given_up |= end.timed_out();
        }
        match blocks.by_id.remove(id)? {
            Place::Here(node, bytes) => Some((node, bytes)),
            Place::OnItsWay => None,
        }
    }

    /// Whether nothing more is to be had of it.
    pub fn is_over(&self) -> bool {
        let blocks = self.shared.lock();
        blocks.given_up || blocks.by_id.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
