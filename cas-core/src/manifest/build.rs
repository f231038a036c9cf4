//! Building a manifest: entries in, finished pages out, bottom-up, while walking in order. FORMAT §5.
//!
//! Promise: equal maps give equal roots; memory is one open page per level, whatever the number of
//! entries; a refused entry leaves the builder as it was. A page comes out only after all pages below it.

use super::border::Borders;
use super::entry::{Entry, FileType};
use super::page::{self, Totals};
use super::path::{PathError, check_path, common_prefix, compare_after, compare_paths};
use super::reference::References;
use super::view::{ContentView, EntryView};
use crate::codec::FormatError;
use crate::domain::DomainRecord;
use crate::id::{BlockId, Kind};
use crate::limits::{MAX_CHILDREN, MAX_HEIGHT, PAGE_FILL};
use crate::secret::{ContentKey, DomainKeys};

/// A page or list, ready to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltBlock {
    /// Page or list.
    pub kind: Kind,
    /// What to seal.
    pub plaintext: Vec<u8>,
    /// P.
    pub key: ContentKey,
    /// Its name.
    pub id: BlockId,
    /// The ids of its references, for the header.
    pub children: Vec<BlockId>,
}

impl BuiltBlock {
    pub(super) fn new(keys: &DomainKeys, kind: Kind, plaintext: Vec<u8>, children: Vec<BlockId>) -> Self {
        assert!(children.len() <= MAX_CHILDREN, "the fill of a page and the maximum of a list bound the children");
        let key = keys.content_key(kind, &plaintext);
        let id = keys.block_id(kind, &key, &children);
        Self { kind, plaintext, key, id, children }
    }
}

/// The top of a finished manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// P of the root page: opens the whole manifest.
    pub key: ContentKey,
    /// Its id.
    pub id: BlockId,
    /// Its level.
    pub level: u8,
    /// Entries in the manifest.
    pub entries: u64,
    /// Bytes of all files; stops at 2⁶³ − 1.
    pub bytes: u64,
}

/// Why an entry was refused. The builder is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The encoded entry breaks the format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The path is none.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The path does not come after the last one.
    #[error("the path is not after the one before it")]
    Order,
    /// The parent is missing or no directory.
    #[error("the directory it is in is missing")]
    Parent,
    /// The entry holds more bytes than the domain allows inline.
    #[error("{found} bytes stand inline, the domain allows {limit}")]
    Inline {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A hardlink must point to a path before it.
    #[error("the hardlink does not point to a path before it")]
    Hardlink,
    /// An entry with a list needs the id of that list, others have none; and one list has one id.
    #[error("the id of the list does not fit the entry")]
    ListId,
}

/// Builds one manifest.
pub struct MapBuilder {
    keys: DomainKeys,
    borders: Borders,
    inline_limit: usize,
    levels: Vec<OpenPage>,
    last_is_dir: bool,
}

impl MapBuilder {
    /// A builder for an empty manifest.
    pub fn new(keys: &DomainKeys, record: &DomainRecord) -> Self {
        Self {
            keys: keys.clone(),
            borders: Borders::of_pages(keys, record),
            inline_limit: record.inline_limit as usize,
            levels: vec![OpenPage::new(0)],
            last_is_dir: false,
        }
    }

    /// Adds the next path. `list` is the id of the list if the content is one. Finished pages go to `sink`.
    pub fn push(
        &mut self,
        path: &[u8],
        entry: &Entry,
        list: Option<BlockId>,
        sink: &mut impl FnMut(BuiltBlock),
    ) -> Result<(), BuildError> {
        self.push_encoded(path, &entry.encode(), list, sink)
    }

    /// The same with an entry that is encoded already. It is checked like one from anywhere.
    pub fn push_encoded(
        &mut self,
        path: &[u8],
        entry: &[u8],
        list: Option<BlockId>,
        sink: &mut impl FnMut(BuiltBlock),
    ) -> Result<(), BuildError> {
        let shared = common_prefix(&self.levels[0].last, path);
        self.check_place(path, shared)?;
        let view = EntryView::parse(entry)?;
        self.check_view(path, &view, list)?;
        let open = &self.levels[0];
        let in_page = if open.count == 0 { 0 } else { shared };
        if open.count > 0 && open.items_len() + page::entry_item_len(in_page, path, entry) > PAGE_FILL {
            self.close(0, sink);
        }
        let open = &mut self.levels[0];
        let in_page = if open.count == 0 { 0 } else { shared };
        page::put_entry_item(&mut open.plaintext, in_page, path, entry);
        open.take_references(&self.keys, &view, list);
        open.added(Totals { entries: 1, bytes: view.size });
        open.set_last(path, shared);
        self.last_is_dir = view.file_type == FileType::Directory;
        if self.borders.is_border(0, path) {
            self.close(0, sink);
        }
        Ok(())
    }

    fn check_place(&self, path: &[u8], shared: usize) -> Result<(), BuildError> {
        check_path(path)?;
        let last = &self.levels[0].last;
        if compare_after(last, path, shared).is_ge() {
            return Err(BuildError::Order);
        }
        if parent_is_known(last, self.last_is_dir, path, shared) { Ok(()) } else { Err(BuildError::Parent) }
    }

    fn check_view(&self, path: &[u8], view: &EntryView<'_>, list: Option<BlockId>) -> Result<(), BuildError> {
        if let ContentView::Inline(bytes) = view.content
            && bytes.len() > self.inline_limit
        {
            return Err(BuildError::Inline { found: bytes.len(), limit: self.inline_limit });
        }
        if view.hardlink.is_some_and(|target| compare_paths(target, path).is_ge()) {
            return Err(BuildError::Hardlink);
        }
        match (view.content, list) {
            (ContentView::List { key, .. }, Some(id)) if self.levels[0].agrees_on(key, id) => Ok(()),
            (ContentView::List { .. }, _) | (_, Some(_)) => Err(BuildError::ListId),
            (_, None) => Ok(()),
        }
    }

    /// Closes the page of a level, and those above that a border closes with it.
    fn close(&mut self, mut level: u8, sink: &mut impl FnMut(BuiltBlock)) {
        loop {
            let closed = self.levels[usize::from(level)].close(&self.keys, sink);
            level += 1;
            assert!(level < MAX_HEIGHT, "pages above level 0 hold two items at least");
            if self.levels.len() == usize::from(level) {
                self.levels.push(OpenPage::new(level));
            }
            let open = &self.levels[usize::from(level)];
            if open.count >= page::min_items(level) && open.items_len() + open.child_len(&closed) > PAGE_FILL {
                self.close(level, sink);
            }
            let open = &mut self.levels[usize::from(level)];
            open.take_child(&closed);
            if open.count < page::min_items(level) || !self.borders.is_border(level, &closed.last) {
                return;
            }
        }
    }

    /// Closes what is open. Answers the top; its page went to `sink` like all others.
    pub fn finish(mut self, sink: &mut impl FnMut(BuiltBlock)) -> Root {
        let mut level = 0;
        loop {
            let open = &mut self.levels[level];
            if open.count > 0 || open.closed == 0 {
                if open.closed == 0 {
                    return open.close(&self.keys, sink).into_root(level as u8);
                }
                self.close(level as u8, sink);
            } else if let Some(only) = open.only.take() {
                return only.into_root(level as u8);
            }
            level += 1;
        }
    }
}

/// Whether the directory of `path` is there, given the path right before it. FORMAT §5.
pub(super) fn parent_is_known(before: &[u8], before_is_dir: bool, path: &[u8], shared: usize) -> bool {
    match path.iter().rposition(|b| *b == b'/') {
        None => true,
        Some(end) if shared < end => false,
        Some(end) if before.len() == end => before_is_dir,
        Some(end) => before[end] == b'/',
    }
}

/// A page that is closed, as the level above sees it.
#[derive(Clone)]
struct ClosedPage {
    last: Vec<u8>,
    key: ContentKey,
    id: BlockId,
    totals: Totals,
}

impl ClosedPage {
    fn into_root(self, level: u8) -> Root {
        Root { key: self.key, id: self.id, level, entries: self.totals.entries, bytes: self.totals.bytes }
    }
}

/// The page of a level that still takes items.
struct OpenPage {
    level: u8,
    plaintext: Vec<u8>,
    count: u32,
    totals: Totals,
    /// The last key of this level, also when the page is empty.
    last: Vec<u8>,
    references: References,
    children: Vec<BlockId>,
    /// Pages of this level that are closed.
    closed: u64,
    /// The only one of them.
    only: Option<ClosedPage>,
}

impl OpenPage {
    fn new(level: u8) -> Self {
        let mut open = Self {
            level,
            plaintext: Vec::new(),
            count: 0,
            totals: Totals::default(),
            last: Vec::new(),
            references: References::default(),
            children: Vec::new(),
            closed: 0,
            only: None,
        };
        page::put_head(&mut open.plaintext, level);
        open
    }

    fn items_len(&self) -> usize {
        self.plaintext.len() - page::HEAD_LEN
    }

    fn added(&mut self, totals: Totals) {
        self.count += 1;
        self.totals.add(totals);
    }

    fn set_last(&mut self, key: &[u8], shared: usize) {
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
    }

    fn agrees_on(&self, list: &[u8; 32], id: BlockId) -> bool {
        let place = self.references.place(Kind::List, &ContentKey::from_bytes(*list));
        place.is_none_or(|place| self.children[place] == id)
    }

    fn take_references(&mut self, keys: &DomainKeys, view: &EntryView<'_>, list: Option<BlockId>) {
        for (kind, key) in view.references() {
            let (place, new) = self.references.add(kind, key);
            if new {
                let derived = self.references.as_slice()[place].derived_id(keys);
                self.children.push(derived.or(list).expect("lists come with their id"));
            }
        }
    }

    fn shared_with(&self, child: &ClosedPage) -> usize {
        if self.count == 0 { 0 } else { common_prefix(&self.last, &child.last) }
    }

    fn child_len(&self, child: &ClosedPage) -> usize {
        page::child_item_len(self.shared_with(child), &child.last, child.totals)
    }

    fn take_child(&mut self, child: &ClosedPage) {
        let shared = self.shared_with(child);
        page::put_child_item(&mut self.plaintext, shared, &child.last, &child.key, child.totals);
        self.references.add(Kind::Page, child.key.as_bytes());
        self.children.push(child.id);
        self.added(child.totals);
        self.set_last(&child.last, shared);
    }

    fn close(&mut self, keys: &DomainKeys, sink: &mut impl FnMut(BuiltBlock)) -> ClosedPage {
        page::set_count(&mut self.plaintext, self.count);
        let capacity = self.plaintext.len();
        let plaintext = std::mem::replace(&mut self.plaintext, Vec::with_capacity(capacity));
        page::put_head(&mut self.plaintext, self.level);
        let built = BuiltBlock::new(keys, Kind::Page, plaintext, std::mem::take(&mut self.children));
        let closed = ClosedPage { last: self.last.clone(), key: built.key.clone(), id: built.id, totals: self.totals };
        sink(built);
        self.count = 0;
        self.totals = Totals::default();
        self.references.clear();
        self.only = (self.closed == 0).then(|| closed.clone());
        self.closed += 1;
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Item, Page, sample};
    use std::collections::HashMap;

    fn pushed(paths: &[(&str, FileType)]) -> Result<(), BuildError> {
        let mut builder = MapBuilder::new(&sample::keys(), &DomainRecord::default());
        let link = Some(b"/etc".to_vec());
        for (path, file_type) in paths {
            let mut entry = Entry::new(*file_type);
            entry.link_target = link.clone().filter(|_| *file_type == FileType::Symlink);
            builder.push(path.as_bytes(), &entry, None, &mut |_| panic!("a page too early"))?;
        }
        Ok(())
    }

    #[test]
    fn every_parent_is_there_and_a_directory() {
        use FileType::{Directory, Fifo, Symlink};
        assert_eq!(
            pushed(&[("a", Directory), ("a/b", Directory), ("a/b/c", Fifo), ("a/d", Fifo), ("b", Fifo)]),
            Ok(())
        );
        for bad in [
            &[("a/b", Fifo)][..],
            &[("a", Symlink), ("a/b", Fifo)],
            &[("a", Directory), ("b", Fifo), ("b/c", Fifo)],
            &[("a", Directory), ("a/b", Fifo), ("a/b/c", Fifo)],
            &[("a", Directory), ("a/b/c", Fifo)],
            &[("a", Directory), ("ab", Directory), ("abc/d", Fifo)],
            &[("ab", Directory), ("abc/d", Fifo)],
            &[("a/b", Directory)],
        ] {
            assert_eq!(pushed(bad), Err(BuildError::Parent), "{bad:?}");
        }
    }

    #[test]
    fn out_of_order_is_refused_and_changes_nothing() {
        use FileType::{Directory, Fifo};
        assert_eq!(pushed(&[("a", Fifo), ("a", Fifo)]), Err(BuildError::Order));
        assert_eq!(pushed(&[("b", Fifo), ("a", Fifo)]), Err(BuildError::Order));
        assert_eq!(pushed(&[("a", Directory), ("a.b", Fifo), ("a/b", Fifo)]), Err(BuildError::Order));
        let build = |bad: bool| {
            let mut builder = MapBuilder::new(&sample::keys(), &DomainRecord::default());
            let fifo = Entry::new(Fifo);
            builder.push(b"b", &fifo, None, &mut |_| {}).unwrap();
            if bad {
                builder.push(b"a", &fifo, None, &mut |_| {}).unwrap_err();
                builder.push(b"c/d", &fifo, None, &mut |_| {}).unwrap_err();
                builder.push(b"c", &fifo, Some(BlockId::ZERO), &mut |_| {}).unwrap_err();
                builder.push_encoded(b"c", b"", None, &mut |_| {}).unwrap_err();
            }
            builder.push(b"c", &fifo, None, &mut |_| {}).unwrap();
            builder.finish(&mut |_| {})
        };
        assert_eq!(build(true), build(false));
    }

    #[test]
    fn what_needs_another_entry_or_the_domain_is_checked() {
        let push = |path: &str, entry: &Entry, list| {
            let mut builder = MapBuilder::new(&sample::keys(), &DomainRecord::default());
            builder.push(path.as_bytes(), entry, list, &mut |_| {})
        };
        let file = Entry::new(FileType::File);
        let inline =
            |n: usize| Entry { size: n as u64, content: super::super::Content::Inline(vec![1; n]), ..file.clone() };
        assert_eq!(push("x", &inline(512), None), Ok(()));
        assert_eq!(push("x", &inline(513), None), Err(BuildError::Inline { found: 513, limit: 512 }));
        let hardlink = Entry { hardlink: Some(b"m".to_vec()), ..file.clone() };
        assert_eq!(push("n", &hardlink, None), Ok(()));
        assert_eq!(push("m", &hardlink, None), Err(BuildError::Hardlink));
        assert_eq!(push("l", &hardlink, None), Err(BuildError::Hardlink));
        assert_eq!(push("x", &file, Some(BlockId::ZERO)), Err(BuildError::ListId));
        let content = super::super::Content::List { key: sample::key(1), level: 0 };
        let listed = Entry { size: 9, content, ..file };
        assert_eq!(push("x", &listed, None), Err(BuildError::ListId));
        assert_eq!(push("x", &listed, Some(BlockId::ZERO)), Ok(()));
        let mut builder = MapBuilder::new(&sample::keys(), &DomainRecord::default());
        builder.push(b"x", &listed, Some(BlockId::ZERO), &mut |_| {}).unwrap();
        assert_eq!(builder.push(b"y", &listed, Some(BlockId([1; 32])), &mut |_| {}), Err(BuildError::ListId));
    }

    #[test]
    fn every_page_decodes_and_its_children_come_before_it() {
        for files in [0, 1, 2, 3, 10, 400] {
            let map = sample::map(7, files);
            let (root, blocks) = sample::build(&map, &sample::small_record());
            let mut known: HashMap<BlockId, Totals> = HashMap::new();
            for block in &blocks {
                let page = Page::decode(block.plaintext.clone()).unwrap();
                assert!(page.match_children(&sample::keys(), &block.children));
                assert!(page.level() == 0 || block.children.iter().all(|id| known.contains_key(id)));
                let (mut position, mut children) = (page.start(), block.children.iter());
                while let Some(item) = page.next(&mut position) {
                    if let Item::Page { totals, .. } = item {
                        assert_eq!(known[children.next().unwrap()], totals);
                    }
                }
                known.insert(block.id, page.totals());
            }
            let top = blocks.last().unwrap();
            assert_eq!((top.id, &top.key), (root.id, &root.key));
            assert_eq!(root.entries, map.len() as u64);
            assert_eq!(root.bytes, map.values().map(|(e, _)| e.size).sum::<u64>());
            assert!(files < 400 || root.level > 3, "the tree of the test is high");
        }
    }

    #[test]
    fn the_largest_entry_fills_a_page_of_its_own() {
        let mut entry = Entry::new(FileType::Fifo);
        let len = crate::limits::MAX_ENTRY - entry.encode().len() - 4;
        entry.unknown = vec![crate::codec::UnknownField { tag: crate::codec::optional(20), value: vec![7; len] }];
        assert_eq!(entry.encode().len(), crate::limits::MAX_ENTRY);
        let name = "n".repeat(crate::limits::MAX_PATH - 1);
        let largest = (0..5).map(|n| (sample::path(&format!("{n}{name}")), (entry.clone(), None)));
        let (root, blocks) = sample::build(&largest.collect(), &DomainRecord::default());
        assert_eq!(root.entries, 5);
        for block in blocks {
            let page = Page::decode(block.plaintext).unwrap();
            assert!(page.level() > 0 || page.count() == 1);
        }
    }

    #[test]
    fn an_empty_map_is_one_empty_page() {
        let (root, blocks) = sample::build(&sample::Map::new(), &DomainRecord::default());
        assert_eq!((root.level, root.entries, blocks.len()), (0, 0, 1));
        assert_eq!(blocks[0].plaintext, [1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_edit_changes_only_the_pages_above_it() {
        let (old, record) = (sample::map(9, 3000), sample::small_record());
        let ids = |map: &sample::Map| sample::build(map, &record).1.into_iter().map(|b| b.id).collect::<Vec<_>>();
        let before = ids(&old);
        let levels = usize::from(sample::build(&old, &record).0.level) + 1;
        for n in (0..old.len()).step_by(97) {
            let path = old.keys().nth(n).unwrap().clone();
            let mut new = old.clone();
            new.get_mut(&path).unwrap().0.mode ^= 1;
            let fresh = ids(&new).into_iter().filter(|id| !before.contains(id)).count();
            assert_eq!(fresh, levels, "one page a level for {path}");
            let mut new = old.clone();
            new.insert(sample::path(&format!("{path}!")), (Entry::new(FileType::Fifo), None));
            let fresh = ids(&new).into_iter().filter(|id| !before.contains(id)).count();
            assert!(fresh <= 3 * levels, "{fresh} pages for one more entry");
        }
    }

    #[test]
    fn memory_is_one_page_per_level() {
        let (map, mut emitted) = (sample::map(4, 4000), 0);
        let mut builder = MapBuilder::new(&sample::keys(), &sample::small_record());
        for (path, (entry, list)) in &map {
            builder.push(path.as_bytes(), entry, *list, &mut |_| emitted += 1).unwrap();
            assert!(builder.levels.iter().all(|open| open.count < 64 && open.children.len() < 600));
            assert!(builder.levels.iter().all(|open| open.plaintext.len() <= page::HEAD_LEN + PAGE_FILL));
        }
        assert!(emitted > map.len() / 6 && builder.levels.len() < 24);
    }
}
