//! The rows of the index beside the blocks of the node, both in order of id, and what is needed against both.

use super::part::Part;
use super::reached::{Needed, Reached};
use super::{CheckReport, Findings, copies};
use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::{BlockId, Kind};
use cas_net::{RowState, StoredBlock, StoredRow};
use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub(super) const STEP: usize = 16_384;

/// Compares one part: that of `reached`.
pub(super) fn compare(
    store: &Store,
    vault: Option<&Vault>,
    reached: &Reached,
    report: &mut CheckReport,
    found: &mut Findings,
    stop: &AtomicBool,
) -> Result<()> {
    if let Some(cluster) = store.cluster() {
        return copies::compare(store, &**cluster.placement(), vault, reached, report, found, stop);
    }
    let part = reached.part();
    let mut rows = Paged::new(part, |after| Ok(store.index().list_rows(after, STEP)?), |row: &StoredRow| row.id);
    let mut blocks = Paged::new(part, |after| Ok(store.node()?.list(after, STEP)?), |block: &StoredBlock| block.id);
    let mut has_row = vec![false; reached.len()];
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
            let needed = reached.place(&row.id);
            needed.into_iter().for_each(|place| has_row[place] = true);
            let stored = block.as_ref().filter(|_| order == Ordering::Equal);
            if let Some((what, is_damage)) = wrong(row, stored, needed.is_some()) {
                found.block(row.id, what, is_damage);
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
    note_unknown(vault, reached, &has_row, found);
    Ok(())
}

/// What snapshots need and the index does not know.
pub(super) fn note_unknown(vault: Option<&Vault>, reached: &Reached, has_row: &[bool], found: &mut Findings) {
    for place in (0..has_row.len()).filter(|place| !has_row[*place]) {
        found.unknown(reached.digits(place), data_id(vault, &reached.at(place)));
    }
}

/// The whole id, where it follows from the key.
fn data_id(vault: Option<&Vault>, needed: &Needed) -> Option<BlockId> {
    let (vault, key) = vault.zip(needed.key.as_ref())?;
    (needed.kind == Kind::Data).then(|| vault.keys().block_id(Kind::Data, key, &[]))
}

/// What is wrong with a row, beside the block that is stored, and whether another copy of the block would cure it.
fn wrong(row: &StoredRow, stored: Option<&StoredBlock>, needed: bool) -> Option<(String, bool)> {
    wrong_row(row, needed).or_else(|| wrong_copy(row, stored))
}

/// What is wrong with a row alone. One that is being deleted has no copies that anybody wants.
pub(super) fn wrong_row(row: &StoredRow, needed: bool) -> Option<(String, bool)> {
    if let RowState::Condemned(epoch) = row.state {
        return needed.then(|| (format!("a snapshot needs it, and it is being deleted since {epoch}"), false));
    }
    if row.state == RowState::Bad {
        return Some(("it was found damaged before".to_owned(), true));
    }
    if needed && row.count == 0 {
        return Some(("a snapshot needs it, and its count is 0".to_owned(), false));
    }
    None
}

fn wrong_copy(row: &StoredRow, stored: Option<&StoredBlock>) -> Option<(String, bool)> {
    if matches!(row.state, RowState::Condemned(_)) {
        return None;
    }
    match stored {
        None => Some(("the index knows it, and the node does not have it".to_owned(), true)),
        Some(block) if (block.sum, block.len) != (row.sum, row.len) => {
            let what = format!(
                "the node has {} bytes of sum {}, the index knows {} of {}",
                block.len, block.sum, row.len, row.sum
            );
            Some((what, true))
        }
        Some(_) => None,
    }
}

/// A listing of one part, in steps.
pub(super) struct Paged<T, F, I> {
    list: F,
    id: I,
    part: Part,
    step: std::vec::IntoIter<T>,
    after: Option<BlockId>,
}

impl<T, F: Fn(Option<BlockId>) -> Result<Vec<T>>, I: Fn(&T) -> BlockId> Paged<T, F, I> {
    pub(super) fn new(part: Part, list: F, id: I) -> Self {
        Self { list, id, part, step: Vec::new().into_iter(), after: part.after() }
    }

    pub(super) fn next(&mut self) -> Result<Option<T>> {
        if self.step.len() == 0 {
            self.step = (self.list)(self.after)?.into_iter();
        }
        let next = self.step.next();
        if let Some(item) = &next {
            self.after = Some((self.id)(item));
        }
        Ok(next.filter(|item| self.part.holds(&(self.id)(item))))
    }
}
