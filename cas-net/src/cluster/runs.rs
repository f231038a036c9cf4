//! What an index does by schedule or because an operator asks, and what became of it.

use crate::wire::wire;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Everything was done.
    Done,
    /// Something holds the rest back: which, for people.
    Held(String),
    /// The index was stopped.
    Stopped,
    /// Why it failed.
    Failed(String),
}

wire!(enum RunEnd as "end of a run" { 0 = Done, 1 = Held(why), 2 = Stopped, 3 = Failed(why) });

/// A run: of gc, scrub, retention, or a backup of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// What was done, by its name.
    pub task: String,
    /// The slot of the schedule, seconds since 1970; `None`: somebody asked.
    pub slot_s: Option<i64>,
    /// Cluster time when it began, nanoseconds since 1970.
    pub began_ns: i64,
    /// Cluster time when it ended; `None`: it is under way.
    pub ended_ns: Option<i64>,
    /// For how long of that it gave way to pushes, in nanoseconds.
    pub waited_ns: i64,
    /// How it ended.
    pub end: RunEnd,
    /// Things it worked on: blocks condemned, blocks verified, versions emptied, rows exported.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// More for people.
    pub note: String,
}

wire!(struct RunInfo { task, slot_s, began_ns, ended_ns, waited_ns, end, items, bytes, note });
