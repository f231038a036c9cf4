//! What differs between two snapshots, and in what.
//!
//! Promise: only what differs is opened. A range that one side cannot read is an [`Unread`], and nothing is said of it.

use super::{Book, Unreadable};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::id::BlockId;
use cas_core::manifest::{Change, Content, Diff, Entry, EntryWithIds, FileType, Side};
use std::collections::HashMap;
use std::sync::Arc;

/// A range that cannot be compared.
#[derive(Debug)]
pub struct Unread {
    /// Which side cannot be read.
    pub side: Side,
    /// Where and why.
    pub error: Unreadable,
}

/// In what two entries differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// One is a file, the other a directory, say.
    pub file_type: bool,
    /// Bytes of a file, target of a link, what a hardlink points to, number of a device.
    pub content: bool,
    /// Permission bits.
    pub mode: bool,
    /// Owner or group, by number or name.
    pub owner: bool,
    /// When the content was changed last.
    pub time: bool,
    /// Extended attributes, ACLs among them.
    pub xattrs: bool,
}

impl Kinds {
    /// Compares.
    pub fn of(old: &Entry, new: &Entry) -> Self {
        Self {
            file_type: old.file_type != new.file_type,
            content: (old.size, &old.content, &old.link_target, &old.hardlink, old.device)
                != (new.size, &new.content, &new.link_target, &new.hardlink, new.device),
            mode: old.mode != new.mode,
            owner: (old.uid, old.gid, &old.user, &old.group) != (new.uid, new.gid, &new.user, &new.group),
            time: old.mtime != new.mtime,
            xattrs: (&old.xattrs, &old.xattr_block) != (&new.xattrs, &new.xattr_block),
        }
    }

    /// Whether it differs in its time at most.
    pub fn only_time(&self) -> bool {
        *self == Self { time: self.time, ..Self::default() }
    }

    /// The words for it.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.file_type, "type"),
            (self.content, "content"),
            (self.mode, "mode"),
            (self.owner, "owner"),
            (self.time, "time"),
            (self.xattrs, "xattrs"),
        ];
        all.into_iter().filter_map(|(differs, word)| differs.then_some(word))
    }
}

/// What became of a path.
#[derive(Debug)]
pub enum What {
    /// Only the new snapshot has it.
    Added(Box<EntryWithIds>),
    /// Only the old one had it.
    Removed(Box<EntryWithIds>),
    /// Both have it, and it differs.
    Changed {
        /// As it was.
        old: Box<EntryWithIds>,
        /// As it is.
        new: Box<EntryWithIds>,
        /// In what.
        kinds: Kinds,
    },
}

/// One path that differs.
#[derive(Debug)]
pub struct Difference {
    /// What became of it.
    pub what: What,
    /// Bytes of its content that only the new snapshot's file has.
    pub bytes_added: u64,
    /// Bytes of its content that only the old snapshot's file had.
    pub bytes_removed: u64,
}

impl Difference {
    /// The entry, the new one if there are two.
    pub fn entry(&self) -> &EntryWithIds {
        match &self.what {
            What::Added(entry) | What::Removed(entry) | What::Changed { new: entry, .. } => entry,
        }
    }
}

/// What a path is, as totals count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, a device …
    Other,
}

impl Sort {
    /// Of a type.
    pub fn of(file_type: FileType) -> Self {
        match file_type {
            FileType::File => Self::File,
            FileType::Directory => Self::Directory,
            _ => Self::Other,
        }
    }
}

/// How much differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffTotals {
    /// Files, directories and others that were added.
    pub added: [u64; 3],
    /// That were removed.
    pub removed: [u64; 3],
    /// That differ in more than their time.
    pub changed: [u64; 3],
    /// That differ in their time only.
    pub touched: u64,
    /// Bytes of content that are new.
    pub bytes_added: u64,
    /// Bytes of content that are gone.
    pub bytes_removed: u64,
}

impl DiffTotals {
    /// Counts one more.
    pub fn count(&mut self, difference: &Difference) {
        let place = Sort::of(difference.entry().entry.file_type) as usize;
        match &difference.what {
            What::Added(_) => self.added[place] += 1,
            What::Removed(_) => self.removed[place] += 1,
            What::Changed { kinds, .. } if kinds.only_time() => self.touched += 1,
            What::Changed { .. } => self.changed[place] += 1,
        }
        self.bytes_added += difference.bytes_added;
        self.bytes_removed += difference.bytes_removed;
    }
}

/// Compares two snapshots; `within` keeps to one path and what is below it.
pub fn compare<'m>(old: &'m Book, new: &'m Book, within: &[u8]) -> Differences<'m> {
    Differences { old, new, changes: Diff::new(old, new), within: within.to_vec() }
}

/// What differs, in order of path. Each `Err` names a range that is left out; the iteration goes on behind it.
pub struct Differences<'m> {
    old: &'m Book,
    new: &'m Book,
    changes: Diff<'m, Arc<Fetcher>>,
    within: Vec<u8>,
}

impl Iterator for Differences<'_> {
    type Item = std::result::Result<Difference, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.changes.next()? {
                Err(e) if touches(&e.error, &self.within) => return Some(Err(Unread { side: e.side, error: e.error })),
                Ok(change) if self.is_within(&change) => return Some(Ok(self.weigh(change))),
                _ => {}
            }
        }
    }
}

impl Differences<'_> {
    fn is_within(&self, change: &Change) -> bool {
        let (Change::Added(entry) | Change::Removed(entry) | Change::Changed { new: entry, .. }) = change;
        let path = &entry.path;
        self.within.is_empty() || path.as_bytes() == self.within || path.is_below(&self.within)
    }

    fn weigh(&self, change: Change) -> Difference {
        match change {
            Change::Added(e) => Difference { bytes_added: e.entry.size, bytes_removed: 0, what: What::Added(e) },
            Change::Removed(e) => Difference { bytes_added: 0, bytes_removed: e.entry.size, what: What::Removed(e) },
            Change::Changed { old, new } => {
                let kinds = Kinds::of(&old.entry, &new.entry);
                let whole = (new.entry.size, old.entry.size);
                let (bytes_added, bytes_removed) = match kinds.content {
                    true => exchanged(self.old, &old, self.new, &new).unwrap_or(whole),
                    false => (0, 0),
                };
                Difference { what: What::Changed { old, new, kinds }, bytes_added, bytes_removed }
            }
        }
    }
}

/// Whether a range of paths that is missing has to do with `within`.
pub(super) fn touches(error: &Unreadable, within: &[u8]) -> bool {
    use cas_core::manifest::{compare_paths, is_below};
    if within.is_empty() {
        return true;
    }
    let starts_behind =
        error.gap.after.as_ref().is_some_and(|after| compare_paths(after, within).is_gt() && !is_below(after, within));
    let ends_before = error.gap.until.as_ref().is_some_and(|until| compare_paths(until, within).is_lt());
    !starts_behind && !ends_before
}

/// Bytes in blocks that only the new file has, and that only the old one had.
fn exchanged(old_book: &Book, old: &EntryWithIds, new_book: &Book, new: &EntryWithIds) -> Result<(u64, u64)> {
    let mut balance: HashMap<u64, (u64, u64)> = HashMap::new();
    each_piece(old_book, old, |id, len| balance.entry(id).or_default().1 += len)?;
    each_piece(new_book, new, |id, len| balance.entry(id).or_default().0 += len)?;
    let only = |(new, old): (u64, u64)| (new.saturating_sub(old), old.saturating_sub(new));
    Ok(balance.into_values().map(only).fold((0, 0), |(a, b), (x, y)| (a + x, b + y)))
}

/// Blocks are told apart by eight bytes of their ids: one file has too few of them to confuse any.
fn each_piece(book: &Book, file: &EntryWithIds, mut each: impl FnMut(u64, u64)) -> Result<()> {
    if let Content::Inline(bytes) = &file.entry.content {
        let hash = std::hash::BuildHasher::hash_one(
            &std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default(),
            bytes,
        );
        each(hash, bytes.len() as u64);
        return Ok(());
    }
    for piece in book.pieces(file).into_iter().flatten() {
        let piece = piece.map_err(|e| ClientError::damaged(e.block, e))?;
        if let Some((id, _)) = &piece.block {
            each(short_id(id), piece.len);
        }
    }
    Ok(())
}

fn short_id(id: &BlockId) -> u64 {
    u64::from_le_bytes(id.as_bytes()[..8].try_into().expect("8 of 32"))
}
