//! What Linux knows about a file beside its bytes, read for a manifest.

use cas_core::manifest::{Content, Entry, FileType as EntryType, Mtime};
use rustix::fs::{FileType, Statx};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Mutex;

const PERMISSIONS: u16 = 0o7777;

/// The manifest's type of a file; `None` for what no manifest holds.
pub fn entry_type(stat: &Statx) -> Option<EntryType> {
    Some(match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => EntryType::File,
        FileType::Directory => EntryType::Directory,
        FileType::Symlink => EntryType::Symlink,
        FileType::Fifo => EntryType::Fifo,
        FileType::Socket => EntryType::Socket,
        FileType::CharacterDevice => EntryType::CharDevice,
        FileType::BlockDevice => EntryType::BlockDevice,
        FileType::Unknown => return None,
    })
}

/// An entry with everything a stat tells; content, link target and xattrs are still to come.
pub fn entry_of(stat: &Statx, owners: &Owners) -> Option<Entry> {
    let file_type = entry_type(stat)?;
    let mut entry = Entry::new(file_type);
    entry.mode = stat.stx_mode & PERMISSIONS;
    entry.uid = stat.stx_uid;
    entry.gid = stat.stx_gid;
    entry.user = owners.user(stat.stx_uid);
    entry.group = owners.group(stat.stx_gid);
    entry.mtime = Mtime { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec };
    if matches!(file_type, EntryType::CharDevice | EntryType::BlockDevice) {
        entry.device = Some((stat.stx_rdev_major, stat.stx_rdev_minor));
    }
    Some(entry)
}

/// Gives a symlink its target.
pub fn set_link(entry: &mut Entry, target: &Path) {
    entry.content = Content::None;
    entry.link_target = Some(target.as_os_str().as_bytes().to_vec());
}

/// Extended attributes, ACLs among them, by ascending name. A file system without them has none.
pub fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(e) if is_unsupported(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for name in names {
        if let Some(value) = xattr::get(path, &name)? {
            found.push((name.into_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(rustix::io::Errno::NOTSUP.raw_os_error())
}

/// Names of users and groups, each looked up once.
#[derive(Debug, Default)]
pub struct Owners {
    users: Mutex<HashMap<u32, Vec<u8>>>,
    groups: Mutex<HashMap<u32, Vec<u8>>>,
}

impl Owners {
    /// The name of a user; empty if there is none.
    pub fn user(&self, uid: u32) -> Vec<u8> {
        cached(&self.users, uid, || uzers::get_user_by_uid(uid).map(|u| bytes_of(u.name())))
    }

    /// The name of a group; empty if there is none.
    pub fn group(&self, gid: u32) -> Vec<u8> {
        cached(&self.groups, gid, || uzers::get_group_by_gid(gid).map(|g| bytes_of(g.name())))
    }
}

fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

fn cached(names: &Mutex<HashMap<u32, Vec<u8>>>, id: u32, look_up: impl FnOnce() -> Option<Vec<u8>>) -> Vec<u8> {
    let mut names = names.lock().expect("no thread panics with this lock");
    names.entry(id).or_insert_with(|| look_up().unwrap_or_default()).clone()
}
