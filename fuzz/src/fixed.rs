//! The keys of all targets and seeds.

use cas_core::agebox::Identity;
use cas_core::domain::DomainRecord;
use cas_core::secret::{ContentSecret, DomainKeys};

pub fn keys() -> DomainKeys {
    DomainKeys::new(ContentSecret::from_bytes([1; 32]))
}

pub fn identity(n: u8) -> Identity {
    Identity::from_random(&[n; 32])
}

/// A domain whose pages and lists are small, so that few entries make a high tree.
pub fn small_record() -> DomainRecord {
    DomainRecord { page_entries: 3, page_inner: 2, list_parameter: 2, list_max: 4, ..DomainRecord::default() }
}
