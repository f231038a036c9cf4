//! One path through the versions of a name.
//!
//! Promise: neighbouring versions are one run only if the content is known to be the same: the same blocks for a file, the
//! same everything below for a directory.

use super::content::resolved;
use super::diff::{Kinds, touches};
use super::{Book, go_on};
use crate::error::{ClientError, Result};
use cas_core::id::BlockId;
use cas_core::manifest::{Change, Diff, EntryWithIds, ManifestPath};
use std::sync::atomic::AtomicBool;

/// What a path is in a version.
#[derive(Debug)]
pub enum State {
    /// Not there.
    Absent,
    /// This. A hardlink has size and content of the path it points to.
    Present(Box<EntryWithIds>),
    /// That part of the version cannot be read.
    Unknown(ClientError),
}

/// Versions side by side in which a path has the same content.
#[derive(Debug)]
pub struct Run {
    /// The first, by its place in the list that was asked for.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// As it is in the last.
    pub state: State,
}

/// Follows one path through versions, given with their roots, oldest first.
pub fn versions(books: &[(BlockId, Book)], path: &ManifestPath, stop: &AtomicBool) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for (place, (root, book)) in books.iter().enumerate() {
        go_on(stop)?;
        let state = state_in(book, path);
        if let Some(run) = runs.last_mut() {
            let (root_before, book_before) = &books[place - 1];
            if root == root_before || is_same(&run.state, book_before, &state, book, stop)? {
                (run.last, run.state) = (place, state);
                continue;
            }
        }
        runs.push(Run { first: place, last: place, state });
    }
    Ok(runs)
}

fn state_in(book: &Book, path: &ManifestPath) -> State {
    let found = book.lookup(path).map_err(super::unreadable);
    match found.and_then(|found| found.map(|entry| resolved(book, entry)).transpose()) {
        Ok(Some(entry)) => State::Present(Box::new(entry)),
        Ok(None) => State::Absent,
        Err(error) => State::Unknown(error),
    }
}

fn is_same(old: &State, old_book: &Book, new: &State, new_book: &Book, stop: &AtomicBool) -> Result<bool> {
    let (old, new) = match (old, new) {
        (State::Absent, State::Absent) => return Ok(true),
        (State::Present(old), State::Present(new)) => (old, new),
        _ => return Ok(false),
    };
    let (a, b) = (&old.entry, &new.entry);
    if (a.file_type, a.size, &a.content, &a.link_target, a.device)
        != (b.file_type, b.size, &b.content, &b.link_target, b.device)
    {
        return Ok(false);
    }
    if a.is_dir() { is_same_below(old_book, new_book, &new.path, stop) } else { Ok(true) }
}

fn is_same_below(old: &Book, new: &Book, dir: &ManifestPath, stop: &AtomicBool) -> Result<bool> {
    for change in Diff::new(old, new) {
        go_on(stop)?;
        let differs = match &change {
            Ok(Change::Added(entry) | Change::Removed(entry)) => entry.path.is_below(dir.as_bytes()),
            Ok(Change::Changed { old, new }) => {
                let kinds = Kinds::of(&old.entry, &new.entry);
                (kinds.content || kinds.file_type) && new.path.is_below(dir.as_bytes())
            }
            Err(e) => touches(&e.error, dir.as_bytes()),
        };
        if differs {
            return Ok(false);
        }
    }
    Ok(true)
}
