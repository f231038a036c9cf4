//! Decides what becomes of each entry, makes folders on the way, and leaves the files to the writers.
//!
//! What has to wait for all files (hardlinks, deletions, attributes of folders) is noted and done at the end.

use super::links::Linker;
use super::noted::{Folders, Links};
use super::place::UNFINISHED;
use super::target::{TargetDir, is_dir, is_file};
use super::{PullOptions, Shared, attributes, manifest_path, xattrs};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::push::Excludes;
use cas_core::manifest::{Entry, EntryWithIds, FileType, Manifest, ReadError, ancestors_of, base_name_of, is_below};
use cas_core::snapshot::Details;
use rustix::fs::{Mode, Statx, makedev, mknodat, symlinkat};
use rustix::process::{Resource, getrlimit};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Files in one job.
const JOB_FILES: usize = 64;
/// Bytes in one job, about.
const JOB_BYTES: u64 = 8 << 20;
/// Folders in one job: each keeps one file open.
const JOB_DIRS: usize = 6;

/// How long to wait for jobs before looking again.
const MOMENT: Duration = Duration::from_micros(200);

/// Which existing files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Those whose size or time differ.
    IfChanged,
    /// All; their content is compared, and what differs is written.
    Always,
    /// Those that are older than in the snapshot.
    IfNewer,
    /// None.
    Never,
}

/// A file to write.
pub struct FileTask {
    /// Where.
    pub dir: Arc<TargetDir>,
    /// Its name there.
    pub name: Box<OsStr>,
    /// What it should be.
    pub file: EntryWithIds,
    /// Whether a regular file stands there, to be brought up to date.
    pub existing: bool,
}

/// A folder that is being filled.
struct Level {
    /// Its path in the target, with a slash at its end unless it is the target itself.
    prefix: Vec<u8>,
    /// `None` in a dry run, if it is not there.
    dir: Option<Arc<TargetDir>>,
    /// What was in it and has not been met in the snapshot.
    extra: BTreeSet<Box<OsStr>>,
}

/// Plans one pull.
pub struct Planner<'a> {
    manifest: &'a Manifest<Fetcher>,
    options: &'a PullOptions,
    shared: &'a Shared<'a>,
    excludes: Excludes,
    root: Option<Arc<TargetDir>>,
    levels: Vec<Level>,
    job: Vec<FileTask>,
    job_bytes: u64,
    /// The folder that is restored, if it is one in the snapshot and not all of it.
    top: Option<Entry>,
    folders: Folders,
    links: Links,
    /// Where a path of the snapshot begins in the target.
    skip: usize,
    /// Files that are not restored themselves, and where the first of their names is in the target: that holds the content.
    moved: HashMap<Box<[u8]>, Box<[u8]>>,
    incomplete: bool,
    /// Folders that may be open: half of all files that may.
    most_dirs: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        manifest: &'a Manifest<Fetcher>,
        options: &'a PullOptions,
        shared: &'a Shared<'a>,
    ) -> Result<Self> {
        let failed = |e| ClientError::io(format!("open the target {}", options.target.display()), e);
        let missing = options.dry_run && !options.target.exists();
        let root = if missing { None } else { Some(TargetDir::root(&options.target).map_err(failed)?) };
        Ok(Self {
            manifest,
            options,
            shared,
            excludes: Excludes::compile(&options.excludes)?,
            root,
            levels: Vec::new(),
            job: Vec::new(),
            job_bytes: 0,
            top: None,
            folders: Folders::default(),
            links: Links::default(),
            skip: 0,
            moved: HashMap::new(),
            incomplete: false,
            most_dirs: getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files as usize / 2),
        })
    }

    /// Walks what is asked for; files go to `send` in jobs.
    pub fn plan(&mut self, send: impl Fn(Vec<FileTask>) -> Result<()>) -> Result<()> {
        self.levels.push(self.level(Vec::new(), self.root.clone(), true)?);
        if self.options.path.is_empty() {
            self.plan_all(self.manifest.cursor(), 0, &send)?;
        } else {
            self.plan_part(&send)?;
        }
        self.leave_to(0)?;
        self.flush(&send)
    }

    fn plan_part(&mut self, send: &impl Fn(Vec<FileTask>) -> Result<()>) -> Result<()> {
        let path = manifest_path(&self.options.path)?;
        let found = self.manifest.lookup(&path).map_err(read_failed)?;
        let name = || String::from_utf8_lossy(&self.options.path).into_owned();
        let found = found.ok_or_else(|| ClientError::NotFound { what: "path", name: name() })?;
        if found.entry.is_dir() {
            let skip = path.as_bytes().len() + 1;
            self.top = Some(found.entry);
            return self.plan_all(self.manifest.below(&path), skip, send);
        }
        let skip = path.as_bytes().len() - base_name_of(path.as_bytes()).len();
        self.entry(found, skip, send)
    }

    fn plan_all(
        &mut self,
        entries: impl Iterator<Item = std::result::Result<EntryWithIds, ReadError<ClientError>>>,
        skip: usize,
        send: &impl Fn(Vec<FileTask>) -> Result<()>,
    ) -> Result<()> {
        let mut excluded: Option<Vec<u8>> = None;
        for entry in entries {
            if self.shared.stop.load(Relaxed) {
                return Err(ClientError::Interrupted);
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    self.incomplete = true;
                    self.shared.problem(&gap_in_words(&e), read_failed(e));
                    continue;
                }
            };
            let path = entry.path.as_bytes();
            if excluded.as_ref().is_some_and(|dir| is_below(path, dir)) {
                continue;
            }
            let shown = Path::new("/").join(OsStr::from_bytes(path));
            if self.excludes.excludes(&shown, entry.entry.is_dir()) {
                excluded = Some(path.to_vec());
                self.leave_alone(&path[skip..])?;
                continue;
            }
            self.entry(entry, skip, send)?;
        }
        Ok(())
    }

    /// One entry, whose path in the target begins behind `skip` bytes.
    fn entry(&mut self, file: EntryWithIds, skip: usize, send: &impl Fn(Vec<FileTask>) -> Result<()>) -> Result<()> {
        let relative = file.path.as_bytes()[skip..].to_vec();
        self.leave_to_parent(&relative)?;
        self.enter_lost_parents(&relative)?;
        let name: Box<OsStr> = OsStr::from_bytes(base_name_of(&relative)).into();
        let level = self.levels.last_mut().expect("the target itself is never left");
        level.extra.remove(&name);
        let dir = level.dir.clone();
        let path = file.path.clone();
        let done = match file.entry.file_type {
            FileType::Directory => {
                self.wait_for_files(send)?;
                self.folder(dir, &name, relative.clone(), file)
            }
            FileType::File => self.file(dir, name, skip, file, send),
            _ => self.other(dir.as_deref(), &name, &file),
        };
        match done {
            Err(e) if is_of_one_file(&e) => {
                self.shared.problem(path.as_bytes(), e);
                Ok(())
            }
            other => other,
        }
    }

    /// What is excluded is not restored, and not deleted either.
    fn leave_alone(&mut self, path: &[u8]) -> Result<()> {
        self.leave_to_parent(path)?;
        let parent = self.levels.last_mut().expect("the target itself is never left");
        parent.extra.remove(OsStr::from_bytes(base_name_of(path)));
        Ok(())
    }

    /// The folders above a path that lie in a part of the manifest that cannot be read: made as they are needed, so that
    /// nothing is written in another place than its own. What they were like is lost with that part, and was said.
    fn enter_lost_parents(&mut self, path: &[u8]) -> Result<()> {
        loop {
            let parent = self.levels.last().expect("the target itself is never left");
            let Some(end) = path[parent.prefix.len()..].iter().position(|b| *b == b'/') else { return Ok(()) };
            let lost = &path[..parent.prefix.len() + end];
            let prefix = [lost, b"/"].concat();
            let level = match parent.dir.as_ref().filter(|_| !self.options.dry_run) {
                None => Level { prefix, dir: None, extra: BTreeSet::new() },
                Some(dir) => match dir.enter(OsStr::from_bytes(base_name_of(lost))) {
                    Ok((inner, there)) => self.level(prefix, Some(inner), there)?,
                    Err(e) => {
                        let failed = io("enter", dir, OsStr::from_bytes(base_name_of(lost)), e);
                        self.shared.problem(lost, failed);
                        Level { prefix, dir: None, extra: BTreeSet::new() }
                    }
                },
            };
            self.levels.push(level);
        }
    }

    fn folder(&mut self, dir: Option<Arc<TargetDir>>, name: &OsStr, path: Vec<u8>, file: EntryWithIds) -> Result<()> {
        self.shared.progress.others.fetch_add(1, Relaxed);
        let mut prefix = path.clone();
        prefix.push(b'/');
        let Some(dir) = dir else {
            self.levels.push(Level { prefix, dir: None, extra: BTreeSet::new() });
            return Ok(());
        };
        let there = stat(&dir, name)?;
        let is_there = there.as_ref().is_some_and(is_dir);
        if self.options.dry_run && !is_there {
            self.levels.push(Level { prefix, dir: None, extra: BTreeSet::new() });
            return Ok(());
        }
        if there.is_some() && !is_there {
            self.replace(&dir, name)?;
        }
        let entered = dir.enter(name).map_err(|e| io("enter", &dir, name, e));
        let level = match entered {
            Ok((inner, there)) => self.level(prefix, Some(inner), there)?,
            Err(e) => {
                // What is in it has nowhere to go: it is planned as in a dry run and reported once.
                self.levels.push(Level { prefix, dir: None, extra: BTreeSet::new() });
                return Err(e);
            }
        };
        self.levels.push(level);
        self.folders.note(&path, &file);
        Ok(())
    }

    fn level(&self, prefix: Vec<u8>, dir: Option<Arc<TargetDir>>, there: bool) -> Result<Level> {
        let mut extra = BTreeSet::new();
        if let Some(dir) = dir.as_ref().filter(|_| there && self.options.delete) {
            extra = dir.names().map_err(|e| ClientError::io(format!("list {}", dir.path().display()), e))?;
            // What an earlier pull began goes now: later it could be what this one writes.
            let begun = |name: &OsStr| name.as_bytes().starts_with(UNFINISHED.as_bytes());
            for name in extra.iter().filter(|name| begun(name) && !self.options.dry_run) {
                dir.remove(name).map_err(|e| io("remove", dir, name, e))?;
            }
            extra.retain(|name| !begun(name));
        }
        Ok(Level { prefix, dir, extra })
    }

    fn file(
        &mut self,
        dir: Option<Arc<TargetDir>>,
        name: Box<OsStr>,
        skip: usize,
        mut file: EntryWithIds,
        send: &impl Fn(Vec<FileTask>) -> Result<()>,
    ) -> Result<()> {
        self.shared.progress.files.fetch_add(1, Relaxed);
        if let Some(first) = file.entry.hardlink.clone() {
            let relative = &file.path.as_bytes()[skip..];
            if self.is_restored(&first) {
                self.skip = skip;
                self.links.note(&first, file.path.as_bytes());
                return Ok(());
            }
            let moved = relative.into();
            file = self.content_of(&file, &first)?;
            self.moved.insert(first.into(), moved);
        }
        let Some(dir) = dir else {
            self.shared.progress.bytes.fetch_add(file.entry.size, Relaxed);
            return Ok(());
        };
        let there = stat(&dir, &name)?;
        if let Some(there) = &there
            && self.keeps(there, &file.entry)
        {
            self.shared.progress.unchanged.fetch_add(1, Relaxed);
            self.shared.progress.bytes.fetch_add(file.entry.size, Relaxed);
            return if self.options.dry_run || self.options.overwrite == Overwrite::Never {
                Ok(())
            } else {
                self.attributes(&dir, &name, &file, true)
            };
        }
        if self.options.dry_run {
            self.shared.progress.written.fetch_add(file.entry.size, Relaxed);
            self.shared.progress.bytes.fetch_add(file.entry.size, Relaxed);
            return Ok(());
        }
        let existing = there.as_ref().is_some_and(|s| is_file(s) && s.stx_nlink == 1);
        if there.is_some() && !existing {
            self.replace(&dir, &name)?;
        }
        self.job_bytes += file.entry.size;
        self.job.push(FileTask { dir, name, file, existing });
        if self.job.len() >= JOB_FILES || self.job_bytes >= JOB_BYTES || self.job_dirs() > JOB_DIRS {
            self.flush(send)?;
        }
        Ok(())
    }

    /// Every job keeps its folders open. Where few files may be open, it waits until jobs are done.
    fn wait_for_files(&mut self, send: &impl Fn(Vec<FileTask>) -> Result<()>) -> Result<()> {
        let open = |this: &Self| this.root.as_ref().map_or(0, |root| root.open_dirs());
        while open(self) > self.most_dirs && open(self) > self.levels.len() + 1 {
            self.flush(send)?;
            if self.shared.stop.load(Relaxed) {
                return Err(ClientError::Interrupted);
            }
            std::thread::sleep(MOMENT);
        }
        Ok(())
    }

    fn job_dirs(&self) -> usize {
        1 + self.job.windows(2).filter(|pair| !Arc::ptr_eq(&pair[0].dir, &pair[1].dir)).count()
    }

    fn flush(&mut self, send: &impl Fn(Vec<FileTask>) -> Result<()>) -> Result<()> {
        self.job_bytes = 0;
        let job = std::mem::take(&mut self.job);
        if job.is_empty() { Ok(()) } else { send(job) }
    }

    /// Whether an entry is among what is restored, or another name in its place is.
    fn is_restored(&self, path: &[u8]) -> bool {
        let part = &self.options.path;
        let inside = part.is_empty() || is_below(path, part);
        let shown = |path: &[u8]| Path::new("/").join(OsStr::from_bytes(path));
        let excluded = || {
            let in_folder = ancestors_of(path).any(|dir| self.excludes.excludes(&shown(dir), true));
            in_folder || self.excludes.excludes(&shown(path), false)
        };
        self.moved.contains_key(path) || (inside && !excluded())
    }

    /// A hardlink whose first path is not restored gets that one's content.
    fn content_of(&self, file: &EntryWithIds, first: &[u8]) -> Result<EntryWithIds> {
        let found = self.manifest.lookup(&manifest_path(first)?).map_err(read_failed)?;
        let is_holder =
            |found: &EntryWithIds| found.entry.file_type == FileType::File && found.entry.hardlink.is_none();
        let found = found.filter(is_holder).ok_or_else(|| no_holder(first))?;
        Ok(EntryWithIds { path: file.path.clone(), ..found })
    }

    /// Whether what stands there stays as it is.
    fn keeps(&self, there: &Statx, entry: &Entry) -> bool {
        let there_time = (there.stx_mtime.tv_sec, there.stx_mtime.tv_nsec);
        let time = (entry.mtime.seconds, entry.mtime.nanoseconds);
        match self.options.overwrite {
            Overwrite::Never => true,
            Overwrite::Always => false,
            Overwrite::IfNewer => there_time >= time,
            Overwrite::IfChanged => is_file(there) && there.stx_size == entry.size && there_time == time,
        }
    }

    fn replace(&self, dir: &TargetDir, name: &OsStr) -> Result<()> {
        if self.options.overwrite == Overwrite::Never {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(io("replace", dir, name, exists));
        }
        dir.remove(name).map_err(|e| io("replace", dir, name, e))
    }

    /// Links, pipes, sockets, devices.
    fn other(&mut self, dir: Option<&TargetDir>, name: &OsStr, file: &EntryWithIds) -> Result<()> {
        self.shared.progress.others.fetch_add(1, Relaxed);
        let (Some(dir), false) = (dir, self.options.dry_run) else { return Ok(()) };
        if stat(dir, name)?.is_some() {
            if self.options.overwrite == Overwrite::Never {
                return Ok(());
            }
            self.replace(dir, name)?;
        }
        make(dir, name, &file.entry).map_err(|e| io("create", dir, name, e))?;
        self.attributes(dir, name, file, false)
    }

    fn attributes(&self, dir: &TargetDir, name: &OsStr, file: &EntryWithIds, was_there: bool) -> Result<()> {
        let xattrs = xattrs(self.manifest, file)?;
        let set =
            attributes::apply(dir, name, &file.entry, &xattrs, was_there, &self.shared.owners, &self.shared.denied);
        set.map_err(|e| io("set the attributes of", dir, name, e))
    }

    fn leave_to_parent(&mut self, path: &[u8]) -> Result<()> {
        let inside = |level: &Level| path.starts_with(&level.prefix);
        let keep = self.levels.iter().take_while(|level| inside(level)).count();
        self.leave_to(keep)
    }

    /// Leaves folders until `keep` are open; what is too much in them goes.
    fn leave_to(&mut self, keep: usize) -> Result<()> {
        while self.levels.len() > keep {
            let level = self.levels.pop().expect("it is longer");
            let Some(dir) = level.dir.filter(|_| !self.incomplete) else { continue };
            for name in level.extra {
                if self.is_excluded_there(&dir, &level.prefix, &name)? {
                    continue;
                }
                self.shared.progress.deleted.fetch_add(1, Relaxed);
                if !self.options.dry_run {
                    let removed = dir.remove(&name).map_err(|e| io("remove", &dir, &name, e));
                    if let Err(e) = removed {
                        self.shared.problem(&[&level.prefix, name.as_bytes()].concat(), e);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether what is not in the snapshot is spared because it matches a pattern.
    fn is_excluded_there(&self, dir: &TargetDir, prefix: &[u8], name: &OsStr) -> Result<bool> {
        if self.options.excludes.patterns.is_empty() {
            return Ok(false);
        }
        let is_dir = stat(dir, name)?.as_ref().is_some_and(is_dir);
        let inside = [&self.options.path, &b"/"[..], prefix, name.as_bytes()].concat();
        Ok(self.excludes.excludes(&Path::new("/").join(OsStr::from_bytes(inside.trim_ascii_start())), is_dir))
    }

    /// Hardlinks, then attributes of folders, deepest first. All files are written.
    pub fn finish(mut self, details: &Details) -> Result<()> {
        let (Some(root), false) = (&self.root.clone(), self.options.dry_run) else { return Ok(()) };
        let (manifest, options, shared) = (self.manifest, self.options, self.shared);
        Linker { manifest, options, shared, root, moved: &self.moved, skip: self.skip }
            .make(std::mem::take(&mut self.links));
        for (path, file) in std::mem::take(&mut self.folders).last_first() {
            let set = open_parent(root, &path).map_err(|e| ClientError::io("open a folder", e));
            let set = set.and_then(|(dir, name)| self.attributes(&dir, &name, &file, true));
            if let Err(e) = set {
                self.shared.problem(&path, e);
            }
        }
        self.finish_root(root, details)
    }

    /// The target itself gets the attributes of the folder that was pushed.
    fn finish_root(&self, root: &TargetDir, details: &Details) -> Result<()> {
        let entry = match &self.top {
            Some(entry) => Some(entry.clone()),
            None if self.options.path.is_empty() => Entry::decode(&details.entry).ok(),
            None => None,
        };
        let Some(entry) = entry else { return Ok(()) };
        let set = attributes::apply(
            root,
            OsStr::new("."),
            &entry,
            &entry.xattrs,
            true,
            &self.shared.owners,
            &self.shared.denied,
        );
        if let Err(e) = set {
            self.shared.problem(b".", ClientError::io("set the attributes of the target", e));
        }
        Ok(())
    }
}

fn make(dir: &TargetDir, name: &OsStr, entry: &Entry) -> std::io::Result<()> {
    let kind = match entry.file_type {
        FileType::Symlink => {
            let target = OsStr::from_bytes(entry.link_target.as_deref().unwrap_or_default());
            return Ok(symlinkat(target, dir.fd(), name)?);
        }
        FileType::Fifo => rustix::fs::FileType::Fifo,
        FileType::Socket => rustix::fs::FileType::Socket,
        FileType::CharDevice => rustix::fs::FileType::CharacterDevice,
        FileType::BlockDevice => rustix::fs::FileType::BlockDevice,
        FileType::File | FileType::Directory => unreachable!("made elsewhere"),
    };
    let (major, minor) = entry.device.unwrap_or_default();
    Ok(mknodat(dir.fd(), name, kind, Mode::from_raw_mode(0o600), makedev(major, minor))?)
}

/// Opens the folder that a path of the target lies in, component by component, following no link.
pub(super) fn open_parent(root: &Arc<TargetDir>, path: &[u8]) -> rustix::io::Result<(Arc<TargetDir>, Box<OsStr>)> {
    let mut parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let name = OsStr::from_bytes(parts.pop().unwrap_or_default()).into();
    let mut dir = root.clone();
    for part in parts {
        dir = dir.enter(OsStr::from_bytes(part))?.0;
    }
    Ok((dir, name))
}

fn stat(dir: &TargetDir, name: &OsStr) -> Result<Option<Statx>> {
    dir.stat(name).map_err(|e| io("look at", dir, name, e))
}

pub(super) fn io(doing: &str, dir: &TargetDir, name: &OsStr, error: impl Into<std::io::Error>) -> ClientError {
    ClientError::io(format!("{doing} {}", dir.path().join(name).display()), error)
}

pub(super) fn read_failed(error: ReadError<ClientError>) -> ClientError {
    let id = error.block;
    ClientError::damaged(id, error)
}

/// Whether an error concerns one file, and the rest goes on.
fn is_of_one_file(error: &ClientError) -> bool {
    use ClientError::{Damaged, Format, Io, Untrusted};
    matches!(error, Io { .. } | Damaged { .. } | Format { .. } | Untrusted { .. })
}

/// A link to what the snapshot does not have.
pub(super) fn no_holder(first: &[u8]) -> ClientError {
    let why = format!("the snapshot has no file {:?}", String::from_utf8_lossy(first));
    ClientError::Untrusted { what: "the hard link".to_owned(), why }
}

/// Which paths a gap covers.
fn gap_in_words(error: &ReadError<ClientError>) -> Vec<u8> {
    let show = |path: &Option<Vec<u8>>, none: &str| {
        path.as_ref().map_or(none.to_owned(), |p| format!("{:?}", String::from_utf8_lossy(p)))
    };
    let count = error.gap.totals.map_or(String::new(), |t| format!(" ({} entries)", t.entries));
    format!(
        "everything after {} up to {}{count}",
        show(&error.gap.after, "the beginning"),
        show(&error.gap.until, "the end")
    )
    .into_bytes()
}
