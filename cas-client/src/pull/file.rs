//! Writes the bytes of one file: a new one, or into an existing one just what differs.

use super::target::TargetDir;
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::id::Kind;
use cas_core::manifest::{BlockSource, Content, EntryWithIds, Manifest, PieceAt};
use cas_core::secret::DomainKeys;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, openat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Mode of a file that is not complete yet.
const UNFINISHED: u32 = 0o600;

/// What was done for a file's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were written.
    pub bytes: u64,
}

/// Makes `name` anew. If it cannot be completed, it is removed again.
pub fn create(dir: &TargetDir, name: &OsStr, manifest: &Manifest<Fetcher>, file: &EntryWithIds) -> Result<Written> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(dir.fd(), name, flags, Mode::from_raw_mode(UNFINISHED));
    let out = File::from(opened.map_err(|e| failed("create", dir, name, e))?);
    let written = fill(&out, dir, name, manifest, file);
    if written.is_err() {
        drop(out);
        let _ = dir.remove(name);
    }
    written
}

fn fill(
    out: &File,
    dir: &TargetDir,
    name: &OsStr,
    manifest: &Manifest<Fetcher>,
    file: &EntryWithIds,
) -> Result<Written> {
    let write_failed = |e| failed("write", dir, name, e);
    let mut written = Written::default();
    if let Content::Inline(bytes) = &file.entry.content {
        out.write_all_at(bytes, 0).map_err(write_failed)?;
        return Ok(Written { bytes: bytes.len() as u64 });
    }
    let mut ends_with_hole = false;
    for piece in pieces(manifest, file) {
        let piece = piece?;
        ends_with_hole = piece.block.is_none();
        if let Some((id, key)) = &piece.block {
            let data = data(manifest, id, key, piece.len)?;
            out.write_all_at(&data, piece.offset).map_err(write_failed)?;
            written.bytes += piece.len;
        }
    }
    if ends_with_hole {
        out.set_len(file.entry.size).map_err(write_failed)?;
    }
    Ok(written)
}

/// Brings an existing regular file to the content of `file`, writing just the pieces that differ.
pub fn update(
    dir: &TargetDir,
    name: &OsStr,
    manifest: &Manifest<Fetcher>,
    keys: &DomainKeys,
    file: &EntryWithIds,
) -> Result<Written> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let out = File::from(openat(dir.fd(), name, flags, Mode::empty()).map_err(|e| failed("open", dir, name, e))?);
    let write_failed = |e| failed("write", dir, name, e);
    let mut written = Written::default();
    if let Content::Inline(bytes) = &file.entry.content {
        out.write_all_at(bytes, 0).map_err(write_failed)?;
        written.bytes = bytes.len() as u64;
    }
    let mut old = Vec::new();
    for piece in pieces(manifest, file) {
        let piece = piece?;
        let whole = read_old(&out, &piece, &mut old).map_err(|e| failed("read", dir, name, e))?;
        match &piece.block {
            Some((_, key)) if whole && keys.content_key(Kind::Data, &old) == *key => {}
            Some((id, key)) => {
                let data = data(manifest, id, key, piece.len)?;
                out.write_all_at(&data, piece.offset).map_err(write_failed)?;
                written.bytes += piece.len;
            }
            None => clear(&out, &piece).map_err(write_failed)?,
        }
    }
    out.set_len(file.entry.size).map_err(write_failed)?;
    Ok(written)
}

/// What stands in the place of a piece of data. Answers whether the file is long enough.
fn read_old(file: &File, piece: &PieceAt, old: &mut Vec<u8>) -> std::io::Result<bool> {
    if piece.block.is_none() {
        return Ok(false);
    }
    old.resize(piece.len as usize, 0);
    match file.read_exact_at(old, piece.offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes a range read as zeros.
fn clear(file: &File, piece: &PieceAt) -> std::io::Result<()> {
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

fn pieces<'m>(manifest: &'m Manifest<Fetcher>, file: &EntryWithIds) -> impl Iterator<Item = Result<PieceAt>> + use<'m> {
    manifest.pieces(file).into_iter().flatten().map(|piece| {
        piece.map_err(|e| {
            let id = e.block;
            ClientError::damaged(id, e)
        })
    })
}

fn data(
    manifest: &Manifest<Fetcher>,
    id: &cas_core::id::BlockId,
    key: &cas_core::secret::ContentKey,
    len: u64,
) -> Result<Vec<u8>> {
    let data = manifest.source().open(Kind::Data, id, key)?.plaintext;
    if data.len() as u64 != len {
        return Err(ClientError::damaged(*id, format!("it holds {} bytes, its file says {len}", data.len())));
    }
    Ok(data)
}

fn failed(doing: &str, dir: &TargetDir, name: &OsStr, error: impl Into<std::io::Error>) -> ClientError {
    ClientError::io(format!("{doing} {}", dir.path().join(name).display()), error)
}
