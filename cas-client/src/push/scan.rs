//! Looks at the paths of one job: what did not change comes from the stat cache, the rest is read.
//!
//! Runs on every core. Order does not matter here: the tree (see `tree`) puts jobs in order again.

use super::content::{Batch, ContentReader, ReadError, Stored};
use super::counters::Counters;
use super::problem::{Problem, ProblemKind};
use super::statcache::{Cursor, Seen, Signature};
use super::upload::{Group, Uploader};
use super::walk::{Item, Job, OpenDir, device_of};
use crate::attributes::{self, Owners};
use crate::error::Result;
use cas_core::frame::Sealer;
use cas_core::manifest::{Content, Entry};
use rustix::fs::{OFlags, Statx};
use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// Bytes of a unit of `st_blocks`.
const STAT_BLOCK: u64 = 512;

/// A path with its entry.
pub struct Ready {
    /// Its path in the manifest.
    pub path: Box<[u8]>,
    /// The entry, encoded or not.
    pub entry: ReadyEntry,
    /// What the next push compares with; `None` if the file may still be changing.
    pub signature: Option<Signature>,
    /// Device and inode, if the file has more than one link.
    pub links: Option<(u64, u64)>,
    /// The id of its list.
    pub list: Option<cas_core::id::BlockId>,
}

/// An entry from the cache, or a new one.
pub enum ReadyEntry {
    /// As the last push encoded it.
    Encoded(Vec<u8>),
    /// New.
    New(Box<Entry>),
}

/// A job that was looked at.
pub struct Scanned {
    /// Its place among all jobs.
    pub seq: u64,
    /// In manifest order.
    pub entries: Vec<Ready>,
    /// Groups of blocks that the entries refer to.
    pub groups: Vec<Arc<Group>>,
    /// Lists that the entries refer to and that are not registered yet.
    pub headers: Vec<Vec<u8>>,
    /// What went wrong with single files.
    pub problems: Vec<Problem>,
}

/// What all scanning threads of a push share.
pub struct Shared<'a> {
    /// Names blocks, asks for them, stores them.
    pub uploader: &'a Uploader,
    /// Live counts.
    pub counters: &'a Counters,
    /// Names of users and groups.
    pub owners: &'a Owners,
    /// The time the push began, nanoseconds since 1970.
    pub now_ns: i64,
    /// Content of files with several links, read once.
    pub links: Mutex<HashMap<(u64, u64), LinkedContent>>,
}

/// Content that further links of the same file will ask for.
pub struct LinkedContent {
    stored: Stored,
    groups: Vec<Arc<Group>>,
    headers: Vec<Vec<u8>>,
    left: u32,
}

/// Scans jobs; one per thread.
pub struct Scanner<'a> {
    shared: &'a Shared<'a>,
    content: ContentReader<'a>,
    cache: Option<Cursor>,
}

impl<'a> Scanner<'a> {
    /// A scanner.
    pub fn new(shared: &'a Shared<'a>, content: ContentReader<'a>, cache: Option<Cursor>) -> Self {
        Self { shared, content, cache }
    }

    /// Looks at every path of a job.
    pub fn scan(&mut self, job: Job, sealer: &mut Sealer) -> Result<Scanned> {
        let mut batch = Batch::new(self.shared.uploader);
        let mut entries = Vec::with_capacity(job.items.len());
        let mut problems = job.problems;
        for item in job.items {
            self.shared.uploader.check()?;
            entries.extend(self.look_at(item, &mut batch, &mut problems, sealer)?);
        }
        batch.ask(sealer)?;
        Counters::add(&self.shared.counters.problems, problems.len() as u64);
        Ok(Scanned { seq: job.seq, entries, groups: batch.take_groups(), headers: batch.take_headers(), problems })
    }

    fn look_at(
        &mut self,
        item: Item,
        batch: &mut Batch<'_>,
        problems: &mut Vec<Problem>,
        sealer: &mut Sealer,
    ) -> Result<Option<Ready>> {
        let stat = match &item.listed {
            Some(stat) => **stat,
            None => match item.dir.stat(&item.name) {
                Ok(stat) => stat,
                Err(e) => {
                    problems.push(problem(&item, ProblemKind::Stat, &e.into()));
                    return Ok(None);
                }
            },
        };
        let signature = Signature::of(&stat);
        let known = self.cache.as_mut().and_then(|cache| cache.find(&item.path));
        let links = has_links(&stat).then(|| (device_of(&stat), stat.stx_ino));
        match known {
            Some(seen) if seen.signature == signature => {
                self.count(&stat, What::Unmodified);
                Ok(Some(unchanged(item.path, seen, links)))
            }
            known => {
                let what = if known.is_some() { What::Changed } else { What::New };
                let ready = self.read(&item, stat, links, batch, problems, sealer)?;
                if ready.is_some() {
                    self.count(&stat, what);
                }
                Ok(ready)
            }
        }
    }

    /// Makes a new entry.
    fn read(
        &mut self,
        item: &Item,
        stat: Statx,
        links: Option<(u64, u64)>,
        batch: &mut Batch<'_>,
        problems: &mut Vec<Problem>,
        sealer: &mut Sealer,
    ) -> Result<Option<Ready>> {
        let Some(mut entry) = attributes::entry_of(&stat, self.shared.owners) else {
            let unknown = std::io::Error::other("a type of file that no manifest holds");
            problems.push(problem(item, ProblemKind::Stat, &unknown));
            return Ok(None);
        };
        let mut quiet = Signature::of(&stat).settled_at(self.shared.now_ns);
        let mut list = None;
        let looked = match entry.file_type {
            cas_core::manifest::FileType::File => match self.read_file(item, &stat, links, batch, sealer)? {
                Ok((stored, unchanged)) => {
                    if !unchanged {
                        quiet = false;
                        let cause = std::io::Error::other("its size or time differ after reading");
                        problems.push(problem(item, ProblemKind::Changed, &cause));
                    }
                    entry.size = stored.size;
                    entry.content = stored.content;
                    list = stored.list;
                    Ok(())
                }
                Err(e) => Err(e),
            },
            cas_core::manifest::FileType::Symlink => {
                std::fs::read_link(item.full_path()).map(|target| attributes::set_link(&mut entry, &target))
            }
            _ => Ok(()),
        };
        if let Err(e) = looked {
            problems.push(problem(item, ProblemKind::Read, &e));
            return Ok(None);
        }
        match attributes::xattrs(&item.full_path()) {
            Ok(xattrs) => self.set_xattrs(&mut entry, xattrs, batch, sealer)?,
            Err(e) => {
                quiet = false;
                problems.push(problem(item, ProblemKind::Attributes, &e));
            }
        }
        let signature = quiet.then(|| Signature::of(&stat));
        let entry = ReadyEntry::New(Box::new(entry));
        Ok(Some(Ready { path: item.path.clone(), entry, signature, links, list }))
    }

    /// Reads a regular file. Answers its content and whether it stayed as it was meanwhile.
    fn read_file(
        &mut self,
        item: &Item,
        stat: &Statx,
        links: Option<(u64, u64)>,
        batch: &mut Batch<'_>,
        sealer: &mut Sealer,
    ) -> Result<std::io::Result<(Stored, bool)>> {
        if stat.stx_size == 0 {
            return Ok(Ok((Stored { content: Content::None, size: 0, list: None }, true)));
        }
        if let Some(stored) = links.and_then(|key| self.linked(key, batch)) {
            return Ok(Ok((stored, true)));
        }
        let file = match open_file(&item.dir, item) {
            Ok(file) => file,
            Err(e) => return Ok(Err(e)),
        };
        let size = stat.stx_size;
        let _shown = self.shared.counters.reading.begin(size, || item.full_path());
        let allocated = stat.stx_blocks.saturating_mul(STAT_BLOCK);
        let read = match links {
            None => self.content.read(&file, size, allocated, batch, sealer),
            Some(key) => self.read_linked(&file, stat, key, batch, sealer),
        };
        let stored = match read {
            Ok(stored) => stored,
            Err(ReadError::File(e)) => return Ok(Err(e)),
            Err(ReadError::Push(e)) => return Err(e),
        };
        Counters::add(&self.shared.counters.bytes_read, stored.size);
        let after = rustix::fs::statx(&file, "", rustix::fs::AtFlags::EMPTY_PATH, super::walk::wanted_stat());
        let same = after.is_ok_and(|after| Signature::of(&after) == Signature::of(stat)) && stored.size == size;
        Ok(Ok((stored, same)))
    }

    /// Reads a file with several links in a batch of its own, and remembers what came of it.
    fn read_linked(
        &mut self,
        file: &File,
        stat: &Statx,
        key: (u64, u64),
        batch: &mut Batch<'_>,
        sealer: &mut Sealer,
    ) -> std::result::Result<Stored, ReadError> {
        let mut own = Batch::new(self.shared.uploader);
        let allocated = stat.stx_blocks.saturating_mul(STAT_BLOCK);
        let stored = self.content.read(file, stat.stx_size, allocated, &mut own, sealer)?;
        own.ask(sealer)?;
        let (groups, headers) = (own.take_groups(), own.take_headers());
        batch.adopt(groups.clone(), headers.clone());
        let linked = LinkedContent { stored: stored.clone(), groups, headers, left: stat.stx_nlink - 1 };
        self.shared.links.lock().expect("no thread panics with this lock").insert(key, linked);
        Ok(stored)
    }

    fn linked(&self, key: (u64, u64), batch: &mut Batch<'_>) -> Option<Stored> {
        let mut links = self.shared.links.lock().expect("no thread panics with this lock");
        let linked = links.get_mut(&key)?;
        batch.adopt(linked.groups.clone(), linked.headers.clone());
        let stored = linked.stored.clone();
        linked.left = linked.left.saturating_sub(1);
        if linked.left == 0 {
            links.remove(&key);
        }
        Some(stored)
    }

    fn set_xattrs(
        &self,
        entry: &mut Entry,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
        batch: &mut Batch<'_>,
        sealer: &mut Sealer,
    ) -> Result<()> {
        let encoded = cas_core::manifest::encode_xattrs(&xattrs);
        if encoded.len() <= cas_core::limits::MAX_INLINE_XATTRS {
            entry.xattrs = xattrs;
            return Ok(());
        }
        entry.xattr_block = Some(batch.data(encoded.into(), sealer)?);
        Ok(())
    }

    fn count(&self, stat: &Statx, what: What) {
        use cas_core::manifest::FileType::{Directory, File};
        let c = self.shared.counters;
        let counter: &AtomicU64 = match (attributes::entry_type(stat), what) {
            (Some(File), What::New) => &c.files_new,
            (Some(File), What::Changed) => &c.files_changed,
            (Some(File), What::Unmodified) => &c.files_unmodified,
            (Some(Directory), What::New) => &c.dirs_new,
            (Some(Directory), What::Changed) => &c.dirs_changed,
            (Some(Directory), What::Unmodified) => &c.dirs_unmodified,
            _ => &c.others,
        };
        Counters::add(counter, 1);
        if attributes::entry_type(stat) == Some(File) {
            Counters::add(&c.bytes, stat.stx_size);
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    New,
    Changed,
    Unmodified,
}

fn unchanged(path: Box<[u8]>, seen: Seen, links: Option<(u64, u64)>) -> Ready {
    let Seen { signature, entry, list } = seen;
    Ready { path, entry: ReadyEntry::Encoded(entry), signature: Some(signature), links, list }
}

fn has_links(stat: &Statx) -> bool {
    stat.stx_nlink > 1 && attributes::entry_type(stat) != Some(cas_core::manifest::FileType::Directory)
}

/// Opens without changing the access time where that is allowed, and never waits for a pipe.
fn open_file(dir: &OpenDir, item: &Item) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let opened = match dir.open(&item.name, flags | OFlags::NOATIME) {
        Err(rustix::io::Errno::PERM) => dir.open(&item.name, flags),
        other => other,
    };
    Ok(File::from(opened?))
}

fn problem(item: &Item, kind: ProblemKind, error: &std::io::Error) -> Problem {
    Problem { path: item.full_path(), kind, cause: error.to_string() }
}
