//! How much snapshots hold in plain, and how much of that is distinct.
//!
//! Promise: every page and list is opened, each once per name; what cannot be read is told and not guessed.

use super::reach::half;
use super::{Opened, Unreadable, go_on};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::id::{BlockId, Kind};
use cas_core::manifest::{BlockSource, Change, Diff, EntryWithIds, Manifest, OpenedBlock};
use cas_core::secret::ContentKey;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What snapshots hold.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Snapshots.
    pub snapshots: u64,
    /// Regular files, summed over the snapshots.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, devices and the rest.
    pub others: u64,
    /// Bytes of all files: what restoring every snapshot would write.
    pub bytes: u64,
    /// Plaintext of the distinct blocks that hold them, pages and lists included.
    pub distinct_bytes: u64,
    /// Parts that could not be read: the snapshot's name and seq, and why. `distinct_bytes` is short of them.
    pub unread: Vec<(String, u64, ClientError)>,
}

/// Measures snapshots; neighbours of one name share the work.
pub fn sizes(snapshots: &[Opened], stop: &AtomicBool) -> Result<Sizes> {
    let mut sizes = Sizes::default();
    let weighed = Weighed::default();
    let book = |s: &Opened| s.manifest(Scale { fetcher: s.fetcher().clone(), weighed: &weighed });
    let books: Vec<_> = snapshots.iter().map(book).collect();
    for (place, (snapshot, book)) in snapshots.iter().zip(&books).enumerate() {
        sizes.count(snapshot);
        let before = place.checked_sub(1).filter(|before| snapshots[*before].row.name == snapshot.row.name);
        let compared = match before {
            Some(before) => weigh_changes(&books[before], book, &weighed, stop)?,
            None => false,
        };
        if !compared {
            let name = &snapshot.row.name;
            weigh_all(book, &weighed, &mut |error| sizes.unread.push((name.clone(), snapshot.row.seq, error)), stop)?;
        }
    }
    sizes.distinct_bytes = weighed.bytes.get();
    Ok(sizes)
}

impl Sizes {
    fn count(&mut self, snapshot: &Opened) {
        let stats = snapshot.details.stats;
        self.snapshots += 1;
        self.files += stats.files;
        self.directories += stats.directories;
        self.others += stats.others;
        self.bytes += stats.bytes;
    }
}

/// Weighs what differs. Answers false if something cannot be compared; then all of it has to be weighed.
fn weigh_changes<'a>(
    before: &Manifest<Scale<'a>>,
    book: &Manifest<Scale<'a>>,
    weighed: &Weighed,
    stop: &AtomicBool,
) -> Result<bool> {
    for change in Diff::new(before, book) {
        go_on(stop)?;
        match change {
            Ok(Change::Added(entry) | Change::Changed { new: entry, .. }) => {
                if weigh_entry(book, &entry, weighed).is_err() {
                    return Ok(false);
                }
            }
            Ok(Change::Removed(_)) => {}
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

fn weigh_all(
    book: &Manifest<Scale<'_>>,
    weighed: &Weighed,
    unread: &mut dyn FnMut(ClientError),
    stop: &AtomicBool,
) -> Result<()> {
    for entry in book.cursor() {
        go_on(stop)?;
        let done = entry.map_err(|e: Unreadable| super::unreadable(e)).and_then(|e| weigh_entry(book, &e, weighed));
        if let Err(error) = done {
            unread(error);
        }
    }
    Ok(())
}

fn weigh_entry(book: &Manifest<Scale<'_>>, entry: &EntryWithIds, weighed: &Weighed) -> Result<()> {
    if let Some((block, id)) = entry.entry.xattr_block.as_ref().zip(entry.xattr_id()) {
        weighed.weigh(&id, block.len);
    }
    for piece in book.pieces(entry).into_iter().flatten() {
        let piece = piece.map_err(|e| ClientError::damaged(e.block, e))?;
        if let Some((id, _)) = &piece.block {
            weighed.weigh(id, piece.len);
        }
    }
    Ok(())
}

/// Distinct blocks and their plaintext bytes.
#[derive(Default)]
struct Weighed {
    seen: RefCell<HashSet<[u8; 16]>>,
    bytes: Cell<u64>,
}

impl Weighed {
    fn weigh(&self, id: &BlockId, len: u64) {
        if self.seen.borrow_mut().insert(half(id)) {
            self.bytes.set(self.bytes.get() + len);
        }
    }
}

/// A source that weighs the pages and lists it opens.
struct Scale<'a> {
    fetcher: Arc<Fetcher>,
    weighed: &'a Weighed,
}

impl BlockSource for Scale<'_> {
    type Error = ClientError;

    fn open(&self, kind: Kind, id: &BlockId, key: &ContentKey) -> Result<OpenedBlock> {
        let opened = self.fetcher.open(kind, id, key)?;
        self.weighed.weigh(id, opened.plaintext.len() as u64);
        Ok(opened)
    }
}
