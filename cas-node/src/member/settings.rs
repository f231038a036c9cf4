//! How a node works beside serving: all of it can be set, all of it has a default.

use cas_net::cluster::BEAT_NS;
use std::time::Duration;

/// Requests that read blocks at once; a request reads at most 8 MiB and one block more.
pub const MAX_READS: usize = 16;
/// Requests that hand blocks to the writer at once: with those that wait for their turn fewer than handlers at work, so that reads go
/// on while the disk is slow.
pub const MAX_PUTS: usize = 32;

/// Requests of clients, and as many of nodes, whose blocks are on their way to others.
pub const MAX_CHAINS: usize = 96;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a node beats, copies, and looks after what it holds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between two beats, give or take a tenth.
    pub beat: Duration,
    /// Bytes a second fetched from peers by order of the index, all orders together; 0: as fast as it goes.
    pub copy_bytes_per_second: u64,
    /// Orders to copy that are carried out at once.
    pub copy_workers: usize,
    /// Blocks that one order fetches at once.
    pub copy_fetchers: usize,
    /// In this time everything stored is read and verified once.
    pub scrub_period: Duration,
    /// And not faster than this, in bytes a second, though it may then take longer.
    pub scrub_bytes_per_second: u64,
    /// Dead bytes may be this share of the live ones.
    pub dead_share: f64,
    /// Above this share it is compacted though clients are busy.
    pub dead_share_busy: f64,
    /// Requests under way up to which a node counts as little loaded.
    pub quiet_requests: u32,
    /// Between two looks whether there is something to compact.
    pub compact_pause: Duration,
    /// In this time the index is asked once about everything stored, whether it is of any use.
    pub stray_period: Duration,
    /// Between two looks at partitions that the node is no member of any more, as long as it holds anything of them.
    pub left_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            beat: Duration::from_nanos(BEAT_NS as u64),
            copy_bytes_per_second: 200 << 20,
            copy_workers: 2,
            copy_fetchers: 4,
            scrub_period: 14 * DAY,
            scrub_bytes_per_second: 50 << 20,
            dead_share: 0.05,
            dead_share_busy: 0.25,
            quiet_requests: 4,
            compact_pause: Duration::from_secs(60),
            stray_period: DAY,
            left_pause: Duration::from_secs(60),
        }
    }
}
