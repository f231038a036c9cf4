//! `cas dump`: the bytes of one file, or a folder as an archive.

use crate::escape;
use crate::exit::Exit;
use crate::reading::{self, Output, with_library};
use crate::workplace::{STOP, Workplace};
use cas_client::browse::{self, Book, Opened};
use cas_client::{ClientError, Result};
use clap::Args;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

const BUFFER: usize = 256 << 10;

/// Write a file of a snapshot to standard output; a folder as a tar archive
///
/// Every byte is verified before it is written. If something cannot be read, the output ends there, with exit code 14.
#[derive(Debug, Args)]
pub struct Dump {
    /// What to write; without a path the whole snapshot
    #[arg(value_name = "REF[:PATH]")]
    reference: String,
    /// Write to FILE, which is there only when it is complete
    #[arg(short, long, alias = "target", short_alias = 't', value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Dump {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let reference = reading::reference(&self.reference)?;
        with_library(work, Some(&reference), |library| {
            let opened = library.open_reference(&reference)?;
            let book = opened.book();
            let found = if reference.path.is_empty() { None } else { Some(browse::look_up(&book, &reference.path)?) };
            let is_archive = found.as_ref().is_none_or(|found| found.entry.is_dir());
            let mut write = |out: &mut dyn Write| match &found {
                Some(file) if !is_archive => write_file(&book, file, out),
                _ => write_archive(work, &opened, &book, &reference.path, out),
            };
            match self.output.as_deref().filter(|path| path.as_os_str() != "-") {
                Some(path) => to_file(path, &mut write)?,
                None if is_archive && std::io::stdout().is_terminal() => {
                    let what =
                        "a folder is written as a tar archive, which is nothing for a terminal: use -o FILE or a pipe";
                    return Err(ClientError::Usage(what.to_owned()));
                }
                None => {
                    let mut out = Output::new();
                    write(&mut out)?;
                    out.finish()?;
                }
            }
            Ok(Exit::Ok)
        })
    }
}

fn write_file(book: &Book, file: &cas_core::manifest::EntryWithIds, out: &mut dyn Write) -> Result<()> {
    if file.entry.file_type != cas_core::manifest::FileType::File {
        let kind = crate::entry::type_name(file.entry.file_type);
        let path = escape::text(file.path.as_bytes());
        return Err(ClientError::Usage(format!("{path} is a {kind}: only files and folders have bytes to write")));
    }
    browse::write_file(book, file, out, &STOP).map(drop)
}

fn write_archive(work: &Workplace, opened: &Opened, book: &Book, path: &[u8], out: &mut dyn Write) -> Result<()> {
    let report = browse::write_tar(book, path, opened.top().as_ref(), out, &STOP)?;
    for socket in report.left_out {
        work.printer.warn(format!("{} is a socket and not in the archive", escape::text(&socket)));
    }
    Ok(())
}

/// Writes beside the file first, unless it is something like a device or a pipe.
fn to_file(path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
    let failed = |doing: &str, e| ClientError::io(format!("{doing} {}", path.display()), e);
    let special = path.metadata().is_ok_and(|meta| !meta.is_file());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside =
        if special { path.to_owned() } else { path.with_file_name(format!(".{name}.{}.part", std::process::id())) };
    let file = if special { File::options().write(true).open(&beside) } else { File::create_new(&beside) };
    let file = file.map_err(|e| failed("create", e))?;
    let mut out = BufWriter::with_capacity(BUFFER, file);
    let done = write(&mut out).and_then(|()| out.flush().map_err(|e| failed("write", e)));
    if special {
        return done;
    }
    let named = done.and_then(|()| out.get_ref().sync_all().map_err(|e| failed("write", e)));
    let named = named.and_then(|()| std::fs::rename(&beside, path).map_err(|e| failed("rename to", e)));
    if named.is_err() {
        // What is left behind is incomplete; that it cannot be removed matters less than why.
        let _ = std::fs::remove_file(&beside);
    }
    named
}
