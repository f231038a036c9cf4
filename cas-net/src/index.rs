//! The index's side of the border: sessions, presence, registration, commits, names, collection. DESIGN §7.1.

use crate::wire::wire;
use crate::{Deleted, Grant, NodeId, Receipt, Result};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, SnapshotId, Sum, VaultId};

/// A push session: what protects a running push from garbage collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

wire!(newtype SessionId);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client says when it starts a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartSession {
    /// The vault it will commit to.
    pub vault: VaultId,
    /// The domain of its blocks.
    pub domain: DomainId,
    /// The device that pushes.
    pub device: PublicKey,
    /// For people: host, process, what is pushed.
    pub label: String,
}

wire!(struct StartSession { vault, domain, device, label });

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStart {
    /// The session.
    pub session: SessionId,
    /// The epoch of its start.
    pub epoch: Epoch,
    /// How many blocks of the domain are marked bad: if any, a client should not trust its stat cache.
    pub damaged: u64,
}

wire!(struct SessionStart { session, epoch, damaged });

/// A live session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The session.
    pub session: SessionId,
    /// The epoch of its start.
    pub epoch: Epoch,
    /// When it started, nanoseconds since 1970.
    pub started_ns: i64,
    /// What the client said.
    pub label: String,
}

wire!(struct SessionInfo { session, epoch, started_ns, label });

/// Which blocks are there.
#[derive(Debug, Clone)]
pub struct HaveAnswer {
    /// Per id asked: whether it is present (and protected for this session).
    pub present: Vec<bool>,
    /// Leave to write the absent ones. `replace` is set if any of them is marked bad.
    pub grant: Grant,
}

wire!(struct HaveAnswer { present, grant });

/// Pages and lists to register, children before parents, with the receipts of all that is new.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Frame headers (FORMAT §3) of new pages and lists, bottom-up. The index derives ids and edges from them.
    pub headers: Vec<Vec<u8>>,
    /// Receipts the index has not seen yet. Those of blocks whose parent is not here yet are remembered
    /// for the session, so that each receipt is sent once.
    pub receipts: Vec<Receipt>,
}

wire!(struct Registration { headers, receipts });

/// The answer: empty, or what is neither a live row nor covered by a good receipt. Then nothing was registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// What to ask for, put and register again.
    pub missing: Vec<BlockId>,
}

wire!(struct Registered { missing });

/// A new version of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The snapshot object (FORMAT §6), already put on nodes.
    pub object: Vec<u8>,
    /// The receipts of the object, of as many nodes as an acknowledgement needs.
    pub receipts: Vec<Receipt>,
    /// Idempotency: the same key and object commit once.
    pub key: [u8; 16],
}

wire!(struct Commit { object, receipts, key });

/// A committed version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its seq.
    pub seq: u64,
}

wire!(struct Committed { snapshot, seq });

/// Whether a snapshot lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotState {
    /// Listed.
    Live,
    /// Forgotten, and still whole: `undelete` brings it back.
    Trash {
        /// When, nanoseconds since 1970, index time.
        since_ns: i64,
        /// Which device forgot it.
        by: PublicKey,
        /// The object that says so (FORMAT §6): whoever brings the version back names it.
        removal: BlockId,
    },
}

wire!(enum SnapshotState as "state of a snapshot" { 0 = Live, 1 = Trash { since_ns, by, removal } });

/// A version of a name, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The vault.
    pub vault: VaultId,
    /// The name.
    pub name: String,
    /// The version.
    pub seq: u64,
    /// Its id.
    pub snapshot: SnapshotId,
    /// The block that holds its object.
    pub object: BlockId,
    /// The root page.
    pub root: BlockId,
    /// When the client says it was made, nanoseconds since 1970.
    pub time_ns: i64,
    /// Whether it lives.
    pub state: SnapshotState,
}

wire!(struct SnapshotRow { vault, name, seq, snapshot, object, root, time_ns, state });

/// Whether a row lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Present.
    Live,
    /// Its stored bytes are known to be wrong or lost: the next push of the same content replaces them.
    Bad,
    /// Being deleted, since this epoch.
    Condemned(Epoch),
}

wire!(enum RowState as "state of a row" { 0 = Live, 1 = Bad, 2 = Condemned(epoch) });

/// What the index knows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRow {
    /// The block.
    pub id: BlockId,
    /// Whose it is.
    pub domain: DomainId,
    /// What it is.
    pub kind: Kind,
    /// How many live pages and snapshots hold it.
    pub count: u32,
    /// BLAKE3 of the stored bytes.
    pub sum: Sum,
    /// Their length.
    pub len: u32,
    /// Whether it lives.
    pub state: RowState,
}

wire!(struct StoredRow { id, domain, kind, count, sum, len, state });

/// An order to delete: obeyed only where put_epoch (and the partition's floor) are below `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete {
    /// The block.
    pub id: BlockId,
    /// The epoch of its condemnation.
    pub epoch: Epoch,
}

wire!(struct Delete { id, epoch });

/// Who holds the collection back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GcHolder {
    /// A live push session.
    Session(SessionInfo),
    /// Not all nodes were read since the index was rebuilt.
    NewEra,
}

wire!(enum GcHolder as "holder of the collection" { 0 = Session(session), 1 = NewEra });

/// One step of collection.
#[derive(Debug, Clone, Default)]
pub struct Condemned {
    /// Deletes to carry to the nodes; answer with [`Index::deleted`].
    pub deletes: Vec<Delete>,
    /// Stored bytes of those.
    pub bytes: u64,
    /// What keeps the rest of the queue from being condemned, if anything.
    pub held: Option<GcHolder>,
    /// Whether there may be more to condemn now (children of what was condemned).
    pub more: bool,
}

wire!(struct Condemned { deletes, bytes, held, more });

/// The counts against a recount from the edges.
#[derive(Debug, Clone, Default)]
pub struct Recount {
    /// Rows compared.
    pub rows: u64,
    /// Edges counted.
    pub edges: u64,
    /// Rows whose count differs: block, stored count, true count.
    pub wrong: Vec<(BlockId, u32, u32)>,
    /// Children or roots that have no row at all.
    pub dangling: Vec<BlockId>,
}

wire!(struct Recount { rows, edges, wrong, dangling });

/// The state of an index.
#[derive(Debug, Clone)]
pub struct IndexStatus {
    /// The epoch now.
    pub epoch: Epoch,
    /// Rows, by state.
    pub live: u64,
    /// Rows marked bad.
    pub bad: u64,
    /// Rows being deleted.
    pub condemned: u64,
    /// Rows nobody references, waiting for the collector.
    pub unreferenced: u64,
    /// Stored bytes of all rows.
    pub bytes: u64,
    /// Sessions.
    pub sessions: Vec<SessionInfo>,
}

wire!(struct IndexStatus { epoch, live, bad, condemned, unreferenced, bytes, sessions });

/// What closing left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpointed {
    /// Bytes of log that the next start will replay.
    pub log_tail: u64,
}

wire!(struct Checkpointed { log_tail });

/// Owns names, edges and counts. Implemented by the local index and by the network.
pub trait Index: Send + Sync {
    /// Its key, for grants.
    fn public_key(&self) -> PublicKey;

    /// Makes a node known; receipts of unknown nodes are refused.
    fn add_node(&self, node: NodeId) -> Result<()>;

    /// The newest keyring object of a vault.
    fn keyring(&self, vault: &VaultId) -> Result<Vec<u8>>;

    /// Stores a keyring object whose version is one above the newest (or 1 for a new vault), already put on nodes.
    fn put_keyring(&self, object: &[u8], receipts: &[Receipt]) -> Result<()>;

    /// All vaults.
    fn vaults(&self) -> Result<Vec<VaultId>>;

    /// Starts a push session.
    fn start_session(&self, start: &StartSession) -> Result<SessionStart>;

    /// Ends a session without a commit.
    fn close_session(&self, session: SessionId) -> Result<()>;

    /// Leave to write objects (snapshots, keyrings) that no page refers to, outside of `have`.
    fn grant(&self, session: SessionId) -> Result<Grant>;

    /// Which blocks are there; see [`HaveAnswer`].
    fn have(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer>;

    /// Registers pages and what they hold; see [`Registration`].
    fn register(&self, session: SessionId, registration: Registration) -> Result<Registered>;

    /// Makes a new version of a name visible, and ends the session; durable when it returns.
    fn commit(&self, session: SessionId, commit: &Commit) -> Result<Committed>;

    /// All versions, of one vault, of one name or all, with or without trash, in order of name and seq.
    fn snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>>;

    /// The newest version of a name, also a removed one: its seq and chain id. `None` for a name never used.
    fn head(&self, vault: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>>;

    /// The object of a snapshot.
    fn snapshot_object(&self, snapshot: &SnapshotId) -> Result<Vec<u8>>;

    /// Moves a version to the trash. `removal` is the signed removal object (FORMAT §6), already put on nodes.
    fn forget(&self, removal: &[u8], receipts: &[Receipt]) -> Result<()>;

    /// Brings a version back from the trash. `returning` is the signed object (FORMAT §6) that takes its removal back,
    /// already put on nodes: with the removal still stored somewhere, an index that is rebuilt knows by it that the version lives.
    fn undelete(&self, returning: &[u8], receipts: &[Receipt]) -> Result<()>;

    /// Removes for good what went to the trash before this time (nanoseconds since 1970). Answers what it removed.
    fn empty_trash(&self, before_ns: i64) -> Result<Vec<SnapshotRow>>;

    /// Ends all sessions but these, because their processes are known to be gone.
    fn end_sessions_except(&self, keep: &[SessionId]) -> Result<Vec<SessionInfo>>;

    /// Condemns up to `limit` blocks that nobody references, and repeats deletes not yet answered.
    fn condemn(&self, limit: usize) -> Result<Condemned>;

    /// What a node answered to deletes.
    fn deleted(&self, node: NodeId, answers: &[(Delete, Deleted)]) -> Result<()>;

    /// What is known of these blocks.
    fn rows(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>>;

    /// At most `limit` rows in order of id, after `after`.
    fn list_rows(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>>;

    /// The children of a registered page or list.
    fn children(&self, id: &BlockId) -> Result<Vec<BlockId>>;

    /// Marks blocks bad, or good again.
    fn mark(&self, ids: &[BlockId], bad: bool) -> Result<()>;

    /// Compares all counts with the edges. Reports, changes nothing.
    fn recount(&self) -> Result<Recount>;

    /// How it stands.
    fn status(&self) -> Result<IndexStatus>;

    /// Makes its tables durable if that is worth it, and marks a clean end.
    fn close(&self) -> Result<Checkpointed>;
}
