//! Requests to the index: one for each method of [`Index`](crate::Index). PROTOCOL §8.

use super::Family;
use crate::wire::calls;
use crate::{
    Checkpointed, Commit, Committed, Condemned, Delete, Deleted, Grant, HaveAnswer, IndexStatus, NodeId, Receipt,
    Recount, Registered, Registration, SessionId, SessionInfo, SessionStart, SnapshotRow, StartSession, StoredRow,
};
use cas_core::id::{BlockId, SnapshotId, VaultId};

calls! { Family::Index;
    /// `Index::add_node`.
    1 again AddNode {
        /// The node.
        node: NodeId,
    } -> ();
    /// `Index::keyring`.
    2 again Keyring {
        /// The vault.
        vault: VaultId,
    } -> Vec<u8>;
    /// `Index::put_keyring`.
    3 again PutKeyring {
        /// The keyring object.
        object: Vec<u8>,
        /// Its receipts.
        receipts: Vec<Receipt>,
    } -> ();
    /// `Index::vaults`.
    4 again Vaults {} -> Vec<VaultId>;
    /// `Index::start_session`. Asked twice it starts two sessions, of which one expires.
    5 again Start {
        /// What the client says.
        start: StartSession,
    } -> SessionStart;
    /// `Index::close_session`.
    6 once CloseSession {
        /// The session.
        session: SessionId,
    } -> ();
    /// `Index::grant`.
    7 again GetGrant {
        /// The session.
        session: SessionId,
    } -> Grant;
    /// `Index::have`.
    8 again Have {
        /// The session.
        session: SessionId,
        /// The blocks.
        ids: Vec<BlockId>,
    } -> HaveAnswer;
    /// `Index::register`.
    9 again Register {
        /// The session.
        session: SessionId,
        /// What is registered.
        registration: Registration,
    } -> Registered;
    /// `Index::commit`; its key makes it the same when asked twice.
    10 again MakeCommit {
        /// The session.
        session: SessionId,
        /// The new version.
        commit: Commit,
    } -> Committed;
    /// `Index::snapshots`.
    11 again Snapshots {
        /// The vault.
        vault: VaultId,
        /// Of one name, or of all.
        name: Option<String>,
        /// With those in the trash.
        trash: bool,
    } -> Vec<SnapshotRow>;
    /// `Index::head`.
    12 again Head {
        /// The vault.
        vault: VaultId,
        /// The name.
        name: String,
    } -> Option<(u64, SnapshotId)>;
    /// `Index::snapshot_object`.
    13 again SnapshotObject {
        /// The snapshot.
        snapshot: SnapshotId,
    } -> Vec<u8>;
    /// `Index::forget`.
    14 again Forget {
        /// The removal object.
        removal: Vec<u8>,
        /// Its receipts.
        receipts: Vec<Receipt>,
    } -> ();
    /// `Index::empty_trash`. Asked twice, the second answer is what was left.
    16 again EmptyTrash {
        /// What went there before, nanoseconds since 1970.
        before_ns: i64,
    } -> Vec<SnapshotRow>;
    /// `Index::end_sessions_except`.
    17 once EndSessionsExcept {
        /// Those that go on.
        keep: Vec<SessionId>,
    } -> Vec<SessionInfo>;
    /// `Index::condemn`.
    18 again Condemn {
        /// At most so many.
        limit: u32,
    } -> Condemned;
    /// `Index::deleted`.
    19 again DeletesAnswered {
        /// Who answered.
        node: NodeId,
        /// What.
        answers: Vec<(Delete, Deleted)>,
    } -> ();
    /// `Index::rows`.
    20 again Rows {
        /// The blocks.
        ids: Vec<BlockId>,
    } -> Vec<Option<StoredRow>>;
    /// `Index::list_rows`; an answer may be shorter than the limit before the end: an empty one is the end.
    21 again ListRows {
        /// After this block.
        after: Option<BlockId>,
        /// At most so many.
        limit: u32,
    } -> Vec<StoredRow>;
    /// `Index::children`.
    22 again Children {
        /// The page or list.
        id: BlockId,
    } -> Vec<BlockId>;
    /// `Index::mark`.
    23 again Mark {
        /// The blocks.
        ids: Vec<BlockId>,
        /// Bad or good.
        bad: bool,
    } -> ();
    /// `Index::recount`.
    24 again CompareCounts {} -> Recount;
    /// `Index::status`.
    25 again Status {} -> IndexStatus;
    /// `Index::close`: makes its tables durable; the server goes on.
    26 again Close {} -> Checkpointed;
    /// `Index::undelete`.
    27 again Undelete {
        /// The return object.
        returning: Vec<u8>,
        /// Its receipts.
        receipts: Vec<Receipt>,
    } -> ();
}
