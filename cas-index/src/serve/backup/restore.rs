//! A new index from an export. FORMAT §9.
//!
//! What was acknowledged after the export is not in it, and nodes go on holding it; what was deleted after it is in it, and
//! nodes no longer have it. So a restored index believes no node: each must write its floors and list what it has,
//! and what is missing is healed, or marked bad. And it sweeps nothing, until somebody lets it ([`release`]): what
//! nodes hold beyond the export can be versions that were acknowledged, which [`crate::rebuild()`] finds from nodes.
//! Sessions are not restored: their grants ended with the era.

use super::format::{self, Summary};
use crate::Options;
use crate::cluster::{self, Command as Change};
use crate::command::Command;
use crate::log::{Log, files};
use crate::state::{self, Meta, Stamp};
use crate::tables::{Layered, Table, Tables, TablesFile};
use cas_core::id::Epoch;
use cas_core::signing::SigningKey;
use cas_net::{Result, ServiceError};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands in the directory of an index that was restored and not released.
const MARKER: &str = "restored";
/// Memory that changes may take before they are written.
const MAX_WEIGHT: usize = 64 << 20;
/// A disk that no node has: whatever a node says it holds has to be listed first.
const UNKNOWN_DISK: [u8; 16] = [0; 16];

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The export.
    pub from: Summary,
    /// The epoch at which the index goes on.
    pub epoch: Epoch,
    /// Nodes that have to list what they hold.
    pub nodes: usize,
}

/// Makes the index of this export in `dir`, which holds the same key ([`Options::key_seed`]) and no index.
///
/// # Errors
/// Those of [`super::verify`]; [`ServiceError::Denied`] if there is an index, or the export is of one with another key;
/// [`ServiceError::Io`]. After an error that is not `Denied` the directory holds no index; try again.
pub fn restore(export: &Path, dir: &Path, options: &Options) -> Result<Restored> {
    let from = super::verify(export)?;
    let key = SigningKey::from_seed(&options.key_seed).public();
    if from.index != key {
        let denied = format!("the export is of the index {}, the key in {} is {key}", from.index, dir.display());
        return Err(ServiceError::Denied(denied));
    }
    fs::create_dir_all(dir).map_err(|e| ServiceError::io(format!("create {}", dir.display()), e))?;
    let _lock = crate::service::start::lock(dir)?;
    clear_unfinished(dir, options)?;
    mark(dir)?;
    let mut tables = Layered::over(TablesFile::open(dir, options.disk.clone(), options.cache_bytes, false)?);
    load(export, &from, &mut tables)?;
    let newest = from.epoch.max(options.reached);
    let era = newest.era().checked_add(1).ok_or_else(|| ServiceError::Denied("the last era has begun".into()))?;
    let (epoch, nodes) = begin_era(&mut tables, Epoch::of_era(era))?;
    tables.save()?;
    drop(tables);
    // Without a log there is no index: this makes it one.
    drop(Log::create(dir, options.disk.clone(), epoch.next())?);
    Ok(Restored { from, epoch, nodes })
}

/// Whether the index in this directory was restored and not released.
pub fn is_held(dir: &Path) -> bool {
    dir.join(MARKER).exists()
}

/// Somebody has looked: what nodes hold beyond the export is given up, and sweeping begins.
///
/// # Errors
/// [`ServiceError::Io`].
pub fn release(dir: &Path) -> Result<()> {
    let removed = match fs::remove_file(dir.join(MARKER)) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done.and_then(|()| File::open(dir)?.sync_all()),
    };
    removed.map_err(|e| ServiceError::io(format!("release the restored index in {}", dir.display()), e))
}

/// Whether a served index is held: shared by all that would sweep.
#[derive(Debug, Clone)]
pub struct Held(Arc<AtomicBool>);

/// As the directory says.
pub(in crate::serve) fn held(dir: &Path) -> Held {
    Held(Arc::new(AtomicBool::new(is_held(dir))))
}

impl Held {
    /// Whether nothing may be swept.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sweeping begins.
    pub(in crate::serve) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Removes tables without a log: what a restore left that did not end.
fn clear_unfinished(dir: &Path, options: &Options) -> Result<()> {
    if !files(dir, &*options.disk)?.is_empty()
        || !is_held(dir) && TablesFile::open(dir, options.disk.clone(), 0, true)?.exists()
    {
        return Err(ServiceError::Denied(format!("{} holds an index", dir.display())));
    }
    for name in ["tables.redb", "tables.redb.new"] {
        match fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(ServiceError::io(format!("remove {name}"), e)),
            _ => {}
        }
    }
    Ok(())
}

fn mark(dir: &Path) -> Result<()> {
    let marked =
        File::create(dir.join(MARKER)).and_then(|file| file.sync_all()).and_then(|()| File::open(dir)?.sync_all());
    marked.map_err(|e| ServiceError::io(format!("mark {}", dir.display()), e))
}

fn load(export: &Path, expected: &Summary, tables: &mut Layered) -> Result<()> {
    let found = format::read(export, &mut |table, key, value| {
        if table != Table::Sessions {
            tables.put(table, key, value.to_vec());
        }
        if tables.weight() > MAX_WEIGHT { tables.save() } else { Ok(()) }
    })?;
    if found == *expected {
        return Ok(());
    }
    let detail = "it changed while it was read".to_owned();
    Err(ServiceError::Damaged { what: export.display().to_string(), detail })
}

/// Steps into the new era; no node is believed any more. Answers the epoch and how many nodes there are.
fn begin_era(tables: &mut Layered, first: Epoch) -> Result<(Epoch, usize)> {
    let mut meta = Meta::load(tables)?;
    meta.epoch = first;
    meta.store(tables);
    let nodes = cluster::nodes(tables)?;
    let mut stamp = Stamp { epoch: first, time_ns: meta.time_ns };
    for (key, _) in &nodes {
        stamp.epoch = stamp.epoch.next();
        let unknown = Command::Cluster(Change::NewDisk { node: key.0, disk: UNKNOWN_DISK });
        state::apply(tables, stamp, &unknown)??;
    }
    Ok((stamp.epoch, nodes.len()))
}
