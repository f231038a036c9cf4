//! Rules of retention: which versions of a name the index keeps by itself. DESIGN §10.
//!
//! Promise: a name is judged by the rules with the longest prefix of it, and by no others; without rules all is kept. Rules are
//! wishes, locks are not: what a lock keeps stays, whatever the rules say.
//! Not here: the judging ([`cas_core::retention`]), the runs (`serve::tasks::retention`).

use super::lock::prefixes;
use super::row::{self, key};
use crate::state::damaged;
use crate::tables::{Table, Tables};
use cas_core::id::VaultId;
use cas_core::retention::KeepPolicy;
use cas_net::Result;
use cas_net::rights::Retention;

/// The rules with this very prefix.
pub(super) fn exists(tables: &impl Tables, vault: &VaultId, prefix: &str) -> Result<bool> {
    Ok(tables.get(Table::Rights, &row_key(vault, prefix))?.is_some())
}

/// Sets rules; those that say nothing are taken away.
pub(super) fn store(tables: &mut impl Tables, vault: &VaultId, prefix: &str, keep: &str) {
    match keep {
        "" => tables.remove(Table::Rights, &row_key(vault, prefix)),
        rules => tables.put(Table::Rights, &row_key(vault, prefix), rules.as_bytes().to_vec()),
    }
}

/// The rules for a name.
pub fn policy_of(tables: &impl Tables, vault: &VaultId, name: &str) -> Result<Option<KeepPolicy>> {
    let mut found = None;
    for prefix in prefixes(name) {
        if let Some(bytes) = tables.get(Table::Rights, &row_key(vault, prefix))? {
            found = Some(KeepPolicy::from_text(text(&bytes)?).map_err(|e| damaged("retention", e.to_string()))?);
        }
    }
    Ok(found)
}

/// All rules of a vault, by prefix.
pub fn retentions(tables: &impl Tables, vault: &VaultId) -> Result<Vec<Retention>> {
    let mut out = Vec::new();
    tables.scan_prefix(Table::Rights, &row_key(vault, ""), &mut |key, bytes| {
        let prefix = text(&key[17..])?.to_owned();
        out.push(Retention { vault: *vault, prefix, keep: text(bytes)?.to_owned() });
        Ok(true)
    })?;
    Ok(out)
}

fn row_key(vault: &VaultId, prefix: &str) -> Vec<u8> {
    key(row::RETENTION, &[vault.as_bytes(), prefix.as_bytes()])
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| damaged("retention", e.to_string()))
}
