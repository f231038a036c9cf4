//! What differs between two manifests, in order, opening only what differs. FORMAT §5.
//!
//! Promise: pages that both have are never opened. Where one side cannot be read, nothing is said about
//! that range but the error. Parents are not checked: they may stand in pages that both have.

use super::path::compare_paths;
use super::read::{EntryWithIds, Manifest, take_entry};
use super::source::BlockSource;
use super::walk::{Gap, Head, ReadError, Walker};
use std::cmp::Ordering;

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the new one has it.
    Added(Box<EntryWithIds>),
    /// Only the old one had it.
    Removed(Box<EntryWithIds>),
    /// Its entry differs.
    Changed {
        /// As it was.
        old: Box<EntryWithIds>,
        /// As it is.
        new: Box<EntryWithIds>,
    },
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Old,
    /// The second.
    New,
}

/// A range that cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("a part of the {} manifest cannot be read", match side { Side::Old => "old", Side::New => "new" })]
pub struct DiffError<E: std::error::Error + 'static> {
    /// Where it cannot be read.
    pub side: Side,
    /// What and why.
    #[source]
    pub error: ReadError<E>,
}

/// Compares two manifests. Each `Err` names a range that is left out; the iteration goes on behind it.
pub struct Diff<'m, S> {
    old: Half<'m, S>,
    new: Half<'m, S>,
}

struct Half<'m, S> {
    manifest: &'m Manifest<S>,
    walker: Walker<'m, S>,
    /// Up to here the other side is unknown.
    blind: Blind,
}

enum Blind {
    No,
    Until(Vec<u8>),
    ToTheEnd,
}

impl<'m, S: BlockSource> Diff<'m, S> {
    /// Compares `old` with `new`.
    pub fn new(old: &'m Manifest<S>, new: &'m Manifest<S>) -> Self {
        Self { old: Half::new(old), new: Half::new(new) }
    }

    fn step(&mut self) -> Result<Step, DiffError<S::Error>> {
        self.old.pass_blind();
        self.new.pass_blind();
        let (old, new) = (self.old.walker.head(), self.new.walker.head());
        Ok(match (old, new) {
            (Head::End, Head::End) => Step::End,
            (Head::Page(old), Head::Page(new)) if old.key == new.key => {
                self.old.walker.advance();
                self.new.walker.advance();
                Step::Same
            }
            (Head::Page(old), Head::Page(new)) if old.level() < new.level() => self.descend(Side::New)?,
            (Head::Page(_), _) => self.descend(Side::Old)?,
            (_, Head::Page(_)) => self.descend(Side::New)?,
            (Head::Entry { .. }, Head::End) => self.removed()?,
            (Head::End, Head::Entry { .. }) => self.added()?,
            (Head::Entry { path: old, entry: old_entry }, Head::Entry { path: new, entry: new_entry }) => {
                match compare_paths(old, new) {
                    Ordering::Less => self.removed()?,
                    Ordering::Greater => self.added()?,
                    Ordering::Equal if old_entry == new_entry => {
                        self.old.walker.advance();
                        self.new.walker.advance();
                        Step::Same
                    }
                    Ordering::Equal => self.changed()?,
                }
            }
        })
    }

    fn descend(&mut self, side: Side) -> Result<Step, DiffError<S::Error>> {
        let opened = self.half(side).walker.descend();
        opened.map(|()| Step::Same).map_err(|error| self.blind(side, error))
    }

    fn removed(&mut self) -> Result<Step, DiffError<S::Error>> {
        Ok(Step::Found(Change::Removed(self.take(Side::Old)?)))
    }

    fn added(&mut self) -> Result<Step, DiffError<S::Error>> {
        Ok(Step::Found(Change::Added(self.take(Side::New)?)))
    }

    fn changed(&mut self) -> Result<Step, DiffError<S::Error>> {
        let (old, new) = (self.take(Side::Old)?, self.take(Side::New)?);
        Ok(Step::Found(Change::Changed { old, new }))
    }

    fn take(&mut self, side: Side) -> Result<Box<EntryWithIds>, DiffError<S::Error>> {
        let half = self.half(side);
        let taken = take_entry(half.manifest, &half.walker);
        half.walker.advance();
        taken.map(Box::new).map_err(|error| self.blind(side, error))
    }

    fn half(&mut self, side: Side) -> &mut Half<'m, S> {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }

    /// One side cannot be read: the other one is not compared there.
    fn blind(&mut self, side: Side, error: ReadError<S::Error>) -> DiffError<S::Error> {
        let other = match side {
            Side::Old => &mut self.new,
            Side::New => &mut self.old,
        };
        other.blind_for(&error.gap);
        DiffError { side, error }
    }
}

impl<S: BlockSource> Iterator for Diff<'_, S> {
    type Item = Result<Change, DiffError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Step::Same) => {}
                Ok(Step::Found(change)) => return Some(Ok(change)),
                Ok(Step::End) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

enum Step {
    Same,
    Found(Change),
    End,
}

impl<'m, S: BlockSource> Half<'m, S> {
    fn new(manifest: &'m Manifest<S>) -> Self {
        Self { manifest, walker: Walker::new(manifest), blind: Blind::No }
    }

    fn blind_for(&mut self, gap: &Gap) {
        self.blind = match (&gap.until, &self.blind) {
            (None, _) | (_, Blind::ToTheEnd) => Blind::ToTheEnd,
            (Some(until), _) => Blind::Until(until.clone()),
        };
    }

    /// Passes what the other side does not know.
    fn pass_blind(&mut self) {
        loop {
            let last = match self.walker.head() {
                Head::End => return,
                Head::Page(page) => page.last(),
                Head::Entry { path, .. } => Some(path),
            };
            let unknown = match &self.blind {
                Blind::No => false,
                Blind::Until(until) => last.is_some_and(|last| compare_paths(last, until).is_le()),
                Blind::ToTheEnd => true,
            };
            if !unknown {
                return;
            }
            self.walker.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::sample::{self, Map, Store};
    use crate::manifest::{Entry, FileType};
    use proptest::prelude::*;

    fn naive(old: &Map, new: &Map) -> Vec<Change> {
        let at = |map: &Map, path| map.get(path).map(|(entry, list)| Box::new(sample::with_ids(path, entry, *list)));
        let mut paths: Vec<_> = old.keys().chain(new.keys()).collect();
        paths.sort();
        paths.dedup();
        let change = |path| match (at(old, path), at(new, path)) {
            (Some(old), Some(new)) => (old != new).then_some(Change::Changed { old, new }),
            (Some(old), None) => Some(Change::Removed(old)),
            (None, new) => new.map(Change::Added),
        };
        paths.into_iter().filter_map(change).collect()
    }

    /// Changes, removes and adds some files.
    fn edited(map: &Map, edits: &[u16]) -> Map {
        let mut edited = map.clone();
        for edit in edits {
            let files: Vec<_> = edited.iter().filter(|(_, (e, _))| !e.is_dir()).map(|(path, _)| path.clone()).collect();
            let path = &files[usize::from(*edit) % files.len()];
            match edit % 3 {
                0 => edited.get_mut(path).unwrap().0.mode ^= 1,
                1 if files.len() > 1 => _ = edited.remove(path),
                _ => {
                    let new = sample::path(&format!("{path}.{edit}"));
                    edited.insert(new, (Entry::new(FileType::Fifo), None));
                }
            }
        }
        edited
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_diff_is_what_comparing_every_path_finds(
            seed in 0u64..50, files in 1u64..300, edits in prop::collection::vec(any::<u16>(), 0..12)
        ) {
            let old = sample::map(seed, files);
            let new = edited(&old, &edits);
            let store = Store::default();
            let record = sample::small_record();
            let (old_root, new_root) = (store.build(&old, &record), store.build(&new, &record));
            let (a, b) = (store.manifest(&old_root, &record), store.manifest(&new_root, &record));
            let found: Vec<_> = Diff::new(&a, &b).map(Result::unwrap).collect();
            prop_assert_eq!(found, naive(&old, &new));
            let back: Vec<_> = Diff::new(&b, &a).map(Result::unwrap).collect();
            prop_assert_eq!(back, naive(&new, &old));
        }

        #[test]
        fn where_one_side_cannot_be_read_nothing_is_said_and_the_rest_is(
            seed in 0u64..50, page in any::<prop::sample::Index>(), edits in prop::collection::vec(any::<u16>(), 1..12)
        ) {
            let old = sample::map(seed, 200);
            let new = edited(&old, &edits);
            let store = Store::default();
            let record = sample::small_record();
            let (old_root, new_root) = (store.build(&old, &record), store.build(&new, &record));
            let ids = store.ids();
            store.lose(ids[page.index(ids.len())]);
            let (a, b) = (store.manifest(&old_root, &record), store.manifest(&new_root, &record));
            let (mut found, mut gaps) = (Vec::new(), Vec::new());
            for item in Diff::new(&a, &b) {
                match item {
                    Ok(change) => found.push(change),
                    Err(e) => gaps.push(e.error.gap),
                }
            }
            let path_of = |change: &Change| match change {
                Change::Added(e) | Change::Removed(e) | Change::Changed { new: e, .. } => e.path.clone(),
            };
            let known = |change: &Change| gaps.iter().all(|gap| !sample::is_in(gap, path_of(change).as_bytes()));
            let expected: Vec<_> = naive(&old, &new).into_iter().filter(known).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_both_have_is_not_opened() {
        let old = sample::map(3, 2000);
        let mut new = old.clone();
        let path = new.keys().nth(900).unwrap().clone();
        new.get_mut(&path).unwrap().0.mode ^= 1;
        let store = Store::default();
        let record = sample::small_record();
        let (old_root, new_root) = (store.build(&old, &record), store.build(&new, &record));
        let (a, b) = (store.manifest(&old_root, &record), store.manifest(&new_root, &record));
        assert_eq!(Diff::new(&a, &b).count(), 1);
        assert_eq!(store.opened(), 2 * (usize::from(old_root.level) + 1));
        assert_eq!(Diff::new(&a, &a).count(), 0);
        assert_eq!(store.opened(), 2 * (usize::from(old_root.level) + 1), "equal roots are not opened");
    }

    #[test]
    fn everything_against_nothing() {
        let store = Store::default();
        let (map, record) = (sample::map(1, 50), sample::small_record());
        let (empty, full) = (store.build(&Map::new(), &record), store.build(&map, &record));
        let (a, b) = (store.manifest(&empty, &record), store.manifest(&full, &record));
        assert!(Diff::new(&a, &b).all(|c| matches!(c, Ok(Change::Added(_)))));
        assert_eq!(Diff::new(&b, &a).count(), map.len());
    }
}
