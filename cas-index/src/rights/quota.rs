//! Quotas: stored bytes per user and per vault. DESIGN §10.
//!
//! Promise: usage is changed where rows are, in the same command (`charge`), so that it equals a recount at any time; and
//! no registration or commit lets an account hold more than its quota: it is refused as a whole. What has been sent when
//! it is refused are bodies on nodes without a row, at most what one client has in flight; they go as orphans.
//!
//! A block counts once, however many copies there are, on the account of the device and vault that brought its stored
//! bytes, until its row goes. An account is a number (`Interned::Device`: a device in a vault). Keyrings and removals are on
//! nobody's account, and so is what was stored before accounts named vaults, or found by a rebuild.

use super::row::{self, Device, key};
use crate::state::blocks::Row;
use crate::state::interned::{self, Interned};
use crate::state::{Session, damaged};
use crate::tables::{Table, Tables};
use cas_core::id::{PublicKey, VaultId};
use cas_net::rights::{Account, Usage};
use cas_net::{Result, ServiceError};
use std::collections::BTreeMap;

/// The fewest stored bytes of a block: what `have` asks room for. FORMAT §3: padding ends at 256 bytes.
pub const MIN_STORED: u64 = 256;

/// The id of an account: device key ‖ vault.
pub fn account(device: &[u8; 32], vault: &VaultId) -> Vec<u8> {
    [&device[..], vault.as_bytes()].concat()
}

/// Puts what a command did to rows on the accounts: bytes more or fewer, by account number.
pub(crate) fn charge(tables: &mut impl Tables, changes: &BTreeMap<u32, i64>) -> Result<()> {
    for (number, by) in changes.iter().filter(|(number, by)| **number != 0 && **by != 0) {
        let used = used_by(tables, *number)?.checked_add_signed(*by);
        let used = used.ok_or_else(|| damaged("usage", "does not fit the rows"))?;
        let key = key(row::USED, &[&number.to_be_bytes()]);
        match used {
            0 => tables.remove(Table::Rights, &key),
            used => tables.put(Table::Rights, &key, used.to_le_bytes().to_vec()),
        }
    }
    Ok(())
}

/// Room that is left on the accounts of a session: of its vault and of its user, whichever is less. `None`: no quota.
pub fn room(tables: &impl Tables, session: &Session) -> Result<Option<(Account, u64)>> {
    let mut least: Option<(Account, u64)> = None;
    let id = interned::bytes_of(tables, Interned::Device, session.device)?;
    let user = match id.first_chunk::<32>() {
        Some(device) => Device::of(tables, &PublicKey(*device))?.map(|device| Account::User(device.user)),
        None => None,
    };
    for of in [Some(Account::Vault(session.vault)), user].into_iter().flatten() {
        if let Some(quota) = quota(tables, &of)? {
            let room = quota.saturating_sub(used(tables, &of)?);
            if least.as_ref().is_none_or(|(_, least)| room < *least) {
                least = Some((of, room));
            }
        }
    }
    Ok(least)
}

/// Refuses what needs more room than there is.
pub(crate) fn check(tables: &impl Tables, session: &Session, wanted: u64) -> Result<Option<ServiceError>> {
    let Some((of, room)) = room(tables, session)? else { return Ok(None) };
    let full = || {
        let quota = quota(tables, &of)?.unwrap_or(0);
        let detail = format!("{wanted} bytes wanted, {room} left of {quota}");
        Ok(ServiceError::Full { what: format!("the quota of {of}"), detail })
    };
    if wanted > room { full().map(Some) } else { Ok(None) }
}

/// The quota of an account.
pub fn quota(tables: &impl Tables, of: &Account) -> Result<Option<u64>> {
    tables.get(Table::Rights, &quota_key(of))?.map(|bytes| number(&bytes)).transpose()
}

pub(super) fn set_quota(tables: &mut impl Tables, of: &Account, bytes: Option<u64>) {
    match bytes {
        Some(bytes) => tables.put(Table::Rights, &quota_key(of), bytes.to_le_bytes().to_vec()),
        None => tables.remove(Table::Rights, &quota_key(of)),
    }
}

/// Stored bytes on an account.
pub fn used(tables: &impl Tables, of: &Account) -> Result<u64> {
    let mut sum = 0;
    each_account(tables, &mut |number, device, vault| {
        let mine = match of {
            Account::Vault(wanted) => vault == wanted,
            Account::User(name) => Device::of(tables, device)?.is_some_and(|row| row.user == *name),
        };
        if mine {
            sum += used_by(tables, number)?;
        }
        Ok(())
    })?;
    Ok(sum)
}

/// Usage of everybody who has some, or has a quota.
pub fn usage(tables: &impl Tables) -> Result<Vec<Usage>> {
    let mut sums: BTreeMap<Account, u64> = BTreeMap::new();
    tables.scan_prefix(Table::Rights, &[row::QUOTA], &mut |key, _| {
        sums.entry(account_of(&key[1..])?).or_default();
        Ok(true)
    })?;
    each_account(tables, &mut |number, device, vault| {
        let bytes = used_by(tables, number)?;
        *sums.entry(Account::Vault(*vault)).or_default() += bytes;
        if let Some(row) = Device::of(tables, device)? {
            *sums.entry(Account::User(row.user)).or_default() += bytes;
        }
        Ok(())
    })?;
    sums.into_iter().map(|(of, bytes)| Ok(Usage { quota: quota(tables, &of)?, of, bytes })).collect()
}

/// Bytes per account number, counted from the rows: what the table says must be equal.
pub fn recount(tables: &impl Tables) -> Result<BTreeMap<u32, u64>> {
    let mut sums = BTreeMap::new();
    tables.scan(Table::Blocks, &[], &mut |_, value| {
        let row = Row::decode(value).map_err(|e| damaged("blocks", e.to_string()))?;
        if row.device != 0 && row.len > 0 {
            *sums.entry(row.device).or_default() += u64::from(row.len);
        }
        Ok(true)
    })?;
    Ok(sums)
}

/// Bytes per account number, as they are kept.
pub fn kept(tables: &impl Tables) -> Result<BTreeMap<u32, u64>> {
    let mut sums = BTreeMap::new();
    tables.scan_prefix(Table::Rights, &[row::USED], &mut |key, bytes| {
        let account = key[1..].try_into().map(u32::from_be_bytes);
        sums.insert(account.map_err(|_| damaged("usage", "has a key of another length"))?, number(bytes)?);
        Ok(true)
    })?;
    Ok(sums)
}

fn used_by(tables: &impl Tables, account: u32) -> Result<u64> {
    let found = tables.get(Table::Rights, &key(row::USED, &[&account.to_be_bytes()]))?;
    found.map_or(Ok(0), |bytes| number(&bytes))
}

fn each_account(tables: &impl Tables, visit: &mut dyn FnMut(u32, &PublicKey, &VaultId) -> Result<()>) -> Result<()> {
    for (number, id) in (1..).zip(interned::all(tables, Interned::Device)?) {
        if let Some((device, vault)) = id.split_first_chunk::<32>()
            && let Ok(vault) = vault.try_into()
        {
            visit(number, &PublicKey(*device), &VaultId(vault))?;
        }
    }
    Ok(())
}

fn quota_key(of: &Account) -> Vec<u8> {
    match of {
        Account::User(name) => key(row::QUOTA, &[&[0], name.as_bytes()]),
        Account::Vault(vault) => key(row::QUOTA, &[&[1], vault.as_bytes()]),
    }
}

fn account_of(part: &[u8]) -> Result<Account> {
    let error = || damaged("quota", "has a malformed key");
    match part.split_first().ok_or_else(error)? {
        (0, name) => Ok(Account::User(String::from_utf8(name.to_vec()).map_err(|_| error())?)),
        (1, vault) => Ok(Account::Vault(VaultId(vault.try_into().map_err(|_| error())?))),
        _ => Err(error()),
    }
}

fn number(bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.try_into().map_err(|_| damaged("usage", "is not a number"))?;
    Ok(u64::from_le_bytes(bytes))
}
