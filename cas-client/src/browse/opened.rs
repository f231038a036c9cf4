//! A snapshot, opened for reading.
//!
//! Promise: its record was signed by a device that may, and is the very version that the index told.

use super::Book;
use super::library::Library;
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::reference::Reference;
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::BlockId;
use cas_core::manifest::{BlockSource, Entry, Manifest};
use cas_core::secret::DomainKeys;
use cas_core::snapshot::{Details, What};
use cas_net::SnapshotRow;
use std::sync::Arc;

/// An open snapshot.
pub struct Opened {
    /// What the index says of it; name, seq, root and time are those of the signed record.
    pub row: SnapshotRow,
    /// What only its readers know.
    pub details: Details,
    fetcher: Arc<Fetcher>,
}

impl Opened {
    /// Opens the snapshot that a reference means; its path is not looked at.
    pub fn open(store: &Store, vault: &mut Vault, reference: &Reference) -> Result<Self> {
        Library::open(store, vault, Some(reference))?.open_reference(reference)
    }

    pub(super) fn new(row: SnapshotRow, details: Details, fetcher: Arc<Fetcher>) -> Self {
        Self { row, details, fetcher }
    }

    /// Reads and verifies the details of a version.
    pub(super) fn details_of(store: &Store, vault: &Vault, row: &SnapshotRow) -> Result<Details> {
        let object = vault.record_of(store, &row.snapshot)?;
        let record = object.record();
        let signed = (record.vault, record.name.as_str(), record.seq, record.root, record.time_ns);
        let told = (row.vault, row.name.as_str(), row.seq, row.root, row.time_ns);
        if object.what() != What::Snapshot || signed != told {
            return Err(ClientError::Untrusted {
                what: format!("snapshot {}", row.snapshot.short()),
                why: format!("the index calls it {} version {}, its record does not", row.name, row.seq),
            });
        }
        vault.details(&object)
    }

    /// The id of the root page.
    pub fn root(&self) -> BlockId {
        self.row.root
    }

    /// The keys of its domain.
    pub fn keys(&self) -> &Arc<DomainKeys> {
        self.fetcher.keys()
    }

    /// What gets its blocks.
    pub fn fetcher(&self) -> &Arc<Fetcher> {
        &self.fetcher
    }

    /// Its manifest. Opens nothing yet.
    pub fn book(&self) -> Book {
        self.manifest(self.fetcher.clone())
    }

    /// The same, read through another source.
    pub fn manifest<S: BlockSource>(&self, source: S) -> Manifest<S> {
        Manifest::new(source, self.keys(), &self.details.domain, self.row.root, self.details.root.clone())
    }

    /// The entry of the one folder that was pushed, if it was one.
    pub fn top(&self) -> Option<Entry> {
        Entry::decode(&self.details.entry).ok()
    }
}
