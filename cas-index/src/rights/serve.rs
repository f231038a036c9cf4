//! [`cas_net::rights::Rights`] of one device: reads from the tables, changes as commands. Login, tickets, the clock.

use super::clock::{BELIEVED_NS, ClusterClock, govern};
use super::command::{Change, Command as Rights, Deed, Of, To};
use super::guarded::{Caller, Guarded};
use super::holder::{Action, Holder, WHOLE, Where, grants};
use super::row::{Device, RoleRow, User, is_user_name};
use super::throttle::Guesser;
use super::{domains, lock, password, quota, retention, voids};
use crate::audit;
use crate::command::Command;
use crate::options::Options;
use crate::service::Index;
use crate::state::{Meta, Outcome, VaultRow};
use cas_core::id::{DomainId, Epoch, PublicKey, Sum, VaultId};
use cas_net::rights::audit::{AuditPage, Head, Verdict};
use cas_net::rights::ticket::{TICKET_LIFE_NS, TicketRights};
use cas_net::rights::{
    Account, ClockState, DeviceInfo, EnrolToken, Enrolled, Identity, Lock, Login, MAX_AUDIT_PAGE, NewToken, NewUser,
    Password, Retention, Revocations, RoleGrant, Ticket, Usage, UserChange, UserInfo, Who,
};
use cas_net::{Result, ServiceError};
use std::path::Path;
use std::sync::Arc;

impl Index {
    /// Opens an index that serves others: its time is cluster time. See [`Index::open`] for errors.
    pub fn open_cluster(dir: &Path, mut options: Options) -> Result<Arc<Self>> {
        let clock = govern(&mut options);
        let index = Self::open(dir, options)?;
        index.govern_by(clock)?;
        Ok(Arc::new(index))
    }

    /// Lets a clock that governs this index's options begin where its commands ended.
    pub fn govern_by(&self, clock: ClusterClock) -> Result<()> {
        let Meta { epoch, time_ns, .. } = Meta::load(&*self.tables())?;
        clock.start((epoch > Epoch::ZERO).then_some(time_ns));
        let _ = self.cluster_clock.set(clock);
        Ok(())
    }

    /// Which tickets are void before their time: what a heartbeat tells a node whose list has another version.
    pub fn revocations(&self) -> Result<Revocations> {
        voids::revocations(&*self.tables())
    }

    /// Cluster time, for the heartbeats: nodes judge tickets by it.
    pub fn cluster_time_ns(&self) -> i64 {
        self.now_ns()
    }

    /// To be called every few minutes: lets what has expired go, writes down counts of refusals, and keeps cluster time
    /// from being older than that after a restart.
    pub fn tick_rights(&self) -> Result<()> {
        let due = self.doors.lock().take_due(self.now_ns());
        for (device, count) in due {
            let by = (device != PublicKey::ZERO).then_some(device.0);
            let (deed, name) = ("more refusals".to_owned(), String::new());
            self.deed(by, Deed::Refused { deed, vault: [0; 16], name, count }, false)?;
        }
        self.deed(None, Deed::Tick, false)
    }

    /// Verifies the audit log. `known`: heads that were written down elsewhere.
    pub fn verify_audit(&self, known: &[Head]) -> Result<Verdict> {
        audit::verify(&*self.tables(), known)
    }

    fn deed(&self, by: Option<[u8; 32]>, deed: Deed, durable: bool) -> Result<()> {
        match self.submit(Command::Rights(Rights { by, deed }), durable)? {
            Outcome::Done => Ok(()),
            other => panic!("the state machine answered {other:?}"),
        }
    }
}

impl Guarded {
    fn change(&self, deed: Deed) -> Result<()> {
        self.index.deed(self.by().map(|key| key.0), deed, true)
    }

    fn device(&self) -> Result<PublicKey> {
        self.by().ok_or_else(|| ServiceError::Denied("this is for devices; whoever runs the index needs none".into()))
    }

    fn guessers(&self, user: Option<&str>) -> Vec<Guesser> {
        let user = user.map(|user| Guesser::User(user.to_owned()));
        let peer = match self.caller {
            Caller::Device { peer, .. } => peer.map(Guesser::peer),
            Caller::Console => None,
        };
        user.into_iter().chain(peer).collect()
    }

    /// Verifies a password; who guesses waits. Answers the hash it fits.
    fn verify_password(&self, name: &str, password: &Password, deed: &str) -> Result<String> {
        let who = self.guessers(Some(name));
        let doors = &self.index.doors;
        let Some(_slot) = doors.hash_slot() else { return Err(ServiceError::Busy("many log in now".into())) };
        if let Err(seconds) = doors.lock().throttle.begin(&who, self.index.now_ns()) {
            return Err(ServiceError::Busy(format!("too many wrong passwords: wait {seconds} s")));
        }
        let user = User::of(&*self.index.tables(), name)?.filter(|user| !user.disabled);
        let hash = user.map(|user| user.hash);
        if !password::is_right(password, hash.as_deref())? {
            self.count_refusal(&self.holder()?, deed, &VaultId::ZERO, name);
            return Err(ServiceError::Denied("the name or the password is wrong".into()));
        }
        doors.lock().throttle.succeeded(&who);
        Ok(hash.unwrap_or_default())
    }

    fn new_hash(&self, password: &Password) -> Result<String> {
        let Some(_slot) = self.index.doors.hash_slot() else {
            return Err(ServiceError::Busy("many log in now".into()));
        };
        password::hash(password, &random()?)
    }

    fn enrolled(&self, device: &PublicKey) -> Result<Enrolled> {
        let row = Device::of(&*self.index.tables(), device)?;
        let row = row.ok_or_else(|| ServiceError::NotFound { what: "device", name: device.to_string() })?;
        Ok(Enrolled { user: row.user, own_rights: row.own_rights })
    }
}

impl cas_net::rights::Rights for Guarded {
    fn login(&self, login: &Login) -> Result<Enrolled> {
        let device = self.device()?;
        let hash = self.verify_password(&login.user, &login.password, "log in")?;
        self.change(Deed::LogIn { user: login.user.clone(), hash, label: login.label.clone() })?;
        self.enrolled(&device)
    }

    fn enrol(&self, token: &EnrolToken, label: &str) -> Result<Enrolled> {
        let device = self.device()?;
        let who = self.guessers(None);
        if let Err(seconds) = self.index.doors.lock().throttle.begin(&who, self.index.now_ns()) {
            return Err(ServiceError::Busy(format!("too many wrong tokens: wait {seconds} s")));
        }
        self.change(Deed::UseToken { hash: Sum::of(&token.0).0, label: label.to_owned() })?;
        self.index.doors.lock().throttle.succeeded(&who);
        self.enrolled(&device)
    }

    fn whoami(&self) -> Result<Identity> {
        let key = self.device()?;
        self.seen();
        let holder = self.holder()?;
        let row = Device::of(&*self.index.tables(), &key)?;
        match row {
            Some(row) => Ok(Identity { device: info(key, row), roles: holder.grants(), may_found: holder.may_found }),
            None => Err(holder.is_somebody("who am I").expect_err("it has no row").into()),
        }
    }

    fn ticket(&self, vault: &VaultId, domain: &DomainId) -> Result<Ticket> {
        let client = self.device()?;
        self.seen();
        // Older than the tables that are looked at, if anything: a ticket is rather void too early than too late.
        let epoch = self.index.durable();
        let holder = self.holder()?;
        let may = |action| holder.may(action, vault, Where::Anywhere).is_ok();
        // Who begins a vault writes its keyring before anybody can have a role on it; nobody else can have its domain.
        let founds = holder.may_found && VaultRow::of(&*self.index.tables(), vault)?.is_none();
        let Some(rights) = TicketRights::of(may(Action::Read) || founds, may(Action::Push) || founds) else {
            self.check(Action::Read, vault, Where::Anywhere)?;
            return Err(ServiceError::Denied("the rights of this device just changed: ask again".into()));
        };
        if !domains::of_vault(&*self.index.tables(), vault)?.contains(domain) {
            let name = format!("{domain} in vault {vault}");
            return Err(ServiceError::NotFound { what: "domain", name });
        }
        let expires_ns = self.index.now_ns().saturating_add(TICKET_LIFE_NS);
        Ok(Ticket::sign(self.index.signing_key(), client, *domain, rights, epoch, expires_ns))
    }

    fn add_user(&self, user: &NewUser) -> Result<()> {
        self.check_system(Action::People)?;
        if !is_user_name(&user.name) {
            return Err(ServiceError::Denied("the name of a user has 1 to 64 letters, digits, and . _ - @".into()));
        }
        let hash = user.password.as_ref().map(|password| self.new_hash(password)).transpose()?;
        let (name, may_found) = (user.name.clone(), user.may_found);
        self.change(Deed::AddUser { name, hash: hash.unwrap_or_default(), may_found })
    }

    fn change_user(&self, name: &str, change: UserChange) -> Result<()> {
        let change = match change {
            UserChange::Disable => Change::Disable,
            UserChange::Enable => Change::Enable,
            UserChange::MayFound(may) => Change::MayFound(may),
        };
        self.change(Deed::ChangeUser { name: name.to_owned(), change })
    }

    fn set_password(&self, name: &str, old: Option<&Password>, new: &Password) -> Result<()> {
        let holder = self.holder()?;
        if let Some(old) = old.filter(|_| holder.user == name) {
            self.verify_password(name, old, "set password")?;
        } else {
            self.check_system(Action::People)?;
        }
        let hash = self.new_hash(new)?;
        self.change(Deed::SetPassword { name: name.to_owned(), hash })
    }

    fn users(&self) -> Result<Vec<UserInfo>> {
        let (holder, sees_all) = self.sees(&[Action::People, Action::AuditAll])?;
        let all = User::all(&*self.index.tables())?;
        let seen = all.into_iter().filter(|(name, _)| sees_all || *name == holder.user);
        Ok(seen
            .map(|(name, row)| UserInfo {
                name,
                disabled: row.disabled,
                may_found: row.may_found,
                has_password: !row.hash.is_empty(),
                since_ns: row.since_ns,
            })
            .collect())
    }

    fn make_token(&self, token: &NewToken) -> Result<EnrolToken> {
        let secret: [u8; 32] = random()?;
        let (user, own_rights, life_ns) = (token.user.clone(), token.own_rights, token.life_ns);
        self.change(Deed::MakeToken { hash: Sum::of(&secret).0, user, own_rights, life_ns })?;
        Ok(EnrolToken(secret))
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        let (holder, sees_all) = self.sees(&[Action::People, Action::AuditAll])?;
        let all = Device::all(&*self.index.tables())?;
        let seen = |(key, row): &(PublicKey, Device)| {
            sees_all || *key == holder.device || row.user == holder.user && !holder.own_rights
        };
        Ok(all.into_iter().filter(seen).map(|(key, row)| info(key, row)).collect())
    }

    fn revoke_device(&self, device: &PublicKey) -> Result<()> {
        self.change(Deed::Revoke { device: device.0 })
    }

    fn grant_role(&self, grant: &RoleGrant) -> Result<()> {
        self.change(shared(grant, true))
    }

    fn withdraw_role(&self, grant: &RoleGrant) -> Result<()> {
        self.change(shared(grant, false))
    }

    fn roles(&self, vault: Option<&VaultId>) -> Result<Vec<RoleGrant>> {
        let (holder, sees_all) = self.sees(&[Action::People, Action::AuditAll])?;
        let rows = RoleRow::all(&*self.index.tables(), None)?;
        let own = holder.grants();
        let seen = |grant: &RoleGrant| {
            let shares = |vault: &VaultId| {
                holder.may(Action::Share, vault, Where::Name(&grant.prefix)).is_ok()
                    || holder.may(Action::AuditVault, vault, WHOLE).is_ok()
            };
            sees_all || own.contains(grant) || grant.vault.as_ref().is_some_and(shares)
        };
        let wanted = |grant: &RoleGrant| vault.is_none() || grant.vault.as_ref() == vault;
        Ok(rows.iter().flat_map(grants).filter(|grant| wanted(grant) && seen(grant)).collect())
    }

    fn set_lock(&self, lock: &Lock) -> Result<()> {
        self.change(Deed::Lock { vault: lock.vault.0, prefix: lock.prefix.clone(), keep_ns: lock.keep_ns })
    }

    fn locks(&self, vault: &VaultId) -> Result<Vec<Lock>> {
        let holder = self.holder()?;
        if holder.may(Action::Lock, vault, WHOLE).is_err() {
            self.check(Action::Head, vault, Where::Anywhere)?;
        }
        lock::locks(&*self.index.tables(), vault)
    }

    fn set_retention(&self, retention: &Retention) -> Result<()> {
        let Retention { vault, prefix, keep } = retention.clone();
        self.change(Deed::Retain { vault: vault.0, prefix, keep })
    }

    fn retentions(&self, vault: &VaultId) -> Result<Vec<Retention>> {
        self.check(Action::Head, vault, Where::Anywhere)?;
        retention::retentions(&*self.index.tables(), vault)
    }

    fn set_quota(&self, of: &Account, bytes: Option<u64>) -> Result<()> {
        let of = match of {
            Account::User(name) => Of::User(name.clone()),
            Account::Vault(vault) => Of::Vault(vault.0),
        };
        self.change(Deed::Quota { of, bytes })
    }

    fn usage(&self) -> Result<Vec<Usage>> {
        let (holder, sees_all) = self.sees(&[Action::People, Action::Operate])?;
        let mut all = quota::usage(&*self.index.tables())?;
        all.retain(|usage| match &usage.of {
            Account::User(name) => sees_all || *name == holder.user && !holder.own_rights,
            Account::Vault(vault) => sees_all || holder.may(Action::SetKeyring, vault, WHOLE).is_ok(),
        });
        Ok(all)
    }

    fn clock(&self) -> Result<ClockState> {
        self.sees(&[])?;
        let now_ns = self.index.now_ns();
        Ok(self.index.cluster_clock.get().map_or(ClockState { now_ns, waiting_ns: None }, ClusterClock::state))
    }

    fn accept_clock(&self, to_ns: i64) -> Result<()> {
        self.check_system(Action::People)?;
        let clock = self.index.cluster_clock.get();
        let waiting = clock.and_then(|clock| clock.state().waiting_ns);
        let (Some(clock), Some(waiting_ns)) = (clock, waiting) else {
            return Err(ServiceError::Denied("no step of the clock waits to be accepted".into()));
        };
        if waiting_ns.saturating_sub(to_ns).saturating_abs() > BELIEVED_NS {
            return Err(ServiceError::Denied(format!("another time waits: {waiting_ns} ns since 1970")));
        }
        self.change(Deed::AcceptClock { to_ns })?;
        clock.accept(to_ns);
        Ok(())
    }

    fn audit(&self, after: u64, limit: u32) -> Result<AuditPage> {
        let (holder, sees_all) = self.sees(&[Action::AuditAll])?;
        let audits = |vault: &VaultId| holder.may(Action::AuditVault, vault, WHOLE).is_ok();
        if !sees_all && !holder.vaults().any(|vault| audits(&vault)) {
            self.check_system(Action::AuditAll)?;
        }
        let sees = |entry: &cas_net::rights::audit::Entry| sees_all || entry.vault.as_ref().is_some_and(audits);
        audit::page(&*self.index.tables(), after, limit.min(MAX_AUDIT_PAGE), &sees)
    }

    fn verify_audit(&self) -> Result<Verdict> {
        self.check_system(Action::AuditAll)?;
        self.index.verify_audit(&[])
    }
}

impl Guarded {
    /// The holder, who must be somebody, and whether it may see everything by one of these rights.
    fn sees(&self, all_by: &[Action]) -> Result<(Holder, bool)> {
        let holder = self.holder()?;
        if let Err(refusal) = holder.is_somebody("look") {
            return Err(self.refuse(&holder, refusal));
        }
        let sees_all = all_by.iter().any(|action| holder.may_in_system(*action).is_ok());
        Ok((holder, sees_all))
    }
}

fn shared(grant: &RoleGrant, give: bool) -> Deed {
    let who = match &grant.who {
        Who::User(name) => To::User(name.clone()),
        Who::Device(key) => To::Device(key.0),
    };
    let vault = grant.vault.unwrap_or(VaultId::ZERO).0;
    Deed::Share { role: grant.role as u8, vault, prefix: grant.prefix.clone(), who, give }
}

fn info(device: PublicKey, row: Device) -> DeviceInfo {
    let Device { user, label, own_rights, enrolled_ns, seen_ns, revoked_ns } = row;
    DeviceInfo { device, label, user, own_rights, enrolled_ns, seen_ns, revoked_ns }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    let io = |e: getrandom::Error| ServiceError::io("draw random bytes", std::io::Error::other(e.to_string()));
    getrandom::fill(&mut out).map_err(io)?;
    Ok(out)
}
