//! Writes the bytes of one file: all of them, or into older content just what differs.
//!
//! A large file is written by every thread: the one that has the job walks its pieces and offers [`Part`]s of them
//! to the [`Crew`]; whoever is idle takes one.

use super::crew::{Crew, Part, Shared};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::id::Kind;
use cas_core::manifest::{Content, EntryWithIds, Manifest, PieceAt};
use cas_core::secret::ContentKey;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

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

/// Whether the content is one block at most, without a hole.
pub fn is_small(file: &EntryWithIds) -> bool {
    matches!(file.entry.content, Content::None | Content::Inline(_)) || only_block(file).is_some()
}

/// All bytes of a small file.
pub fn whole(manifest: &Manifest<Fetcher>, file: &EntryWithIds) -> Result<Vec<u8>> {
    match (&file.entry.content, only_block(file)) {
        (Content::Inline(bytes), _) => Ok(bytes.clone()),
        (_, Some(key)) => manifest.source().piece(&file.ids[0], key, file.entry.size),
        _ => Ok(Vec::new()),
    }
}

/// Whether the bytes that stand in a file are those of a small one.
pub fn is_whole(out: &File, manifest: &Manifest<Fetcher>, file: &EntryWithIds) -> io::Result<bool> {
    if out.metadata()?.len() != file.entry.size {
        return Ok(false);
    }
    let mut old = vec![0; file.entry.size as usize];
    out.read_exact_at(&mut old, 0)?;
    Ok(match (&file.entry.content, only_block(file)) {
        (Content::Inline(bytes), _) => *bytes == old,
        (_, Some(key)) => manifest.source().keys().content_key(Kind::Data, &old) == *key,
        _ => true,
    })
}

/// The key of the one block that is all of the content.
fn only_block(file: &EntryWithIds) -> Option<&ContentKey> {
    match &file.entry.content {
        Content::Pieces(pieces) => match &pieces[..] {
            [one] => one.data.as_ref(),
            _ => None,
        },
        _ => None,
    }
}

/// Writes content of more than one block. Answers the bytes written.
pub fn write(out: File, before: Before, file: &EntryWithIds, manifest: &Manifest<Fetcher>, crew: &Crew) -> Result<u64> {
    let shared = crew.open(out, before);
    let walked = write_pieces(&shared, manifest, file, crew);
    // Whatever the walk came to, parts in the hands of others are waited for.
    let written = crew.finish(&shared, manifest.source());
    let data_end = walked?;
    let written = written?;
    if before == Before::Old || data_end < file.entry.size {
        shared.out().set_len(file.entry.size).map_err(|e| ClientError::io("write", e))?;
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
