//! Writes the bytes of one file: a new one, or into an existing one just what differs.
//!
//! A large file is written by every thread: the one that has the job walks its pieces and offers [`Part`]s of them
//! to the [`Crew`]; whoever is idle takes one.

use super::crew::{Crew, Part, Shared};
use super::plan::FileTask;
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::id::Kind;
use cas_core::manifest::{Content, EntryWithIds, Manifest, PieceAt};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, openat};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Mode of a file that is not complete yet.
const UNFINISHED: u32 = 0o600;
/// Bytes of a part: enough that handing it over costs nothing.
const PART_BYTES: u64 = 4 << 20;

/// What stands in the file before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: holes need no work.
    Empty,
    /// An older content: a piece that is there already is not written again, a hole is cleared.
    Old,
}

/// Makes the file anew. If it cannot be completed, it is removed again. Answers the bytes written.
pub fn create(task: &FileTask, manifest: &Manifest<Fetcher>, crew: &Crew) -> Result<u64> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(task.dir.fd(), &*task.name, flags, Mode::from_raw_mode(UNFINISHED));
    let out = File::from(opened.map_err(|e| failed("create", task, e))?);
    let written = write(out, Before::Empty, task, manifest, crew);
    if written.is_err() {
        let _ = task.dir.remove(&task.name);
    }
    written
}

/// Brings the regular file that stands there to its new content. Answers the bytes written.
pub fn update(task: &FileTask, manifest: &Manifest<Fetcher>, crew: &Crew) -> Result<u64> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = openat(task.dir.fd(), &*task.name, flags, Mode::empty());
    let out = File::from(opened.map_err(|e| failed("open", task, e))?);
    write(out, Before::Old, task, manifest, crew)
}

fn write(out: File, before: Before, task: &FileTask, manifest: &Manifest<Fetcher>, crew: &Crew) -> Result<u64> {
    let entry = &task.file.entry;
    if let Content::Inline(bytes) = &entry.content {
        out.write_all_at(bytes, 0).map_err(|e| failed("write", task, e))?;
        if before == Before::Old {
            out.set_len(entry.size).map_err(|e| failed("write", task, e))?;
        }
        return Ok(bytes.len() as u64);
    }
    let shared = crew.open(out, before);
    let walked = write_pieces(&shared, manifest, &task.file, crew);
    // Whatever the walk came to, parts in the hands of others are waited for.
    let written = crew.finish(&shared, manifest.source());
    let data_end = walked.map_err(|e| named(e, task))?;
    let written = written.map_err(|e| named(e, task))?;
    if before == Before::Old || data_end < entry.size {
        shared.out().set_len(entry.size).map_err(|e| failed("write", task, e))?;
    }
    Ok(written)
}

/// Walks the pieces and has them written. Answers where the last data ends.
fn write_pieces(shared: &Arc<Shared>, manifest: &Manifest<Fetcher>, file: &EntryWithIds, crew: &Crew) -> Result<u64> {
    let (mut part, mut part_bytes, mut data_end) = (Vec::new(), 0, 0);
    for piece in manifest.pieces(file).into_iter().flatten() {
        let piece = piece.map_err(|e| ClientError::damaged(e.block, e))?;
        part_bytes += piece.len;
        if piece.block.is_some() {
            data_end = piece.offset + piece.len;
        }
        part.push(piece);
        if part_bytes >= PART_BYTES {
            part_bytes = 0;
            crew.offer(Part::new(shared, std::mem::take(&mut part)), manifest.source())?;
        }
    }
    if !part.is_empty() {
        crew.write(Part::new(shared, part), manifest.source());
    }
    Ok(data_end)
}

/// Writes one piece. Answers the bytes written; `old` is room to read into.
pub fn write_piece(out: &File, before: Before, piece: &PieceAt, fetcher: &Fetcher, old: &mut Vec<u8>) -> Result<u64> {
    let failed = |doing: &str, e: io::Error| ClientError::io(doing, e);
    let Some((id, key)) = &piece.block else {
        if before == Before::Old {
            clear(out, piece).map_err(|e| failed("write", e))?;
        }
        return Ok(0);
    };
    if before == Before::Old {
        let whole = read_old(out, piece, old).map_err(|e| failed("read", e))?;
        if whole && fetcher.keys().content_key(Kind::Data, old) == *key {
            return Ok(0);
        }
    }
    let data = fetcher.piece(id, key, piece.len)?;
    out.write_all_at(&data, piece.offset).map_err(|e| failed("write", e))?;
    Ok(piece.len)
}

/// What stands in the place of a piece of data. Answers whether the file is long enough.
fn read_old(file: &File, piece: &PieceAt, old: &mut Vec<u8>) -> io::Result<bool> {
    old.resize(piece.len as usize, 0);
    match file.read_exact_at(old, piece.offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes a range read as zeros.
fn clear(file: &File, piece: &PieceAt) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(file, flags, piece.offset, piece.len).is_ok() {
        return Ok(());
    }
    let end = (piece.offset + piece.len).min(file.metadata()?.len());
    let zeros = [0; 64 << 10];
    let mut at = piece.offset;
    while at < end {
        let n = zeros.len().min((end - at) as usize);
        file.write_all_at(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// Says which file it was that could not be read or written.
fn named(error: ClientError, task: &FileTask) -> ClientError {
    match error {
        ClientError::Io { what, source } => failed(&what, task, source),
        other => other,
    }
}

fn failed(doing: &str, task: &FileTask, error: impl Into<io::Error>) -> ClientError {
    ClientError::io(format!("{doing} {}", task.dir.path().join(&*task.name).display()), error)
}
