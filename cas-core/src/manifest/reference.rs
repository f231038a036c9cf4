//! References: which blocks a page or list holds, each once, in order of first appearance. FORMAT §3.
//!
//! Promise: the n-th distinct reference belongs to the n-th child id of the block's header.

use crate::id::{BlockId, Kind};
use crate::secret::{ContentKey, DomainKeys};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A block that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// What it holds.
    pub kind: Kind,
    /// P.
    pub key: ContentKey,
}

impl Reference {
    /// The id, where it follows from P: data blocks have no children of their own.
    pub fn derived_id(&self, keys: &DomainKeys) -> Option<BlockId> {
        (self.kind == Kind::Data).then(|| keys.block_id(Kind::Data, &self.key, &[]))
    }
}

/// Distinct references and where each stands.
#[derive(Debug, Default)]
pub(super) struct References {
    list: Vec<Reference>,
    index: HashMap<(Kind, ContentKey), u32, BuildHasherDefault<KeyHasher>>,
}

impl References {
    /// Adds one unless it is there. Answers its place and whether it is new.
    pub fn add(&mut self, kind: Kind, key: &[u8; 32]) -> (usize, bool) {
        let key = ContentKey::from_bytes(*key);
        let place = self.list.len();
        match self.index.entry((kind, key.clone())) {
            std::collections::hash_map::Entry::Occupied(known) => (*known.get() as usize, false),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(place as u32);
                self.list.push(Reference { kind, key });
                (place, true)
            }
        }
    }

    /// Where one stands.
    pub fn place(&self, kind: Kind, key: &ContentKey) -> Option<usize> {
        self.index.get(&(kind, key.clone())).map(|place| *place as usize)
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[Reference] {
        &self.list
    }

    /// Whether the child ids of the header are those of these references, as far as that can be told without
    /// opening them.
    pub fn match_children(&self, keys: &DomainKeys, children: &[BlockId]) -> bool {
        self.list.len() == children.len()
            && self.list.iter().zip(children).all(|(reference, id)| reference.derived_id(keys).is_none_or(|d| d == *id))
    }

    pub fn clear(&mut self) {
        self.list.clear();
        self.index.clear();
    }
}

/// Keys are hashes already: a part of one is enough. Who chooses them so that they collide slows down one page, whose
/// references are few.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(word) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*word);
        }
    }

    // The kind and the length of the key: nearly always the same.
    fn write_isize(&mut self, _: isize) {}
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
