//! The model: what should be true of rights, locks, quotas and versions, looked up in lists.

use crate::cast::{DEVICES, USERS, VAULTS, own_rights};
use crate::support;
use cas_core::id::SnapshotId;
use cas_core::snapshot::SnapshotObject;
use cas_net::rights::{Account, Role};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub role: Role,
    /// `None`: the system.
    pub vault: Option<usize>,
    pub prefix: &'static str,
    /// A user, or a device.
    pub who: (bool, usize),
}

pub struct Version {
    pub vault: usize,
    pub name: &'static str,
    pub seq: u64,
    pub snapshot: SnapshotId,
    pub object: SnapshotObject,
    /// Real time of the commit.
    pub real_ns: i64,
    pub trash: bool,
    /// How often it came back: each time its next removal is another.
    pub returns: i64,
}

impl Version {
    pub fn removal(&self) -> SnapshotObject {
        support::removal(&self.object, self.returns)
    }

    pub fn returning(&self) -> SnapshotObject {
        let (removal, keyring) = (self.removal().object_id(), self.object.record().keyring);
        SnapshotObject::returning(self.object.record(), removal, self.returns, keyring, &support::device()).unwrap()
    }
}

/// What should be true, kept as lists.
#[derive(Default)]
pub struct Model {
    pub given: Vec<Given>,
    pub disabled: [bool; USERS],
    pub revoked: [bool; DEVICES],
    pub locks: Vec<(usize, &'static str, i64)>,
    pub quotas: BTreeMap<Account, u64>,
    pub versions: Vec<Version>,
    /// Vaults that an owner of both brought into the other's domain.
    pub joined: [bool; VAULTS],
}

impl Model {
    /// By whom: `None` is whoever runs the index.
    pub fn may(&self, by: Option<usize>, roles: &[Role], system: &[Role], vault: usize, at: Option<&str>) -> bool {
        let Some(by) = by else { return true };
        if self.revoked[by] || self.disabled[by % USERS] {
            return false;
        }
        self.given.iter().any(|given| {
            let mine = match given.who {
                (true, user) => user == by % USERS && !own_rights(by),
                (false, device) => device == by,
            };
            let under = at.is_none_or(|name| {
                given.prefix.is_empty() || format!("{name}/").starts_with(&format!("{}/", given.prefix))
            });
            mine && match given.vault {
                None => system.contains(&given.role),
                Some(on) => on == vault && under && roles.contains(&given.role),
            }
        })
    }

    pub fn may_push(&self, by: Option<usize>, vault: usize, at: Option<&str>) -> bool {
        self.may(by, &[Role::Owner, Role::Writer, Role::Pusher], &[], vault, at)
    }

    pub fn may_forget(&self, by: Option<usize>, vault: usize, name: &str) -> bool {
        self.may(by, &[Role::Owner, Role::Writer], &[], vault, Some(name))
    }

    pub fn may_share(&self, by: Option<usize>, vault: usize, prefix: &str) -> bool {
        // The empty prefix is under the empty prefix alone.
        self.may(by, &[Role::Owner], &[Role::Admin], vault, Some(prefix))
    }

    pub fn is_admin(&self, by: Option<usize>) -> bool {
        self.may(by, &[], &[Role::Admin], usize::MAX, None)
    }

    pub fn may_operate(&self, by: Option<usize>) -> bool {
        self.may(by, &[], &[Role::Admin, Role::Operator], usize::MAX, None)
    }

    /// For how long versions of a name are kept.
    pub fn kept_ns(&self, vault: usize, name: &str) -> i64 {
        let under = |prefix: &str| prefix.is_empty() || format!("{name}/").starts_with(&format!("{prefix}/"));
        let locks = self.locks.iter().filter(|(on, prefix, _)| *on == vault && under(prefix));
        locks.map(|(_, _, keep)| *keep).max().unwrap_or(0)
    }

    pub fn latest(&self, vault: usize, name: &str) -> Option<&Version> {
        self.versions.iter().filter(|v| v.vault == vault && v.name == name).max_by_key(|v| v.seq)
    }
}
