//! `cas index`: the index itself, of a store in a folder or as the server of a cluster.

use super::serving::{Serving, announced, listening, until_stopped};
use crate::exit::Exit;
use crate::log::Form;
use crate::measure::span;
use crate::prompt::PasswordSource;
use crate::time;
use crate::workplace::{Workplace, parse_address};
use cas_client::serve::index::cron::Cron;
use cas_client::serve::index::{self, Backups, DEFAULT_HTTP, Schedule, ServeOptions, Task};
use cas_client::serve::rebuilt::{Rebuilt, from_nodes};
use cas_client::serve::{advertised, index::backup};
use cas_client::store::Store;
use cas_client::{Result, host};
use cas_net::address::DEFAULT_PORT;
use cas_net::rights::NewUser;
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Look after an index: serve one to a cluster, or make that of a folder anew
#[derive(Debug, Args)]
pub struct Index {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Debug, Subcommand)]
enum IndexCommand {
    /// Make the index of a cluster in an empty folder, with its first user, who is admin
    ///
    /// Prints its key: the name under which nodes and people reach it. Keep a copy of the file "key" in the folder, which only
    /// its owner can read: an index with another key is another cluster.
    Init {
        /// Folder, best on a disk of its own
        dir: PathBuf,
        /// Name of the admin [default: the name on this machine]
        #[arg(long, value_name = "NAME")]
        admin: Option<String>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Serve the index of a cluster, until SIGTERM or Ctrl-C
    ///
    /// Prints the address that nodes and people need. Under another name or port, what follows the @ may be replaced: the
    /// key is what counts.
    Serve(Box<Serve>),
    /// Make the index of a store in a folder anew from the segments alone; or with DIR that of a cluster, from its nodes
    ///
    /// For a damaged or lost index. The old one of a folder is kept beside it, as index.old0 and so on. For a cluster, DIR
    /// holds the file "key" of the lost index, and all nodes are served; people, roles, locks, racks and the audit log are not on nodes:
    /// afterwards cas index init makes the first user again, and nodes join again (cas node serve --rejoin).
    Rebuild {
        /// Folder of the index of a cluster
        #[arg(requires = "node")]
        dir: Option<PathBuf>,
        /// Address of a node, cas://KEY@HOST:PORT; all of them
        #[arg(long, value_name = "ADDRESS", requires = "dir", value_delimiter = ',')]
        node: Vec<String>,
    },
    /// Make the index of a cluster anew from an export (--backup-dir)
    ///
    /// DIR holds the file "key" of the lost index and no index. What was acknowledged after the export is not in it; until cas
    /// index release nothing is swept, so that a rebuild can still find it on the nodes.
    Restore {
        /// Folder of the index
        dir: PathBuf,
        /// The export
        export: PathBuf,
    },
    /// Let a restored index sweep: what nodes hold beyond the export is given up
    Release {
        /// Folder of the index, while it is not served [default: ask the index that is served; for operators]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Folder of the index, made by cas index init
    dir: PathBuf,
    /// UDP address and port to listen on; port 0 takes any
    #[arg(long, env = "CAS_LISTEN", value_name = "ADDRESS", default_value_t = everywhere())]
    listen: SocketAddr,
    /// What others call this machine, with or without a port [default: its address on the way out]
    #[arg(long, env = "CAS_ADVERTISE", value_name = "HOST")]
    advertise: Option<String>,
    /// Announce it on the local network by multicast DNS, for cas discover and addresses like cas://KEY@lan
    #[arg(long, env = "CAS_ANNOUNCE")]
    announce: bool,
    /// TCP address and port of /metrics and /healthz, or none; they ask nobody who he is
    #[arg(long, env = "CAS_HTTP", value_name = "ADDRESS", default_value_t = OrNone(Some(DEFAULT_HTTP)))]
    http: OrNone<SocketAddr>,
    /// When to collect what nobody needs: a cron expression in UTC, or none [default: 0 2 * * *]
    #[arg(long, env = "CAS_GC", value_name = "CRON")]
    gc: Option<OrNone<Cron>>,
    /// When nodes verify all they hold [default: 0 4 * * sun]
    #[arg(long, env = "CAS_SCRUB", value_name = "CRON")]
    scrub: Option<OrNone<Cron>>,
    /// When versions are forgotten that the rules of their vault do not keep (cas vault set --keep-daily …) [default: 0 1 * * *]
    #[arg(long, env = "CAS_RETENTION", value_name = "CRON")]
    retention: Option<OrNone<Cron>>,
    /// When the index is exported to --backup-dir [default: 30 */6 * * *]
    #[arg(long, env = "CAS_BACKUP", value_name = "CRON", requires = "backup_dir")]
    backup: Option<OrNone<Cron>>,
    /// Folder for exports of the index, best on another disk
    #[arg(long, env = "CAS_BACKUP_DIR", value_name = "DIR")]
    backup_dir: Option<PathBuf>,
    /// How many exports are kept
    #[arg(long, env = "CAS_BACKUP_KEEP", value_name = "N", default_value_t = 8)]
    backup_keep: usize,
    /// How long forgotten versions stay in the trash
    #[arg(long, env = "CAS_TRASH", value_parser = span, value_name = "TIME", default_value = "3d")]
    trash: i64,
    /// Silence after which readers avoid a node, and others take its writes
    #[arg(long, env = "CAS_SUSPECT_AFTER", value_parser = span, value_name = "TIME", default_value = "10s")]
    suspect_after: i64,
    /// Silence after which what a node holds is copied to others
    #[arg(long, env = "CAS_DOWN_AFTER", value_parser = span, value_name = "TIME", default_value = "10m")]
    down_after: i64,
    /// Silence after which a push is given up; what it sent can be resumed until the next gc
    #[arg(long, env = "CAS_LEASE", value_parser = span, value_name = "TIME", default_value = "10m")]
    lease: i64,
    #[command(flatten)]
    serving: Serving,
}

/// Every address of this machine, at the usual port.
fn everywhere() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT))
}

/// A value, or the word none.
#[derive(Debug, Clone)]
pub struct OrNone<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> std::result::Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

impl<T: fmt::Display> fmt::Display for OrNone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl Index {
    /// The form of its log, if it serves.
    pub fn server_log(&self) -> Option<Form> {
        match &self.command {
            IndexCommand::Serve(serve) => Some(serve.serving.form()),
            _ => None,
        }
    }

    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        match self.command {
            IndexCommand::Init { dir, admin, password } => {
                let name = admin.unwrap_or_else(host::user_name);
                let password = Some(password.fresh(&format!("password for {name}"))?);
                let key = index::init(&dir, &NewUser { name: name.clone(), password, may_found: true })?;
                match work.printer.json() {
                    true => work.printer.object(
                        &json!({"message_type": "initialized", "key": key.to_string(), "admin": name, "dir": dir}),
                    ),
                    false => work.printer.line(key.to_string()),
                }
                work.printer.say(format!("{name} is admin; next: cas index serve {}", dir.display()));
                Ok(Exit::Ok)
            }
            IndexCommand::Serve(serve) => serve.run(work),
            IndexCommand::Rebuild { dir: None, .. } => {
                let (store, rebuilt) = work.with_access(false, Store::rebuild_index)?;
                store.close()?;
                Ok(tell_rebuilt(work, &rebuilt))
            }
            IndexCommand::Rebuild { dir: Some(dir), node } => {
                let nodes = node.iter().map(|text| parse_address(text)).collect::<Result<Vec<_>>>()?;
                let rebuilt = from_nodes(&dir, &nodes)?;
                work.printer
                    .say("next: cas index init makes the first user, and every node joins again with a new token");
                Ok(tell_rebuilt(work, &rebuilt))
            }
            IndexCommand::Restore { dir, export } => restore(work, &dir, &export),
            IndexCommand::Release { dir: Some(dir) } => {
                backup::release(&dir)?;
                work.printer.say("it sweeps from its next start on");
                Ok(Exit::Ok)
            }
            IndexCommand::Release { dir: None } => {
                work.cluster()?.placement().release()?;
                work.printer.say("it sweeps from now on");
                Ok(Exit::Ok)
            }
        }
    }
}

impl Serve {
    fn run(self, work: &Workplace) -> Result<Exit> {
        let (grace, listen, advertise) = (self.serving.grace(), self.listen, self.advertise.clone());
        let announce = self.announce;
        let running = index::serve(self.options()?)?;
        let address = advertised(&running.address()?, listen, advertise.as_deref());
        listening(work, "index", &address, running.http());
        work.printer.say(format!("people log in with: cas login {address}"));
        let announced = announced(announce, &running.address()?, listen)?;
        until_stopped(|| None);
        drop(announced);
        running.shutdown(grace)?;
        work.printer.say("ended, with a checkpoint");
        Ok(Exit::Ok)
    }

    fn options(self) -> Result<ServeOptions> {
        let mut options = ServeOptions::new(self.dir.clone(), index::seed(&self.dir)?);
        (options.listen, options.http, options.trash_ns) = (self.listen, self.http.0, self.trash);
        (options.index.lease_ns, options.index.liveness.suspect_ns) = (self.lease, self.suspect_after);
        options.index.liveness.down_ns = self.down_after.max(self.suspect_after);
        options.backups = self.backup_dir.map(|dir| Backups { dir, keep: self.backup_keep });
        let chosen = [
            (Task::Gc, self.gc),
            (Task::Scrub, self.scrub),
            (Task::Retention, self.retention),
            (Task::Backup, self.backup),
        ];
        for (task, chosen) in chosen {
            schedule(&mut options.schedules, task, chosen);
        }
        Ok(options)
    }
}

/// Replaces the schedule of a task. What a person has chosen to the minute is done at the minute.
fn schedule(schedules: &mut Vec<Schedule>, task: Task, chosen: Option<OrNone<Cron>>) {
    let Some(OrNone(cron)) = chosen else { return };
    schedules.retain(|schedule| schedule.task != task);
    schedules.extend(cron.map(|cron| Schedule { task, cron, jitter_s: 0 }));
}

fn restore(work: &Workplace, dir: &Path, export: &Path) -> Result<Exit> {
    let restored = backup::restore(export, dir, &cas_client::serve::index_options(dir)?)?;
    let (made, nodes) = (time::local(restored.from.time_ns), restored.nodes);
    match work.printer.json() {
        true => work.printer.object(&json!({
            "message_type": "summary", "exported": time::rfc3339(restored.from.time_ns), "nodes": nodes,
        })),
        false => work.printer.line(format!("restored as of {made}; {nodes} nodes will list what they hold")),
    }
    work.printer.say("next: cas index serve, then look (cas snapshots, cas status), then cas index release");
    Ok(Exit::Ok)
}

fn tell_rebuilt(work: &Workplace, rebuilt: &Rebuilt) -> Exit {
    let printer = &work.printer;
    if printer.json() {
        printer.object(&json!({
            "message_type": "summary",
            "blocks": rebuilt.blocks,
            "orphans": rebuilt.orphans,
            "snapshots": rebuilt.live,
            "trash": rebuilt.trash,
            "collected": rebuilt.collected.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "unreadable": rebuilt.unreadable.iter().map(|(id, why)| json!({"block": id.to_string(), "reason": why})).collect::<Vec<_>>(),
            "skipped": rebuilt.skipped.iter().map(|(id, why)| json!({"object": id.to_string(), "reason": why})).collect::<Vec<_>>(),
        }));
    } else {
        for (id, why) in rebuilt.unreadable.iter().chain(&rebuilt.skipped) {
            printer.warn(format!("block {id}: {why}"));
        }
        if !rebuilt.collected.is_empty() {
            let removed = rebuilt.collected.len();
            printer.say(format!("{removed} removed versions were being collected: they do not come back"));
        }
        printer.say(format!(
            "the index was made anew: {} snapshots, {} in the trash, {} blocks, {} that nothing needs",
            rebuilt.live, rebuilt.trash, rebuilt.blocks, rebuilt.orphans
        ));
    }
    let whole = rebuilt.unreadable.is_empty() && rebuilt.skipped.is_empty();
    if whole { Exit::Ok } else { Exit::Damaged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_is_named_replaces_the_default_and_none_ends_it() {
        let mut schedules = Schedule::defaults();
        let others = schedules.len() - 1;
        schedule(&mut schedules, Task::Gc, None);
        assert_eq!(schedules, Schedule::defaults());
        schedule(&mut schedules, Task::Gc, Some("5 1 * * *".parse().unwrap()));
        let gc: Vec<_> = schedules.iter().filter(|s| s.task == Task::Gc).collect();
        assert_eq!((gc.len(), gc[0].jitter_s, gc[0].cron.next(0)), (1, 0, 3900));
        schedule(&mut schedules, Task::Gc, Some("none".parse().unwrap()));
        assert_eq!(schedules.len(), others);
        assert!("not cron".parse::<OrNone<Cron>>().is_err());
    }
}
