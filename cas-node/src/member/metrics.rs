//! What a member counts. Plain numbers since the start.

use crate::latency::Counter;

/// What a node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Blocks that clients put.
    pub puts: Counter,
    /// Their bytes.
    pub put_bytes: Counter,
    /// Blocks that were sent on to other nodes.
    pub sent_on: Counter,
    /// Blocks that a node on their way did not take.
    pub passed_over: Counter,
    /// Blocks that were got.
    pub gets: Counter,
    /// Their bytes.
    pub get_bytes: Counter,
    /// Requests that were refused for want of rights, or because another node is a member.
    pub refusals: Counter,
    /// Blocks copied from peers.
    pub copies: Counter,
    /// Their bytes.
    pub copied_bytes: Counter,
    /// Blocks that were to be copied and were here.
    pub touched: Counter,
    /// Copies that were not made.
    pub copies_failed: Counter,
    /// Blocks deleted by order, or because they were of no use.
    pub deletes: Counter,
    /// Bytes read by scrubbing.
    pub scrubbed_bytes: Counter,
    /// Blocks found damaged or lost.
    pub damaged: Counter,
    /// Bytes freed by compaction.
    pub compacted_bytes: Counter,
    /// Beats that were answered.
    pub beats: Counter,
    /// Beats that were not.
    pub beats_failed: Counter,
    /// Orders taken; those given again while they were under way are not counted.
    pub orders: Counter,
}
