//! A store of one's own with a vault, a folder to push, and a forger of manifests that no push would make.
#![allow(dead_code)] // Each test binary uses a part of it.

use cas_client::browse::{Library, Opened};
use cas_client::push::{Counters, ExcludeRules, PushOptions, push};
use cas_client::reference::Reference;
use cas_client::store::{Store, now_ns};
use cas_client::vault::{NewVault, Vault};
use cas_client::{forget, random};
use cas_core::agebox::Identity;
use cas_core::domain::DomainRecord;
use cas_core::frame::{Compression, Header, Sealer};
use cas_core::id::{BlockId, Epoch, Kind, SnapshotId, Sum};
use cas_core::manifest::Entry;
use cas_core::secret::ContentKey;
use cas_core::snapshot::{Details, NewSnapshot, SnapshotObject};
use cas_net::{Commit, Delete, PutBlock, Registration, SnapshotRow, StartSession};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub static GO_ON: AtomicBool = AtomicBool::new(false);

/// A store with a vault whose pages and lists are small, and a folder to push.
pub struct World {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub vault: Vault,
}

impl World {
    pub fn new() -> Self {
        Self::with_pages(4, 3)
    }

    /// One whose pages are never cut before they are full, as far as chance goes: a forger knows what goes into which.
    pub fn with_large_pages() -> Self {
        Self::with_pages(4096, 4096)
    }

    fn with_pages(page_entries: u32, page_inner: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store"), "test").unwrap();
        let identity = Identity::from_random(&random());
        let sizes = DomainRecord::with_sizes(1 << 10, 4 << 10, 16 << 10).unwrap();
        let new = NewVault {
            domain: DomainRecord { page_entries, page_inner, list_parameter: 2, list_max: 4, ..sizes },
            owner: identity.recipient(),
            recovery: Identity::from_random(&random()).recipient(),
            label: "test".to_owned(),
        };
        let vault = Vault::create(&store, vec![identity], new, &dir.path().join("state")).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        Self { dir, store, vault }
    }

    pub fn src(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.src().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn push(&mut self, name: &str) {
        let options = PushOptions {
            paths: vec![self.src()],
            name: name.to_owned(),
            excludes: ExcludeRules::default(),
            one_file_system: false,
            compression: Compression::Zstd(1),
            force: true,
            dry_run: false,
            jobs: 1,
            host: "host".to_owned(),
            user: "user".to_owned(),
            tags: Vec::new(),
            time_ns: None,
            program: "test".to_owned(),
        };
        let cache = self.dir.path().join("cache");
        let report = push(&self.store, &mut self.vault, &cache, &options, &Arc::<Counters>::default(), &GO_ON).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }

    pub fn library(&mut self) -> Library<'_> {
        Library::open(&self.store, &mut self.vault, None).unwrap()
    }

    pub fn open(&mut self, reference: &str) -> Opened {
        Opened::open(&self.store, &mut self.vault, &Reference::parse(reference, 0).unwrap()).unwrap()
    }

    pub fn rows(&self) -> Vec<SnapshotRow> {
        self.store.index().snapshots(&self.vault.id(), None, false).unwrap()
    }

    /// Takes a block from the node; the index still knows it.
    pub fn lose(&self, id: BlockId) {
        self.store.node().unwrap().delete(&[Delete { id, epoch: Epoch(u64::MAX) }]).unwrap();
        assert!(self.store.node().unwrap().get(&id).is_err());
    }

    /// All pages of a manifest, each once; the root is the first.
    pub fn pages_of(&self, root: BlockId) -> Vec<BlockId> {
        let (mut open, mut pages) = (vec![root], Vec::new());
        while let Some(page) = open.pop() {
            let rows = self.store.index().rows(&[page]).unwrap();
            if rows[0].is_some_and(|row| row.kind == Kind::Page) && !pages.contains(&page) {
                pages.push(page);
                open.extend(self.store.index().children(&page).unwrap());
            }
        }
        pages
    }

    /// Puts a block's bytes on the node again.
    pub fn bring_back(&self, id: BlockId, bytes: Vec<u8>) {
        let index = self.store.index();
        let start = StartSession {
            vault: self.vault.id(),
            domain: self.vault.keys().domain_id(),
            device: self.vault.device().public(),
            label: "healer".to_owned(),
        };
        let session = index.start_session(&start).unwrap().session;
        let (header, _) = Header::parse(&bytes).unwrap();
        let put = PutBlock { id, kind: header.kind, domain: header.domain, sum: Sum::of(&bytes), bytes: bytes.into() };
        self.store.node().unwrap().put(&index.grant(session).unwrap(), vec![put]).unwrap().wait().unwrap();
        index.close_session(session).unwrap();
    }

    pub fn forget(&self, rows: &[SnapshotRow]) {
        forget::forget(&self.store, &self.vault, rows, now_ns(), &mut |_| {}).unwrap();
    }
}

/// Bytes that follow from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| (next() >> 32) as u8).collect()
}

/// A block that a forger made.
pub struct Forged {
    pub kind: Kind,
    pub plaintext: Vec<u8>,
    pub children: Vec<BlockId>,
}

impl World {
    /// The key and id of a block.
    pub fn name_of(&self, block: &Forged) -> (ContentKey, BlockId) {
        let key = self.vault.keys().content_key(block.kind, &block.plaintext);
        let id = self.vault.keys().block_id(block.kind, &key, &block.children);
        (key, id)
    }

    /// Stores blocks, bottom-up, and commits the last of them as the root of a new version, as a member could who has
    /// the keys and another program.
    pub fn forge(&mut self, name: &str, blocks: &[Forged]) {
        let index = self.store.index();
        let (vault, domain) = (self.vault.id(), self.vault.keys().domain_id());
        let device = self.vault.device().public();
        let start = StartSession { vault, domain, device, label: "forger".to_owned() };
        let session = index.start_session(&start).unwrap().session;
        let mut sealer = Sealer::new(Compression::Off);
        let named: Vec<_> = blocks.iter().map(|block| self.name_of(block)).collect();
        let ids: Vec<_> = named.iter().map(|(_, id)| *id).collect();
        let answer = index.have(session, &ids).unwrap();
        let (mut puts, mut headers) = (Vec::new(), Vec::new());
        for ((block, (key, id)), present) in blocks.iter().zip(&named).zip(answer.present) {
            let keys = self.vault.keys();
            let frame = sealer.seal(keys, block.kind, &block.plaintext, key, &block.children);
            if block.kind.has_children() {
                let (kind, x, children) = (block.kind, keys.name_of(key), block.children.clone());
                headers.push(Header { kind, domain, x, children }.encode());
            }
            if !present {
                puts.push(PutBlock { id: *id, kind: block.kind, domain, sum: frame.sum, bytes: frame.bytes.into() });
            }
        }
        let receipt = self.store.node().unwrap().put(&answer.grant, puts).unwrap().wait().unwrap();
        let registered = index.register(session, Registration { headers, receipts: vec![receipt] }).unwrap();
        assert!(registered.missing.is_empty());
        let (key, root) = named.last().unwrap().clone();
        let name: cas_core::snapshot::Name = name.parse().unwrap();
        let (last, previous) = index.head(&vault, name.as_str()).unwrap().unwrap_or((0, SnapshotId::ZERO));
        let keyring = self.vault.keyring().reference();
        let new = NewSnapshot { vault, name, seq: last + 1, previous, root, time_ns: now_ns(), keyring };
        let details = Details::new(key, self.vault.keys().secret().clone(), self.vault.record().clone());
        let recipients = self.vault.keyring().snapshot_recipients();
        let object = SnapshotObject::build(&new, &details, &random(), &recipients, self.vault.device()).unwrap();
        let object = object.encode();
        let grant = index.grant(session).unwrap();
        let receipts =
            cas_client::push::put_object(self.store.nodes(), grant, Kind::Snapshot, domain, &object).unwrap();
        index.commit(session, &Commit { object, receipts, key: random() }).unwrap();
    }
}

/// A page of level 0 with these entries, whatever the rules between entries say. None refers to a block.
pub fn page_of(entries: &[(&str, Entry)]) -> Forged {
    let items: Vec<_> = entries.iter().map(|(path, entry)| (*path, with_length(&entry.encode()))).collect();
    Forged { kind: Kind::Page, plaintext: page_bytes(0, &items), children: Vec::new() }
}

/// A page of level 1 over pages of level 0, each with its last path, entries and bytes.
pub fn page_over(world: &World, below: &[(&str, &Forged, u8, u8)]) -> Forged {
    let (mut items, mut children) = (Vec::new(), Vec::new());
    for (last, page, entries, bytes) in below {
        let (key, id) = world.name_of(page);
        items.push((*last, [&key.as_bytes()[..], &[*entries, *bytes]].concat()));
        children.push(id);
    }
    Forged { kind: Kind::Page, plaintext: page_bytes(1, &items), children }
}

fn page_bytes(level: u8, items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![1, level];
    bytes.extend((items.len() as u32).to_le_bytes());
    let mut last: &[u8] = b"";
    for (key, value) in items {
        let key = key.as_bytes();
        let shared = key.iter().zip(last).take_while(|(a, b)| a == b).count();
        bytes.push(shared as u8);
        bytes.extend(with_length(&key[shared..]));
        bytes.extend(value);
        last = key;
    }
    bytes
}

/// FORMAT §1: bytes below 16 KiB.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let len = match bytes.len() {
        len @ 0..128 => vec![len as u8],
        len => vec![len as u8 | 0x80, (len >> 7) as u8],
    };
    [len, bytes.to_vec()].concat()
}
