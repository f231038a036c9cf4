//! [`Rights`] over a connection: the client asks by calls, the server answers them.

use super::audit::{AuditPage, Verdict};
use super::calls as c;
use super::{
    Account, ClockState, DeviceInfo, EnrolToken, Enrolled, Identity, Lock, Login, NewToken, NewUser, Password,
    Retention, Rights, RoleGrant, Ticket, Usage, UserChange, UserInfo,
};
use crate::calls::Call;
use crate::limits::MAX_REQUEST_ITEMS;
use crate::wire::{decode, encode};
use crate::{Result, ServiceError};
use cas_core::id::{DomainId, PublicKey, VaultId};

/// Whoever can ask the index.
pub trait Ask: Send + Sync {
    /// Asks, waits for the answer.
    fn ask<C: Call>(&self, call: &C) -> Result<C::Answer>;
}

/// [`Rights`] by asking.
#[derive(Debug, Clone)]
pub struct RemoteRights<A>(pub A);

impl<A: Ask> Rights for RemoteRights<A> {
    fn login(&self, login: &Login) -> Result<Enrolled> {
        self.0.ask(&c::LogIn { login: login.clone() })
    }

    fn enrol(&self, token: &EnrolToken, label: &str) -> Result<Enrolled> {
        self.0.ask(&c::Enrol { token: *token, label: label.to_owned() })
    }

    fn whoami(&self) -> Result<Identity> {
        self.0.ask(&c::WhoAmI {})
    }

    fn ticket(&self, vault: &VaultId, domain: &DomainId) -> Result<Ticket> {
        self.0.ask(&c::GetTicket { vault: *vault, domain: *domain })
    }

    fn add_user(&self, user: &NewUser) -> Result<()> {
        self.0.ask(&c::AddUser { user: user.clone() })
    }

    fn change_user(&self, name: &str, change: UserChange) -> Result<()> {
        self.0.ask(&c::ChangeUser { name: name.to_owned(), change })
    }

    fn set_password(&self, name: &str, old: Option<&Password>, new: &Password) -> Result<()> {
        self.0.ask(&c::SetPassword { name: name.to_owned(), old: old.cloned(), new: new.clone() })
    }

    fn users(&self) -> Result<Vec<UserInfo>> {
        self.0.ask(&c::Users {})
    }

    fn make_token(&self, token: &NewToken) -> Result<EnrolToken> {
        self.0.ask(&c::MakeToken { token: token.clone() })
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        self.0.ask(&c::Devices {})
    }

    fn revoke_device(&self, device: &PublicKey) -> Result<()> {
        self.0.ask(&c::RevokeDevice { device: *device })
    }

    fn grant_role(&self, grant: &RoleGrant) -> Result<()> {
        self.0.ask(&c::GrantRole { grant: grant.clone() })
    }

    fn withdraw_role(&self, grant: &RoleGrant) -> Result<()> {
        self.0.ask(&c::WithdrawRole { grant: grant.clone() })
    }

    fn roles(&self, vault: Option<&VaultId>) -> Result<Vec<RoleGrant>> {
        self.0.ask(&c::ListRoles { vault: vault.copied() })
    }

    fn set_lock(&self, lock: &Lock) -> Result<()> {
        self.0.ask(&c::SetLock { lock: lock.clone() })
    }

    fn set_retention(&self, retention: &Retention) -> Result<()> {
        self.0.ask(&c::SetRetention { retention: retention.clone() })
    }

    fn retentions(&self, vault: &VaultId) -> Result<Vec<Retention>> {
        self.0.ask(&c::Retentions { vault: *vault })
    }

    fn locks(&self, vault: &VaultId) -> Result<Vec<Lock>> {
        self.0.ask(&c::Locks { vault: *vault })
    }

    fn set_quota(&self, of: &Account, bytes: Option<u64>) -> Result<()> {
        self.0.ask(&c::SetQuota { of: of.clone(), bytes })
    }

    fn usage(&self) -> Result<Vec<Usage>> {
        self.0.ask(&c::GetUsage {})
    }

    fn clock(&self) -> Result<ClockState> {
        self.0.ask(&c::Clock {})
    }

    fn accept_clock(&self, to_ns: i64) -> Result<()> {
        self.0.ask(&c::AcceptClock { to_ns })
    }

    fn audit(&self, after: u64, limit: u32) -> Result<AuditPage> {
        self.0.ask(&c::Audit { after, limit })
    }

    fn verify_audit(&self) -> Result<Verdict> {
        self.0.ask(&c::VerifyAudit {})
    }
}

/// Carries out the request of this number for the device that `rights` is bound to; answers the bytes of its answer.
///
/// # Errors
/// What the request is refused with; [`ServiceError::Protocol`] for bytes that are no such request.
pub fn answer(rights: &dyn Rights, method: u16, message: &[u8]) -> Result<Vec<u8>> {
    fn run<C: Call>(message: &[u8], work: impl FnOnce(C) -> Result<C::Answer>) -> Result<Vec<u8>> {
        let call = decode::<C>(message, MAX_REQUEST_ITEMS).map_err(|e| ServiceError::Protocol(e.to_string()))?;
        Ok(encode(&work(call)?))
    }
    match method {
        c::LogIn::METHOD => run(message, |call: c::LogIn| rights.login(&call.login)),
        c::Enrol::METHOD => run(message, |call: c::Enrol| rights.enrol(&call.token, &call.label)),
        c::WhoAmI::METHOD => run(message, |_: c::WhoAmI| rights.whoami()),
        c::GetTicket::METHOD => run(message, |call: c::GetTicket| rights.ticket(&call.vault, &call.domain)),
        c::AddUser::METHOD => run(message, |call: c::AddUser| rights.add_user(&call.user)),
        c::ChangeUser::METHOD => run(message, |call: c::ChangeUser| rights.change_user(&call.name, call.change)),
        c::SetPassword::METHOD => {
            run(message, |call: c::SetPassword| rights.set_password(&call.name, call.old.as_ref(), &call.new))
        }
        c::Users::METHOD => run(message, |_: c::Users| rights.users()),
        c::MakeToken::METHOD => run(message, |call: c::MakeToken| rights.make_token(&call.token)),
        c::Devices::METHOD => run(message, |_: c::Devices| rights.devices()),
        c::RevokeDevice::METHOD => run(message, |call: c::RevokeDevice| rights.revoke_device(&call.device)),
        c::GrantRole::METHOD => run(message, |call: c::GrantRole| rights.grant_role(&call.grant)),
        c::WithdrawRole::METHOD => run(message, |call: c::WithdrawRole| rights.withdraw_role(&call.grant)),
        c::ListRoles::METHOD => run(message, |call: c::ListRoles| rights.roles(call.vault.as_ref())),
        c::SetLock::METHOD => run(message, |call: c::SetLock| rights.set_lock(&call.lock)),
        c::SetRetention::METHOD => run(message, |call: c::SetRetention| rights.set_retention(&call.retention)),
        c::Retentions::METHOD => run(message, |call: c::Retentions| rights.retentions(&call.vault)),
        c::Locks::METHOD => run(message, |call: c::Locks| rights.locks(&call.vault)),
        c::SetQuota::METHOD => run(message, |call: c::SetQuota| rights.set_quota(&call.of, call.bytes)),
        c::GetUsage::METHOD => run(message, |_: c::GetUsage| rights.usage()),
        c::Clock::METHOD => run(message, |_: c::Clock| rights.clock()),
        c::AcceptClock::METHOD => run(message, |call: c::AcceptClock| rights.accept_clock(call.to_ns)),
        c::Audit::METHOD => run(message, |call: c::Audit| rights.audit(call.after, call.limit)),
        c::VerifyAudit::METHOD => run(message, |_: c::VerifyAudit| rights.verify_audit()),
        unknown => Err(ServiceError::Protocol(format!("there is no request {unknown} about rights"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    /// Every method denies with its own number, so that a swapped one is seen.
    macro_rules! denies {
        ($($name:ident ( $($type:ty),* ) -> $answer:ty = $number:literal;)*) => {
            impl Rights for Nobody {
                $( fn $name(&self, $(_: $type),*) -> Result<$answer> {
                    Err(ServiceError::Denied($number.to_string()))
                } )*
            }
        };
    }

    denies! {
        login(&Login) -> Enrolled = 1;
        enrol(&EnrolToken, &str) -> Enrolled = 2;
        whoami() -> Identity = 3;
        ticket(&VaultId, &DomainId) -> Ticket = 4;
        add_user(&NewUser) -> () = 5;
        change_user(&str, UserChange) -> () = 6;
        set_password(&str, Option<&Password>, &Password) -> () = 7;
        users() -> Vec<UserInfo> = 8;
        make_token(&NewToken) -> EnrolToken = 9;
        devices() -> Vec<DeviceInfo> = 10;
        revoke_device(&PublicKey) -> () = 11;
        grant_role(&RoleGrant) -> () = 12;
        withdraw_role(&RoleGrant) -> () = 13;
        roles(Option<&VaultId>) -> Vec<RoleGrant> = 14;
        set_lock(&Lock) -> () = 15;
        locks(&VaultId) -> Vec<Lock> = 16;
        set_quota(&Account, Option<u64>) -> () = 17;
        usage() -> Vec<Usage> = 18;
        clock() -> ClockState = 19;
        accept_clock(i64) -> () = 20;
        audit(u64, u32) -> AuditPage = 21;
        verify_audit() -> Verdict = 22;
        set_retention(&Retention) -> () = 23;
        retentions(&VaultId) -> Vec<Retention> = 24;
    }

    /// Asks `Nobody` through the bytes.
    struct Wired;

    impl Ask for Wired {
        fn ask<C: Call>(&self, call: &C) -> Result<C::Answer> {
            let bytes = encode(call);
            assert_eq!(c::is_request(C::METHOD, &bytes).unwrap(), Ok(true));
            decode(&answer(&Nobody, C::METHOD, &bytes)?, 100).map_err(|e| ServiceError::Protocol(e.to_string()))
        }
    }

    #[test]
    fn every_method_goes_over_the_wire_to_itself() {
        let far = RemoteRights(Wired);
        let (user, key, vault) = ("ada".to_owned(), PublicKey([1; 32]), VaultId([2; 16]));
        let password = Password::new("correct horse");
        let grant = RoleGrant {
            role: super::super::Role::Reader,
            vault: Some(vault),
            prefix: "a".into(),
            who: super::super::Who::Device(key),
        };
        let answers = [
            far.login(&Login { user: user.clone(), password: password.clone(), label: "l".into() }).map(drop),
            far.enrol(&EnrolToken([3; 32]), "l").map(drop),
            far.whoami().map(drop),
            far.ticket(&vault, &DomainId([4; 16])).map(drop),
            far.add_user(&NewUser { name: user.clone(), password: None, may_found: true }),
            far.change_user(&user, UserChange::MayFound(true)),
            far.set_password(&user, Some(&password), &password),
            far.users().map(drop),
            far.make_token(&NewToken { user: user.clone(), own_rights: true, life_ns: 5 }).map(drop),
            far.devices().map(drop),
            far.revoke_device(&key),
            far.grant_role(&grant),
            far.withdraw_role(&grant),
            far.roles(None).map(drop),
            far.set_lock(&Lock { vault, prefix: String::new(), keep_ns: 9 }),
            far.locks(&vault).map(drop),
            far.set_quota(&Account::User(user), Some(5)),
            far.usage().map(drop),
            far.clock().map(drop),
            far.accept_clock(-1),
            far.audit(7, 8).map(drop),
            far.verify_audit().map(drop),
            far.set_retention(&Retention { vault, prefix: String::new(), keep: "keep-last=1".into() }),
            far.retentions(&vault).map(drop),
        ];
        let shown_to_nodes = 1;
        assert_eq!(answers.len(), c::METHODS.len() - shown_to_nodes);
        for (answer, number) in answers.into_iter().zip(1..) {
            assert!(matches!(answer, Err(ServiceError::Denied(said)) if said == format!("{number}")), "{number}");
        }
        assert!(matches!(answer(&Nobody, 999, &[]), Err(ServiceError::Protocol(_))));
    }
}
