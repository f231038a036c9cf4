//! Reading a manifest: in order, from a place, below a directory, one path. FORMAT §5.
//!
//! Promise: entries come in strictly ascending order, each with its parent directory in the manifest, so that
//! nothing can be restored through a link. A part that cannot be read is reported with its range of
//! paths, and reading goes on behind it.

use super::build::parent_is_known;
use super::entry::{Content, Entry};
use super::page::Totals;
use super::path::{ManifestPath, ancestors_of, common_prefix, compare_paths, is_below};
use super::source::{BlockSource, ReadCause, require};
use super::view::{ContentView, EntryView};
use super::walk::{Closed, Gap, Head, ReadError, Walker};
use crate::domain::DomainRecord;
use crate::id::{BlockId, Kind};
use crate::secret::{ContentKey, DomainKeys};

/// One manifest, to be read.
pub struct Manifest<S> {
    pub(super) source: S,
    pub(super) keys: DomainKeys,
    pub(super) record: DomainRecord,
    id: BlockId,
    key: ContentKey,
}

/// A path, its entry, and the ids of the blocks it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryWithIds {
    /// The path.
    pub path: ManifestPath,
    /// What the manifest says of it.
    pub entry: Entry,
    /// The ids of [`Entry::references`], in that order.
    pub ids: Vec<BlockId>,
}

impl EntryWithIds {
    /// The id of its list, if the content is one.
    pub fn list_id(&self) -> Option<BlockId> {
        matches!(self.entry.content, Content::List { .. }).then(|| self.ids[0])
    }

    /// The id of the block of its extended attributes, if there is one.
    pub fn xattr_id(&self) -> Option<BlockId> {
        self.entry.xattr_block.as_ref().and(self.ids.last().copied())
    }
}

impl<S: BlockSource> Manifest<S> {
    /// The manifest with this root page. Opens nothing yet.
    pub fn new(source: S, keys: &DomainKeys, record: &DomainRecord, id: BlockId, key: ContentKey) -> Self {
        Self { source, keys: keys.clone(), record: record.clone(), id, key }
    }

    pub(super) fn root(&self) -> Closed {
        Closed::root(self.id, self.key.clone())
    }

    /// Where the blocks come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// How much stands in it.
    pub fn totals(&self) -> Result<Totals, ReadError<S::Error>> {
        let mut walker = Walker::new(self);
        walker.descend()?;
        Ok(walker.page().map(|(_, page, _)| page.totals()).unwrap_or_default())
    }

    /// All entries in order.
    pub fn cursor(&self) -> Cursor<'_, S> {
        Cursor::new(self, None)
    }

    /// Everything below a directory, at any depth, without the directory itself.
    pub fn below(&self, dir: &ManifestPath) -> Cursor<'_, S> {
        Cursor::new(self, Some(dir.as_bytes().to_vec()))
    }

    /// What is directly in a directory; `None` is the top.
    pub fn children(&self, dir: Option<&ManifestPath>) -> Cursor<'_, S> {
        Cursor { shallow: true, ..Cursor::new(self, dir.map(|dir| dir.as_bytes().to_vec())) }
    }

    /// The entry of one path. Says nothing about its parents.
    pub fn lookup(&self, path: &ManifestPath) -> Result<Option<EntryWithIds>, ReadError<S::Error>> {
        self.find(path.as_bytes())
    }

    fn find(&self, wanted: &[u8]) -> Result<Option<EntryWithIds>, ReadError<S::Error>> {
        let mut walker = Walker::new(self);
        let target = Target::At(wanted.to_vec());
        loop {
            match walker.head() {
                Head::End => return Ok(None),
                Head::Page(page) if page.last().is_some_and(|last| target.is_after(last)) => walker.advance(),
                Head::Page(_) => walker.descend()?,
                Head::Entry { path, .. } if target.is_after(path) => walker.advance(),
                Head::Entry { path, .. } if path != wanted => return Ok(None),
                Head::Entry { .. } => return take_entry(self, &walker).map(Some),
            }
        }
    }
}

/// A place in the order of paths.
#[derive(Debug, Clone)]
enum Target {
    /// The first path not before this one.
    At(Vec<u8>),
    /// The first path behind this one and all below it.
    Behind(Vec<u8>),
}

impl Target {
    /// Whether the target lies behind `path`.
    fn is_after(&self, path: &[u8]) -> bool {
        match self {
            Self::At(at) => compare_paths(path, at).is_lt(),
            Self::Behind(dir) => compare_paths(path, dir).is_le() || is_below(path, dir),
        }
    }
}

/// Reads entries in order. Each `Err` names a range of paths that is missing; the iteration goes on behind it.
pub struct Cursor<'m, S> {
    manifest: &'m Manifest<S>,
    walker: Walker<'m, S>,
    /// Only what is below this directory.
    within: Option<Vec<u8>>,
    /// Not what is below the directories that come.
    shallow: bool,
    /// Where to go first.
    target: Option<Target>,
    /// Of how many open pages the source knows what comes next.
    expected: usize,
    parents: Parents,
}

/// What is known of the directories that the next entry may lie in.
#[derive(Default)]
pub(super) struct Parents {
    /// The last entry that was read.
    before: Vec<u8>,
    before_is_dir: bool,
    /// Since then a seek: what is before the target was not seen.
    sought: Option<Target>,
    /// Since then a gap up to here.
    gap_until: Option<Vec<u8>>,
}

impl<'m, S: BlockSource> Cursor<'m, S> {
    fn new(manifest: &'m Manifest<S>, within: Option<Vec<u8>>) -> Self {
        let (walker, parents) = (Walker::new(manifest), Parents::default());
        let mut cursor = Self { manifest, walker, within, shallow: false, target: None, expected: 0, parents };
        if let Some(dir) = cursor.within.clone() {
            cursor.go(Target::At(dir));
        }
        cursor
    }

    /// Goes to the first entry whose path is not before `path`, forwards or backwards.
    pub fn seek(&mut self, path: &ManifestPath) {
        let before = |dir: &&Vec<u8>| compare_paths(path.as_bytes(), dir).is_lt();
        let start = self.within.as_ref().filter(before).map_or(path.as_bytes(), |dir| dir);
        self.go(Target::At(start.to_vec()));
    }

    /// Goes behind everything below `dir`, and behind `dir` itself.
    pub fn skip_below(&mut self, dir: &ManifestPath) {
        self.go(Target::Behind(dir.as_bytes().to_vec()));
    }

    fn go(&mut self, target: Target) {
        if self.walker.after().is_some_and(|after| !target.is_after(after)) || matches!(self.walker.head(), Head::End) {
            self.walker.restart();
            self.parents = Parents::default();
        }
        self.parents.sought = Some(target.clone());
        self.target = Some(target);
    }

    /// Moves to the next entry of interest; false at the end.
    fn find_next(&mut self) -> Result<bool, ReadError<S::Error>> {
        loop {
            let target = self.target.as_ref();
            let before_target = |path: &[u8]| target.is_some_and(|target| target.is_after(path));
            match self.walker.head() {
                Head::End => return Ok(false),
                Head::Page(page) if page.last().is_some_and(before_target) => self.walker.advance(),
                Head::Page(_) if self.is_over() => return Ok(false),
                Head::Page(_) => self.descend()?,
                Head::Entry { path, .. } if before_target(path) => self.walker.advance(),
                Head::Entry { path, .. } => match &self.within {
                    Some(dir) if path == dir => self.pass_entry().map(drop)?,
                    Some(dir) => return Ok(is_below(path, dir)),
                    None => return Ok(true),
                },
            }
        }
    }

    /// Whether everything from here on is behind the directory.
    fn is_over(&self) -> bool {
        let behind = |dir: &Vec<u8>| {
            let after = self.walker.after();
            after.is_some_and(|after| compare_paths(after, dir).is_gt() && !is_below(after, dir))
        };
        self.within.as_ref().is_some_and(behind)
    }

    fn descend(&mut self) -> Result<(), ReadError<S::Error>> {
        self.expect();
        let opened = self.walker.descend();
        if let Err(error) = &opened {
            self.parents.lost_until(error.gap.until.as_deref());
        }
        opened
    }

    /// Tells the source once per open page what will be read from it.
    fn expect(&mut self) {
        let depth = self.walker.depth();
        self.expected = self.expected.min(depth);
        if self.expected < depth && !self.shallow {
            let within = |path: &[u8]| self.within.as_ref().is_none_or(|dir| is_below(path, dir));
            self.manifest.source.expect(Kind::Page, &self.walker.coming(within));
            self.expected = depth;
        }
    }

    fn pass_entry(&mut self) -> Result<EntryWithIds, ReadError<S::Error>> {
        let taken = self.checked();
        self.walker.advance();
        self.target = None;
        if let Ok(EntryWithIds { path, entry, .. }) = &taken {
            self.parents.saw(path.as_bytes(), entry.is_dir());
        }
        taken
    }

    fn checked(&self) -> Result<EntryWithIds, ReadError<S::Error>> {
        let taken = take_entry(self.manifest, &self.walker)?;
        if self.parents.check(self.manifest, taken.path.as_bytes()) {
            return Ok(taken);
        }
        Err(refused(&self.walker, ReadCause::Broken { expected: "the directory it is in" }))
    }
}

impl<S: BlockSource> Iterator for Cursor<'_, S> {
    type Item = Result<EntryWithIds, ReadError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = match self.find_next() {
            Ok(true) => self.pass_entry(),
            Ok(false) => return None,
            Err(error) => Err(error),
        };
        if let Ok(EntryWithIds { path, entry, .. }) = &item
            && self.shallow
            && entry.is_dir()
        {
            self.skip_below(path);
        }
        Some(item)
    }
}

impl Parents {
    pub fn saw(&mut self, path: &[u8], is_dir: bool) {
        let shared = common_prefix(&self.before, path);
        self.before.truncate(shared);
        self.before.extend_from_slice(&path[shared..]);
        self.before_is_dir = is_dir;
        self.sought = None;
        self.gap_until = None;
    }

    /// What comes up to here could not be read; `None` to the end.
    pub fn lost_until(&mut self, until: Option<&[u8]>) {
        self.gap_until = until.map(<[u8]>::to_vec);
    }

    /// Whether the directories of `path` are there, or lie in a gap.
    pub fn check<S: BlockSource>(&self, manifest: &Manifest<S>, path: &[u8]) -> bool {
        if self.sought.is_none() && self.gap_until.is_none() {
            return parent_is_known(&self.before, self.before_is_dir, path, common_prefix(&self.before, path));
        }
        ancestors_of(path).all(|dir| {
            if !self.before.is_empty() && compare_paths(dir, &self.before).is_le() {
                // `before` lies between `dir` and what is in it, so it is in it, too, or the same.
                return dir != self.before || self.before_is_dir;
            }
            if self.sought.as_ref().is_some_and(|target| target.is_after(dir)) {
                return manifest.find(dir).map_or(true, |found| found.is_some_and(|found| found.entry.is_dir()));
            }
            self.gap_until.as_ref().is_some_and(|until| compare_paths(dir, until).is_le())
        })
    }
}

/// The entry at the head, checked as far as it needs no other entry.
pub(super) fn take_entry<S: BlockSource>(
    manifest: &Manifest<S>,
    walker: &Walker<'_, S>,
) -> Result<EntryWithIds, ReadError<S::Error>> {
    let Head::Entry { path, entry } = walker.head() else { panic!("only entries are taken") };
    let (_, page, children) = walker.page().expect("an entry stands in a page");
    let view = EntryView::parse(entry).expect("checked with its page");
    check_view(path, &view, &manifest.record).map_err(|cause| refused(walker, cause))?;
    let entry = view.to_entry();
    let place = |(kind, key): (Kind, &ContentKey)| page.place_of(kind, key).expect("references of the page");
    let ids = entry.references().map(|reference| children[place(reference)]).collect();
    Ok(EntryWithIds { path: ManifestPath::from_checked(path), ids, entry })
}

fn check_view<E: std::error::Error>(
    path: &[u8],
    view: &EntryView<'_>,
    record: &DomainRecord,
) -> Result<(), ReadCause<E>> {
    if let ContentView::Inline(bytes) = view.content {
        require(bytes.len() <= record.inline_limit as usize, "no more bytes inline than the domain allows")?;
    }
    let before = |target: &[u8]| compare_paths(target, path).is_lt();
    require(view.hardlink.is_none_or(before), "a hardlink to a path before it")
}

/// The entry at the head is not used.
pub(super) fn refused<S: BlockSource>(walker: &Walker<'_, S>, cause: ReadCause<S::Error>) -> ReadError<S::Error> {
    let Head::Entry { path, entry } = walker.head() else { panic!("only entries are refused") };
    let bytes = EntryView::parse(entry).map_or(0, |view| view.size);
    let totals = Some(Totals { entries: 1, bytes });
    let gap = Box::new(Gap { after: walker.after().map(<[u8]>::to_vec), until: Some(path.to_vec()), totals });
    let (block, ..) = walker.page().expect("an entry stands in a page");
    ReadError { block, gap, cause: Box::new(cause) }
}

#[cfg(test)]
mod tests;
