//! Entries, maps and a store in memory for the tests of the manifest.

use super::{
    BlockSource, BuiltBlock, Content, Entry, EntryWithIds, FileType, Gap, Manifest, ManifestPath, MapBuilder, Mtime,
    OpenedBlock, Piece, Root, compare_paths,
};
use crate::codec::{UnknownField, optional};
use crate::domain::DomainRecord;
use crate::id::{BlockId, Kind};
use crate::kdf;
use crate::secret::{ContentKey, ContentSecret, DomainKeys};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

pub type Map = BTreeMap<ManifestPath, (Entry, Option<BlockId>)>;

pub fn keys() -> DomainKeys {
    DomainKeys::new(ContentSecret::from_bytes([1; 32]))
}

/// A domain whose pages and lists are small, so that few entries make a high tree.
pub fn small_record() -> DomainRecord {
    DomainRecord { page_entries: 3, page_inner: 2, list_parameter: 2, list_max: 4, ..DomainRecord::default() }
}

pub fn key(n: u64) -> ContentKey {
    ContentKey::from_bytes(kdf::hash(&n.to_le_bytes()))
}

/// An entry of every form.
pub fn entries() -> Vec<Entry> {
    let mut file = Entry::new(FileType::File);
    (file.mode, file.uid, file.gid) = (0o640, 1000, 1000);
    (file.user, file.group) = (b"me".to_vec(), b"us".to_vec());
    file.mtime = Mtime { seconds: -5, nanoseconds: 999_999_999 };
    file.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), Vec::new())];
    let inline = Entry { size: 5, content: Content::Inline(b"hello".to_vec()), ..file.clone() };
    let pieces = vec![Piece::data(70_000, key(1)), Piece::hole(1 << 40), Piece::data(9, key(1))];
    let pieces = Entry { size: 70_009 + (1 << 40), content: Content::Pieces(pieces), ..file.clone() };
    let list = Entry { size: 1 << 33, content: Content::List { key: key(2), level: 1 }, ..file.clone() };
    let big = Entry { xattrs: Vec::new(), xattr_block: Some(Piece::data(6000, key(3))), ..inline.clone() };
    let later = Entry { unknown: vec![UnknownField { tag: optional(60), value: vec![1, 2] }], ..inline.clone() };
    let link = Entry { link_target: Some(b"../x".to_vec()), ..Entry::new(FileType::Symlink) };
    let hardlink = Entry { hardlink: Some(b"a/first".to_vec()), ..file.clone() };
    let device = Entry { device: Some((8, 300)), ..Entry::new(FileType::BlockDevice) };
    let dir = Entry { mode: 0o755, ..Entry::new(FileType::Directory) };
    vec![file, inline, pieces, list, big, later, link, hardlink, device, dir, Entry::new(FileType::Socket)]
}

/// Builds a map, with all blocks.
pub fn build(map: &Map, record: &DomainRecord) -> (Root, Vec<BuiltBlock>) {
    let mut blocks = Vec::new();
    let mut builder = MapBuilder::new(&keys(), record);
    for (path, (entry, list)) in map {
        builder.push(path.as_bytes(), entry, *list, &mut |b| blocks.push(b)).unwrap();
    }
    let root = builder.finish(&mut |b| blocks.push(b));
    (root, blocks)
}

/// A map of about `files` files in nested folders, of all forms, that follows from `seed` alone.
pub fn map(seed: u64, files: u64) -> Map {
    let mut map = Map::new();
    let (forms, dir) = (entries(), Entry { mode: 0o755, ..Entry::new(FileType::Directory) });
    map.insert(path("a"), (dir.clone(), None));
    map.insert(path("a/first"), (forms[1].clone(), None));
    for n in 0..files {
        let hash = kdf::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat());
        let mut at = String::from("b");
        for depth in 0..hash[0] % 4 {
            map.entry(path(&at)).or_insert_with(|| (dir.clone(), None));
            at += &format!("/d{}", hash[1 + usize::from(depth)] % 5);
        }
        map.entry(path(&at)).or_insert_with(|| (dir.clone(), None));
        at += &format!("/f{:02x}.{}", hash[8], hash[9] % 3);
        let mut entry = forms[usize::from(hash[10]) % forms.len()].clone();
        entry.uid = u32::from(hash[11]);
        let list = matches!(entry.content, Content::List { .. }).then_some(BlockId([2; 32]));
        if !entry.is_dir() {
            map.insert(path(&at), (entry, list));
        }
    }
    map
}

pub fn path(text: &str) -> ManifestPath {
    ManifestPath::new(text).unwrap()
}

/// An entry with the ids that its blocks have.
pub fn with_ids(path: &ManifestPath, entry: &Entry, list: Option<BlockId>) -> EntryWithIds {
    let keys = keys();
    let id = |(kind, key): (Kind, &ContentKey)| match kind {
        Kind::List => list.unwrap(),
        kind => keys.block_id(kind, key, &[]),
    };
    EntryWithIds { path: path.clone(), ids: entry.references().map(id).collect(), entry: entry.clone() }
}

/// Whether a path is among what is missing.
pub fn is_in(gap: &Gap, path: &[u8]) -> bool {
    gap.after.as_ref().is_none_or(|after| compare_paths(after, path).is_lt())
        && gap.until.as_ref().is_none_or(|until| compare_paths(path, until).is_le())
}

/// Blocks in memory; can lose some, and counts how many were opened.
#[derive(Default)]
pub struct Store {
    blocks: RefCell<BTreeMap<BlockId, BuiltBlock>>,
    lost: RefCell<Vec<BlockId>>,
    opened: Cell<usize>,
    expected: RefCell<Vec<BlockId>>,
}

/// A block is not there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {0} is lost")]
pub struct Lost(pub BlockId);

impl Store {
    pub fn add(&self, block: BuiltBlock) {
        self.blocks.borrow_mut().insert(block.id, block);
    }

    pub fn build(&self, map: &Map, record: &DomainRecord) -> Root {
        let (root, blocks) = build(map, record);
        blocks.into_iter().for_each(|block| self.add(block));
        root
    }

    pub fn manifest(&self, root: &Root, record: &DomainRecord) -> Manifest<&Self> {
        Manifest::new(self, &keys(), record, root.id, root.key.clone())
    }

    pub fn ids(&self) -> Vec<BlockId> {
        self.blocks.borrow().keys().copied().collect()
    }

    pub fn lose(&self, id: BlockId) {
        *self.lost.borrow_mut() = vec![id];
    }

    pub fn opened(&self) -> usize {
        self.opened.get()
    }

    pub fn expected(&self) -> Vec<BlockId> {
        self.expected.borrow().clone()
    }
}

impl BlockSource for Store {
    type Error = Lost;

    fn open(&self, kind: Kind, id: &BlockId, key: &ContentKey) -> Result<OpenedBlock, Lost> {
        self.opened.set(self.opened.get() + 1);
        if self.lost.borrow().contains(id) {
            return Err(Lost(*id));
        }
        let blocks = self.blocks.borrow();
        let block = blocks.get(id).ok_or(Lost(*id))?;
        assert_eq!((block.kind, &block.key), (kind, key), "a reader asks with the key of the block");
        Ok(OpenedBlock { plaintext: block.plaintext.clone(), children: block.children.clone() })
    }

    fn expect(&self, _kind: Kind, ids: &[BlockId]) {
        self.expected.borrow_mut().extend_from_slice(ids);
    }
}
