//! Which blocks snapshots hold: a walk over the index's edges, without any key.
//!
//! Promise: each block is counted once, whatever holds it. Memory is 16 bytes per block and what a hash set needs beside.

use super::go_on;
use crate::error::Result;
use cas_core::id::{BlockId, Kind};
use cas_net::{Index, StoredRow};
use std::collections::HashSet;
use std::ops::AddAssign;
use std::sync::atomic::AtomicBool;

/// Rows asked for at once.
const BATCH: usize = 4096;

/// Blocks and their stored bytes, once, before replication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// Blocks of file contents.
    pub data_blocks: u64,
    /// Their stored bytes.
    pub data_bytes: u64,
    /// Pages, lists and objects.
    pub meta_blocks: u64,
    /// Their stored bytes.
    pub meta_bytes: u64,
    /// Blocks that the index marks bad.
    pub bad: u64,
    /// Blocks that are referred to and have no row.
    pub missing: u64,
}

impl Reached {
    /// All blocks that are there.
    pub fn blocks(&self) -> u64 {
        self.data_blocks + self.meta_blocks
    }

    /// All stored bytes.
    pub fn bytes(&self) -> u64 {
        self.data_bytes + self.meta_bytes
    }

    pub(super) fn count(&mut self, row: &StoredRow) {
        let (blocks, bytes) = match row.kind {
            Kind::Data => (&mut self.data_blocks, &mut self.data_bytes),
            _ => (&mut self.meta_blocks, &mut self.meta_bytes),
        };
        *blocks += 1;
        *bytes += u64::from(row.len);
        self.bad += u64::from(row.state == cas_net::RowState::Bad);
    }
}

impl AddAssign for Reached {
    fn add_assign(&mut self, more: Self) {
        self.data_blocks += more.data_blocks;
        self.data_bytes += more.data_bytes;
        self.meta_blocks += more.meta_blocks;
        self.meta_bytes += more.meta_bytes;
        self.bad += more.bad;
        self.missing += more.missing;
    }
}

/// A walk that remembers where it was.
#[derive(Debug, Default)]
pub struct Reach {
    /// Half of each id: enough to tell them apart.
    seen: HashSet<[u8; 16]>,
}

impl Reach {
    /// Counts a block and everything below it that was not met before.
    pub fn add(&mut self, index: &dyn Index, root: BlockId, stop: &AtomicBool) -> Result<Reached> {
        let mut reached = Reached::default();
        let mut waiting = Vec::new();
        let mut inner = Vec::new();
        self.meet(root, &mut waiting);
        loop {
            go_on(stop)?;
            if waiting.len() < BATCH
                && let Some(page) = inner.pop()
            {
                index.children(&page)?.into_iter().for_each(|child| self.meet(child, &mut waiting));
                continue;
            }
            if waiting.is_empty() {
                return Ok(reached);
            }
            for row in index.rows(&std::mem::take(&mut waiting))? {
                let Some(row) = row else {
                    reached.missing += 1;
                    continue;
                };
                reached.count(&row);
                if row.kind.has_children() {
                    inner.push(row.id);
                }
            }
        }
    }

    fn meet(&mut self, id: BlockId, waiting: &mut Vec<BlockId>) {
        if self.seen.insert(half(&id)) {
            waiting.push(id);
        }
    }
}

pub(super) fn half(id: &BlockId) -> [u8; 16] {
    id.as_bytes()[..16].try_into().expect("16 of 32")
}
