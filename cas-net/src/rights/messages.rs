//! What is said about people: plain data of the calls. PROTOCOL, family 4.

use super::RoleGrant;
use crate::wire::wire;
use cas_core::id::{PublicKey, VaultId};
use std::fmt;

/// A password on its way to the index. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes it as it was typed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// To be hashed, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

wire!(newtype Password);

/// A one-use token, 32 random bytes. Whoever has it can enrol a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EnrolToken(pub [u8; 32]);

impl fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolToken(…)")
    }
}

wire!(newtype EnrolToken);

/// What a person says to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// His name.
    pub user: String,
    /// His password.
    pub password: Password,
    /// What the device shall be called.
    pub label: String,
}

wire!(struct Login { user, password, label });

/// The answer to a login or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Whose the device is now.
    pub user: String,
    /// Whether it has rights of its own only.
    pub own_rights: bool,
}

wire!(struct Enrolled { user, own_rights });

/// Who a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The device.
    pub device: DeviceInfo,
    /// All roles that count for it.
    pub roles: Vec<RoleGrant>,
    /// Whether it may make new vaults.
    pub may_found: bool,
}

wire!(struct Identity { device, roles, may_found });

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its key.
    pub device: PublicKey,
    /// Its name for people.
    pub label: String,
    /// Whose it is.
    pub user: String,
    /// It has the roles given to it alone, none of its user's: a host that only pushes.
    pub own_rights: bool,
    /// Cluster time of its enrolment, nanoseconds since 1970.
    pub enrolled_ns: i64,
    /// Cluster time when it was last seen, to the hour.
    pub seen_ns: i64,
    /// Cluster time of its revocation.
    pub revoked_ns: Option<i64>,
}

wire!(struct DeviceInfo { device, label, user, own_rights, enrolled_ns, seen_ns, revoked_ns });

/// A new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// His name: 1 to 64 bytes of letters, digits, `.`, `_`, `-` and `@`.
    pub name: String,
    /// Without one he enrols by token only.
    pub password: Option<Password>,
    /// Whether he may make new vaults.
    pub may_found: bool,
}

wire!(struct NewUser { name, password, may_found });

/// A change of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserChange {
    /// None of his devices may do anything any more.
    Disable,
    /// They may again what they might before.
    Enable,
    /// Whether he may make new vaults.
    MayFound(bool),
}

wire!(enum UserChange as "change of a user" { 0 = Disable, 1 = Enable, 2 = MayFound(may) });

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// His name.
    pub name: String,
    /// Whether he is shut out.
    pub disabled: bool,
    /// Whether he may make new vaults.
    pub may_found: bool,
    /// Whether he can log in with a password.
    pub has_password: bool,
    /// Cluster time when he was made.
    pub since_ns: i64,
}

wire!(struct UserInfo { name, disabled, may_found, has_password, since_ns });

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Whose device it will enrol.
    pub user: String,
    /// Whether that device gets rights of its own only.
    pub own_rights: bool,
    /// How long it lives, in nanoseconds of cluster time.
    pub life_ns: i64,
}

wire!(struct NewToken { user, own_rights, life_ns });

/// A retention lock: versions of these names cannot be forgotten, nor removed from the trash, for so long after their commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The vault.
    pub vault: VaultId,
    /// This name and those under it; empty: all.
    pub prefix: String,
    /// For how long, in nanoseconds of cluster time.
    pub keep_ns: i64,
}

wire!(struct Lock { vault, prefix, keep_ns });

/// Which versions of these names a retention run of the index keeps; it moves the others to the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The vault.
    pub vault: VaultId,
    /// This name and those under it that have no rules with a longer prefix; empty: all.
    pub prefix: String,
    /// The rules, as [`cas_core::retention::KeepPolicy::to_text`] writes them; nothing: none, all versions are kept.
    pub keep: String,
}

wire!(struct Retention { vault, prefix, keep });

/// On whose account stored bytes are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// What a user's devices registered first, in whatever vault.
    User(String),
    /// What was registered first for a vault, by whomever.
    Vault(VaultId),
}

wire!(enum Account as "account" { 0 = User(name), 1 = Vault(vault) });

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Vault(vault) => write!(f, "vault {vault}"),
        }
    }
}

/// How full an account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub of: Account,
    /// Stored bytes, each block once.
    pub bytes: u64,
    /// How many it may have.
    pub quota: Option<u64>,
}

wire!(struct Usage { of, bytes, quota });

/// How the clock of the cluster stands, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// Cluster time: locks, trash, tokens and tickets go by it.
    pub now_ns: i64,
    /// What the machine's clock says, if it is too far ahead to be believed without [`super::Rights::accept_clock`].
    pub waiting_ns: Option<i64>,
}

wire!(struct ClockState { now_ns, waiting_ns });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let login = Login { user: "u".into(), password: Password::new("hunter22"), label: "l".into() };
        assert!(!format!("{login:?} {:?}", EnrolToken([77; 32])).contains("hunter22"));
        assert!(!format!("{:?}", EnrolToken([77; 32])).contains("77"));
    }
}
