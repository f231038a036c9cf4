//! What is known of the segments, and what a record changes in it: one function, for writing and for reading again.
//!
//! Promise: the same records in the same order give the same state, whoever applies them. FORMAT §8.

use crate::index::{Place, Places, Region};
use crate::record::{At, Record, What};
use cas_core::id::BlockId;
use cas_net::Result;
use std::collections::BTreeMap;

/// A block whose stored bytes are known to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its record.
    pub at: At,
    /// What is wrong with it.
    pub why: String,
}

/// What is known of the segments.
pub struct State {
    /// Where each block lies.
    pub places: Places,
    /// Blocks found damaged since opening, as long as nothing better was put.
    pub damaged: BTreeMap<BlockId, Damaged>,
}

impl State {
    /// Applies a record that stands at `at`. Answers the record that is dead now though no delete says so.
    pub fn apply(&mut self, at: At, record: &Record) -> Result<Option<At>> {
        let id = record.id;
        if record.what != What::Block {
            self.places.usage.entry(at.segment).or_default().notes += record.total_len();
        }
        match record.what {
            What::Block => {
                let before = self.places.get(&id)?.map(|place| place.at).filter(|before| *before != at);
                let kind = record.kind.expect("block records have a kind");
                self.places.set(id, Some(Place { at, len: record.len, put_epoch: record.epoch, kind }))?;
                self.damaged.remove(&id);
                return Ok(before);
            }
            What::Touch => {
                if let Some(place) = self.places.get(&id)?.filter(|place| place.put_epoch < record.epoch) {
                    self.places.set(id, Some(Place { put_epoch: record.epoch, ..place }))?;
                }
            }
            What::Delete => {
                if self.places.get(&id)?.map(|place| place.at) == record.target() {
                    self.places.set(id, None)?;
                    self.damaged.remove(&id);
                }
            }
            What::Floor => {
                let partition = record.partition().expect("floors have a partition");
                let floor = self.places.floors.entry(partition).or_default();
                *floor = (*floor).max(record.epoch);
            }
            What::End => {}
        }
        Ok(None)
    }

    /// Whether the bytes at this place are known to be wrong.
    pub fn is_damaged(&self, id: &BlockId, at: At) -> bool {
        self.damaged.get(id).is_some_and(|damaged| damaged.at == at)
    }

    /// Notes that the bytes of a block are wrong.
    pub fn mark_damaged(&mut self, id: BlockId, at: At, why: String) {
        self.damaged.insert(id, Damaged { at, why });
    }

    /// Notes bytes that are no record.
    pub fn mark_region(&mut self, region: Region) {
        if !self.places.regions.contains(&region) {
            self.places.regions.push(region);
        }
    }
}
