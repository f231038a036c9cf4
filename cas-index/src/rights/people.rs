//! Users and their devices. DESIGN §10.
//!
//! Promise: a name of a user and a key of a device never come to mean somebody else; a token enrols once.

use super::apply::{allow, deny, not_found};
use super::command::Change;
use super::holder::{Action, Holder};
use super::row::{self, Device, Token, User, is_user_name, key};
use super::voids;
use crate::audit;
use crate::state::{Applied, Meta, damaged};
use crate::tables::{Table, Tables};
use cas_core::id::PublicKey;
use cas_net::Result;
use cas_net::rights::{MAX_DEVICE_LABEL, MAX_TOKEN_NS};

/// Users of one index.
pub const MAX_USERS: usize = 1 << 16;
/// Devices of one user, revoked ones among them.
pub const MAX_DEVICES: usize = 1024;
/// Tokens of one user that wait to be used.
pub const MAX_TOKENS: usize = 64;
/// How exactly it is known when a device was last seen, in nanoseconds: an hour.
pub const SEEN_NS: i64 = 3600 * 1_000_000_000;
/// The longest hash of a password, in bytes.
const MAX_HASH: usize = 256;

pub(super) fn add(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    name: &str,
    hash: &str,
    may_found: bool,
) -> Applied<()> {
    allow(holder.may_in_system(Action::People))?;
    if !is_user_name(name) || hash.len() > MAX_HASH {
        return deny("the name of a user has 1 to 64 letters, digits, and . _ - @");
    }
    if User::of(tables, name)?.is_some() {
        return deny(format!("user {name} is there already"));
    }
    if User::all(tables)?.len() >= MAX_USERS {
        return deny(format!("there are {MAX_USERS} users already"));
    }
    User { hash: hash.to_owned(), disabled: false, may_found, since_ns: meta.time_ns }.store(tables, name);
    Ok(())
}

pub(super) fn change(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    name: &str,
    change: Change,
) -> Applied<()> {
    allow(holder.may_in_system(Action::People))?;
    let mut user = known(tables, name)?;
    match change {
        Change::Disable => {
            user.disabled = true;
            voids::void_user(tables, meta, name)?;
            for (hash, token) in tokens(tables)? {
                if token.user == name {
                    tables.remove(Table::Rights, &key(row::TOKEN, &[&hash]));
                }
            }
        }
        Change::Enable => user.disabled = false,
        Change::MayFound(may) => user.may_found = may,
    }
    user.store(tables, name);
    Ok(())
}

pub(super) fn set_password(tables: &mut impl Tables, holder: &Holder, name: &str, hash: &str) -> Applied<()> {
    if !is_self(holder, name) {
        allow(holder.may_in_system(Action::People))?;
    }
    if hash.len() > MAX_HASH {
        return deny("the hash of the password is too long");
    }
    let user = known(tables, name)?;
    User { hash: hash.to_owned(), ..user }.store(tables, name);
    Ok(())
}

pub(super) fn log_in(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    name: &str,
    hash: &str,
    label: &str,
) -> Applied<()> {
    match User::of(tables, name)? {
        Some(user) if !user.disabled && user.hash == hash && !hash.is_empty() => {}
        _ => return deny("the name or the password is wrong"),
    }
    enrol(tables, meta, &holder.device, name, false, label)
}

pub(super) fn make_token(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    hash: &[u8; 32],
    name: &str,
    own_rights: bool,
    life_ns: i64,
) -> Applied<()> {
    if !is_self(holder, name) {
        allow(holder.may_in_system(Action::People))?;
    }
    if !(1..=MAX_TOKEN_NS).contains(&life_ns) {
        return deny("a token lives at most a week");
    }
    if known(tables, name)?.disabled {
        return deny(format!("user {name} is disabled"));
    }
    let waiting = tokens(tables)?.iter().filter(|(_, token)| token.user == name).count();
    if waiting >= MAX_TOKENS {
        return deny(format!("{MAX_TOKENS} tokens of user {name} wait to be used"));
    }
    let expires_ns = meta.time_ns.saturating_add(life_ns);
    Token { user: name.to_owned(), own_rights, expires_ns }.store(tables, hash);
    Ok(())
}

pub(super) fn use_token(
    tables: &mut impl Tables,
    meta: &Meta,
    holder: &Holder,
    hash: &[u8; 32],
    label: &str,
) -> Applied<()> {
    let token = Token::of(tables, hash)?.filter(|token| meta.time_ns < token.expires_ns);
    let Some(token) = token else { return deny("the token was used, has expired, or never was") };
    if User::of(tables, &token.user)?.is_none_or(|user| user.disabled) {
        return deny("the token was used, has expired, or never was");
    }
    enrol(tables, meta, &holder.device, &token.user, token.own_rights, label)?;
    tables.remove(Table::Rights, &key(row::TOKEN, &[hash]));
    Ok(())
}

fn enrol(
    tables: &mut impl Tables,
    meta: &Meta,
    device: &PublicKey,
    user: &str,
    own_rights: bool,
    label: &str,
) -> Applied<()> {
    if *device == PublicKey::ZERO {
        return deny("the zero key is nobody's");
    }
    if label.len() > MAX_DEVICE_LABEL || label.chars().any(char::is_control) {
        return deny("the label of a device has at most 255 bytes and no control characters");
    }
    let label = label.to_owned();
    match Device::of(tables, device)? {
        Some(old) if old.revoked_ns.is_some() => deny("this device was revoked: make another key"),
        Some(old) if old.user == user && old.own_rights == own_rights => {
            Device { label, seen_ns: meta.time_ns, ..old }.store(tables, device);
            Ok(())
        }
        Some(_) => deny("this device is enrolled already, for another user or with other rights: make another key"),
        None => {
            let theirs = Device::all(tables)?.iter().filter(|(_, row)| row.user == user).count();
            if theirs >= MAX_DEVICES {
                return deny(format!("user {user} has {MAX_DEVICES} devices already"));
            }
            let (user, now) = (user.to_owned(), meta.time_ns);
            Device { user, label, own_rights, enrolled_ns: now, seen_ns: now, revoked_ns: None }.store(tables, device);
            Ok(())
        }
    }
}

pub(super) fn revoke(tables: &mut impl Tables, meta: &Meta, holder: &Holder, device: &PublicKey) -> Applied<()> {
    let Some(row) = Device::of(tables, device)? else {
        // Whether it is there is for those to know who might revoke it.
        allow(holder.may_in_system(Action::People))?;
        return not_found("device", device);
    };
    let is_itself = holder.device == *device && holder.is_somebody("revoke device").is_ok();
    if !is_itself && !is_self(holder, &row.user) {
        allow(holder.may_in_system(Action::People))?;
    }
    if row.revoked_ns.is_none() {
        Device { revoked_ns: Some(meta.time_ns), ..row }.store(tables, device);
        voids::void(tables, meta, device);
    }
    Ok(())
}

pub(super) fn seen(tables: &mut impl Tables, meta: &Meta, holder: &Holder) -> Applied<()> {
    if let Some(row) = Device::of(tables, &holder.device)? {
        Device { seen_ns: meta.time_ns, ..row }.store(tables, &holder.device);
    }
    Ok(())
}

pub(super) fn tick(tables: &mut impl Tables, meta: &Meta, holder: &Holder) -> Applied<()> {
    allow(holder.may_in_system(Action::Operate))?;
    for (hash, token) in tokens(tables)? {
        if token.expires_ns <= meta.time_ns {
            tables.remove(Table::Rights, &key(row::TOKEN, &[&hash]));
        }
    }
    voids::expire(tables, meta)?;
    audit::flush_refusals(tables, meta)?;
    Ok(())
}

/// Whether this is the user himself, by a device that has his rights.
fn is_self(holder: &Holder, name: &str) -> bool {
    holder.user == name && !name.is_empty() && !holder.own_rights && holder.is_somebody("manage people").is_ok()
}

fn known(tables: &impl Tables, name: &str) -> Applied<User> {
    match User::of(tables, name)? {
        Some(user) => Ok(user),
        None => not_found("user", name),
    }
}

fn tokens(tables: &impl Tables) -> Result<Vec<([u8; 32], Token)>> {
    let mut out = Vec::new();
    tables.scan_prefix(Table::Rights, &[row::TOKEN], &mut |key, bytes| {
        let hash = key[1..].try_into().map_err(|_| damaged("rights", "has a key of another length"))?;
        out.push((hash, Token::decode(bytes).map_err(|e| damaged("token", e.to_string()))?));
        Ok(true)
    })?;
    Ok(out)
}
