//! The rows of partitions: members, the step that is under way, the table that is wanted. FORMAT §12.

use crate::state::damaged;
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, put_varint};
use cas_core::id::{BlockId, Epoch};
use cas_core::layout::{PARTITIONS, Pool};
use cas_net::Result;

const PREFIX: u8 = b'p';
const POOL: &[u8] = b"l\0";
/// The only class there is yet.
const CLASS: u8 = 0;

/// Partitions, as the numbers of their rows.
pub const PARTITION_COUNT: u16 = PARTITIONS as u16;

const JOINS: u8 = 1;
const LEAVES: u8 = 2;
const UNCOUNTED: u8 = 4;
const FLOORED: u8 = 8;
const LISTED: u8 = 16;

/// Whether it is known what a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// All rows, but those with a heal row that names it.
    Counted,
    /// Nothing counts: it has to write a floor first.
    Floorless,
    /// Deletes at or below the floor are void; it lists what it has, and has come so far.
    Listing {
        /// The floor.
        floor: Epoch,
        /// The last block that was compared.
        upto: Option<BlockId>,
    },
}

/// A member of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub node: u32,
    /// Since when it is a member with this disk: no older receipt counts.
    pub since: Epoch,
    /// On its way in.
    pub joins: bool,
    /// On its way out.
    pub leaves: bool,
    /// Whether it is known what it has.
    pub count: Count,
}

impl Entry {
    /// Whether it is one of the members as they were before the step.
    pub fn is_old(&self) -> bool {
        !self.joins
    }

    /// Whether it is one of the members as they will be after the step.
    pub fn is_new(&self) -> bool {
        !self.leaves
    }
}

/// The members of a partition, and those that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// Members: old and new.
    pub entries: Vec<Entry>,
    /// Who is to be a member in the end, ascending.
    pub target: Vec<u32>,
}

impl Partition {
    /// The row; none while there is no layout.
    pub fn of(tables: &impl Tables, number: u16) -> Result<Option<Self>> {
        let found = tables.get(Table::Cluster, &key(number))?;
        found.map(|bytes| decode(&bytes).map_err(|e| broken(number, &e))).transpose()
    }

    /// All rows, in order of number.
    pub fn all(tables: &impl Tables) -> Result<Vec<Self>> {
        let mut out = Vec::new();
        tables.scan_prefix(Table::Cluster, &[PREFIX, CLASS], &mut |_, bytes| {
            out.push(decode(bytes).map_err(|e| broken(out.len() as u16, &e))?);
            Ok(true)
        })?;
        Ok(out)
    }

    /// Writes it.
    pub(super) fn store(&self, tables: &mut impl Tables, number: u16) {
        tables.put(Table::Cluster, &key(number), self.encode());
    }

    /// The member with this number.
    pub fn entry(&self, node: u32) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.node == node)
    }

    pub(super) fn entry_mut(&mut self, node: u32) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.node == node)
    }

    /// Who is on its way in.
    pub fn joining(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.joins)
    }

    /// Who is on its way out.
    pub fn leaving(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.leaves)
    }

    /// Whether a step is under way.
    pub fn is_moving(&self) -> bool {
        self.entries.iter().any(|entry| entry.joins || entry.leaves)
    }

    /// Whether it is as the table wants it.
    pub fn is_settled(&self) -> bool {
        !self.is_moving()
            && self.entries.len() == self.target.len()
            && self.target.iter().all(|n| self.entry(*n).is_some())
    }

    /// Members that the table does not want, and wanted ones that are none.
    pub(super) fn differs(&self) -> (Vec<u32>, Vec<u32>) {
        let out = self.entries.iter().map(|entry| entry.node).filter(|node| !self.target.contains(node)).collect();
        let come = self.target.iter().copied().filter(|node| self.entry(*node).is_none()).collect();
        (out, come)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.entries.len() as u8];
        for entry in &self.entries {
            let (count, floor, upto) = match entry.count {
                Count::Counted => (0, None, None),
                Count::Floorless => (UNCOUNTED, None, None),
                Count::Listing { floor, upto } => (UNCOUNTED | FLOORED, Some(floor), upto),
            };
            let steps = if entry.joins { JOINS } else { 0 } | if entry.leaves { LEAVES } else { 0 };
            out.push(steps | count | if upto.is_some() { LISTED } else { 0 });
            put_varint(&mut out, entry.node.into());
            put_varint(&mut out, entry.since.0);
            if let Some(floor) = floor {
                put_varint(&mut out, floor.0);
            }
            if let Some(upto) = upto {
                out.extend_from_slice(upto.as_bytes());
            }
        }
        self.target.iter().for_each(|node| put_varint(&mut out, (*node).into()));
        out
    }
}

fn decode(bytes: &[u8]) -> std::result::Result<Partition, FormatError> {
    let mut r = Reader::new("partition row", bytes);
    let number = |r: &mut Reader<'_>| u32::try_from(r.varint()?).map_err(|_| r.error("a u32"));
    let mut out = Partition::default();
    for _ in 0..r.u8()? {
        let flags = r.u8()?;
        let (node, since) = (number(&mut r)?, Epoch(r.varint()?));
        let floor = if flags & FLOORED != 0 { Some(Epoch(r.varint()?)) } else { None };
        let upto = if flags & LISTED != 0 { Some(BlockId(r.array()?)) } else { None };
        let count = match (flags & UNCOUNTED != 0, floor) {
            (false, None) if upto.is_none() => Count::Counted,
            (true, None) if upto.is_none() => Count::Floorless,
            (true, Some(floor)) => Count::Listing { floor, upto },
            _ => return Err(r.error("flags that go together")),
        };
        let (joins, leaves) = (flags & JOINS != 0, flags & LEAVES != 0);
        out.entries.push(Entry { node, since, joins, leaves, count });
    }
    while !r.is_empty() {
        out.target.push(number(&mut r)?);
    }
    Ok(out)
}

fn key(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [PREFIX, CLASS, high, low]
}

fn broken(number: u16, why: &FormatError) -> cas_net::ServiceError {
    damaged(format!("partition {number}"), why.to_string())
}

/// The pool; none while there is no layout.
pub fn pool(tables: &impl Tables) -> Result<Option<Pool>> {
    let Some(bytes) = tables.get(Table::Cluster, POOL)? else { return Ok(None) };
    let pool = bytes.first().copied().and_then(Pool::from_byte);
    pool.map(Some).ok_or_else(|| damaged("pool", "is not one that this version knows"))
}

pub(super) fn store_pool(tables: &mut impl Tables, pool: Pool) {
    tables.put(Table::Cluster, POOL, vec![pool as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_golden_bytes_and_read_back() {
        let entry = |node, joins, leaves, count| Entry { node, since: Epoch(300), joins, leaves, count };
        let listing = Count::Listing { floor: Epoch(301), upto: Some(BlockId([7; 32])) };
        let entries = vec![
            entry(1, false, true, Count::Counted),
            entry(2, false, false, Count::Floorless),
            entry(200, true, false, listing),
        ];
        let row = Partition { entries, target: vec![2, 200] };
        let golden =
            [&[3, 2, 1, 0xac, 2][..], &[4, 2, 0xac, 2], &[29, 200, 1, 0xac, 2, 0xad, 2], &[7; 32], &[2, 200, 1]];
        assert_eq!(row.encode(), golden.concat());
        assert_eq!(decode(&row.encode()).unwrap(), row);
    }
}
