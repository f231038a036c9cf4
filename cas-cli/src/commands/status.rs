//! `cas status`: whether the store is well, what is under way, what is at risk, how long it takes.

use crate::exit::Exit;
use crate::printer::{bytes, duration};
use crate::time;
use crate::workplace::{STOP, Workplace};
use cas_client::fleet::{self, Standing};
use cas_client::store::cluster::Cluster;
use cas_client::store::{Store, now_ns};
use cas_client::{ClientError, Result, ServiceError};
use cas_core::layout::{PARTITIONS, Pool};
use cas_net::{IndexStatus, SessionInfo};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long it looks to see how fast copies are made.
const WATCH: Duration = Duration::from_secs(2);
/// Between two lines while waiting.
const LINES: Duration = Duration::from_secs(5);
/// Between two looks while waiting.
const PAUSE: Duration = Duration::from_millis(500);

/// Show whether the store is healthy, what is under way, what is at risk, and how long it takes
///
/// Exit code 0: healthy: everybody is there, and every block has its copies where it should have them. 3: something is not
/// as it should be, and named. 15: the index does not answer.
#[derive(Debug, Args)]
pub struct Status {
    /// Wait until the cluster is healthy
    #[arg(long)]
    wait: bool,
    /// Wait this long at most
    #[arg(long, value_parser = crate::measure::span, value_name = "TIME", requires = "wait")]
    timeout: Option<i64>,
}

impl Status {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        if work.address()?.is_none() {
            return of_folder(work, &work.open()?);
        }
        let cluster = work.cluster()?;
        let standing = self.look(work, &cluster)?;
        let index = match cluster.index().status() {
            Ok(status) => Some(status),
            Err(ServiceError::Denied(_)) => None,
            Err(e) => return Err(e.into()),
        };
        let clock = cluster.rights().clock()?.waiting_ns;
        if work.printer.json() {
            tell_json(work, &cluster, &standing, index.as_ref());
        } else {
            tell(work, &standing, index.as_ref());
            if let Some(ahead) = clock {
                work.printer.line(format!(
                    "the clock  stands still: the machine says {}; cas clock accept",
                    time::local(ahead)
                ));
            }
        }
        Ok(if standing.is_healthy() { Exit::Ok } else { Exit::Partial })
    }

    fn look(&self, work: &Workplace, cluster: &Cluster) -> Result<Standing> {
        let placement = &**cluster.placement();
        let limit = self.timeout.map(|ns| Duration::from_nanos(ns.unsigned_abs()));
        let (began, mut last, mut said) = (Instant::now(), String::new(), None::<Instant>);
        loop {
            let watch = if self.wait { Duration::ZERO } else { WATCH };
            let standing = Standing::look(placement, watch, &STOP)?;
            if !self.wait || standing.is_healthy() || limit.is_some_and(|limit| began.elapsed() >= limit) {
                return Ok(standing);
            }
            let now = summary(&standing);
            if now != last && said.is_none_or(|said| said.elapsed() >= LINES) {
                work.printer.say(&now);
                (last, said) = (now, Some(Instant::now()));
            }
            let paused = Instant::now();
            while paused.elapsed() < PAUSE {
                if STOP.load(std::sync::atomic::Ordering::Relaxed) {
                    return Err(ClientError::Interrupted);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// A folder has one node and one copy of everything: it is there, or it is not.
fn of_folder(work: &Workplace, store: &Store) -> Result<Exit> {
    let status = store.index().status()?;
    let vaults = store.index().vaults()?.len();
    if work.printer.json() {
        work.printer.object(&json!({
            "message_type": "status", "store": store.place(), "healthy": status.bad == 0, "blocks": status.live,
            "bytes": status.bytes, "bad": status.bad, "unreferenced": status.unreferenced, "vaults": vaults,
        }));
    } else {
        let word = if status.bad == 0 { "healthy" } else { "degraded" };
        work.printer.line(format!("{word}: one folder, {} blocks, {}", status.live, bytes(status.bytes)));
        if status.bad > 0 {
            work.printer
                .line(format!("damaged    {} blocks are known to be bad: cas check names the files", status.bad));
        }
    }
    Ok(if status.bad == 0 { Exit::Ok } else { Exit::Partial })
}

/// What is not as it should be, in a line.
fn summary(standing: &Standing) -> String {
    let s = &standing.status;
    if !standing.has_layout() {
        return "degraded: no node holds anything yet".to_owned();
    }
    if standing.is_healthy() {
        return format!("healthy: {} nodes, pool {}, layout {}; everything has its copies", s.nodes, s.pool, s.layout);
    }
    let mut parts = Vec::new();
    let mut part = |amount: u64, one: &str, rest: &str| match amount {
        0 => {}
        1 => parts.push(format!("1 {one} {rest}")),
        _ => parts.push(format!("{amount} {} {rest}", plural(one))),
    };
    part(s.lost, "block", "without a copy");
    part(s.unreachable.into(), "partition", "that nobody can read");
    part(s.down.into(), "node", "down");
    part(s.suspect.into(), "node", "silent");
    part(s.short, "block", "short of copies");
    part(s.to_move.into(), "partition", "to move");
    part(s.uncounted.into(), "partition copy", "to count");
    if s.suspended {
        parts.push("healing is suspended".to_owned());
    }
    format!("degraded: {}", parts.join(", "))
}

fn plural(one: &str) -> String {
    one.strip_suffix('y').map_or_else(|| format!("{one}s"), |stem| format!("{stem}ies"))
}

fn tell(work: &Workplace, standing: &Standing, index: Option<&IndexStatus>) {
    let (printer, s, now) = (&work.printer, &standing.status, now_ns());
    printer.line(summary(standing));
    for node in standing.absent() {
        let silent = node.silent_ms.map_or("not heard since the index started".to_owned(), |ms| {
            format!("silent for {}", duration(Duration::from_millis(ms)))
        });
        printer.line(format!(
            "absent     {} in rack {}: {}, {silent}",
            fleet::short(node),
            node.rack,
            fleet::state(node, now)
        ));
    }
    if s.lost > 0 {
        printer.line(format!(
            "lost       {} blocks have no copy that counts: bring their nodes back; cas check names the files",
            s.lost
        ));
    }
    if s.unreachable > 0 {
        printer.line(format!("at risk    {} of {PARTITIONS} partitions cannot be read now", s.unreachable));
    }
    if s.short > 0 {
        let wanted = s.pool.parse::<Pool>().map_or(0, Pool::replicas);
        printer.line(format!("at risk    {} blocks have fewer than their {wanted} copies", s.short));
    }
    if s.suspended {
        printer.line("suspended  many nodes vanished at once: only last copies are healed until they are back");
    }
    if s.to_move > 0 || s.moving > 0 {
        printer.line(format!(
            "moving     {} of {PARTITIONS} partitions are not where they should be, {} are on their way",
            s.to_move, s.moving
        ));
    }
    if s.uncounted > 0 {
        printer.line(format!("counting   {} copies of partitions are being counted", s.uncounted));
    }
    if s.copied > 0 {
        printer.line(format!("copied     {} blocks, {}, since the index started", s.copied, bytes(s.copied_bytes)));
    }
    if let Some(pace) = standing.pace {
        let speed = format!("{:.1} blocks a second, {}/s", pace.blocks, bytes(pace.bytes as u64));
        match standing.left() {
            Some(left) => printer.line(format!("left       about {}: {speed}", duration(left))),
            None if s.suspect > 0 => {
                printer.line("left       waits for the silent nodes to come back, or to be given up");
            }
            None => {
                printer.line(format!("left       cannot be told: nothing was done in the last {} s", WATCH.as_secs()))
            }
        }
    }
    let new: Vec<String> = standing.new_nodes().map(fleet::short).collect();
    if !new.is_empty() {
        printer.line(format!("new        {} hold nothing until cas layout apply: {}", new.len(), new.join(" ")));
    }
    if let Some(index) = index {
        printer.line(format!("stored     {} blocks, {} before copies", index.live, bytes(index.bytes)));
        for session in &index.sessions {
            printer.line(format!("pushing    {} {}", session.label, since(session, now)));
        }
    }
}

fn since(session: &SessionInfo, now_ns: i64) -> String {
    let ns = now_ns.saturating_sub(session.started_ns).max(0).unsigned_abs();
    format!("for {}", duration(Duration::from_nanos(ns)))
}

fn tell_json(work: &Workplace, cluster: &Cluster, standing: &Standing, index: Option<&IndexStatus>) {
    let s = &standing.status;
    work.printer.object(&json!({
        "message_type": "status", "store": cluster.address().to_string(), "healthy": standing.is_healthy(),
        "layout": s.layout, "pool": s.pool, "nodes": s.nodes, "suspect": s.suspect, "down": s.down,
        "new": standing.new_nodes().count(), "to_move": s.to_move, "moving": s.moving, "uncounted": s.uncounted,
        "unreachable": s.unreachable, "short": s.short, "lost": s.lost, "suspended": s.suspended, "copied": s.copied,
        "bytes_copied": s.copied_bytes, "seconds_left": standing.left().map(|left| left.as_secs()),
        "blocks": index.map(|index| index.live), "bytes": index.map(|index| index.bytes),
        "sessions": index.map(|index| index.sessions.len()),
    }));
}
