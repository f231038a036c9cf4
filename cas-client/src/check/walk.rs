//! From all roots through pages and lists, each once: what is reachable, and whether every page's clear list of
//! children is that of the references inside, and that which the index counts by.

use super::{Findings, in_one_line};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::{BlockId, Kind};
use cas_core::manifest::{BlockSource, List, OpenedBlock, Page, Reference};
use cas_core::secret::{ContentKey, DomainKeys};
use cas_net::SnapshotRow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What snapshots reach.
pub(super) struct Reached {
    /// Kind and key of every sealed block.
    pub blocks: HashMap<BlockId, (Kind, ContentKey)>,
    /// Pages and lists that were opened.
    pub pages: u64,
}

pub(super) fn walk(
    store: &Store,
    vault: &Vault,
    rows: &[SnapshotRow],
    found: &mut Findings,
    stop: &AtomicBool,
) -> Result<Reached> {
    let keys = vault.keys().clone();
    let fetcher = Fetcher::new(store.node().clone(), keys.clone());
    let mut reached = Reached { blocks: HashMap::new(), pages: 0 };
    let mut open: Vec<(BlockId, Kind, ContentKey)> = Vec::new();
    for row in rows {
        match root_of(store, vault, row) {
            Ok(key) => push(&mut reached, &mut open, row.root, Kind::Page, key),
            Err(e) => found.snapshot(row, &in_one_line(&e)),
        }
        while let Some((id, kind, key)) = open.pop() {
            if stop.load(Relaxed) {
                return Err(ClientError::Interrupted);
            }
            reached.pages += 1;
            match references(store, &fetcher, &keys, &id, kind, &key) {
                Ok(inner) => inner.into_iter().for_each(|(id, kind, key)| push(&mut reached, &mut open, id, kind, key)),
                Err(e) => found.block(id, in_one_line(&e)),
            }
        }
    }
    Ok(reached)
}

fn push(reached: &mut Reached, open: &mut Vec<(BlockId, Kind, ContentKey)>, id: BlockId, kind: Kind, key: ContentKey) {
    if reached.blocks.insert(id, (kind, key.clone())).is_none() && kind.has_children() {
        open.push((id, kind, key));
    }
}

/// The key of a snapshot's root, from its signed record and sealed details.
fn root_of(store: &Store, vault: &Vault, row: &SnapshotRow) -> Result<ContentKey> {
    let object = vault.record_of(store, &row.snapshot)?;
    if object.record().root != row.root || object.record().seq != row.seq || object.record().name.as_str() != row.name {
        return Err(ClientError::Untrusted {
            what: format!("the index's row of {}@{}", row.name, row.seq),
            why: "its signed record says something else".to_owned(),
        });
    }
    Ok(vault.details(&object)?.root)
}

/// What a page or list refers to.
fn references(
    store: &Store,
    fetcher: &Fetcher,
    keys: &Arc<DomainKeys>,
    id: &BlockId,
    kind: Kind,
    key: &ContentKey,
) -> Result<Vec<(BlockId, Kind, ContentKey)>> {
    let OpenedBlock { plaintext, children } = fetcher.open(kind, id, key)?;
    let damaged = |why: &str| ClientError::damaged(*id, why.to_owned());
    let (references, matches): (Vec<Reference>, bool) = if kind == Kind::Page {
        let page = Page::decode(plaintext).map_err(|e| ClientError::damaged(*id, e))?;
        (page.references().to_vec(), page.match_children(keys, &children))
    } else {
        let list = List::decode(&plaintext).map_err(|e| ClientError::damaged(*id, e))?;
        (list.references().to_vec(), list.match_children(keys, &children))
    };
    if !matches {
        return Err(damaged("its clear list of children is not that of its entries"));
    }
    if store.index().children(id)? != children {
        return Err(damaged("the index counts by other children than it has"));
    }
    Ok(references.into_iter().zip(children).map(|(r, id)| (id, r.kind, r.key)).collect())
}
