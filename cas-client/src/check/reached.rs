//! What snapshots reach: the blocks of one part of the id space, with their keys, in order of id.
//!
//! Promise: about 50 bytes a block, whatever the number of snapshots that hold it; pages and lists are met once.
//! What no key was there for is told apart.

use super::part::Part;
use cas_core::id::{BlockId, Kind};
use cas_core::secret::ContentKey;
use std::collections::HashSet;

/// Half of an id is enough to tell blocks apart.
const HALF: usize = 16;
const KEY_LEN: usize = 32;
/// Duplicates are taken out when there are twice as many entries as after the last time, and at least so many.
const TIDY_FROM: usize = 1 << 16;

/// Half of the id, kind, whether there is a key, the key.
type Packed = [u8; HALF + 2 + KEY_LEN];

/// A block that a snapshot needs.
pub(super) struct Needed {
    pub kind: Kind,
    /// `None` if nobody here can open it.
    pub key: Option<ContentKey>,
}

/// Blocks that snapshots need.
pub(super) struct Reached {
    part: Part,
    blocks: Vec<Packed>,
    tidy_at: usize,
    met: HashSet<[u8; HALF]>,
}

impl Reached {
    /// Of one part of all blocks.
    pub fn new(part: Part) -> Self {
        Self { part, blocks: Vec::new(), tidy_at: TIDY_FROM, met: HashSet::new() }
    }

    /// Which part.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Whether a page or list is met for the first time.
    pub fn meet(&mut self, id: &BlockId) -> bool {
        self.met.insert(half(id))
    }

    /// How many pages and lists were met.
    pub fn met(&self) -> u64 {
        self.met.len() as u64
    }

    /// Adds a block. `kind` is that of the reference.
    pub fn add(&mut self, id: &BlockId, kind: Kind, key: Option<&ContentKey>) {
        if !self.part.holds(id) {
            return;
        }
        let mut packed = [0; HALF + 2 + KEY_LEN];
        packed[..HALF].copy_from_slice(&half(id));
        packed[HALF] = u8::from(key.is_none()); // What has a key comes first, and stays.
        packed[HALF + 1] = kind as u8;
        if let Some(key) = key {
            packed[HALF + 2..].copy_from_slice(key.as_bytes());
        }
        self.blocks.push(packed);
        if self.blocks.len() >= self.tidy_at {
            self.tidy();
        }
    }

    /// Sorts, each block once.
    pub fn tidy(&mut self) {
        self.blocks.sort_unstable();
        self.blocks.dedup_by(|b, a| a[..HALF] == b[..HALF]);
        self.tidy_at = TIDY_FROM.max(2 * self.blocks.len());
    }

    /// The place of a block among those that are needed. They must be tidy.
    pub fn place(&self, id: &BlockId) -> Option<usize> {
        self.blocks.binary_search_by(|packed| packed[..HALF].cmp(&half(id))).ok()
    }

    /// What is known of a block. They must be tidy.
    pub fn get(&self, id: &BlockId) -> Option<Needed> {
        self.place(id).map(|place| self.at(place))
    }

    /// What is known of the block at a place.
    pub fn at(&self, place: usize) -> Needed {
        let packed = &self.blocks[place];
        let kind = Kind::from_byte(packed[HALF + 1]).expect("it was a kind when it was added");
        let key = packed[HALF + 2..].try_into().expect("the length of a key");
        Needed { kind, key: (packed[HALF] == 0).then(|| ContentKey::from_bytes(key)) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The first digits of the id at a place.
    pub fn digits(&self, place: usize) -> String {
        self.blocks[place][..HALF].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        // Keys are not left lying in memory.
        self.blocks.iter_mut().for_each(|packed| packed.fill(0));
        std::hint::black_box(&self.blocks);
    }
}

fn half(id: &BlockId) -> [u8; HALF] {
    id.as_bytes()[..HALF].try_into().expect("half of an id")
}
