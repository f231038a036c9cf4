//! An index and a node in memory, and a network on the loopback: what the wire is tested against.

#![allow(dead_code)] // Each test takes what it needs.

use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, SnapshotId, Sum, VaultId};
use cas_core::signing::SigningKey;
use cas_net::address::Address;
use cas_net::calls::Family;
use cas_net::server::{IndexHandler, NodeHandler, Server, ServerSettings, Services};
use cas_net::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const INDEX_SEED: [u8; 32] = [1; 32];
pub const NODE_SEED: [u8; 32] = [2; 32];
pub const CLIENT_SEED: [u8; 32] = [3; 32];

/// A node that keeps blocks in memory, and can be slow.
pub struct FakeNode {
    key: SigningKey,
    pub blocks: Mutex<BTreeMap<BlockId, PutBlock>>,
    /// How long a call takes.
    pub delay_ms: AtomicU64,
    /// How long a receipt takes that nobody waits for.
    pub receipt_ms: AtomicU64,
    pub puts: AtomicUsize,
    pub working: AtomicUsize,
    pub most_working: AtomicUsize,
}

impl Default for FakeNode {
    fn default() -> Self {
        Self {
            key: SigningKey::from_seed(&NODE_SEED),
            blocks: Mutex::default(),
            delay_ms: AtomicU64::new(0),
            receipt_ms: AtomicU64::new(0),
            puts: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            most_working: AtomicUsize::new(0),
        }
    }
}

impl FakeNode {
    fn work(&self) {
        let now = self.working.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_working.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
        self.working.fetch_sub(1, Ordering::SeqCst);
    }

    fn receipt(&self, grant: &Grant, blocks: Vec<Received>) -> PendingReceipt {
        let (answer, pending) = PendingReceipt::new();
        let receipt = Receipt::sign(&self.key, grant.epoch, blocks);
        let wait = Duration::from_millis(self.receipt_ms.load(Ordering::SeqCst));
        let (hurry, hurried) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = hurried.recv_timeout(wait);
            let _ = answer.send(Ok(receipt));
        });
        pending.hurried_by(move || hurry.send(()).unwrap_or(()))
    }
}

fn received(block: &PutBlock) -> Received {
    Received { id: block.id, kind: block.kind, sum: block.sum, len: block.bytes.len() as u32 }
}

impl Node for FakeNode {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        let blocks = self.blocks.lock().unwrap();
        let wanted = ids.iter().map(|id| !blocks.contains_key(id)).collect();
        let here = ids.iter().filter_map(|id| blocks.get(id)).map(received).collect();
        Ok((wanted, self.receipt(grant, here)))
    }

    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.work();
        self.puts.fetch_add(1, Ordering::SeqCst);
        if let Some(wrong) = blocks.iter().find(|block| Sum::of(&block.bytes) != block.sum) {
            return Err(ServiceError::Damaged { what: wrong.id.to_string(), detail: "its sum is another".into() });
        }
        let all = blocks.iter().map(received).collect();
        self.blocks.lock().unwrap().extend(blocks.into_iter().map(|block| (block.id, block)));
        Ok(self.receipt(grant, all))
    }

    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        self.work();
        let found = self.blocks.lock().unwrap().get(id).map(|block| block.bytes.clone());
        found.map(Into::into).ok_or(ServiceError::NotFound { what: "block", name: id.to_string() })
    }

    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let blocks = self.blocks.lock().unwrap();
        Ok(ids.iter().map(|id| blocks.keys().position(|known| known == id).map(|at| at as u64)).collect())
    }

    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>> {
        let mut blocks = self.blocks.lock().unwrap();
        Ok(deletes.iter().map(|d| if blocks.remove(&d.id).is_some() { Deleted::Gone } else { Deleted::Kept }).collect())
    }

    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        let blocks = self.blocks.lock().unwrap();
        let stored = |block: &PutBlock| StoredBlock {
            id: block.id,
            domain: block.domain,
            kind: block.kind,
            sum: block.sum,
            len: block.bytes.len() as u32,
            put_epoch: Epoch(1),
        };
        Ok(blocks.values().filter(|block| after.is_none_or(|after| block.id > after)).take(limit).map(stored).collect())
    }

    fn scrub(&self, _: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
        Ok(Scrubbed { bytes: byte_limit, ..Scrubbed::default() })
    }

    fn compact(&self, dead_share: f64) -> Result<u64> {
        Ok((dead_share * 1000.0) as u64)
    }

    fn stats(&self) -> Result<NodeStats> {
        self.work();
        Ok(NodeStats { blocks: self.blocks.lock().unwrap().len() as u64, ..NodeStats::default() })
    }

    fn close(&self) -> Result<()> {
        panic!("a handler that panics");
    }
}

/// An index that answers from its arguments, so that what arrives can be told.
pub struct FakeIndex {
    key: SigningKey,
    pub registered: Mutex<Vec<Registration>>,
}

impl Default for FakeIndex {
    fn default() -> Self {
        Self { key: SigningKey::from_seed(&INDEX_SEED), registered: Mutex::default() }
    }
}

impl FakeIndex {
    pub fn row(id: BlockId) -> StoredRow {
        let (domain, kind, sum) = (DomainId([1; 16]), Kind::Data, Sum(id.0));
        StoredRow { id, domain, kind, count: 1, sum, len: 2, state: RowState::Live }
    }
}

impl Index for FakeIndex {
    fn public_key(&self) -> PublicKey {
        self.key.public()
    }
    fn add_node(&self, node: NodeId) -> Result<()> {
        Err(ServiceError::Denied(node.0.to_string()))
    }
    fn keyring(&self, vault: &VaultId) -> Result<Vec<u8>> {
        Ok(vault.0.to_vec())
    }
    fn put_keyring(&self, object: &[u8], receipts: &[Receipt]) -> Result<()> {
        assert!(receipts.iter().all(Receipt::is_genuine));
        Err(ServiceError::Conflict { name: String::from_utf8_lossy(object).into(), latest: 3 })
    }
    fn vaults(&self) -> Result<Vec<VaultId>> {
        Ok(vec![VaultId([1; 16]), VaultId([2; 16])])
    }
    fn start_session(&self, start: &StartSession) -> Result<SessionStart> {
        Ok(SessionStart { session: SessionId(start.label.len() as u64), epoch: Epoch(2), damaged: 3 })
    }
    fn close_session(&self, session: SessionId) -> Result<()> {
        Err(ServiceError::SessionGone(session))
    }
    fn grant(&self, session: SessionId) -> Result<Grant> {
        Ok(Grant::sign(&self.key, session, Epoch(7), false))
    }
    fn have(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer> {
        Ok(HaveAnswer { present: ids.iter().map(|id| id.0[0] % 2 == 0).collect(), grant: self.grant(session)? })
    }
    fn register(&self, _: SessionId, registration: Registration) -> Result<Registered> {
        self.registered.lock().unwrap().push(registration);
        Ok(Registered { missing: vec![] })
    }
    fn commit(&self, _: SessionId, commit: &Commit) -> Result<Committed> {
        Ok(Committed { snapshot: SnapshotId([9; 32]), seq: commit.object.len() as u64 })
    }
    fn snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>> {
        let row = SnapshotRow {
            vault: *vault,
            name: name.unwrap_or("all").to_owned(),
            seq: trash.into(),
            snapshot: SnapshotId([4; 32]),
            object: BlockId([5; 32]),
            root: BlockId([6; 32]),
            time_ns: 7,
            state: SnapshotState::Live,
        };
        Ok(vec![row])
    }
    fn head(&self, _: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>> {
        Ok((name == "known").then_some((4, SnapshotId([4; 32]))))
    }
    fn snapshot_object(&self, snapshot: &SnapshotId) -> Result<Vec<u8>> {
        Err(ServiceError::NotFound { what: "snapshot", name: snapshot.short() })
    }
    fn forget(&self, removal: &[u8], _: &[Receipt]) -> Result<()> {
        Err(ServiceError::Stopped(removal.len().to_string()))
    }
    fn undelete(&self, returning: &[u8], _: &[Receipt]) -> Result<()> {
        Err(ServiceError::RootMissing(BlockId([returning.len() as u8; 32])))
    }
    fn empty_trash(&self, before_ns: i64) -> Result<Vec<SnapshotRow>> {
        let mut rows = self.snapshots(&VaultId::ZERO, None, true)?;
        rows[0].time_ns = before_ns;
        Ok(rows)
    }
    fn end_sessions_except(&self, keep: &[SessionId]) -> Result<Vec<SessionInfo>> {
        let info =
            |session: &SessionId| SessionInfo { session: *session, epoch: Epoch(1), started_ns: 1, label: "x".into() };
        Ok(keep.iter().map(info).collect())
    }
    fn condemn(&self, limit: usize) -> Result<Condemned> {
        Ok(Condemned { bytes: limit as u64, held: Some(GcHolder::NewEra), ..Condemned::default() })
    }
    fn deleted(&self, _: NodeId, answers: &[(Delete, Deleted)]) -> Result<()> {
        if answers.is_empty() { Err(ServiceError::Denied("nothing".into())) } else { Ok(()) }
    }
    fn rows(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>> {
        Ok(ids.iter().map(|id| (id.0[0] != 0xff).then(|| Self::row(*id))).collect())
    }
    /// Ids 0 to 39 999 in the last four bytes.
    fn list_rows(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>> {
        let first = after.map_or(0, |id| number_of(id) + 1);
        Ok((first..40_000).take(limit).map(|n| Self::row(id_of(n))).collect())
    }
    fn children(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        Ok(vec![*id; 3])
    }
    fn mark(&self, ids: &[BlockId], bad: bool) -> Result<()> {
        Err(ServiceError::Busy(format!("{} {bad}", ids.len())))
    }
    fn recount(&self) -> Result<Recount> {
        Ok(Recount { rows: 1, edges: 2, wrong: vec![(BlockId([1; 32]), 2, 3)], dangling: vec![] })
    }
    fn status(&self) -> Result<IndexStatus> {
        let (live, bad, condemned, unreferenced, bytes) = (1, 2, 3, 4, 5);
        Ok(IndexStatus { epoch: Epoch(9), live, bad, condemned, unreferenced, bytes, sessions: vec![] })
    }
    fn close(&self) -> Result<Checkpointed> {
        Ok(Checkpointed { log_tail: 8 })
    }
}

pub fn id_of(n: u32) -> BlockId {
    let mut id = BlockId::ZERO;
    id.0[28..].copy_from_slice(&n.to_be_bytes());
    id
}

pub fn number_of(id: BlockId) -> u32 {
    u32::from_be_bytes(id.0[28..].try_into().unwrap())
}

/// A block of so many bytes that no other seed gives.
pub fn block(seed: u32, len: usize) -> PutBlock {
    let mut bytes = vec![0; len];
    let mut state = u64::from(seed) << 1 | 1;
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    PutBlock { id: id_of(seed), kind: Kind::Data, domain: DomainId([1; 16]), sum: Sum::of(&bytes), bytes: bytes.into() }
}

pub fn grant() -> Grant {
    Grant::sign(&SigningKey::from_seed(&INDEX_SEED), SessionId(1), Epoch(5), false)
}

pub fn network(seed: [u8; 32], settings: Settings) -> Arc<Network> {
    Network::new(Identity::from_seed(&seed), settings).unwrap()
}

/// Settings of a caller that waits for nothing long.
pub fn hasty() -> Settings {
    Settings {
        patience: Duration::from_secs(20),
        reconnect: Duration::ZERO,
        busy: Duration::ZERO,
        ..Settings::default()
    }
}

pub fn client() -> Arc<Network> {
    network(CLIENT_SEED, hasty())
}

pub fn node_services(node: &Arc<FakeNode>) -> Services {
    let node = node.clone();
    Services::new().with(Family::Node, NodeHandler::new(move |_| Ok(node.clone() as Arc<dyn Node>)))
}

pub fn index_services(index: &Arc<FakeIndex>) -> Services {
    let index = index.clone();
    Services::new().with(Family::Index, IndexHandler::new(move |_| Ok(index.clone() as Arc<dyn Index>)))
}

/// A server on a free port of the loopback.
pub fn serve(network: &Arc<Network>, services: Services, settings: ServerSettings) -> (Server, Address) {
    let server = Server::start(network, "127.0.0.1:0".parse().unwrap(), services, settings).unwrap();
    let address = server.address().unwrap();
    (server, address)
}

/// A node that is served, and the means to call it.
pub struct Desk {
    pub node: Arc<FakeNode>,
    pub at: Arc<Network>,
    pub server: Server,
    pub address: Address,
    pub client: Arc<Network>,
    pub remote: RemoteNode,
}

impl Desk {
    pub fn new(settings: ServerSettings) -> Self {
        let node = Arc::new(FakeNode::default());
        let at = network(NODE_SEED, Settings::default());
        let (server, address) = serve(&at, node_services(&node), settings);
        let client = client();
        let remote = RemoteNode::new(&client, &address);
        Self { node, at, server, address, client, remote }
    }
}
