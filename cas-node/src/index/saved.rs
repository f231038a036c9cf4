//! What the cache knows besides places: up to where it read the log, how full each segment is, floors, damage.

use crate::record::At;
use cas_core::codec::Reader;
use cas_core::id::Epoch;
use cas_core::kdf;
use std::collections::BTreeMap;

/// How much of a segment is alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of block records that are the newest word on their block.
    pub live: u64,
    /// Bytes of records that are no blocks.
    pub notes: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// Bytes of a segment that are no record and were written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// The segment.
    pub segment: u32,
    /// The first bad byte.
    pub from: u64,
    /// The first good byte behind.
    pub to: u64,
}

/// How far the log was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The segment.
    pub segment: u32,
    /// The first byte that was not read yet; everything before it is synced.
    pub offset: u64,
    /// The number of the next group in this segment.
    pub group: u32,
    /// Whether the record before is an end.
    pub ended: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// How far the log was read.
    pub position: Position,
    /// Live blocks.
    pub blocks: u64,
    /// Every segment.
    pub usage: BTreeMap<u32, Usage>,
    /// Floors by partition.
    pub floors: BTreeMap<u16, Epoch>,
    /// Damage met while reading.
    pub regions: Vec<Region>,
}

const CHECK_LEN: usize = 16;

impl Saved {
    /// For the cache.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |value: u64| out.extend_from_slice(&value.to_le_bytes());
        let position = &self.position;
        put(position.segment.into());
        put(position.offset);
        put(position.group.into());
        put(position.ended.into());
        put(self.blocks);
        put(self.usage.len() as u64);
        for (segment, usage) in &self.usage {
            [u64::from(*segment), usage.live, usage.notes, usage.total].into_iter().for_each(&mut put);
        }
        put(self.floors.len() as u64);
        for (partition, floor) in &self.floors {
            [u64::from(*partition), floor.0].into_iter().for_each(&mut put);
        }
        put(self.regions.len() as u64);
        for region in &self.regions {
            [region.segment.into(), region.from, region.to].into_iter().for_each(&mut put);
        }
        let check = kdf::hash(&out);
        out.extend_from_slice(&check[..CHECK_LEN]);
        out
    }

    /// From the cache; `None` if these bytes are not what was saved.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, check) = bytes.split_last_chunk::<CHECK_LEN>()?;
        if kdf::hash(content)[..CHECK_LEN] != *check {
            return None;
        }
        let mut r = Reader::new("node index", content);
        let mut take = || r.u64().ok();
        let position = Position {
            segment: take()?.try_into().ok()?,
            offset: take()?,
            group: take()?.try_into().ok()?,
            ended: take()? == 1,
        };
        let mut saved = Self { position, blocks: take()?, ..Self::default() };
        for _ in 0..take()? {
            let segment = take()?.try_into().ok()?;
            saved.usage.insert(segment, Usage { live: take()?, notes: take()?, total: take()? });
        }
        for _ in 0..take()? {
            saved.floors.insert(take()?.try_into().ok()?, Epoch(take()?));
        }
        for _ in 0..take()? {
            saved.regions.push(Region { segment: take()?.try_into().ok()?, from: take()?, to: take()? });
        }
        r.is_empty().then_some(saved)
    }
}

impl Position {
    /// Where the next record will stand.
    pub fn at(&self) -> At {
        At { segment: self.segment, offset: u32::try_from(self.offset).expect("segments stay below 4 GiB") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_every_changed_byte_is_noticed() {
        let saved = Saved {
            position: Position { segment: 3, offset: 4, group: 5, ended: true },
            blocks: 6,
            usage: BTreeMap::from([(3, Usage { live: 7, notes: 8, total: 9 })]),
            floors: BTreeMap::from([(10, Epoch(11))]),
            regions: vec![Region { segment: 12, from: 13, to: 14 }],
        };
        let bytes = saved.encode();
        assert_eq!(Saved::decode(&bytes), Some(saved));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Saved::decode(&bad), None, "byte {at}");
            assert_eq!(Saved::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
