//! The pieces of one file, in order or from any byte, whether they stand in the entry or in lists. FORMAT §5.
//!
//! Promise: the pieces that come cover the file without overlap. A list that cannot be used is reported with its range of
//! bytes, and reading goes on behind it. Memory is one list per level.

use super::entry::Content;
use super::list::{Cut, List, kind_below};
use super::piece::Piece;
use super::read::{EntryWithIds, Manifest};
use super::source::{BlockSource, OpenedBlock, ReadCause, require};
use crate::id::{BlockId, Kind};
use crate::limits::MAX_ENTRY_BLOCKS;
use crate::secret::ContentKey;
use std::error::Error;
use std::ops::Range;

/// A piece and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceAt {
    /// Its first byte in the file.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// The block that holds them; `None` for a hole.
    pub block: Option<(BlockId, ContentKey)>,
}

/// A range of a file whose pieces are unknown. The rest can be read.
#[derive(Debug, thiserror::Error)]
#[error("list {block} cannot be used")]
pub struct ListError<E: Error + 'static> {
    /// The list.
    pub block: BlockId,
    /// Which bytes of the file.
    pub bytes: Range<u64>,
    /// Why.
    #[source]
    pub cause: ReadCause<E>,
}

/// Reads the pieces of a file. Each `Err` names a range that is unknown; the iteration goes on behind it.
pub struct PieceCursor<'m, S> {
    manifest: &'m Manifest<S>,
    cut: Cut,
    root: OpenList,
    stack: Vec<OpenList>,
    /// The first byte of what comes next.
    at: u64,
    /// Per level: how the list before ended, if it lies right before what comes next.
    tails: Vec<Option<Tail>>,
}

struct OpenList {
    /// Of its items; the one that stands for the entry has one more than its list.
    level: Level,
    items: Vec<(Piece, Option<BlockId>)>,
    next: usize,
    bytes: Range<u64>,
}

/// What the items are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Pieces of the file.
    Pieces,
    /// Lists of this level.
    Lists(u8),
}

#[derive(Clone, Copy)]
struct Tail {
    closes: bool,
    ends_with_hole: bool,
}

impl<S: BlockSource> Manifest<S> {
    /// The pieces of a file of this manifest; `None` if its bytes stand in the entry itself.
    pub fn pieces(&self, file: &EntryWithIds) -> Option<PieceCursor<'_, S>> {
        let size = file.entry.size;
        let (level, items) = match &file.entry.content {
            Content::Inline(_) => return None,
            Content::None => (Level::Pieces, Vec::new()),
            Content::List { key, level } => {
                (Level::Lists(*level), vec![(Piece::data(size, key.clone()), file.list_id())])
            }
            Content::Pieces(pieces) => {
                let mut ids = file.ids.iter();
                let with_id = |piece: &Piece| (piece.clone(), if piece.is_hole() { None } else { ids.next().copied() });
                (Level::Pieces, pieces.iter().map(with_id).collect())
            }
        };
        let root = OpenList { level, items, next: 0, bytes: 0..size };
        let cut = Cut::new(&self.keys, &self.record);
        Some(PieceCursor { manifest: self, cut, root, stack: Vec::new(), at: 0, tails: Vec::new() })
    }
}

impl<S: BlockSource> PieceCursor<'_, S> {
    /// Goes to the piece that holds this byte of the file, forwards or backwards; behind the last byte is the end.
    pub fn seek(&mut self, offset: u64) {
        while self.stack.last().is_some_and(|list| !list.bytes.contains(&offset)) {
            self.stack.pop();
        }
        self.tails.clear();
        let list = self.stack.last_mut().unwrap_or(&mut self.root);
        list.next = 0;
        self.at = list.bytes.start;
        while let Some((piece, _)) = list.items.get(list.next) {
            if offset < self.at + piece.len {
                break;
            }
            self.at += piece.len;
            list.next += 1;
        }
        self.sought(offset);
    }

    /// Descends to the byte as far as that goes without an error; `next` reports it.
    fn sought(&mut self, offset: u64) {
        while let Some((Level::Lists(level), piece, Some(id))) = self.peek() {
            let bytes = self.at..self.at + piece.len;
            let Ok(mut list) = self.open(level, &piece, id, bytes) else { return };
            while let Some((piece, _)) = list.items.get(list.next) {
                if offset < self.at + piece.len {
                    break;
                }
                self.at += piece.len;
                list.next += 1;
            }
            self.pass();
            self.stack.push(list);
        }
    }

    fn peek(&self) -> Option<(Level, Piece, Option<BlockId>)> {
        let list = self.stack.last().unwrap_or(&self.root);
        let (piece, id) = list.items.get(list.next)?;
        Some((list.level, piece.clone(), *id))
    }

    fn pass(&mut self) {
        self.stack.last_mut().unwrap_or(&mut self.root).next += 1;
    }

    fn open(
        &mut self,
        level: u8,
        item: &Piece,
        id: BlockId,
        bytes: Range<u64>,
    ) -> Result<OpenList, ReadCause<S::Error>> {
        let key = item.data.as_ref().expect("above level 0 there are no holes");
        let opened = self.manifest.source.open(Kind::List, &id, key).map_err(ReadCause::Source)?;
        let OpenedBlock { plaintext, children } = opened;
        let list = List::decode(&plaintext).map_err(ReadCause::Format)?;
        require(list.level() == level, "a list of the level that is said above it")?;
        require(list.size() == item.len, "as many bytes as are said above it")?;
        require(list.match_children(&self.manifest.keys, &children), "the child ids of its references")?;
        self.check_root(&list)?;
        self.check_cut(&list)?;
        let id_of = |piece: &Piece| piece.data.as_ref().and_then(|key| list.place_of(key)).map(|place| children[place]);
        let items = list.items().iter().map(|piece| (piece.clone(), id_of(piece))).collect();
        let level = if level == 0 { Level::Pieces } else { Level::Lists(level - 1) };
        Ok(OpenList { level, items, next: 0, bytes })
    }

    /// A root exists only where the entry has no room, and holds more than one list.
    fn check_root(&self, list: &List) -> Result<(), ReadCause<S::Error>> {
        if !self.stack.is_empty() {
            return Ok(());
        }
        let blocks = list.items().iter().filter(|piece| !piece.is_hole()).count();
        let enough = if list.level() == 0 { blocks > MAX_ENTRY_BLOCKS } else { blocks > 1 };
        require(enough, "a root with two lists or nine blocks at least")
    }

    fn check_cut(&mut self, list: &List) -> Result<(), ReadCause<S::Error>> {
        let (level, count) = (list.level(), list.items().len());
        for (n, item) in list.items().iter().enumerate().take(count - 1) {
            require(!self.cut.closes(level, n + 1, item), "a list that ends at its first border")?;
        }
        if let Some(Some(tail)) = self.tails.get(usize::from(level)) {
            require(tail.closes, "a list before that ends at a border or is full")?;
            require(!(tail.ends_with_hole && list.items()[0].is_hole()), "holes side by side as one")?;
        }
        let last = &list.items()[count - 1];
        let tail = Tail { closes: self.cut.closes(level, count, last), ends_with_hole: last.is_hole() };
        if self.tails.len() <= usize::from(level) {
            self.tails.resize(usize::from(level) + 1, None);
        }
        self.tails[usize::from(level)] = Some(tail);
        Ok(())
    }

    fn enter(&mut self, level: u8, item: &Piece, id: BlockId) -> Result<(), ListError<S::Error>> {
        let bytes = self.at..self.at + item.len;
        match self.open(level, item, id, bytes.clone()) {
            Ok(list) => {
                self.pass();
                if list.level != Level::Pieces {
                    let ids: Vec<_> = list.items.iter().filter_map(|(_, id)| *id).collect();
                    self.manifest.source.expect(kind_below(level), &ids);
                }
                self.stack.push(list);
                Ok(())
            }
            Err(cause) => {
                self.pass();
                self.at = bytes.end;
                self.tails.iter_mut().take(usize::from(level) + 1).for_each(|tail| *tail = None);
                Err(ListError { block: id, bytes, cause })
            }
        }
    }
}

impl<S: BlockSource> Iterator for PieceCursor<'_, S> {
    type Item = Result<PieceAt, ListError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.peek() {
                Some((Level::Lists(level), item, Some(id))) => {
                    if let Err(error) = self.enter(level, &item, id) {
                        return Some(Err(error));
                    }
                }
                Some((_, piece, id)) => {
                    let (offset, len) = (self.at, piece.len);
                    self.at += len;
                    self.pass();
                    return Some(Ok(PieceAt { offset, len, block: id.zip(piece.data) }));
                }
                None => _ = self.stack.pop()?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
