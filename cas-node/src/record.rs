//! Records: what a segment is made of. FORMAT §8.
//!
//! Promise: a header that parses was written whole; a body is believed only after its sum was compared.

use cas_core::id::{BlockId, DomainId, Epoch, Kind, Sum};
use cas_core::kdf;

const MAGIC: &[u8; 4] = b"CASR";
/// Bytes of a record before its body.
pub const HEADER_LEN: usize = 108;
const CHECKED_FROM: usize = 8;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A block; its body follows.
    Block = 1,
    /// A block that is here already was put again: its put_epoch is at least this.
    Touch = 2,
    /// A block is deleted.
    Delete = 3,
    /// Deletes of a partition at or below this epoch are void.
    Floor = 4,
    /// The node closed the segment cleanly here.
    End = 5,
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub what: What,
    /// Of a block: what it is.
    pub kind: Option<Kind>,
    /// Bytes of the body.
    pub len: u32,
    /// The write it belongs to, counted from 0 in each segment.
    pub group: u32,
    /// put_epoch, delete epoch or floor.
    pub epoch: Epoch,
    /// Of a block: whose it is.
    pub domain: DomainId,
    /// The block; of a floor: the partition in the first two bytes.
    pub id: BlockId,
    /// Of a block: BLAKE3 of the body.
    pub sum: Sum,
}

impl Record {
    /// A record without a body.
    pub fn note(what: What, id: BlockId, epoch: Epoch) -> Self {
        Self { what, kind: None, len: 0, group: 0, epoch, domain: DomainId::ZERO, id, sum: Sum::ZERO }
    }

    /// The bytes of header and body together.
    pub fn total_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.len)
    }

    /// Appends the header.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[self.what as u8, self.kind.map_or(0, |k| k as u8), 0, 0]);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(self.domain.as_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(self.sum.as_bytes());
        let check = check_of(&out[start + CHECKED_FROM..]);
        out[start + 4..start + CHECKED_FROM].copy_from_slice(&check);
    }

    /// Reads a header; `None` if these bytes are not one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_LEN)?;
        if !header.starts_with(MAGIC) || header[4..CHECKED_FROM] != check_of(&header[CHECKED_FROM..]) {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let what = match header[8] {
            1 => What::Block,
            2 => What::Touch,
            3 => What::Delete,
            4 => What::Floor,
            5 => What::End,
            _ => return None,
        };
        let kind = Kind::from_byte(header[9]);
        let is_block = what == What::Block;
        let has_block_fields = !is_block && (header[9] != 0 || u32_at(12) != 0);
        if is_block != kind.is_some() || has_block_fields || header[10..12] != [0; 2] {
            return None;
        }
        Some(Self {
            what,
            kind,
            len: u32_at(12),
            group: u32_at(16),
            epoch: Epoch(u64::from_le_bytes(header[20..28].try_into().expect("8 bytes"))),
            domain: DomainId(header[28..44].try_into().expect("16 bytes")),
            id: BlockId(header[44..76].try_into().expect("32 bytes")),
            sum: Sum(header[76..108].try_into().expect("32 bytes")),
        })
    }
}

fn check_of(checked: &[u8]) -> [u8; 4] {
    kdf::hash(checked)[..4].try_into().expect("4 of 32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            what: What::Block,
            kind: Some(Kind::Page),
            len: 5,
            group: 7,
            epoch: Epoch(9),
            domain: DomainId([1; 16]),
            id: BlockId([2; 32]),
            sum: Sum([3; 32]),
        }
    }

    #[test]
    fn a_record_is_pinned() {
        let mut bytes = Vec::new();
        record().put(&mut bytes);
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(bytes[..4], *b"CASR");
        assert_eq!(bytes[8..28], [1, 2, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((bytes[28], bytes[43], bytes[44], bytes[75], bytes[76], bytes[107]), (1, 1, 2, 2, 3, 3));
        assert_eq!(bytes[4..8], kdf::hash(&bytes[8..])[..4]);
        assert_eq!(Record::parse(&bytes), Some(record()));
    }

    #[test]
    fn a_changed_or_cut_header_is_none() {
        let mut bytes = Vec::new();
        record().put(&mut bytes);
        for at in 0..bytes.len() {
            assert_eq!(Record::parse(&bytes[..at]), None, "cut at {at}");
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert_eq!(Record::parse(&bytes), None, "bit {bit} of byte {at}");
                bytes[at] ^= 1 << bit;
            }
        }
    }
}
