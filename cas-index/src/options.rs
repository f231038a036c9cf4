//! How an index is opened.

use crate::cluster::liveness;
use crate::cluster::planner::Throttle;
use crate::disk::{Disk, LocalDisk};
use cas_core::id::Epoch;
use std::sync::Arc;

const SECOND_NS: i64 = 1_000_000_000;
/// Memory for redb's cache, unless told otherwise.
pub const DEFAULT_CACHE_BYTES: usize = 1 << 30;
/// How long a session lives without a word from its client.
pub const DEFAULT_LEASE_NS: i64 = 10 * 60 * SECOND_NS;
/// How long a forgotten version stays in the trash, unless told otherwise.
pub const DEFAULT_TRASH_NS: i64 = 3 * 24 * 3600 * SECOND_NS;

/// The log is put into the tables when it is longer than this, unless told otherwise.
pub const DEFAULT_CHECKPOINT_LOG: u64 = 16 << 20;
/// At close and after half a minute, a log shorter than this is left to the next start, unless told otherwise.
pub const DEFAULT_CHECKPOINT_WORTH: u64 = 1 << 20;

/// They are also put into the tables when they take more memory than this, in bytes, unless told otherwise.
pub const DEFAULT_CHECKPOINT_WEIGHT: usize = 96 << 20;

const _: () = assert!(DEFAULT_CHECKPOINT_WORTH < DEFAULT_CHECKPOINT_LOG);

/// How an index is opened.
#[derive(Clone)]
pub struct Options {
    /// The seed of the Ed25519 key that signs grants.
    pub key_seed: [u8; 32],
    /// Nanoseconds since 1970. It may stand still or go back; index time does not.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Memory for redb's cache.
    pub cache_bytes: usize,
    /// Changes nothing on disk; commands are refused.
    pub read_only: bool,
    /// Refuses a directory without an index instead of making a new one. To be set wherever there must be one: an empty
    /// index beside full nodes would take everything on them for orphans.
    pub must_exist: bool,
    /// An epoch that this index is known to have reached durably. One that ends before it has lost its end, which no
    /// checksum shows, and is refused.
    pub reached: Epoch,
    /// How long a session lives without a word from its client.
    pub lease_ns: i64,
    /// A checkpoint is made when the log is longer than this, in bytes.
    pub checkpoint_log: u64,
    /// A checkpoint is also made when the changes since the last one take about this many bytes of memory.
    pub checkpoint_weight: usize,
    /// At close, and after half a minute, a checkpoint is made only if the log is at least this long, in bytes.
    pub checkpoint_worth: u64,
    /// When the silence of a node means what.
    pub liveness: liveness::Settings,
    /// How much is healed and moved at once.
    pub throttle: Throttle,
    /// File operations.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// The defaults, with the system's clock.
    pub fn new(key_seed: [u8; 32]) -> Self {
        Self {
            key_seed,
            clock: Arc::new(system_clock),
            cache_bytes: DEFAULT_CACHE_BYTES,
            read_only: false,
            must_exist: false,
            reached: Epoch::ZERO,
            lease_ns: DEFAULT_LEASE_NS,
            checkpoint_log: DEFAULT_CHECKPOINT_LOG,
            checkpoint_weight: DEFAULT_CHECKPOINT_WEIGHT,
            checkpoint_worth: DEFAULT_CHECKPOINT_WORTH,
            liveness: liveness::Settings::default(),
            throttle: Throttle::default(),
            disk: Arc::new(LocalDisk),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cache_bytes, read_only, lease_ns, disk, .. } = self;
        write!(f, "Options({cache_bytes} bytes of cache, read-only {read_only}, lease {lease_ns} ns, {disk:?})")
    }
}

fn system_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
