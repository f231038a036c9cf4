//! The handle of an index: the border of `cas_net`, in front of the log, the state machine and the tables.
//!
//! Commands go through a bounded channel to one writer thread ([`writer`]). Reads go to the tables under a lock that
//! the writer holds for one command at a time, so they see every applied command.
//!
//! **Which answers wait for a sync.** Sessions, commits, forgets, keyrings, marks, condemnations: an answer leaves when
//! its command is durable. `register` and touches do not wait. They need not: what a crash takes back, a later
//! command does not find and refuses, and a commit is durable only together with everything before it.
//!
//! **Why `have` is cheap and safe.** A block that is referenced, or became unreferenced after the session began, cannot be
//! condemned while the session lives, so it needs no command; only older unreferenced rows are touched. A grant
//! carries the newest *durable* epoch: after a crash epochs are given again only above what was durable, so a grant never
//! names an epoch that could come to mean something else. If a block was condemned or marked bad after that epoch, or
//! the session itself is younger, one sync comes first; registration would refuse the older grant.

mod cluster;
mod collection;
mod names;
mod push;
mod receipts;
pub(crate) mod start;
mod writer;

use crate::command::Command;
use crate::options::Options;
use crate::rights::{ClusterClock, Doors};
use crate::state::{Answer, Outcome};
use crate::tables::Layered;
use cas_core::id::{BlockId, Epoch, PublicKey, SnapshotId, VaultId};
use cas_core::signing::SigningKey;
use cas_net::server::{Reading, StateLock};
use cas_net::{
    Checkpointed, Commit, Committed, Condemned, Delete, Deleted, Grant, HaveAnswer, IndexStatus, NodeId, Receipt,
    Recount, Registered, Registration, Result, ServiceError, SessionId, SessionInfo, SessionStart, SnapshotRow,
    StartSession, StoredRow,
};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use writer::Job;

/// An open index.
pub struct Index {
    shared: Arc<Shared>,
    key: SigningKey,
    options: Options,
    /// What is known of sessions beside their rows: when they were heard of, receipts that wait for their pages.
    memory: Mutex<HashMap<SessionId, receipts::Memory>>,
    /// `None` when opened read-only, and while it is being dropped.
    jobs: Option<mpsc::SyncSender<Job>>,
    /// What is remembered of nodes beside their rows.
    desk: cluster::Desk,
    /// What connections share: see [`crate::rights`].
    pub(crate) doors: Doors,
    pub(crate) cluster_clock: OnceLock<ClusterClock>,
    writer: Option<JoinHandle<()>>,
    /// Keeps others from writing, until it is closed.
    _lock: Option<File>,
}

/// On whose behalf: a device, or whoever opened the index (`None`).
pub(crate) type By = Option<PublicKey>;

/// What the writer and the readers share.
struct Shared {
    tables: StateLock<Layered>,
    durable: AtomicU64,
    stopped: OnceLock<String>,
}

impl Shared {
    fn read(&self) -> Reading<'_, Layered> {
        self.tables.read()
    }

    /// No more commands: what is in the tables or in the log is not certain any more.
    fn stop(&self, why: &ServiceError) {
        if self.stopped.set(why.to_string()).is_ok() {
            tracing::error!(%why, "the index stops; reads go on");
        }
    }
}

impl Index {
    /// Opens the index in `dir`, or makes a new one; replays what was logged after the last checkpoint.
    ///
    /// Errors: [`ServiceError::NotFound`] if there is none and [`Options::must_exist`] is set,
    /// [`ServiceError::Damaged`] if durable bytes are damaged (nothing is changed then;
    /// [`crate::rebuild()`] makes a new index from the nodes), [`ServiceError::Version`], [`ServiceError::Busy`] if it is
    /// open already, [`ServiceError::Io`].
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        start::open(dir, options)
    }

    /// Lets the collector go on although a rebuild could not read every page: what hung on those pages alone, and
    /// what they share with others that are forgotten, is given up.
    pub fn release_hold(&self) -> Result<()> {
        self.submit(Command::ReleaseHold, true).map(drop)
    }

    /// Size of the tables' file and of what it holds.
    pub fn tables_size(&self) -> Result<crate::tables::TablesSize> {
        self.tables().file().size()
    }

    /// Everything up to this epoch is known to be durable; zero until something was synced since it was opened.
    pub fn durable_epoch(&self) -> Epoch {
        self.durable()
    }

    /// Carries out a command. Answers when it is applied, and durable if asked for.
    pub(crate) fn submit(&self, command: Command, durable: bool) -> Result<Outcome> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(Job::Apply { command, durable, reply })?;
        answer.recv().unwrap_or_else(|_| Err(self.gone()))
    }

    fn barrier(&self) -> Result<()> {
        let (reply, done) = mpsc::sync_channel(1);
        self.send(Job::Sync(reply))?;
        done.recv().unwrap_or_else(|_| Err(self.gone()))
    }

    fn send(&self, job: Job) -> Result<()> {
        // The writer needs the tables for what is waited for.
        self.shared.tables.assert_free();
        let Some(jobs) = &self.jobs else { return Err(ServiceError::Denied("the index is open read-only".into())) };
        jobs.send(job).map_err(|_| self.gone())
    }

    fn gone(&self) -> ServiceError {
        ServiceError::Stopped(self.shared.stopped.get().cloned().unwrap_or_else(|| "the index has ended".into()))
    }

    /// The newest durable epoch.
    pub(crate) fn durable(&self) -> Epoch {
        Epoch(self.shared.durable.load(Ordering::Acquire))
    }

    /// The newest durable epoch, which is made to be at least this.
    fn durable_from(&self, not_older: Epoch) -> Result<Epoch> {
        if self.durable() < not_older {
            self.barrier()?;
        }
        Ok(self.durable())
    }

    pub(crate) fn tables(&self) -> Reading<'_, Layered> {
        self.shared.read()
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<SessionId, receipts::Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that signs grants and tickets.
    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Carries out a command that a device gives, or the owner of the index (`None`).
    fn submit_by(&self, by: By, command: Command, durable: bool) -> Result<Outcome> {
        self.submit(crate::rights::carried(by, command), durable)
    }

    pub(crate) fn now_ns(&self) -> i64 {
        (self.options.clock)()
    }
}

impl Drop for Index {
    /// Ends the writer. No checkpoint: see [`cas_net::Index::close`].
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// An answer of another kind than its command has is a bug in the state machine.
fn unexpected(outcome: &Outcome) -> ! {
    panic!("the state machine answered {outcome:?}")
}

impl cas_net::Index for Index {
    fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    fn add_node(&self, node: NodeId) -> Result<()> {
        self.add_one_node(None, node)
    }

    fn keyring(&self, vault: &VaultId) -> Result<Vec<u8>> {
        self.newest_keyring(vault)
    }

    fn put_keyring(&self, object: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.put_one_keyring(None, object, receipts)
    }

    fn vaults(&self) -> Result<Vec<VaultId>> {
        self.all_vaults()
    }

    fn start_session(&self, start: &StartSession) -> Result<SessionStart> {
        self.start_one(None, start)
    }

    fn close_session(&self, session: SessionId) -> Result<()> {
        self.close_one(None, session)
    }

    fn grant(&self, session: SessionId) -> Result<Grant> {
        self.grant_objects(session)
    }

    fn have(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer> {
        self.have_ids(session, ids)
    }

    fn register(&self, session: SessionId, registration: Registration) -> Result<Registered> {
        self.register_pages(session, registration)
    }

    fn commit(&self, session: SessionId, commit: &Commit) -> Result<Committed> {
        self.commit_one(None, session, commit)
    }

    fn snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>> {
        self.list_snapshots(vault, name, trash)
    }

    fn head(&self, vault: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>> {
        self.newest_version(vault, name)
    }

    fn snapshot_object(&self, snapshot: &SnapshotId) -> Result<Vec<u8>> {
        self.object_of(snapshot)
    }

    fn forget(&self, removal: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.forget_one(None, removal, receipts)
    }

    fn undelete(&self, returning: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.undelete_one(None, returning, receipts)
    }

    fn empty_trash(&self, before_ns: i64) -> Result<Vec<SnapshotRow>> {
        self.empty_all_trash(None, before_ns)
    }

    fn end_sessions_except(&self, keep: &[SessionId]) -> Result<Vec<SessionInfo>> {
        self.end_others(None, keep)
    }

    fn condemn(&self, limit: usize) -> Result<Condemned> {
        self.condemn_some(limit)
    }

    fn deleted(&self, node: NodeId, answers: &[(Delete, Deleted)]) -> Result<()> {
        self.take_answers(node, answers)
    }

    fn rows(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>> {
        self.rows_of(ids)
    }

    fn list_rows(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>> {
        self.rows_after(after, limit)
    }

    fn children(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        self.children_of(id)
    }

    fn mark(&self, ids: &[BlockId], bad: bool) -> Result<()> {
        self.mark_all(None, ids, bad)
    }

    fn recount(&self) -> Result<Recount> {
        crate::recount::recount(&*self.tables())
    }

    fn status(&self) -> Result<IndexStatus> {
        self.how_it_stands()
    }

    fn close(&self) -> Result<Checkpointed> {
        if self.jobs.is_none() {
            return Ok(Checkpointed::default());
        }
        let (reply, done) = mpsc::sync_channel(1);
        self.send(Job::Close(reply))?;
        done.recv().unwrap_or_else(|_| Err(self.gone()))
    }
}

/// The answer of the state machine as the border gives it.
fn flatten(applied: Result<Answer>) -> Result<Outcome> {
    applied.and_then(|answer| answer)
}
