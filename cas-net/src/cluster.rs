//! The cluster: what nodes tell the index about themselves, what it has them do, and what anybody asks about placement.
//! DESIGN §8, PROTOCOL §7, family 3.
//!
//! The index decides, nodes do: every order is derived from what the index has stored, so that one that is lost is
//! given again, and one that is carried out twice does no harm. Answers name the epochs under which they hold.
//! Not here: how the index decides (`cas_index::cluster`), how a table is planned (`cas_core::layout`).

pub mod calls;
mod layout;
mod messages;
mod orders;
mod remote;
mod runs;

pub use layout::{Layout, Member};
pub use messages::{
    Beat, BeatAnswer, ClusterStatus, DiskId, Health, Join, JoinToken, Joined, Load, Located, NodeChange, NodeInfo,
    NodeTraffic, NodeWant, PlanShown, Space,
};
pub use orders::{CopyBlock, CopyDone, CopyFailed, CopyFault, CopyOrder, Damage, Floored, InventoryChunk, Order};
pub use remote::{Asker, RemoteCluster, answer};
pub use runs::{RunEnd, RunInfo};

use crate::rights::Revocations;
use crate::{Delete, NodeId, Result, ServiceError};
use cas_core::id::{BlockId, Epoch};

/// Nodes beat this often, in nanoseconds.
pub const BEAT_NS: i64 = 2_000_000_000;
/// The most addresses of a node.
pub const MAX_ADDRESSES: usize = 8;
/// The longest address of a node, in bytes.
pub const MAX_ADDRESS: usize = 300;
/// Blocks in one copy order.
pub const MAX_COPIES: usize = 4096;
/// Blocks in one chunk of an inventory.
pub const MAX_INVENTORY: usize = 1 << 14;
/// Orders in one answer to a beat.
pub const MAX_ORDERS: usize = 256;
/// Runs in one answer.
pub const MAX_RUNS: u32 = 256;
/// Damaged blocks in one beat; more come with the next.
pub const MAX_DAMAGE: usize = 4096;
/// How long a join token may live at most, in nanoseconds: a week.
pub const MAX_JOIN_TOKEN_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;

/// Nodes and placement. Implemented by the index and by the network.
///
/// A call that names a node is refused with [`Denied`](crate::ServiceError::Denied) unless that node asks;
/// those for operators unless an operator asks.
pub trait Cluster: Send + Sync {
    /// A one-use token for a node in this rack, that lives so many nanoseconds. For operators. It is shown once; the
    /// index keeps its hash.
    fn join_token(&self, rack: &str, lives_ns: i64) -> Result<JoinToken>;

    /// Makes a node known. The same node may ask again.
    ///
    /// # Errors
    /// `Denied` if the token was used by another node, has expired or never was.
    fn join(&self, join: &Join) -> Result<Joined>;

    /// A sign of life of a node; answers what it has to do. `NotFound` for a node that has not joined.
    fn beat(&self, beat: &Beat) -> Result<BeatAnswer>;

    /// What became of copies that were ordered.
    fn copies_done(&self, done: &CopyDone) -> Result<()>;

    /// A node has made older deletes in these partitions void, durably.
    fn floored(&self, floored: &Floored) -> Result<()>;

    /// What a node found in a partition after its floor. Answers whether it fits what the index asks for now; if
    /// not, the node stops and waits for orders.
    fn inventory(&self, chunk: &InventoryChunk) -> Result<bool>;

    /// Which of these blocks the node holds for nothing, with deletes that cannot touch what a live push has put.
    fn strays(&self, node: NodeId, ids: &[BlockId]) -> Result<Vec<Delete>>;

    /// Anybody found wrong bytes or nothing where a copy should be. The index asks the node before it believes it.
    fn report(&self, damage: &[Damage]) -> Result<()>;

    /// The layout, if it is newer than this version.
    fn layout(&self, known: u64) -> Result<Option<Layout>>;

    /// Where these blocks are, by what the index knows; `None` for blocks without a live row.
    fn locate(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>>;

    /// All nodes that have joined.
    fn nodes(&self) -> Result<Vec<NodeInfo>>;

    /// How the cluster stands.
    fn cluster_status(&self) -> Result<ClusterStatus>;

    /// Changes what a node is wanted for. For operators. Takes effect at once; what must move is planned and begun.
    fn change_node(&self, node: NodeId, change: &NodeChange) -> Result<()>;

    /// What another table would move, with this pool or the present one. For operators. Changes nothing.
    fn plan_layout(&self, pool: Option<&str>) -> Result<PlanShown>;

    /// Applies the plan that was shown. For operators.
    ///
    /// # Errors
    /// `Conflict` if nodes or layout have changed since.
    fn apply_layout(&self, plan: &PlanShown) -> Result<()>;

    /// Which tickets are void before their time, if the list has another version than this one. Nodes ask with each beat.
    /// An index without people has none.
    fn revocations(&self, _known: Epoch) -> Result<Option<Revocations>> {
        Ok(None)
    }

    /// The newest runs of what an index does by schedule or because somebody asks, newest first; at most [`MAX_RUNS`].
    fn runs(&self, _limit: u32) -> Result<Vec<RunInfo>> {
        Ok(Vec::new())
    }

    /// Has `gc`, `scrub`, `retention` or `backup` done, as soon as the run under way has ended. For operators. Does not wait.
    ///
    /// # Errors
    /// `NotFound` for another word; `Denied` where nothing runs by itself.
    fn ask_run(&self, task: &str) -> Result<()> {
        Err(ServiceError::Denied(format!("nothing runs by itself here: no {task}")))
    }

    /// Lets an index that was restored from an export sweep again: somebody has looked. For operators.
    fn release(&self) -> Result<()> {
        Ok(())
    }
}
