//! The rows of the index beside the blocks of the node, both in order of id, and what is reachable against both.

use super::walk::Reached;
use super::{CheckReport, Findings};
use crate::error::{ClientError, Result};
use crate::store::Store;
use cas_core::id::BlockId;
use cas_net::{RowState, StoredBlock, StoredRow};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const STEP: usize = 16_384;

pub(super) fn compare(
    store: &Store,
    reached: &Reached,
    report: &mut CheckReport,
    found: &mut Findings,
    stop: &AtomicBool,
) -> Result<()> {
    let mut rows = Paged::new(|after| Ok(store.index().list_rows(after, STEP)?), |row: &StoredRow| row.id);
    let mut blocks = Paged::new(|after| Ok(store.node().list(after, STEP)?), |block: &StoredBlock| block.id);
    let mut without_row: HashSet<&BlockId> = reached.blocks.keys().collect();
    let (mut row, mut block) = (rows.next()?, blocks.next()?);
    loop {
        if stop.load(Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let order = match (&row, &block) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(row), Some(block)) => row.id.cmp(&block.id),
        };
        if let Some(row) = row.as_ref().filter(|_| order != Ordering::Greater) {
            report.blocks += 1;
            without_row.remove(&row.id);
            let stored = block.as_ref().filter(|_| order == Ordering::Equal);
            if let Some(what) = wrong(row, stored, reached.blocks.contains_key(&row.id)) {
                found.block(row.id, what);
            }
        } else {
            report.orphans += 1;
        }
        if order != Ordering::Greater {
            row = rows.next()?;
        }
        if order != Ordering::Less {
            block = blocks.next()?;
        }
    }
    without_row
        .into_iter()
        .for_each(|id| found.block(*id, "a snapshot needs it, and the index does not know it".into()));
    Ok(())
}

/// What is wrong with a row, beside the block that is stored.
fn wrong(row: &StoredRow, stored: Option<&StoredBlock>, needed: bool) -> Option<String> {
    if let RowState::Condemned(epoch) = row.state {
        return needed.then(|| format!("a snapshot needs it, and it is being deleted since {epoch}"));
    }
    if row.state == RowState::Bad {
        return Some("it was found damaged before".to_owned());
    }
    if needed && row.count == 0 {
        return Some("a snapshot needs it, and its count is 0".to_owned());
    }
    match stored {
        None => Some("the index knows it, and the node does not have it".to_owned()),
        Some(block) if (block.sum, block.len) != (row.sum, row.len) => Some(format!(
            "the node has {} bytes of sum {}, the index knows {} of {}",
            block.len, block.sum, row.len, row.sum
        )),
        Some(_) => None,
    }
}

/// A listing in steps.
struct Paged<T, F, I> {
    list: F,
    id: I,
    step: std::vec::IntoIter<T>,
    after: Option<BlockId>,
}

impl<T, F: Fn(Option<BlockId>) -> Result<Vec<T>>, I: Fn(&T) -> BlockId> Paged<T, F, I> {
    fn new(list: F, id: I) -> Self {
        Self { list, id, step: Vec::new().into_iter(), after: None }
    }

    fn next(&mut self) -> Result<Option<T>> {
        if self.step.len() == 0 {
            self.step = (self.list)(self.after)?.into_iter();
        }
        let next = self.step.next();
        if let Some(item) = &next {
            self.after = Some((self.id)(item));
        }
        Ok(next)
    }
}
