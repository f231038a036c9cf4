//! Pages: runs of entries, and above them runs of pages, as bytes. FORMAT §5.
//!
//! Promise: what decodes is canonical in itself: ascending keys, the longest shared prefixes, every entry
//! by the rules, nothing trailing; it encodes again to the same bytes. Memory follows the bytes, never a
//! count that stands in them. Borders need the domain's keys: they are checked by the walker.

use super::path::{check_path, common_prefix, compare_after};
use super::piece::{MAX_FILE, read_key};
use super::reference::{Reference, References};
use super::view::EntryView;
use crate::codec::{FormatError, Reader, put_bytes, put_varint, varint_len};
use crate::id::{BlockId, Kind};
use crate::limits::{MAX_ENTRY, MAX_HEIGHT, MAX_PAGE, MAX_PATH, PAGE_FILL};
use crate::secret::{ContentKey, DomainKeys};

pub(super) const VERSION: u8 = 1;
pub(super) const HEAD_LEN: usize = 1 + 1 + 4;

/// How many items a page of this level holds at least before it may close; only the last of a level has fewer.
pub(super) const fn min_items(level: u8) -> u32 {
    if level == 0 { 1 } else { 2 }
}

/// How much stands below a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Entries.
    pub entries: u64,
    /// Bytes of files; stops at 2⁶³ − 1.
    pub bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: Totals) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes).min(MAX_FILE);
    }
}

/// A page, checked.
#[derive(Debug)]
pub struct Page {
    bytes: Vec<u8>,
    level: u8,
    count: u32,
    totals: Totals,
    first: Vec<u8>,
    last: Vec<u8>,
    references: References,
}

/// What a page holds.
#[derive(Debug)]
pub enum Item<'a> {
    /// An entry, on level 0.
    Entry {
        /// Its path.
        path: &'a [u8],
        /// Encoded.
        entry: &'a [u8],
    },
    /// A page, above.
    Page {
        /// The last path below it.
        last: &'a [u8],
        /// P.
        key: ContentKey,
        /// What stands below it.
        totals: Totals,
    },
}

/// A place in a page.
#[derive(Debug, Clone)]
pub struct Position {
    at: usize,
    left: u32,
    key: Vec<u8>,
}

impl Position {
    /// How many items are still to come.
    pub fn left(&self) -> u32 {
        self.left
    }
}

impl Page {
    /// Reads and checks a page.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, FormatError> {
        let mut page = Self {
            level: 0,
            count: 0,
            totals: Totals::default(),
            first: Vec::new(),
            last: Vec::new(),
            references: References::default(),
            bytes: Vec::new(),
        };
        page.check(&bytes)?;
        page.bytes = bytes;
        Ok(page)
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let mut r = Reader::new("page", bytes);
        if bytes.len() > MAX_PAGE {
            return Err(r.error("at most 128 KiB"));
        }
        r.expect(&[VERSION], "version 1")?;
        self.level = r.u8()?;
        self.count = r.u32()?;
        if self.level >= MAX_HEIGHT {
            return Err(r.error("a level below 32"));
        }
        if self.count == 0 && self.level > 0 {
            return Err(r.error("at least one item above level 0"));
        }
        for n in 0..self.count {
            self.check_item(&mut r, n)?;
        }
        if self.count > min_items(self.level) && r.offset() - HEAD_LEN > PAGE_FILL {
            return Err(r.error("items of at most 64 KiB"));
        }
        r.finish()
    }

    fn check_item(&mut self, r: &mut Reader<'_>, n: u32) -> Result<(), FormatError> {
        let (shared, suffix) = read_key_parts(r)?;
        if shared > self.last.len() {
            return Err(r.error("a prefix of the key before"));
        }
        let before = &self.last;
        if before.get(shared).is_some_and(|next| suffix.first() == Some(next)) {
            return Err(r.error("the longest common prefix"));
        }
        if shared + suffix.len() > MAX_PATH {
            return Err(r.error("a path of at most 16 KiB"));
        }
        // Compared from the first byte that differs; both slices begin there.
        if n > 0 && compare_after(&before[shared..], suffix, 0).is_ge() {
            return Err(r.error("ascending keys"));
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(suffix);
        check_path(&self.last).map_err(|e| r.error(e.expected))?;
        if n == 0 {
            self.first.clone_from(&self.last);
        }
        if self.level == 0 { self.check_entry(r) } else { self.check_child(r) }
    }

    fn check_entry(&mut self, r: &mut Reader<'_>) -> Result<(), FormatError> {
        let at = r.error("an entry by the rules");
        let view = EntryView::parse(r.bytes(MAX_ENTRY)?).map_err(|inner| FormatError {
            what: "entry in page",
            at: at.at + inner.at,
            expected: inner.expected,
        })?;
        for (kind, key) in view.references() {
            self.references.add(kind, key);
        }
        self.totals.add(Totals { entries: 1, bytes: view.size });
        Ok(())
    }

    fn check_child(&mut self, r: &mut Reader<'_>) -> Result<(), FormatError> {
        let (key, totals) = read_child(r)?;
        if totals.entries == 0 || totals.bytes > MAX_FILE {
            return Err(r.error("a page with entries, and bytes below 2^63"));
        }
        let (_, new) = self.references.add(Kind::Page, key);
        if !new {
            return Err(r.error("pages that differ"));
        }
        self.totals.add(totals);
        Ok(())
    }

    /// Its level; 0 holds entries.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// How many items it holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What stands below it.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Its first key; empty in an empty page.
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// Its last key; empty in an empty page.
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of all items.
    pub(super) fn items_len(&self) -> usize {
        self.bytes.len() - HEAD_LEN
    }

    /// Bytes that the first item would have taken in a page that ends with `before`.
    pub(super) fn first_len_after(&self, before: &[u8]) -> usize {
        let mut r = Reader::new("page", &self.bytes[HEAD_LEN..]);
        let mut value = || {
            read_key_parts(&mut r)?;
            let start = r.offset();
            if self.level == 0 {
                r.bytes(MAX_ENTRY).map(drop)?
            } else {
                read_child(&mut r).map(drop)?
            }
            Ok::<_, FormatError>(r.offset() - start)
        };
        let value = value().expect("checked when decoded");
        let shared = common_prefix(before, &self.first);
        key_len(shared, self.first.len() - shared) + value
    }

    /// Distinct references in order of first appearance.
    pub fn references(&self) -> &[Reference] {
        self.references.as_slice()
    }

    /// The place of a reference among them.
    pub(super) fn place_of(&self, kind: Kind, key: &ContentKey) -> Option<usize> {
        self.references.place(kind, key)
    }

    /// Whether the child ids of its header are those of its references, as far as that can be told without opening
    /// them: all of them in number, data blocks by name.
    pub fn match_children(&self, keys: &DomainKeys, children: &[BlockId]) -> bool {
        self.references.match_children(keys, children)
    }

    /// Before the first item.
    pub fn start(&self) -> Position {
        Position { at: HEAD_LEN, left: self.count, key: Vec::new() }
    }

    /// The item at a place, which moves on.
    pub fn next<'a>(&'a self, position: &'a mut Position) -> Option<Item<'a>> {
        position.left = position.left.checked_sub(1)?;
        let mut r = Reader::new("page", &self.bytes[position.at..]);
        let item = self.read_item(&mut r, &mut position.key).expect("checked when decoded");
        position.at += r.offset();
        Some(match item {
            RawItem::Entry(entry) => Item::Entry { path: &position.key, entry },
            RawItem::Page(key, totals) => Item::Page { last: &position.key, key: ContentKey::from_bytes(*key), totals },
        })
    }

    fn read_item<'a>(&self, r: &mut Reader<'a>, key: &mut Vec<u8>) -> Result<RawItem<'a>, FormatError> {
        let (shared, suffix) = read_key_parts(r)?;
        key.truncate(shared);
        key.extend_from_slice(suffix);
        if self.level == 0 {
            return Ok(RawItem::Entry(r.bytes(MAX_ENTRY)?));
        }
        let (key, totals) = read_child(r)?;
        Ok(RawItem::Page(key, totals))
    }
}

enum RawItem<'a> {
    Entry(&'a [u8]),
    Page(&'a [u8; 32], Totals),
}

fn read_key_parts<'a>(r: &mut Reader<'a>) -> Result<(usize, &'a [u8]), FormatError> {
    let shared = r.varint()?;
    if shared > MAX_PATH as u64 {
        return Err(r.error("a prefix of at most 16 KiB"));
    }
    Ok((shared as usize, r.bytes(MAX_PATH)?))
}

fn read_child<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8; 32], Totals), FormatError> {
    Ok((read_key(r)?, Totals { entries: r.varint()?, bytes: r.varint()? }))
}

fn key_len(shared: usize, suffix: usize) -> usize {
    varint_len(shared as u64) + varint_len(suffix as u64) + suffix
}

/// Bytes of the item of an entry.
pub(super) fn entry_item_len(shared: usize, path: &[u8], entry: &[u8]) -> usize {
    key_len(shared, path.len() - shared) + varint_len(entry.len() as u64) + entry.len()
}

/// Bytes of the item of a page.
pub(super) fn child_item_len(shared: usize, last: &[u8], totals: Totals) -> usize {
    key_len(shared, last.len() - shared) + 32 + varint_len(totals.entries) + varint_len(totals.bytes)
}

/// Writes the head of a page; `count` is filled in by [`set_count`].
pub(super) fn put_head(out: &mut Vec<u8>, level: u8) {
    out.extend_from_slice(&[VERSION, level, 0, 0, 0, 0]);
}

/// Fills in how many items there are.
pub(super) fn set_count(plaintext: &mut [u8], count: u32) {
    plaintext[2..HEAD_LEN].copy_from_slice(&count.to_le_bytes());
}

/// Writes the item of an entry.
pub(super) fn put_entry_item(out: &mut Vec<u8>, shared: usize, path: &[u8], entry: &[u8]) {
    put_varint(out, shared as u64);
    put_bytes(out, &path[shared..]);
    put_bytes(out, entry);
}

/// Writes the item of a page.
pub(super) fn put_child_item(out: &mut Vec<u8>, shared: usize, last: &[u8], key: &ContentKey, totals: Totals) {
    put_varint(out, shared as u64);
    put_bytes(out, &last[shared..]);
    out.extend_from_slice(key.as_bytes());
    put_varint(out, totals.entries);
    put_varint(out, totals.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DomainRecord;
    use crate::manifest::{Entry, FileType, sample};

    fn fifo() -> Vec<u8> {
        Entry::new(FileType::Fifo).encode()
    }

    fn raw(level: u8, count: u32, items: &[u8]) -> Vec<u8> {
        [&[1, level], &count.to_le_bytes()[..], items].concat()
    }

    /// The same page, encoded from its items.
    fn encoded_again(page: &Page) -> Vec<u8> {
        let (mut out, mut before, mut position) = (Vec::new(), Vec::new(), page.start());
        put_head(&mut out, page.level());
        while let Some(item) = page.next(&mut position) {
            let (Item::Entry { path: key, .. } | Item::Page { last: key, .. }) = &item;
            let (key, shared) = (key.to_vec(), common_prefix(&before, key));
            match item {
                Item::Entry { entry, .. } => put_entry_item(&mut out, shared, &key, entry),
                Item::Page { key: p, totals, .. } => put_child_item(&mut out, shared, &key, &p, totals),
            }
            before = key;
        }
        set_count(&mut out, page.count());
        out
    }

    #[test]
    fn a_page_is_pinned() {
        let (mut entries, mut blocks) = (Vec::new(), Vec::new());
        for (path, file_type) in [("a", FileType::Directory), ("a/b", FileType::Fifo), ("a.b", FileType::Fifo)] {
            entries.push((sample::path(path), (Entry::new(file_type), None)));
        }
        let map: sample::Map = entries.into_iter().collect();
        let record = DomainRecord { page_entries: 4096, ..DomainRecord::default() };
        blocks.extend(sample::build(&map, &record).1);
        let hex: String = blocks[0].plaintext.iter().map(|b| format!("{b:02x}")).collect();
        let items = ["00016106030102050100", "01022f6206030104050100", "01022e6206030104050100"].concat();
        assert_eq!(hex, format!("010003000000{items}"));
        assert_eq!(blocks[0].id.to_string(), "6c630671c7ed1ccf097ab8c703503d307a0ee66020064d88d66f8b2bbef82489");
        let inner = raw(1, 1, &[&[0, 1, b'z'][..], &[7; 32], &[200, 1, 5]].concat());
        let page = Page::decode(inner).unwrap();
        assert_eq!(page.totals(), Totals { entries: 200, bytes: 5 });
    }

    #[test]
    fn pages_that_break_a_rule_are_refused() {
        let item =
            |shared: u8, suffix: &str| [&[shared, suffix.len() as u8], suffix.as_bytes(), &[6], &fifo()].concat();
        let child = |suffix: &str, p: u8, totals: &[u8]| {
            [&[0, suffix.len() as u8], suffix.as_bytes(), &[p; 32], totals].concat()
        };
        let good = [
            raw(0, 0, &[]),
            raw(0, 1, &item(0, "a")),
            raw(0, 2, &[item(0, "ab"), item(1, "c")].concat()),
            raw(1, 2, &[child("a", 1, &[1, 0]), child("b", 2, &[1, 0])].concat()),
        ];
        for page in &good {
            let decoded = Page::decode(page.clone()).unwrap();
            assert_eq!(&encoded_again(&decoded), page);
        }
        let one = item(0, "a");
        let bad = [
            Vec::new(),
            raw(0, 1, &[]),
            raw(0, u32::MAX, &one),
            raw(0, 0, &[0]),
            raw(1, 0, &[]),
            raw(32, 1, &child("a", 1, &[1, 0])),
            raw(255, 1, &child("a", 1, &[1, 0])),
            [&[2, 0], &raw(0, 0, &[])[2..]].concat(),
            raw(0, 1, &item(1, "a")),
            raw(0, 1, &item(0, "")),
            raw(0, 1, &item(0, "a/../b")),
            raw(0, 2, &[item(0, "ab"), item(0, "ac")].concat()),
            raw(0, 2, &[item(0, "ab"), item(3, "c")].concat()),
            raw(0, 2, &[item(0, "b"), item(0, "a")].concat()),
            raw(0, 2, &[item(0, "a"), item(1, "")].concat()),
            raw(0, 2, &[item(0, "a.b"), item(1, "/b")].concat()),
            raw(1, 2, &[child("a", 1, &[1, 0]), child("b", 1, &[1, 0])].concat()),
            raw(1, 1, &child("a", 1, &[0, 0])),
            raw(1, 1, &child("a", 1, &[1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1])),
            raw(0, 1, &[&[0, 1, b'a', 3], &fifo()[..3]].concat()),
            vec![0; MAX_PAGE + 1],
        ];
        for page in bad {
            assert!(Page::decode(page.clone()).is_err(), "{:?}", &page[..page.len().min(60)]);
        }
    }

    #[test]
    fn a_page_above_its_fill_holds_no_more_than_it_must() {
        let xattrs = |n: usize| Entry { xattrs: vec![(b"a".to_vec(), vec![0; n])], ..Entry::new(FileType::Fifo) };
        let page = |count: usize| {
            let items = (0..count).flat_map(|n| {
                let mut item = Vec::new();
                let (path, before) = (format!("{n:02}"), format!("{:02}", n.saturating_sub(1)));
                let shared = if n == 0 { 0 } else { common_prefix(path.as_bytes(), before.as_bytes()) };
                put_entry_item(&mut item, shared, path.as_bytes(), &xattrs(4000).encode());
                item
            });
            raw(0, count as u32, &items.collect::<Vec<u8>>())
        };
        assert!(Page::decode(page(16)).is_ok());
        assert!(Page::decode(page(17)).is_err());
    }

    #[test]
    fn a_page_cut_or_flipped_anywhere_is_refused_or_encodes_again_to_the_same() {
        for block in sample::build(&sample::map(1, 12), &sample::small_record()).1 {
            for len in 0..block.plaintext.len() {
                assert!(Page::decode(block.plaintext[..len].to_vec()).is_err(), "cut at {len}");
            }
            for bit in 0..block.plaintext.len() * 8 {
                let mut bad = block.plaintext.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Page::decode(bad.clone()).map_or(true, |page| encoded_again(&page) == bad), "bit {bit}");
            }
        }
    }
}
