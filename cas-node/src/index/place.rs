//! Where a block lies, and its bytes in the cache. FORMAT §8.

use crate::record::{At, HEADER_LEN};
use cas_core::id::{BlockId, Epoch, Kind};
use cas_core::kdf;

/// Where a block lies.
///
/// Its sum stands in the record alone: whoever wants it wants the record too, and the cache is smaller by a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its record.
    pub at: At,
    /// Bytes of its body.
    pub len: u32,
    /// The newest epoch under which it was put or touched.
    pub put_epoch: Epoch,
    /// What it is.
    pub kind: Kind,
}

const CHECK_LEN: usize = 4;

impl Place {
    /// Bytes in the cache.
    pub const LEN: usize = 21 + CHECK_LEN;

    /// Bytes of its record.
    pub fn record_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.len)
    }

    /// For the cache, under the key `id`.
    pub fn encode(&self, id: &BlockId) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.at.segment.to_le_bytes());
        out[4..8].copy_from_slice(&self.at.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..20].copy_from_slice(&self.put_epoch.0.to_le_bytes());
        out[20] = self.kind as u8;
        let check = check_of(id, &out[..21]);
        out[21..].copy_from_slice(&check);
        out
    }

    /// From the cache; `None` if these bytes are not a place of this block.
    pub fn decode(id: &BlockId, bytes: &[u8; Self::LEN]) -> Option<Self> {
        if bytes[21..] != check_of(id, &bytes[..21]) {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        Some(Self {
            at: At { segment: u32_at(0), offset: u32_at(4) },
            len: u32_at(8),
            put_epoch: Epoch(u64::from_le_bytes(bytes[12..20].try_into().expect("8 bytes"))),
            kind: Kind::from_byte(bytes[20])?,
        })
    }
}

fn check_of(id: &BlockId, value: &[u8]) -> [u8; CHECK_LEN] {
    let mut checked = [0; BlockId::LEN + 21];
    checked[..BlockId::LEN].copy_from_slice(id.as_bytes());
    checked[BlockId::LEN..].copy_from_slice(value);
    kdf::hash(&checked)[..CHECK_LEN].try_into().expect("4 of 32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_rotted_or_belongs_to_another_block_is_none() {
        let id = BlockId([7; 32]);
        let at = At { segment: 1, offset: 2 };
        let place = Place { at, len: 3, put_epoch: Epoch(4), kind: Kind::List };
        let bytes = place.encode(&id);
        assert_eq!(bytes[..21], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(Place::decode(&id, &bytes), Some(place));
        assert_eq!(Place::decode(&BlockId([8; 32]), &bytes), None);
        for at in 0..Place::LEN {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert_eq!(Place::decode(&id, &bad), None, "byte {at}");
        }
    }
}
