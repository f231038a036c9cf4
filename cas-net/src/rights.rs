//! People and rights: what a client asks the index about users, devices, roles, locks, quotas and the audit log. DESIGN §10.
//!
//! The trait [`Rights`] is bound to one device: the key that the other end of the connection proved. Its methods are the
//! calls of [`calls`]; tickets, which nodes verify without asking anybody, are in [`ticket`]; the audit log's bytes and
//! its chain are in [`audit`], so that a client can verify it without believing the index.
//! Not here: who may do what (`cas_index::rights`).

pub mod audit;
pub mod calls;
mod messages;
mod remote;
mod role;
pub mod ticket;

pub use messages::{
    Account, ClockState, DeviceInfo, EnrolToken, Enrolled, Identity, Lock, Login, NewToken, NewUser, Password,
    Retention, Usage, UserChange, UserInfo,
};
pub use remote::{Ask, RemoteRights, answer};
pub use role::{Role, RoleGrant, Roles, Who};
pub use ticket::{Revocations, Ticket};

use crate::Result;
use audit::{AuditPage, Verdict};
use cas_core::id::{DomainId, PublicKey, VaultId};

/// The longest name of a user, in bytes.
pub const MAX_USER_NAME: usize = 64;
/// The longest label of a device, in bytes.
pub const MAX_DEVICE_LABEL: usize = 255;
/// The longest password, in bytes: hashing more would be work for nothing.
pub const MAX_PASSWORD: usize = 1024;
/// The shortest password that is taken, in bytes.
pub const MIN_PASSWORD: usize = 8;
/// How long a token may live at most, in nanoseconds: a week.
pub const MAX_TOKEN_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Entries of the audit log in one page.
pub const MAX_AUDIT_PAGE: u32 = 4096;

/// Users, devices, roles and what follows from them, as one device sees them.
///
/// Every method answers [`ServiceError::Denied`](crate::ServiceError::Denied) when the device may not, and every change
/// and every such refusal stands in the audit log.
pub trait Rights: Send + Sync {
    /// Enrols the device of this connection for a user.
    ///
    /// # Errors
    /// `Denied` for a wrong name or password alike; `Busy` after too many attempts, with the seconds to wait.
    fn login(&self, login: &Login) -> Result<Enrolled>;

    /// Enrols the device of this connection with a one-use token.
    ///
    /// # Errors
    /// `Denied` if the token was used, has expired or never was; `Busy` after too many attempts.
    fn enrol(&self, token: &EnrolToken, label: &str) -> Result<Enrolled>;

    /// Who this device is, and what it may.
    fn whoami(&self) -> Result<Identity>;

    /// A ticket for the blocks of one domain of a vault; nodes take it without asking the index.
    ///
    /// # Errors
    /// `Denied` for a device that may neither read nor push there; `NotFound` for a vault that nobody has pushed to yet.
    fn ticket(&self, vault: &VaultId, domain: &DomainId) -> Result<Ticket>;

    /// Makes a user. For an admin.
    fn add_user(&self, user: &NewUser) -> Result<()>;

    /// Changes a user. For an admin. Disabling ends his sessions and voids his tickets.
    fn change_user(&self, name: &str, change: UserChange) -> Result<()>;

    /// Sets a password: one's own with the old one, anybody's as an admin. Devices stay enrolled.
    fn set_password(&self, name: &str, old: Option<&Password>, new: &Password) -> Result<()>;

    /// All users for an admin or auditor, oneself for others.
    fn users(&self) -> Result<Vec<UserInfo>>;

    /// A one-use token that enrols a device, for oneself, or for anybody as an admin. It is shown once; the index keeps
    /// its hash.
    fn make_token(&self, token: &NewToken) -> Result<EnrolToken>;

    /// Devices of oneself; of everybody for an admin or auditor.
    fn devices(&self) -> Result<Vec<DeviceInfo>>;

    /// Revokes a device for ever: one's own, or any as an admin. At once at the index, within a heartbeat at nodes.
    fn revoke_device(&self, device: &PublicKey) -> Result<()>;

    /// Gives a role.
    fn grant_role(&self, grant: &RoleGrant) -> Result<()>;

    /// Takes a role back.
    fn withdraw_role(&self, grant: &RoleGrant) -> Result<()>;

    /// Roles on a vault, for its owners and auditors; those of the system and of all vaults for an admin (`None`).
    fn roles(&self, vault: Option<&VaultId>) -> Result<Vec<RoleGrant>>;

    /// Sets or lengthens a retention lock. For an owner.
    ///
    /// # Errors
    /// `Denied` for a shorter one: a lock only grows.
    fn set_lock(&self, lock: &Lock) -> Result<()>;

    /// The locks of a vault.
    fn locks(&self, vault: &VaultId) -> Result<Vec<Lock>>;

    /// Sets the rules by which the index itself forgets versions, or takes them back. For those who may forget these names.
    ///
    /// # Errors
    /// `Denied` for a text that is no policy; too many rules.
    fn set_retention(&self, retention: &Retention) -> Result<()>;

    /// The rules of a vault, by prefix.
    fn retentions(&self, vault: &VaultId) -> Result<Vec<Retention>>;

    /// Sets a quota in stored bytes (each block once, however many copies there are), or lifts it. For an admin.
    fn set_quota(&self, of: &Account, bytes: Option<u64>) -> Result<()>;

    /// Usage and quotas: of all for an admin or operator, else of oneself and of the vaults one owns.
    fn usage(&self) -> Result<Vec<Usage>>;

    /// How the clock of the cluster stands.
    fn clock(&self) -> Result<ClockState>;

    /// Accepts that the clock of the machine is right although it is far ahead. For an admin.
    ///
    /// # Errors
    /// `Denied` if nothing waits, or another time than this one (nanoseconds since 1970) is waiting by more than an hour.
    fn accept_clock(&self, to_ns: i64) -> Result<()>;

    /// Entries of the audit log after a number. An owner or auditor of a vault sees those of the vault; an admin or an
    /// auditor of the system sees all, with what verifies them.
    fn audit(&self, after: u64, limit: u32) -> Result<AuditPage>;

    /// Verifies the whole audit log where it is kept. For an admin or an auditor of the system.
    fn verify_audit(&self) -> Result<Verdict>;
}
