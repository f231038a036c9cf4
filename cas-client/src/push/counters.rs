//! What a push has done so far, for whoever shows it.

use cas_core::id::Kind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files smaller than this are read too fast to be shown, in bytes.
const SHOWN_FROM: u64 = 32 << 10;

macro_rules! counters {
    ($(#[doc = $doc:literal] $name:ident,)*) => {
        /// Live counts, raised by all threads of a push.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $doc] pub $name: AtomicU64,)*
            /// Files that are being read.
            pub reading: Reading,
        }

        /// The same at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Counters {
            /// What stands there now.
            pub fn now(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Files that were not in the last push.
    files_new,
    /// Files that were and differ.
    files_changed,
    /// Files that are as they were.
    files_unmodified,
    /// Directories that were not in the last push.
    dirs_new,
    /// Directories that were and differ.
    dirs_changed,
    /// Directories that are as they were.
    dirs_unmodified,
    /// Links, devices and the like.
    others,
    /// Bytes of all files.
    bytes,
    /// Bytes that were read.
    bytes_read,
    /// New data blocks.
    data_blocks,
    /// New pages and lists.
    tree_blocks,
    /// Plaintext of new blocks.
    bytes_added,
    /// The same as stored.
    bytes_stored,
    /// Files, directories and others that could not be read as they should.
    problems,
}

/// Files that are being read now, at most one for each thread.
#[derive(Debug, Default)]
pub struct Reading(Mutex<Vec<PathBuf>>);

impl Reading {
    /// The files, those that were begun first first.
    pub fn now(&self) -> Vec<PathBuf> {
        self.lock().clone()
    }

    /// A file is being read as long as the answer is kept; one that is too small to be shown is left out.
    pub(super) fn begin(&self, size: u64, path: impl FnOnce() -> PathBuf) -> Option<Begun<'_>> {
        if size < SHOWN_FROM {
            return None;
        }
        let path = path();
        self.lock().push(path.clone());
        Some(Begun { reading: self, path })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is being read.
pub(super) struct Begun<'a> {
    reading: &'a Reading,
    path: PathBuf,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut files = self.reading.lock();
        if let Some(at) = files.iter().position(|path| *path == self.path) {
            files.remove(at);
        }
    }
}

impl Counters {
    /// The same is looked at once more. What was read and stored so far has been.
    pub(super) fn begin_again(&self) {
        let Self { files_new, files_changed, files_unmodified, dirs_new, dirs_changed, dirs_unmodified, .. } = self;
        let Self { others, bytes, problems, .. } = self;
        let seen = [files_new, files_changed, files_unmodified, dirs_new, dirs_changed, dirs_unmodified];
        seen.into_iter().chain([others, bytes, problems]).for_each(|count| count.store(0, Relaxed));
    }

    /// Raises one.
    pub fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Relaxed);
    }

    /// A new block was sealed (or, in a dry run, would be: then `stored` is 0).
    pub fn stored(&self, kind: Kind, plaintext: usize, stored: usize) {
        let blocks = if kind == Kind::Data { &self.data_blocks } else { &self.tree_blocks };
        Self::add(blocks, 1);
        Self::add(&self.bytes_added, plaintext as u64);
        Self::add(&self.bytes_stored, stored as u64);
    }
}

impl Counts {
    /// All files.
    pub fn files(&self) -> u64 {
        self.files_new + self.files_changed + self.files_unmodified
    }

    /// All directories.
    pub fn dirs(&self) -> u64 {
        self.dirs_new + self.dirs_changed + self.dirs_unmodified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_until_it_is_done_and_small_files_never() {
        let reading = Reading::default();
        let first = reading.begin(SHOWN_FROM, || "a".into());
        let second = reading.begin(u64::MAX, || "b".into());
        let twice = reading.begin(SHOWN_FROM, || "a".into());
        assert!(reading.begin(SHOWN_FROM - 1, || unreachable!("not even its path is made")).is_none());
        assert_eq!(reading.now(), ["a", "b", "a"].map(PathBuf::from));
        drop((first, second));
        assert_eq!(reading.now(), [PathBuf::from("a")]);
        drop(twice);
        assert!(reading.now().is_empty());
    }
}
