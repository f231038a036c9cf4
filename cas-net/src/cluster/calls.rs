//! Requests about nodes and placement: one for each method of [`Cluster`](super::Cluster). PROTOCOL §7, family 3.

use super::{
    Beat, BeatAnswer, ClusterStatus, CopyDone, Damage, Floored, InventoryChunk, Join, JoinToken, Joined, Layout,
    Located, NodeChange, NodeInfo, PlanShown, RunInfo,
};
use crate::calls::Family;
use crate::rights::Revocations;
use crate::wire::calls;
use crate::{Delete, NodeId};
use cas_core::id::{BlockId, Epoch};

calls! { Family::Cluster;
    /// `Cluster::join_token`.
    1 once MakeJoinToken {
        /// The rack of the node.
        rack: String,
        /// How long it lives, nanoseconds.
        lives_ns: i64,
    } -> JoinToken;
    /// `Cluster::join`.
    2 again JoinCluster {
        /// Who.
        join: Join,
    } -> Joined;
    /// `Cluster::beat`.
    3 again SendBeat {
        /// The sign of life.
        beat: Beat,
    } -> BeatAnswer;
    /// `Cluster::copies_done`.
    4 again CopiesDone {
        /// What became of them.
        done: CopyDone,
    } -> ();
    /// `Cluster::floored`.
    5 again FloorWritten {
        /// Where.
        floored: Floored,
    } -> ();
    /// `Cluster::inventory`.
    6 again Inventory {
        /// The piece.
        chunk: InventoryChunk,
    } -> bool;
    /// `Cluster::strays`.
    7 again Strays {
        /// Who asks.
        node: NodeId,
        /// What it holds.
        ids: Vec<BlockId>,
    } -> Vec<Delete>;
    /// `Cluster::report`.
    8 again Report {
        /// What was found.
        damage: Vec<Damage>,
    } -> ();
    /// `Cluster::layout`.
    9 again GetLayout {
        /// The version that is known.
        known: u64,
    } -> Option<Layout>;
    /// `Cluster::locate`.
    10 again Locate {
        /// The blocks.
        ids: Vec<BlockId>,
    } -> Vec<Option<Located>>;
    /// `Cluster::nodes`.
    11 again Nodes {} -> Vec<NodeInfo>;
    /// `Cluster::cluster_status`.
    12 again GetClusterStatus {} -> ClusterStatus;
    /// `Cluster::change_node`.
    13 again ChangeNode {
        /// Which.
        node: NodeId,
        /// How.
        change: NodeChange,
    } -> ();
    /// `Cluster::plan_layout`.
    14 again PlanLayout {
        /// The pool; `None`: as it is.
        pool: Option<String>,
    } -> PlanShown;
    /// `Cluster::apply_layout`.
    15 again ApplyLayout {
        /// What was shown.
        plan: PlanShown,
    } -> ();
    /// `Cluster::revocations`.
    16 again GetRevocations {
        /// The version that is known.
        known: Epoch,
    } -> Option<Revocations>;
    /// `Cluster::runs`.
    17 again GetRuns {
        /// At most so many.
        limit: u32,
    } -> Vec<RunInfo>;
    /// `Cluster::ask_run`.
    18 again AskRun {
        /// Its name.
        task: String,
    } -> ();
    /// `Cluster::release`.
    19 again ReleaseIndex {} -> ();
}
