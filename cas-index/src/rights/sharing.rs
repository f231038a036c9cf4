//! Roles, locks, rules of retention, quotas: what one gives to others, or sets over them. DESIGN §10.

use super::apply::{allow, deny, not_found};
use super::command::{Of, To};
use super::deeds::account;
use super::holder::{Action, Holder, WHOLE, Where};
use super::lock::{LockRow, locks};
use super::row::{Bearer, Device, RoleRow, User};
use super::{domains, retention, voids};
use crate::command::Packed;
use crate::state::blocks::row;
use crate::state::interned::{Interned, id_of};
use crate::state::{Applied, Meta, VaultRow};
use crate::tables::Tables;
use cas_core::id::{DomainId, PublicKey, VaultId};
use cas_core::retention::KeepPolicy;
use cas_core::snapshot::Name;
use cas_net::rights::{Role, Roles};
use std::collections::BTreeSet;

/// Prefixes on which one user or device has roles: what a decision looks through.
pub const MAX_ROLE_ROWS: usize = 1024;
/// Locks of one vault.
pub const MAX_LOCKS: usize = 1024;
/// Prefixes of one vault that have rules of retention.
pub const MAX_RETENTIONS: usize = 1024;
/// The longest lock, in nanoseconds: a hundred years.
pub const MAX_KEEP_NS: i64 = 100 * 365 * 24 * 3600 * 1_000_000_000;

#[expect(clippy::too_many_arguments, reason = "the fields of the command, each used once")]
pub(super) fn share(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    role: u8,
    vault: &VaultId,
    prefix: &str,
    who: &To,
    give: bool,
) -> Applied<()> {
    let Some(role) = Role::from_byte(role) else { return deny("there is no such role") };
    if *vault == VaultId::ZERO {
        allow(holder.may_in_system(Action::People))?;
        if !role.is_of_system() || !prefix.is_empty() {
            return deny(format!("{role} is given on a vault"));
        }
    } else {
        allow(holder.may(Action::Share, vault, Where::Name(prefix)))?;
        if !role.is_of_vaults() {
            return deny(format!("{role} is given on the system"));
        }
        exists(tables, vault)?;
        is_prefix(prefix)?;
    }
    let who = match who {
        To::User(name) if User::of(tables, name)?.is_some() => Bearer::User(name.clone()),
        To::Device(key) if Device::of(tables, &PublicKey(*key))?.is_some() => Bearer::Device(PublicKey(*key)),
        To::User(name) => return not_found("user", name),
        To::Device(key) => return not_found("device", PublicKey(*key)),
    };
    let mut row = RoleRow { who, vault: *vault, prefix: prefix.to_owned(), roles: Roles::NONE };
    let before = row.stored(tables)?;
    row.roles = if give { before.with(role) } else { before.without(role) };
    if before.is_empty() && RoleRow::all(tables, Some(&row.who))?.len() >= MAX_ROLE_ROWS {
        return deny(format!("roles on {MAX_ROLE_ROWS} prefixes are enough for one"));
    }
    row.store(tables);
    if row.roles != before && !give {
        match &row.who {
            Bearer::User(name) => voids::void_user(tables, meta, name)?,
            Bearer::Device(device) => voids::void(tables, meta, device),
        }
    }
    Ok(())
}

pub(super) fn lock(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    vault: &VaultId,
    prefix: &str,
    keep_ns: i64,
) -> Applied<()> {
    allow(holder.may(Action::Lock, vault, Where::Name(prefix)))?;
    exists(tables, vault)?;
    is_prefix(prefix)?;
    if !(1..=MAX_KEEP_NS).contains(&keep_ns) {
        return deny("a lock lasts up to a hundred years");
    }
    let since_ns = match LockRow::of(tables, vault, prefix)? {
        Some(old) if keep_ns < old.keep_ns => return deny("a lock only grows"),
        Some(old) => old.since_ns,
        None if locks(tables, vault)?.len() >= MAX_LOCKS => {
            return deny(format!("a vault has at most {MAX_LOCKS} locks"));
        }
        None => meta.time_ns,
    };
    LockRow { keep_ns, since_ns }.store(tables, vault, prefix);
    Ok(())
}

/// Those who may forget versions by hand may have it done.
pub(super) fn retention(
    tables: &mut impl Tables,
    holder: &Holder,
    vault: &VaultId,
    prefix: &str,
    keep: &str,
) -> Applied<()> {
    allow(holder.may(Action::Forget, vault, Where::Name(prefix)))?;
    exists(tables, vault)?;
    is_prefix(prefix)?;
    let policy = match KeepPolicy::from_text(keep) {
        Ok(policy) => policy,
        Err(why) => return deny(why.to_string()),
    };
    if !retention::exists(tables, vault, prefix)? && retention::retentions(tables, vault)?.len() >= MAX_RETENTIONS {
        return deny(format!("a vault has rules of retention for at most {MAX_RETENTIONS} prefixes"));
    }
    retention::store(tables, vault, prefix, &policy.to_text().expect("it was read from a text"));
    Ok(())
}

pub(super) fn quota(tables: &mut impl Tables, holder: &Holder, of: &Of, bytes: Option<u64>) -> Applied<()> {
    allow(holder.may_in_system(Action::People))?;
    match of {
        Of::User(name) if User::of(tables, name)?.is_none() => return not_found("user", name),
        Of::Vault(vault) => exists(tables, &VaultId(*vault))?,
        Of::User(_) => {}
    }
    super::quota::set_quota(tables, &account(of), bytes);
    Ok(())
}

/// Blocks are marked by those who own a vault in their domain, or operate the system: whoever may mark a good block bad and
/// push may put other bytes in its place.
pub(super) fn may_mark(tables: &impl Tables, holder: &Holder, ids: &Packed) -> Applied<()> {
    if holder.may_in_system(Action::Mark).is_ok() {
        return Ok(());
    }
    let mut numbers = BTreeSet::new();
    for id in ids.ids() {
        if let Some(row) = row(tables, &id)? {
            numbers.insert(row.domain);
        }
    }
    for number in numbers {
        let domain = match number {
            0 => return allow(holder.may_in_system(Action::Mark)),
            number => DomainId(id_of(tables, Interned::Domain, number)?),
        };
        let vaults = domains::vaults_in(tables, &domain)?;
        if !vaults.iter().any(|vault| holder.may(Action::Mark, vault, WHOLE).is_ok()) {
            return allow(holder.may_in_system(Action::Mark));
        }
    }
    allow(holder.is_somebody("mark blocks"))
}

fn exists(tables: &impl Tables, vault: &VaultId) -> Applied<()> {
    if VaultRow::of(tables, vault)?.is_some() { Ok(()) } else { not_found("vault", vault) }
}

fn is_prefix(prefix: &str) -> Applied<()> {
    if prefix.is_empty() || prefix.parse::<Name>().is_ok() {
        Ok(())
    } else {
        deny(format!("{prefix:?} cannot be a name"))
    }
}
