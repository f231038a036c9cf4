//! Finding paths, in one snapshot or through all versions of a name.
//!
//! Promise: pages that two versions share are read once; memory is what was found. A range that cannot be read is told
//! for each version it is missing from, never passed over in silence.

use super::{Book, Unreadable, go_on};
use crate::error::{ClientError, Result};
use cas_core::manifest::{Change, Diff, Entry, EntryWithIds, FileType, ManifestPath, Mtime};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// How large a file has to be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeIs {
    /// At least.
    AtLeast(u64),
    /// At most.
    AtMost(u64),
    /// Exactly.
    Exactly(u64),
}

/// What is looked for. Everything that is given has to hold; of the patterns one.
#[derive(Debug)]
pub struct Wanted {
    patterns: Gitignore,
    /// One of these; empty for any.
    pub types: Vec<FileType>,
    /// Changed at or after.
    pub newer: Option<Mtime>,
    /// Changed before.
    pub older: Option<Mtime>,
    /// Files of such a size.
    pub sizes: Vec<SizeIs>,
}

impl Wanted {
    /// Patterns: without a slash they match a name, with a slash a path from the top; `*`, `?`, `[a-z]`, `**`. None
    /// match everything.
    pub fn new(patterns: &[String], ignore_case: bool) -> Result<Self> {
        let unusable = |pattern: &str, e| ClientError::Usage(format!("the pattern {pattern:?} cannot be used: {e}"));
        let mut builder = GitignoreBuilder::new("/");
        builder.case_insensitive(ignore_case).expect("the option exists");
        for pattern in patterns {
            builder.add_line(None, &as_written(pattern)).map_err(|e| unusable(pattern, e))?;
        }
        let patterns = builder.build().map_err(|e| unusable(&patterns.join(" "), e))?;
        Ok(Self { patterns, types: Vec::new(), newer: None, older: None, sizes: Vec::new() })
    }

    /// Whether a path and its entry are looked for.
    pub fn matches(&self, path: &ManifestPath, entry: &Entry) -> bool {
        let size_fits = |size: &SizeIs| match *size {
            SizeIs::AtLeast(n) => entry.size >= n,
            SizeIs::AtMost(n) => entry.size <= n,
            SizeIs::Exactly(n) => entry.size == n,
        };
        (self.types.is_empty() || self.types.contains(&entry.file_type))
            && self.newer.is_none_or(|time| entry.mtime >= time)
            && self.older.is_none_or(|time| entry.mtime < time)
            && (self.sizes.is_empty() || entry.file_type == FileType::File)
            && self.sizes.iter().all(size_fits)
            && self.name_matches(path, entry.is_dir())
    }

    fn name_matches(&self, path: &ManifestPath, is_dir: bool) -> bool {
        let shown = Path::new("/").join(OsStr::from_bytes(path.as_bytes()));
        self.patterns.is_empty() || self.patterns.matched(shown, is_dir).is_ignore()
    }

    fn accepts(&self, entry: &EntryWithIds) -> bool {
        self.matches(&entry.path, &entry.entry)
    }
}

/// A pattern in which nothing means "comment" or "not".
fn as_written(pattern: &str) -> String {
    let escaped = if pattern.starts_with(['#', '!']) { format!("\\{pattern}") } else { pattern.to_owned() };
    let kept = escaped.trim_end_matches(' ');
    let spaces = escaped.len() - kept.len();
    format!("{kept}{}", "\\ ".repeat(spaces))
}

/// A path in one state, and the versions in which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path and what it is there.
    pub entry: EntryWithIds,
    /// The first of the versions, by its place in the list that was searched.
    pub first: usize,
    /// The last of them; it is the same in all between.
    pub last: usize,
}

/// Finds in one snapshot, in order of path, at once.
pub fn find_in_one<'a>(
    book: &'a Book,
    wanted: &'a Wanted,
) -> impl Iterator<Item = std::result::Result<EntryWithIds, Unreadable>> + use<'a> {
    book.cursor().filter(|entry| entry.as_ref().map_or(true, |entry| wanted.accepts(entry)))
}

/// Finds through the versions of a name, oldest first. Answers by path, then version; `gap` hears of the version and
/// the range that cannot be read.
pub fn find_in_versions(
    books: &[Book],
    wanted: &Wanted,
    gap: &mut dyn FnMut(usize, Unreadable),
    stop: &AtomicBool,
) -> Result<Vec<Found>> {
    let mut search = Search { wanted, now: HashMap::new(), found: Vec::new(), stop };
    // The version before, if it was read without a gap: a page that both lack would not show in what differs.
    let mut before = None;
    for (version, book) in books.iter().enumerate() {
        let compared = match before {
            Some(before) => search.compare(version, before, book)?,
            None => false,
        };
        let whole = compared || search.read(version, book, gap)?;
        before = whole.then_some(book);
    }
    Ok(search.finish(books.len()))
}

struct Search<'a> {
    wanted: &'a Wanted,
    /// What is in the version that was read last, and since when.
    now: HashMap<ManifestPath, (usize, EntryWithIds)>,
    found: Vec<Found>,
    stop: &'a AtomicBool,
}

impl Search<'_> {
    /// Brings `now` to the next version by what differs. Answers false if something cannot be compared; then the
    /// version has to be read.
    fn compare(&mut self, version: usize, before: &Book, book: &Book) -> Result<bool> {
        for change in Diff::new(before, book) {
            go_on(self.stop)?;
            match change {
                Ok(Change::Added(entry)) => self.is(version, *entry),
                Ok(Change::Changed { new, .. }) => self.is(version, *new),
                Ok(Change::Removed(entry)) => self.is_gone(version, &entry.path),
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Brings `now` to a version by reading all of it. Answers whether there was no gap.
    fn read(&mut self, version: usize, book: &Book, gap: &mut dyn FnMut(usize, Unreadable)) -> Result<bool> {
        let mut before = std::mem::take(&mut self.now);
        let mut whole = true;
        for entry in find_in_one(book, self.wanted) {
            go_on(self.stop)?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    whole = false;
                    gap(version, error);
                    continue;
                }
            };
            if let Some((since, old)) = before.remove(&entry.path) {
                self.now.insert(entry.path.clone(), (since, old));
            }
            self.is(version, entry);
        }
        before.into_values().for_each(|(since, entry)| self.ended(version, since, entry));
        Ok(whole)
    }

    fn is(&mut self, version: usize, entry: EntryWithIds) {
        if !self.wanted.accepts(&entry) {
            return self.is_gone(version, &entry.path);
        }
        if self.now.get(&entry.path).is_some_and(|(_, old)| *old == entry) {
            return;
        }
        if let Some((since, old)) = self.now.insert(entry.path.clone(), (version, entry)) {
            self.ended(version, since, old);
        }
    }

    fn is_gone(&mut self, version: usize, path: &ManifestPath) {
        if let Some((since, entry)) = self.now.remove(path) {
            self.ended(version, since, entry);
        }
    }

    fn ended(&mut self, version: usize, first: usize, entry: EntryWithIds) {
        if first < version {
            self.found.push(Found { entry, first, last: version - 1 });
        }
    }

    fn finish(mut self, versions: usize) -> Vec<Found> {
        for (since, entry) in std::mem::take(&mut self.now).into_values() {
            self.ended(versions, since, entry);
        }
        self.found.sort_by(|a, b| a.entry.path.cmp(&b.entry.path).then(a.first.cmp(&b.first)));
        self.found
    }
}
