//! Exit codes: an interface that scripts trust. And the hint that goes with an error.

use crate::workplace::HOST;
use cas_client::ClientError;
use cas_client::ServiceError;
use std::io::ErrorKind;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Ok = 0,
    /// It was not done.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Done, but something is missing: named on standard error.
    Partial = 3,
    /// There is no store.
    NoStore = 10,
    /// Somebody else works on it, or changed it first.
    Busy = 11,
    /// The identity opens nothing here, or may not.
    NoPermission = 12,
    /// A disk or quota is full.
    Full = 13,
    /// Stored bytes are damaged.
    Damaged = 14,
    /// The index does not answer, or not enough nodes do.
    Unreachable = 15,
    /// Retention keeps it.
    Retained = 16,
    /// Stopped by a person.
    Interrupted = 130,
}

impl Exit {
    /// The code of an error.
    pub fn of(error: &ClientError) -> Self {
        match error {
            ClientError::NoStore(_) => Self::NoStore,
            ClientError::Busy { .. } => Self::Busy,
            ClientError::NoIdentity(_)
            | ClientError::WrongKey { .. }
            | ClientError::LockedIdentity(_)
            | ClientError::Untrusted { .. } => Self::NoPermission,
            ClientError::Cluster(_) | ClientError::Usage(_) | ClientError::Ambiguous { .. } => Self::Usage,
            ClientError::Damaged { .. } | ClientError::Format { .. } | ClientError::RolledBack { .. } => Self::Damaged,
            ClientError::Interrupted => Self::Interrupted,
            ClientError::Service(e) => Self::of_service(e),
            ClientError::NotEmpty(_)
            | ClientError::NotFound { .. }
            | ClientError::NotFoundBut { .. }
            | ClientError::Io { .. } => Self::Failed,
        }
    }

    fn of_service(error: &ServiceError) -> Self {
        match error {
            ServiceError::Busy(_) | ServiceError::Conflict { .. } | ServiceError::Stale(_) => Self::Busy,
            ServiceError::Denied(_) | ServiceError::WrongKey { .. } => Self::NoPermission,
            ServiceError::Full { .. } => Self::Full,
            ServiceError::Damaged { .. } | ServiceError::NotFound { what: "index", .. } => Self::Damaged,
            ServiceError::Retained(_) => Self::Retained,
            ServiceError::Unreachable { .. } => Self::Unreachable,
            ServiceError::SessionGone(_)
            | ServiceError::NotFound { .. }
            | ServiceError::RootMissing(_)
            | ServiceError::Version { .. }
            | ServiceError::Stopped(_)
            | ServiceError::Protocol(_)
            | ServiceError::Io { .. } => Self::Failed,
        }
    }
}

/// What a person can do about an error.
pub fn hint(error: &ClientError) -> Option<String> {
    match error {
        ClientError::NotFoundBut { but, .. } => Some(but.clone()),
        ClientError::Service(ServiceError::Unreachable { .. } | ServiceError::Stopped(_)) if HOST.get().is_some() => {
            let host = HOST.get().map_or("", String::as_str);
            Some(format!("the store was used through {host}, which has ended: nothing is lost, run the command again"))
        }
        other => advice(other).map(str::to_owned),
    }
}

fn advice(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        ClientError::NotFound { what: "snapshot" | "version" | "name", .. } => "cas snapshots lists what there is",
        ClientError::NotFound { what: "path", .. } => "cas ls REF lists what is in a snapshot, cas find looks in all",
        ClientError::NoStore(_) => "cas init creates one; --store DIR or CAS_STORE names another",
        ClientError::NotEmpty(_) => "name an empty or missing folder",
        ClientError::Busy { .. } => "try again later, or leave --no-wait out to wait",
        ClientError::NoIdentity(_) => {
            "--identity FILE or CAS_IDENTITY names another; cas key restore makes one from the recovery key"
        }
        ClientError::WrongKey { .. } => {
            "--identity FILE or CAS_IDENTITY names the identity it was made with; the recovery key works too; an owner lets \
             others in with cas grant --card or cas vault add-member, for what is pushed from then on"
        }
        ClientError::LockedIdentity(_) => "set CAS_PASSPHRASE, or unlock it with cas key unlock",
        ClientError::Damaged { .. } => {
            "cas check --read-data names every file it touches; pushing a file again heals it"
        }
        ClientError::RolledBack { .. } => {
            "if the store was restored from an older copy on purpose, cas vault trust accepts it"
        }
        ClientError::Service(ServiceError::Damaged { .. } | ServiceError::NotFound { what: "index", .. }) => {
            "cas index rebuild makes the index anew; cas debug looks without opening the store"
        }
        ClientError::Service(ServiceError::Version { .. }) => "use a newer cas",
        ClientError::Service(ServiceError::Full { .. }) => {
            "free some space: cas forget, then cas gc --now, which work on a full disk"
        }
        ClientError::Service(ServiceError::SessionGone(_)) => {
            "run the command again: what was stored is not sent twice"
        }
        ClientError::Cluster(_) => "a cluster does this by itself; -r DIR names a store in a folder",
        ClientError::NotFound { what: "node", .. } => "cas nodes lists them; the first digits of the key are enough",
        ClientError::NotFound { what: "vault", .. } => "cas init makes one; an owner lets you into his with cas grant",
        ClientError::Service(ServiceError::Unreachable { .. }) => {
            "cas status tells who is there; is the server running, and does UDP reach it?"
        }
        ClientError::Service(ServiceError::WrongKey { .. }) => {
            "compare the key with the one that the server prints; cas login remembers another address"
        }
        ClientError::Service(ServiceError::Protocol(_)) => "compare cas --version on both ends: upgrade the older one",
        ClientError::Service(ServiceError::Io { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
            "another server listens there: --listen and --http take another port, or port 0 for any"
        }
        ClientError::Service(ServiceError::Denied(_)) => {
            "cas whoami tells who this device is and what it may; cas login enrols it"
        }
        ClientError::Service(ServiceError::Retained(_)) => "cas vault locks shows for how long versions are kept",
        ClientError::Service(ServiceError::Stopped(_)) => "look at the disk, then run the command again",
        _ => return None,
    })
}
