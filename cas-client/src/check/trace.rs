//! From damaged blocks to the snapshots and paths that lose something by them.

use super::in_one_line;
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::BlockId;
use cas_core::manifest::{Content, EntryWithIds, Manifest};
use cas_net::SnapshotRow;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a damaged block costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The snapshot.
    pub row: SnapshotRow,
    /// A path, or a range of paths in words if a page of the manifest is gone.
    pub path: Vec<u8>,
    /// The block.
    pub block: BlockId,
}

pub(super) fn trace(
    store: &Store,
    vault: &Vault,
    rows: &[SnapshotRow],
    damaged: &BTreeSet<BlockId>,
    stop: &AtomicBool,
) -> Result<Vec<Touched>> {
    let mut by_root: BTreeMap<BlockId, Vec<(Vec<u8>, BlockId)>> = BTreeMap::new();
    let mut touched = Vec::new();
    for row in rows.iter().filter(|row| row.vault == vault.id()) {
        let Some(key) = vault.record_of(store, &row.snapshot).and_then(|o| vault.details(&o)).ok().map(|d| d.root)
        else {
            continue;
        };
        let paths = match by_root.entry(row.root) {
            Occupied(known) => known.into_mut(),
            Vacant(place) => {
                let fetcher = Fetcher::new(store.nodes().clone(), vault.keys().clone());
                let manifest = Manifest::new(fetcher, vault.keys(), vault.record(), row.root, key);
                place.insert(paths(&manifest, damaged, stop)?)
            }
        };
        touched.extend(paths.iter().map(|(path, block)| Touched {
            row: row.clone(),
            path: path.clone(),
            block: *block,
        }));
    }
    Ok(touched)
}

fn paths(
    manifest: &Manifest<Fetcher>,
    damaged: &BTreeSet<BlockId>,
    stop: &AtomicBool,
) -> Result<Vec<(Vec<u8>, BlockId)>> {
    let mut out = Vec::new();
    for entry in manifest.cursor() {
        if stop.load(Relaxed) {
            return Err(ClientError::Interrupted);
        }
        match entry {
            Ok(entry) => {
                out.extend(first_damaged(manifest, &entry, damaged).map(|id| (entry.path.as_bytes().to_vec(), id)))
            }
            Err(e) => {
                let show = |path: &Option<Vec<u8>>, none: &str| {
                    path.as_ref().map_or(none.to_owned(), |p| String::from_utf8_lossy(p).into_owned())
                };
                let (after, until) = (show(&e.gap.after, "the beginning"), show(&e.gap.until, "the end"));
                let range = format!("everything after {after} up to {until} ({})", in_one_line(&e.cause));
                out.push((range.into_bytes(), e.block));
            }
        }
    }
    Ok(out)
}

/// The first damaged block of an entry, also inside its lists.
fn first_damaged(manifest: &Manifest<Fetcher>, entry: &EntryWithIds, damaged: &BTreeSet<BlockId>) -> Option<BlockId> {
    if let Some(id) = entry.ids.iter().find(|id| damaged.contains(id)) {
        return Some(*id);
    }
    if !matches!(entry.entry.content, Content::List { .. }) {
        return None;
    }
    manifest.pieces(entry)?.find_map(|piece| match piece {
        Ok(piece) => piece.block.map(|(id, _)| id).filter(|id| damaged.contains(id)),
        Err(e) => Some(e.block),
    })
}
