//! Commands of devices: may they, then do it, then write it down; all in one command. DESIGN §10.
//!
//! Promise: what is done and what is refused stands in the audit log of the same state that it changed. A refused command
//! changes nothing but that log.

use super::command::{Command, Deed};
use super::deeds::{Summary, summary};
use super::domains;
use super::holder::{Action, Holder, WHOLE, Where};
use super::row::{Bearer, Device, RoleRow};
use super::{people, sharing};
use crate::audit;
use crate::command::Command as Any;
use crate::state::interned::{self, Interned};
use crate::state::{Applied, Meta, Outcome, Session, Stop, VaultRow, dispatch, session, sessions};
use crate::tables::{Table, Tables};
use cas_core::id::{DomainId, PublicKey, VaultId};
use cas_net::rights::{Role, Roles};
use cas_net::{Result, ServiceError, SessionId};

pub(crate) fn apply(tables: &mut impl Tables, meta: &mut Meta, command: &Command) -> Applied<Outcome> {
    let holder = match &command.by {
        None => Holder::console(),
        Some(device) => Holder::of(tables, &PublicKey(*device))?,
    };
    let carried = match &command.deed {
        Deed::Carry { command } => match Any::decode(&command.0) {
            Ok(Any::Rights(_)) => return deny("a command about rights is carried by none"),
            Ok(carried) => Some(carried),
            Err(e) => return deny(e.to_string()),
        },
        _ => None,
    };
    let summary = summary(tables, &command.deed, carried.as_ref())?;
    match carry_out(tables, meta, &holder, &command.deed, carried.as_ref(), &summary) {
        Ok(outcome) => {
            if summary.is_logged {
                audit::done(tables, meta, summary.line(&holder))?;
            }
            Ok(outcome)
        }
        Err(Stop::Refused(why)) => {
            if is_refusal(&why) {
                audit::refused(tables, meta, summary.refused(&holder, &why.to_string()), 1)?;
            }
            Err(Stop::Refused(why))
        }
        Err(broken) => Err(broken),
    }
}

/// Whether somebody may not: what others did first, or what is not there, is no refusal.
fn is_refusal(why: &ServiceError) -> bool {
    matches!(why, ServiceError::Denied(_) | ServiceError::Full { .. } | ServiceError::Retained(_))
}

fn carry_out(
    tables: &mut impl Tables,
    meta: &mut Meta,
    holder: &Holder,
    deed: &Deed,
    carried: Option<&Any>,
    summary: &Summary,
) -> Applied<Outcome> {
    match deed {
        Deed::Carry { .. } => {
            let carried = carried.expect("decoded before");
            authorise(tables, holder, carried, summary)?;
            let is_new = matches!(carried, Any::PutKeyring { .. }) && !summary.vault_exists;
            let outcome = dispatch(tables, meta, carried)?;
            if is_new && let Some(vault) = &summary.vault {
                own(tables, holder, vault);
            }
            return Ok(outcome);
        }
        Deed::AddUser { name, hash, may_found } => people::add(tables, meta, holder, name, hash, *may_found)?,
        Deed::ChangeUser { name, change } => people::change(tables, meta, holder, name, *change)?,
        Deed::SetPassword { name, hash } => people::set_password(tables, holder, name, hash)?,
        Deed::LogIn { user, hash, label } => people::log_in(tables, meta, holder, user, hash, label)?,
        Deed::MakeToken { hash, user, own_rights, life_ns } => {
            people::make_token(tables, meta, holder, hash, user, *own_rights, *life_ns)?;
        }
        Deed::UseToken { hash, label } => people::use_token(tables, meta, holder, hash, label)?,
        Deed::Revoke { device } => people::revoke(tables, meta, holder, &PublicKey(*device))?,
        Deed::Share { role, vault, prefix, who, give } => {
            sharing::share(tables, meta, holder, *role, &VaultId(*vault), prefix, who, *give)?;
        }
        Deed::Lock { vault, prefix, keep_ns } => {
            sharing::lock(tables, meta, holder, &VaultId(*vault), prefix, *keep_ns)?
        }
        Deed::Retain { vault, prefix, keep } => {
            sharing::retention(tables, holder, &VaultId(*vault), prefix, keep)?;
        }
        Deed::Quota { of, bytes } => sharing::quota(tables, holder, of, *bytes)?,
        Deed::AcceptClock { .. } => allow(holder.may_in_system(Action::People))?,
        Deed::Refused { count, .. } => {
            audit::refused(tables, meta, summary.refused(holder, ""), *count)?;
        }
        Deed::Seen => people::seen(tables, meta, holder)?,
        Deed::Tick => people::tick(tables, meta, holder)?,
    }
    if matches!(deed, Deed::ChangeUser { .. } | Deed::Revoke { .. } | Deed::Share { give: false, .. }) {
        end_sessions_without_rights(tables)?;
    }
    Ok(Outcome::Done)
}

/// Whether a device may give this command.
fn authorise(tables: &impl Tables, holder: &Holder, command: &Any, summary: &Summary) -> Applied<()> {
    let vault = summary.vault.unwrap_or(VaultId::ZERO);
    match command {
        Any::PutKeyring { .. } if summary.vault_exists => allow(holder.may(Action::SetKeyring, &vault, WHOLE)),
        Any::PutKeyring { .. } => {
            allow(holder.is_somebody("make a vault"))?;
            if holder.may_found { Ok(()) } else { deny("make a vault: no right to") }
        }
        Any::StartSession { device, domain, .. } => {
            // A vault that nobody has made begins with a session too: the one that brings its keyring.
            match holder.may_found && VaultRow::of(tables, &vault)?.is_none() {
                true => allow(holder.is_somebody("make a vault"))?,
                false => allow(holder.may(Action::Push, &vault, Where::Anywhere))?,
            }
            is_own(holder, device)?;
            match domains::may_enter(tables, holder, &vault, &DomainId(*domain))? {
                true => Ok(()),
                false => deny(format!("push: vault {vault} is not in domain {}", DomainId(*domain))),
            }
        }
        Any::EndSession { session: id } => match session(tables, SessionId(*id))? {
            Some(session) => is_own(holder, &device_of(tables, &session)?.0),
            None => Ok(()),
        },
        Any::Commit { session: id, .. } => {
            allow(holder.may(Action::Push, &vault, Where::Name(&summary.name)))?;
            match session(tables, SessionId(*id))? {
                Some(session) => is_own(holder, &device_of(tables, &session)?.0),
                // A commit that was done already is answered again.
                None => Ok(()),
            }
        }
        Any::Forget { .. } | Any::Undelete { .. } | Any::Return { .. } => {
            allow(holder.may(Action::Forget, &vault, Where::Name(&summary.name)))
        }
        Any::Mark { ids, .. } => sharing::may_mark(tables, holder, ids),
        Any::AddNode { .. }
        | Any::EndSessionsExcept { .. }
        | Any::EmptyTrash { .. }
        | Any::Condemn { .. }
        | Any::Deleted { .. }
        | Any::ReleaseHold
        | Any::Cluster(_) => allow(holder.may_in_system(Action::Operate)),
        // Registration and touches go by a session that was started so, without being carried.
        _ => deny("this is not done on behalf of a device"),
    }
}

fn is_own(holder: &Holder, device: &[u8; 32]) -> Applied<()> {
    if holder.is_console() || holder.device.0 == *device { Ok(()) } else { deny("the session is another device's") }
}

/// The device of a session.
pub(super) fn device_of(tables: &impl Tables, session: &Session) -> Result<PublicKey> {
    let id = interned::bytes_of(tables, Interned::Device, session.device)?;
    id.first_chunk::<32>()
        .map(|key| PublicKey(*key))
        .ok_or_else(|| crate::state::damaged("interned device", "is missing"))
}

/// Who makes a vault owns it.
fn own(tables: &mut impl Tables, holder: &Holder, vault: &VaultId) {
    if !holder.is_console() {
        let (who, prefix) = (Bearer::User(holder.user.clone()), String::new());
        RoleRow { who, vault: *vault, prefix, roles: Roles::NONE.with(Role::Owner) }.store(tables);
    }
}

/// Sessions of enrolled devices that may no longer push end at once.
fn end_sessions_without_rights(tables: &mut impl Tables) -> Result<()> {
    for session in sessions(tables)? {
        let device = device_of(tables, &session)?;
        if Device::of(tables, &device)?.is_none() {
            continue;
        }
        let holder = Holder::of(tables, &device)?;
        if holder.may(Action::Push, &session.vault, Where::Anywhere).is_err() {
            tables.remove(Table::Sessions, &session.id.0.to_be_bytes());
        }
    }
    Ok(())
}

pub(super) fn allow(verdict: std::result::Result<(), super::Refusal>) -> Applied<()> {
    verdict.map_err(|refusal| Stop::Refused(refusal.into()))
}

pub(super) fn deny<T>(why: impl Into<String>) -> Applied<T> {
    Err(Stop::Refused(ServiceError::Denied(why.into())))
}

pub(super) fn not_found<T>(what: &'static str, name: impl ToString) -> Applied<T> {
    Err(Stop::Refused(ServiceError::NotFound { what, name: name.to_string() }))
}
