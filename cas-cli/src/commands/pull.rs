//! `cas pull`: from a snapshot to a folder.

use crate::exit::Exit;
use crate::printer::{bytes, duration};
use crate::progress::{Bar, Now, Total};
use crate::reading::reasons;
use crate::workplace::{STOP, Workplace};
use cas_client::browse::Opened;
use cas_client::pull::{self, Overwrite, PullOptions, PullReport};
use cas_client::push::ExcludeRules;
use cas_client::reference::Reference;
use cas_client::store::Store;
use cas_client::{ClientError, Result};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Restore a snapshot, or a part of it, into a folder
///
/// Writes only what differs from what is there. REF is NAME, NAME@3, NAME@latest~1, NAME@2026-11-20 or the first digits of
/// an id, each with :path/inside; the contents of a folder go into DIR, a file under its name.
#[derive(Debug, Args)]
pub struct Pull {
    /// What to restore
    #[arg(value_name = "REF")]
    reference: String,
    /// Where to [default: a folder named like the last part of the name, here]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The same as DIR
    #[arg(short, long, value_name = "DIR", conflicts_with = "dir")]
    target: Option<PathBuf>,
    /// Which existing files are written
    #[arg(long, env = "CAS_OVERWRITE", value_enum, default_value = "if-changed")]
    overwrite: OverwriteArg,
    /// Remove what is in DIR and not in the snapshot
    #[arg(long)]
    delete: bool,
    /// Say what would be done, change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take owners by number, not by name
    #[arg(long, env = "CAS_NUMERIC_OWNER")]
    numeric_owner: bool,
    /// Leave out what matches, as in .gitignore; may be repeated
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Threads [default: one per core]
    #[arg(short, long, env = "CAS_JOBS", default_value_t = 0, hide_default_value = true, value_name = "N")]
    jobs: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverwriteArg {
    /// Those whose size or time differ
    IfChanged,
    /// All; what differs in them is written
    Always,
    /// Those that are older
    IfNewer,
    /// None
    Never,
}

impl Pull {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let began = Instant::now();
        let reference = Reference::parse(&self.reference, crate::time::local_offset_s())?;
        let store = work.open()?;
        let mut vault = work.vault(&store)?;
        let Opened { row, details, .. } = Opened::open(&store, &mut vault, &reference)?;
        let target = self.dir.or(self.target).unwrap_or_else(|| default_target(&row.name));
        let options = PullOptions {
            target,
            path: reference.path.clone(),
            overwrite: match self.overwrite {
                OverwriteArg::IfChanged => Overwrite::IfChanged,
                OverwriteArg::Always => Overwrite::Always,
                OverwriteArg::IfNewer => Overwrite::IfNewer,
                OverwriteArg::Never => Overwrite::Never,
            },
            delete: self.delete,
            dry_run: self.dry_run,
            numeric_owner: self.numeric_owner,
            excludes: ExcludeRules { patterns: self.exclude, ..ExcludeRules::default() },
            jobs: self.jobs,
        };
        let progress = Arc::<pull::Progress>::default();
        let total = match reference.path.is_empty() {
            true => Total::Known(details.stats.files, details.stats.bytes),
            false => Total::None,
        };
        let seen = progress.clone();
        let bar = Bar::start(work.printer, move || {
            let load = |n: &AtomicU64| n.load(Relaxed);
            let (files, bytes, problems) = (load(&seen.files), load(&seen.bytes), load(&seen.problems));
            let (written, skipped) = (load(&seen.written), load(&seen.unchanged));
            let more = vec![
                ("files_restored", files.saturating_sub(skipped)),
                ("files_skipped", skipped),
                ("files_deleted", load(&seen.deleted)),
                ("bytes_restored", written),
                ("bytes_skipped", bytes.saturating_sub(written)),
            ];
            Now { files, bytes, problems, total, more, ..Now::of("files") }
        });
        let pulled = pull::pull(&store, row.root, &details, &options, &progress, &STOP);
        bar.finish();
        let marked = pulled.as_ref().map_or(Ok(()), |report| mark_damaged(work, &store, report));
        let closed = store.close();
        let report = pulled?;
        marked?;
        closed?;
        tell(work, &options, &progress, &report, began);
        Ok(exit_of(&report))
    }
}

/// Damage of stored bytes is told apart from what the target would not take.
fn exit_of(report: &PullReport) -> Exit {
    if report.problems.iter().any(|problem| problem.is_damage()) {
        Exit::Damaged
    } else if report.problems.is_empty() {
        Exit::Ok
    } else {
        Exit::Partial
    }
}

/// So that the next push of the same content replaces what could not be read.
fn mark_damaged(work: &Workplace, store: &Store, report: &PullReport) -> Result<()> {
    let damaged = report.problems.iter().filter_map(|problem| match problem.cause {
        ClientError::Damaged { id, .. } => Some(id),
        _ => None,
    });
    let damaged: Vec<_> = damaged.collect::<BTreeSet<_>>().into_iter().collect();
    if !damaged.is_empty() && !work.is_read_only() {
        store.index().mark(&damaged, true)?;
    }
    Ok(())
}

fn default_target(name: &str) -> PathBuf {
    PathBuf::from(name.rsplit('/').next().unwrap_or(name))
}

fn tell(work: &Workplace, options: &PullOptions, progress: &pull::Progress, report: &PullReport, began: Instant) {
    let printer = &work.printer;
    for problem in &report.problems {
        let item = String::from_utf8_lossy(&problem.path).into_owned();
        let why = reasons(&problem.cause);
        if printer.json() {
            let mut value =
                json!({"message_type": "error", "error": {"message": why}, "during": "restore", "item": item});
            value["damaged"] = problem.is_damage().into();
            if let Some(path) = &problem.partial {
                value["partial"] = path.to_string_lossy().into();
            }
            eprintln!("{value}");
        } else {
            let item = crate::escape::text(&problem.path);
            let partial = problem
                .partial
                .as_ref()
                .map_or(String::new(), |path| format!("; {} is what stood there, in part overwritten", path.display()));
            printer.warn(format!("{item} was not restored: {why}{partial}"));
        }
    }
    let load = |n: &AtomicU64| n.load(Relaxed);
    let (files, unchanged) = (load(&progress.files), load(&progress.unchanged));
    let damaged = report.problems.iter().filter(|problem| problem.is_damage()).count();
    let failed = report.problems.len() - damaged;
    let restored = files.saturating_sub(unchanged + report.problems.len() as u64);
    if printer.json() {
        printer.object(&json!({
            "message_type": "summary",
            "seconds_elapsed": began.elapsed().as_secs(),
            "total_duration": began.elapsed().as_secs_f64(),
            "total_files": files + load(&progress.others),
            "files_restored": restored + load(&progress.others),
            "files_skipped": unchanged,
            "files_deleted": load(&progress.deleted),
            "total_bytes": load(&progress.bytes),
            "bytes_restored": load(&progress.written),
            "bytes_skipped": load(&progress.bytes).saturating_sub(load(&progress.written)),
            "errors": report.problems.len(),
            "files_damaged": damaged,
            "files_failed": failed,
            "dry_run": options.dry_run,
        }));
        return;
    }
    let (owners, xattrs) = (load(&report.denied.owners), load(&report.denied.xattrs));
    if owners + xattrs > 0 {
        printer.warn(format!(
            "not set, for want of permission: the owners of {owners} files and {xattrs} extended attributes"
        ));
    }
    let would = if options.dry_run { " would be" } else { "" };
    let part = |n: u64, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
    printer.say(format!(
        "{}{would}: {files} files{}{}{}{}, {}, {} written; {}",
        options.target.display(),
        part(unchanged, "as they were"),
        part(load(&progress.deleted), "removed"),
        part(damaged as u64, "lost to damage"),
        part(failed as u64, "failed"),
        bytes(load(&progress.bytes)),
        bytes(load(&progress.written)),
        duration(began.elapsed()),
    ));
    if damaged > 0 {
        printer.warn(
            "stored bytes are damaged: the files are named above; pushing them again, where they still are, heals them",
        );
    }
}
