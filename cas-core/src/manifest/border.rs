//! Borders: where pages and lists end, decided by keyed hashes of keys alone. FORMAT §5.
//!
//! Promise: whether a key is a border depends on nothing but the key, its level and the domain, so
//! that equal content is cut the same whatever was edited before.

use crate::domain::DomainRecord;
use crate::kdf;
use crate::secret::{ContentSecret, DomainKeys};

/// Decides borders of pages or of lists.
#[derive(Clone)]
pub(super) struct Borders {
    key: ContentSecret,
    /// For level 0 and for the levels above: hashes below are borders.
    below: [u64; 2],
    message: Vec<u8>,
}

impl Borders {
    /// Those of pages.
    pub fn of_pages(keys: &DomainKeys, record: &DomainRecord) -> Self {
        Self::new(keys.border_key(), [record.page_entries, record.page_inner])
    }

    /// Those of lists.
    pub fn of_lists(keys: &DomainKeys, record: &DomainRecord) -> Self {
        Self::new(keys.list_border_key(), [record.list_parameter; 2])
    }

    fn new(key: &[u8; 32], parameters: [u32; 2]) -> Self {
        record_is_valid(parameters);
        let below = parameters.map(|n| ((1u128 << 64) / u128::from(n)) as u64);
        Self { key: ContentSecret::from_bytes(*key), below, message: Vec::new() }
    }

    /// Whether a page or list ends after `key`.
    pub fn is_border(&mut self, level: u8, key: &[u8]) -> bool {
        self.message.clear();
        self.message.push(level);
        self.message.extend_from_slice(key);
        let hash = kdf::keyed(self.key.as_bytes(), &self.message);
        let word = u64::from_le_bytes(hash[..8].try_into().expect("8 of 32"));
        word < self.below[usize::from(level > 0)]
    }
}

fn record_is_valid(parameters: [u32; 2]) {
    assert!(parameters.iter().all(|n| *n >= 2), "domain records have parameters from 2");
}
