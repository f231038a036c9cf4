//! What forgetting snapshots would free: the collector's own arithmetic, done on paper.
//!
//! Promise: exactly what `gc` would delete on their account once they have left the trash, if nothing else happens: a block
//! falls when the last page or snapshot that holds it falls. Garbage that waits for the collector already is not
//! counted, and holds nothing; nor are the removals that forgetting itself writes. Costs what is freed, not what is
//! stored, unless there is such garbage.

use super::go_on;
use super::reach::Reached;
use crate::error::Result;
use cas_core::id::BlockId;
use cas_net::{Index, RowState, SnapshotRow, StoredRow};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

/// Rows asked for at once.
const BATCH: usize = 4096;

/// What would be freed.
pub type Freed = Reached;

/// Answers what forgetting would free, again and again. True as long as nothing is written.
pub struct Forecast<'a> {
    index: &'a dyn Index,
    /// What has fallen already, and what that held.
    garbage: Fall,
}

impl<'a> Forecast<'a> {
    /// Looks for garbage first, if there is any.
    pub fn new(index: &'a dyn Index, stop: &AtomicBool) -> Result<Self> {
        let mut garbage = Fall::default();
        if index.status()?.unreferenced > 0 {
            garbage.drop_garbage(index, stop)?;
        }
        Ok(Self { index, garbage })
    }

    /// Blocks that wait for the collector already.
    pub fn garbage(&self) -> Freed {
        self.garbage.fallen
    }

    /// What would be freed if these snapshots were forgotten, all together.
    pub fn freed_by_forgetting<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r SnapshotRow>,
        stop: &AtomicBool,
    ) -> Result<Freed> {
        let mut fall = Fall { fallen: Freed::default(), ..self.garbage.clone() };
        for row in rows {
            fall.let_go(row.root);
            fall.let_go(row.object);
        }
        fall.settle(self.index, stop)?;
        Ok(fall.fallen)
    }
}

#[derive(Clone, Default)]
struct Fall {
    /// How many holders of a block have fallen.
    lost: HashMap<BlockId, u32>,
    /// Blocks that lost a holder and were not looked at since.
    waiting: Vec<BlockId>,
    gone: HashSet<BlockId>,
    fallen: Freed,
}

impl Fall {
    fn let_go(&mut self, block: BlockId) {
        *self.lost.entry(block).or_default() += 1;
        self.waiting.push(block);
    }

    /// Lets everything fall that nobody holds now.
    fn drop_garbage(&mut self, index: &dyn Index, stop: &AtomicBool) -> Result<()> {
        let mut after = None;
        loop {
            go_on(stop)?;
            let rows = index.list_rows(after, BATCH)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            self.waiting.extend(rows.iter().filter(|row| row.count == 0).map(|row| row.id));
        }
        self.settle(index, stop)
    }

    fn settle(&mut self, index: &dyn Index, stop: &AtomicBool) -> Result<()> {
        while !self.waiting.is_empty() {
            go_on(stop)?;
            let from = self.waiting.len().saturating_sub(BATCH);
            let mut ids = self.waiting.split_off(from);
            ids.sort();
            ids.dedup();
            for row in index.rows(&ids)?.into_iter().flatten() {
                self.look_at(index, &row)?;
            }
        }
        Ok(())
    }

    fn look_at(&mut self, index: &dyn Index, row: &StoredRow) -> Result<()> {
        let lost = self.lost.get(&row.id).copied().unwrap_or(0);
        // What is condemned has let go of its children already.
        let falls = row.count <= lost && !matches!(row.state, RowState::Condemned(_));
        if !falls || !self.gone.insert(row.id) {
            return Ok(());
        }
        self.lost.remove(&row.id);
        self.fallen.count(row);
        if row.kind.has_children() {
            index.children(&row.id)?.into_iter().for_each(|child| self.let_go(child));
        }
        Ok(())
    }
}
