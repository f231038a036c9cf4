//! Puts scanned jobs in order, builds the manifest from them, and registers its pages.
//!
//! One thread. Promise: pages are registered children first, and only when the index has receipts for
//! everything they refer to; memory is a window of jobs and one batch of pages.

use super::content::Batch;
use super::problem::{Problem, ProblemKind};
use super::scan::{Ready, ReadyEntry, Scanned};
use super::statcache::{Seen, Writer};
use super::upload::{Group, Uploader};
use crate::error::{ClientError, Result};
use cas_core::domain::DomainRecord;
use cas_core::frame::Sealer;
use cas_core::manifest::{BuildError, BuiltBlock, Entry, FileType, MapBuilder, Root};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// Absent pages and lists that wait to be registered together.
const REGISTER_HEADERS: usize = 256;
/// Blocks' groups that wait with them.
const REGISTER_GROUPS: usize = 64;

/// What is left when all jobs are in.
pub struct Tree {
    /// The manifest.
    pub root: Root,
    /// What went wrong with single files.
    pub problems: Vec<Problem>,
    /// The stat cache, not in place yet.
    pub cache: Option<Writer>,
}

/// Builds the manifest of one push.
pub struct TreeBuilder<'a> {
    uploader: &'a Uploader,
    map: MapBuilder,
    pages: Vec<BuiltBlock>,
    batch: Batch<'a>,
    headers: Vec<Vec<u8>>,
    /// Groups by the job that brought them; those before `complete` are in closed pages.
    groups: VecDeque<(u64, Arc<Group>)>,
    complete: u64,
    waiting: BTreeMap<u64, Scanned>,
    next: u64,
    links: HashMap<(u64, u64), Vec<u8>>,
    problems: Vec<Problem>,
    cache: Option<Writer>,
    cache_path: PathBuf,
}

impl<'a> TreeBuilder<'a> {
    /// Before the first job.
    pub fn new(uploader: &'a Uploader, record: &DomainRecord, cache: Option<Writer>, cache_path: PathBuf) -> Self {
        Self {
            uploader,
            map: MapBuilder::new(uploader.keys(), record),
            pages: Vec::new(),
            batch: Batch::new(uploader),
            headers: Vec::new(),
            groups: VecDeque::new(),
            complete: 0,
            waiting: BTreeMap::new(),
            next: 0,
            links: HashMap::new(),
            problems: Vec::new(),
            cache,
            cache_path,
        }
    }

    /// Takes a job in any order. Answers how many jobs were finished by it.
    pub fn take(&mut self, scanned: Scanned, sealer: &mut Sealer) -> Result<u64> {
        self.waiting.insert(scanned.seq, scanned);
        let before = self.next;
        while let Some(scanned) = self.waiting.remove(&self.next) {
            self.append(scanned, sealer)?;
            self.next += 1;
        }
        Ok(self.next - before)
    }

    fn append(&mut self, scanned: Scanned, sealer: &mut Sealer) -> Result<()> {
        self.problems.extend(scanned.problems);
        self.headers.extend(scanned.headers);
        self.groups.extend(scanned.groups.into_iter().map(|group| (scanned.seq, group)));
        for ready in scanned.entries {
            self.entry(ready)?;
        }
        if !self.pages.is_empty() {
            self.complete = scanned.seq;
            for page in std::mem::take(&mut self.pages) {
                self.batch.built(page, sealer)?;
            }
        }
        if self.headers.len() >= REGISTER_HEADERS || self.groups.len() >= REGISTER_GROUPS {
            self.register(sealer)?;
        }
        Ok(())
    }

    fn entry(&mut self, ready: Ready) -> Result<()> {
        let first_link = ready.links.and_then(|key| match self.links.get(&key) {
            Some(first) => Some(first.clone()),
            None => {
                self.links.insert(key, ready.path.to_vec());
                None
            }
        });
        let encoded = match &ready.entry {
            ReadyEntry::Encoded(bytes) => bytes.clone(),
            ReadyEntry::New(entry) => entry.encode(),
        };
        let pages = &mut self.pages;
        let mut sink = |page| pages.push(page);
        let pushed = match first_link {
            None => self.map.push_encoded(&ready.path, &encoded, ready.list, &mut sink),
            Some(first) => {
                let entry = Entry::decode(&encoded).map_err(|cause| damaged_cache(&self.cache_path, cause))?;
                self.map.push_encoded(&ready.path, &hardlink(entry, first).encode(), None, &mut sink)
            }
        };
        match pushed {
            Ok(()) => {}
            Err(BuildError::Format(cause)) => return Err(damaged_cache(&self.cache_path, cause)),
            Err(e) => {
                let path = PathBuf::from(String::from_utf8_lossy(&ready.path).into_owned());
                self.problems.push(Problem { path, kind: ProblemKind::Changed, cause: e.to_string() });
                return Ok(());
            }
        }
        if let (Some(signature), Some(cache)) = (ready.signature, &mut self.cache) {
            let seen = Seen { signature, entry: encoded, list: ready.list };
            if cache.push(&ready.path, &seen).is_err() {
                tracing::warn!(path = %self.cache_path.display(), "the stat cache cannot be written");
                self.cache.take().map(Writer::abandon);
            }
        }
        Ok(())
    }

    /// Delivers what the absent pages and lists refer to, and registers them.
    fn register(&mut self, sealer: &mut Sealer) -> Result<()> {
        self.batch.ask(sealer)?;
        let own = self.batch.take_groups();
        let waiting: Vec<_> = self.groups.iter().map(|(_, group)| group.clone()).chain(own.iter().cloned()).collect();
        self.uploader.deliver(&waiting, sealer)?;
        self.headers.extend(self.batch.take_headers());
        self.uploader.register(std::mem::take(&mut self.headers))?;
        self.uploader.release(own);
        while self.groups.front().is_some_and(|(seq, _)| *seq < self.complete) {
            self.uploader.release(self.groups.pop_front().map(|(_, group)| group));
        }
        Ok(())
    }

    /// Closes the manifest. All its pages are registered when this returns.
    pub fn finish(mut self, sealer: &mut Sealer) -> Result<Tree> {
        assert!(self.waiting.is_empty(), "jobs without their predecessors");
        let map = std::mem::replace(&mut self.map, MapBuilder::new(self.uploader.keys(), &DomainRecord::default()));
        let pages = &mut self.pages;
        let root = map.finish(&mut |page| pages.push(page));
        for page in std::mem::take(&mut self.pages) {
            self.batch.built(page, sealer)?;
        }
        self.register(sealer)?;
        let groups = std::mem::take(&mut self.groups);
        self.uploader.release(groups.into_iter().map(|(_, group)| group));
        Ok(Tree { root, problems: self.problems, cache: self.cache })
    }
}

fn hardlink(mut entry: Entry, first: Vec<u8>) -> Entry {
    entry.size = 0;
    entry.content = cas_core::manifest::Content::None;
    if entry.file_type == FileType::File {
        entry.hardlink = Some(first);
    }
    entry
}

fn damaged_cache(path: &std::path::Path, cause: cas_core::codec::FormatError) -> ClientError {
    ClientError::Format { what: format!("the stat cache {}", path.display()), cause }
}
