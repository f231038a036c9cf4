//! Walks what is pushed, in the order of the manifest, and hands out runs of paths as jobs.
//!
//! Promise: parents before children, siblings bytewise, every readable name exactly once. It lists
//! directories and nothing else: whoever takes a job looks at the files. A directory that cannot be
//! listed is a [`Problem`], and the walk goes on.

use super::exclude::Excludes;
use super::problem::{Problem, ProblemKind};
use super::source::Source;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, openat, statx};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Paths in one job.
pub const JOB_ITEMS: usize = 256;
/// Directories kept open for the items of jobs; beyond, items are found by their full path.
const MAX_OPEN_DIRS: usize = 16;
/// Bytes of directory entries read in one call.
const LIST_BUFFER: usize = 64 << 10;

/// What is asked of every file.
pub fn wanted_stat() -> StatxFlags {
    StatxFlags::BASIC_STATS
}

/// A directory that items lie in.
#[derive(Debug)]
pub struct OpenDir {
    /// Its path on this machine.
    pub path: PathBuf,
    fd: Option<OwnedFd>,
    open_dirs: Arc<AtomicUsize>,
}

impl OpenDir {
    /// Looks at `name` in it, not following a link.
    pub fn stat(&self, name: &OsStr) -> rustix::io::Result<Statx> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match &self.fd {
            Some(fd) => statx(fd, name, flags, wanted_stat()),
            None => statx(CWD, self.path.join(name), flags, wanted_stat()),
        }
    }

    /// Opens `name` in it.
    pub fn open(&self, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match &self.fd {
            Some(fd) => openat(fd, name, flags, Mode::empty()),
            None => openat(CWD, self.path.join(name), flags, Mode::empty()),
        }
    }
}

impl Drop for OpenDir {
    fn drop(&mut self) {
        if self.fd.is_some() {
            self.open_dirs.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One path to look at.
#[derive(Debug)]
pub struct Item {
    /// Where it lies.
    pub dir: Arc<OpenDir>,
    /// Its name there.
    pub name: Box<OsStr>,
    /// Its path in the manifest.
    pub path: Box<[u8]>,
    /// What it is, if the walk had to find out: a directory that was opened.
    pub listed: Option<Box<Statx>>,
}

impl Item {
    /// Its path on this machine.
    pub fn full_path(&self) -> PathBuf {
        self.dir.path.join(&*self.name)
    }
}

/// A run of consecutive paths.
#[derive(Debug, Default)]
pub struct Job {
    /// Its place among all jobs, from 0.
    pub seq: u64,
    /// In manifest order.
    pub items: Vec<Item>,
    /// What the walk could not do in this run.
    pub problems: Vec<Problem>,
}

/// Walks sources and sends jobs until done or until the receiver is gone.
pub struct Walker<'a> {
    excludes: &'a Excludes,
    one_file_system: bool,
    open_dirs: Arc<AtomicUsize>,
    ancestors: HashSet<Vec<u8>>,
    job: Job,
    send: &'a mut dyn FnMut(Job) -> bool,
    stopped: bool,
}

impl<'a> Walker<'a> {
    /// A walker. `send` takes a job and answers whether to go on.
    pub fn new(excludes: &'a Excludes, one_file_system: bool, send: &'a mut dyn FnMut(Job) -> bool) -> Self {
        let (open_dirs, ancestors, job) = Default::default();
        Self { excludes, one_file_system, open_dirs, ancestors, job, send, stopped: false }
    }

    /// Walks all sources, which must be in manifest order.
    pub fn walk(mut self, sources: &[Source]) {
        for source in sources {
            match &source.place {
                None => self.walk_root(&source.path),
                Some(place) => self.walk_named(&source.path, place),
            }
        }
        self.flush();
    }

    fn walk_root(&mut self, path: &Path) {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        match openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => {
                let device = statx(&fd, "", AtFlags::EMPTY_PATH, wanted_stat()).ok().as_ref().map(device_of);
                self.list(path.to_owned(), fd, b"", device);
            }
            Err(e) => self.problem(path.to_owned(), ProblemKind::List, e),
        }
    }

    /// A file, or a directory that keeps its name in the manifest. A link is followed, as the person named it.
    fn walk_named(&mut self, path: &Path, place: &[u8]) {
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(e) => return self.problem_io(path.to_owned(), ProblemKind::Stat, e),
        };
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return self.walk_root(&real);
        };
        self.visit_ancestors(&real, place);
        let dir = self.by_path(parent);
        let is_dir = real.is_dir();
        self.visit(&dir, name, place.to_vec(), is_dir, None);
    }

    /// The directories above a place that is more than one component, once each.
    fn visit_ancestors(&mut self, real: &Path, place: &[u8]) {
        let depth = place.iter().filter(|b| **b == b'/').count();
        let above: Vec<&Path> = real.ancestors().skip(1).take(depth).collect();
        for (level, path) in above.iter().rev().enumerate() {
            let end = place.iter().enumerate().filter(|(_, b)| **b == b'/').nth(level).map_or(place.len(), |(i, _)| i);
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            if self.ancestors.insert(place[..end].to_vec()) {
                let item = Item {
                    dir: self.by_path(parent),
                    name: name.into(),
                    path: place[..end].into(),
                    listed: statx(CWD, *path, AtFlags::empty(), wanted_stat()).ok().map(Box::new),
                };
                self.push(item);
            }
        }
    }

    fn by_path(&self, path: &Path) -> Arc<OpenDir> {
        Arc::new(OpenDir { path: path.to_owned(), fd: None, open_dirs: self.open_dirs.clone() })
    }

    /// Emits one path and, if it is a directory, what is in it.
    fn visit(&mut self, dir: &Arc<OpenDir>, name: &OsStr, path: Vec<u8>, is_dir: bool, device: Option<u64>) {
        let mut item = Item { dir: dir.clone(), name: name.into(), path: path.clone().into(), listed: None };
        if !is_dir {
            return self.push(item);
        }
        let opened = dir.open(name, OFlags::DIRECTORY | OFlags::RDONLY);
        let fd = match opened {
            Ok(fd) => fd,
            Err(e) => {
                self.problem(item.full_path(), ProblemKind::List, e);
                return self.push(item);
            }
        };
        let looked = statx(&fd, "", AtFlags::EMPTY_PATH, wanted_stat());
        let here = looked.as_ref().ok().map(device_of);
        item.listed = looked.ok().map(Box::new);
        let full = item.full_path();
        let foreign = self.one_file_system && device.is_some() && here != device;
        let cut = foreign || self.excludes.stops_at(&fd);
        self.push(item);
        if !cut {
            self.list(full, fd, &path, device.or(here));
        }
    }

    /// Lists one directory and visits what is in it, in order.
    fn list(&mut self, path: PathBuf, fd: OwnedFd, place: &[u8], device: Option<u64>) {
        let mut names = match read_names(&fd) {
            Ok(names) => names,
            Err(e) => return self.problem(path, ProblemKind::List, e),
        };
        names.sort();
        let keep = self.open_dirs.load(Ordering::Relaxed) < MAX_OPEN_DIRS;
        if keep {
            self.open_dirs.fetch_add(1, Ordering::Relaxed);
        }
        let dir = Arc::new(OpenDir { path, fd: keep.then_some(fd), open_dirs: self.open_dirs.clone() });
        for (name, kind) in names.iter() {
            if self.stopped {
                return;
            }
            let name = OsStr::from_bytes(name);
            let is_dir = match kind {
                FileType::Directory => true,
                FileType::Unknown => dir.stat(name).is_ok_and(|s| is_directory(&s)),
                _ => false,
            };
            if self.excludes.excludes(&dir.path.join(name), is_dir) {
                continue;
            }
            let mut child = Vec::with_capacity(place.len() + 1 + name.len());
            child.extend_from_slice(place);
            if !place.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(name.as_bytes());
            self.visit(&dir, name, child, is_dir, device);
        }
    }

    fn push(&mut self, item: Item) {
        self.job.items.push(item);
        if self.job.items.len() >= JOB_ITEMS {
            self.flush();
        }
    }

    fn problem(&mut self, path: PathBuf, kind: ProblemKind, error: rustix::io::Errno) {
        self.problem_io(path, kind, error.into());
    }

    fn problem_io(&mut self, path: PathBuf, kind: ProblemKind, error: std::io::Error) {
        self.job.problems.push(Problem { path, kind, cause: error.to_string() });
    }

    fn flush(&mut self) {
        let next = self.job.seq + 1;
        let job = std::mem::replace(&mut self.job, Job { seq: next, ..Job::default() });
        if !self.stopped && !(self.send)(job) {
            self.stopped = true;
        }
    }
}

/// The device a file lies on.
pub fn device_of(stat: &Statx) -> u64 {
    u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor)
}

fn is_directory(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

/// The names of one directory in one allocation: a directory of millions costs its names and little more.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u16, FileType)>,
}

impl Names {
    fn add(&mut self, name: &[u8], kind: FileType) {
        let at = u32::try_from(self.bytes.len()).expect("the names of one directory are below 4 GiB");
        self.bytes.extend_from_slice(name);
        self.spans.push((at, name.len() as u16, kind));
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |&(at, len, _): &(u32, u16, FileType)| &bytes[at as usize..at as usize + usize::from(len)];
        self.spans.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], FileType)> {
        self.spans.iter().map(|&(at, len, kind)| (&self.bytes[at as usize..at as usize + usize::from(len)], kind))
    }
}

fn read_names(fd: &OwnedFd) -> rustix::io::Result<Names> {
    let mut names = Names::default();
    let mut buffer = vec![MaybeUninit::uninit(); LIST_BUFFER];
    let mut dir = RawDir::new(fd, &mut buffer);
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.add(name, entry.file_type());
        }
    }
    Ok(names)
}
