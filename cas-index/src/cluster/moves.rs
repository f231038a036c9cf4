//! The one way in which anything moves: Stable → Moving{old, new} → Stable, one member of a partition at a time. DESIGN §8.

use super::heal::{HealRow, any_of_partition, first_id, of_partition, put};
use super::nodes::{NodeRow, Want, nodes};
use super::partition::{Count, Entry, PARTITION_COUNT, Partition, pool, store_pool};
use super::placement::Placement;
use crate::state::interned::{self, Interned};
use crate::state::{Applied, Meta, Outcome, deny, refuse};
use crate::tables::{Table, Tables};
use cas_core::id::{Epoch, PublicKey};
use cas_core::layout::{self, Pool};
use cas_net::{Result, ServiceError};
use std::collections::BTreeMap;

/// Sets the table that is wanted. Steps that are under way go on if they still lead there, and are given up otherwise: the
/// old members have everything until the flip.
pub(super) fn apply_layout(
    tables: &mut impl Tables,
    meta: &mut Meta,
    based_on: u64,
    pool_byte: u8,
    table: &[u8],
) -> Applied<Outcome> {
    if based_on != meta.layout {
        return refuse(ServiceError::Conflict { name: "layout".into(), latest: meta.layout });
    }
    let table = match layout::Table::decode(table) {
        Ok(table) if Pool::from_byte(pool_byte) == Some(table.pool()) => table,
        Ok(_) => return deny("a layout is of another pool than its table"),
        Err(e) => return deny(e.to_string()),
    };
    let joined: BTreeMap<PublicKey, u32> = nodes(tables)?.into_iter().map(|(key, row)| (key, row.number)).collect();
    let numbers: Option<Vec<u32>> = table.nodes().iter().map(|key| joined.get(key).copied()).collect();
    let Some(numbers) = numbers else { return deny("a layout names a node that has not joined") };
    for at in 0..PARTITION_COUNT {
        let Some(mut partition) = Partition::of(tables, at)? else { return deny("no node has joined") };
        partition.target = table.numbers(at).iter().map(|place| numbers[usize::from(*place)]).collect();
        partition.target.sort_unstable();
        let given_up = match holds_nothing(tables, at)? {
            true => settle(&mut partition, meta.epoch),
            false => redirect(&mut partition),
        };
        partition.store(tables, at);
        if let Some(node) = given_up {
            forget_member(tables, meta, at, node)?;
        }
    }
    for (key, row) in nodes(tables)? {
        if row.want == Want::New && table.nodes().binary_search(&key).is_ok() {
            NodeRow { want: Want::Member, ..row }.store(tables, &key.0);
        }
    }
    store_pool(tables, table.pool());
    meta.bump_layout();
    Ok(Outcome::Done)
}

/// Whether there is no row in a partition: then nobody lacks anything, and whoever is wanted is a member at once.
fn holds_nothing(tables: &impl Tables, at: u16) -> Result<bool> {
    let mut is_empty = true;
    tables.scan(Table::Blocks, &first_id(at), &mut |key, _| {
        is_empty = key[..2] > (at << 4 | 0xf).to_be_bytes()[..];
        Ok(false)
    })?;
    Ok(is_empty)
}

/// Makes those members that are wanted. Receipts that are older than a member's `since` do not count for it.
fn settle(partition: &mut Partition, since: Epoch) -> Option<u32> {
    let stays = |node: &u32| partition.entry(*node).map_or(since, |entry| entry.since);
    let member =
        |node: &u32| Entry { node: *node, since: stays(node), joins: false, leaves: false, count: Count::Counted };
    partition.entries = partition.target.iter().map(member).collect();
    None
}

/// The first node that joins is the only member of every partition. If it is the only one that was ever known, it has
/// everything; else it says what it has.
pub(super) fn first_layout(tables: &mut impl Tables, node: u32, since: Epoch) -> Result<()> {
    if pool(tables)?.is_some() {
        return Ok(());
    }
    let is_alone = interned::all(tables, Interned::Node)?.len() == 1;
    let count = if is_alone { Count::Counted } else { Count::Floorless };
    let entries = vec![Entry { node, since, joins: false, leaves: false, count }];
    let partition = Partition { entries, target: vec![node] };
    (0..PARTITION_COUNT).for_each(|at| partition.store(tables, at));
    store_pool(tables, Pool::R1);
    Ok(())
}

/// Makes a step that is under way lead to the new target, or gives it up: then answers who was on its way in.
fn redirect(partition: &mut Partition) -> Option<u32> {
    let target = partition.target.clone();
    let is_wanted = |node: u32| target.contains(&node);
    let given_up = partition.joining().map(|entry| entry.node).filter(|node| !is_wanted(*node));
    partition.entries.retain(|entry| Some(entry.node) != given_up);
    partition.entries.iter_mut().for_each(|entry| entry.leaves = false);
    let old = partition.entries.iter().filter(|entry| !entry.joins).count();
    let makes_room = partition.joining().is_some() && old >= target.len();
    let mut unwanted = partition.entries.iter_mut().filter(|entry| !entry.joins && !is_wanted(entry.node));
    if let Some(out) = unwanted.next().filter(|_| makes_room) {
        out.leaves = true;
    }
    given_up
}

/// Takes the next step of each partition: one member comes, one goes; while there are fewer than wanted, none goes.
pub(super) fn begin(tables: &mut impl Tables, meta: &mut Meta, partitions: &[u16]) -> Applied<Outcome> {
    let placement = Placement::load(tables, meta)?;
    let mut begun = false;
    for at in partitions {
        let Some(mut partition) = Partition::of(tables, *at)? else { continue };
        if partition.is_moving() {
            continue;
        }
        let (mut out, come) = partition.differs();
        // Those first who have nothing to give.
        out.sort_by_key(|node| placement.node_counts(*node));
        let grows = partition.entries.len() < partition.target.len();
        let out = out.first().copied().filter(|_| !grows);
        if out.is_none() && come.is_empty() {
            continue;
        }
        if let Some(entry) = out.and_then(|node| partition.entry_mut(node)) {
            entry.leaves = true;
        }
        if let Some(node) = come.first().copied() {
            let (since, count) = (meta.epoch, Count::Floorless);
            partition.entries.push(Entry { node, since, joins: true, leaves: false, count });
        }
        partition.store(tables, *at);
        begun = true;
    }
    if begun {
        meta.bump_layout();
    }
    Ok(Outcome::Done)
}

/// Ends the steps that can end: nobody loses a copy that is not elsewhere.
pub(super) fn flip(tables: &mut impl Tables, meta: &mut Meta, partitions: &[u16]) -> Applied<Outcome> {
    let mut placement = Placement::load(tables, meta)?;
    let mut flipped = false;
    for at in partitions {
        let Some(mut partition) = Partition::of(tables, *at)? else { continue };
        if !partition.is_moving() || !can_flip(tables, meta, &mut placement, *at, &partition)? {
            continue;
        }
        let gone = partition.leaving().map(|entry| entry.node);
        partition.entries.retain(|entry| !entry.leaves);
        partition.entries.iter_mut().for_each(|entry| entry.joins = false);
        partition.store(tables, *at);
        if let Some(node) = gone {
            forget_member(tables, meta, *at, node)?;
        }
        flipped = true;
    }
    if flipped {
        meta.bump_layout();
    }
    Ok(Outcome::Done)
}

/// Whether the new members have what the old ones have.
pub fn can_flip(
    tables: &impl Tables,
    meta: &Meta,
    placement: &mut Placement,
    at: u16,
    partition: &Partition,
) -> Result<bool> {
    if partition.joining().is_some_and(|entry| entry.count != Count::Counted) {
        return Ok(false);
    }
    let Some(out) = partition.leaving() else {
        // One more copy: it must be everywhere that there is anything to copy.
        let Some(joining) = partition.joining() else { return Ok(true) };
        let waits = any_of_partition(tables, meta, at, |_, heal| {
            let lacks = heal.missing_since(joining.node).is_some();
            Ok(lacks && !placement.copies_with(tables, at, &heal)?.0.is_empty())
        })?;
        return Ok(!waits);
    };
    if placement.is_lost(out.node) {
        return Ok(true);
    }
    let is_away = !placement.node_counts(out.node);
    if !is_away && out.count != Count::Counted {
        return Ok(false); // Nobody knows yet what it has.
    }
    if is_away {
        // What only it has waits for it; everything else is done without it.
        let waits = any_of_partition(tables, meta, at, |_, heal| {
            let has = heal.missing_since(out.node).is_none();
            Ok(has && placement.copies_with(tables, at, &heal)?.0.is_empty())
        })?;
        return Ok(!waits);
    }
    let minimum = placement.minimum(partition.entries.iter().filter(|entry| entry.is_new()).count());
    let loses = any_of_partition(tables, meta, at, |_, heal| {
        if heal.missing_since(out.node).is_some() {
            return Ok(false);
        }
        Ok(match partition.joining() {
            Some(joining) => heal.missing_since(joining.node).is_some(),
            None => {
                let there = placement.copies_with(tables, at, &heal)?.0;
                there.iter().filter(|node| **node != out.node).count() < minimum
            }
        })
    })?;
    if loses {
        return Ok(false);
    }
    // Nobody to take its place: the others must be known to have it.
    let others = partition.entries.iter().filter(|entry| entry.is_new());
    Ok(partition.joining().is_some() || others.filter(|entry| placement.counts(entry)).count() >= minimum)
}

/// A node that is no member any more is not missed.
fn forget_member(tables: &mut impl Tables, meta: &mut Meta, at: u16, node: u32) -> Result<()> {
    for (id, heal) in of_partition(tables, meta, at)? {
        if heal.missing_since(node).is_some() {
            let missing = heal.missing.iter().copied().filter(|(number, _)| *number != node).collect();
            put(tables, meta, &id, Some(&HealRow { missing, ..heal }))?;
        }
    }
    Ok(())
}
