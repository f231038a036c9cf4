//! How a store is opened.

use crate::disk::{Disk, LocalDisk};
use cas_core::id::PublicKey;
use std::fmt;
use std::sync::Arc;

/// Bytes of a segment.
pub const DEFAULT_SEGMENT_BYTES: u64 = 256 << 20;
/// Bytes written at once.
pub const DEFAULT_GROUP_BYTES: usize = 8 << 20;
/// Free bytes below which new blocks are refused.
pub const DEFAULT_SOFT_FREE: u64 = 16 << 20;
/// Bytes kept aside for a full disk, at most; less in a small store: see `reserve`.
pub const DEFAULT_RESERVE: u64 = 64 << 20;
/// Changes kept in memory before they go to the cache.
pub const DEFAULT_FRESH: usize = 256 << 10;
/// No segment is begun to be longer; together with the largest group it stays below 4 GiB.
pub const MAX_SEGMENT_BYTES: u64 = 2 << 30;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The seed of the node's key.
    pub(crate) seed: [u8; 32],
    /// The index whose grants are obeyed.
    pub(crate) index: PublicKey,
    /// Open without writing anything.
    pub read_only: bool,
    /// Bytes of a segment, about; at most [`MAX_SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Bytes written at once, about.
    pub group_bytes: usize,
    /// New blocks are refused when less than this is free on the disk, so that deleting and compacting go on. Bytes.
    pub soft_free: u64,
    /// Bytes of the disk that the file `reserve` holds, at most: released when others filled the disk. 0 for none.
    pub reserve: u64,
    /// Changes kept in memory before they go to the cache; about 100 bytes each.
    pub fresh: usize,
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// Defaults, for a node with this key that obeys this index.
    pub fn new(seed: [u8; 32], index: PublicKey) -> Self {
        Self {
            seed,
            index,
            read_only: false,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            group_bytes: DEFAULT_GROUP_BYTES,
            soft_free: DEFAULT_SOFT_FREE,
            reserve: DEFAULT_RESERVE,
            fresh: DEFAULT_FRESH,
            disk: Arc::new(LocalDisk),
        }
    }
}

/// Without the seed.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("index", &self.index)
            .field("read_only", &self.read_only)
            .field("segment_bytes", &self.segment_bytes)
            .field("group_bytes", &self.group_bytes)
            .field("soft_free", &self.soft_free)
            .field("reserve", &self.reserve)
            .field("fresh", &self.fresh)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}
