//! Whole manifests made of arbitrary pages and lists: walked, sought, compared. FORMAT §5.

use super::fixed;
use super::input::Input;
use cas_core::domain::DomainRecord;
use cas_core::id::{BlockId, Kind};
use cas_core::manifest::{
    BlockSource, Diff, EntryWithIds, List, Manifest, ManifestPath, MapBuilder, OpenedBlock, Page, Reference,
    compare_paths,
};
use cas_core::secret::{ContentKey, DomainKeys};
use std::cell::Cell;
use std::collections::HashMap;

/// More than a short input needs; pages that refer to one another could make a walk as long as they like.
const MAX_OPENED: usize = 3000;

/// Blobs with a u16 length each; the first is the root page, the second the root of another manifest. A reference to
/// `[n; 32]` means the n-th blob, one to its real P, too.
///
/// What a cursor gives is in order, found again by lookup, and, if nothing was missing, builds the same root.
pub fn manifest(input: &[u8]) -> bool {
    let blobs = Blobs::read(Input(input));
    if blobs.blobs.len() < 2 {
        return false;
    }
    let (first, second) = (blobs.manifest(0), blobs.manifest(1));
    let found: Vec<_> = first.cursor().take(MAX_OPENED).collect();
    let whole = found.iter().all(Result::is_ok) && found.len() < MAX_OPENED;
    let entries: Vec<EntryWithIds> = found.into_iter().flatten().collect();
    assert!(entries.windows(2).all(|pair| pair[0].path < pair[1].path), "in order");
    for entry in &entries {
        read_pieces(&blobs, &first, entry);
    }
    if whole {
        check_whole(&blobs, &first, &entries);
    }
    compare(&blobs, &first, &second);
    whole
}

fn read_pieces(blobs: &Blobs, manifest: &Manifest<&Blobs>, entry: &EntryWithIds) {
    blobs.rewind();
    let Some(pieces) = manifest.pieces(entry) else { return };
    let mut at = 0;
    for piece in pieces.take(MAX_OPENED) {
        match piece {
            Ok(piece) => {
                assert_eq!(piece.offset, at, "no gap and no overlap");
                at += piece.len;
            }
            Err(error) => {
                assert_eq!(error.bytes.start, at, "no gap and no overlap");
                at = error.bytes.end;
            }
        }
        assert!(at <= entry.entry.size);
    }
}

fn check_whole(blobs: &Blobs, manifest: &Manifest<&Blobs>, entries: &[EntryWithIds]) {
    blobs.rewind();
    for entry in entries.iter().take(50) {
        assert_eq!(manifest.lookup(&entry.path).ok().flatten().as_ref(), Some(entry));
    }
    let mut cursor = manifest.cursor();
    for entry in entries.iter().rev().take(50) {
        cursor.seek(&entry.path);
        assert_eq!(cursor.next().and_then(Result::ok).as_ref(), Some(entry));
    }
    let top: Vec<ManifestPath> = manifest.children(None).flatten().map(|entry| entry.path).collect();
    let expected: Vec<_> = entries.iter().map(|entry| &entry.path).filter(|path| path.parent().is_none()).collect();
    assert_eq!(top.iter().collect::<Vec<_>>(), expected);
    let totals = manifest.totals().expect("its root was read before");
    assert_eq!(totals.entries, entries.len() as u64);
    if !blobs.by_number.get() {
        assert_eq!(build(&blobs.keys, &blobs.record, entries), blobs.key_of(0), "equal maps have equal roots");
    }
}

fn build(keys: &DomainKeys, record: &DomainRecord, entries: &[EntryWithIds]) -> ContentKey {
    let mut builder = MapBuilder::new(keys, record);
    for EntryWithIds { path, entry, ids } in entries {
        let list = matches!(entry.content, cas_core::manifest::Content::List { .. }).then(|| ids[0]);
        builder.push(path.as_bytes(), entry, list, &mut |_| {}).expect("what is read can be written");
    }
    builder.finish(&mut |_| {}).key
}

fn compare(blobs: &Blobs, first: &Manifest<&Blobs>, second: &Manifest<&Blobs>) {
    blobs.rewind();
    let mut last: Option<ManifestPath> = None;
    for change in Diff::new(first, second).take(MAX_OPENED).flatten() {
        use cas_core::manifest::Change::{Added, Changed, Removed};
        let entry = match change {
            Added(entry) | Removed(entry) => entry,
            Changed { old, new } => {
                assert!(old.path == new.path && old.entry != new.entry);
                new
            }
        };
        let after = last.as_ref().is_none_or(|last| compare_paths(last.as_bytes(), entry.path.as_bytes()).is_lt());
        assert!(after, "in order");
        last = Some(entry.path);
    }
    blobs.rewind();
    assert_eq!(Diff::new(first, first).count(), 0, "nothing differs from itself");
}

struct Blobs {
    keys: DomainKeys,
    record: DomainRecord,
    blobs: Vec<Vec<u8>>,
    by_key: HashMap<(Kind, ContentKey), usize>,
    opened: Cell<usize>,
    /// Whether anything was opened that has another P than was asked for.
    by_number: Cell<bool>,
}

/// The blob is not there, or too many were asked for.
#[derive(Debug, thiserror::Error)]
#[error("not there")]
struct NotThere;

impl Blobs {
    fn read(mut input: Input<'_>) -> Self {
        let (keys, record) = (fixed::keys(), fixed::small_record());
        let mut blobs = Vec::new();
        while let Some(blob) = input.blob().filter(|_| blobs.len() < 200) {
            blobs.push(blob.to_vec());
        }
        let kinds = [Kind::Page, Kind::List];
        let named = |(n, blob): (usize, &Vec<u8>)| kinds.map(|kind| ((kind, keys.content_key(kind, blob)), n));
        let by_key = blobs.iter().enumerate().flat_map(named).collect();
        Self { keys, record, blobs, by_key, opened: Cell::new(0), by_number: Cell::new(false) }
    }

    fn key_of(&self, n: usize) -> ContentKey {
        self.keys.content_key(Kind::Page, &self.blobs[n])
    }

    fn manifest(&self, n: usize) -> Manifest<&Self> {
        Manifest::new(self, &self.keys, &self.record, BlockId([n as u8; 32]), self.key_of(n))
    }

    fn rewind(&self) {
        self.opened.set(0);
    }

    fn number_of(&self, kind: Kind, key: &ContentKey) -> Option<usize> {
        if let Some(n) = self.by_key.get(&(kind, key.clone())) {
            return Some(*n);
        }
        let n = key.as_bytes()[0];
        (key.as_bytes() == &[n; 32] && usize::from(n) < self.blobs.len()).then(|| {
            self.by_number.set(true);
            n.into()
        })
    }

    fn children_of(&self, kind: Kind, plaintext: &[u8]) -> Vec<BlockId> {
        let id = |reference: &Reference| self.keys.block_id(reference.kind, &reference.key, &[]);
        let page = || Page::decode(plaintext.to_vec()).map(|page| page.references().iter().map(id).collect());
        let list = || List::decode(plaintext).map(|list| list.references().iter().map(id).collect());
        if kind == Kind::Page { page() } else { list() }.unwrap_or_default()
    }
}

impl BlockSource for Blobs {
    type Error = NotThere;

    fn open(&self, kind: Kind, _id: &BlockId, key: &ContentKey) -> Result<OpenedBlock, NotThere> {
        self.opened.set(self.opened.get() + 1);
        let number = self.number_of(kind, key).filter(|_| self.opened.get() < MAX_OPENED).ok_or(NotThere)?;
        let plaintext = self.blobs[number].clone();
        Ok(OpenedBlock { children: self.children_of(kind, &plaintext), plaintext })
    }
}
