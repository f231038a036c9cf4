//! `cas gc`: reclaims space.

use crate::exit::Exit;
use crate::printer::bytes;
use crate::workplace::{STOP, Workplace};
use cas_client::Result;
use cas_client::gc::{self, GcOptions, GcReport};
use cas_client::store::{Store, now_ns};
use cas_net::GcHolder;
use clap::Args;
use serde_json::json;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// Empty the trash and give the space of what nobody needs back
///
/// What was forgotten stays in the trash for 3 days, so that cas undelete can bring it back.
#[derive(Debug, Args)]
pub struct Gc {
    /// Empty the trash whatever its age, and give up interrupted pushes
    #[arg(long)]
    now: bool,
    /// How long forgotten snapshots stay in the trash, in hours
    #[arg(long, env = "CAS_TRASH_HOURS", value_name = "HOURS", default_value_t = 72)]
    trash_hours: u32,
}

impl Gc {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let store = work.open()?;
        let done = collect(work, &store, self.now, self.trash_hours);
        let closed = store.close();
        let report = done?;
        closed?;
        Ok(if report.no_room { Exit::Full } else { Exit::Ok })
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
