//! How an index is served: where it listens, what it does by itself, and how much it gives way.

use super::http::DEFAULT_HTTP;
use super::pace::Limits;
use super::schedule::Schedule;
use crate::options::DEFAULT_TRASH_NS;
use cas_net::server::ServerSettings;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nanoseconds of a clock that nobody sets.
pub type Steady = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Where exports of the index are written by schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backups {
    /// A directory that is not on the disk of the index, best.
    pub dir: PathBuf,
    /// How many are kept; older ones are removed.
    pub keep: usize,
}

/// How an index is served.
#[derive(Clone)]
pub struct ServeOptions {
    /// The directory of the index.
    pub dir: PathBuf,
    /// How it is opened. Its clock is the machine's: cluster time is made of it.
    pub index: crate::Options,
    /// The UDP socket; port 0: the system chooses one.
    pub listen: SocketAddr,
    /// The TCP socket for metrics and health; `None`: none.
    pub http: Option<SocketAddr>,
    /// Bounds of the server.
    pub server: ServerSettings,
    /// How patient the index itself is when it asks nodes.
    pub network: cas_net::Settings,
    /// What is done by itself, and when.
    pub schedules: Vec<Schedule>,
    /// How long forgotten versions stay in the trash, in nanoseconds.
    pub trash_ns: i64,
    /// When scheduled work gives way to pushes.
    pub limits: Limits,
    /// Where the index writes exports of itself; `None`: nowhere.
    pub backups: Option<Backups>,
    /// How often time passes: nodes are judged, sessions expire.
    pub tick: Duration,
    /// For the lives of nodes and for measuring.
    pub steady: Steady,
}

impl ServeOptions {
    /// The defaults, for an index that is there.
    pub fn new(dir: PathBuf, key_seed: [u8; 32]) -> Self {
        let began = Instant::now();
        Self {
            dir,
            index: crate::Options { must_exist: true, ..crate::Options::new(key_seed) },
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, cas_net::address::DEFAULT_PORT)),
            http: Some(DEFAULT_HTTP),
            server: ServerSettings::default(),
            network: cas_net::Settings::default(),
            schedules: Schedule::defaults(),
            trash_ns: DEFAULT_TRASH_NS,
            limits: Limits::default(),
            backups: None,
            tick: Duration::from_secs(1),
            steady: Arc::new(move || i64::try_from(began.elapsed().as_nanos()).unwrap_or(i64::MAX)),
        }
    }
}

impl std::fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dir, listen, http, schedules, backups, .. } = self;
        write!(f, "ServeOptions({}, {listen}, http {http:?}, {schedules:?}, {backups:?})", dir.display())
    }
}
