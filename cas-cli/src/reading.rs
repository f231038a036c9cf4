//! What the commands that read snapshots share: opening, buffered output, telling what cannot be read.

use crate::escape;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::workplace::Workplace;
use cas_client::browse::{Library, Unreadable};
use cas_client::reference::Reference;
use cas_client::{ClientError, Result};
use cas_net::SnapshotRow;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};

/// Reads a reference; dates in it are local.
pub fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text, crate::time::local_offset_s())
}

/// Opens store and vault for reading, and calls `read`.
pub fn with_library<T>(
    work: &Workplace,
    wanted: Option<&Reference>,
    read: impl FnOnce(&Library<'_>) -> Result<T>,
) -> Result<T> {
    let store = work.open()?;
    let mut vault = work.vault(&store)?;
    let done = read(&Library::open(&store, &mut vault, wanted)?);
    let closed = store.close();
    let done = done?;
    closed?;
    Ok(done)
}

/// How a version is called.
pub fn version(row: &SnapshotRow) -> String {
    format!("{}@{}", row.name, row.seq)
}

/// A number of things.
pub fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Whether a row's name is `wanted` or lies under it.
pub fn is_under(row: &SnapshotRow, wanted: &str) -> bool {
    let rest = row.name.strip_prefix(wanted.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Standard output for many lines.
pub struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes standard output.
    pub fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, std::io::stdout().lock()) }
    }

    /// A line.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        self.bytes(text.as_ref().as_bytes())?;
        self.bytes(b"\n")
    }

    /// One JSON object on a line of its own.
    pub fn object(&mut self, kind: &str, mut object: Map<String, Value>) -> Result<()> {
        object.insert("message_type".to_owned(), kind.into());
        self.line(Value::from(object).to_string())
    }

    /// These bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        check(self.out.write_all(bytes))
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        check(self.out.flush())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        end_if_nobody_reads(&written);
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.out.flush();
        end_if_nobody_reads(&flushed);
        flushed
    }
}

fn check(written: std::io::Result<()>) -> Result<()> {
    end_if_nobody_reads(&written);
    written.map_err(|e| ClientError::io("write the output", e))
}

/// A reader that went away is no error of ours: the process ends quietly, as with SIGPIPE.
fn end_if_nobody_reads<T>(written: &std::io::Result<T>) {
    if written.as_ref().is_err_and(|e| e.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(Exit::Ok as i32);
    }
}

/// Tells what is missing from a result; the exit code then is [`Exit::Partial`].
#[derive(Default)]
pub struct Missing {
    count: u64,
}

impl Missing {
    /// A range of paths of a version.
    pub fn range(&mut self, printer: &Printer, version: &str, error: &Unreadable) {
        let gap = &error.gap;
        let what = match gap.totals {
            Some(totals) if totals.entries == 1 => "1 entry".to_owned(),
            Some(totals) => format!("{} entries", totals.entries),
            None => "everything".to_owned(),
        };
        let after = gap.after.as_ref().map_or(String::new(), |path| format!(" after {}", escape::text(path)));
        let until = gap.until.as_ref().map_or(String::new(), |path| format!(" up to {}", escape::text(path)));
        self.tell(printer, version, &format!("{what}{after}{until} cannot be read: {}", reasons(error)));
    }

    /// Anything else.
    pub fn other(&mut self, printer: &Printer, version: &str, error: &ClientError) {
        self.tell(printer, version, &reasons(error));
    }

    fn tell(&mut self, printer: &Printer, version: &str, what: &str) {
        self.count += 1;
        if printer.json() {
            let error = json!({"message": what});
            eprintln!("{}", json!({"message_type": "error", "error": error, "during": "read", "item": version}));
        } else {
            printer.warn(format!("{version}: {what}"));
        }
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        if self.count == 0 { Exit::Ok } else { Exit::Partial }
    }
}

/// An error and its causes in one line.
pub fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
