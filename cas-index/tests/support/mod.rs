//! A small world around an index: a node in memory, content by number, objects that are signed but not sealed for anyone.

#![allow(dead_code, reason = "every test file uses a part of it")]

mod disk;

#[allow(unused_imports, reason = "every test file uses a part of this module")]
pub use disk::SimDisk;

use cas_core::agebox;
use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, SnapshotId, Sum, VaultId};
use cas_core::kdf;
use cas_core::signing::SigningKey;
use cas_core::snapshot::{SnapshotObject, SnapshotRecord};
use cas_index::{Index, Options};
use cas_net::{
    Commit, Committed, Delete, Deleted, Grant, Index as _, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt,
    Received, Registration, Result, Scrubbed, ServiceError, SessionId, SnapshotRow, SnapshotState, StartSession,
    StoredBlock,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

pub const SEED: [u8; 32] = [1; 32];
pub const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

pub fn vault() -> VaultId {
    VaultId([7; 16])
}

pub fn domain() -> DomainId {
    DomainId([8; 16])
}

pub fn device() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

/// A clock that tests turn.
#[derive(Clone, Default)]
pub struct Clock(pub Arc<AtomicI64>);

impl Clock {
    pub fn turn(&self, by_ns: i64) {
        self.0.fetch_add(by_ns, Ordering::SeqCst);
    }
    pub fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Nothing is really synced: power cuts are simulated, and real syncs cost a hundred times more.
pub fn options(clock: &Clock) -> Options {
    Options { disk: Arc::new(SimDisk::default()), ..real_options(clock) }
}

pub fn real_options(clock: &Clock) -> Options {
    let clock = clock.clone();
    Options { clock: Arc::new(move || clock.now()), cache_bytes: 8 << 20, ..Options::new(SEED) }
}

/// A block: a header (kind, domain, x, children) and, for data, nothing more.
pub fn header(kind: Kind, number: u64, children: Vec<BlockId>) -> Header {
    Header { kind, domain: domain(), x: kdf::derive("test x", &number.to_le_bytes()), children }
}

pub fn data(number: u64) -> Header {
    header(Kind::Data, number, vec![])
}

pub fn page(number: u64, children: &[BlockId]) -> Header {
    header(Kind::Page, number, children.to_vec())
}

/// A node in memory, which obeys DESIGN §6 and §7.1.
pub struct MemNode {
    key: SigningKey,
    pub blocks: Mutex<BTreeMap<BlockId, Kept>>,
}

#[derive(Debug, Clone)]
pub struct Kept {
    pub kind: Kind,
    pub domain: DomainId,
    pub bytes: Vec<u8>,
    pub put_epoch: Epoch,
}

impl MemNode {
    pub fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_seed(&[seed; 32]), blocks: Mutex::default() }
    }

    /// Puts blocks and answers the receipt.
    pub fn put_all(&self, grant: &Grant, blocks: Vec<(Kind, DomainId, BlockId, Vec<u8>)>) -> Receipt {
        let mut kept = self.blocks.lock().unwrap();
        let mut received = Vec::new();
        for (kind, domain, id, bytes) in blocks {
            let old =
                kept.entry(id).or_insert_with(|| Kept { kind, domain, bytes: bytes.clone(), put_epoch: grant.epoch });
            old.put_epoch = old.put_epoch.max(grant.epoch);
            if grant.replace {
                old.bytes = bytes;
            }
            received.push(Received { id, kind, sum: Sum::of(&old.bytes), len: old.bytes.len() as u32 });
        }
        Receipt::sign(&self.key, grant.epoch, received)
    }

    /// Puts blocks given as headers.
    pub fn put_headers(&self, grant: &Grant, headers: &[Header]) -> Receipt {
        self.put_all(grant, headers.iter().map(|h| (h.kind, h.domain, h.id(), h.encode())).collect())
    }

    pub fn has(&self, id: &BlockId) -> bool {
        self.blocks.lock().unwrap().contains_key(id)
    }
}

impl Node for MemNode {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }
    fn offer(&self, _: &Grant, _: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        Err(ServiceError::Denied("not in these tests".into()))
    }
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        let (sender, pending) = PendingReceipt::new();
        let blocks = blocks.into_iter().map(|b| (b.kind, b.domain, b.id, b.bytes.into())).collect();
        sender.send(Ok(self.put_all(grant, blocks))).unwrap();
        Ok(pending)
    }
    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        let kept = self.blocks.lock().unwrap();
        let found = kept.get(id).ok_or_else(|| ServiceError::NotFound { what: "block", name: id.to_string() })?;
        Ok(found.bytes.clone())
    }
    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        Ok(vec![None; ids.len()])
    }
    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>> {
        let mut kept = self.blocks.lock().unwrap();
        let answers = deletes.iter().map(|delete| match kept.get(&delete.id) {
            Some(block) if block.put_epoch >= delete.epoch => Deleted::Kept,
            _ => {
                kept.remove(&delete.id);
                Deleted::Gone
            }
        });
        Ok(answers.collect())
    }
    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let kept = self.blocks.lock().unwrap();
        let all = kept.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).take(limit);
        let stored = |(id, k): (&BlockId, &Kept)| StoredBlock {
            id: *id,
            domain: k.domain,
            kind: k.kind,
            sum: Sum::of(&k.bytes),
            len: k.bytes.len() as u32,
            put_epoch: k.put_epoch,
        };
        Ok(all.map(stored).collect())
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        Ok(Scrubbed::default())
    }
    fn compact(&self, _: f64) -> Result<u64> {
        Ok(0)
    }
    fn stats(&self) -> Result<NodeStats> {
        Ok(NodeStats::default())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// A snapshot object: signed by [`device`], its sealed parts mere noise (an index never looks inside).
pub fn snapshot(name: &str, seq: u64, previous: SnapshotId, root: BlockId, time_ns: i64) -> SnapshotObject {
    let sealed = b"sealed".to_vec();
    let record = record(name, seq, previous, root, time_ns, &sealed);
    let bytes = signed(1, &record, &sealed, key_box());
    SnapshotObject::parse(&bytes).unwrap()
}

/// What looks like an age box and nobody will open. Always the same: objects of the same version have the same id in every run.
fn key_box() -> &'static [u8] {
    b"age-encryption.org/v1\n-> nobody\n\n--- 0000000000000000000000000000000000000000000\nsealed"
}

fn record(name: &str, seq: u64, previous: SnapshotId, root: BlockId, time_ns: i64, sealed: &[u8]) -> SnapshotRecord {
    SnapshotRecord {
        vault: vault(),
        domain: domain(),
        name: name.parse().unwrap(),
        seq,
        previous,
        root,
        time_ns,
        keyring: cas_core::keyring::KeyringRef { version: 1, hash: Sum([3; 32]) },
        device: device().public(),
        sealed: Sum::of(sealed),
        removes: None,
        undoes: None,
        unknown: Vec::new(),
    }
}

fn signed(what: u8, record: &SnapshotRecord, sealed: &[u8], key_box: &[u8]) -> Vec<u8> {
    let record = record.encode();
    let signature = device().sign("cas v1 snapshot", &[&[what], &record[..]].concat());
    let mut out = b"CASN\x01".to_vec();
    out.extend_from_slice(&[what, 0, 0]);
    cas_core::codec::put_bytes32(&mut out, &record);
    out.extend_from_slice(&signature);
    cas_core::codec::put_bytes32(&mut out, sealed);
    cas_core::codec::put_bytes32(&mut out, key_box);
    out
}

/// A snapshot object with this record; its sealed parts are those of [`snapshot`].
pub fn resigned(record: &SnapshotRecord) -> SnapshotObject {
    SnapshotObject::parse(&signed(1, record, b"sealed", key_box())).unwrap()
}

/// The first keyring of the vault that begins with this seed, with a recovery recipient and nobody else.
pub fn keyring_object(seed: u8) -> Vec<u8> {
    use cas_core::domain::DomainRecord;
    use cas_core::keyring::{Keyring, KeyringObject, Member, Role, RootSeed};
    let root = RootSeed::from_bytes([seed; 32]);
    let recipient = agebox::Identity::from_random(&[seed; 32]).recipient();
    let recovery = Member { role: Role::Recovery, recipient, label: "recovery".into() };
    let secret = cas_core::secret::ContentSecret::from_bytes([seed; 32]);
    let keyring = Keyring::first(root.vault_id(), DomainRecord::default(), secret, vec![recovery], vec![]).unwrap();
    KeyringObject::build(&keyring, &root).unwrap().encode()
}

/// The removal of a snapshot.
pub fn removal(object: &SnapshotObject, time_ns: i64) -> SnapshotObject {
    SnapshotObject::removal(object.record(), time_ns, object.record().keyring, &device()).unwrap()
}

/// What brings a snapshot that is in the trash back.
pub fn returning(object: &SnapshotObject, row: &SnapshotRow, time_ns: i64) -> SnapshotObject {
    let SnapshotState::Trash { removal, .. } = row.state else { panic!("{row:?} is not in the trash") };
    SnapshotObject::returning(object.record(), removal, time_ns, object.record().keyring, &device()).unwrap()
}

/// An index, a node and a clock.
pub struct World {
    pub index: Option<Index>,
    pub node: MemNode,
    pub clock: Clock,
    pub dir: tempfile::TempDir,
    pub keys: u64,
}

impl World {
    pub fn new() -> Self {
        let (dir, clock, node) = (tempfile::tempdir().unwrap(), Clock::default(), MemNode::new(2));
        let index = Index::open(dir.path(), options(&clock)).unwrap();
        index.add_node(node.id()).unwrap();
        Self { index: Some(index), node, clock, dir, keys: 0 }
    }

    pub fn index(&self) -> &Index {
        self.index.as_ref().unwrap()
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Drops the index without closing it, and opens it again.
    pub fn crash(&mut self) {
        self.index = None;
        self.index = Some(Index::open(self.dir.path(), options(&self.clock)).unwrap());
    }

    pub fn start(&self) -> SessionId {
        let label = "test".to_owned();
        let start = StartSession { vault: vault(), domain: domain(), device: device().public(), label };
        self.index().start_session(&start).unwrap().session
    }

    /// Asks, puts what is absent, registers; bottom-up. Answers what was missing.
    pub fn push(&self, session: SessionId, blocks: &[Header]) -> Result<Vec<BlockId>> {
        let ids: Vec<BlockId> = blocks.iter().map(Header::id).collect();
        let have = self.index().have(session, &ids)?;
        let absent: Vec<Header> = blocks
            .iter()
            .zip(&have.present)
            .filter(|(_, present)| !**present)
            .map(|(block, _)| block.clone())
            .collect();
        let receipt = self.node.put_headers(&have.grant, &absent);
        let headers = blocks.iter().filter(|b| b.kind.has_children()).map(Header::encode).collect();
        let registration = Registration { headers, receipts: vec![receipt] };
        Ok(self.index().register(session, registration)?.missing)
    }

    pub fn commit(&mut self, session: SessionId, name: &str, root: BlockId) -> Result<Committed> {
        let (seq, previous) = self.index().head(&vault(), name)?.unwrap_or_default();
        let object = snapshot(name, seq + 1, previous, root, self.clock.now());
        let grant = self.index().grant(session)?;
        let receipt = self.put_object(&grant, &object);
        self.keys += 1;
        let key = kdf::derive("test key", &self.keys.to_le_bytes())[..16].try_into().unwrap();
        self.index().commit(session, &Commit { object: object.encode(), receipts: vec![receipt], key })
    }

    pub fn put_object(&self, grant: &Grant, object: &SnapshotObject) -> Receipt {
        self.node.put_all(grant, vec![(Kind::Snapshot, domain(), object.object_id(), object.encode())])
    }

    pub fn forget(&self, snapshot: &SnapshotId) -> Result<()> {
        let object = SnapshotObject::parse(&self.index().snapshot_object(snapshot)?).unwrap();
        let removal = removal(&object, self.clock.now());
        let session = self.start();
        let receipt = self.put_object(&self.index().grant(session)?, &removal);
        self.index().close_session(session)?;
        self.index().forget(&removal.encode(), std::slice::from_ref(&receipt))
    }

    pub fn undelete(&self, row: &SnapshotRow) -> Result<()> {
        let session = self.start();
        let returning = self.put_return(&self.index().grant(session)?, row);
        self.index().close_session(session)?;
        self.index().undelete(&returning.0, std::slice::from_ref(&returning.1))
    }

    /// Puts what would bring a version back.
    pub fn put_return(&self, grant: &Grant, row: &SnapshotRow) -> (Vec<u8>, Receipt) {
        let object = SnapshotObject::parse(&self.index().snapshot_object(&row.snapshot).unwrap()).unwrap();
        let returning = returning(&object, row, self.clock.now());
        (returning.encode(), self.put_object(grant, &returning))
    }

    /// Collects until there is nothing more to do.
    pub fn collect(&self, limit: usize) {
        loop {
            let step = self.index().condemn(limit).unwrap();
            let answers = self.node.delete(&step.deletes).unwrap();
            let answers: Vec<_> = step.deletes.iter().copied().zip(answers).collect();
            self.index().deleted(self.node.id(), &answers).unwrap();
            if step.deletes.is_empty() && !step.more {
                return;
            }
        }
    }

    pub fn assert_counts(&self) {
        let recount = self.index().recount().unwrap();
        assert!(recount.wrong.is_empty() && recount.dangling.is_empty(), "{recount:?}");
    }

    pub fn node_key(&self) -> PublicKey {
        self.node.id().0
    }
}

/// Small random numbers from a seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// Runs a law for many seeds, or for the one in `CAS_SEED`; `CAS_SEEDS` says how many. A failure prints its seed.
pub fn for_seeds(count: u64, law: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("CAS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CAS_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| law(seed)) {
            eprintln!("replay with CAS_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Everything an index answers, to be compared.
#[derive(Debug, PartialEq)]
pub struct Answers {
    pub rows: Vec<cas_net::StoredRow>,
    pub children: Vec<(BlockId, Vec<BlockId>)>,
    pub versions: Vec<SnapshotRow>,
    pub heads: Vec<(String, Option<(u64, SnapshotId)>)>,
    pub vaults: Vec<(VaultId, Vec<u8>)>,
}

impl Answers {
    /// What `index` says. The time in the trash is left out: a rebuild begins it anew.
    pub fn of(index: &Index, names: &[&str]) -> Self {
        let rows = index.list_rows(None, usize::MAX).unwrap();
        let pages = rows.iter().filter(|row| row.kind.has_children()).map(|row| row.id);
        let children = pages.filter_map(|id| Some((id, index.children(&id).ok()?))).collect();
        let mut versions = index.snapshots(&vault(), None, true).unwrap();
        for version in &mut versions {
            if let SnapshotState::Trash { since_ns, .. } = &mut version.state {
                *since_ns = 0;
            }
        }
        let heads = names.iter().map(|name| (name.to_string(), index.head(&vault(), name).unwrap())).collect();
        let vaults = index.vaults().unwrap();
        let vaults = vaults.into_iter().map(|vault| (vault, index.keyring(&vault).unwrap())).collect();
        Self { rows, children, versions, heads, vaults }
    }
}
