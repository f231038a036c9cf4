//! Rows of blocks, and everything that follows from them. FORMAT §9.
//!
//! Promise: whatever a command does to rows, [`Rows::write`] alone turns the difference into changes of the tables
//! `blocks`, `zero`, `condemned` and `damaged`, of the counters and of the usage of accounts, so these can never drift apart. Only
//! net effects are written: a page that is registered together with its parent never enters `zero`.

use super::{Meta, damaged, interned};
use crate::rights::quota;
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, put_varint};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, Sum};
use cas_net::{Result, RowState, StoredRow};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

const KIND_BITS: u8 = 0b111;
const STATE_SHIFT: u8 = 3;
const STATE_BITS: u8 = 0b11;
const HAS_ZERO: u8 = 1 << 5;

/// Whether a row lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Present.
    Live,
    /// Marked bad at this epoch.
    Bad(Epoch),
    /// Being deleted since this epoch.
    Condemned(Epoch),
}

/// What the index keeps of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub kind: Kind,
    /// Whether it lives.
    pub state: State,
    /// BLAKE3 of the stored bytes.
    pub sum: Sum,
    /// Live pages that have it as a child, and objects that hold it.
    pub count: u32,
    /// Stored bytes.
    pub len: u32,
    /// The number of its domain; 0 for keyrings.
    pub domain: u32,
    /// The number of the account (a device in a vault) that brought its bytes; 0 after a rebuild.
    pub device: u32,
    /// Since when nobody references it: its place in the collector's queue while the count is 0.
    pub zero: Epoch,
}

impl Row {
    /// Whether it is in the collector's queue.
    pub fn is_unreferenced(&self) -> bool {
        self.count == 0 && !self.is_condemned()
    }

    /// Whether it is being deleted.
    pub fn is_condemned(&self) -> bool {
        matches!(self.state, State::Condemned(_))
    }

    /// The row as the border shows it.
    pub fn stored(&self, id: BlockId, tables: &impl Tables) -> Result<StoredRow> {
        let domain = match self.domain {
            0 => DomainId::ZERO,
            number => DomainId(interned::id_of(tables, interned::Interned::Domain, number)?),
        };
        let state = match self.state {
            State::Live => RowState::Live,
            State::Bad(_) => RowState::Bad,
            State::Condemned(epoch) => RowState::Condemned(epoch),
        };
        Ok(StoredRow { id, domain, kind: self.kind, count: self.count, sum: self.sum, len: self.len, state })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.push(self.flags());
        out.extend_from_slice(self.sum.as_bytes());
        for value in [self.count, self.len, self.domain, self.device] {
            put_varint(&mut out, value.into());
        }
        if let State::Bad(epoch) | State::Condemned(epoch) = self.state {
            put_varint(&mut out, epoch.0);
        }
        if self.is_unreferenced() {
            put_varint(&mut out, self.zero.0);
        }
        out
    }

    fn flags(&self) -> u8 {
        let state = match self.state {
            State::Live => 0,
            State::Bad(_) => 1,
            State::Condemned(_) => 2,
        };
        self.kind as u8 | state << STATE_SHIFT | if self.is_unreferenced() { HAS_ZERO } else { 0 }
    }

    /// Reads its bytes.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("block row", bytes);
        let flags = r.u8()?;
        let kind = Kind::from_byte(flags & KIND_BITS).ok_or_else(|| r.error("a kind"))?;
        let sum = Sum(r.array()?);
        let [count, len, domain, device] = [u32_of(&mut r)?, u32_of(&mut r)?, u32_of(&mut r)?, u32_of(&mut r)?];
        let state = match flags >> STATE_SHIFT & STATE_BITS {
            0 => State::Live,
            1 => State::Bad(Epoch(r.varint()?)),
            2 => State::Condemned(Epoch(r.varint()?)),
            _ => return Err(r.error("a state")),
        };
        let zero = if flags & HAS_ZERO != 0 { Epoch(r.varint()?) } else { Epoch::ZERO };
        let row = Self { kind, state, sum, count, len, domain, device, zero };
        if row.flags() != flags {
            return Err(r.error("a zero epoch just where nothing refers to the block, and no other flags"));
        }
        r.finish()?;
        Ok(row)
    }
}

fn u32_of(r: &mut Reader<'_>) -> std::result::Result<u32, FormatError> {
    u32::try_from(r.varint()?).map_err(|_| r.error("a u32"))
}

/// The row of a block.
pub fn row(tables: &impl Tables, id: &BlockId) -> Result<Option<Row>> {
    let found = tables.get(Table::Blocks, id.as_bytes())?;
    found.map(|bytes| Row::decode(&bytes).map_err(|e| damaged(id, e.to_string()))).transpose()
}

/// The children of a registered page or list.
pub fn kids(tables: &impl Tables, id: &BlockId) -> Result<Option<Vec<BlockId>>> {
    Ok(tables.get(Table::Kids, id.as_bytes())?.map(|bytes| split_ids(&bytes)))
}

/// Ids that stand one after the other.
pub fn split_ids(bytes: &[u8]) -> Vec<BlockId> {
    bytes.chunks_exact(BlockId::LEN).map(|c| BlockId(c.try_into().expect("32 bytes"))).collect()
}

/// Key of an epoch and an id in the tables `zero` and `condemned`.
pub fn epoch_key(epoch: Epoch, id: &BlockId) -> Vec<u8> {
    [&epoch.0.to_be_bytes()[..], id.as_bytes()].concat()
}

/// Reads such a key.
pub fn split_epoch_key(key: &[u8]) -> Result<(Epoch, BlockId)> {
    let error = || damaged("zero or condemned", "has a key of another length");
    let (epoch, id) = key.split_first_chunk::<8>().ok_or_else(error)?;
    Ok((Epoch(u64::from_be_bytes(*epoch)), BlockId(id.try_into().map_err(|_| error())?)))
}

/// Rows that a command has read and changed, until they are written.
#[derive(Default)]
pub struct Rows {
    slots: Vec<Slot>,
    by_id: HashMap<BlockId, usize>,
}

struct Slot {
    id: BlockId,
    before: Option<Row>,
    now: Option<Row>,
}

impl Rows {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads these rows; the n-th id is slot n. Answers `None` if an id comes twice.
    pub fn load(tables: &impl Tables, ids: &[BlockId]) -> Result<Option<Self>> {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_unstable_by_key(|i| ids[*i as usize]);
        if order.windows(2).any(|pair| ids[pair[0] as usize] == ids[pair[1] as usize]) {
            return Ok(None);
        }
        let mut slots: Vec<Slot> = ids.iter().map(|id| Slot { id: *id, before: None, now: None }).collect();
        for i in order {
            let slot = &mut slots[i as usize];
            slot.before = row(tables, &slot.id)?;
            slot.now = slot.before;
        }
        Ok(Some(Self { slots, by_id: HashMap::new() }))
    }

    /// The row in a slot, to read and to change.
    pub fn at(&mut self, slot: usize) -> &mut Option<Row> {
        &mut self.slots[slot].now
    }

    /// The row of a block, to read and to change.
    pub fn of(&mut self, tables: &impl Tables, id: &BlockId) -> Result<&mut Option<Row>> {
        let slot = match self.by_id.entry(*id) {
            Entry::Occupied(slot) => *slot.get(),
            Entry::Vacant(vacant) => {
                let before = row(tables, id)?;
                self.slots.push(Slot { id: *id, before, now: before });
                *vacant.insert(self.slots.len() - 1)
            }
        };
        Ok(&mut self.slots[slot].now)
    }

    /// One reference more.
    pub fn hold(&mut self, tables: &impl Tables, id: &BlockId) -> Result<()> {
        let row = self.of(tables, id)?.as_mut().ok_or_else(|| damaged(id, "is missing, and was to be referenced"))?;
        row.count = row.count.checked_add(1).ok_or_else(|| damaged(id, "has too many references"))?;
        Ok(())
    }

    /// One reference less; at the last one the block enters the queue at `now`.
    pub fn release(&mut self, tables: &impl Tables, id: &BlockId, now: Epoch) -> Result<()> {
        let row = self.of(tables, id)?.as_mut().ok_or_else(|| damaged(id, "is missing, and was referenced"))?;
        row.count = row.count.checked_sub(1).ok_or_else(|| damaged(id, "has fewer references than were counted"))?;
        row.zero = now;
        Ok(())
    }

    /// Writes what changed, in order of id, with all that follows.
    pub fn write(mut self, tables: &mut impl Tables, meta: &mut Meta) -> Result<()> {
        self.slots.retain(|slot| slot.before != slot.now);
        self.slots.sort_unstable_by_key(|slot| slot.id);
        let mut bad: HashMap<u32, i64> = HashMap::new();
        let mut charged: BTreeMap<u32, i64> = BTreeMap::new();
        for Slot { id, before, now } in &self.slots {
            match now {
                Some(row) => tables.put(Table::Blocks, id.as_bytes(), row.encode()),
                None => tables.remove(Table::Blocks, id.as_bytes()),
            }
            move_key(tables, Table::Zero, id, before.and_then(queued), now.and_then(queued));
            move_key(tables, Table::Condemned, id, before.and_then(condemned_at), now.and_then(condemned_at));
            for (row, by) in [(before, -1), (now, 1)] {
                let Some(row) = row else { continue };
                count(meta, row, by).ok_or_else(|| damaged("meta", "has counters that do not fit the rows"))?;
                *charged.entry(row.device).or_default() += by * i64::from(row.len);
                if matches!(row.state, State::Bad(_)) {
                    *bad.entry(row.domain).or_default() += by;
                }
            }
        }
        quota::charge(tables, &charged)?;
        let mut bad: Vec<(u32, i64)> = bad.into_iter().filter(|(_, by)| *by != 0).collect();
        bad.sort_unstable();
        for (domain, by) in bad {
            let count = bad_in(tables, domain)?.checked_add_signed(by);
            let count = count.ok_or_else(|| damaged("damaged", "has a counter that does not fit the rows"))?;
            tables.put(Table::Damaged, &domain.to_be_bytes(), count.to_le_bytes().to_vec());
        }
        Ok(())
    }
}

/// How many blocks of a domain are marked bad.
pub fn bad_in(tables: &impl Tables, domain: u32) -> Result<u64> {
    let Some(bytes) = tables.get(Table::Damaged, &domain.to_be_bytes())? else { return Ok(0) };
    let bytes = bytes[..].try_into().map_err(|_| damaged("damaged", "is not a number"))?;
    Ok(u64::from_le_bytes(bytes))
}

fn queued(row: Row) -> Option<Epoch> {
    row.is_unreferenced().then_some(row.zero)
}

fn condemned_at(row: Row) -> Option<Epoch> {
    match row.state {
        State::Condemned(epoch) => Some(epoch),
        _ => None,
    }
}

fn move_key(tables: &mut impl Tables, table: Table, id: &BlockId, before: Option<Epoch>, now: Option<Epoch>) {
    if before == now {
        return;
    }
    if let Some(epoch) = before {
        tables.remove(table, &epoch_key(epoch, id));
    }
    if let Some(epoch) = now {
        tables.put(table, &epoch_key(epoch, id), Vec::new());
    }
}

fn count(meta: &mut Meta, row: &Row, by: i64) -> Option<()> {
    let counter = match row.state {
        State::Live => &mut meta.live,
        State::Bad(_) => &mut meta.bad,
        State::Condemned(_) => &mut meta.condemned,
    };
    *counter = counter.checked_add_signed(by)?;
    if row.is_unreferenced() {
        meta.unreferenced = meta.unreferenced.checked_add_signed(by)?;
    }
    meta.bytes = meta.bytes.checked_add_signed(by * i64::from(row.len))?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let sum = Sum([7; 32]);
        Row { kind: Kind::Page, state: State::Live, sum, count: 0, len: 300, domain: 1, device: 2, zero: Epoch(9) }
    }

    #[test]
    fn rows_have_golden_bytes_and_read_back() {
        let tail = [&[7; 32][..], &[0, 0xac, 2, 1, 2]].concat();
        assert_eq!(row().encode(), [&[0b10_0010], &tail[..], &[9]].concat());
        let condemned = Row { state: State::Condemned(Epoch(5)), ..row() };
        assert_eq!(condemned.encode(), [&[0b1_0010], &tail[..], &[5]].concat());
        let bad = Row { state: State::Bad(Epoch(5)), ..row() };
        assert_eq!(bad.encode(), [&[0b10_1010], &tail[..], &[5, 9]].concat());
        for row in [row(), bad, Row { zero: Epoch::ZERO, ..condemned }] {
            assert_eq!(Row::decode(&row.encode()).unwrap(), row);
        }
    }

    #[test]
    fn a_row_cut_anywhere_is_refused() {
        let bytes = row().encode();
        for len in 0..bytes.len() {
            assert!(Row::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}
