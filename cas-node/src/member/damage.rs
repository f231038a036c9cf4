//! Blocks that this node found it has lost, until the index knows.
//!
//! Bounded: what finds no room is found again by the next scrub.

use cas_core::id::BlockId;
use cas_net::NodeId;
use cas_net::cluster::{Damage, MAX_DAMAGE};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blocks that wait to be reported.
const MAX_WAITING: usize = 1 << 18;

/// Blocks that wait to be reported.
#[derive(Debug, Default)]
pub struct Losses(Mutex<BTreeSet<BlockId>>);

impl Losses {
    /// Notes lost blocks.
    pub fn note(&self, ids: impl IntoIterator<Item = BlockId>) {
        let mut waiting = self.open();
        for id in ids {
            if waiting.len() < MAX_WAITING {
                waiting.insert(id);
            }
        }
    }

    /// As many as go with one beat.
    pub fn next(&self, node: NodeId) -> Vec<Damage> {
        self.open().iter().take(MAX_DAMAGE).map(|id| Damage { node, id: *id }).collect()
    }

    /// The index knows of these.
    pub fn told(&self, damage: &[Damage]) {
        let mut waiting = self.open();
        for told in damage {
            waiting.remove(&told.id);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<BlockId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
