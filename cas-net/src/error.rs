//! Why an index or a node says no, divided by what the caller can do next.

use crate::{SessionId, SnapshotRow};
use cas_core::id::{BlockId, PublicKey};

/// What an index or a node answers.
pub type Result<T, E = ServiceError> = std::result::Result<T, E>;

/// A refusal or a fault of an index or a node.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The session ended (closed, expired, or the index was restored): start another and ask again.
    #[error("the push session {0} has ended")]
    SessionGone(SessionId),
    /// Somebody else changed the name first: read its newest version and decide again.
    #[error("{name} was changed by somebody else; its newest version is now {latest}")]
    Conflict {
        /// The name.
        name: String,
        /// The seq of its newest version; 0 if it has none.
        latest: u64,
    },
    /// There is no such thing.
    #[error("{what} {name} does not exist")]
    NotFound {
        /// Block, snapshot, name, vault …
        what: &'static str,
        /// Which.
        name: String,
    },
    /// A commit names a root that is not registered: put and register what is missing, then commit again.
    #[error("the root {0} is not registered")]
    RootMissing(BlockId),
    /// The receipts of an object are older than something that was collected meanwhile: put it again under a new grant.
    #[error("the receipts of {0} are of another time")]
    Stale(BlockId),
    /// The caller may not, or its grant or receipt does not hold.
    #[error("not permitted: {0}")]
    Denied(String),
    /// Too much at once: try again in a moment.
    #[error("busy: {0}")]
    Busy(String),
    /// No room: free some, then try again. Nothing was stored.
    #[error("{what} is full: {detail}")]
    Full {
        /// Which disk or quota.
        what: String,
        /// How much there is and how much is wanted.
        detail: String,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is damaged: {detail}")]
    Damaged {
        /// Which block, file or row.
        what: String,
        /// Where, expected, found.
        detail: String,
    },
    /// The store is of a version this program does not know.
    #[error("{what} has version {found}, this program knows {known}")]
    Version {
        /// Which file.
        what: String,
        /// The version that stands there.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// It stopped and says no more (a failed sync, an unreadable disk): look at the cause, restart.
    #[error("stopped: {0}")]
    Stopped(String),
    /// A file operation failed.
    #[error("{what}")]
    Io {
        /// What was being done, to which file.
        what: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The peer does not answer: it is off, cut off, or went away in the middle; what was asked may or may not have
    /// been done. Ask another, or again later.
    #[error("{peer} does not answer: {detail}")]
    Unreachable {
        /// Its address.
        peer: String,
        /// What was tried, and how it ended.
        detail: String,
    },
    /// Another server stands at the address than the one that was named. Never go on; look who it is.
    #[error(
        "the server at {address} has the key {found}, expected {expected}: it is another server, or somebody stands in between"
    )]
    WrongKey {
        /// The address, without the key.
        address: String,
        /// The key in the address.
        expected: PublicKey,
        /// The key it showed.
        found: PublicKey,
    },
    /// The peer says what the protocol does not allow, or does not know what was asked: one of both is newer or broken.
    #[error("protocol: {0}")]
    Protocol(String),
    /// A snapshot is kept by a retention rule.
    #[error("{} version {} is kept by retention", .0.name, .0.seq)]
    Retained(Box<SnapshotRow>),
}

impl ServiceError {
    /// An I/O error with what was being done.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
