//! The collector's steps: condemn, take answers to deletes, marks. DESIGN §7.1.
//!
//! Promise: a row is condemned only when nobody references it and that began before every live session; it goes only
//! when every node answered the delete of this very condemnation. A block that comes back in between stays. Objects of the
//! history of names are deleted until no node can bring them back ([`graves`]).

use super::blocks::{Rows, State, kids, split_epoch_key, split_ids};
use super::graves;
use super::interned::{self, Interned};
use super::sessions::first_session;
use super::{Applied, Condemnation, Meta, Outcome, damaged, deny};
use crate::cluster::{Placement, heal};
use crate::command::{MAX_EDGES, Packed};
use crate::tables::{Table, Tables};
use cas_core::codec::{Reader, put_varint};
use cas_core::id::{BlockId, Epoch, Kind, Sum};
use cas_net::{Delete, Result};

pub(super) fn condemn(tables: &mut impl Tables, meta: &mut Meta, limit: usize) -> Applied<Outcome> {
    let mut out = Condemnation { deletes: unanswered(tables, limit)?, ..Condemnation::default() };
    let bound = first_session(tables)?.map_or(Epoch(u64::MAX), |session| session.start());
    let due = if meta.held { Vec::new() } else { due(tables, bound, limit - out.deletes.len())? };
    let mut rows = Rows::new();
    for id in due {
        let row = rows.of(tables, &id)?.as_mut().filter(|row| row.is_unreferenced());
        let row = row.ok_or_else(|| damaged(id, "is in the queue and referenced, or has no row"))?;
        row.state = State::Condemned(meta.epoch);
        heal::put(tables, meta, &id, None)?;
        if row.kind.has_children() {
            for child in kids(tables, &id)?.unwrap_or_default() {
                rows.release(tables, &child, meta.epoch)?;
            }
            tables.remove(Table::Kids, id.as_bytes());
        }
        out.deletes.push(Delete { id, epoch: meta.epoch });
    }
    for delete in &out.deletes {
        out.bytes += rows.of(tables, &delete.id)?.map_or(0, |row| u64::from(row.len));
    }
    rows.write(tables, meta)?;
    if let Some(zero) = first_in_queue(tables)? {
        out.held = meta.held;
        out.held_by = first_session(tables)?.filter(|_| zero >= bound).map(|session| session.info());
        out.more = !meta.held && zero < bound;
    }
    Ok(Outcome::Condemned(out))
}

/// Deletes that were given before and not answered by all nodes, oldest first.
fn unanswered(tables: &impl Tables, limit: usize) -> Result<Vec<Delete>> {
    let mut out = Vec::new();
    tables.scan(Table::Condemned, &[], &mut |key, _| {
        if out.len() >= limit {
            return Ok(false);
        }
        let (epoch, id) = split_epoch_key(key)?;
        out.push(Delete { id, epoch });
        Ok(true)
    })?;
    Ok(out)
}

/// What may be condemned now, oldest first.
fn due(tables: &impl Tables, bound: Epoch, limit: usize) -> Result<Vec<BlockId>> {
    let (mut out, mut edges) = (Vec::new(), 0);
    tables.scan(Table::Zero, &[], &mut |key, _| {
        let (zero, id) = split_epoch_key(key)?;
        if zero >= bound || out.len() >= limit || edges >= MAX_EDGES {
            return Ok(false);
        }
        edges += tables.get(Table::Kids, id.as_bytes())?.map_or(0, |kids| kids.len() / BlockId::LEN);
        out.push(id);
        Ok(true)
    })?;
    Ok(out)
}

fn first_in_queue(tables: &impl Tables) -> Result<Option<Epoch>> {
    let mut first = None;
    tables.scan(Table::Zero, &[], &mut |key, _| {
        first = Some(split_epoch_key(key)?.0);
        Ok(false)
    })?;
    Ok(first)
}

/// Both answers count: what a node kept was put again under a newer grant; its receipt brings the row back.
pub(super) fn deleted(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    ids: &Packed,
    epochs: &[u64],
    gone: &[bool],
) -> Applied<Outcome> {
    let mut placement = Placement::load(tables, meta)?;
    let Some(node) = interned::number_of(tables, Interned::Node, node)? else { return deny("the node is unknown") };
    if ids.count() != epochs.len() || gone.len() != epochs.len() {
        return deny("answers to deletes are malformed");
    }
    let mut rows = Rows::new();
    for ((id, epoch), gone) in ids.ids().zip(epochs).zip(gone) {
        let epoch = Epoch(*epoch);
        if *gone && graves::answered(tables, &id, node, &placement.keepers())? {
            release_stubs(tables, meta, &mut rows, &id)?;
        }
        let row = rows.of(tables, &id)?;
        if row.as_ref().is_none_or(|row| row.state != State::Condemned(epoch)) {
            continue;
        }
        let key = super::blocks::epoch_key(epoch, &id);
        let mut answered = answered(&tables.get(Table::Condemned, &key)?.unwrap_or_default())?;
        if !answered.contains(&node) {
            answered.push(node);
        }
        if placement.deleters(tables, id.partition())?.iter().any(|node| !answered.contains(node)) {
            let mut value = Vec::new();
            answered.iter().for_each(|node| put_varint(&mut value, (*node).into()));
            tables.put(Table::Condemned, &key, value);
            continue;
        }
        let is_history = row.take().is_some_and(|row| row.kind == Kind::Snapshot);
        meta.last_gone = meta.last_gone.max(epoch);
        if is_history && !placement.is_open() {
            graves::open(tables, &id);
        } else {
            release_stubs(tables, meta, &mut rows, &id)?;
        }
    }
    rows.write(tables, meta)?;
    Ok(Outcome::Done)
}

/// What told a rebuild that this object counts no more is not needed: nobody has it.
fn release_stubs(tables: &mut impl Tables, meta: &Meta, rows: &mut Rows, id: &BlockId) -> Applied<()> {
    let stubs = tables.get(Table::Stubs, id.as_bytes())?.map(|bytes| split_ids(&bytes));
    for stub in stubs.into_iter().flatten() {
        rows.release(tables, &stub, meta.epoch)?;
    }
    tables.remove(Table::Stubs, id.as_bytes());
    Ok(())
}

fn answered(bytes: &[u8]) -> Result<Vec<u32>> {
    let mut r = Reader::new("condemned row", bytes);
    let mut out = Vec::new();
    while !r.is_empty() {
        out.push(r.varint().map_err(|e| damaged("condemned", e.to_string()))? as u32);
    }
    Ok(out)
}

pub(super) fn mark(tables: &mut impl Tables, meta: &mut Meta, ids: &Packed, bad: bool) -> Applied<Outcome> {
    let mut rows = Rows::new();
    for id in ids.ids() {
        let Some(row) = rows.of(tables, &id)? else { continue };
        // What a rebuild could not read is not good because somebody says so: only a push brings its bytes and edges.
        let unread =
            row.sum == Sum::ZERO || row.kind.has_children() && tables.get(Table::Kids, id.as_bytes())?.is_none();
        row.state = match (row.state, bad) {
            (state, false) if unread => state,
            (State::Live, true) => State::Bad(meta.epoch),
            (State::Bad(_), false) => State::Live,
            (state, _) => state,
        };
    }
    rows.write(tables, meta)?;
    Ok(Outcome::Done)
}
