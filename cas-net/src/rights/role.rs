//! Roles, and to whom they are given. DESIGN §10.

use crate::wire::{Reader, Wire, WireError, wire};
use cas_core::id::{PublicKey, VaultId};
use std::fmt;
use std::str::FromStr;

/// What a user or a device may do in a vault (the first five, on a prefix of names) or in the system (the last three).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Everything with the names, and on the whole vault also: its keyring, roles and locks.
    Owner = 0,
    /// Pushes, reads, forgets, undeletes.
    Writer = 1,
    /// Pushes new versions, no more: no delete, no read.
    Pusher = 2,
    /// Reads.
    Reader = 3,
    /// Sees which versions there are and what was done with them; reads no data. On the system: the whole audit log.
    Auditor = 4,
    /// On the system: users, devices, roles, quotas, the clock, and what an operator may.
    Admin = 5,
    /// On the system: nodes, layout, collection, checks.
    Operator = 6,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Owner, Self::Writer, Self::Pusher, Self::Reader, Self::Auditor, Self::Admin, Self::Operator];

    /// Reads the byte of a format.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u8 == byte)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Pusher => "pusher",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }

    /// Whether it can be given on a vault.
    pub fn is_of_vaults(self) -> bool {
        !matches!(self, Self::Admin | Self::Operator)
    }

    /// Whether it can be given on the system.
    pub fn is_of_system(self) -> bool {
        matches!(self, Self::Admin | Self::Operator | Self::Auditor)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| format!("{text:?} is no role"))
    }
}

impl Wire for Role {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = from.at();
        let byte = u8::take(from)?;
        Self::from_byte(byte).ok_or(WireError::Tag { at, what: "role", found: byte.into() })
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Self = Self(0);
    const ALL_BITS: u8 = (1 << Role::ALL.len()) - 1;

    /// Reads its byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        (byte & !Self::ALL_BITS == 0).then_some(Self(byte))
    }

    /// Its byte.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// Whether it holds this role.
    pub fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether it holds one of these.
    pub fn has_any(self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.has(*role))
    }

    /// With this role.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    /// Without this role.
    #[must_use]
    pub fn without(self, role: Role) -> Self {
        Self(self.0 & !(1 << role as u8))
    }

    /// What both hold together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles in it.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

/// To whom a role is given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// All devices of a user, but those enrolled for themselves alone.
    User(String),
    /// One device.
    Device(PublicKey),
}

wire!(enum Who as "who has a role" { 0 = User(name), 1 = Device(key) });

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Device(key) => write!(f, "device {key}"),
        }
    }
}

/// A role given to somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleGrant {
    /// Which.
    pub role: Role,
    /// On which vault; `None`: on the system.
    pub vault: Option<VaultId>,
    /// On this name and those under it; empty: on all. Ends at a component: `laptop` is not `laptop2`.
    pub prefix: String,
    /// To whom.
    pub who: Who,
}

wire!(struct RoleGrant { role, vault, prefix, who });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_just_what_was_put_into_it() {
        for role in Role::ALL {
            let set = Roles::NONE.with(role);
            assert_eq!(set.iter().collect::<Vec<_>>(), [role]);
            assert_eq!(Roles::from_byte(set.to_byte()), Some(set));
            assert!(set.without(role).is_empty());
            assert_eq!(role.name().parse::<Role>(), Ok(role));
        }
        assert_eq!(Roles::from_byte(0x80), None);
    }
}
