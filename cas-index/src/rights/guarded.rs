//! An index as one device sees it: [`cas_net::Index`] behind its rights. DESIGN §10.
//!
//! Promise: whatever is asked through it, by a client that speaks no protocol but its own, is answered as far as the roles
//! of its device go and no farther: names by prefix, blocks by domain, sessions by device. Changes are decided where they
//! are applied; here only what is read, and what needs no command. Refusals are written down.

use super::command::{Command as Rights, Deed};
use super::holder::{Action, Holder, Refusal, WHOLE, Where};
use super::people::SEEN_NS;
use super::{apply, domains};
use crate::command::{Command, Packed};
use crate::service::{By, Index};
use crate::state;
use crate::state::snapshots::find;
use cas_core::id::{BlockId, DomainId, PublicKey, SnapshotId, VaultId};
use cas_net::{
    Checkpointed, Commit, Committed, Condemned, Delete, Deleted, Grant, HaveAnswer, IndexStatus, NodeId, Receipt,
    Recount, Registered, Registration, Result, ServiceError, SessionId, SessionInfo, SessionStart, SnapshotRow,
    StartSession, StoredRow,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Rows that are looked at in one step of a listing.
const LIST_STEP: usize = 4096;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever runs the index, by its own hands: everything. Never what came from a network.
    Console,
    /// Whoever proved this key.
    Device {
        /// The key.
        key: PublicKey,
        /// Where it comes from, if it matters: who guesses passwords waits.
        peer: Option<IpAddr>,
    },
}

/// See the module. Cheap: one per connection.
#[derive(Clone)]
pub struct Guarded {
    pub(super) index: Arc<Index>,
    pub(super) caller: Caller,
}

/// A command as a device gives it; as it is for the owner of the index.
pub(crate) fn carried(by: By, command: Command) -> Command {
    match by {
        None => command,
        Some(device) => {
            let deed = Deed::Carry { command: Packed(command.encode()) };
            Command::Rights(Rights { by: Some(device.0), deed })
        }
    }
}

impl Guarded {
    /// The index as this caller sees it.
    pub fn new(index: Arc<Index>, caller: Caller) -> Self {
        Self { index, caller }
    }

    /// Whether this caller operates the system: what everything about nodes, layout and schedules asks.
    ///
    /// # Errors
    /// [`ServiceError::Denied`]; it is written down.
    pub fn must_operate(&self) -> Result<()> {
        self.check_system(Action::Operate).map(drop)
    }

    pub(super) fn by(&self) -> By {
        match self.caller {
            Caller::Console => None,
            Caller::Device { key, .. } => Some(key),
        }
    }

    pub(super) fn holder(&self) -> Result<Holder> {
        match self.caller {
            Caller::Console => Ok(Holder::console()),
            Caller::Device { key, .. } => Holder::of(&*self.index.tables(), &key),
        }
    }

    /// The holder, if it may do this.
    pub(super) fn check(&self, action: Action, vault: &VaultId, at: Where<'_>) -> Result<Holder> {
        let holder = self.holder()?;
        match holder.may(action, vault, at) {
            Ok(()) => Ok(holder),
            Err(refusal) => Err(self.refuse(&holder, refusal)),
        }
    }

    pub(super) fn check_system(&self, action: Action) -> Result<Holder> {
        self.check(action, &VaultId::ZERO, WHOLE)
    }

    /// Writes a refusal down, or counts it, and says it.
    pub(super) fn refuse(&self, holder: &Holder, refusal: Refusal) -> ServiceError {
        self.count_refusal(holder, refusal.deed, &refusal.vault, &refusal.name);
        refusal.into()
    }

    pub(super) fn count_refusal(&self, holder: &Holder, deed: &str, vault: &VaultId, name: &str) {
        // There is no end of keys that nobody knows: they count as one.
        let counted = if holder.user.is_empty() { PublicKey::ZERO } else { holder.device };
        let due = self.index.doors.lock().refused(&counted, self.index.now_ns());
        if let Some(count) = due {
            let (deed, vault, name) = (deed.to_owned(), vault.0, name.to_owned());
            let command = Rights { by: self.by().map(|key| key.0), deed: Deed::Refused { deed, vault, name, count } };
            if let Err(why) = self.index.submit(Command::Rights(command), false) {
                tracing::warn!(%why, "a refusal could not be written down");
            }
        }
    }

    /// Writes down that the device is here, once an hour.
    pub(super) fn seen(&self) {
        if let Caller::Device { key, .. } = self.caller
            && self.index.doors.lock().is_news(&key, self.index.now_ns(), SEEN_NS)
        {
            let command = Rights { by: Some(key.0), deed: Deed::Seen };
            if let Err(why) = self.index.submit(Command::Rights(command), false) {
                tracing::warn!(%why, "that a device was seen could not be written down");
            }
        }
    }

    /// Refuses sessions of other devices, as if they were not there.
    fn own(&self, session: SessionId) -> Result<()> {
        let Caller::Device { key, .. } = self.caller else { return Ok(()) };
        let tables = self.index.tables();
        match state::session(&*tables, session)? {
            Some(row) if apply::device_of(&*tables, &row)? == key => Ok(()),
            _ => Err(ServiceError::SessionGone(session)),
        }
    }

    /// Domains whose blocks the device may read; `None`: all.
    fn readable(&self) -> Result<Option<BTreeSet<DomainId>>> {
        let holder = self.holder()?;
        if holder.may_in_system(Action::Operate).is_ok() {
            return Ok(None);
        }
        let tables = self.index.tables();
        let mut out = BTreeSet::new();
        for vault in holder.vaults().filter(|vault| holder.may(Action::Read, vault, Where::Anywhere).is_ok()) {
            out.extend(domains::of_vault(&*tables, &vault)?);
        }
        if out.is_empty() {
            drop(tables);
            self.check(Action::Read, &VaultId::ZERO, Where::Anywhere)?;
        }
        Ok(Some(out))
    }

    /// What was refused by the quota is written down.
    fn noting_full<T>(&self, session: SessionId, answer: Result<T>) -> Result<T> {
        if let Err(ServiceError::Full { .. }) = &answer {
            let vault = state::session(&*self.index.tables(), session)?.map_or(VaultId::ZERO, |session| session.vault);
            self.count_refusal(&self.holder()?, "push: the quota is full", &vault, "");
        }
        answer
    }
}

impl cas_net::Index for Guarded {
    fn public_key(&self) -> PublicKey {
        self.index.public_key()
    }

    fn add_node(&self, node: NodeId) -> Result<()> {
        self.check_system(Action::Operate)?;
        self.index.add_one_node(self.by(), node)
    }

    fn keyring(&self, vault: &VaultId) -> Result<Vec<u8>> {
        self.check(Action::Keyring, vault, Where::Anywhere)?;
        self.index.keyring(vault)
    }

    fn put_keyring(&self, object: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.index.put_one_keyring(self.by(), object, receipts)
    }

    fn vaults(&self) -> Result<Vec<VaultId>> {
        let holder = self.holder()?;
        if let Err(refusal) = holder.is_somebody("list vaults") {
            return Err(self.refuse(&holder, refusal));
        }
        let sees_all = [Action::Operate, Action::AuditAll].iter().any(|action| holder.may_in_system(*action).is_ok());
        let known: BTreeSet<VaultId> = holder.vaults().collect();
        let all = self.index.vaults()?;
        Ok(all.into_iter().filter(|vault| sees_all || known.contains(vault)).collect())
    }

    fn start_session(&self, start: &StartSession) -> Result<SessionStart> {
        self.seen();
        self.index.start_one(self.by(), start)
    }

    fn close_session(&self, session: SessionId) -> Result<()> {
        self.index.close_one(self.by(), session)
    }

    fn grant(&self, session: SessionId) -> Result<Grant> {
        self.own(session)?;
        self.index.grant(session)
    }

    fn have(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer> {
        self.own(session)?;
        self.noting_full(session, self.index.have(session, ids))
    }

    fn register(&self, session: SessionId, registration: Registration) -> Result<Registered> {
        self.own(session)?;
        self.noting_full(session, self.index.register(session, registration))
    }

    fn commit(&self, session: SessionId, commit: &Commit) -> Result<Committed> {
        self.index.commit_one(self.by(), session, commit)
    }

    fn snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>> {
        let at = name.map_or(Where::Anywhere, Where::Name);
        let holder = self.check(Action::List, vault, at)?;
        let mut rows = self.index.snapshots(vault, name, trash)?;
        rows.retain(|row| holder.may(Action::List, vault, Where::Name(&row.name)).is_ok());
        Ok(rows)
    }

    fn head(&self, vault: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>> {
        self.check(Action::Head, vault, Where::Name(name))?;
        self.index.head(vault, name)
    }

    fn snapshot_object(&self, snapshot: &SnapshotId) -> Result<Vec<u8>> {
        let found = find(&*self.index.tables(), snapshot)?;
        let Some((version, object)) = found else {
            self.holder()?.is_somebody("read")?;
            return Err(ServiceError::NotFound { what: "snapshot", name: snapshot.to_string() });
        };
        self.check(Action::Read, &version.row.vault, Where::Name(&version.row.name))?;
        Ok(object)
    }

    fn forget(&self, removal: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.index.forget_one(self.by(), removal, receipts)
    }

    fn undelete(&self, returning: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.index.undelete_one(self.by(), returning, receipts)
    }

    fn empty_trash(&self, before_ns: i64) -> Result<Vec<SnapshotRow>> {
        self.check_system(Action::Operate)?;
        self.index.empty_all_trash(self.by(), before_ns)
    }

    fn end_sessions_except(&self, keep: &[SessionId]) -> Result<Vec<SessionInfo>> {
        self.check_system(Action::Operate)?;
        self.index.end_others(self.by(), keep)
    }

    fn condemn(&self, limit: usize) -> Result<Condemned> {
        self.check_system(Action::Operate)?;
        self.index.condemn(limit)
    }

    fn deleted(&self, node: NodeId, answers: &[(Delete, Deleted)]) -> Result<()> {
        self.check_system(Action::Operate)?;
        self.index.deleted(node, answers)
    }

    fn rows(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>> {
        let readable = self.readable()?;
        let mut rows = self.index.rows(ids)?;
        if let Some(readable) = &readable {
            rows.iter_mut().for_each(|row| *row = row.filter(|row| readable.contains(&row.domain)));
        }
        Ok(rows)
    }

    fn list_rows(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>> {
        let Some(readable) = self.readable()? else { return self.index.list_rows(after, limit) };
        let (mut out, mut after) = (Vec::new(), after);
        // An empty answer is the end, so it goes on until something may be seen.
        while out.len() < limit {
            let rows = self.index.list_rows(after, LIST_STEP)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            let room = limit - out.len();
            out.extend(rows.into_iter().filter(|row| readable.contains(&row.domain)).take(room));
        }
        Ok(out)
    }

    fn children(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        match self.rows(std::slice::from_ref(id))?.first() {
            Some(Some(_)) => self.index.children(id),
            _ => Err(ServiceError::NotFound { what: "page", name: id.to_string() }),
        }
    }

    fn mark(&self, ids: &[BlockId], bad: bool) -> Result<()> {
        self.index.mark_all(self.by(), ids, bad)
    }

    fn recount(&self) -> Result<Recount> {
        self.check_system(Action::Operate)?;
        self.index.recount()
    }

    fn status(&self) -> Result<IndexStatus> {
        self.check_system(Action::Operate)?;
        self.index.status()
    }

    /// Ends nothing but the caller's interest: the index goes on.
    fn close(&self) -> Result<Checkpointed> {
        Ok(Checkpointed::default())
    }
}
