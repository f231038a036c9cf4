//! What an index remembers of its nodes beside their rows; a restart forgets it, and beats and reports say it again.

use crate::cluster::liveness::{Settings, Watch};
use crate::cluster::planner::{Planner, Throttle};
use cas_core::id::{BlockId, PublicKey};
use cas_net::cluster::{Load, MAX_DAMAGE, Space};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an index remembers of its nodes beside their rows.
pub(crate) struct Desk {
    inside: Mutex<Inside>,
    /// Held while it is declared what nodes are, and planned what follows.
    planning: Mutex<()>,
}

pub(super) struct Inside {
    pub(super) now_ns: i64,
    /// Whether the table fits the nodes, as far as is known here.
    pub(super) has_planned: bool,
    pub(super) watch: Watch,
    pub(super) planner: Planner,
    pub(super) beats: BTreeMap<PublicKey, (Space, Load)>,
    pub(super) reports: HashMap<(PublicKey, BlockId), u32>,
    pub(super) verify: HashMap<PublicKey, Vec<BlockId>>,
    pub(super) copied: u64,
    pub(super) copied_bytes: u64,
}

impl Desk {
    /// With these settings; everybody has the grace of a start.
    pub(crate) fn new(settings: Settings, throttle: Throttle) -> Self {
        let inside = Inside {
            now_ns: 0,
            has_planned: false,
            watch: Watch::new(settings),
            planner: Planner::new(throttle),
            beats: BTreeMap::new(),
            reports: HashMap::new(),
            verify: HashMap::new(),
            copied: 0,
            copied_bytes: 0,
        };
        Self { inside: Mutex::new(inside), planning: Mutex::default() }
    }

    pub(super) fn open(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plan_alone(&self) -> MutexGuard<'_, ()> {
        self.planning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The node is to look at its copy.
    pub(super) fn ask(&mut self, node: PublicKey, id: BlockId) {
        let asked = self.verify.entry(node).or_default();
        if asked.len() < MAX_DAMAGE && !asked.contains(&id) {
            asked.push(id);
        }
    }
}
