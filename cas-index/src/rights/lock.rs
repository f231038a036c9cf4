//! Retention locks: a version younger than its lock stays. DESIGN §10.
//!
//! Promise: no role and no clock shortens a lock; it only grows. A version's age is counted in cluster time from its
//! commit; where that is not known (committed before locks were, or found by a rebuild) from the setting of the lock.

use super::row::{self, key};
use crate::state::damaged;
use crate::state::snapshots::Version;
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader};
use cas_core::id::VaultId;
use cas_net::Result;
use cas_net::rights::Lock;

/// A lock of a vault on a prefix of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRow {
    /// For how long after a commit.
    pub keep_ns: i64,
    /// When it was set first.
    pub since_ns: i64,
}

impl LockRow {
    pub(super) fn of(tables: &impl Tables, vault: &VaultId, prefix: &str) -> Result<Option<Self>> {
        let found = tables.get(Table::Rights, &key(row::LOCK, &[vault.as_bytes(), prefix.as_bytes()]))?;
        found.map(|bytes| Self::decode(&bytes).map_err(|e| damaged("lock", e.to_string()))).transpose()
    }

    pub(super) fn store(&self, tables: &mut impl Tables, vault: &VaultId, prefix: &str) {
        let value = [self.keep_ns.to_le_bytes(), self.since_ns.to_le_bytes()].concat();
        tables.put(Table::Rights, &key(row::LOCK, &[vault.as_bytes(), prefix.as_bytes()]), value);
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("lock row", bytes);
        let row = Self { keep_ns: r.i64()?, since_ns: r.i64()? };
        r.finish()?;
        Ok(row)
    }
}

/// Until when a version is locked, in cluster time; `None` if no lock is on its name.
pub fn locked_until(tables: &impl Tables, version: &Version) -> Result<Option<i64>> {
    let (vault, name) = (&version.row.vault, &version.row.name);
    let mut until = None;
    for prefix in prefixes(name) {
        if let Some(lock) = LockRow::of(tables, vault, prefix)? {
            let since = version.committed_ns.unwrap_or(lock.since_ns);
            until = until.max(Some(since.saturating_add(lock.keep_ns)));
        }
    }
    Ok(until)
}

/// Whether a lock keeps a version now.
pub(crate) fn keeps(tables: &impl Tables, version: &Version, now_ns: i64) -> Result<bool> {
    Ok(locked_until(tables, version)?.is_some_and(|until| now_ns < until))
}

/// The locks of a vault.
pub fn locks(tables: &impl Tables, vault: &VaultId) -> Result<Vec<Lock>> {
    let mut out = Vec::new();
    tables.scan_prefix(Table::Rights, &key(row::LOCK, &[vault.as_bytes()]), &mut |key, bytes| {
        let row = LockRow::decode(bytes).map_err(|e| damaged("lock", e.to_string()))?;
        let prefix = String::from_utf8_lossy(&key[17..]).into_owned();
        out.push(Lock { vault: *vault, prefix, keep_ns: row.keep_ns });
        Ok(true)
    })?;
    Ok(out)
}

/// The prefixes of a name, itself among them, and the empty one.
pub(super) fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    let borders = name.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| at);
    [0].into_iter().chain(borders).chain([name.len()]).map(|end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_locked_by_its_prefixes_alone() {
        assert_eq!(prefixes("a/bc/d").collect::<Vec<_>>(), ["", "a", "a/bc", "a/bc/d"]);
        assert_eq!(prefixes("a").collect::<Vec<_>>(), ["", "a"]);
    }
}
