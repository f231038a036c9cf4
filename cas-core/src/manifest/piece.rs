//! Pieces: what a file holds, in order: blocks of data and holes. FORMAT §5.
//!
//! Promise: what decodes has no piece of length 0, none of data above the limit of a block, and no two
//! holes side by side.

use crate::codec::{FormatError, Reader, put_varint};
use crate::limits::MAX_RAW;
use crate::secret::ContentKey;

/// The longest file: lengths are below 2⁶³, as in every file system.
pub const MAX_FILE: u64 = i64::MAX as u64;

/// A run of bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes, at least 1.
    pub len: u64,
    /// The block that holds them; `None` for a hole, which reads as zeros.
    pub data: Option<ContentKey>,
}

impl Piece {
    /// Bytes in a block.
    pub fn data(len: u64, key: ContentKey) -> Self {
        Self { len, data: Some(key) }
    }

    /// Zeros that are stored nowhere.
    pub fn hole(len: u64) -> Self {
        Self { len, data: None }
    }

    /// Whether it is a hole.
    pub fn is_hole(&self) -> bool {
        self.data.is_none()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len << 1 | u64::from(self.is_hole()));
        if let Some(key) = &self.data {
            out.extend_from_slice(key.as_bytes());
        }
    }
}

/// A piece as it stands in encoded bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PieceView<'a> {
    pub len: u64,
    pub key: Option<&'a [u8; 32]>,
}

impl<'a> PieceView<'a> {
    /// Reads one piece that follows `before`.
    pub fn read(r: &mut Reader<'a>, before: Option<PieceView<'a>>) -> Result<Self, FormatError> {
        let head = r.varint()?;
        let (len, hole) = (head >> 1, head & 1 == 1);
        if len == 0 {
            return Err(r.error("a piece of at least one byte"));
        }
        if hole {
            if before.is_some_and(|piece| piece.key.is_none()) {
                return Err(r.error("holes side by side as one"));
            }
            return Ok(Self { len, key: None });
        }
        if len > MAX_RAW as u64 {
            return Err(r.error("a block of at most 64 MiB"));
        }
        Ok(Self { len, key: Some(read_key(r)?) })
    }

    pub fn to_piece(self) -> Piece {
        Piece { len: self.len, data: self.key.map(|key| ContentKey::from_bytes(*key)) }
    }
}

/// Pieces that were checked before.
#[derive(Debug, Clone)]
pub(super) struct Pieces<'a>(Reader<'a>);

impl<'a> Pieces<'a> {
    pub fn of_checked(bytes: &'a [u8]) -> Self {
        Self(Reader::new("pieces", bytes))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = PieceView<'a>;
    fn next(&mut self) -> Option<PieceView<'a>> {
        if self.0.is_empty() { None } else { Some(PieceView::read(&mut self.0, None).expect("checked before")) }
    }
}

/// A content key in encoded bytes.
pub(super) fn read_key<'a>(r: &mut Reader<'a>) -> Result<&'a [u8; 32], FormatError> {
    Ok(r.take(32)?.try_into().expect("take gives what it is asked for"))
}
