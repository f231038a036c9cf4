//! Push: from paths on this machine to a new version of a name.
//!
//! ```text
//! walk ──jobs──▶ scan (every core) ──in any order──▶ tree (one thread) ──▶ commit
//!                  │ read, cut, name                   │ pages
//!                  ▼                                   ▼
//!                upload: ask in batches → seal (every core) → put → receipts → register
//! ```
//!
//! Promise: what the commit acknowledged is on disk, whole and readable, except the files named as
//! problems. A push that ends early leaves no version and no repair to do; the next one sends nothing twice.
//! Memory is bounded by windows, whatever is pushed.

mod ahead;
mod buffers;
mod commit;
mod content;
mod counters;
mod exclude;
mod heartbeat;
mod problem;
mod scan;
mod source;
pub mod statcache;
mod tree;
mod upload;
mod walk;

pub use ahead::Ahead;
pub use counters::{Counters, Counts, Reading};
pub use exclude::{ExcludeRules, Excludes};
pub use problem::{Problem, ProblemKind};
pub use source::{Source, place_sources};
pub use upload::put_object;

use crate::attributes::Owners;
use crate::error::{ClientError, Result};
use crate::nodes::again::Again;
use crate::store::{Store, now_ns};
use crate::vault::Vault;
use cas_core::frame::Compression;
use cas_core::id::SnapshotId;
use cas_net::{ServiceError, StartSession};
use content::ContentReader;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use heartbeat::{BEAT, Heartbeat};
use scan::{Scanned, Scanner, Shared};
use statcache::{Cursor, StatCache, Writer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tree::{Tree, TreeBuilder};
use upload::Uploader;
use walk::{Job, Walker};

/// Jobs between the walk and the tree.
const WINDOW_JOBS: usize = 64;
/// How long a push starts over, with growing pauses, from the first time that its session was lost, or too few nodes or no index were
/// there: servers that come back one after the other end several sessions.
const PATIENCE: Duration = Duration::from_secs(60);
/// And how often at least, each try having its own patience.
const TRIES: u32 = 3;
/// A try that lasts so long and fails then is in a new trouble: a push of days may see many. Longer than any wait in a cluster that is gone.
const LONG: Duration = Duration::from_secs(120);
/// How long a thread sleeps before it looks whether it should stop.
const IDLE: Duration = Duration::from_millis(5);

/// What to push, and how.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Paths on this machine.
    pub paths: Vec<PathBuf>,
    /// The name that gets a new version.
    pub name: String,
    /// What to leave out.
    pub excludes: ExcludeRules,
    /// Do not enter other file systems.
    pub one_file_system: bool,
    /// How hard to compress.
    pub compression: Compression,
    /// Read everything, also what looks unchanged.
    pub force: bool,
    /// Store nothing.
    pub dry_run: bool,
    /// Threads that read and seal; 0 for one per core.
    pub jobs: usize,
    /// The machine it comes from.
    pub host: String,
    /// The person who pushes.
    pub user: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// When it was made, nanoseconds since 1970; now if not given.
    pub time_ns: Option<i64>,
    /// Program and version.
    pub program: String,
}

/// What came of it.
#[derive(Debug)]
pub struct PushReport {
    /// The version; `None` in a dry run.
    pub version: Option<Version>,
    /// What was done.
    pub counts: Counts,
    /// Files that are not there as they should be.
    pub problems: Vec<Problem>,
    /// Whether the last push of this name helped.
    pub had_cache: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// A version that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub snapshot: SnapshotId,
    /// The one before it.
    pub parent: Option<SnapshotId>,
}

/// Pushes. `stop` may be set from a signal handler.
pub fn push(
    store: &Store,
    vault: &mut Vault,
    cache_folder: &Path,
    options: &PushOptions,
    counters: &Arc<Counters>,
    stop: &AtomicBool,
) -> Result<PushReport> {
    let mut troubles = Troubles::default();
    loop {
        let (mut begun, began) = (false, Instant::now());
        let why = match push_once(store, vault, cache_folder, options, counters, stop, &mut begun) {
            Err(ClientError::Service(why)) if passes(&why, begun && store.cluster().is_some()) => why,
            done => return done,
        };
        if !troubles.pass(began.elapsed()) {
            return Err(why.into());
        }
        tracing::info!("the push starts over: {why}");
        // What is stored is not sent again: the new session asks.
        counters.begin_again();
    }
}

/// Tries that failed one after the other.
#[derive(Default)]
struct Troubles {
    tries: u32,
    again: Option<Again>,
}

impl Troubles {
    /// One more try has failed, after so long. Waits a little; answers whether there may be another.
    fn pass(&mut self, lasted: Duration) -> bool {
        if lasted >= LONG {
            *self = Self::default();
        }
        self.tries += 1;
        let has_time = self.again.get_or_insert_with(|| Again::within(PATIENCE)).pause();
        has_time || self.tries < TRIES
    }
}

/// Whether a push may go better in a moment.
fn passes(why: &ServiceError, is_in_cluster: bool) -> bool {
    use ServiceError::{Busy, Conflict, SessionGone, Stopped, Unreachable};
    match why {
        SessionGone(_) => true,
        Conflict { name, .. } => is_in_cluster && name == "layout",
        other => is_in_cluster && matches!(other, Busy(_) | Stopped(_) | Unreachable { .. }),
    }
}

fn push_once(
    store: &Store,
    vault: &mut Vault,
    cache_folder: &Path,
    options: &PushOptions,
    counters: &Arc<Counters>,
    stop: &AtomicBool,
    begun: &mut bool,
) -> Result<PushReport> {
    let began = Instant::now();
    let time_ns = options.time_ns.unwrap_or_else(now_ns);
    let (sources, missing) = place_sources(&options.paths)?;
    let mut rules = options.excludes.clone();
    rules.folders.extend(store.dir().map(Path::to_owned));
    let excludes = Excludes::compile(&rules)?;
    let session = store.index().start_session(&StartSession {
        vault: vault.id(),
        domain: vault.keys().domain_id(),
        device: vault.device().public(),
        label: format!("push of {} (process {})", options.name, std::process::id()),
    })?;
    *begun = true;
    let _heartbeat = Heartbeat::start(store.index().clone(), session.session, BEAT);
    let uploader = Uploader::new(
        store.index().clone(),
        store.nodes().clone(),
        session.session,
        vault.keys().clone(),
        options.compression,
        options.dry_run,
        counters.clone(),
    );
    let cache_path = cache_path(cache_folder, vault, options);
    let cache = if options.force || session.damaged > 0 {
        None
    } else {
        usable_cache(store, &cache_path, session.session, vault)?
    };
    let writer = if options.dry_run { None } else { Writer::create(&cache_path).ok() };
    let had_cache = cache.is_some();
    let run = Run { vault, excludes: &excludes, options, uploader: &uploader, counters, stop, sources: &sources };
    let made = run.tree(cache, writer, cache_path);
    let made = match made {
        Err(e) => {
            uploader.stop(e);
            let _ = store.index().close_session(session.session);
            return Err(uploader.into_fault().expect("it was just set"));
        }
        Ok(made) => made,
    };
    let Tree { root, mut problems, cache: writer } = made;
    problems.extend(missing);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    if options.dry_run {
        store.index().close_session(session.session)?;
        return Ok(PushReport { version: None, counts: counters.now(), problems, had_cache, elapsed: began.elapsed() });
    }
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let facts = commit::Facts {
        options,
        sources: &sources,
        root: &root,
        counts: counters.now(),
        problems: problems.len() as u64,
        time_ns,
        elapsed_ms,
    };
    let version = commit::commit(store, vault, session.session, &uploader, &facts)?;
    if let Some(writer) = writer
        && let Err(e) = writer.finish(&vault.keys().domain_id(), &root.id)
    {
        tracing::warn!("the stat cache was not written: {e}");
    }
    Ok(PushReport { version: Some(version), counts: counters.now(), problems, had_cache, elapsed: began.elapsed() })
}

/// One cache for a name and the paths that were pushed to it.
fn cache_path(folder: &Path, vault: &Vault, options: &PushOptions) -> PathBuf {
    let mut key = cas_core::kdf::deriver("stat cache");
    key.update(options.name.as_bytes());
    for path in &options.paths {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        key.update(&[0]).update(absolute.as_os_str().as_encoded_bytes());
    }
    let digits = key.finalize().to_hex();
    folder.join(vault.id().to_string()).join(format!("{}.stat", &digits[..32]))
}

/// The last push's cache, if the store still has everything that its entries refer to.
fn usable_cache(
    store: &Store,
    path: &Path,
    session: cas_net::SessionId,
    vault: &Vault,
) -> Result<Option<Arc<StatCache>>> {
    let Some(cache) = StatCache::open(path, &vault.keys().domain_id()) else { return Ok(None) };
    let answer = store.index().have(session, &[cache.root()])?;
    Ok(answer.present[0].then_some(cache))
}

/// The threads of one push.
struct Run<'a> {
    vault: &'a Vault,
    excludes: &'a Excludes,
    options: &'a PushOptions,
    uploader: &'a Uploader,
    counters: &'a Counters,
    stop: &'a AtomicBool,
    sources: &'a [Source],
}

impl Run<'_> {
    /// Walks, scans and builds until the root is registered.
    fn tree(&self, cache: Option<Arc<StatCache>>, writer: Option<Writer>, cache_path: PathBuf) -> Result<Tree> {
        let threads = match self.options.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let owners = Owners::default();
        let shared = Shared {
            uploader: self.uploader,
            counters: self.counters,
            owners: &owners,
            now_ns: now_ns(),
            links: std::sync::Mutex::default(),
        };
        let scanning = AtomicUsize::new(threads);
        let (job_in, job_out) = bounded(threads * 2);
        let (scanned_in, scanned_out) = unbounded();
        let (token_in, token_out) = bounded(WINDOW_JOBS);
        (0..WINDOW_JOBS).for_each(|_| token_in.send(()).expect("the channel holds the window"));
        std::thread::scope(|scope| {
            scope.spawn(|| self.walk(job_in, token_out));
            for _ in 0..threads {
                let (jobs, scanned) = (job_out.clone(), scanned_in.clone());
                let (shared, scanning) = (&shared, &scanning);
                let cursor = cache.clone().map(Cursor::new);
                scope.spawn(move || {
                    if let Err(e) = self.work(shared, cursor, &jobs, &scanned, scanning) {
                        self.uploader.stop(e);
                    }
                });
            }
            drop((job_out, scanned_in));
            let built = self.build(&scanned_out, &token_in, writer, cache_path);
            drop(token_in);
            built.map_err(|e| {
                self.uploader.stop(e); // The first reason counts, and it is not always this one.
                ClientError::Interrupted
            })
        })
    }

    fn walk(&self, jobs: Sender<Job>, tokens: Receiver<()>) {
        let mut send = |job| !self.stop.load(Ordering::Relaxed) && tokens.recv().is_ok() && jobs.send(job).is_ok();
        Walker::new(self.excludes, self.options.one_file_system, &mut send).walk(self.sources);
    }

    /// Scans jobs, and seals what anybody has found new; sealing first.
    fn work(
        &self,
        shared: &Shared<'_>,
        cache: Option<Cursor>,
        jobs: &Receiver<Job>,
        scanned: &Sender<Scanned>,
        scanning: &AtomicUsize,
    ) -> Result<()> {
        let mut sealer = self.uploader.sealer();
        let content = ContentReader::new(self.uploader, self.vault.chunker(), self.vault.record());
        let mut scanner = Scanner::new(shared, content, cache);
        let done = self.scan_all(&mut scanner, jobs, scanned, &mut sealer);
        scanning.fetch_sub(1, Ordering::AcqRel);
        done?;
        while scanning.load(Ordering::Acquire) > 0 {
            self.uploader.check()?;
            self.uploader.help_soon(&mut sealer)?;
        }
        while self.uploader.help(&mut sealer)? {}
        Ok(())
    }

    fn scan_all(
        &self,
        scanner: &mut Scanner<'_>,
        jobs: &Receiver<Job>,
        scanned: &Sender<Scanned>,
        sealer: &mut cas_core::frame::Sealer,
    ) -> Result<()> {
        loop {
            self.uploader.check()?;
            if self.uploader.help(sealer)? {
                continue;
            }
            match jobs.recv_timeout(IDLE) {
                Ok(job) => {
                    if scanned.send(scanner.scan(job, sealer)?).is_err() {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn build(
        &self,
        scanned: &Receiver<Scanned>,
        tokens: &Sender<()>,
        writer: Option<Writer>,
        cache_path: PathBuf,
    ) -> Result<Tree> {
        let mut sealer = self.uploader.sealer();
        let mut tree = TreeBuilder::new(self.uploader, self.vault.record(), writer, cache_path);
        loop {
            self.check()?;
            match scanned.recv_timeout(IDLE) {
                Ok(job) => {
                    for _ in 0..tree.take(job, &mut sealer)? {
                        let _ = tokens.try_send(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.check()?;
        tree.finish(&mut sealer)
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            self.uploader.stop(ClientError::Interrupted);
        }
        self.uploader.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_starts_over_after_a_long_try_and_a_few_times_at_least() {
        let mut troubles = Troubles::default();
        assert!((0..3).all(|_| troubles.pass(Duration::ZERO)), "there is time");
        let late = || Some(Again::within(Duration::ZERO));
        let mut troubles = Troubles { tries: 0, again: late() };
        assert!((1..TRIES).all(|_| troubles.pass(Duration::from_secs(61))), "each has its own patience");
        assert!(!troubles.pass(Duration::from_secs(61)), "it does not end");
        let mut troubles = Troubles { tries: 9, again: late() };
        assert!(troubles.pass(LONG), "it went well meanwhile");
    }
}
