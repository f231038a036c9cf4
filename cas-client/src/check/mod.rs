//! Check: is everything there that the snapshots need, and is it what it should be?
//!
//! ```text
//! walk     every page and list once, from all roots    → what is reachable, with its key
//! compare  rows of the index with blocks of the node   → missing, different, too much
//! read     all stored bytes, or a sample               → damaged
//! trace    damage to snapshots and paths               → what it costs
//! ```
//!
//! Promise: nothing is changed but bad marks, which make the next push of the same content replace the block. Each
//! shared page is opened once. Memory: about 100 bytes a reachable block.

mod compare;
mod read;
mod trace;
mod walk;

pub use read::Sample;
pub use trace::Touched;

use crate::error::Result;
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::BlockId;
use cas_net::{Recount, SnapshotRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Stored bytes to read; `None` for structure only.
    pub read: Option<Sample>,
    /// Compare all counts with the edges.
    pub recount: bool,
    /// Mark what is damaged, so that the next push replaces it.
    pub mark: bool,
    /// Threads that read; 0 for one per core.
    pub jobs: usize,
}

/// Live counts.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Blocks to read.
    pub total_blocks: AtomicU64,
    /// Blocks read.
    pub blocks: AtomicU64,
    /// Stored bytes read.
    pub bytes: AtomicU64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The block; `None` if it is about a snapshot as a whole.
    pub block: Option<BlockId>,
    /// What is wrong.
    pub what: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Snapshots, those in the trash among them.
    pub snapshots: u64,
    /// Pages and lists that were opened.
    pub pages: u64,
    /// Blocks that the index knows.
    pub blocks: u64,
    /// Blocks on the node that the index does not know: left by interrupted pushes, the next gc removes them.
    pub orphans: u64,
    /// Blocks whose bytes were read.
    pub read_blocks: u64,
    /// Stored bytes that were read.
    pub read_bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What the damage costs.
    pub touched: Vec<Touched>,
    /// The counts, if asked for.
    pub recount: Option<Recount>,
}

impl CheckReport {
    /// Whether anything is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.recount.as_ref().is_none_or(|r| r.wrong.is_empty() && r.dangling.is_empty())
    }
}

/// Checks a vault and the store it lies in.
pub fn check(
    store: &Store,
    vault: &Vault,
    options: &CheckOptions,
    progress: &CheckProgress,
    stop: &AtomicBool,
) -> Result<CheckReport> {
    let rows = store.index().snapshots(&vault.id(), None, true)?;
    let mut report = CheckReport { snapshots: rows.len() as u64, ..CheckReport::default() };
    let mut found = Findings::default();
    let reached = walk::walk(store, vault, &rows, &mut found, stop)?;
    report.pages = reached.pages;
    compare::compare(store, &reached, &mut report, &mut found, stop)?;
    if let Some(sample) = &options.read {
        let read = read::read(store, vault, &reached, sample, options.jobs, progress, stop)?;
        (report.read_blocks, report.read_bytes) = (read.blocks, read.bytes);
        read.damaged.into_iter().for_each(|(id, what)| found.block(id, what));
    }
    if options.recount {
        report.recount = Some(store.index().recount()?);
    }
    let damaged: BTreeSet<BlockId> = found.blocks.keys().copied().collect();
    if !damaged.is_empty() {
        report.touched = trace::trace(store, vault, &rows, &damaged, stop)?;
        if options.mark {
            store.index().mark(&damaged.into_iter().collect::<Vec<_>>(), true)?;
        }
    }
    report.findings = found.list();
    Ok(report)
}

/// Findings, one a block.
#[derive(Default)]
struct Findings {
    whole: Vec<String>,
    blocks: BTreeMap<BlockId, String>,
}

impl Findings {
    fn block(&mut self, id: BlockId, what: String) {
        self.blocks.entry(id).or_insert(what);
    }

    fn snapshot(&mut self, row: &SnapshotRow, what: &str) {
        self.whole.push(format!("{}@{} {}: {what}", row.name, row.seq, row.snapshot.short()));
    }

    fn list(self) -> Vec<Finding> {
        let whole = self.whole.into_iter().map(|what| Finding { block: None, what });
        whole.chain(self.blocks.into_iter().map(|(id, what)| Finding { block: Some(id), what })).collect()
    }
}

/// An error and its causes in one line.
fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
