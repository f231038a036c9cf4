//! Rebuild: a new index from what the nodes hold. The last resort (DESIGN §11), and law 9.
//!
//! Promise: names, versions, trash, keyrings, edges and counts are those of the old index at rest. The nodes are only
//! read. The old files are moved aside, not removed. What no version reaches gets no row: it was garbage, or the
//! page of a push that never registered, whose children may be missing; an orphan is safe to offer again, a row
//! that promises missing children would not be.
//!
//! Not on nodes, so not found again: bad marks (a scrub finds them), sessions, keys of commits, who brought a block,
//! when a version went to the trash (that clock begins anew). One state comes back one step earlier: a version that was
//! just emptied from the trash is there again while its object is still stored. What was stored and never acknowledged may
//! count: a version if it is the newest of its name and its root is stored, a removal, and what takes a removal back.

mod history;
mod trace;

use crate::cluster::Holders;
use crate::disk::Disk;
use crate::log::{Log, files};
use crate::options::Options;
use crate::state::blocks::{Row, State, epoch_key};
use crate::state::interned::{Interned, intern};
use crate::state::{Meta, VaultRow, damaged};
use crate::tables::{Layered, Table, Tables, TablesFile};
use cas_core::frame::Header;
use cas_core::id::{BlockId, Epoch, Kind, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_net::{Node, Result, ServiceError};
use history::{Candidate, Removed};
use std::collections::BTreeMap;
use std::path::Path;

/// Stands in the directory while files are exchanged.
const MARKER: &str = "rebuilding";
const WORKSHOP: &str = "rebuild.tmp";
/// Blocks that are listed at once.
const LIST_STEP: usize = 10_000;
/// Memory that changes may take before they are written.
const MAX_WEIGHT: usize = 64 << 20;

/// What a rebuild found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The first epoch of the new era.
    pub epoch: Epoch,
    /// Blocks with a row.
    pub blocks: u64,
    /// Stored blocks that nothing reaches: they have no row.
    pub orphans: u64,
    /// Versions that live.
    pub live: u64,
    /// Versions in the trash.
    pub trash: u64,
    /// Blocks that versions need and no node has, or that do not read: marked bad. While there are any of them the
    /// collector is held ([`crate::Index::release_hold`]).
    pub unreadable: Vec<(BlockId, String)>,
    /// Objects that were passed over, and why.
    pub skipped: Vec<(BlockId, String)>,
    /// Versions that somebody had removed and of which something is gone already: the collector takes the rest.
    pub collected: Vec<BlockId>,
}

/// Makes a new index in `dir` from what these nodes hold: all of them, or what the others hold is lost to it.
///
/// Errors: [`ServiceError::Busy`] if the index is open, a node that cannot be listed, a file that cannot be written. Then the old files are still in their place,
/// unless the exchange itself was interrupted: then opening says so, and another rebuild is the way.
pub fn rebuild(dir: &Path, options: &Options, nodes: &[&dyn Node]) -> Result<Rebuilt> {
    let workshop = dir.join(WORKSHOP);
    let io = |what: &'static str| move |e| ServiceError::io(format!("{what} {WORKSHOP}"), e);
    std::fs::create_dir_all(dir).map_err(|e| ServiceError::io(format!("create {}", dir.display()), e))?;
    let _lock = crate::service::start::lock(dir)?;
    if workshop.exists() {
        std::fs::remove_dir_all(&workshop).map_err(io("remove"))?;
    }
    std::fs::create_dir_all(&workshop).map_err(io("create"))?;
    let file = TablesFile::open(&workshop, options.disk.clone(), options.cache_bytes, false)?;
    let mut work = Work {
        nodes,
        tables: Layered::over(file),
        meta: Meta { time_ns: (options.clock)(), ..Meta::default() },
        found: Rebuilt::default(),
        objects: Vec::new(),
        holders: Holders::default(),
        removed: Vec::new(),
    };
    let newest = work.take_inventory()?.max(newest_known(dir, &*options.disk)?).max(options.reached);
    let era = newest.era().checked_add(1).ok_or_else(|| ServiceError::Denied("the last era has begun".into()))?;
    work.meta.epoch = Epoch::of_era(era);
    work.found.epoch = work.meta.epoch;
    work.take_objects()?;
    work.settle()?;
    let Work { mut tables, found, meta, .. } = work;
    tables.save()?;
    drop(tables);
    drop(Log::create(&workshop, options.disk.clone(), meta.epoch.next())?);
    exchange(dir, &workshop, &*options.disk)?;
    Ok(found)
}

/// Refuses a directory in which a rebuild was interrupted between old and new.
pub(crate) fn refuse_interrupted(dir: &Path) -> Result<()> {
    if dir.join(MARKER).exists() {
        let detail = "a rebuild was interrupted: run it again".to_owned();
        return Err(ServiceError::Damaged { what: dir.display().to_string(), detail });
    }
    Ok(())
}

struct Work<'a> {
    nodes: &'a [&'a dyn Node],
    tables: Layered,
    meta: Meta,
    found: Rebuilt,
    /// Snapshot and keyring objects with the epoch under which they were put.
    objects: Vec<(BlockId, Kind, Epoch)>,
    holders: Holders,
    removed: Vec<Removed>,
}

impl Work<'_> {
    /// A row without references for every stored block. Answers the newest put_epoch.
    fn take_inventory(&mut self) -> Result<Epoch> {
        let mut newest = Epoch::ZERO;
        for node in self.nodes {
            let number = intern(&mut self.tables, Interned::Node, node.id().0.as_bytes())?;
            self.holders.begin(number, node.id().0.0);
            let mut after = None;
            loop {
                let listed = node.list(after, LIST_STEP)?;
                let Some(last) = listed.last() else { break };
                after = Some(last.id);
                for block in listed {
                    newest = newest.max(block.put_epoch);
                    self.holders.note(number, &block.id);
                    if !block.kind.is_sealed() {
                        self.objects.push((block.id, block.kind, block.put_epoch));
                    }
                    if self.tables.get(Table::Blocks, block.id.as_bytes())?.is_some() {
                        continue;
                    }
                    let domain = match block.kind {
                        Kind::Keyring => 0,
                        _ => intern(&mut self.tables, Interned::Domain, block.domain.as_bytes())?,
                    };
                    let (kind, sum, len) = (block.kind, block.sum, block.len);
                    let zero = Epoch::ZERO;
                    self.put(&block.id, Row { kind, state: State::Live, sum, count: 0, len, domain, device: 0, zero });
                }
                self.spill()?;
            }
        }
        Ok(newest)
    }

    /// Vaults, names and versions, and everything they reach.
    fn take_objects(&mut self) -> Result<()> {
        let mut objects = std::mem::take(&mut self.objects);
        // Of several copies and several of one place the one that was put last comes last.
        objects.sort_unstable_by_key(|(id, _, put)| (*put, *id));
        let mut keyrings: BTreeMap<(VaultId, u32), (BlockId, Vec<u8>)> = BTreeMap::new();
        let mut names: BTreeMap<(VaultId, String), Vec<Candidate>> = BTreeMap::new();
        for (id, kind, _) in objects {
            let bytes = match self.fetch(&id, |bytes| BlockId::of_object(kind, bytes) == id) {
                Ok(bytes) => bytes,
                Err(why) => {
                    self.found.skipped.push((id, why));
                    continue;
                }
            };
            if kind == Kind::Keyring {
                match KeyringObject::parse(&bytes) {
                    Ok(keyring) => drop(keyrings.insert((keyring.vault(), keyring.version()), (id, bytes))),
                    Err(e) => self.found.skipped.push((id, e.to_string())),
                }
            } else {
                match Candidate::parse(id, bytes) {
                    Ok(candidate) => names.entry(candidate.name()).or_default().push(candidate),
                    Err(why) => self.found.skipped.push((id, why)),
                }
            }
        }
        for ((vault, version), (object, keyring)) in keyrings {
            self.hold(&object, 0)?;
            VaultRow { version, object, keyring }.store(&mut self.tables, &vault);
        }
        for ((vault, name), candidates) in names {
            self.take_name(&vault, &name, candidates)?;
        }
        self.take_removed()?;
        Ok(())
    }

    /// Rows that nothing reaches go; counters follow from the others.
    fn settle(&mut self) -> Result<()> {
        let mut from = Vec::new();
        loop {
            let mut step: Vec<(BlockId, Row)> = Vec::with_capacity(LIST_STEP);
            self.tables.scan(Table::Blocks, &from, &mut |key, value| {
                let id = BlockId(key.try_into().map_err(|_| damaged("blocks", "has a key of another length"))?);
                step.push((id, Row::decode(value).map_err(|e| damaged(id, e.to_string()))?));
                Ok(step.len() < LIST_STEP)
            })?;
            let Some((last, _)) = step.last() else { break };
            from = [&last.0[..], &[0]].concat();
            for (id, row) in step {
                self.settle_row(&id, &row)?;
            }
            self.spill()?;
        }
        self.meta.held = !self.found.unreadable.is_empty();
        self.holders.place(&mut self.tables, &mut self.meta);
        self.meta.store(&mut self.tables);
        Ok(())
    }

    fn settle_row(&mut self, id: &BlockId, row: &Row) -> Result<()> {
        let waits = row.count == 0 && row.zero != Epoch::ZERO;
        if row.count == 0 && !waits {
            self.found.orphans += 1;
            self.tables.remove(Table::Blocks, id.as_bytes());
            return Ok(());
        }
        if waits {
            self.tables.put(Table::Zero, &epoch_key(row.zero, id), Vec::new());
            self.meta.unreferenced += 1;
        }
        self.found.blocks += 1;
        self.meta.bytes += u64::from(row.len);
        if row.state == State::Live {
            self.meta.live += 1;
            return Ok(());
        }
        self.meta.bad += 1;
        let bad = crate::state::blocks::bad_in(&self.tables, row.domain)? + 1;
        self.tables.put(Table::Damaged, &row.domain.to_be_bytes(), bad.to_le_bytes().to_vec());
        Ok(())
    }

    /// The bytes of a block from the first node that has them right.
    fn fetch(&self, id: &BlockId, is_right: impl Fn(&[u8]) -> bool) -> std::result::Result<Vec<u8>, String> {
        let mut why = String::from("no node has it");
        for node in self.nodes {
            match node.get(id) {
                Ok(bytes) if is_right(&bytes) => return Ok(bytes),
                Ok(_) => why = format!("node {} has other bytes under its name", node.id().0),
                Err(ServiceError::NotFound { .. }) => {}
                Err(e) => why = e.to_string(),
            }
        }
        Err(why)
    }

    /// The children of a page or list.
    fn fetch_children(&self, id: &BlockId) -> std::result::Result<Vec<BlockId>, String> {
        let header = |bytes: &[u8]| Header::parse(bytes).ok().map(|(header, _)| header).filter(|h| h.id() == *id);
        let bytes = self.fetch(id, |bytes| header(bytes).is_some())?;
        Ok(header(&bytes).map(|header| header.children).unwrap_or_default())
    }

    fn put(&mut self, id: &BlockId, row: Row) {
        self.tables.put(Table::Blocks, id.as_bytes(), row.encode());
    }

    fn spill(&mut self) -> Result<()> {
        if self.tables.weight() > MAX_WEIGHT { self.tables.save() } else { Ok(()) }
    }
}

/// The newest epoch that the old log files name.
fn newest_known(dir: &Path, disk: &dyn Disk) -> Result<Epoch> {
    Ok(files(dir, disk)?.last().map_or(Epoch::ZERO, |(first, _)| *first))
}

/// Moves the old files aside and the new ones in their place. In between the marker says so.
fn exchange(dir: &Path, workshop: &Path, disk: &dyn Disk) -> Result<()> {
    let io = |e| ServiceError::io(format!("put the new index into {}", dir.display()), e);
    let marker = dir.join(MARKER);
    disk.open(&marker, true).and_then(|file| file.sync()).and_then(|()| disk.sync_dir(dir)).map_err(io)?;
    let aside = (0..).map(|n| dir.join(format!("before-rebuild-{n}"))).find(|path| !path.exists());
    let aside = aside.expect("one of them is free");
    let mut moved = false;
    for path in disk.list(dir).map_err(io)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with("log-") || name.starts_with("tables.redb") {
            if !moved {
                std::fs::create_dir(&aside).map_err(io)?;
                moved = true;
            }
            disk.rename(&path, &aside.join(name)).map_err(io)?;
        }
    }
    for path in disk.list(workshop).map_err(io)? {
        let name = path.file_name().expect("listed files have names").to_owned();
        disk.rename(&path, &dir.join(name)).map_err(io)?;
    }
    disk.sync_dir(dir).map_err(io)?;
    disk.remove(&marker).and_then(|()| disk.sync_dir(dir)).map_err(io)?;
    std::fs::remove_dir(workshop).map_err(io)
}

/// The first version has none before it.
const FIRST: SnapshotId = SnapshotId::ZERO;
