//! The snapshots of a vault, and opening them.
//!
//! Promise: a history that went back is noticed before anything of it is told.

use super::near::near;
use super::opened::Opened;
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::reference::{Reference, Which};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::SnapshotId;
use cas_core::secret::DomainKeys;
use cas_net::{SnapshotRow, SnapshotState};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The snapshots of a vault.
pub struct Library<'a> {
    store: &'a Store,
    vault: &'a Vault,
    rows: Vec<SnapshotRow>,
    /// One per domain met.
    fetchers: RefCell<Vec<Arc<Fetcher>>>,
}

impl<'a> Library<'a> {
    /// Lists them, those in the trash, too, and compares every name with what was seen of it before. `wanted` is what
    /// the person asked for: that its name is gone altogether is noticed as well.
    pub fn open(store: &'a Store, vault: &'a mut Vault, wanted: Option<&Reference>) -> Result<Self> {
        let mut rows = store.index().snapshots(&vault.id(), None, true)?;
        let mut names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        names.extend(wanted.and_then(name_in));
        // What is told in the place of an index that is away may well be older than what was seen.
        for name in names.into_iter().filter(|_| store.away().is_none()) {
            let head = store.index().head(&vault.id(), name)?;
            let (seq, id) = head.unwrap_or((0, SnapshotId::ZERO));
            vault.see_head(store, name, seq, id)?;
        }
        vault.memory().save()?;
        rows.sort_by(|a, b| (&a.name, a.seq).cmp(&(&b.name, b.seq)));
        Ok(Self { store, vault, rows, fetchers: RefCell::default() })
    }

    /// The store.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// All versions, by name and seq; those in the trash, too.
    pub fn rows(&self) -> &[SnapshotRow] {
        &self.rows
    }

    /// Those that are not in the trash.
    pub fn live(&self) -> Vec<SnapshotRow> {
        self.rows.iter().filter(|row| row.state == SnapshotState::Live).cloned().collect()
    }

    /// The version that a reference means, among those that are not in the trash.
    pub fn choose(&self, reference: &Reference) -> Result<SnapshotRow> {
        reference.choose(&self.live()).cloned().map_err(|e| self.but(e, reference))
    }

    /// The version that a reference means, among these.
    pub fn choose_among<'r>(&self, reference: &Reference, rows: &'r [SnapshotRow]) -> Result<&'r SnapshotRow> {
        reference.choose(rows).map_err(|e| self.but(e, reference))
    }

    /// Adds what the person may have meant.
    fn but(&self, error: ClientError, reference: &Reference) -> ClientError {
        let ClientError::NotFound { what, name } = error else { return error };
        let live = self.live();
        let text = name_in(reference).unwrap_or(&name);
        let but = if let Ok(row) = reference.choose(&self.rows) {
            format!("{}@{} is in the trash: cas undelete brings it back", row.name, row.seq)
        } else if let Some(row) = live.iter().rev().find(|row| row.name == text) {
            format!("its newest version is {}@{}", row.name, row.seq)
        } else {
            match near(text, live.iter().map(|row| &row.name[..])).join(" or ") {
                names if names.is_empty() => return ClientError::NotFound { what, name },
                names => format!("did you mean {names}?"),
            }
        };
        ClientError::NotFoundBut { what, name, but }
    }

    /// Opens the snapshot that a reference means.
    pub fn open_reference(&self, reference: &Reference) -> Result<Opened> {
        self.open_row(&self.choose(reference)?)
    }

    /// Opens a snapshot.
    pub fn open_row(&self, row: &SnapshotRow) -> Result<Opened> {
        let details = Opened::details_of(self.store, self.vault, row)?;
        let keys = DomainKeys::new(details.secrets[0].clone());
        let mut fetchers = self.fetchers.borrow_mut();
        let known = fetchers.iter().find(|f| f.keys().domain_id() == keys.domain_id()).cloned();
        let fetcher = known.unwrap_or_else(|| {
            let new = Arc::new(Fetcher::new(self.store.nodes().clone(), Arc::new(keys)));
            fetchers.push(new.clone());
            new
        });
        Ok(Opened::new(row.clone(), details, fetcher))
    }
}

/// What may be a name in a reference.
fn name_in(reference: &Reference) -> Option<&str> {
    match &reference.which {
        Which::NameOrId(text) => Some(text),
        Which::Version { name, .. } => Some(name),
    }
}
