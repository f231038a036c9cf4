//! How a file gets under its name, so that nobody finds half of one there.
//!
//! ```text
//! nothing stands there, one block at most     made under its name: all of its bytes are in hand before
//! several blocks, or something stands there   written beside it and renamed; what stood there stays until then
//! a large file stands there                   changed in place, only what differs: a copy could be terabytes
//! ```
//!
//! Promise: a damaged block leaves what stood there as it was. A file that was changed in place and cannot be completed is
//! renamed to `NAME.cas-partial`, and that is said. Killed at any moment, a file that is not complete has another
//! name, or another time than its entry, so that the same command completes it. What was begun beside
//! a name is used by the next pull of it.

use super::crew::Crew;
use super::file::{self, Before};
use super::plan::FileTask;
use super::target::{TargetDir, is_file};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::manifest::Manifest;
use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What the names of files that are being written begin with.
pub const UNFINISHED: &str = ".cas-partial.";
/// What is behind the name of a file that was changed in place and could not be completed.
const PARTIAL: &str = ".cas-partial";
/// Mode of a file that is not complete yet.
const PRIVATE: u32 = 0o600;

/// Why a file was not restored, and what became of what was written.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub cause: ClientError,
    /// Where a mixture of old and new bytes lies.
    pub partial: Option<PathBuf>,
}

impl From<ClientError> for Failure {
    fn from(cause: ClientError) -> Self {
        Self { cause, partial: None }
    }
}

/// Brings a file to its content. Answers the bytes written. `in_place` allows to change a large file that stands there.
pub fn restore(
    task: &FileTask,
    in_place: bool,
    manifest: &Manifest<Fetcher>,
    crew: &Crew,
) -> std::result::Result<u64, Failure> {
    let is_small = file::is_small(&task.file);
    if task.existing {
        match open_old(task) {
            Ok(old) if is_small => {
                if file::is_whole(&old, manifest, &task.file).map_err(|e| failed("read", task, e))? {
                    return Ok(0);
                }
            }
            Ok(old) if in_place => return change(task, old, manifest, crew),
            Ok(_) => {}
            // Not writable, or busy: a new file in its place.
            Err(Errno::ACCESS | Errno::PERM | Errno::TXTBSY) => {}
            Err(e) => return Err(failed("open", task, e).into()),
        }
    }
    if is_small && !task.existing && in_place {
        return Ok(create(task, manifest)?);
    }
    Ok(beside(task, manifest, crew)?)
}

fn open_old(task: &FileTask) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(task.dir.fd(), &*task.name, flags, Mode::empty()).map(File::from)
}

/// Makes a small file under its name.
fn create(task: &FileTask, manifest: &Manifest<Fetcher>) -> Result<u64> {
    let bytes = file::whole(manifest, &task.file)?;
    let out = make(&task.dir, &task.name).map_err(|e| failed("create", task, e))?;
    let written = out.write_all_at(&bytes, 0);
    if written.is_err() {
        let _ = task.dir.remove(&task.name);
    }
    written.map_err(|e| failed("write", task, e))?;
    Ok(bytes.len() as u64)
}

/// Makes a file under another name, then gives it its own.
fn beside(task: &FileTask, manifest: &Manifest<Fetcher>, crew: &Crew) -> Result<u64> {
    let name = unfinished(&task.name);
    let (out, before) = begin(&task.dir, &name).map_err(|e| failed("create", task, e))?;
    let written = if file::is_small(&task.file) {
        file::whole(manifest, &task.file).and_then(|bytes| {
            let all = out.set_len(0).and_then(|()| out.write_all_at(&bytes, 0));
            all.map(|()| bytes.len() as u64).map_err(|e| ClientError::io("write", e))
        })
    } else {
        file::write(out, before, &task.file, manifest, crew)
    };
    let written = written.map_err(|e| named(e, task)).and_then(|written| {
        let renamed = renameat(task.dir.fd(), &*name, task.dir.fd(), &*task.name);
        renamed.map(|()| written).map_err(|e| failed("name", task, e))
    });
    if written.is_err() {
        let _ = task.dir.remove(&name);
    }
    written
}

/// Changes what stands there.
fn change(task: &FileTask, old: File, manifest: &Manifest<Fetcher>, crew: &Crew) -> std::result::Result<u64, Failure> {
    file::write(old, Before::Old, &task.file, manifest, crew).map_err(|cause| {
        let cause = named(cause, task);
        if matches!(cause, ClientError::Interrupted) {
            return cause.into();
        }
        let name = [task.name.as_bytes(), PARTIAL.as_bytes()].concat();
        let name = OsStr::from_bytes(&name);
        let moved = renameat(task.dir.fd(), &*task.name, task.dir.fd(), name).is_ok();
        let partial = task.dir.path().join(if moved { name } else { &*task.name });
        Failure { cause, partial: Some(partial) }
    })
}

/// The name that a file has until it is complete: always the same for a name.
fn unfinished(name: &OsStr) -> OsString {
    let hash = cas_core::kdf::derive("unfinished file", name.as_bytes());
    let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{UNFINISHED}{digits}").into()
}

/// Opens what an earlier pull began, or begins anew.
fn begin(dir: &TargetDir, name: &OsStr) -> rustix::io::Result<(File, Before)> {
    let ours = |stat: &rustix::fs::Statx| {
        is_file(stat) && stat.stx_nlink == 1 && stat.stx_uid == rustix::process::geteuid().as_raw()
    };
    if let Some(stat) = dir.stat(name)? {
        if ours(&stat) {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            if let Ok(begun) = openat(dir.fd(), name, flags, Mode::empty()) {
                return Ok((begun.into(), Before::Old));
            }
        }
        dir.remove(name)?;
    }
    Ok((make(dir, name)?, Before::Empty))
}

fn make(dir: &TargetDir, name: &OsStr) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir.fd(), name, flags, Mode::from_raw_mode(PRIVATE)).map(File::from)
}

/// Says which file it was that could not be read or written.
fn named(error: ClientError, task: &FileTask) -> ClientError {
    match error {
        ClientError::Io { what, source } => failed(&what, task, source),
        other => other,
    }
}

fn failed(doing: &str, task: &FileTask, error: impl Into<io::Error>) -> ClientError {
    ClientError::io(format!("{doing} {}", task.dir.path().join(&*task.name).display()), error)
}
