//! Pull: from a snapshot, whole or in part, to a folder.
//!
//! ```text
//! plan (one thread: walks the manifest, makes folders) ──jobs──▶ write files (every core; the parts of large ones too)
//!      └─ afterwards: hardlinks, deletions, then owners and times of folders, deepest first
//! ```
//!
//! Promise: only verified bytes are written, nothing outside of the target; what cannot be restored is a
//! [`Problem`] and costs nothing else; what is there already and right is not written again. No name stands for
//! half a file (see `place`). A pull that was stopped is completed by the same command.

mod attributes;
mod crew;
mod file;
mod links;
mod noted;
mod place;
mod plan;
mod target;

pub use attributes::Denied;
pub use plan::Overwrite;

use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::push::ExcludeRules;
use crate::store::Store;
use attributes::OwnerPolicy;
use cas_core::id::BlockId;
use cas_core::manifest::{Manifest, ManifestPath, decode_xattrs};
use cas_core::secret::DomainKeys;
use cas_core::snapshot::Details;
use crew::Crew;
use crossbeam_channel::bounded;
use place::Failure;
use plan::{FileTask, Planner};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Jobs between the plan and the writers, per thread.
const QUEUE: usize = 2;

/// What to restore, and how.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The folder to write to; made if it is missing.
    pub target: PathBuf,
    /// The path inside the snapshot; empty for all of it. The contents of a folder go into the target, a file under its name.
    pub path: Vec<u8>,
    /// Which existing files are written.
    pub overwrite: Overwrite,
    /// Remove what is in the target and not in the snapshot.
    pub delete: bool,
    /// Say what would be done, change nothing.
    pub dry_run: bool,
    /// Owners by number, not by name.
    pub numeric_owner: bool,
    /// What to leave out.
    pub excludes: ExcludeRules,
    /// Threads that write; 0 for one per core.
    pub jobs: usize,
}

/// Live counts.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files looked at.
    pub files: AtomicU64,
    /// Files that were right already.
    pub unchanged: AtomicU64,
    /// Bytes of files that are done.
    pub bytes: AtomicU64,
    /// Bytes that were written.
    pub written: AtomicU64,
    /// Folders, links and the rest.
    pub others: AtomicU64,
    /// What was removed.
    pub deleted: AtomicU64,
    /// What is not as it should be.
    pub problems: AtomicU64,
}

/// Something that was not restored as it should be.
#[derive(Debug)]
pub struct Problem {
    /// The path in the snapshot, or a range of paths in words.
    pub path: Vec<u8>,
    /// Why.
    pub cause: ClientError,
    /// A file that was changed and could not be completed: a mixture of old and new bytes.
    pub partial: Option<PathBuf>,
}

impl Problem {
    /// Whether stored bytes are damaged, rather than something wrong with the target.
    pub fn is_damage(&self) -> bool {
        use ClientError::{Damaged, Format, Untrusted};
        matches!(self.cause, Damaged { .. } | Format { .. } | Untrusted { .. })
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct PullReport {
    /// What is not as it should be.
    pub problems: Vec<Problem>,
    /// What the user may not set.
    pub denied: Denied,
}

/// Restores. `root` is the root page of the snapshot, `stop` may be set from a signal handler.
pub fn pull(
    store: &Store,
    root: BlockId,
    details: &Details,
    options: &PullOptions,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<PullReport> {
    let keys = Arc::new(DomainKeys::new(details.secrets[0].clone()));
    let manifest = |fetcher| Manifest::new(fetcher, &keys, &details.domain, root, details.root.clone());
    let fetcher = Fetcher::new(store.nodes().clone(), keys.clone());
    let shared = Shared {
        owners: OwnerPolicy::new(options.numeric_owner),
        denied: Denied::default(),
        problems: Mutex::default(),
        progress,
        stop,
    };
    let threads = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let (jobs_in, jobs_out) = bounded(threads * QUEUE);
    let manifest_of_plan = manifest(fetcher.again());
    let mut planner = Planner::new(&manifest_of_plan, options, &shared)?;
    let crew = Crew::new(threads, progress, stop);
    let in_place = matches!(options.overwrite, Overwrite::IfChanged | Overwrite::Always);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (manifest, jobs, shared, crew) = (manifest(fetcher.again()), jobs_out.clone(), &shared, crew.clone());
            scope.spawn(move || {
                crew.work(&jobs, manifest.source(), |crew, task| {
                    write_task(&manifest, &task, in_place, shared, crew);
                })
            });
        }
        drop((jobs_out, crew));
        let send = move |job| jobs_in.send(job).map_err(|_| ClientError::Interrupted);
        planner.plan(send)
    })?;
    if stop.load(Relaxed) {
        return Err(ClientError::Interrupted);
    }
    planner.finish(details)?;
    if stop.load(Relaxed) {
        return Err(ClientError::Interrupted);
    }
    let problems = shared.problems.into_inner().expect("no thread panics with this lock");
    Ok(PullReport { problems, denied: shared.denied })
}

/// What all threads of a pull share.
struct Shared<'a> {
    owners: OwnerPolicy,
    denied: Denied,
    problems: Mutex<Vec<Problem>>,
    progress: &'a Progress,
    stop: &'a AtomicBool,
}

impl Shared<'_> {
    /// Paths of the snapshot that were not restored.
    fn failed(&self) -> HashSet<Vec<u8>> {
        self.problems.lock().expect("no thread panics with this lock").iter().map(|p| p.path.clone()).collect()
    }

    fn problem(&self, path: &[u8], failure: impl Into<Failure>) {
        self.progress.problems.fetch_add(1, Relaxed);
        let Failure { cause, partial } = failure.into();
        let problem = Problem { path: path.to_vec(), cause, partial };
        self.problems.lock().expect("no thread panics with this lock").push(problem);
    }
}

/// Restores one file. What goes wrong is a problem.
fn write_task(manifest: &Manifest<Fetcher>, task: &FileTask, in_place: bool, shared: &Shared<'_>, crew: &Crew) {
    if shared.stop.load(Relaxed) {
        return;
    }
    match write_one(manifest, task, in_place, shared, crew) {
        Ok(written) => _ = shared.progress.written.fetch_add(written, Relaxed),
        Err(failure) => shared.problem(task.file.path.as_bytes(), failure),
    }
    if file::is_small(&task.file) {
        shared.progress.bytes.fetch_add(task.file.entry.size, Relaxed);
    }
}

fn write_one(
    manifest: &Manifest<Fetcher>,
    task: &FileTask,
    in_place: bool,
    shared: &Shared<'_>,
    crew: &Crew,
) -> std::result::Result<u64, Failure> {
    let FileTask { dir, name, file, existing } = task;
    let written = place::restore(task, in_place, manifest, crew)?;
    let xattrs = xattrs(manifest, file)?;
    let set = attributes::apply(dir, name, &file.entry, &xattrs, *existing, &shared.owners, &shared.denied);
    set.map_err(|e| ClientError::io(format!("set the attributes of {}", dir.path().join(&**name).display()), e))?;
    Ok(written)
}

/// The extended attributes of an entry, wherever they are stored.
fn xattrs(manifest: &Manifest<Fetcher>, file: &cas_core::manifest::EntryWithIds) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let Some((piece, id)) = file.entry.xattr_block.as_ref().zip(file.xattr_id()) else {
        return Ok(file.entry.xattrs.clone());
    };
    let key = piece.data.as_ref().expect("an xattr block is data");
    let encoded = manifest.source().data(&id, key)?;
    decode_xattrs(&encoded)
        .map_err(|cause| ClientError::Format { what: format!("the attributes in block {id}"), cause })
}

/// A path as a person gives it.
fn manifest_path(path: &[u8]) -> Result<ManifestPath> {
    ManifestPath::new(path).map_err(|e| ClientError::Usage(format!("{:?}: {e}", String::from_utf8_lossy(path))))
}
