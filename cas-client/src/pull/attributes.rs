//! Gives a restored file its owner, mode, xattrs and times, in the order in which none undoes another.
//!
//! What the user may not set (owners, privileged attributes) is counted, to be said once, and is no failure.

use super::target::TargetDir;
use cas_core::manifest::{Entry, FileType};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, chmodat, chownat, utimensat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Attributes that a user, not the system, gives to files.
const USERS_OWN: [&[u8]; 2] = [b"user.", b"system.posix_acl_"];

/// What could not be set because the user may not.
#[derive(Debug, Default)]
pub struct Denied {
    /// Files whose owner or group stayed.
    pub owners: AtomicU64,
    /// Extended attributes that were left out.
    pub xattrs: AtomicU64,
}

/// How owners are set.
#[derive(Debug)]
pub struct OwnerPolicy {
    /// Take the numbers as they are, without looking at names.
    pub numeric: bool,
    privileged: bool,
    users: Mutex<HashMap<Vec<u8>, Option<u32>>>,
    groups: Mutex<HashMap<Vec<u8>, Option<u32>>>,
}

impl OwnerPolicy {
    /// Of this process.
    pub fn new(numeric: bool) -> Self {
        let privileged = rustix::process::geteuid().is_root();
        Self { numeric, privileged, users: Mutex::default(), groups: Mutex::default() }
    }

    /// The owner to set: by name where this machine has the name, by number otherwise.
    fn owner(&self, entry: &Entry) -> (u32, u32) {
        if self.numeric {
            return (entry.uid, entry.gid);
        }
        let user = by_name(&self.users, &entry.user, |n| uzers::get_user_by_name(n).map(|u| u.uid()));
        let group = by_name(&self.groups, &entry.group, |n| uzers::get_group_by_name(n).map(|g| g.gid()));
        (user.unwrap_or(entry.uid), group.unwrap_or(entry.gid))
    }
}

fn by_name(
    known: &Mutex<HashMap<Vec<u8>, Option<u32>>>,
    name: &[u8],
    look_up: impl FnOnce(&OsStr) -> Option<u32>,
) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    let mut known = known.lock().expect("no thread panics with this lock");
    *known.entry(name.to_vec()).or_insert_with(|| look_up(OsStr::from_bytes(name)))
}

/// Sets everything on `name` in `dir`. `xattrs` are those of the entry, wherever they were stored; what was there before is
/// freed of others that a user may set.
pub fn apply(
    dir: &TargetDir,
    name: &OsStr,
    entry: &Entry,
    xattrs: &[(Vec<u8>, Vec<u8>)],
    was_there: bool,
    owners: &OwnerPolicy,
    denied: &Denied,
) -> io::Result<()> {
    set_owner(dir, name, entry, owners, denied)?;
    if entry.file_type != FileType::Symlink {
        chmodat(dir.fd(), name, Mode::from_raw_mode(entry.mode.into()), AtFlags::empty())?;
    }
    if was_there {
        remove_other_xattrs(dir, name, xattrs)?;
    }
    set_xattrs(dir, name, xattrs, denied)?;
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(dir.fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn set_owner(dir: &TargetDir, name: &OsStr, entry: &Entry, owners: &OwnerPolicy, denied: &Denied) -> io::Result<()> {
    let (uid, gid) = owners.owner(entry);
    if !owners.privileged {
        let stat = dir.stat(name)?.ok_or(Errno::NOENT)?;
        if (stat.stx_uid, stat.stx_gid) == (uid, gid) {
            return Ok(());
        }
        if stat.stx_uid != uid {
            denied.owners.fetch_add(1, Relaxed);
        }
    }
    let uid = owners.privileged.then(|| Uid::from_raw(uid));
    match chownat(dir.fd(), name, uid, Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::PERM) => {
            denied.owners.fetch_add(1, Relaxed);
            Ok(())
        }
        done => Ok(done?),
    }
}

fn set_xattrs(dir: &TargetDir, name: &OsStr, xattrs: &[(Vec<u8>, Vec<u8>)], denied: &Denied) -> io::Result<()> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = dir.path_to(name);
    for (key, value) in xattrs {
        match xattr::set(&path, OsStr::from_bytes(key), value) {
            Ok(()) => {}
            Err(e) if may_not(&e) => {
                denied.xattrs.fetch_add(1, Relaxed);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn remove_other_xattrs(dir: &TargetDir, name: &OsStr, xattrs: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let path = dir.path_to(name);
    let there = match xattr::list(&path) {
        Err(e) if may_not(&e) => return Ok(()),
        there => there?,
    };
    for key in there {
        let bytes = key.as_bytes();
        let ours = USERS_OWN.iter().any(|prefix| bytes.starts_with(prefix));
        if ours && xattrs.binary_search_by(|(k, _)| k[..].cmp(bytes)).is_err() {
            match xattr::remove(&path, &key) {
                Err(e) if !may_not(&e) => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Refused by permission, or by a file system that has no such attributes.
fn may_not(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error())
}
