//! Requests about people and rights: one for each method of [`Rights`](super::Rights). PROTOCOL §7, family 4.

use super::audit::{AuditPage, Verdict};
use super::{
    Account, ClockState, DeviceInfo, EnrolToken, Enrolled, Identity, Lock, Login, NewToken, NewUser, Password,
    Retention, RoleGrant, Ticket, Usage, UserChange, UserInfo,
};
use crate::calls::Family;
use crate::wire::calls;
use cas_core::id::{DomainId, PublicKey, VaultId};

calls! { Family::Rights;
    /// `Rights::login`.
    1 once LogIn {
        /// Who.
        login: Login,
    } -> Enrolled;
    /// `Rights::enrol`.
    2 once Enrol {
        /// The token.
        token: EnrolToken,
        /// What the device shall be called.
        label: String,
    } -> Enrolled;
    /// `Rights::whoami`.
    3 again WhoAmI {} -> Identity;
    /// `Rights::ticket`.
    4 again GetTicket {
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
    } -> Ticket;
    /// `Rights::add_user`.
    5 once AddUser {
        /// Whom.
        user: NewUser,
    } -> ();
    /// `Rights::change_user`.
    6 again ChangeUser {
        /// Whom.
        name: String,
        /// How.
        change: UserChange,
    } -> ();
    /// `Rights::set_password`.
    7 once SetPassword {
        /// Whose.
        name: String,
        /// The old one.
        old: Option<Password>,
        /// The new one.
        new: Password,
    } -> ();
    /// `Rights::users`.
    8 again Users {} -> Vec<UserInfo>;
    /// `Rights::make_token`.
    9 once MakeToken {
        /// For what.
        token: NewToken,
    } -> EnrolToken;
    /// `Rights::devices`.
    10 again Devices {} -> Vec<DeviceInfo>;
    /// `Rights::revoke_device`.
    11 again RevokeDevice {
        /// Which.
        device: PublicKey,
    } -> ();
    /// `Rights::grant_role`.
    12 again GrantRole {
        /// Which, to whom.
        grant: RoleGrant,
    } -> ();
    /// `Rights::withdraw_role`.
    13 again WithdrawRole {
        /// Which, from whom.
        grant: RoleGrant,
    } -> ();
    /// `Rights::roles`.
    14 again ListRoles {
        /// On which vault; `None`: all.
        vault: Option<VaultId>,
    } -> Vec<RoleGrant>;
    /// `Rights::set_lock`.
    15 again SetLock {
        /// The lock.
        lock: Lock,
    } -> ();
    /// `Rights::locks`.
    16 again Locks {
        /// The vault.
        vault: VaultId,
    } -> Vec<Lock>;
    /// `Rights::set_quota`.
    17 again SetQuota {
        /// Whose.
        of: Account,
        /// How much; `None`: without end.
        bytes: Option<u64>,
    } -> ();
    /// `Rights::usage`.
    18 again GetUsage {} -> Vec<Usage>;
    /// `Rights::clock`.
    19 again Clock {} -> ClockState;
    /// `Rights::accept_clock`.
    20 once AcceptClock {
        /// The time that is accepted, nanoseconds since 1970.
        to_ns: i64,
    } -> ();
    /// `Rights::audit`.
    21 again Audit {
        /// After this entry.
        after: u64,
        /// At most so many.
        limit: u32,
    } -> AuditPage;
    /// `Rights::verify_audit`.
    22 again VerifyAudit {} -> Verdict;
    /// `Rights::set_retention`.
    23 again SetRetention {
        /// The rules.
        retention: Retention,
    } -> ();
    /// `Rights::retentions`.
    24 again Retentions {
        /// The vault.
        vault: VaultId,
    } -> Vec<Retention>;
    /// Shows a node a ticket, for as long as the connection lasts. The index answers that it does not know this.
    32 again ShowTicket {
        /// The ticket.
        ticket: Ticket,
    } -> ();
}
