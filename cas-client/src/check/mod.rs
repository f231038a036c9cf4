//! Check: is everything there that the snapshots need, and is it what it should be?
//!
//! ```text
//! walk     every page and list once, from all roots    → the rules of FORMAT §5, across pages; what is reachable, with its key
//! compare  rows of the index with blocks of the node   → missing, different, too much
//! copies   in a cluster instead: rows with their copies → short, or without any
//! read     all stored bytes, or a part                 → damaged
//! trace    damage to snapshots and paths               → what it costs
//! ```
//!
//! Promise: nothing is changed but bad marks, which make the next push of the same content replace the block. Each
//! shared page is verified once. What cannot be checked for want of a key is counted, and checked as far as ids, sums and clear
//! children go. Memory: bounded; beyond `PASS_BLOCKS` blocks are compared and read in several passes.

mod compare;
mod copies;
mod fault;
mod part;
mod reached;
mod read;
mod trace;
mod walk;

pub use part::{Part, Round, Sample};
pub use trace::Touched;

use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::BlockId;
use cas_core::manifest::ReadCause;
use cas_core::snapshot::SnapshotObject;
use cas_net::{NodeId, Recount, ServiceError, SnapshotRow};
use fault::Fault;
use reached::Reached;
use read::Reading;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use walk::Walk;

/// Blocks whose keys are held in memory at once: about 50 bytes each, and 40 while they are read.
const PASS_BLOCKS: u64 = 1 << 20;

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Stored bytes to read; `None` for structure only.
    pub read: Option<Sample>,
    /// Where shares and amounts to read begin: see [`Round`].
    pub position: u64,
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
    /// Stored bytes to read.
    pub total_bytes: AtomicU64,
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

/// A block that has fewer copies than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// Which.
    pub block: BlockId,
    /// The nodes that should have it.
    pub missing: Vec<NodeId>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Snapshots, those in the trash among them.
    pub snapshots: u64,
    /// Snapshots that nobody here can open: their pages were not looked into.
    pub closed: u64,
    /// Vaults of a cluster that this device may not look into: nothing is known of what they need.
    pub hidden_vaults: u64,
    /// Pages and lists that were looked at.
    pub pages: u64,
    /// Blocks that the index knows.
    pub blocks: u64,
    /// Blocks on the node that the index does not know: left by interrupted pushes, the next gc removes them.
    pub orphans: u64,
    /// Blocks whose bytes were read.
    pub read_blocks: u64,
    /// Stored bytes that were read.
    pub read_bytes: u64,
    /// Blocks of a cluster that were to be read, and nobody gave: nothing is known of them.
    pub unread_blocks: u64,
    /// The first of them, and why.
    pub unread: Option<(BlockId, String)>,
    /// Which part of all blocks that was.
    pub part: Option<Part>,
    /// Blocks of a cluster that have fewer copies than they should, which the index is healing.
    pub short_blocks: u64,
    /// The first of them.
    pub short: Vec<Short>,
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

/// Checks a store, and what of it a vault opens. Without a vault: as far as that goes without keys.
pub fn check(
    store: &Store,
    vault: Option<&Vault>,
    options: &CheckOptions,
    progress: &CheckProgress,
    stop: &AtomicBool,
) -> Result<CheckReport> {
    let (rows, hidden_vaults) = snapshots(store, vault)?;
    let mut report = CheckReport { snapshots: rows.len() as u64, hidden_vaults, ..CheckReport::default() };
    if vault.is_none() {
        admit(store, &rows)?;
    }
    let mut found = Findings::default();
    let walk = Walk { store, vault, stop };
    let reading = match &options.read {
        None => None,
        Some(sample) => {
            let part = read::part_of(store, sample, options.position, stop)?;
            let reading = Reading { store, vault, part, jobs: options.jobs, progress, stop };
            reading.announce()?;
            report.part = Some(part);
            Some(reading)
        }
    };
    let passes = blocks_seen(store, stop)?.div_ceil(PASS_BLOCKS).max(1) as u32;
    for pass in 0..passes {
        let reached = Reached::new(Part::nth(pass, passes));
        let reached = match pass {
            0 => walk.survey(&rows, reached, &mut report, &mut found)?,
            _ => walk.gather(&rows, reached)?,
        };
        compare::compare(store, vault, &reached, &mut report, &mut found, stop)?;
        if let Some(reading) = &reading {
            let read = reading.read(&reached)?;
            report.read_blocks += read.blocks;
            report.read_bytes += read.bytes;
            read.damaged.into_iter().for_each(|(id, what)| found.block(id, what, true));
            found.unread.extend(read.unread);
        }
    }
    if options.recount {
        report.recount = Some(store.index().recount()?);
    }
    settle(store, vault, &rows, options, found, &mut report, stop)?;
    Ok(report)
}

/// Gets tickets for vaults of a cluster that nobody here can open: their domains stand in their records.
fn admit(store: &Store, rows: &[SnapshotRow]) -> Result<()> {
    let Some(cluster) = store.cluster() else { return Ok(()) };
    for of_vault in rows.chunk_by(|a, b| a.vault == b.vault) {
        let row = &of_vault[0];
        let Ok(object) = SnapshotObject::parse(&store.index().snapshot_object(&row.snapshot)?) else { continue };
        match cluster.admit(&row.vault, &object.record().domain) {
            Err(ClientError::Service(ServiceError::Denied(_))) => {}
            admitted => admitted?,
        }
    }
    Ok(())
}

/// About how many blocks there are. Who may not ask that of a cluster counts those that he may see.
fn blocks_seen(store: &Store, stop: &AtomicBool) -> Result<u64> {
    match store.index().status() {
        Err(ServiceError::Denied(_)) => {}
        status => return Ok(status?.live),
    }
    let (mut blocks, mut after) = (0, None);
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let rows = store.index().list_rows(after, compare::STEP)?;
        let Some(last) = rows.last() else { return Ok(blocks) };
        (blocks, after) = (blocks + rows.len() as u64, Some(last.id));
    }
}

/// All versions of all names of all vaults, the trash included; and how many other vaults of a cluster this device may not
/// look into.
fn snapshots(store: &Store, vault: Option<&Vault>) -> Result<(Vec<SnapshotRow>, u64)> {
    let (mut rows, mut hidden) = (Vec::new(), 0);
    let wanted = vault.map(Vault::id);
    for vault in store.index().vaults()? {
        match store.index().snapshots(&vault, None, true) {
            Err(ServiceError::Denied(_)) if wanted != Some(vault) => hidden += 1,
            found => rows.extend(found?),
        }
    }
    Ok((rows, hidden))
}

/// What the damage costs, and marks so that the next push cures it.
fn settle(
    store: &Store,
    vault: Option<&Vault>,
    rows: &[SnapshotRow],
    options: &CheckOptions,
    found: Findings,
    report: &mut CheckReport,
    stop: &AtomicBool,
) -> Result<()> {
    let blocks: BTreeSet<BlockId> = found.blocks.keys().copied().collect();
    if let Some(vault) = vault.filter(|_| !blocks.is_empty()) {
        report.touched = trace::trace(store, vault, rows, &blocks, stop)?;
    }
    let curable: Vec<BlockId> = found.blocks.iter().filter(|(_, (_, curable))| *curable).map(|(id, _)| *id).collect();
    if options.mark && !curable.is_empty() {
        store.index().mark(&curable, true)?;
    }
    report.unread_blocks = found.unread.len() as u64;
    report.unread = found.unread.iter().next().map(|(id, why)| (*id, why.clone()));
    report.findings = found.list();
    Ok(())
}

/// Findings, one a block.
#[derive(Default)]
struct Findings {
    whole: Vec<String>,
    /// What is wrong, and whether another copy of the block would cure it.
    blocks: BTreeMap<BlockId, (String, bool)>,
    /// Nobody gave them now, and why.
    unread: BTreeMap<BlockId, String>,
}

impl Findings {
    fn block(&mut self, id: BlockId, what: String, is_damage: bool) {
        let known = self.blocks.entry(id).or_insert_with(|| (what, is_damage));
        known.1 |= is_damage;
    }

    fn fault(&mut self, id: BlockId, fault: Fault, is_damage: bool) {
        match fault {
            Fault::Damage(what) => self.block(id, what, is_damage),
            Fault::Unread(why) => _ = self.unread.entry(id).or_insert(why),
        }
    }

    /// A page or list that could not be used. Another copy cures only what could not be read.
    fn unusable(&mut self, id: BlockId, cause: ReadCause<ClientError>) {
        match cause {
            ReadCause::Source(error) => self.fault(id, Fault::of(error), true),
            other => self.block(id, in_one_line(&other), false),
        }
    }

    /// A block that a snapshot needs and the index does not know; all of its id, or its first digits.
    fn unknown(&mut self, digits: String, id: Option<BlockId>) {
        const WHAT: &str = "a snapshot needs it, and the index does not know it";
        let mut known = self.blocks.keys().map(BlockId::to_string);
        match id {
            Some(id) => self.block(id, WHAT.to_owned(), true),
            None if known.any(|id| id.starts_with(&digits)) => {}
            None => self.whole.push(format!("block {digits}…: {WHAT}")),
        }
    }

    fn snapshot(&mut self, row: &SnapshotRow, what: &str) {
        self.whole.push(format!("{}@{} {}: {what}", row.name, row.seq, row.snapshot.short()));
    }

    fn link(&mut self, row: &SnapshotRow, path: &[u8], first: &[u8]) {
        let [path, first] = [path, first].map(String::from_utf8_lossy);
        self.snapshot(row, &format!("{path:?} is a hard link to {first:?}, which is no file of this snapshot"));
    }

    fn list(self) -> Vec<Finding> {
        let whole = self.whole.into_iter().map(|what| Finding { block: None, what });
        whole.chain(self.blocks.into_iter().map(|(id, (what, _))| Finding { block: Some(id), what })).collect()
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
