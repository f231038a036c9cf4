//! Verifies whole manifests that share pages: every rule that a reader relies on, each page once. FORMAT §5.
//!
//! Promise: what [`Survey::walk`] has nothing to say about, a [`Cursor`](super::Cursor) over the whole manifest reads without an error: each
//! page fits its parent and the page before it, each entry its directory and the domain. A page that was verified
//! behind the same page is not opened again; where only its neighbour is new, the pages along the border between them are.
//! Memory: 16 bytes a page and neighbour.
//! Not here: lists, the blocks of files, and what a hardlink points to: those are handed out.

use super::page::Page;
use super::read::{EntryWithIds, Manifest, Parents, refused, take_entry};
use super::source::{BlockSource, ReadCause};
use super::walk::{Head, ReadError, Walker};
use crate::id::BlockId;
use std::collections::HashSet;
use std::error::Error;

/// What a survey comes across.
pub enum Met<'a, E: Error + 'static> {
    /// A page that fits. It may come more than once.
    Page {
        /// The page.
        id: BlockId,
        /// What it holds.
        page: &'a Page,
        /// The child ids of its header: those of its references, in order.
        children: &'a [BlockId],
    },
    /// An entry that refers to another path or to a list. It comes once for each new page that it stands in, a hardlink
    /// once for each manifest.
    Entry(&'a EntryWithIds),
    /// A part that cannot be used.
    Unusable(ReadError<E>),
}

/// What was verified so far, in one domain.
#[derive(Default)]
pub struct Survey {
    /// Pages with what is told of them and the page before: halves of hashes.
    verified: HashSet<[u8; 16]>,
    /// Pages with a hardlink somewhere below.
    linked: HashSet<BlockId>,
}

impl Survey {
    /// Verifies a manifest. `met` answers whether to go on.
    pub fn walk<S: BlockSource>(&mut self, manifest: &Manifest<S>, mut met: impl FnMut(Met<'_, S::Error>) -> bool) {
        let mut walker = Walker::new(manifest);
        let mut parents = Parents::default();
        loop {
            let go_on = match walker.head() {
                Head::End => return,
                Head::Page(closed) => {
                    let fingerprint = closed.fingerprint(walker.page_before(closed.level()));
                    if !self.verified.insert(fingerprint) && !self.linked.contains(&closed.id) {
                        walker.pass_verified();
                        continue;
                    }
                    self.descend(&mut walker, &mut parents, &mut met)
                }
                Head::Entry { .. } => self.entry(manifest, &mut walker, &mut parents, &mut met),
            };
            if !go_on {
                return;
            }
        }
    }

    fn descend<S: BlockSource>(
        &mut self,
        walker: &mut Walker<'_, S>,
        parents: &mut Parents,
        met: &mut impl FnMut(Met<'_, S::Error>) -> bool,
    ) -> bool {
        if let Some((path, is_dir)) = walker.catch_up() {
            parents.saw(&path, is_dir);
        }
        if let Err(error) = walker.descend() {
            parents.lost_until(error.gap.until.as_deref());
            return met(Met::Unusable(error));
        }
        let (id, page, children) = walker.page().expect("it was just opened");
        met(Met::Page { id, page, children })
    }

    fn entry<S: BlockSource>(
        &mut self,
        manifest: &Manifest<S>,
        walker: &mut Walker<'_, S>,
        parents: &mut Parents,
        met: &mut impl FnMut(Met<'_, S::Error>) -> bool,
    ) -> bool {
        let taken = take_entry(manifest, walker).and_then(|taken| {
            if parents.check(manifest, taken.path.as_bytes()) {
                return Ok(taken);
            }
            Err(refused(walker, ReadCause::Broken { expected: "the directory it is in" }))
        });
        if taken.as_ref().is_ok_and(|taken| taken.entry.hardlink.is_some()) {
            self.linked.extend(walker.open_pages());
        }
        walker.advance();
        match taken {
            Err(error) => met(Met::Unusable(error)),
            Ok(taken) => {
                parents.saw(taken.path.as_bytes(), taken.entry.is_dir());
                let of_interest = taken.entry.hardlink.is_some() || taken.list_id().is_some();
                !of_interest || met(Met::Entry(&taken))
            }
        }
    }
}

#[cfg(test)]
mod tests;
