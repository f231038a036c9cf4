//! Records: what a segment is made of. FORMAT §8.
//!
//! Promise: a header that parses was written whole; a body is believed only after its sum was compared. Whoever chooses bodies
//! cannot write records into them: each record bears the [`Salt`] of its segment, which only the node knows.

use cas_core::id::{BlockId, DomainId, Epoch, Kind, Sum};
use cas_core::kdf;
use cas_core::limits::MAX_FRAME;

const MAGIC: &[u8; 4] = b"CASR";
/// Bytes of a record before its body.
pub const HEADER_LEN: usize = 4 + 4 + Salt::LEN + 1 + 1 + 2 + 4 + 4 + 8 + DomainId::LEN + BlockId::LEN + Sum::LEN;
const CHECKED_FROM: usize = 8;

const _: () = assert!(HEADER_LEN == 116);

/// What all records of one segment bear, and nobody outside of the node can guess.
///
/// A search behind damage goes through bodies, and who pushes them may have chosen their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Salt(pub [u8; Salt::LEN]);

impl Salt {
    /// Bytes of a salt.
    pub const LEN: usize = 8;

    /// The salt of a segment of the node with this seed.
    pub fn of(seed: &[u8; 32], segment: u32) -> Self {
        let mut material = [0; 36];
        material[..32].copy_from_slice(seed);
        material[32..].copy_from_slice(&segment.to_le_bytes());
        let mut salt = [0; Self::LEN];
        kdf::derive_into("segment salt", &material, &mut salt);
        Self(salt)
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A block; its body follows.
    Block = 1,
    /// A block that is here already was put again: its put_epoch is at least this.
    Touch = 2,
    /// A block record is dead: see [`Record::target`].
    Delete = 3,
    /// Deletes of a partition at or below this epoch are void.
    Floor = 4,
    /// The node was closed cleanly here.
    End = 5,
}

/// The first byte of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The number of the segment.
    pub segment: u32,
    /// The offset in it, in bytes.
    pub offset: u32,
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

    /// That the block record at `target` is dead.
    pub fn delete(id: BlockId, epoch: Epoch, target: At) -> Self {
        let mut record = Self::note(What::Delete, id, epoch);
        record.sum.0[..4].copy_from_slice(&target.segment.to_le_bytes());
        record.sum.0[4..8].copy_from_slice(&target.offset.to_le_bytes());
        record
    }

    /// That deletes of a partition at or below `epoch` are void.
    pub fn floor(partition: u16, epoch: Epoch) -> Self {
        let mut record = Self::note(What::Floor, BlockId::ZERO, epoch);
        record.id.0[..2].copy_from_slice(&partition.to_be_bytes());
        record
    }

    /// Of a delete: which block record is dead.
    pub fn target(&self) -> Option<At> {
        let u32_at = |at: usize| u32::from_le_bytes(self.sum.0[at..at + 4].try_into().expect("4 bytes"));
        (self.what == What::Delete).then(|| At { segment: u32_at(0), offset: u32_at(4) })
    }

    /// Of a floor: the partition.
    pub fn partition(&self) -> Option<u16> {
        (self.what == What::Floor).then(|| u16::from_be_bytes([self.id.0[0], self.id.0[1]]))
    }

    /// The bytes of header and body together.
    pub fn total_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.len)
    }

    /// The bytes of the header, in a segment with this salt.
    pub fn encode(&self, salt: Salt) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&salt.0);
        out[16..18].copy_from_slice(&[self.what as u8, self.kind.map_or(0, |k| k as u8)]);
        out[20..24].copy_from_slice(&self.len.to_le_bytes());
        out[24..28].copy_from_slice(&self.group.to_le_bytes());
        out[28..36].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[36..52].copy_from_slice(self.domain.as_bytes());
        out[52..84].copy_from_slice(self.id.as_bytes());
        out[84..].copy_from_slice(self.sum.as_bytes());
        let check = check_of(&out[CHECKED_FROM..]);
        out[4..CHECKED_FROM].copy_from_slice(&check);
        out
    }

    /// Reads a header and the salt that it bears; `None` if these bytes are not one. Whether it is the salt of the segment
    /// is the caller's question.
    pub fn parse(bytes: &[u8]) -> Option<(Salt, Self)> {
        let header = bytes.get(..HEADER_LEN)?;
        if !header.starts_with(MAGIC) || header[4..CHECKED_FROM] != check_of(&header[CHECKED_FROM..]) {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let what = match header[16] {
            1 => What::Block,
            2 => What::Touch,
            3 => What::Delete,
            4 => What::Floor,
            5 => What::End,
            _ => return None,
        };
        let kind = Kind::from_byte(header[17]);
        let fits = if what == What::Block { kind.is_some() } else { header[17] == 0 && u32_at(20) == 0 };
        if !fits || header[18..20] != [0; 2] || u32_at(20) as usize > MAX_FRAME {
            return None;
        }
        let record = Self {
            what,
            kind,
            len: u32_at(20),
            group: u32_at(24),
            epoch: Epoch(u64::from_le_bytes(header[28..36].try_into().expect("8 bytes"))),
            domain: DomainId(header[36..52].try_into().expect("16 bytes")),
            id: BlockId(header[52..84].try_into().expect("32 bytes")),
            sum: Sum(header[84..].try_into().expect("32 bytes")),
        };
        Some((Salt(header[8..16].try_into().expect("8 bytes")), record))
    }

    /// Whether these bytes may be the beginning of a record: what a search looks for.
    pub(crate) fn find_magic(bytes: &[u8]) -> Option<usize> {
        bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
    }
}

fn check_of(checked: &[u8]) -> [u8; 4] {
    kdf::hash(checked)[..4].try_into().expect("4 of 32")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt([0x5a; 8]);

    fn block() -> Record {
        Record {
            what: What::Block,
            kind: Some(Kind::Page),
            len: 0x1234,
            group: 3,
            epoch: Epoch(0x0102_0304),
            domain: DomainId([0xdd; 16]),
            id: BlockId([0x1d; 32]),
            sum: Sum([0x50; 32]),
        }
    }

    #[test]
    fn the_bytes_of_a_record_are_pinned() {
        let mut golden = Vec::new();
        golden.extend_from_slice(b"CASR");
        golden.extend_from_slice(&[0; 4]); // check
        golden.extend_from_slice(&[0x5a; 8]); // salt
        golden.extend_from_slice(&[1, 2]); // block, page
        golden.extend_from_slice(&[0; 2]);
        golden.extend_from_slice(&[0x34, 0x12, 0, 0]); // len
        golden.extend_from_slice(&[3, 0, 0, 0]); // group
        golden.extend_from_slice(&[4, 3, 2, 1, 0, 0, 0, 0]); // epoch
        golden.extend_from_slice(&[0xdd; 16]);
        golden.extend_from_slice(&[0x1d; 32]);
        golden.extend_from_slice(&[0x50; 32]);
        let check = kdf::hash(&golden[8..]);
        golden[4..8].copy_from_slice(&check[..4]);
        assert_eq!(golden[4..8], [48, 21, 28, 127]);
        assert_eq!(block().encode(SALT)[..], golden[..]);
    }

    #[test]
    fn the_salt_of_a_segment_is_pinned_and_each_has_its_own() {
        assert_eq!(Salt::of(&[7; 32], 1).0, [179, 122, 115, 129, 65, 119, 147, 180]);
        assert_ne!(Salt::of(&[7; 32], 1), Salt::of(&[7; 32], 2));
        assert_ne!(Salt::of(&[7; 32], 1), Salt::of(&[8; 32], 1));
    }

    #[test]
    fn every_record_goes_there_and_back() {
        let target = At { segment: 5, offset: 0x1_0000 };
        let delete = Record::delete(BlockId([9; 32]), Epoch(4), target);
        assert_eq!(delete.target(), Some(target));
        assert_eq!(Record::floor(0xabc, Epoch(4)).partition(), Some(0xabc));
        let touch = Record::note(What::Touch, BlockId([8; 32]), Epoch(6));
        let end = Record::note(What::End, BlockId::ZERO, Epoch::ZERO);
        for record in [block(), delete, Record::floor(0xabc, Epoch(4)), touch, end] {
            assert_eq!(Record::parse(&record.encode(SALT)), Some((SALT, record)));
        }
    }

    #[test]
    fn a_record_that_is_cut_or_changed_is_none() {
        let bytes = block().encode(SALT);
        for len in 0..HEADER_LEN {
            assert_eq!(Record::parse(&bytes[..len]), None);
        }
        for at in 0..HEADER_LEN {
            let mut bad = bytes;
            bad[at] ^= 0x40;
            assert_eq!(Record::parse(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn a_length_above_every_block_is_refused() {
        let record = Record { len: MAX_FRAME as u32 + 1, ..block() };
        assert_eq!(Record::parse(&record.encode(SALT)), None);
    }
}
