//! The rows of the index beside what it knows of their copies: a check of a cluster that reads no block.
//!
//! Every row has its copies where the layout wants them, or is named with what is missing. Without any copy that counts it is
//! damage; with some it is short, and the index is healing it. What nodes hold beyond rows they ask the index about themselves.

use super::compare::{Paged, STEP, note_unknown, wrong_row};
use super::reached::Reached;
use super::{CheckReport, Findings, Short};
use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_net::cluster::{Cluster, Located};
use cas_net::{RowState, StoredRow};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Blocks that are short of copies and listed by name.
pub(super) const MAX_SHORT: usize = 1000;

/// Compares one part: that of `reached`.
pub(super) fn compare(
    store: &Store,
    placement: &dyn Cluster,
    vault: Option<&Vault>,
    reached: &Reached,
    report: &mut CheckReport,
    found: &mut Findings,
    stop: &AtomicBool,
) -> Result<()> {
    let list = |after| Ok(store.index().list_rows(after, STEP)?);
    let mut rows = Paged::new(reached.part(), list, |row: &StoredRow| row.id);
    let mut has_row = vec![false; reached.len()];
    loop {
        if stop.load(Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let mut step = Vec::with_capacity(STEP);
        while step.len() < STEP {
            let Some(row) = rows.next()? else { break };
            step.push(row);
        }
        if step.is_empty() {
            break;
        }
        let located = placement.locate(&step.iter().map(|row| row.id).collect::<Vec<_>>())?;
        for (row, located) in step.iter().zip(located) {
            report.blocks += 1;
            let needed = reached.place(&row.id);
            needed.into_iter().for_each(|place| has_row[place] = true);
            match wrong_row(row, needed.is_some()) {
                Some((what, is_damage)) => found.block(row.id, what, is_damage),
                None => judge(row, located, report, found),
            }
        }
    }
    note_unknown(vault, reached, &has_row, found);
    Ok(())
}

fn judge(row: &StoredRow, located: Option<Located>, report: &mut CheckReport, found: &mut Findings) {
    match located {
        _ if matches!(row.state, RowState::Condemned(_)) => {}
        // It was condemned since it was listed.
        None => {}
        Some(Located { nodes, .. }) if nodes.is_empty() => {
            found.block(row.id, "no node has a copy of it that counts".to_owned(), true);
        }
        Some(Located { missing, .. }) if missing.is_empty() => {}
        Some(Located { id, missing, .. }) => {
            report.short_blocks += 1;
            if report.short.len() < MAX_SHORT {
                report.short.push(Short { block: id, missing });
            }
        }
    }
}
