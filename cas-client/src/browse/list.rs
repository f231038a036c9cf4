//! What is in a snapshot, in order.

use super::near::near;
use super::{Book, Unreadable, inner_path, not_found, unreadable};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::manifest::{Cursor, EntryWithIds, ManifestPath, parent_of};
use std::sync::Arc;

/// Entries that are looked at for one that may have been meant.
const LOOK_AT: usize = 10_000;

/// Entries in order. Each `Err` names a range of paths that is missing; the iteration goes on behind it.
pub enum Listing<'m> {
    /// One path that is no directory.
    One(Option<Box<EntryWithIds>>),
    /// What is in a directory.
    Many(Box<Cursor<'m, Arc<Fetcher>>>),
}

impl Iterator for Listing<'_> {
    type Item = std::result::Result<EntryWithIds, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(entry) => entry.take().map(|entry| Ok(*entry)),
            Self::Many(cursor) => cursor.next(),
        }
    }
}

/// What is in the directory `path`, one level or at any depth; the entry itself if it is no directory. An empty path is
/// the top.
pub fn list<'m>(book: &'m Book, path: &[u8], recursive: bool) -> Result<Listing<'m>> {
    let Some(dir) = inner_path(path)? else {
        let cursor = if recursive { book.cursor() } else { book.children(None) };
        return Ok(Listing::Many(Box::new(cursor)));
    };
    let entry = look_up(book, path)?;
    if !entry.entry.is_dir() {
        return Ok(Listing::One(Some(Box::new(entry))));
    }
    let cursor = if recursive { book.below(&dir) } else { book.children(Some(&dir)) };
    Ok(Listing::Many(Box::new(cursor)))
}

/// The entry of one path, which must be there.
pub fn look_up(book: &Book, path: &[u8]) -> Result<EntryWithIds> {
    let wanted = inner_path(path)?.ok_or_else(|| not_found(b"."))?;
    book.lookup(&wanted).map_err(unreadable)?.ok_or_else(|| not_found_near(book, &wanted))
}

/// Names what lies in the same folder and is called nearly so.
fn not_found_near(book: &Book, wanted: &ManifestPath) -> ClientError {
    let path = wanted.as_bytes();
    let folder = parent_of(path).and_then(|folder| ManifestPath::new(folder).ok());
    let beside: Vec<String> = book
        .children(folder.as_ref())
        .take(LOOK_AT)
        .filter_map(|entry| Some(String::from_utf8_lossy(entry.ok()?.path.as_bytes()).into_owned()))
        .collect();
    match near(&String::from_utf8_lossy(path), beside.iter().map(|path| &path[..])).join(" or ") {
        but if but.is_empty() => not_found(path),
        but => ClientError::NotFoundBut { what: "path", name: wanted.to_string(), but: format!("did you mean {but}?") },
    }
}
