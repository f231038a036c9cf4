//! What nodes prove: floors, lists, copies, and what they lost. DESIGN §7.1, "copies already there".

use super::command::Chunk;
use super::heal::{first_id, heal_row, put};
use super::nodes::known;
use super::partition::{Count, Partition};
use super::placement::Placement;
use crate::command::{MAX_EDGES, Packed};
use crate::state::blocks::{Row, Rows, State, row as block_row};
use crate::state::{Applied, Meta, Outcome, damaged, deny, refuse};
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, Epoch, Sum};
use cas_net::{Result, ServiceError};

/// Deletes at or below are void: what it lists from now on counts.
pub(super) fn floored(tables: &mut impl Tables, node: &[u8; 32], partitions: &[u16], floor: u64) -> Applied<Outcome> {
    let number = known(tables, node)?.number;
    let floor = Epoch(floor);
    for at in partitions {
        let Some(mut partition) = Partition::of(tables, *at)? else { continue };
        let Some(entry) = partition.entry_mut(number) else { continue };
        let is_newer = match entry.count {
            Count::Counted => false,
            Count::Floorless => true,
            Count::Listing { floor: old, .. } => floor > old,
        };
        if is_newer && floor >= entry.since {
            entry.count = Count::Listing { floor, upto: None };
            partition.store(tables, *at);
        }
    }
    Ok(Outcome::Done)
}

/// Compares a piece of a list with the rows: what is there counts if it was missing before the floor; what is not is
/// missing. A row that was registered meanwhile may be called missing although it is there: then it is touched once more.
pub(super) fn inventory(tables: &mut impl Tables, meta: &mut Meta, chunk: &Chunk) -> Applied<Outcome> {
    let number = known(tables, &chunk.node)?.number;
    let found = listed(chunk)?;
    let Some(mut partition) = Partition::of(tables, chunk.partition)? else { return unasked(chunk) };
    let (floor, after) = (Epoch(chunk.floor), chunk.after.map(BlockId));
    let Some(entry) = partition.entry_mut(number) else { return unasked(chunk) };
    if entry.count != (Count::Listing { floor, upto: after }) {
        return unasked(chunk);
    }
    let (rows, end) = rows_between(tables, chunk)?;
    let mut changes = Vec::new();
    for (id, row) in &rows {
        let there = found.binary_search_by_key(id, |(id, _)| *id).is_ok_and(|at| found[at].1 == row.sum);
        let mut heal = heal_row(tables, meta, id)?.unwrap_or_default();
        match heal.missing_since(number) {
            Some(since) if there && since <= floor => heal.missing.retain(|(node, _)| *node != number),
            None if !there => heal.missing.push((number, meta.epoch)),
            None if matches!(row.state, State::Bad(_)) => {}
            _ => continue,
        }
        changes.push((*id, heal, there));
    }
    entry.count = match end {
        Some(upto) => Count::Listing { floor, upto: Some(upto) },
        None => Count::Counted,
    };
    partition.store(tables, chunk.partition);
    let mut states = States::default();
    for (id, heal, there) in changes {
        put(tables, meta, &id, Some(&heal))?;
        states.look(tables, meta, &id, there)?;
    }
    states.write(tables, meta)?;
    Ok(Outcome::Done)
}

fn unasked<T>(chunk: &Chunk) -> Applied<T> {
    refuse(ServiceError::NotFound { what: "wanted inventory of partition", name: chunk.partition.to_string() })
}

/// The list, which must be in order and within its borders.
fn listed(chunk: &Chunk) -> Applied<Vec<(BlockId, Sum)>> {
    let ids: Vec<BlockId> = chunk.ids.ids().collect();
    let in_order = ids.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = ids.iter().all(|id| {
        id.partition() == chunk.partition
            && chunk.after.is_none_or(|after| id.0 > after)
            && chunk.upto.is_none_or(|upto| id.0 <= upto)
    });
    let border = chunk.upto.is_none_or(|upto| {
        BlockId(upto).partition() == chunk.partition && chunk.after.is_none_or(|after| upto > after)
    });
    if !in_order || !inside || !border || chunk.sums.count() != ids.len() || ids.len() > MAX_EDGES {
        return deny("an inventory is malformed");
    }
    Ok(ids.into_iter().zip((0..).map(|n| Sum(chunk.sums.at(n)))).collect())
}

/// Rows in order of id.
type Listed = Vec<(BlockId, Row)>;

/// The rows that a piece speaks of, at most as many as a command may change, and where that ends.
fn rows_between(tables: &impl Tables, chunk: &Chunk) -> Result<(Listed, Option<BlockId>)> {
    let from = chunk.after.unwrap_or_else(|| first_id(chunk.partition));
    let (mut rows, mut end) = (Vec::new(), chunk.upto.map(BlockId));
    tables.scan(Table::Blocks, &from, &mut |key, value| {
        let id = BlockId(key.try_into().map_err(|_| damaged("blocks", "has a key of another length"))?);
        if chunk.after == Some(id.0) {
            return Ok(true);
        }
        if id.partition() != chunk.partition || chunk.upto.is_some_and(|upto| id.0 > upto) {
            return Ok(false);
        }
        if rows.len() == MAX_EDGES {
            end = rows.last().map(|(id, _)| *id);
            return Ok(false);
        }
        let row = Row::decode(value).map_err(|e| damaged(id, e.to_string()))?;
        rows.push((id, row));
        Ok(true)
    })?;
    rows.retain(|(_, row)| !row.is_condemned());
    Ok((rows, end))
}

/// Copies under a grant that is not older than the moment since when they were missing.
pub(super) fn copies(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    grant: u64,
    ids: &Packed,
    sums: &Packed,
) -> Applied<Outcome> {
    let node = known(tables, node)?;
    if ids.count() != sums.count() || ids.count() > MAX_EDGES {
        return deny("an answer about copies is malformed");
    }
    let grant = Epoch(grant);
    let mut states = States::default();
    for (id, n) in ids.ids().zip(0..) {
        let Some(mut heal) = heal_row(tables, meta, &id)? else { continue };
        let Some(row) = block_row(tables, &id)?.filter(|row| row.sum.0 == sums.at(n)) else { continue };
        let proves = heal.missing_since(node.number).is_some_and(|since| grant >= since.max(node.since));
        if proves && !row.is_condemned() {
            heal.missing.retain(|(number, _)| *number != node.number);
            put(tables, meta, &id, Some(&heal))?;
            states.look(tables, meta, &id, true)?;
        }
    }
    states.write(tables, meta)?;
    Ok(Outcome::Done)
}

/// Copies that are gone or not whole any more.
pub(super) fn missing(tables: &mut impl Tables, meta: &mut Meta, node: &[u8; 32], ids: &Packed) -> Applied<Outcome> {
    let number = known(tables, node)?.number;
    if ids.count() > MAX_EDGES {
        return deny("an answer about copies is malformed");
    }
    let mut states = States::default();
    for id in ids.ids() {
        let Some(row) = block_row(tables, &id)?.filter(|row| !row.is_condemned()) else { continue };
        let Some(partition) = Partition::of(tables, id.partition())? else {
            states.bad.push((id, row));
            continue;
        };
        let mut heal = heal_row(tables, meta, &id)?.unwrap_or_default();
        heal.elsewhere.retain(|(node, _)| *node != number);
        heal.missing.retain(|(node, _)| *node != number);
        if partition.entry(number).is_some() {
            heal.missing.push((number, meta.epoch));
        }
        put(tables, meta, &id, Some(&heal))?;
        states.look(tables, meta, &id, false)?;
    }
    states.write(tables, meta)?;
    Ok(Outcome::Done)
}

/// Rows that lose their last copy are bad, unless somebody has yet to say whether he has one: only a push or a returning node
/// brings them back. Those that get one again are not.
#[derive(Default)]
struct States {
    bad: Vec<(BlockId, Row)>,
    good: Vec<(BlockId, Row)>,
    placement: Option<Placement>,
}

impl States {
    fn look(&mut self, tables: &impl Tables, meta: &Meta, id: &BlockId, found: bool) -> Result<()> {
        let placement = match &mut self.placement {
            Some(placement) => placement,
            none => none.insert(Placement::load(tables, meta)?),
        };
        let Some(row) = block_row(tables, id)? else { return Ok(()) };
        let (there, _) = placement.copies(tables, meta, id)?;
        match row.state {
            State::Live if there.is_empty() && !found && placement.nobody_is_away(tables, id)? => {
                self.bad.push((*id, row));
            }
            State::Bad(_) if found && there.len() == 1 => self.good.push((*id, row)),
            _ => {}
        }
        Ok(())
    }

    fn write(self, tables: &mut impl Tables, meta: &mut Meta) -> Result<()> {
        let mut rows = Rows::new();
        for (id, _) in &self.bad {
            if let Some(row) = rows.of(tables, id)?.as_mut().filter(|row| row.state == State::Live) {
                row.state = State::Bad(meta.epoch);
            }
        }
        for (id, _) in &self.good {
            if let Some(row) = rows.of(tables, id)? {
                // Edges that a rebuild could not read do not come back with the bytes.
                let unread = row.sum == Sum::ZERO
                    || row.kind.has_children() && tables.get(Table::Kids, id.as_bytes())?.is_none();
                row.state = if unread { row.state } else { State::Live };
            }
        }
        rows.write(tables, meta)
    }
}
