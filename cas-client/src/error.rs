//! Why something could not be done, divided by what the caller can do next.

use cas_core::codec::FormatError;
use cas_core::id::BlockId;
use cas_net::ServiceError;
use std::path::PathBuf;

/// What the client answers.
pub type Result<T> = std::result::Result<T, ClientError>;

/// A failure of a whole operation. Failures of single files are reported beside the result instead.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no store: create one, or name the right folder.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// This is done by a cluster itself, not by its clients.
    #[error("{0} is a cluster")]
    Cluster(String),
    /// There is a store, or something else, already.
    #[error("{} is not an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// Another process works on the store.
    #[error("the store is in use by {holder}")]
    Busy {
        /// Who, in words for people.
        holder: String,
    },
    /// No identity file where one is expected.
    #[error("there is no identity in {}", .0.display())]
    NoIdentity(PathBuf),
    /// The identity opens nothing here.
    #[error("this identity does not open {what}")]
    WrongKey {
        /// The vault or snapshot that stays closed.
        what: String,
    },
    /// The identity file is locked with a passphrase.
    #[error("the identity in {} is locked with a passphrase", .0.display())]
    LockedIdentity(PathBuf),
    /// There is no such name, version, path, vault …
    #[error("there is no {what} {name}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// There is no such name, version or path, but something like it.
    #[error("there is no {what} {name}")]
    NotFoundBut {
        /// What was looked for.
        what: &'static str,
        /// Which.
        name: String,
        /// What there is, to be said to a person.
        but: String,
    },
    /// More than one thing fits what was said.
    #[error("{text} could mean {candidates}")]
    Ambiguous {
        /// What was said.
        text: String,
        /// What it could mean.
        candidates: String,
    },
    /// An argument makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A block cannot be read as what it should be.
    #[error("block {id} is damaged")]
    Damaged {
        /// Which.
        id: BlockId,
        /// What was wrong with it.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something stored is not of its format.
    #[error("{what} is damaged")]
    Format {
        /// Which thing.
        what: String,
        /// Where, expected.
        #[source]
        cause: FormatError,
    },
    /// What the store says now does not fit what was seen before: it was rolled back, or its history was forked.
    #[error("{what} went back: seen before {seen}, now {found}")]
    RolledBack {
        /// Name or keyring.
        what: String,
        /// What this client remembers.
        seen: String,
        /// What the store says now.
        found: String,
    },
    /// A signature or proof does not hold.
    #[error("{what} cannot be trusted: {why}")]
    Untrusted {
        /// Keyring or snapshot.
        what: String,
        /// What failed.
        why: String,
    },
    /// A file operation failed.
    #[error("{what}")]
    Io {
        /// What was being done, to which file.
        what: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The person asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The index or the node said no.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl ClientError {
    /// An I/O error with what was being done.
    pub fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }

    /// A damaged block with what was wrong.
    pub fn damaged(id: BlockId, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Damaged { id, cause: cause.into() }
    }
}
