//! Walking the tree of pages, in order, opening only what is asked for. Cursors and diffs are built on it.
//!
//! Promise: a page is used only if it fits: its level, its last path and totals are those its parent says, its
//! keys come after everything before it, its borders are where the domain puts them, and the child ids of its
//! header are its references. Otherwise the walk goes on behind it. Memory is one page per level.

use super::border::Borders;
use super::entry::FileType;
use super::page::{self, Item, Page, Position, Totals};
use super::path::compare_paths;
use super::read::Manifest;
use super::source::{BlockSource, OpenedBlock, ReadCause, require};
use super::view::EntryView;
use crate::id::{BlockId, Kind};
use crate::limits::PAGE_FILL;
use crate::secret::ContentKey;
use std::error::Error;

/// What could not be read: every path after `after` up to `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last path before it; `None` at the beginning.
    pub after: Option<Vec<u8>>,
    /// The last path in it; `None` if it reaches to the end.
    pub until: Option<Vec<u8>>,
    /// How much is missing; `None` if nobody knows.
    pub totals: Option<Totals>,
}

/// A part of a manifest that cannot be read. The rest can.
#[derive(Debug, thiserror::Error)]
#[error("page {block} of the manifest cannot be used")]
pub struct ReadError<E: Error + 'static> {
    /// The page.
    pub block: BlockId,
    /// Which paths are missing.
    pub gap: Box<Gap>,
    /// Why.
    #[source]
    pub cause: Box<ReadCause<E>>,
}

/// A page that is not open.
#[derive(Debug, Clone)]
pub(super) struct Closed {
    pub id: BlockId,
    pub key: ContentKey,
    /// What its parent says; `None` for the root.
    told: Option<Told>,
}

#[derive(Debug, Clone)]
struct Told {
    level: u8,
    last: Vec<u8>,
    totals: Totals,
}

impl Closed {
    pub fn root(id: BlockId, key: ContentKey) -> Self {
        Self { id, key, told: None }
    }

    /// Its level; the root may have any.
    pub fn level(&self) -> u8 {
        self.told.as_ref().map_or(u8::MAX, |told| told.level)
    }

    /// What stands for it as a whole: itself, what its parent says of it, and the page before it.
    pub fn fingerprint(&self, before: Option<BlockId>) -> [u8; 16] {
        let mut hash = crate::kdf::deriver("page in its place");
        hash.update(self.id.as_bytes()).update(self.key.as_bytes());
        hash.update(before.unwrap_or(BlockId::ZERO).as_bytes());
        if let Some(told) = &self.told {
            hash.update(&[told.level]).update(&told.totals.entries.to_le_bytes());
            hash.update(&told.totals.bytes.to_le_bytes()).update(&told.last);
        }
        hash.finalize().as_bytes()[..16].try_into().expect("16 of 32")
    }

    /// Its last path, if known.
    pub fn last(&self) -> Option<&[u8]> {
        self.told.as_ref().map(|told| &told.last[..])
    }
}

/// What comes next.
pub(super) enum Head<'a> {
    End,
    Page(&'a Closed),
    Entry { path: &'a [u8], entry: &'a [u8] },
}

enum State {
    End,
    Page(Closed),
    Entry,
}

struct OpenPage {
    id: BlockId,
    page: Page,
    position: Position,
    children: Vec<BlockId>,
}

/// How the page before on the same level ended.
struct Tail {
    id: BlockId,
    last: Vec<u8>,
    items_len: usize,
    /// Whether it held enough items to close at all.
    may_close: bool,
    ends_at_border: bool,
}

/// A walk over one manifest.
pub(super) struct Walker<'m, S> {
    manifest: &'m Manifest<S>,
    borders: Borders,
    stack: Vec<OpenPage>,
    state: State,
    path: Vec<u8>,
    entry: Vec<u8>,
    after: Option<Vec<u8>>,
    tails: Vec<Option<Tail>>,
    /// A page that was passed unopened and whose tails will be needed if what comes next is opened.
    verified: Option<Closed>,
}

impl<'m, S: BlockSource> Walker<'m, S> {
    /// Before everything; nothing is opened.
    pub fn new(manifest: &'m Manifest<S>) -> Self {
        Self {
            manifest,
            borders: Borders::of_pages(&manifest.keys, &manifest.record),
            stack: Vec::new(),
            state: State::Page(manifest.root()),
            path: Vec::new(),
            entry: Vec::new(),
            after: None,
            tails: Vec::new(),
            verified: None,
        }
    }

    /// What comes next.
    pub fn head(&self) -> Head<'_> {
        match &self.state {
            State::End => Head::End,
            State::Page(closed) => Head::Page(closed),
            State::Entry => Head::Entry { path: &self.path, entry: &self.entry },
        }
    }

    /// The path before the head; everything up to it was passed.
    pub fn after(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }

    /// The page that holds the head: its id, itself, and the child ids of its header.
    pub fn page(&self) -> Option<(BlockId, &Page, &[BlockId])> {
        self.stack.last().map(|open| (open.id, &open.page, &open.children[..]))
    }

    /// The pages that hold the head, at all levels.
    pub fn open_pages(&self) -> impl Iterator<Item = BlockId> {
        self.stack.iter().map(|open| open.id)
    }

    /// The page right before the head on this level, if it is known.
    pub fn page_before(&self, level: u8) -> Option<BlockId> {
        let passed = self.verified.as_ref().filter(|passed| passed.level() == level).map(|passed| passed.id);
        passed.or_else(|| Some(self.tails.get(usize::from(level))?.as_ref()?.id))
    }

    /// Passes the head, a page that was verified before: what comes next is held against how it ends.
    pub fn pass_verified(&mut self) {
        let passed = match &self.state {
            State::Page(closed) => closed.clone(),
            _ => panic!("only pages are passed unopened"),
        };
        self.advance();
        self.verified = Some(passed);
    }

    /// Looks how the page ends that was passed last, if nothing was opened since. Answers its last entry's path and whether that is a
    /// directory.
    pub fn catch_up(&mut self) -> Option<(Vec<u8>, bool)> {
        let mut next = self.verified.take();
        while let Some(closed) = next.take() {
            let OpenPage { id, page, mut position, children } = self.decode(&closed).ok()?;
            let mut last_is_dir = false;
            while let Some(item) = page.next(&mut position) {
                match item {
                    Item::Entry { entry, .. } => {
                        last_is_dir = EntryView::parse(entry).is_ok_and(|view| view.file_type == FileType::Directory);
                    }
                    Item::Page { last, key, totals } => {
                        let told = Told { level: page.level() - 1, last: last.to_vec(), totals };
                        next = Some(Closed { id: *children.last()?, key, told: Some(told) });
                    }
                }
            }
            self.set_tail(id, &page);
            if page.level() == 0 {
                return Some((page.last().to_vec(), last_is_dir));
            }
        }
        None
    }

    /// How many pages are open, one per level.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Ids of the pages beside the head that come after it, up to the first whose last path is not wanted.
    pub fn coming(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<BlockId> {
        let Some(open) = self.stack.last() else { return Vec::new() };
        let mut position = open.position.clone();
        let place = (open.page.count() - position.left()) as usize;
        let mut ids = Vec::new();
        for id in open.children.get(place..).unwrap_or_default() {
            ids.push(*id);
            match open.page.next(&mut position) {
                Some(Item::Page { last, .. }) if wanted(last) => {}
                _ => break,
            }
        }
        ids
    }

    /// Starts again.
    pub fn restart(&mut self) {
        self.stack.clear();
        self.tails.clear();
        self.after = None;
        self.verified = None;
        self.state = State::Page(self.manifest.root());
    }

    /// Passes the head; a page with all that is in it.
    pub fn advance(&mut self) {
        match std::mem::replace(&mut self.state, State::End) {
            State::End => return,
            State::Entry => self.after.get_or_insert_default().clone_from(&self.path),
            State::Page(closed) => {
                self.forget_tails(closed.level());
                match closed.told {
                    Some(told) => self.after = Some(told.last),
                    None => return,
                }
            }
        }
        self.step();
    }

    /// Opens the page that is the head; its first item is the next head. If it cannot be used, it is passed.
    pub fn descend(&mut self) -> Result<(), ReadError<S::Error>> {
        let State::Page(closed) = std::mem::replace(&mut self.state, State::End) else {
            panic!("only pages are opened");
        };
        match self.open(&closed) {
            Ok(open) => {
                self.stack.push(open);
                self.step();
                Ok(())
            }
            Err(cause) => {
                let (until, totals) = closed.told.as_ref().map(|t| (t.last.clone(), t.totals)).unzip();
                let gap = Box::new(Gap { after: self.after.clone(), until, totals });
                let block = closed.id;
                self.state = State::Page(closed);
                self.advance();
                Err(ReadError { block, gap, cause: Box::new(cause) })
            }
        }
    }

    /// Takes the next item of the innermost page that has one.
    fn step(&mut self) {
        while let Some(open) = self.stack.last_mut() {
            let place = (open.page.count() - open.position.left()) as usize;
            match open.page.next(&mut open.position) {
                Some(Item::Entry { path, entry }) => {
                    self.path.clear();
                    self.path.extend_from_slice(path);
                    self.entry.clear();
                    self.entry.extend_from_slice(entry);
                    self.state = State::Entry;
                    return;
                }
                Some(Item::Page { last, key, totals }) => {
                    let told = Told { level: open.page.level() - 1, last: last.to_vec(), totals };
                    self.state = State::Page(Closed { id: open.children[place], key, told: Some(told) });
                    return;
                }
                None => self.leave(),
            }
        }
        self.state = State::End;
    }

    fn leave(&mut self) {
        if let Some(OpenPage { id, page, .. }) = self.stack.pop() {
            self.set_tail(id, &page);
        }
    }

    fn set_tail(&mut self, id: BlockId, page: &Page) {
        let level = page.level();
        let tail = Tail {
            id,
            last: page.last().to_vec(),
            items_len: page.items_len(),
            may_close: page.count() >= page::min_items(level),
            ends_at_border: self.borders.is_border(level, page.last()),
        };
        let level = usize::from(level);
        if self.tails.len() <= level {
            self.tails.resize_with(level + 1, || None);
        }
        self.tails[level] = Some(tail);
    }

    fn forget_tails(&mut self, level: u8) {
        self.tails.iter_mut().take(usize::from(level) + 1).for_each(|tail| *tail = None);
    }

    fn open(&mut self, closed: &Closed) -> Result<OpenPage, ReadCause<S::Error>> {
        let open = self.decode(closed)?;
        self.check_place(closed, &open.page)?;
        require(open.page.match_children(&self.manifest.keys, &open.children), "the child ids of its references")?;
        self.check_borders(&open.page)?;
        Ok(open)
    }

    fn decode(&self, closed: &Closed) -> Result<OpenPage, ReadCause<S::Error>> {
        let opened = self.manifest.source.open(Kind::Page, &closed.id, &closed.key).map_err(ReadCause::Source)?;
        let OpenedBlock { plaintext, children } = opened;
        let page = Page::decode(plaintext).map_err(ReadCause::Format)?;
        let position = page.start();
        Ok(OpenPage { id: closed.id, page, position, children })
    }

    fn check_place(&self, closed: &Closed, page: &Page) -> Result<(), ReadCause<S::Error>> {
        match &closed.told {
            None => require(page.level() == 0 || page.count() > 1, "a root with two pages at least")?,
            Some(told) => {
                require(page.level() == told.level, "a page of the level below")?;
                require(page.count() > 0, "a page with entries")?;
                require(page.last() == told.last, "the last path that its parent says")?;
                require(page.totals() == told.totals, "as many entries and bytes as its parent says")?;
            }
        }
        // Above level 0 the first key is the last path of a page below, which is after everything, too.
        let after = |after: &Vec<u8>| page.count() == 0 || compare_paths(after, page.first()).is_lt();
        require(self.after.as_ref().is_none_or(after), "paths after those before")
    }

    fn check_borders(&mut self, page: &Page) -> Result<(), ReadCause<S::Error>> {
        let level = page.level();
        let mut position = page.start();
        for n in 1..page.count() {
            let (Some(Item::Entry { path: key, .. }) | Some(Item::Page { last: key, .. })) = page.next(&mut position)
            else {
                unreachable!("a page has as many items as it says")
            };
            let may_close = n >= page::min_items(level);
            require(!(may_close && self.borders.is_border(level, key)), "a page that ends at its first border")?;
        }
        let Some(tail) = self.tails.get_mut(usize::from(level)).and_then(Option::take) else { return Ok(()) };
        let overflows = tail.items_len + page.first_len_after(&tail.last) > PAGE_FILL;
        require(tail.may_close && (tail.ends_at_border || overflows), "a page before that ends at a border or is full")
    }
}
