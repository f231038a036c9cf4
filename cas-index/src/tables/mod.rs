//! Tables: sorted maps of bytes that the state machine reads and writes. FORMAT §9.
//!
//! The state machine sees the trait [`Tables`] only. [`MemTables`] keeps everything in memory (tests, simulation);
//! [`Layered`] keeps the changes since the last checkpoint in memory, over a redb file that holds the rest.

mod backend;
mod file;
mod layered;

pub use file::{TablesFile, TablesSize};
pub use layered::Layered;

use cas_net::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The tables by number; FORMAT §9 says what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "FORMAT §9 describes each")]
pub enum Table {
    Meta = 0,
    Blocks = 1,
    Kids = 2,
    Zero = 3,
    Condemned = 4,
    Names = 5,
    Snapshots = 6,
    Objects = 7,
    Trash = 8,
    Stubs = 9,
    Commits = 10,
    Sessions = 11,
    Vaults = 12,
    Keyrings = 13,
    Interned = 14,
    Damaged = 15,
    Rights = 16,
    Audit = 17,
    Cluster = 18,
    Heal = 19,
    Graves = 20,
}

impl Table {
    /// All of them in order of number.
    pub const ALL: [Self; 21] = [
        Self::Meta,
        Self::Blocks,
        Self::Kids,
        Self::Zero,
        Self::Condemned,
        Self::Names,
        Self::Snapshots,
        Self::Objects,
        Self::Trash,
        Self::Stubs,
        Self::Commits,
        Self::Sessions,
        Self::Vaults,
        Self::Keyrings,
        Self::Interned,
        Self::Damaged,
        Self::Rights,
        Self::Audit,
        Self::Cluster,
        Self::Heal,
        Self::Graves,
    ];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Blocks => "blocks",
            Self::Kids => "kids",
            Self::Zero => "zero",
            Self::Condemned => "condemned",
            Self::Names => "names",
            Self::Snapshots => "snapshots",
            Self::Objects => "objects",
            Self::Trash => "trash",
            Self::Stubs => "stubs",
            Self::Commits => "commits",
            Self::Sessions => "sessions",
            Self::Vaults => "vaults",
            Self::Keyrings => "keyrings",
            Self::Interned => "interned",
            Self::Damaged => "damaged",
            Self::Rights => "rights",
            Self::Audit => "audit",
            Self::Cluster => "cluster",
            Self::Heal => "heal",
            Self::Graves => "graves",
        }
    }
}

/// Called with key and value of each row of a scan; answers whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// Sorted maps from bytes to bytes.
pub trait Tables {
    /// The value of a key, verified.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>>;
    /// All rows with keys from `from` on, in order.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()>;
    /// Sets the value of a key.
    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>);
    /// Removes a key.
    fn remove(&mut self, table: Table, key: &[u8]);

    /// All rows whose keys begin with `prefix`, in order.
    fn scan_prefix(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<()> {
        self.scan(table, prefix, &mut |key, value| Ok(key.starts_with(prefix) && visit(key, value)?))
    }
}

/// All tables in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemTables {
    rows: [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()],
}

impl Tables for MemTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(self.rows[table as usize].get(key).map(|v| Cow::Borrowed(&v[..])))
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        for (key, value) in self.rows[table as usize].range(from.to_vec()..) {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.rows[table as usize].insert(key.to_vec(), value);
    }

    fn remove(&mut self, table: Table, key: &[u8]) {
        self.rows[table as usize].remove(key);
    }
}
