//! `cas ls`: what is in a snapshot.

use crate::exit::Exit;
use crate::reading::{self, Missing, Output, with_library};
use crate::workplace::{STOP, Workplace};
use crate::{entry, printer};
use cas_client::browse::{self, Book, Opened};
use cas_client::reference::Reference;
use cas_client::{ClientError, Result};
use cas_core::manifest::EntryWithIds;
use clap::Args;
use std::sync::atomic::Ordering::Relaxed;

/// List what is in a snapshot, or in a folder of it
///
/// REF is NAME, NAME@3, NAME@latest~1, NAME@2026-11-20 or the first digits of an id. Paths are shown as they can stand
/// behind REF: again. Bytes that are no text and control characters are escaped (\n, \xff), a backslash is \\; with --json
/// such a path has all its bytes in hexadecimal digits in path_hex.
#[derive(Debug, Args)]
pub struct Ls {
    /// Where to look
    #[arg(value_name = "REF[:PATH]")]
    reference: String,
    /// Permissions, owners, size and time, too
    #[arg(short, long)]
    long: bool,
    /// Everything below, at any depth
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Sizes in KiB, MiB …
    #[arg(long, alias = "human-readable")]
    human: bool,
    /// The folder itself, not what is in it
    #[arg(short, long)]
    directory: bool,
    /// Paths only, as they are, each followed by a NUL
    #[arg(short = '0', long, alias = "print0", conflicts_with_all = ["long", "json"])]
    null: bool,
}

impl Ls {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let reference = reading::reference(&self.reference)?;
        with_library(work, Some(&reference), |library| {
            let opened = library.open_reference(&reference)?;
            self.list(work, &opened, &reference)
        })
    }

    fn list(&self, work: &Workplace, opened: &Opened, reference: &Reference) -> Result<Exit> {
        let book = opened.book();
        let mut out = Output::new();
        let mut missing = Missing::default();
        if work.printer.json() {
            out.object("snapshot", super::snapshots::object(&opened.row, Some(&opened.details)))?;
        }
        if self.directory && !reference.path.is_empty() {
            let found = browse::look_up(&book, &reference.path)?;
            self.show(work.printer, &mut out, &browse::resolved(&book, found)?)?;
            out.finish()?;
            return Ok(Exit::Ok);
        }
        for item in browse::list(&book, &reference.path, self.recursive)? {
            if STOP.load(Relaxed) {
                return Err(ClientError::Interrupted);
            }
            match item {
                Ok(item) => self.show(work.printer, &mut out, &self.sized(&book, item))?,
                Err(error) => missing.range(&work.printer, &reading::version(&opened.row), &error),
            }
        }
        out.finish()?;
        Ok(missing.exit())
    }

    /// With the size that a hardlink shares, where sizes are shown and it can be read.
    fn sized(&self, book: &Book, item: EntryWithIds) -> EntryWithIds {
        if self.null || item.entry.hardlink.is_none() {
            return item;
        }
        browse::resolved(book, item.clone()).unwrap_or(item)
    }

    fn show(&self, printer: printer::Printer, out: &mut Output, item: &EntryWithIds) -> Result<()> {
        let path = item.path.as_bytes();
        if printer.json() {
            return out.object("node", entry::object(path, &item.entry));
        }
        if self.null {
            out.bytes(path)?;
            return out.bytes(b"\0");
        }
        let shown = entry::path(path, &item.entry, self.long);
        match self.long {
            true => out.line(format!("{} {shown}", entry::attributes(&item.entry, self.human))),
            false => out.line(shown),
        }
    }
}
