//! What is not pushed: patterns like those of .gitignore, tagged cache folders, marker files.

use crate::error::{ClientError, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, statx};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What to leave out, as a person says it.
#[derive(Debug, Clone, Default)]
pub struct ExcludeRules {
    /// Patterns in the syntax of .gitignore, relative to any folder.
    pub patterns: Vec<String>,
    /// Files with such patterns, one a line.
    pub files: Vec<PathBuf>,
    /// Leave out the contents of folders that hold a CACHEDIR.TAG (bford.info/cachedir).
    pub caches: bool,
    /// Leave out the contents of folders that hold a file of one of these names.
    pub if_present: Vec<OsString>,
    /// Folders whose contents are never pushed: the store itself.
    pub folders: Vec<PathBuf>,
}

/// The same, ready to be asked.
#[derive(Debug)]
pub struct Excludes {
    patterns: Gitignore,
    caches: bool,
    if_present: Vec<OsString>,
    folders: Vec<(u64, u64)>,
}

impl Excludes {
    /// Compiles rules.
    pub fn compile(rules: &ExcludeRules) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("/");
        for pattern in &rules.patterns {
            let added = builder.add_line(None, pattern);
            added.map_err(|e| ClientError::Usage(format!("the pattern {pattern:?} cannot be used: {e}")))?;
        }
        for file in &rules.files {
            if let Some(e) = builder.add(file) {
                return Err(ClientError::Usage(format!("the patterns of {} cannot be used: {e}", file.display())));
            }
        }
        let patterns = builder.build().map_err(|e| ClientError::Usage(format!("the patterns cannot be used: {e}")))?;
        let identity = |path: &PathBuf| path.metadata().ok().map(|m| (m.dev(), m.ino()));
        let folders = rules.folders.iter().filter_map(identity).collect();
        Ok(Self { patterns, caches: rules.caches, if_present: rules.if_present.clone(), folders })
    }

    /// Whether a path is left out with all that is in it.
    pub fn excludes(&self, path: &Path, is_dir: bool) -> bool {
        !self.patterns.is_empty() && self.patterns.matched(path, is_dir).is_ignore()
    }

    /// Whether an open directory is kept, but nothing that is in it.
    pub fn stops_at(&self, dir: &OwnedFd) -> bool {
        let has = |name: &OsString| statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).is_ok();
        self.if_present.iter().any(has) || (self.caches && has_cache_tag(dir)) || self.is_folder(dir)
    }

    fn is_folder(&self, dir: &OwnedFd) -> bool {
        let looked = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::INO);
        looked.is_ok_and(|stat| {
            let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
            self.folders.contains(&(device, stat.stx_ino))
        })
    }
}

fn has_cache_tag(dir: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = openat(dir, CACHE_TAG, flags, Mode::empty()) else { return false };
    let mut start = [0; CACHE_SIGNATURE.len()];
    File::from(fd).read_exact(&mut start).is_ok() && start == CACHE_SIGNATURE
}
