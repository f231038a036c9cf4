//! The bytes of one file, streamed.
//!
//! Promise: no byte is written that was not verified; holes are zeros. Memory is one block.

use super::{Book, go_on, not_found, unreadable};
use crate::error::{ClientError, Result};
use cas_core::manifest::{Content, EntryWithIds, FileType, ManifestPath, PieceAt};
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Zeros written at once for a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the content of a file; of a hardlink that of the path it points to. Answers how many bytes.
pub fn write_file(book: &Book, file: &EntryWithIds, out: &mut dyn Write, stop: &AtomicBool) -> Result<u64> {
    let file = &holder(book, file)?;
    write_range(book, file, 0..file.entry.size, out, stop)
}

/// Writes some bytes of a file that holds its own content; what is behind its end is left out.
pub fn write_range(
    book: &Book,
    file: &EntryWithIds,
    range: Range<u64>,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<u64> {
    let range = range.start..range.end.min(file.entry.size);
    if range.is_empty() {
        return Ok(0);
    }
    if let Content::Inline(bytes) = &file.entry.content {
        write(out, &bytes[range.start as usize..range.end as usize])?;
        return Ok(range.end - range.start);
    }
    let mut pieces = book.pieces(file).expect("content that is not inline has pieces");
    if range.start > 0 {
        pieces.seek(range.start);
    }
    let mut at = range.start;
    for piece in pieces {
        go_on(stop)?;
        let piece = piece.map_err(|e| ClientError::damaged(e.block, e))?;
        if piece.offset >= range.end {
            break;
        }
        write_piece(book, &piece, &range, out)?;
        at = (piece.offset + piece.len).min(range.end);
    }
    assert_eq!(at, range.end, "the pieces of a file cover it");
    Ok(range.end - range.start)
}

fn write_piece(book: &Book, piece: &PieceAt, range: &Range<u64>, out: &mut dyn Write) -> Result<()> {
    let from = range.start.max(piece.offset) - piece.offset;
    let to = range.end.min(piece.offset + piece.len) - piece.offset;
    if let Some((id, key)) = &piece.block {
        let data = book.source().piece(id, key, piece.len)?;
        return write(out, &data[from as usize..to as usize]);
    }
    let mut left = to - from;
    while left > 0 {
        let some = left.min(ZEROS.len() as u64);
        write(out, &ZEROS[..some as usize])?;
        left -= some;
    }
    Ok(())
}

fn write(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(|e| ClientError::io("write the output", e))
}

/// The entry that holds the content of a file: itself, or the path it is a hardlink to.
pub(super) fn holder(book: &Book, file: &EntryWithIds) -> Result<EntryWithIds> {
    let Some(target) = &file.entry.hardlink else { return Ok(file.clone()) };
    let path = ManifestPath::new(&target[..]).map_err(|_| not_found(target))?;
    let found = book.lookup(&path).map_err(unreadable)?.ok_or_else(|| not_found(target))?;
    if found.entry.file_type != FileType::File || found.entry.hardlink.is_some() {
        return Err(not_found(target));
    }
    Ok(found)
}

/// A hardlink with the size and content of the path it points to; anything else as it is.
pub fn resolved(book: &Book, mut entry: EntryWithIds) -> Result<EntryWithIds> {
    if entry.entry.hardlink.is_some() {
        let held = holder(book, &entry)?;
        entry.entry.size = held.entry.size;
        entry.entry.content = held.entry.content;
        entry.ids = held.ids;
    }
    Ok(entry)
}
