//! Where each block lies: a table in memory for what is new, [`cache`] for the rest. Both follow from the segments.
//!
//! Promise: deleting the file loses nothing; the store reads its segments again.

mod backend;
mod cache;
mod place;
mod saved;

pub use place::Place;
pub use saved::{Position, Region, Saved, Usage};

use crate::disk::Disk;
use cache::{Cache, Changes, Layer, Written, merged};
use cas_core::id::{BlockId, Epoch};
use cas_net::{Result, ServiceError};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// The table of places.
pub struct Places {
    /// What came since the last checkpoint began.
    fresh: Changes,
    /// What the running checkpoint writes.
    frozen: Arc<Changes>,
    cache: Arc<RwLock<Cache>>,
    /// Live blocks.
    pub blocks: u64,
    /// Every segment.
    pub usage: BTreeMap<u32, Usage>,
    /// Floors by partition.
    pub floors: BTreeMap<u16, Epoch>,
    /// Damage met while reading the segments.
    pub regions: Vec<Region>,
}

/// A checkpoint that is being written.
pub struct Checkpoint {
    changes: Arc<Changes>,
    saved: Saved,
    cache: Arc<RwLock<Cache>>,
}

impl Checkpoint {
    /// Writes it, durably. Takes as long as it takes; nobody waits but who wants to checkpoint again.
    pub fn write(&self) -> Result<Written> {
        write(&self.cache).prepare(&self.changes)?;
        read(&self.cache).write(&self.changes, &self.saved)
    }
}

impl Places {
    /// Opens the cache. Answers also up to where it knows the log; an unusable one is made anew.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, read_only: bool) -> (Self, Option<Position>) {
        let (cache, saved) = Cache::open(dir, disk, read_only);
        let position = saved.as_ref().map(|saved| saved.position);
        let saved = saved.unwrap_or_default();
        let places = Self {
            fresh: Changes::new(),
            frozen: Arc::default(),
            cache: Arc::new(RwLock::new(cache)),
            blocks: saved.blocks,
            usage: saved.usage,
            floors: saved.floors,
            regions: saved.regions,
        };
        (places, position)
    }

    /// Forgets everything; the cache is removed.
    pub fn clear(&mut self, read_only: bool) {
        write(&self.cache).drop_file(read_only);
        (self.fresh, self.frozen) = (Changes::new(), Arc::default());
        (self.blocks, self.usage, self.floors, self.regions) = Default::default();
    }

    /// Where a block lies.
    pub fn get(&self, id: &BlockId) -> Result<Option<Place>> {
        match self.fresh.get(id).or_else(|| self.frozen.get(id)) {
            Some(place) => Ok(*place),
            None => self.cached(id),
        }
    }

    fn cached(&self, id: &BlockId) -> Result<Option<Place>> {
        let found = read(&self.cache).get(id);
        if let Err(ServiceError::Io { .. } | ServiceError::Full { .. }) = found {
            write(&self.cache).recover()?;
            return read(&self.cache).get(id);
        }
        found
    }

    /// Notes a place, or that there is none any more. Usage and number of blocks follow.
    pub fn set(&mut self, id: BlockId, place: Option<Place>) -> Result<()> {
        let old = self.get(&id)?;
        if let Some(old) = old {
            let usage = self.usage.entry(old.at.segment).or_default();
            usage.live = usage.live.saturating_sub(old.record_len());
        }
        if let Some(new) = &place {
            self.usage.entry(new.at.segment).or_default().live += new.record_len();
        }
        self.blocks = (self.blocks + u64::from(place.is_some())).saturating_sub(u64::from(old.is_some()));
        self.fresh.insert(id, place);
        Ok(())
    }

    /// How many changes are not in the cache.
    pub fn fresh(&self) -> usize {
        self.fresh.len()
    }

    /// At most `limit` blocks behind `after`, in order of ids.
    pub fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<(BlockId, Place)>> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let layer = |changes| -> Layer<'_> {
            let changes: &Changes = changes;
            Box::new(changes.range(from).map(|(id, place)| Ok((*id, *place))))
        };
        let cache = read(&self.cache);
        let mut rows = cache.range(after)?;
        merged([layer(&self.fresh), layer(&self.frozen)], &mut rows).take(limit).collect()
    }

    /// Takes what is new aside to be written, with the position up to which the log is known.
    pub fn begin_checkpoint(&mut self, position: Position) -> Checkpoint {
        assert!(self.frozen.is_empty(), "one checkpoint at a time");
        self.frozen = Arc::new(std::mem::take(&mut self.fresh));
        let saved = Saved {
            position,
            blocks: self.blocks,
            usage: self.usage.clone(),
            floors: self.floors.clone(),
            regions: self.regions.clone(),
        };
        Checkpoint { changes: self.frozen.clone(), saved, cache: self.cache.clone() }
    }

    /// Lets the cache stand for what was written, or takes it back.
    pub fn end_checkpoint(&mut self, written: Result<Written>) -> Result<()> {
        let adopted = written.and_then(|written| write(&self.cache).adopt(written));
        let frozen = std::mem::take(&mut self.frozen);
        if adopted.is_err() {
            let recovered = write(&self.cache).recover();
            recovered.inspect_err(|e| tracing::warn!("the node's index cannot be opened again: {e}")).ok();
            let mut all = Arc::unwrap_or_clone(frozen);
            all.append(&mut self.fresh);
            self.fresh = all;
        }
        adopted
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
