//! Changes since the last checkpoint, in memory, over the file of the tables.
//!
//! DESIGN §7 has each group applied in a redb transaction of its own. Measured against that, this is better in
//! all that was asked for: redb is written at checkpoints only, in one sorted pass over net effects; a short run
//! neither writes nor syncs it; there is one state after a crash (the last checkpoint) however it happened.
//! The price is memory, bounded by [`Layered::weight`] and the log bytes between checkpoints.

use super::file::{Changes, TablesFile};
use super::{Table, Tables, Visit};
use cas_net::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Memory of one changed row beside key and value.
const ROW_OVERHEAD: usize = 96;

/// Tables as changes over the file.
pub struct Layered {
    file: TablesFile,
    changes: Changes,
    weight: usize,
}

impl Layered {
    /// No changes yet.
    pub fn over(file: TablesFile) -> Self {
        Self { file, changes: Default::default(), weight: 0 }
    }

    /// About how many bytes of memory the changes take.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The file below.
    pub fn file(&self) -> &TablesFile {
        &self.file
    }

    /// The file below, to be opened for writing or swapped.
    pub fn file_mut(&mut self) -> &mut TablesFile {
        &mut self.file
    }

    /// What was changed.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Puts the changes into the file, durably. For whoever has the tables alone; the writer of an index does the same
    /// without keeping its readers out.
    pub fn save(&mut self) -> Result<()> {
        if self.file.wants_rewrite(&self.changes, true)? {
            let rewritten = self.file.write_new(&self.changes)?;
            self.file.swap(rewritten)?;
        } else {
            self.file.make_writable()?;
            self.file.merge(&self.changes)?;
            self.file.reload()?;
        }
        self.forget_changes();
        Ok(())
    }

    /// The same rows for ever, for a long read while changes go on. Copies the changes since the last checkpoint.
    pub fn frozen(&mut self) -> Result<Self> {
        Ok(Self { file: self.file.frozen()?, changes: self.changes.clone(), weight: self.weight })
    }

    /// The changes are in the file now.
    pub fn forget_changes(&mut self) {
        self.changes = Default::default();
        self.weight = 0;
    }
}

impl Tables for Layered {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>> {
        match self.changes[table as usize].get(key) {
            Some(changed) => Ok(changed.as_deref().map(Cow::Borrowed)),
            None => Ok(self.file.get(table, key)?.map(Cow::Owned)),
        }
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        merged(&self.file, table, &self.changes[table as usize], from, visit)
    }

    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.weight += ROW_OVERHEAD + key.len() + value.len();
        self.changes[table as usize].insert(key.to_vec(), Some(value));
    }

    fn remove(&mut self, table: Table, key: &[u8]) {
        self.weight += ROW_OVERHEAD + key.len();
        self.changes[table as usize].insert(key.to_vec(), None);
    }
}

/// The rows of a table with its changes, in order of keys.
pub(super) fn merged(
    file: &TablesFile,
    table: Table,
    changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    from: &[u8],
    visit: Visit<'_>,
) -> Result<()> {
    let mut changed = changes.range(from.to_vec()..).peekable();
    let mut stopped = false;
    file.scan(table, from, &mut |key, value| {
        while let Some((new_key, new_value)) = changed.next_if(|(k, _)| k.as_slice() < key) {
            if let Some(new_value) = new_value
                && !visit(new_key, new_value)?
            {
                stopped = true;
                return Ok(false);
            }
        }
        let shadow = changed.next_if(|(k, _)| k.as_slice() == key);
        let goes_on = match shadow {
            None => visit(key, value)?,
            Some((_, Some(value))) => visit(key, value)?,
            Some((_, None)) => true,
        };
        stopped = !goes_on;
        Ok(goes_on)
    })?;
    if stopped {
        return Ok(());
    }
    for (key, value) in changed {
        if let Some(value) = value
            && !visit(key, value)?
        {
            break;
        }
    }
    Ok(())
}
