//! `cas debug`: looks at stored things one by one. Opens no store, writes nothing, works on what is broken.

use crate::exit::Exit;
use crate::workplace::Workplace;
use cas_client::debug::{self, Found, Located, What};
use cas_client::{ClientError, Result};
use cas_core::frame::Header;
use cas_core::id::Kind;
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::{SnapshotObject, What as Kinds};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Look at stored things one by one, also in a store that does not open
#[derive(Debug, Args)]
pub struct Debug {
    #[command(subcommand)]
    command: DebugCommand,
}

#[derive(Debug, Subcommand)]
enum DebugCommand {
    /// List the records of a segment file
    Segment {
        /// The file [default: all of the store]
        file: Option<PathBuf>,
    },
    /// Show the header of a sealed block, found by the first digits of its id
    Frame {
        /// The block
        id: String,
    },
    /// Show what a page or list refers to
    Page {
        /// The block
        id: String,
    },
    /// Show a snapshot's or keyring's record, by the id of its block or all of them
    Record {
        /// The block [default: all]
        id: Option<String>,
    },
    /// List the commands in the index's log
    Log,
}

impl Debug {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        match self.command {
            DebugCommand::Segment { file: Some(file) } => segment(work, &file),
            DebugCommand::Segment { file: None } => {
                let files = debug::segment_files(&work.store_path())?;
                let shown: Result<Vec<Exit>> = files.iter().map(|file| segment(work, file)).collect();
                Ok(shown?.into_iter().find(|exit| *exit != Exit::Ok).unwrap_or(Exit::Ok))
            }
            DebugCommand::Frame { id } => frames(work, &id, false),
            DebugCommand::Page { id } => frames(work, &id, true),
            DebugCommand::Record { id } => records(work, id.as_deref()),
            DebugCommand::Log => log(work),
        }
    }
}

fn segment(work: &Workplace, file: &std::path::Path) -> Result<Exit> {
    let printer = &work.printer;
    printer.line(format!("{}", file.display()));
    let mut exit = Exit::Ok;
    for (found, good) in debug::segment(file)? {
        match found {
            Found::Record(at, r) => {
                let state = if good { "" } else { "  DAMAGED: its bytes are not those of its sum" };
                let kind = r.kind.map_or("", Kind::name);
                let what = match r.what {
                    What::Block => kind,
                    What::Touch => "touch",
                    What::Delete => "delete",
                    What::Floor => "floor",
                    What::End => "end",
                };
                printer.line(format!(
                    "{at:>10}  {what:<8} {:>9}  group {:<5} epoch {:<10} {}{state}",
                    r.len, r.group, r.epoch, r.id
                ));
                if !good {
                    exit = Exit::Damaged;
                }
            }
            Found::Damage { from, to } => {
                printer.line(format!("{from:>10}  DAMAGED: {} bytes that are no record", to - from));
                exit = Exit::Damaged;
            }
            Found::End(at) => printer.line(format!("{at:>10}  end of what was written")),
        }
    }
    Ok(exit)
}

fn frames(work: &Workplace, id: &str, children: bool) -> Result<Exit> {
    let mut exit = Exit::Damaged;
    for located in debug::locate(&work.store_path(), id)? {
        show_place(work, &located);
        let bytes = debug::body(&located.file, located.at, &located.record)?;
        match Header::parse(&bytes) {
            Ok((header, len)) => {
                let printer = &work.printer;
                let named = if header.id() == located.record.id { "" } else { "  NOT THE HEADER OF THIS BLOCK" };
                printer.line(format!(
                    "  header    {len} bytes, {}, domain {}{named}",
                    header.kind.name(),
                    header.domain
                ));
                printer.line(format!("  sealed    {} bytes", bytes.len() - len));
                printer.line(format!("  children  {}", header.children.len()));
                if children {
                    header.children.iter().for_each(|child| printer.line(format!("    {child}")));
                }
                if located.good && named.is_empty() {
                    exit = Exit::Ok;
                }
            }
            Err(e) => work.printer.line(format!("  no header: {e}")),
        }
    }
    Ok(exit)
}

fn show_place(work: &Workplace, located: &Located) {
    let record = &located.record;
    let state = if located.good { "good" } else { "DAMAGED" };
    work.printer.line(format!("{}", record.id));
    work.printer.line(format!(
        "  record    {}, byte {}, epoch {}, {state}",
        located.file.display(),
        located.at,
        record.epoch
    ));
    work.printer.line(format!("  stored    {} bytes, sum {}", record.len, record.sum));
}

fn records(work: &Workplace, id: Option<&str>) -> Result<Exit> {
    let mut exit = Exit::Ok;
    for located in debug::locate(&work.store_path(), id.unwrap_or_default())? {
        let Some(kind @ (Kind::Snapshot | Kind::Keyring)) = located.record.kind else {
            if id.is_some() {
                return Err(ClientError::Usage(format!("{} is no record: see cas debug frame", located.record.id)));
            }
            continue;
        };
        show_place(work, &located);
        let bytes = debug::body(&located.file, located.at, &located.record)?;
        let shown = if kind == Kind::Snapshot { snapshot(work, &bytes) } else { keyring(work, &bytes) };
        if let Err(why) = shown {
            work.printer.line(format!("  DAMAGED: {why}"));
            exit = Exit::Damaged;
        }
    }
    Ok(exit)
}

fn snapshot(work: &Workplace, bytes: &[u8]) -> std::result::Result<(), String> {
    let object = SnapshotObject::parse_unverified(bytes).map_err(|e| e.to_string())?;
    let (record, printer) = (object.record(), &work.printer);
    let what = match object.what() {
        Kinds::Snapshot => "snapshot",
        Kinds::Removal => "removal of",
        Kinds::Return => "return of",
    };
    printer.line(format!("  {what}  {}@{}  {}", record.name.as_str(), record.seq, record.chain_id()));
    printer.line(format!("  time      {}", crate::time::rfc3339(record.time_ns)));
    printer.line(format!("  vault     {}, domain {}", record.vault, record.domain));
    printer.line(format!("  root      {}", record.root));
    printer.line(format!("  previous  {}", record.previous));
    printer.line(format!("  device    {}", record.device));
    object.verify().map_err(|e| e.to_string())?;
    printer.line("  signature holds");
    Ok(())
}

fn keyring(work: &Workplace, bytes: &[u8]) -> std::result::Result<(), String> {
    let object = KeyringObject::parse(bytes).map_err(|e| e.to_string())?;
    work.printer.line(format!("  keyring   of vault {}, version {}", object.vault(), object.version()));
    work.printer.line(format!("  root key  {}", object.root()));
    Ok(())
}

fn log(work: &Workplace) -> Result<Exit> {
    let mut exit = Exit::Ok;
    for file in debug::log(&work.store_path())? {
        let printer = &work.printer;
        printer.line(format!("{}: {} bytes, from epoch {}", file.path.display(), file.len, file.first));
        for record in &file.records {
            let time = crate::time::rfc3339(record.time_ns);
            match &record.command {
                Ok(command) => {
                    let text: String = format!("{command:?}").chars().take(160).collect();
                    printer.line(format!("{:>10}  epoch {:<10} {time}  {text}", record.group_at, record.epoch));
                }
                Err(why) => {
                    printer.line(format!("{:>10}  epoch {:<10} {time}  DAMAGED: {why}", record.group_at, record.epoch));
                    exit = Exit::Damaged;
                }
            }
        }
        if let Some((at, why)) = &file.fault {
            printer.line(format!("{at:>10}  DAMAGED: {why}"));
            exit = Exit::Damaged;
        }
    }
    Ok(exit)
}
