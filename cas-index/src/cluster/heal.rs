//! Heal rows: blocks with members that have no copy, since when, and who else has one. FORMAT §12.
//!
//! Promise: `put` alone writes them, and keeps the counters of [`Meta`] right.

use crate::state::{Meta, damaged};
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, put_varint};
use cas_core::id::{BlockId, Epoch};
use cas_net::Result;

/// What is known of a block that is not on all members of its partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealRow {
    /// Members without a copy that counts, and since when: only what is newer can prove one.
    pub missing: Vec<(u32, Epoch)>,
    /// Others that took a copy in their stead, and under which grant.
    pub elsewhere: Vec<(u32, Epoch)>,
}

impl HealRow {
    /// Since when a node's copy is missing.
    pub fn missing_since(&self, node: u32) -> Option<Epoch> {
        self.missing.iter().find(|(number, _)| *number == node).map(|(_, since)| *since)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.missing.len() as u8];
        for (node, epoch) in self.missing.iter().chain(&self.elsewhere) {
            put_varint(&mut out, (*node).into());
            put_varint(&mut out, epoch.0);
        }
        out
    }
}

/// Reads a row.
pub fn decode(id: &BlockId, bytes: &[u8]) -> Result<HealRow> {
    fields(bytes).map_err(|e| damaged(format!("heal {id}"), e.to_string()))
}

fn fields(bytes: &[u8]) -> std::result::Result<HealRow, FormatError> {
    let mut r = Reader::new("heal row", bytes);
    let missing = r.u8()?;
    let mut out = HealRow::default();
    while !r.is_empty() {
        let node = u32::try_from(r.varint()?).map_err(|_| r.error("a u32"))?;
        let pair = (node, Epoch(r.varint()?));
        if out.missing.len() < usize::from(missing) { out.missing.push(pair) } else { out.elsewhere.push(pair) }
    }
    if out.missing.len() != usize::from(missing) || missing == 0 {
        return Err(r.error("as many missing copies as it says, and at least one"));
    }
    Ok(out)
}

/// The heal row of a block.
pub fn heal_row(tables: &impl Tables, meta: &Meta, id: &BlockId) -> Result<Option<HealRow>> {
    if meta.short == 0 {
        return Ok(None);
    }
    tables.get(Table::Heal, id.as_bytes())?.map(|bytes| decode(id, &bytes)).transpose()
}

/// Writes or removes the heal row of a block.
pub(crate) fn put(tables: &mut impl Tables, meta: &mut Meta, id: &BlockId, row: Option<&HealRow>) -> Result<()> {
    let before = meta.short > 0 && tables.get(Table::Heal, id.as_bytes())?.is_some();
    match row.filter(|row| !row.missing.is_empty()) {
        Some(row) => {
            tables.put(Table::Heal, id.as_bytes(), row.encode());
            meta.short += u64::from(!before);
        }
        None if before => {
            tables.remove(Table::Heal, id.as_bytes());
            meta.short -= 1;
        }
        None => {}
    }
    Ok(())
}

/// All heal rows of a partition, in order of id.
pub fn of_partition(tables: &impl Tables, meta: &Meta, partition: u16) -> Result<Vec<(BlockId, HealRow)>> {
    let mut out = Vec::new();
    any_of_partition(tables, meta, partition, |id, heal| {
        out.push((id, heal));
        Ok(false)
    })?;
    Ok(out)
}

/// Whether any heal row of a partition is like this; looks no farther than the first one that is.
pub fn any_of_partition(
    tables: &impl Tables,
    meta: &Meta,
    partition: u16,
    mut is_it: impl FnMut(BlockId, HealRow) -> Result<bool>,
) -> Result<bool> {
    let mut found = false;
    if meta.short == 0 {
        return Ok(false);
    }
    tables.scan(Table::Heal, &first_id(partition), &mut |key, value| {
        let id = id_of(key)?;
        if id.partition() != partition {
            return Ok(false);
        }
        found = is_it(id, decode(&id, value)?)?;
        Ok(!found)
    })?;
    Ok(found)
}

/// The lowest id of a partition.
pub fn first_id(partition: u16) -> [u8; 32] {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&(partition << 4).to_be_bytes());
    id
}

/// Reads a key of the table.
pub fn id_of(key: &[u8]) -> Result<BlockId> {
    Ok(BlockId(key.try_into().map_err(|_| damaged("heal", "has a key of another length"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_golden_bytes_and_read_back() {
        let row = HealRow { missing: vec![(1, Epoch(300)), (2, Epoch(4))], elsewhere: vec![(9, Epoch(5))] };
        assert_eq!(row.encode(), [2, 1, 0xac, 2, 2, 4, 9, 5]);
        assert_eq!(fields(&row.encode()).unwrap(), row);
        for len in 0..8 {
            assert!(fields(&row.encode()[..len]).is_err() || len == 6, "cut at {len}");
        }
    }

    #[test]
    fn ids_of_a_partition_stand_together() {
        assert_eq!(first_id(0xabc)[..3], [0xab, 0xc0, 0]);
        assert_eq!(BlockId(first_id(0xabc)).partition(), 0xabc);
    }
}
