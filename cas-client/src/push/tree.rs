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
use std::collections::hash_map::Entry::{Occupied, Vacant};
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

/// Registers pages and lists in batches, once what they refer to is delivered.
struct Registrar<'a> {
    uploader: &'a Uploader,
    batch: Batch<'a>,
    headers: Vec<Vec<u8>>,
    /// Groups by the job that brought them; those before `complete` are in closed pages.
    groups: VecDeque<(u64, Arc<Group>)>,
    complete: u64,
}

impl Registrar<'_> {
    fn is_due(&self) -> bool {
        self.headers.len() >= REGISTER_HEADERS || self.groups.len() >= REGISTER_GROUPS
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
}

/// Builds the manifest of one push.
pub struct TreeBuilder<'a> {
    map: MapBuilder,
    pages: Vec<BuiltBlock>,
    registrar: Registrar<'a>,
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
        let batch = Batch::new(uploader);
        Self {
            map: MapBuilder::new(uploader.keys(), record),
            pages: Vec::new(),
            registrar: Registrar { uploader, batch, headers: Vec::new(), groups: VecDeque::new(), complete: 0 },
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
        self.registrar.headers.extend(scanned.headers);
        self.registrar.groups.extend(scanned.groups.into_iter().map(|group| (scanned.seq, group)));
        for ready in scanned.entries {
            self.entry(ready)?;
        }
        if !self.pages.is_empty() {
            self.registrar.complete = scanned.seq;
            for page in std::mem::take(&mut self.pages) {
                self.registrar.batch.built(page, sealer)?;
            }
        }
        if self.registrar.is_due() { self.registrar.register(sealer) } else { Ok(()) }
    }

    fn entry(&mut self, ready: Ready) -> Result<()> {
        let was_cached = matches!(ready.entry, ReadyEntry::Encoded(_));
        let encoded = match ready.entry {
            ReadyEntry::Encoded(bytes) => bytes,
            ReadyEntry::New(entry) => entry.encode(),
        };
        let first_link = ready.links.and_then(|key| match self.links.entry(key) {
            Occupied(first) => Some(first.get().clone()),
            Vacant(place) => {
                place.insert(ready.path.to_vec());
                None
            }
        });
        let pages = &mut self.pages;
        let mut sink = |page| pages.push(page);
        let pushed = match first_link {
            None => self.map.push_encoded(&ready.path, &encoded, ready.list, &mut sink),
            Some(first) => match Entry::decode(&encoded) {
                Ok(entry) => self.map.push(&ready.path, &hardlink(entry, first), None, &mut sink),
                Err(cause) => Err(cause.into()),
            },
        };
        match pushed {
            Ok(()) => {}
            Err(BuildError::Format(cause)) if was_cached => return Err(damaged_cache(&self.cache_path, cause)),
            Err(e) => {
                let path = PathBuf::from(String::from_utf8_lossy(&ready.path).into_owned());
                self.problems.push(Problem { path, kind: ProblemKind::Changed, cause: e.to_string() });
                return Ok(());
            }
        }
        if let Some(signature) = ready.signature {
            self.remember(&ready.path, &Seen { signature, entry: encoded, list: ready.list });
        }
        Ok(())
    }

    /// For the next push. A cache that cannot be written costs time, nothing else.
    fn remember(&mut self, path: &[u8], seen: &Seen) {
        let written = self.cache.as_mut().map(|cache| cache.push(path, seen));
        if let Some(Err(e)) = written {
            tracing::warn!(path = %self.cache_path.display(), "the stat cache cannot be written: {e}");
            if let Some(cache) = self.cache.take() {
                cache.abandon();
            }
        }
    }

    /// Closes the manifest. All its pages are registered when this returns.
    pub fn finish(self, sealer: &mut Sealer) -> Result<Tree> {
        let Self { map, mut pages, mut registrar, waiting, problems, cache, .. } = self;
        assert!(waiting.is_empty(), "jobs without their predecessors");
        let root = map.finish(&mut |page| pages.push(page));
        for page in pages {
            registrar.batch.built(page, sealer)?;
        }
        registrar.register(sealer)?;
        let groups = registrar.groups.into_iter().map(|(_, group)| group);
        registrar.uploader.release(groups);
        Ok(Tree { root, problems, cache })
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
