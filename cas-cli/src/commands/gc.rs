//! `cas gc`: reclaims space.

use crate::exit::Exit;
use crate::printer::{bytes, duration};
use crate::workplace::{STOP, Workplace};
use crate::{table, time};
use cas_client::Result;
use cas_client::gc::{self, GcOptions, GcReport};
use cas_client::serve::index::history::read;
use cas_client::serve::index::{Cause, End};
use cas_client::store::{Store, now_ns};
use cas_net::GcHolder;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

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
    History {
        /// Folder of the index, on its machine; it may be served
        dir: PathBuf,
        /// At most so many, the newest
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        last: usize,
    },
}

impl Gc {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        if let Some(GcCommand::History { dir, last }) = self.command {
            return history(work, &dir, last);
        }
        let store = work.open()?;
        let done = collect(work, &store, self.now, self.trash_hours);
        let closed = store.close();
        let report = done?;
        closed?;
        Ok(if report.no_room { Exit::Full } else { Exit::Ok })
    }
}

fn history(work: &Workplace, dir: &Path, last: usize) -> Result<Exit> {
    let runs = read(dir)?;
    let shown = &runs[runs.len().saturating_sub(last)..];
    if work.printer.json() {
        for run in shown {
            let (end, why) = words(&run.end);
            work.printer.object(&json!({
                "task": run.task.name(), "asked": run.cause == Cause::Asked, "began": time::rfc3339(run.began_ns),
                "ended": time::rfc3339(run.ended_ns), "waited_seconds": run.waited_ns / 1_000_000_000, "end": end,
                "reason": why, "items": run.items, "bytes": run.bytes, "note": run.note,
            }));
        }
        return Ok(Exit::Ok);
    }
    let rows = shown.iter().map(|run| {
        let took = run.ended_ns.saturating_sub(run.began_ns).max(0).unsigned_abs();
        let (end, why) = words(&run.end);
        let note = if why.is_empty() { run.note.clone() } else { format!("{why}; {}", run.note) };
        let (items, size) = (run.items.to_string(), bytes(run.bytes));
        let took = duration(Duration::from_nanos(took));
        vec![time::local(run.began_ns), run.task.to_string(), end.to_owned(), took, items, size, note]
    });
    let headings = ["BEGAN", "TASK", "END", "TOOK>", "ITEMS>", "BYTES>", "NOTE"];
    table::lines(&headings, rows).iter().for_each(|line| work.printer.line(line));
    if shown.is_empty() {
        work.printer.say("nothing was done by schedule yet");
    }
    Ok(Exit::Ok)
}

fn words(end: &End) -> (&'static str, &str) {
    match end {
        End::Done => ("done", ""),
        End::Held(by) => ("held back", by),
        End::Stopped => ("stopped", ""),
        End::Failed(why) => ("failed", why),
    }
}

/// Collects and tells.
pub fn collect(work: &Workplace, store: &Store, all: bool, trash_hours: u32) -> Result<GcReport> {
    let options = GcOptions { now_ns: now_ns(), trash_ns: i64::from(trash_hours) * HOUR_NS, all };
    let report = gc::gc(store, options, &mut |_| {}, &STOP)?;
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
