//! Who may do what: a pure function of the tables. DESIGN §10.

use super::row::{Bearer, Device, RoleRow, User};
use crate::tables::Tables;
use cas_core::id::{PublicKey, VaultId};
use cas_net::rights::{Role, RoleGrant, Roles, Who};
use cas_net::{Result, ServiceError};
use std::fmt;

/// What a device wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The keyring of a vault.
    Keyring,
    /// The newest seq of a name.
    Head,
    /// Which versions there are.
    List,
    /// Versions, and the blocks they are made of.
    Read,
    /// A new version.
    Push,
    /// To the trash and back.
    Forget,
    /// Giving and taking roles.
    Share,
    /// Retention locks.
    Lock,
    /// A new keyring.
    SetKeyring,
    /// Saying that blocks are bad.
    Mark,
    /// What was done in a vault.
    AuditVault,
    /// Users, devices, quotas, the clock.
    People,
    /// Nodes, collection, checks of everything.
    Operate,
    /// What was done anywhere.
    AuditAll,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Keyring,
        Self::Head,
        Self::List,
        Self::Read,
        Self::Push,
        Self::Forget,
        Self::Share,
        Self::Lock,
        Self::SetKeyring,
        Self::Mark,
        Self::AuditVault,
        Self::People,
        Self::Operate,
        Self::AuditAll,
    ];

    /// The roles on a vault that allow it.
    pub fn in_vault(self) -> &'static [Role] {
        use Role::{Auditor, Owner, Pusher, Reader, Writer};
        match self {
            Self::Keyring => &[Owner, Writer, Pusher, Reader],
            Self::Head => &[Owner, Writer, Pusher, Reader, Auditor],
            Self::List => &[Owner, Writer, Reader, Auditor],
            Self::Read => &[Owner, Writer, Reader],
            Self::Push => &[Owner, Writer, Pusher],
            Self::Forget => &[Owner, Writer],
            Self::Share | Self::Lock | Self::SetKeyring | Self::Mark => &[Owner],
            Self::AuditVault => &[Owner, Auditor],
            Self::People | Self::Operate | Self::AuditAll => &[],
        }
    }

    /// The roles on the system that allow it, in any vault.
    pub fn in_system(self) -> &'static [Role] {
        use Role::{Admin, Auditor, Operator};
        match self {
            Self::Share | Self::Lock | Self::People => &[Admin],
            Self::Mark | Self::Operate => &[Admin, Operator],
            Self::AuditVault | Self::AuditAll => &[Admin, Auditor],
            Self::Keyring | Self::Head | Self::List | Self::Read | Self::Push | Self::Forget | Self::SetKeyring => &[],
        }
    }

    /// The word for it, in refusals and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyring => "get keyring",
            Self::Head => "see newest version",
            Self::List => "list versions",
            Self::Read => "read",
            Self::Push => "push",
            Self::Forget => "forget",
            Self::Share => "share",
            Self::Lock => "lock",
            Self::SetKeyring => "set keyring",
            Self::Mark => "mark blocks",
            Self::AuditVault => "audit vault",
            Self::People => "manage people",
            Self::Operate => "operate",
            Self::AuditAll => "audit",
        }
    }
}

/// On what part of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where<'a> {
    /// On this name and all under it. The empty one is the whole vault.
    Name(&'a str),
    /// On any name at all: what is asked before the name is known, or about what names share.
    Anywhere,
}

/// The whole vault.
pub const WHOLE: Where<'static> = Where::Name("");

/// Why not. Says nothing about what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The word for what was wanted.
    pub deed: &'static str,
    /// In which vault; zero: in the system.
    pub vault: VaultId,
    /// On which name; may be empty.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody knows the device.
    Unknown,
    /// The device was revoked.
    Revoked,
    /// Its user is shut out.
    Disabled,
    /// It has no role that allows it.
    NoRole,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Unknown => write!(f, "{}: this device is not enrolled", self.deed),
            Why::Revoked => write!(f, "{}: this device was revoked", self.deed),
            Why::Disabled => write!(f, "{}: the user of this device is disabled", self.deed),
            Why::NoRole if self.vault == VaultId::ZERO => write!(f, "{}: no role allows it", self.deed),
            Why::NoRole if self.name.is_empty() => {
                write!(f, "{}: no role allows it on vault {}", self.deed, self.vault)
            }
            Why::NoRole => write!(f, "{}: no role allows it on {} in vault {}", self.deed, self.name, self.vault),
        }
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        Self::Denied(refusal.to_string())
    }
}

/// A device and all that it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its key; zero for whoever runs the index.
    pub device: PublicKey,
    /// Whose it is.
    pub user: String,
    /// Whether it may make new vaults.
    pub may_found: bool,
    /// It has the roles given to it alone.
    pub own_rights: bool,
    shut_out: Option<Why>,
    everything: bool,
    roles: Vec<RoleRow>,
}

impl Holder {
    /// Whoever runs the index: may everything.
    pub fn console() -> Self {
        let (device, user) = (PublicKey::ZERO, String::new());
        let roles = Vec::new();
        Self { device, user, may_found: true, own_rights: false, shut_out: None, everything: true, roles }
    }

    /// Whether it is whoever runs the index.
    pub fn is_console(&self) -> bool {
        self.everything
    }

    /// A device as the tables know it.
    pub fn of(tables: &impl Tables, device: &PublicKey) -> Result<Self> {
        let shut = |user: String, why| {
            let (device, roles) = (*device, Vec::new());
            Self { device, user, may_found: false, own_rights: false, shut_out: Some(why), everything: false, roles }
        };
        let Some(row) = Device::of(tables, device)? else { return Ok(shut(String::new(), Why::Unknown)) };
        if row.revoked_ns.is_some() {
            return Ok(shut(row.user, Why::Revoked));
        }
        let user = User::of(tables, &row.user)?.unwrap_or_default();
        if user.disabled {
            return Ok(shut(row.user, Why::Disabled));
        }
        let mut roles = RoleRow::all(tables, Some(&Bearer::Device(*device)))?;
        if !row.own_rights {
            roles.extend(RoleRow::all(tables, Some(&Bearer::User(row.user.clone())))?);
        }
        let may_found = user.may_found && !row.own_rights;
        let (device, own_rights) = (*device, row.own_rights);
        Ok(Self { device, user: row.user, may_found, own_rights, shut_out: None, everything: false, roles })
    }

    /// Whether it may do this in a vault.
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, action: Action, vault: &VaultId, at: Where<'_>) -> std::result::Result<(), Refusal> {
        if self.everything {
            return Ok(());
        }
        let why = match self.shut_out {
            Some(why) => why,
            None if self.has(action, vault, at) => return Ok(()),
            None => Why::NoRole,
        };
        let name = if let Where::Name(name) = at { name.to_owned() } else { String::new() };
        Err(Refusal { deed: action.name(), vault: *vault, name, why })
    }

    /// Whether it may do this in the system.
    ///
    /// # Errors
    /// Why not.
    pub fn may_in_system(&self, action: Action) -> std::result::Result<(), Refusal> {
        self.may(action, &VaultId::ZERO, WHOLE)
    }

    /// Whether it is known and not shut out.
    ///
    /// # Errors
    /// Why not.
    pub fn is_somebody(&self, deed: &'static str) -> std::result::Result<(), Refusal> {
        match self.shut_out {
            None => Ok(()),
            Some(why) => Err(Refusal { deed, vault: VaultId::ZERO, name: String::new(), why }),
        }
    }

    /// The vaults on which it has a role.
    pub fn vaults(&self) -> impl Iterator<Item = VaultId> + '_ {
        self.roles.iter().map(|row| row.vault).filter(|vault| *vault != VaultId::ZERO)
    }

    /// The roles that count, for people.
    pub fn grants(&self) -> Vec<RoleGrant> {
        self.roles.iter().flat_map(grants).collect()
    }

    fn has(&self, action: Action, vault: &VaultId, at: Where<'_>) -> bool {
        let system = |row: &&RoleRow| row.vault == VaultId::ZERO;
        let of_system = self.roles.iter().filter(system).fold(Roles::NONE, |all, row| all.union(row.roles));
        let here = |row: &&RoleRow| {
            row.vault == *vault && *vault != VaultId::ZERO && matches!(at, Where::Anywhere) || covers(row, vault, at)
        };
        let of_vault = self.roles.iter().filter(here).fold(Roles::NONE, |all, row| all.union(row.roles));
        of_system.has_any(action.in_system()) || of_vault.has_any(action.in_vault())
    }
}

fn covers(row: &RoleRow, vault: &VaultId, at: Where<'_>) -> bool {
    let Where::Name(name) = at else { return false };
    row.vault == *vault && *vault != VaultId::ZERO && is_under(name, &row.prefix)
}

/// Whether a name is a prefix or lies under it, whole components compared; everything lies under the empty one.
pub fn is_under(name: &str, prefix: &str) -> bool {
    prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A row of roles as people see it.
pub(super) fn grants(row: &RoleRow) -> Vec<RoleGrant> {
    let who = match &row.who {
        Bearer::User(name) => Who::User(name.clone()),
        Bearer::Device(device) => Who::Device(*device),
    };
    let vault = (row.vault != VaultId::ZERO).then_some(row.vault);
    row.roles.iter().map(|role| RoleGrant { role, vault, prefix: row.prefix.clone(), who: who.clone() }).collect()
}

/// Whether a device may do this.
///
/// # Errors
/// The outer one: the tables cannot be read. The inner one: why it may not.
pub fn may(
    tables: &impl Tables,
    device: &PublicKey,
    action: Action,
    vault: &VaultId,
    at: Where<'_>,
) -> Result<std::result::Result<(), Refusal>> {
    Ok(Holder::of(tables, device)?.may(action, vault, at))
}

#[cfg(test)]
mod tests;
