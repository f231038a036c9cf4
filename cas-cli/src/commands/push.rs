//! `cas push`: a new version of a name.

use crate::exit::Exit;
use crate::printer::{bytes, duration};
use crate::progress::{Bar, Now, Total};
use crate::workplace::{STOP, Workplace};
use cas_client::push::{self, Ahead, Counters, ExcludeRules, Problem, ProblemKind, PushOptions, PushReport};
use cas_client::store::{LetIn, Store};
use cas_client::vault::Vault;
use cas_client::{ClientError, Result, host};
use cas_core::domain::Profile;
use cas_core::frame::Compression;
use clap::Args;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Zstandard level when none is asked for.
const LEVEL: i32 = 3;

/// Push files and folders: a new version of a name
///
/// One folder becomes the root of the snapshot; a file or several paths keep their base names. Unchanged
/// files cost a look, equal data is stored once. The first push creates store, identity and vault.
#[derive(Debug, Args)]
pub struct Push {
    /// What to push
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name that gets the new version [default: HOST/LAST-PART-OF-PATH]
    #[arg(short = 'N', long, env = "CAS_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Leave out what matches, as in .gitignore; may be repeated
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out what matches a pattern in this file
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// Leave out the contents of folders tagged with CACHEDIR.TAG
    #[arg(long, env = "CAS_EXCLUDE_CACHES")]
    exclude_caches: bool,
    /// Leave out the contents of folders that hold a file of this name
    #[arg(long, value_name = "NAME")]
    exclude_if_present: Vec<OsString>,
    /// Stay on the file systems of the given paths
    #[arg(short = 'x', long, env = "CAS_ONE_FILE_SYSTEM")]
    one_file_system: bool,
    /// Tag to find it by; may be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// Host to note in the snapshot [default: this one]
    #[arg(short = 'H', long, env = "CAS_HOST", value_name = "NAME")]
    host: Option<String>,
    /// off, or a zstd level from 1 to 19
    #[arg(long, env = "CAS_COMPRESSION", value_name = "LEVEL", value_parser = compression, default_value = "auto")]
    compression: Compression,
    /// Read every file, also those that look unchanged
    #[arg(short, long)]
    force: bool,
    /// Say what would be done, store nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Threads [default: one per core]
    #[arg(short, long, env = "CAS_JOBS", default_value_t = 0, hide_default_value = true, value_name = "N")]
    jobs: usize,
}

fn compression(text: &str) -> std::result::Result<Compression, String> {
    match text {
        "off" | "none" => Ok(Compression::Off),
        "auto" => Ok(Compression::Zstd(LEVEL)),
        "max" => Ok(Compression::Zstd(19)),
        level => match level.parse() {
            Ok(level @ 1..=19) => Ok(Compression::Zstd(level)),
            _ => Err("expected off, auto, max or a level from 1 to 19".to_owned()),
        },
    }
}

impl Push {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let options = self.options()?;
        let (store, mut vault) = open_or_create(work)?;
        let counters = Arc::<Counters>::default();
        let ahead = Arc::<Ahead>::default();
        let counting = Arc::<AtomicBool>::default();
        let last = if work.printer.shows_progress() { last_totals(&store, &vault, &options.name) } else { None };
        if work.printer.shows_progress() && last.is_none() {
            let (ahead, options, dir) = (ahead.clone(), options.clone(), store.dir().map(ToOwned::to_owned));
            let stop = counting.clone();
            // Ends with the push; without it there is no ETA, and nothing else is lost.
            std::thread::spawn(move || _ = ahead.count(&options, dir.as_deref(), &stop));
        }
        let seen = counters.clone();
        let bar = Bar::start(work.printer, move || {
            let now = seen.now();
            let current = seen.reading.now().into_iter().map(|path| path.into_os_string().into_vec()).collect();
            let counted = (ahead.files.load(Relaxed), ahead.bytes.load(Relaxed));
            let total = match last {
                Some((files, bytes)) => Total::Known(files.max(now.files()), bytes.max(now.bytes)),
                None if ahead.complete.load(Relaxed) => Total::Known(counted.0, counted.1),
                None => Total::AtLeast(counted.0, counted.1),
            };
            Now { files: now.files(), bytes: now.bytes, problems: now.problems, total, current, ..Now::of("files") }
        });
        let pushed = push::push(&store, &mut vault, &work.places.cache, &options, &counters, &STOP);
        counting.store(true, Relaxed);
        bar.finish();
        let closed = store.close();
        let report = pushed?;
        closed?;
        tell(work, &options, &report);
        Ok(if report.problems.is_empty() { Exit::Ok } else { Exit::Partial })
    }

    fn options(self) -> Result<PushOptions> {
        let host = self.host.unwrap_or_else(host::host_name);
        let name = match self.name {
            Some(name) => name,
            None => default_name(&host, &self.paths)?,
        };
        name.parse::<cas_core::snapshot::Name>().map_err(|e| ClientError::Usage(e.to_string()))?;
        for tag in &self.tag {
            cas_core::snapshot::check_tag(tag).map_err(|e| ClientError::Usage(format!("the tag {tag:?}: {e}")))?;
        }
        Ok(PushOptions {
            paths: self.paths,
            name,
            excludes: ExcludeRules {
                patterns: self.exclude,
                files: self.exclude_file,
                caches: self.exclude_caches,
                if_present: self.exclude_if_present,
                folders: Vec::new(),
            },
            one_file_system: self.one_file_system,
            compression: self.compression,
            force: self.force,
            dry_run: self.dry_run,
            jobs: self.jobs,
            host,
            user: host::user_name(),
            tags: self.tag,
            time_ns: None,
            program: concat!("cas ", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }
}

/// `HOST/LAST`, with what a name must not hold replaced.
fn default_name(host: &str, paths: &[PathBuf]) -> Result<String> {
    let mut lasts = Vec::new();
    for path in paths {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        lasts.push(real.file_name().map_or("root".to_owned(), |n| n.to_string_lossy().into_owned()));
    }
    lasts.dedup();
    let allowed = |c: char| if c.is_control() || "@:/".contains(c) { '_' } else { c };
    let last: String = lasts.join("+").chars().map(allowed).take(120).collect();
    let host: String = host.chars().map(allowed).take(100).collect();
    Ok(format!("{host}/{last}"))
}

/// The store and its vault; made on the first push if nothing else was named.
fn open_or_create(work: &Workplace) -> Result<(Store, Vault)> {
    match work.open() {
        Ok(store)
            if (work.global.store.is_none() || store.cluster().is_some()) && store.index().vaults()?.is_empty() =>
        {
            drop(store);
            create(work)
        }
        Ok(store) => {
            let mut vault = work.vault(&store)?;
            vault.ensure_device(&store, &host::host_name())?;
            Ok((store, vault))
        }
        Err(ClientError::NoStore(_)) if work.global.store.is_none() => create(work),
        Err(e) => Err(e),
    }
}

fn create(work: &Workplace) -> Result<(Store, Vault)> {
    let (store, vault) = super::init::create(work, Profile::Default)?;
    work.let_in(&store, LetIn::All);
    Ok((store, vault))
}

/// Files and bytes of the last version: about what there is to do.
fn last_totals(store: &Store, vault: &Vault, name: &str) -> Option<(u64, u64)> {
    let rows = store.index().snapshots(&vault.id(), Some(name), false).ok()?;
    let object = vault.record_of(store, &rows.last()?.snapshot).ok()?;
    let stats = vault.details(&object).ok()?.stats;
    Some((stats.files, stats.bytes))
}

fn tell(work: &Workplace, options: &PushOptions, report: &PushReport) {
    let printer = &work.printer;
    for problem in &report.problems {
        tell_problem(work, problem);
    }
    let counts = &report.counts;
    if printer.json() {
        let now = cas_client::store::now_ns();
        let began = now - i64::try_from(report.elapsed.as_nanos()).unwrap_or(0);
        printer.object(&json!({
            "message_type": "summary",
            "dry_run": options.dry_run,
            "files_new": counts.files_new,
            "files_changed": counts.files_changed,
            "files_unmodified": counts.files_unmodified,
            "dirs_new": counts.dirs_new,
            "dirs_changed": counts.dirs_changed,
            "dirs_unmodified": counts.dirs_unmodified,
            "data_blobs": counts.data_blocks,
            "tree_blobs": counts.tree_blocks,
            "data_added": counts.bytes_added,
            "data_added_packed": counts.bytes_stored,
            "total_files_processed": counts.files(),
            "total_bytes_processed": counts.bytes,
            "total_duration": report.elapsed.as_secs_f64(),
            "backup_start": crate::time::rfc3339(began),
            "backup_end": crate::time::rfc3339(now),
            "snapshot_id": report.version.map(|v| v.snapshot.to_string()),
            "name": options.name,
            "version": report.version.map(|v| v.seq),
            "errors": report.problems.len(),
        }));
        return;
    }
    let files = format!(
        "{} files ({} new, {} changed), {}",
        counts.files(),
        counts.files_new,
        counts.files_changed,
        bytes(counts.bytes)
    );
    let stored = format!("{} new, {} stored", bytes(counts.bytes_added), bytes(counts.bytes_stored));
    let time = duration(report.elapsed);
    match report.version {
        Some(v) => printer.say(format!("{}@{} {}: {files}; {stored}; {time}", options.name, v.seq, v.snapshot.short())),
        None => printer.say(format!("{} would be: {files}; {} new; {time}", options.name, bytes(counts.bytes_added))),
    }
    if !report.problems.is_empty() {
        printer.warn(format!(
            "{} problems: the version is there, with what is named above missing or not as it should be",
            report.problems.len()
        ));
    }
}

fn tell_problem(work: &Workplace, problem: &Problem) {
    let what = match problem.kind {
        ProblemKind::List => "cannot be listed",
        ProblemKind::Stat | ProblemKind::Read => "cannot be read",
        ProblemKind::Changed => "changed while it was read",
        ProblemKind::Attributes => "is there without its attributes",
    };
    if work.printer.json() {
        let item = problem.path.to_string_lossy();
        let message = format!("{item} {what}: {}", problem.cause);
        let value = json!({"message_type": "error", "error": {"message": message}, "during": "archival", "item": item});
        eprintln!("{value}");
    } else {
        work.printer.warn(format!("{} {what}: {}", problem.path.display(), problem.cause));
    }
}
