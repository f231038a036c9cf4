//! One value of every message about people and rights.

use super::{Visit, key};
use cas_core::id::{DomainId, Epoch, PublicKey, Sum, VaultId};
use cas_net::rights::audit::{AuditPage, Chained, Fault, Head, Verdict};
use cas_net::rights::calls as c;
use cas_net::rights::ticket::TicketRights;
use cas_net::rights::*;

const VAULT: VaultId = VaultId([2; 16]);
const DEVICE: PublicKey = PublicKey([3; 32]);

fn device() -> DeviceInfo {
    DeviceInfo {
        device: DEVICE,
        label: "laptop".into(),
        user: "ada".into(),
        own_rights: true,
        enrolled_ns: -4,
        seen_ns: 5,
        revoked_ns: Some(6),
    }
}

fn grants() -> Vec<RoleGrant> {
    let of = |role, vault, who| RoleGrant { role, vault, prefix: "web".into(), who };
    vec![of(Role::Pusher, Some(VAULT), Who::Device(DEVICE)), of(Role::Admin, None, Who::User("ada".into()))]
}

fn user() -> UserInfo {
    UserInfo { name: "ada".into(), disabled: true, may_found: false, has_password: true, since_ns: 7 }
}

fn page() -> AuditPage {
    let entries = vec![Chained { seq: 8, hash: Sum([9; 32]), bytes: b"entry".to_vec() }];
    AuditPage { entries, next: 10, more: true, head: Head { seq: 11, hash: Sum([12; 32]) } }
}

fn verdict() -> Verdict {
    let faults = vec![
        Fault::Changed(1),
        Fault::Missing { from: 2, to: 3 },
        Fault::Moved { at: 4, is: 5 },
        Fault::Inserted(6),
        Fault::Rewritten(7),
    ];
    Verdict { entries: 13, head: Head { seq: 14, hash: Sum([15; 32]) }, faults }
}

fn usage() -> Vec<Usage> {
    vec![
        Usage { of: Account::User("ada".into()), bytes: 16, quota: None },
        Usage { of: Account::Vault(VAULT), bytes: 17, quota: Some(18) },
    ]
}

/// Every request of the family, with an answer.
pub fn visit(to: &mut impl Visit) {
    let (ada, password) = (|| "ada".to_owned(), || Password::new("correct horse"));
    let enrolled = || Enrolled { user: ada(), own_rights: false };
    let ticket = || Ticket::sign(&key(), DEVICE, DomainId([4; 16]), TicketRights::ReadWrite, Epoch(19), 20);
    let lock = || Lock { vault: VAULT, prefix: "web".into(), keep_ns: 21 };
    let retention = || Retention { vault: VAULT, prefix: "web".into(), keep: "keep-last=3,keep-within=1y".into() };
    let [given, system] = grants().try_into().expect("two");
    to.call(c::LogIn { login: Login { user: ada(), password: password(), label: "laptop".into() } }, enrolled());
    to.call(c::Enrol { token: EnrolToken([22; 32]), label: "laptop".into() }, enrolled());
    to.call(c::WhoAmI {}, Identity { device: device(), roles: grants(), may_found: true });
    to.call(c::GetTicket { vault: VAULT, domain: DomainId([4; 16]) }, ticket());
    to.call(c::AddUser { user: NewUser { name: ada(), password: Some(password()), may_found: true } }, ());
    to.call(c::ChangeUser { name: ada(), change: UserChange::MayFound(true) }, ());
    to.call(c::SetPassword { name: ada(), old: Some(password()), new: Password::new("battery staple") }, ());
    to.call(c::Users {}, vec![user()]);
    to.call(c::MakeToken { token: NewToken { user: ada(), own_rights: true, life_ns: 23 } }, EnrolToken([24; 32]));
    to.call(c::Devices {}, vec![device(), DeviceInfo { revoked_ns: None, ..device() }]);
    to.call(c::RevokeDevice { device: DEVICE }, ());
    to.call(c::GrantRole { grant: given }, ());
    to.call(c::WithdrawRole { grant: system }, ());
    to.call(c::ListRoles { vault: Some(VAULT) }, grants());
    to.call(c::SetLock { lock: lock() }, ());
    to.call(c::Locks { vault: VAULT }, vec![lock()]);
    to.call(c::SetQuota { of: Account::Vault(VAULT), bytes: Some(25) }, ());
    to.call(c::GetUsage {}, usage());
    to.call(c::Clock {}, ClockState { now_ns: 26, waiting_ns: Some(27) });
    to.call(c::AcceptClock { to_ns: 28 }, ());
    to.call(c::Audit { after: 29, limit: 30 }, page());
    to.call(c::VerifyAudit {}, verdict());
    to.call(c::SetRetention { retention: retention() }, ());
    to.call(c::Retentions { vault: VAULT }, vec![retention()]);
    to.call(c::ShowTicket { ticket: ticket() }, ());
}
