//! Lists: the pieces of large files, as bytes and as they are built. FORMAT §5.
//!
//! Promise: equal pieces give equal lists; memory while building is one open list per level. What decodes is
//! canonical in itself; borders and what adjoins other lists are checked by the reader.

use super::border::Borders;
use super::build::BuiltBlock;
use super::piece::{MAX_FILE, Piece, PieceView, read_key};
use super::reference::{Reference, References};
use crate::codec::{FormatError, Reader, put_varint};
use crate::domain::DomainRecord;
use crate::id::{BlockId, Kind};
use crate::limits::{MAX_CHILDREN, MAX_ENTRY_BLOCKS, MAX_HEIGHT, MAX_RAW};
use crate::secret::{ContentKey, DomainKeys};

const VERSION: u8 = 1;
const HEAD_LEN: usize = 1 + 1 + 4;
/// The plaintext of a list, in bytes: every item has at most a key and a varint.
pub const MAX_LIST: usize = HEAD_LEN + MAX_CHILDREN * (32 + 10);

/// How many items a list of this level holds at least before it may close; only the last of a level has fewer.
pub(super) const fn min_items(level: u8) -> usize {
    if level == 0 { 1 } else { 2 }
}

/// A list, checked.
#[derive(Debug)]
pub struct List {
    level: u8,
    items: Vec<Piece>,
    size: u64,
    references: References,
}

impl List {
    /// Reads and checks a list.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("list", bytes);
        if bytes.len() > MAX_LIST {
            return Err(r.error("a length within the limit"));
        }
        r.expect(&[VERSION], "version 1")?;
        let (level, count) = (r.u8()?, r.u32()?);
        if level >= MAX_HEIGHT {
            return Err(r.error("a level below 32"));
        }
        if count == 0 || count as usize > MAX_CHILDREN {
            return Err(r.error("1 to 4096 items"));
        }
        let mut list = Self { level, items: Vec::new(), size: 0, references: References::default() };
        let mut before = None;
        for _ in 0..count {
            let piece = if level == 0 { PieceView::read(&mut r, before)? } else { read_child(&mut r)? };
            list.take(piece).ok_or_else(|| r.error("a size below 2^63"))?;
            before = Some(piece);
        }
        r.finish()?;
        Ok(list)
    }

    fn take(&mut self, piece: PieceView<'_>) -> Option<()> {
        if let Some(key) = piece.key {
            self.references.add(kind_below(self.level), key);
        }
        self.items.push(piece.to_piece());
        self.size = self.size.checked_add(piece.len).filter(|size| *size <= MAX_FILE)?;
        Some(())
    }

    /// Its level; 0 holds pieces.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// On level 0 the pieces; above, one piece per list below: its length in bytes and its P.
    pub fn items(&self) -> &[Piece] {
        &self.items
    }

    /// Bytes of all pieces below it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Distinct references in order of first appearance.
    pub fn references(&self) -> &[Reference] {
        self.references.as_slice()
    }

    /// Whether the child ids of its header are those of its references, as far as that can be told without opening
    /// them: all of them in number, data blocks by name.
    pub fn match_children(&self, keys: &DomainKeys, children: &[BlockId]) -> bool {
        self.references.match_children(keys, children)
    }

    /// The place of an item's block among the references.
    pub(super) fn place_of(&self, key: &ContentKey) -> Option<usize> {
        self.references.place(kind_below(self.level), key)
    }
}

/// What the items of a list refer to.
pub(super) fn kind_below(level: u8) -> Kind {
    if level == 0 { Kind::Data } else { Kind::List }
}

fn read_child<'a>(r: &mut Reader<'a>) -> Result<PieceView<'a>, FormatError> {
    let key = read_key(r)?;
    let len = r.varint()?;
    if len == 0 || len > MAX_FILE {
        return Err(r.error("a size from 1 to 2^63 - 1"));
    }
    Ok(PieceView { len, key: Some(key) })
}

/// How a file's pieces are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListRoot {
    /// In the entry: at most 8 with data. Empty for an empty file.
    Pieces(Vec<Piece>),
    /// In lists.
    List {
        /// P of the root list.
        key: ContentKey,
        /// Its level.
        level: u8,
        /// Its id.
        id: BlockId,
    },
}

/// Builds the lists of one file.
pub struct ListBuilder {
    keys: DomainKeys,
    cut: Cut,
    /// The first pieces, as long as they may fit into the entry.
    head: Vec<Piece>,
    head_blocks: usize,
    /// A hole that may go on.
    hole: u64,
    size: u64,
    levels: Vec<OpenList>,
}

/// When a list closes.
pub(super) struct Cut {
    borders: Borders,
    max: usize,
}

impl Cut {
    pub fn new(keys: &DomainKeys, record: &DomainRecord) -> Self {
        assert!((2..=MAX_CHILDREN).contains(&(record.list_max as usize)), "domain records have a list maximum");
        Self { borders: Borders::of_lists(keys, record), max: record.list_max as usize }
    }

    /// Whether a list that now holds `count` items, `item` the last, ends here.
    pub fn closes(&mut self, level: u8, count: usize, item: &Piece) -> bool {
        let border = item.data.as_ref().is_some_and(|key| self.borders.is_border(level, key.as_bytes()));
        count >= self.max || (border && count >= min_items(level))
    }
}

impl ListBuilder {
    /// A builder for an empty file.
    pub fn new(keys: &DomainKeys, record: &DomainRecord) -> Self {
        Self {
            keys: keys.clone(),
            cut: Cut::new(keys, record),
            head: Vec::new(),
            head_blocks: 0,
            hole: 0,
            size: 0,
            levels: Vec::new(),
        }
    }

    /// Bytes of all pieces so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next piece; holes side by side become one. Finished lists go to `sink`, children first.
    ///
    /// # Panics
    /// If the piece is empty, if it is data above 64 MiB, or if the file grows to 2⁶³ bytes.
    pub fn push(&mut self, piece: Piece, sink: &mut impl FnMut(BuiltBlock)) {
        assert!(piece.len > 0, "an empty piece");
        self.size = self.size.checked_add(piece.len).filter(|size| *size <= MAX_FILE).expect("a file below 2^63 bytes");
        if piece.is_hole() {
            self.hole += piece.len;
            return;
        }
        assert!(piece.len <= MAX_RAW as u64, "a block above its limit");
        self.flush_hole(sink);
        self.keep(piece, sink);
    }

    fn flush_hole(&mut self, sink: &mut impl FnMut(BuiltBlock)) {
        if self.hole > 0 {
            let hole = Piece::hole(std::mem::take(&mut self.hole));
            self.keep(hole, sink);
        }
    }

    fn keep(&mut self, piece: Piece, sink: &mut impl FnMut(BuiltBlock)) {
        if self.head_blocks > MAX_ENTRY_BLOCKS {
            return self.list(piece, sink);
        }
        self.head_blocks += usize::from(!piece.is_hole());
        self.head.push(piece);
        if self.head_blocks > MAX_ENTRY_BLOCKS {
            for piece in std::mem::take(&mut self.head) {
                self.list(piece, sink);
            }
        }
    }

    fn list(&mut self, piece: Piece, sink: &mut impl FnMut(BuiltBlock)) {
        let id = piece.data.as_ref().map(|key| self.keys.block_id(Kind::Data, key, &[]));
        self.put(0, piece, id, sink);
    }

    /// Puts an item into the list of a level, and what closes into those above.
    fn put(&mut self, mut level: u8, mut item: Piece, mut id: Option<BlockId>, sink: &mut impl FnMut(BuiltBlock)) {
        loop {
            if self.levels.len() == usize::from(level) {
                assert!(level < MAX_HEIGHT, "lists above level 0 hold two items at least");
                self.levels.push(OpenList::new(level));
            }
            let open = &mut self.levels[usize::from(level)];
            open.take(&item, id);
            if !self.cut.closes(level, open.count, &item) {
                return;
            }
            let closed = open.close(&self.keys, sink);
            level += 1;
            (item, id) = closed.into_item();
        }
    }

    /// Closes what is open. Answers what goes into the entry.
    pub fn finish(mut self, sink: &mut impl FnMut(BuiltBlock)) -> ListRoot {
        self.flush_hole(sink);
        if self.levels.is_empty() {
            return ListRoot::Pieces(self.head);
        }
        for level in 0.. {
            let open = &mut self.levels[level];
            match (open.count, open.closed) {
                (0, _) => {
                    if let Some(only) = open.only.take() {
                        return only.into_root(level);
                    }
                }
                (_, 0) => return open.close(&self.keys, sink).into_root(level),
                _ => {
                    let closed = open.close(&self.keys, sink);
                    let (item, id) = closed.into_item();
                    self.put(level as u8 + 1, item, id, sink);
                }
            }
        }
        unreachable!("every level has fewer lists than the one below")
    }
}

/// A list that is closed, as the level above sees it.
#[derive(Clone)]
struct ClosedList {
    key: ContentKey,
    id: BlockId,
    size: u64,
}

impl ClosedList {
    fn into_item(self) -> (Piece, Option<BlockId>) {
        (Piece::data(self.size, self.key), Some(self.id))
    }

    fn into_root(self, level: usize) -> ListRoot {
        ListRoot::List { key: self.key, level: level as u8, id: self.id }
    }
}

/// The list of a level that still takes items.
struct OpenList {
    level: u8,
    plaintext: Vec<u8>,
    count: usize,
    size: u64,
    references: References,
    children: Vec<BlockId>,
    /// Lists of this level that are closed.
    closed: u64,
    /// The only one of them.
    only: Option<ClosedList>,
}

impl OpenList {
    fn new(level: u8) -> Self {
        Self {
            level,
            plaintext: vec![VERSION, level, 0, 0, 0, 0],
            count: 0,
            size: 0,
            references: References::default(),
            children: Vec::new(),
            closed: 0,
            only: None,
        }
    }

    fn take(&mut self, item: &Piece, id: Option<BlockId>) {
        if self.level == 0 {
            item.put(&mut self.plaintext);
        } else {
            let key = item.data.as_ref().expect("above level 0 there are no holes");
            self.plaintext.extend_from_slice(key.as_bytes());
            put_varint(&mut self.plaintext, item.len);
        }
        if let (Some(key), Some(id)) = (&item.data, id) {
            let (_, new) = self.references.add(kind_below(self.level), key.as_bytes());
            if new {
                self.children.push(id);
            }
        }
        self.count += 1;
        self.size += item.len;
    }

    fn close(&mut self, keys: &DomainKeys, sink: &mut impl FnMut(BuiltBlock)) -> ClosedList {
        let mut plaintext = std::mem::replace(&mut self.plaintext, vec![VERSION, self.level, 0, 0, 0, 0]);
        plaintext[2..HEAD_LEN].copy_from_slice(&(self.count as u32).to_le_bytes());
        let built = BuiltBlock::new(keys, Kind::List, plaintext, std::mem::take(&mut self.children));
        let closed = ClosedList { key: built.key.clone(), id: built.id, size: self.size };
        sink(built);
        (self.count, self.size) = (0, 0);
        self.references.clear();
        self.only = (self.closed == 0).then(|| closed.clone());
        self.closed += 1;
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::sample;
    use proptest::prelude::*;

    fn build(pieces: &[Piece], record: &DomainRecord) -> (ListRoot, Vec<BuiltBlock>) {
        let (mut builder, mut blocks) = (ListBuilder::new(&sample::keys(), record), Vec::new());
        for piece in pieces {
            builder.push(piece.clone(), &mut |block| blocks.push(block));
        }
        assert_eq!(builder.size(), pieces.iter().map(|piece| piece.len).sum::<u64>());
        let root = builder.finish(&mut |block| blocks.push(block));
        (root, blocks)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn a_list_is_pinned() {
        let key = |n: u8| ContentKey::from_bytes([n; 32]);
        let mut pieces: Vec<_> = (0..9).map(|n| Piece::data(1000 + u64::from(n), key(n))).collect();
        pieces.insert(1, Piece::hole(5));
        let (root, blocks) = build(&pieces, &DomainRecord::default());
        let item = |n: u8| {
            format!(
                "{}{}",
                ["d00f", "d20f", "d40f", "d60f", "d80f", "da0f", "dc0f", "de0f", "e00f"][usize::from(n)],
                hex(&[n; 32])
            )
        };
        let items: String = (1..9).map(item).collect();
        assert_eq!(hex(&blocks[0].plaintext), format!("01000a000000{}0b{items}", item(0)));
        let ListRoot::List { key, level: 0, id } = root else { panic!("{root:?}") };
        assert_eq!((blocks.len(), &blocks[0].key, blocks[0].id), (1, &key, id));
        assert_eq!(blocks[0].children.len(), 9);
        assert_eq!(id.to_string(), "c67cd79788eff49bb5de125b67dab21e3f5b223aed4872a15443b7c81579b8b4");
    }

    #[test]
    fn eight_blocks_stand_in_the_entry_and_nine_do_not() {
        let data = |n: u64| (0..n).map(|n| Piece::data(7, sample::key(n))).collect::<Vec<_>>();
        for record in [DomainRecord::default(), sample::small_record()] {
            let (root, blocks) = build(&data(8), &record);
            assert_eq!((root, blocks.len()), (ListRoot::Pieces(data(8)), 0));
            let (root, blocks) = build(&data(9), &record);
            assert!(matches!(root, ListRoot::List { .. }) && !blocks.is_empty());
        }
        assert_eq!(build(&[], &DomainRecord::default()).0, ListRoot::Pieces(Vec::new()));
        let (root, _) = build(&[Piece::hole(3), Piece::hole(4)], &DomainRecord::default());
        assert_eq!(root, ListRoot::Pieces(vec![Piece::hole(7)]));
    }

    #[test]
    fn lists_that_break_a_rule_are_refused() {
        let encode = |level: u8, count: u32, items: &[u8]| [&[1, level], &count.to_le_bytes()[..], items].concat();
        let data = [&[2][..], &[9; 32]].concat();
        assert!(List::decode(&encode(0, 1, &data)).is_ok());
        let child = [&[9; 32][..], &[1]].concat();
        assert!(List::decode(&encode(1, 1, &child)).is_ok());
        for bad in [
            Vec::new(),
            encode(0, 0, &[]),
            encode(0, 2, &data),
            encode(0, 1, &[&data[..], &[0]].concat()),
            encode(0, u32::MAX, &data),
            encode(0, 4097, &[[3, 2 + 1].as_slice(), &data].concat()),
            encode(0, 2, &[3, 5]),
            encode(0, 1, &[1]),
            encode(0, 1, &[&[0][..], &[9; 32]].concat()),
            encode(32, 1, &child),
            encode(1, 1, &[&[9; 32][..], &[0]].concat()),
            encode(1, 1, &[&[9; 32][..], &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]].concat()),
            [&[2][..], &encode(0, 1, &data)[1..]].concat(),
            vec![1; MAX_LIST + 1],
        ] {
            assert!(List::decode(&bad).is_err(), "{}", hex(&bad[..bad.len().min(50)]));
        }
        let good = encode(0, 2, &[&data[..], &[5]].concat());
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let again = |list: List| {
                let items: Vec<u8> = list.items().iter().fold(Vec::new(), |mut out, item| {
                    item.put(&mut out);
                    out
                });
                list.level() > 0 || encode(0, list.items().len() as u32, &items) == flipped
            };
            assert!(List::decode(&flipped).map_or(true, again), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(List::decode(&good[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_file_of_equal_blocks_makes_lists_that_are_stored_once() {
        let pieces = vec![Piece::data(9, sample::key(1)); 5000];
        let (root, blocks) = build(&pieces, &sample::small_record());
        let mut ids: Vec<_> = blocks.iter().map(|block| block.id).collect();
        ids.sort();
        ids.dedup();
        assert!(ids.len() < 40, "{} lists", ids.len());
        assert!(matches!(root, ListRoot::List { level, .. } if level < 14));
    }

    proptest! {
        #[test]
        fn how_a_hole_is_told_does_not_matter(holes in prop::collection::vec(1u64..100, 1..30), split in 1u64..100) {
            let record = sample::small_record();
            let file = |parts: &dyn Fn(u64) -> Vec<u64>| {
                let pieces = holes.iter().enumerate().flat_map(|(n, len)| {
                    let data = Piece::data(5, sample::key(n as u64));
                    parts(*len).into_iter().filter(|len| *len > 0).map(Piece::hole).chain([data])
                });
                build(&pieces.collect::<Vec<_>>(), &record)
            };
            prop_assert_eq!(file(&|len| vec![len]), file(&|len| vec![len.min(split), len - len.min(split)]));
        }
    }

    #[test]
    fn memory_is_one_list_per_level() {
        let mut builder = ListBuilder::new(&sample::keys(), &sample::small_record());
        for n in 0..20_000 {
            builder.push(Piece::data(1 + n % 9, sample::key(n)), &mut |_| {});
            assert!(builder.levels.iter().all(|open| open.count < 4 && open.children.len() < 4));
        }
        assert!(builder.levels.len() < 20 && builder.head.is_empty());
    }
}
