//! `cas gc`: reclaims space.

use crate::exit::Exit;
use crate::printer::{bytes, duration};
use crate::workplace::{STOP, Workplace};
use crate::{table, time};
use cas_client::gc::{self, GcOptions, GcReport};
use cas_client::serve::index::Task;
use cas_client::serve::index::history::read;
use cas_client::store::{LetIn, Store, now_ns};
use cas_client::{ClientError, Result};
use cas_net::GcHolder;
use cas_net::cluster::{MAX_RUNS, RunEnd, RunInfo};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

const HOUR_NS: i64 = 3600 * 1_000_000_000;
/// Between two questions whether a run has ended.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The newest runs among which it must be.
const ASKED_RUNS: u32 = 50;

/// Empty the trash and give the space of what nobody needs back
///
/// What was forgotten stays in the trash for 3 days, so that cas undelete can bring it back.
///
/// A cluster does this by its schedule (cas index serve --gc); this does it now, and leaves pushes under way alone.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Gc {
    #[command(subcommand)]
    command: Option<GcCommand>,
    /// Empty the trash whatever its age, and give up interrupted pushes
    #[arg(long)]
    now: bool,
    /// How long forgotten snapshots stay in the trash, in hours
    #[arg(long, env = "CAS_TRASH_HOURS", value_name = "HOURS", default_value_t = 72)]
    trash_hours: u32,
}

#[derive(Debug, Subcommand)]
enum GcCommand {
    /// Show what the index of a cluster did by itself, and how it ended: gc, scrub, retention, backup
    ///
    /// For operators; on the machine of the index also without it, from its folder.
    History {
        /// Folder of the index [default: ask the index]
        dir: Option<PathBuf>,
        /// At most so many, the newest
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        last: u32,
    },
    /// Have the index of a cluster do now what it does by schedule. For operators
    Run {
        /// gc, scrub, retention or backup
        task: Task,
        /// Wait until it has ended; exit 1 if it failed, 11 if something held it back
        #[arg(long)]
        wait: bool,
    },
}

impl Gc {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        match self.command {
            Some(GcCommand::History { dir, last }) => return history(work, dir.as_deref(), last),
            Some(GcCommand::Run { task, wait }) => return run(work, task, wait),
            None => {}
        }
        let store = work.open_alone()?;
        let done = collect(work, &store, self.now, self.trash_hours);
        let closed = store.close();
        let report = done?;
        closed?;
        Ok(if report.no_room { Exit::Full } else { Exit::Ok })
    }
}

/// The newest runs, newest first: from the index's folder, or by asking it.
fn runs(work: &Workplace, dir: Option<&Path>, last: u32) -> Result<Vec<RunInfo>> {
    match dir {
        Some(dir) => Ok(read(dir)?.iter().rev().take(last as usize).map(RunInfo::from).collect()),
        None => Ok(work.cluster()?.placement().runs(last)?),
    }
}

fn history(work: &Workplace, dir: Option<&Path>, last: u32) -> Result<Exit> {
    let runs = runs(work, dir, last)?;
    if work.printer.json() {
        runs.iter().rev().for_each(|run| work.printer.object(&as_json(run)));
        return Ok(Exit::Ok);
    }
    let rows = runs.iter().rev().map(|run| {
        let took = run.ended_ns.map(|ended_ns| ended_ns.saturating_sub(run.began_ns).max(0).unsigned_abs());
        let took = took.map_or(String::new(), |ns| duration(Duration::from_nanos(ns)));
        let (end, why) = words(run);
        let note = if why.is_empty() { run.note.clone() } else { format!("{why}; {}", run.note) };
        let (items, size) = (run.items.to_string(), bytes(run.bytes));
        vec![time::local(run.began_ns), run.task.clone(), end.to_owned(), took, items, size, note]
    });
    let headings = ["BEGAN", "TASK", "END", "TOOK>", "ITEMS>", "BYTES>", "NOTE"];
    table::lines(&headings, rows).iter().for_each(|line| work.printer.line(line));
    if runs.is_empty() {
        work.printer.say("nothing was done by schedule yet");
    }
    Ok(Exit::Ok)
}

fn as_json(run: &RunInfo) -> serde_json::Value {
    let (end, why) = words(run);
    json!({
        "task": run.task, "asked": run.slot_s.is_none(), "began": time::rfc3339(run.began_ns),
        "ended": run.ended_ns.map(time::rfc3339), "waited_seconds": run.waited_ns / 1_000_000_000, "end": end,
        "reason": why, "items": run.items, "bytes": run.bytes, "note": run.note,
    })
}

fn words(run: &RunInfo) -> (&'static str, &str) {
    match &run.end {
        _ if run.ended_ns.is_none() => ("under way", ""),
        RunEnd::Done => ("done", ""),
        RunEnd::Held(by) => ("held back", by),
        RunEnd::Stopped => ("stopped", ""),
        RunEnd::Failed(why) => ("failed", why),
    }
}

/// Has a task done. Waiting means: until there is a run of it that began after the newest one known before, and has ended.
fn run(work: &Workplace, task: Task, wait: bool) -> Result<Exit> {
    let cluster = work.cluster()?;
    let of_task = |limit| -> Result<Vec<RunInfo>> {
        let runs = cluster.placement().runs(limit)?;
        Ok(runs.into_iter().filter(|run| run.task == task.name()).collect())
    };
    let before = of_task(MAX_RUNS)?.first().map(|run| run.began_ns);
    cluster.placement().ask_run(task.name())?;
    if !wait {
        work.printer.say(format!("{task}: the index does it next; cas gc history shows how it ended"));
        return Ok(Exit::Ok);
    }
    loop {
        if STOP.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let ended = of_task(ASKED_RUNS)?.into_iter().find(|run| run.ended_ns.is_some() && Some(run.began_ns) > before);
        let Some(run) = ended else {
            std::thread::sleep(ASK_AGAIN);
            continue;
        };
        let (end, why) = words(&run);
        if work.printer.json() {
            work.printer.object(&as_json(&run));
        } else {
            let colon = if why.is_empty() { "" } else { ": " };
            work.printer.line(format!("{task} {end}{colon}{why}; {}", run.note));
        }
        return Ok(match run.end {
            RunEnd::Done => Exit::Ok,
            RunEnd::Held(_) | RunEnd::Stopped => Exit::Busy,
            RunEnd::Failed(_) => Exit::Failed,
        });
    }
}

/// Collects and tells.
pub fn collect(work: &Workplace, store: &Store, all: bool, trash_hours: u32) -> Result<GcReport> {
    let options = GcOptions { now_ns: now_ns(), trash_ns: i64::from(trash_hours) * HOUR_NS, all };
    // Not before: it gives up the sessions of processes that are gone, and takes all that there are for such.
    let mut step = |_: &GcReport| work.let_in(store, LetIn::All);
    let report = gc::gc(store, options, &mut step, &STOP)?;
    tell(work, &report, store.cluster().is_some());
    Ok(report)
}

fn tell(work: &Workplace, report: &GcReport, is_cluster: bool) {
    let printer = &work.printer;
    let held = report.held.as_ref().map(|holder| match holder {
        GcHolder::Session(session) => session.label.clone(),
        GcHolder::NewEra => "a rebuilt index that misses blocks".to_owned(),
    });
    if printer.json() {
        printer.object(&json!({
            "message_type": "summary",
            "snapshots_removed": report.emptied.len(),
            "blocks_deleted": report.blocks,
            "bytes_deleted": report.bytes,
            "orphans_deleted": report.orphans,
            "bytes_freed": report.freed,
            "bytes_dead": report.dead,
            "waiting": report.waiting,
            "no_room": report.no_room,
            "sessions_ended": report.ended.len(),
            "held_by": held,
        }));
        return;
    }
    for row in &report.emptied {
        printer.explain(format!("removed {}@{} {}", row.name, row.seq, row.snapshot.short()));
    }
    for session in &report.ended {
        printer.explain(format!("gave up {}", session.label));
    }
    let freed = match (is_cluster, report.waiting) {
        (false, _) => format!("{} freed on disk", bytes(report.freed)),
        (true, 0) => "nodes free their disks by themselves".to_owned(),
        (true, waiting) => format!("nodes have yet to answer for {waiting}"),
    };
    printer.say(format!(
        "{} snapshots removed for good, {} blocks ({}) deleted, {freed}",
        report.emptied.len(),
        report.blocks + report.orphans,
        bytes(report.bytes),
    ));
    if report.no_room {
        printer.warn(format!(
            "{} of dead bytes stay on the disk: it has too little room to copy what lives beside them; make some and run gc again",
            bytes(report.dead)
        ));
    }
    if let Some(held) = held {
        printer.say(format!("the rest is held back by {held}"));
    }
}
