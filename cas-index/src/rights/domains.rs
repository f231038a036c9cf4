//! Which vault is in which domain. DESIGN §10.
//!
//! Promise: nobody gets into a domain by naming it. A domain belongs to the vault whose owner pushed to it first; another
//! vault joins it only by somebody who owns both. So `have`, rows, children and tickets of a domain are for those alone who
//! have a role on one of its vaults.

use super::holder::{Action, Holder, WHOLE};
use super::row::{self, key};
use crate::state::damaged;
use crate::state::interned::{Interned, number_of};
use crate::tables::{Table, Tables};
use cas_core::id::{DomainId, VaultId};
use cas_net::Result;

/// Writes down that a vault is in a domain.
pub(crate) fn bind(tables: &mut impl Tables, vault: &VaultId, domain: &DomainId) -> Result<()> {
    let by_vault = key(row::VAULT, &[vault.as_bytes(), domain.as_bytes()]);
    if tables.get(Table::Rights, &by_vault)?.is_none() {
        tables.put(Table::Rights, &by_vault, Vec::new());
        tables.put(Table::Rights, &key(row::DOMAIN, &[domain.as_bytes(), vault.as_bytes()]), Vec::new());
    }
    Ok(())
}

/// The domains of a vault.
pub fn of_vault(tables: &impl Tables, vault: &VaultId) -> Result<Vec<DomainId>> {
    let found = parts(tables, key(row::VAULT, &[vault.as_bytes()]))?;
    Ok(found.into_iter().map(DomainId).collect())
}

/// The vaults in a domain.
pub fn vaults_in(tables: &impl Tables, domain: &DomainId) -> Result<Vec<VaultId>> {
    let found = parts(tables, key(row::DOMAIN, &[domain.as_bytes()]))?;
    Ok(found.into_iter().map(VaultId).collect())
}

/// Whether a device that may push to a vault may do so in this domain.
pub(super) fn may_enter(tables: &impl Tables, holder: &Holder, vault: &VaultId, domain: &DomainId) -> Result<bool> {
    let domains = of_vault(tables, vault)?;
    if domains.contains(domain) {
        return Ok(true);
    }
    let owns = |vault: &VaultId| holder.may(Action::SetKeyring, vault, WHOLE).is_ok();
    let others = vaults_in(tables, domain)?;
    let is_new = others.is_empty() && number_of(tables, Interned::Domain, domain.as_bytes())?.is_none();
    Ok(if is_new { domains.is_empty() || owns(vault) } else { owns(vault) && others.iter().any(owns) })
}

fn parts(tables: &impl Tables, prefix: Vec<u8>) -> Result<Vec<[u8; 16]>> {
    let mut out = Vec::new();
    tables.scan_prefix(Table::Rights, &prefix, &mut |key, _| {
        let part = key[prefix.len()..].try_into();
        out.push(part.map_err(|_| damaged("rights", "has a key of another length"))?);
        Ok(true)
    })?;
    Ok(out)
}
