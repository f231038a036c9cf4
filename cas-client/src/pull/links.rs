//! Hard links, made when all files are written.
//!
//! Promise: a name is linked to a file only if the snapshot has that file and this pull has found or made it as it should be.
//! Where that is not so (its block is damaged, it may not be overwritten, the file system has no links), the name gets
//! the content itself, and further names are linked to that; where that cannot be, it is named as a problem.

use super::crew::Crew;
use super::noted::Links;
use super::plan::{FileTask, io, no_holder, open_parent, read_failed};
use super::target::{TargetDir, is_file};
use super::{Overwrite, PullOptions, Shared, manifest_path, write_one};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::manifest::{EntryWithIds, FileType, Manifest};
use rustix::fs::{AtFlags, Statx, linkat, renameat};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The name of a link that is about to replace a file.
const NEW_LINK: &str = ".cas-partial.link";

/// A name for a file that another entry holds.
struct Link<'a> {
    /// The name to make: its path in the snapshot.
    path: &'a [u8],
    /// The same in the target.
    to: &'a [u8],
}

/// Makes links.
pub struct Linker<'a> {
    pub manifest: &'a Manifest<Fetcher>,
    pub options: &'a PullOptions,
    pub shared: &'a Shared<'a>,
    pub root: &'a Arc<TargetDir>,
    /// Files of which the first name is not restored, and where the first one that is lies in the target.
    pub moved: &'a HashMap<Box<[u8]>, Box<[u8]>>,
    /// Where a path of the snapshot begins in the target.
    pub skip: usize,
}

/// What links of one file are made to.
struct Holder {
    file: EntryWithIds,
    /// Where it lies in the target; `None` as long as it is nowhere.
    at: Option<Box<[u8]>>,
}

impl Linker<'_> {
    /// Makes all of them. What cannot be made is a problem.
    pub fn make(&self, mut links: Links) {
        links.sort();
        let failed: HashSet<Vec<u8>> = self.shared.failed();
        for (first, names) in links.by_file() {
            if self.shared.stop.load(Relaxed) {
                return;
            }
            let names = names.map(|path| Link { path, to: &path[self.skip..] });
            match self.holder(first, failed.contains(first)) {
                Ok(mut holder) => names.for_each(|link| self.make_one(&link, &mut holder)),
                Err(why) => names.for_each(|link| self.shared.problem(link.path, why())),
            }
        }
    }

    fn make_one(&self, link: &Link<'_>, holder: &mut Holder) {
        let made = match &holder.at {
            Some(at) => self.link(at, link, &holder.file),
            None => Ok(false),
        };
        let made = made.and_then(|linked| match linked {
            true => Ok(()),
            false => self.write(link, holder),
        });
        if let Err(e) = made {
            self.shared.problem(link.path, e);
        }
    }

    /// The file with the content, if the snapshot has it, and where it lies, if it does.
    fn holder<'l>(
        &self,
        first: &'l [u8],
        has_failed: bool,
    ) -> std::result::Result<Holder, impl Fn() -> ClientError + use<'l>> {
        let why = move || no_holder(first);
        let found = manifest_path(first).and_then(|path| self.manifest.lookup(&path).map_err(read_failed));
        let file = match found {
            Ok(Some(file)) if file.entry.file_type == FileType::File && file.entry.hardlink.is_none() => file,
            _ => return Err(why),
        };
        let at = self.moved.get(first).cloned().unwrap_or_else(|| first[self.skip..].into());
        let there = open_parent(self.root, &at).and_then(|(dir, name)| dir.stat(&name)).ok().flatten();
        let is_right = !has_failed && there.is_some_and(|there| self.is_right(&there, &file));
        Ok(Holder { at: is_right.then_some(at), file })
    }

    fn is_right(&self, there: &Statx, file: &EntryWithIds) -> bool {
        let was_written = matches!(self.options.overwrite, Overwrite::IfChanged | Overwrite::Always);
        is_file(there)
            && there.stx_size == file.entry.size
            && (was_written || there.stx_mtime.tv_sec == file.entry.mtime.seconds)
    }

    /// Answers whether there is a link, or what stands there stays.
    fn link(&self, at: &[u8], link: &Link<'_>, file: &EntryWithIds) -> Result<bool> {
        let failed = |e| ClientError::io(format!("link {}", String::from_utf8_lossy(link.to)), e);
        let (from, from_name) = open_parent(self.root, at).map_err(failed)?;
        let (to, to_name) = open_parent(self.root, link.to).map_err(failed)?;
        let there = to.stat(&to_name).map_err(failed)?;
        if let Some(there) = &there {
            let holder = from.stat(&from_name).map_err(failed)?;
            if holder.is_some_and(|holder| inode(&holder) == inode(there)) || self.stays(there, file) {
                self.shared.progress.unchanged.fetch_add(1, Relaxed);
                return Ok(true);
            }
        }
        let made = match there {
            None => linkat(from.fd(), &*from_name, to.fd(), &*to_name, AtFlags::empty()),
            Some(_) => replace(&from, &from_name, &to, &to_name),
        };
        match made {
            Ok(()) => Ok(true),
            // Too many links, or none on this file system.
            Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::NOTSUP | Errno::NOSYS) => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }

    fn stays(&self, there: &Statx, file: &EntryWithIds) -> bool {
        match self.options.overwrite {
            Overwrite::Never => true,
            Overwrite::IfNewer => there.stx_mtime.tv_sec >= file.entry.mtime.seconds,
            Overwrite::IfChanged | Overwrite::Always => false,
        }
    }

    /// Gives a name the content itself; it holds it from now on.
    fn write(&self, link: &Link<'_>, holder: &mut Holder) -> Result<()> {
        let opened = open_parent(self.root, link.to);
        let (dir, name) = opened.map_err(|e| ClientError::io("open a folder", e))?;
        let there = dir.stat(&name).map_err(|e| io("look at", &dir, &name, e))?;
        if there.is_some_and(|there| self.stays(&there, &holder.file)) {
            self.shared.progress.unchanged.fetch_add(1, Relaxed);
            return Ok(());
        }
        if there.is_some_and(|there| !is_file(&there) || there.stx_nlink > 1) {
            dir.remove(&name).map_err(|e| io("replace", &dir, &name, e))?;
        }
        let existing = there.is_some_and(|there| is_file(&there) && there.stx_nlink == 1);
        let task = FileTask { dir, name, file: holder.file.clone(), existing };
        let crew = Crew::new(1, self.shared.progress, self.shared.stop);
        match write_one(self.manifest, &task, false, self.shared, &crew) {
            Ok(written) => {
                self.shared.progress.written.fetch_add(written, Relaxed);
                holder.at = Some(link.to.into());
                Ok(())
            }
            Err(failure) => Err(failure.cause),
        }
    }
}

/// A link under another name first, so that what stands there is lost only when the link is there.
fn replace(from: &TargetDir, from_name: &OsStr, to: &TargetDir, to_name: &OsStr) -> rustix::io::Result<()> {
    let new = OsStr::new(NEW_LINK);
    to.remove(new)?;
    linkat(from.fd(), from_name, to.fd(), new, AtFlags::empty())?;
    if to.stat(to_name)?.is_some_and(|there| super::target::is_dir(&there)) {
        to.remove(to_name)?;
    }
    let renamed = renameat(to.fd(), new, to.fd(), to_name);
    if renamed.is_err() {
        let _ = to.remove(new);
    }
    renamed
}

fn inode(stat: &Statx) -> (u64, u32, u32) {
    (stat.stx_ino, stat.stx_dev_major, stat.stx_dev_minor)
}
