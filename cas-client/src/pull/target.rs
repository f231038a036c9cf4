//! The folder that is written to. Nothing outside of it is ever touched.
//!
//! Every step goes from an open directory to one name in it and follows no link, so a link in the target, or one that
//! somebody puts there meanwhile, leads nowhere.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, mkdirat, openat, statx, unlinkat};
use rustix::io::{Errno, Result};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const LIST_BUFFER: usize = 32 << 10;
const PRIVATE_DIR: u32 = 0o700;

/// An open directory of the target.
#[derive(Debug)]
pub struct TargetDir {
    fd: OwnedFd,
    path: PathBuf,
    /// How many are open, all together.
    open: Arc<AtomicUsize>,
}

impl Drop for TargetDir {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

impl TargetDir {
    /// Opens the target itself, making it if it is missing.
    pub fn root(path: &Path) -> std::io::Result<Arc<Self>> {
        std::fs::create_dir_all(path)?;
        let fd = openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Arc::new(Self { fd, path: path.to_owned(), open: Arc::new(AtomicUsize::new(1)) }))
    }

    /// How many directories of this target are open.
    pub fn open_dirs(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// A path to a name in it for calls that take no directory: it leads through the open directory, so no link on the way
    /// to it matters.
    pub fn path_to(&self, name: &OsStr) -> PathBuf {
        let ours = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        if ours.exists() { ours.join(name) } else { self.path.join(name) }
    }

    /// What stands under a name; `None` if nothing does.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Statx>> {
        match statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a directory in it, or makes it. Answers also whether it was there.
    pub fn enter(&self, name: &OsStr) -> Result<(Arc<Self>, bool)> {
        let there = match mkdirat(&self.fd, name, Mode::from_raw_mode(PRIVATE_DIR)) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(e) => return Err(e),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())?;
        self.open.fetch_add(1, Relaxed);
        Ok((Arc::new(Self { fd, path: self.path.join(name), open: self.open.clone() }), there))
    }

    /// The names in it.
    pub fn names(&self) -> Result<BTreeSet<Box<OsStr>>> {
        let again = openat(&self.fd, ".", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut buffer = vec![MaybeUninit::uninit(); LIST_BUFFER];
        let mut dir = RawDir::new(again, &mut buffer);
        let mut names = BTreeSet::new();
        while let Some(entry) = dir.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.insert(OsStr::from_bytes(name).into());
            }
        }
        Ok(names)
    }

    /// Removes what stands under a name, with all that is in it.
    pub fn remove(&self, name: &OsStr) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(Errno::NOENT) => return Ok(()),
            done => return done,
        }
        let (dir, _) = self.enter(name)?;
        for inner in dir.names()? {
            dir.remove(&inner)?;
        }
        unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
    }
}

/// Whether a stat is of a directory.
pub fn is_dir(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

/// Whether a stat is of a regular file.
pub fn is_file(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_target_is_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "x").unwrap();
        let root = TargetDir::root(&dir.path().join("target")).unwrap();
        std::os::unix::fs::symlink(&outside, root.path().join("link")).unwrap();
        assert!(root.enter(OsStr::new("link")).is_err());
        root.remove(OsStr::new("link")).unwrap();
        assert!(outside.join("precious").exists());
        let (inner, there) = root.enter(OsStr::new("a")).unwrap();
        assert!(!there);
        std::fs::create_dir_all(inner.path().join("b/c")).unwrap();
        std::os::unix::fs::symlink(&outside, inner.path().join("b/link")).unwrap();
        root.remove(OsStr::new("a")).unwrap();
        assert!(outside.join("precious").exists() && root.names().unwrap().is_empty());
    }
}
