//! Vaults, their keyrings, and the nodes whose receipts count. FORMAT §9.

use super::blocks::Rows;
use super::commit::{Owner, hold_object};
use super::interned::{self, Interned};
use super::{Applied, Meta, Outcome, damaged, deny, refuse};
use crate::command::ObjectCover;
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, Epoch, Kind, VaultId};
use cas_core::keyring::KeyringObject;
use cas_net::{Result, ServiceError};

/// A vault and its newest keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRow {
    /// The version of the newest keyring.
    pub version: u32,
    /// The block that holds it.
    pub object: BlockId,
    /// Its bytes.
    pub keyring: Vec<u8>,
}

impl VaultRow {
    /// The newest keyring of a vault.
    pub fn of(tables: &impl Tables, vault: &VaultId) -> Result<Option<Self>> {
        let Some(bytes) = tables.get(Table::Vaults, vault.as_bytes())? else { return Ok(None) };
        let error = || damaged(format!("vault {vault}"), "is cut short");
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or_else(error)?;
        let (object, keyring) = rest.split_first_chunk::<32>().ok_or_else(error)?;
        let version = u32::from_le_bytes(*version);
        Ok(Some(Self { version, object: BlockId(*object), keyring: keyring.to_vec() }))
    }

    /// Writes it, and that this version exists.
    pub fn store(&self, tables: &mut impl Tables, vault: &VaultId) {
        let value = [&self.version.to_le_bytes()[..], self.object.as_bytes(), &self.keyring].concat();
        tables.put(Table::Vaults, vault.as_bytes(), value);
        Self::store_version(tables, vault, self.version, &self.object);
    }

    /// Writes that a keyring version exists.
    pub fn store_version(tables: &mut impl Tables, vault: &VaultId, version: u32, object: &BlockId) {
        let key = [vault.as_bytes(), &version.to_be_bytes()[..]].concat();
        tables.put(Table::Keyrings, &key, object.0.to_vec());
    }
}

pub(super) fn add_node(tables: &mut impl Tables, node: &[u8; 32]) -> Applied<Outcome> {
    interned::intern(tables, Interned::Node, node)?;
    Ok(Outcome::Done)
}

/// Old keyrings stay referenced: snapshots name the version they went by.
pub(super) fn put_keyring(
    tables: &mut impl Tables,
    meta: &mut Meta,
    object: &[u8],
    covers: &[ObjectCover],
) -> Applied<Outcome> {
    let (vault, version) = match KeyringObject::parse(object) {
        Ok(parsed) => (parsed.vault(), parsed.version()),
        Err(e) => return deny(e.to_string()),
    };
    let newest = VaultRow::of(tables, &vault)?;
    if newest.as_ref().is_some_and(|newest| newest.keyring == object) {
        return Ok(Outcome::Done);
    }
    let latest = newest.map_or(0, |newest| newest.version);
    if latest.checked_add(1) != Some(version) {
        return refuse(ServiceError::Conflict { name: format!("keyring of {vault}"), latest: latest.into() });
    }
    let mut rows = Rows::new();
    let owner = Owner { domain: 0, device: 0, since: Epoch::ZERO, may_return: true };
    let id = hold_object(tables, meta, &mut rows, Kind::Keyring, object, covers, owner)?;
    rows.write(tables, meta)?;
    VaultRow { version, object: id, keyring: object.to_vec() }.store(tables, &vault);
    Ok(Outcome::Done)
}
