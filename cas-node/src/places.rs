//! Where each block lies: a table in memory for what is new, redb for the rest. A cache of the segments.
//!
//! Promise: deleting the file loses nothing; the store reads its segments again.

use cas_core::id::{BlockId, Epoch, Kind};
use cas_net::{Result, ServiceError};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const PLACES: TableDefinition<'_, &[u8; 32], &[u8; Place::LEN]> = TableDefinition::new("places v1");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta v1");
/// New places in memory before they go to the file.
pub const MAX_FRESH: usize = 256 << 10;
/// Memory the file may use as cache, in bytes.
const CACHE: usize = 16 << 20;

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: u32,
    /// The first byte of its record.
    pub offset: u32,
    /// Bytes of its body.
    pub len: u32,
    /// The newest epoch under which it was put or touched.
    pub put_epoch: Epoch,
    /// What it is.
    pub kind: Kind,
}

impl Place {
    const LEN: usize = 21;

    fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.segment.to_le_bytes());
        out[4..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..20].copy_from_slice(&self.put_epoch.0.to_le_bytes());
        out[20] = self.kind as u8;
        out
    }

    fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        Some(Self {
            segment: u32_at(0),
            offset: u32_at(4),
            len: u32_at(8),
            put_epoch: Epoch(u64::from_le_bytes(bytes[12..20].try_into().expect("8 bytes"))),
            kind: Kind::from_byte(bytes[20])?,
        })
    }
}

/// How much of a segment is alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of records that are the newest word on a block.
    pub live: u64,
    /// Bytes of all records.
    pub total: u64,
}

/// A position in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment.
    pub segment: u32,
    /// The first byte that was not read yet.
    pub offset: u64,
}

/// The table of places.
pub struct Places {
    file: Option<Database>,
    in_file: u64,
    fresh: HashMap<BlockId, Option<Place>>,
    /// Usage by segment.
    pub usage: BTreeMap<u32, Usage>,
    /// Floors by partition.
    pub floors: HashMap<u16, Epoch>,
    /// Live blocks.
    pub blocks: u64,
}

impl Places {
    /// Opens the cache; an unusable one is made anew. Answers also up to where it knows the segments.
    pub fn open(path: &Path, read_only: bool) -> (Self, Position) {
        let empty = Self {
            file: None,
            in_file: 0,
            fresh: HashMap::new(),
            usage: BTreeMap::new(),
            floors: HashMap::new(),
            blocks: 0,
        };
        if read_only && !path.exists() {
            return (empty, Position::default());
        }
        let open = || -> std::result::Result<_, redb::Error> {
            let file = Database::builder().set_cache_size(CACHE).create(path)?;
            let write = file.begin_write()?;
            write.open_table(PLACES)?;
            write.open_table(META)?;
            write.abort()?;
            Ok(file)
        };
        let caught = |f: &dyn Fn() -> std::result::Result<Database, redb::Error>| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).ok().and_then(std::result::Result::ok)
        };
        if read_only {
            return (empty, Position::default());
        }
        let file = caught(&open).or_else(|| {
            tracing::warn!(path = %path.display(), "the node's index is made anew");
            let _ = std::fs::remove_file(path);
            caught(&open)
        });
        let mut places = Self { file, ..empty };
        match places.load() {
            Some(position) => (places, position),
            None => {
                places.forget_all(path);
                (places, Position::default())
            }
        }
    }

    fn forget_all(&mut self, path: &Path) {
        self.file = None;
        let _ = std::fs::remove_file(path);
        self.file = Database::builder().set_cache_size(CACHE).create(path).ok();
        (self.in_file, self.blocks) = (0, 0);
        self.usage.clear();
        self.floors.clear();
    }

    fn load(&mut self) -> Option<Position> {
        let read = self.file.as_ref()?.begin_read().ok()?;
        let meta = match read.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableDoesNotExist(_)) => return Some(Position::default()),
            Err(_) => return None,
        };
        let bytes = match meta.get("state").ok()? {
            Some(bytes) => bytes.value().to_vec(),
            None => return Some(Position::default()),
        };
        let mut r = cas_core::codec::Reader::new("node index", &bytes);
        let position = Position { segment: r.u32().ok()?, offset: r.u64().ok()? };
        self.blocks = r.u64().ok()?;
        for _ in 0..r.u32().ok()? {
            self.usage.insert(r.u32().ok()?, Usage { live: r.u64().ok()?, total: r.u64().ok()? });
        }
        for _ in 0..r.u32().ok()? {
            self.floors.insert(r.u32().ok()? as u16, Epoch(r.u64().ok()?));
        }
        self.in_file = read.open_table(PLACES).ok()?.len().ok()?;
        Some(position)
    }

    /// Where a block lies.
    pub fn get(&self, id: &BlockId) -> Result<Option<Place>> {
        if let Some(fresh) = self.fresh.get(id) {
            return Ok(*fresh);
        }
        let Some(file) = self.file.as_ref().filter(|_| self.in_file > 0) else { return Ok(None) };
        let read = file.begin_read().map_err(|e| broken(&e))?;
        let table = read.open_table(PLACES).map_err(|e| broken(&e))?;
        let found = table.get(id.as_bytes()).map_err(|e| broken(&e))?;
        Ok(found.and_then(|bytes| Place::decode(bytes.value())))
    }

    /// Several at once.
    pub fn get_all(&self, ids: &[BlockId]) -> Result<Vec<Option<Place>>> {
        let Some(file) = self.file.as_ref().filter(|_| self.in_file > 0) else {
            return Ok(ids.iter().map(|id| self.fresh.get(id).copied().flatten()).collect());
        };
        let read = file.begin_read().map_err(|e| broken(&e))?;
        let table = read.open_table(PLACES).map_err(|e| broken(&e))?;
        let look = |id: &BlockId| match self.fresh.get(id) {
            Some(fresh) => Ok(*fresh),
            None => {
                let found = table.get(id.as_bytes()).map_err(|e| broken(&e))?;
                Ok(found.and_then(|bytes| Place::decode(bytes.value())))
            }
        };
        ids.iter().map(look).collect()
    }

    /// Notes a place, or that there is none any more. Usage and number of blocks follow.
    pub fn set(&mut self, id: BlockId, place: Option<Place>) -> Result<()> {
        let old = self.get(&id)?;
        if let Some(old) = old {
            let usage = self.usage.entry(old.segment).or_default();
            usage.live = usage.live.saturating_sub(record_len(&old));
        }
        if let Some(new) = &place {
            self.usage.entry(new.segment).or_default().live += record_len(new);
        }
        self.blocks = self.blocks + u64::from(place.is_some()) - u64::from(old.is_some());
        self.fresh.insert(id, place);
        Ok(())
    }

    /// How many changes are not in the file.
    pub fn fresh(&self) -> usize {
        self.fresh.len()
    }

    /// At most `limit` blocks in order of id, after `after`.
    pub fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<(BlockId, Place)>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let mut merged: BTreeMap<BlockId, Option<Place>> = BTreeMap::new();
        let mut reached = None;
        if let Some(file) = self.file.as_ref().filter(|_| self.in_file > 0) {
            let read = file.begin_read().map_err(|e| broken(&e))?;
            let table = read.open_table(PLACES).map_err(|e| broken(&e))?;
            let start = after.map(|id| id.0);
            let range = (start.as_ref().map_or(Unbounded, Excluded), Unbounded);
            for item in table.range::<&[u8; 32]>(range).map_err(|e| broken(&e))?.take(limit) {
                let (key, value) = item.map_err(|e| broken(&e))?;
                let id = BlockId(*key.value());
                merged.insert(id, Place::decode(value.value()));
                reached = Some(id);
            }
            if merged.len() < limit {
                reached = None;
            }
        }
        let in_range = |id: &BlockId| {
            (match from {
                Excluded(after) => *id > after,
                _ => true,
            }) && reached.is_none_or(|last| *id <= last)
        };
        for (id, place) in self.fresh.iter().filter(|(id, _)| in_range(id)) {
            merged.insert(*id, *place);
        }
        let mut out: Vec<_> = merged.into_iter().filter_map(|(id, place)| Some((id, place?))).collect();
        out.truncate(limit);
        if out.is_empty()
            && let Some(reached) = reached
        {
            return self.list(Some(reached), limit);
        }
        Ok(out)
    }

    /// Writes what is new to the file, durably, with the position up to which the segments are known.
    pub fn checkpoint(&mut self, position: Position) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut sorted: Vec<_> = self.fresh.iter().collect();
        sorted.sort_unstable_by_key(|(id, _)| **id);
        let write = || -> std::result::Result<u64, redb::Error> {
            let mut txn = file.begin_write()?;
            txn.set_quick_repair(true);
            let count = {
                let mut places = txn.open_table(PLACES)?;
                for (id, place) in sorted {
                    match place {
                        Some(place) => drop(places.insert(id.as_bytes(), &place.encode())?),
                        None => drop(places.remove(id.as_bytes())?),
                    }
                }
                let mut meta = txn.open_table(META)?;
                meta.insert("state", &self.state(position)[..])?;
                places.len()?
            };
            txn.commit()?;
            Ok(count)
        };
        self.in_file = write().map_err(|e| broken(&e))?;
        self.fresh = HashMap::new();
        Ok(())
    }

    fn state(&self, position: Position) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&position.segment.to_le_bytes());
        out.extend_from_slice(&position.offset.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&(self.usage.len() as u32).to_le_bytes());
        for (segment, usage) in &self.usage {
            out.extend_from_slice(&segment.to_le_bytes());
            out.extend_from_slice(&usage.live.to_le_bytes());
            out.extend_from_slice(&usage.total.to_le_bytes());
        }
        out.extend_from_slice(&(self.floors.len() as u32).to_le_bytes());
        for (partition, floor) in &self.floors {
            out.extend_from_slice(&u32::from(*partition).to_le_bytes());
            out.extend_from_slice(&floor.0.to_le_bytes());
        }
        out
    }
}

fn record_len(place: &Place) -> u64 {
    crate::record::HEADER_LEN as u64 + u64::from(place.len)
}

fn broken(error: &dyn std::error::Error) -> ServiceError {
    ServiceError::Damaged {
        what: "the node's index".to_owned(),
        detail: format!("{error}; deleting node/index.redb makes it anew"),
    }
}
