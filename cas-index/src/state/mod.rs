//! The state machine: one deterministic, synchronous function from (tables, stamp, command) to an answer. DESIGN §7.
//!
//! Promise: the same commands in the same order give the same tables and the same answers, over any [`Tables`].
//! A refused command changes nothing but the epoch and the audit log. Not here: clocks, files, threads, signatures.
//!
//! One file per matter: sessions, registration, names (commit, forget, undelete, trash), vaults, collection.

pub mod blocks;
mod collect;
mod commit;
pub mod graves;
pub mod interned;
pub mod meta;
mod register;
mod sessions;
pub mod snapshots;
mod trash;
mod vaults;

pub(crate) use commit::new_row;
pub use meta::Meta;
pub(crate) use register::register_all;
pub use sessions::{Session, changed_at, first_session, session, sessions};
pub use vaults::VaultRow;

use crate::cluster;
use crate::command::Command;
use crate::rights;
use crate::tables::Tables;
use cas_core::id::{BlockId, Epoch};
use cas_net::{Committed, Delete, Result, ServiceError, SessionId, SessionInfo, SnapshotRow};

/// When a command is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its epoch: one more than that of the command before.
    pub epoch: Epoch,
    /// Index time, nanoseconds since 1970; never falls.
    pub time_ns: i64,
}

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// A session has started.
    Started(SessionId),
    /// Per id whether it is live and protected now, and an epoch that a grant for the others must not be older than.
    Touched(Vec<bool>, Epoch),
    /// What is neither live nor covered; empty when the registration took place.
    Registered(Vec<BlockId>),
    /// The version.
    Committed(Committed),
    /// Sessions that ended.
    Ended(Vec<SessionInfo>),
    /// Versions that are gone for good, and whether there may be more.
    Emptied(Vec<SnapshotRow>, bool),
    /// Deletes to carry out.
    Condemned(Condemnation),
}

/// What [`Command::Condemn`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condemnation {
    /// Deletes to carry out, old unanswered ones first.
    pub deletes: Vec<Delete>,
    /// Stored bytes of those.
    pub bytes: u64,
    /// The session that holds the rest back.
    pub held_by: Option<SessionInfo>,
    /// Whether something could not be read at the rebuild and holds everything back.
    pub held: bool,
    /// Whether another step would do something now.
    pub more: bool,
}

/// The answer to a command, or why it was refused.
pub type Answer = std::result::Result<Outcome, ServiceError>;

/// Applies a command. An outer error says that the tables are broken: then nothing more may be applied.
pub fn apply(tables: &mut impl Tables, stamp: Stamp, command: &Command) -> Result<Answer> {
    let mut meta = Meta::load(tables)?;
    assert!(stamp.epoch > meta.epoch, "epochs rise");
    (meta.epoch, meta.time_ns) = (stamp.epoch, stamp.time_ns);
    let answer = dispatch(tables, &mut meta, command);
    let answer = match answer {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Refused(why)) => Err(why),
        Err(Stop::Broken(why)) => return Err(why),
    };
    // Everything that a rebuild could not read is healed or gone.
    meta.held &= meta.bad > 0;
    meta.store(tables);
    Ok(answer)
}

/// Why a command is not carried out.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A condition does not hold. Nothing was changed.
    Refused(ServiceError),
    /// The tables cannot be read or contradict themselves.
    Broken(ServiceError),
}

/// Errors of tables are breaks; refusals are made by name.
impl From<ServiceError> for Stop {
    fn from(error: ServiceError) -> Self {
        Self::Broken(error)
    }
}

pub(crate) type Applied<T> = std::result::Result<T, Stop>;

/// A refusal.
pub(crate) fn refuse<T>(why: ServiceError) -> Applied<T> {
    Err(Stop::Refused(why))
}

/// A refusal of something that must not be.
pub(crate) fn deny<T>(why: impl Into<String>) -> Applied<T> {
    refuse(ServiceError::Denied(why.into()))
}

/// A row that contradicts another.
pub(crate) fn damaged(what: impl std::fmt::Display, detail: impl Into<String>) -> ServiceError {
    ServiceError::Damaged { what: format!("index row {what}"), detail: detail.into() }
}

/// Does what a command says, whoever gave it.
pub(crate) fn dispatch(tables: &mut impl Tables, meta: &mut Meta, command: &Command) -> Applied<Outcome> {
    match command {
        Command::AddNode { node } => vaults::add_node(tables, node),
        Command::PutKeyring { object, covers } => vaults::put_keyring(tables, meta, &object.0, covers),
        Command::StartSession { vault, domain, device, label } => {
            sessions::start(tables, meta, *vault, *domain, *device, label)
        }
        Command::EndSession { session } => sessions::end(tables, *session),
        Command::EndSessionsExcept { keep } => sessions::end_except(tables, keep),
        Command::Touch { session, ids } => sessions::touch(tables, meta, *session, ids),
        Command::Register(register) => register::register(tables, meta, register),
        Command::Commit { session, key, object, covers } => {
            commit::commit(tables, meta, *session, key, &object.0, covers)
        }
        Command::Forget { removal, covers } => trash::forget(tables, meta, &removal.0, covers),
        Command::Undelete { snapshot } => trash::undelete(tables, meta, snapshot),
        Command::Return { returning, covers } => trash::bring_back(tables, meta, &returning.0, covers),
        Command::EmptyTrash { before_ns, limit } => trash::empty(tables, meta, *before_ns, *limit),
        Command::Condemn { limit } => collect::condemn(tables, meta, *limit as usize),
        Command::Deleted { node, ids, epochs, gone } => collect::deleted(tables, meta, node, ids, epochs, gone),
        Command::Mark { ids, bad } => collect::mark(tables, meta, ids, *bad),
        Command::ReleaseHold => {
            meta.held = false;
            Ok(Outcome::Done)
        }
        Command::Cluster(command) => cluster::apply(tables, meta, command),
        Command::Rights(command) => rights::apply(tables, meta, command),
    }
}
