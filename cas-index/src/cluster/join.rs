//! How nodes come: tokens, joining, and coming back without what they held.

use super::nodes::{NodeRow, checked, known, new_row, node_of};
use super::partition::{Count, PARTITION_COUNT, Partition};
use crate::state::{Applied, Meta, Outcome, deny};
use crate::tables::{Table, Tables};
use cas_core::codec::put_bytes;
use cas_core::id::PublicKey;

const PREFIX: u8 = b't';
/// Tokens that wait to be used.
const MAX_TOKENS: usize = 1024;

fn key(hash: &[u8; 32]) -> Vec<u8> {
    [&[PREFIX], &hash[..]].concat()
}

/// Only its hash is kept; those that have expired go.
pub(super) fn add_token(
    tables: &mut impl Tables,
    meta: &Meta,
    hash: &[u8; 32],
    rack: &str,
    expires_ns: i64,
) -> Applied<Outcome> {
    checked(rack, &[])?;
    let (mut count, mut expired) = (0, Vec::new());
    tables.scan_prefix(Table::Cluster, &[PREFIX], &mut |key, value| {
        count += 1;
        if expires(value).is_none_or(|expires| expires <= meta.time_ns) {
            expired.push(key.to_vec());
        }
        Ok(true)
    })?;
    if count - expired.len() >= MAX_TOKENS {
        return deny(format!("{MAX_TOKENS} join tokens wait to be used"));
    }
    expired.iter().for_each(|key| tables.remove(Table::Cluster, key));
    let mut value = expires_ns.to_le_bytes().to_vec();
    put_bytes(&mut value, rack.as_bytes());
    tables.put(Table::Cluster, &key(hash), value);
    Ok(Outcome::Done)
}

fn expires(value: &[u8]) -> Option<i64> {
    value.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes))
}

/// A token is used up by the node that shows it first.
pub(super) fn join(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    token: Option<&[u8; 32]>,
    disk: &[u8; 16],
    capacity: u64,
    addresses: &[String],
) -> Applied<Outcome> {
    if let Some(row) = node_of(tables, node)?.filter(NodeRow::has_joined) {
        if row.disk != *disk {
            new_disk(tables, meta, node, disk)?;
        }
        return super::nodes::change(tables, meta, node, |row| {
            row.capacity = capacity;
            row.addresses = addresses.to_vec();
        });
    }
    let Some(hash) = token else { return deny(format!("node {} needs a join token", PublicKey(*node))) };
    let found = tables.get(Table::Cluster, &key(hash))?.map(|value| value.into_owned());
    let Some(value) = found.filter(|value| expires(value).is_some_and(|expires| expires > meta.time_ns)) else {
        return deny("the join token was used, has expired or never was");
    };
    let rack = String::from_utf8_lossy(&value[9..]).into_owned();
    come(tables, meta, node, &rack, disk, capacity, addresses)?;
    tables.remove(Table::Cluster, &key(hash));
    Ok(Outcome::Done)
}

/// A node comes that is new, or was found holding blocks: then it is where its operator says, and stays a member of what it holds.
fn come(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    rack: &str,
    disk: &[u8; 16],
    capacity: u64,
    addresses: &[String],
) -> Applied<()> {
    if node_of(tables, node)?.is_none() {
        return new_row(tables, meta, node, rack, disk, capacity, addresses);
    }
    checked(rack, addresses)?;
    new_disk(tables, meta, node, disk)?;
    super::nodes::change(tables, meta, node, |row| {
        rack.clone_into(&mut row.rack);
        (row.down, row.capacity, row.weight) = (false, capacity, capacity.max(1));
        row.addresses = addresses.to_vec();
    })
    .map(drop)
}

pub(super) fn adopt(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    rack: &str,
    disk: &[u8; 16],
    capacity: u64,
    addresses: &[String],
) -> Applied<Outcome> {
    if node_of(tables, node)?.is_some_and(|row| row.has_joined()) {
        return join(tables, meta, node, None, disk, capacity, addresses);
    }
    come(tables, meta, node, rack, disk, capacity, addresses)?;
    Ok(Outcome::Done)
}

/// Nothing it held counts; what it holds now is counted after its floor, partition by partition.
pub(super) fn new_disk(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    disk: &[u8; 16],
) -> Applied<Outcome> {
    let mut row = known(tables, node)?;
    if row.disk == *disk {
        return Ok(Outcome::Done);
    }
    (row.disk, row.since) = (*disk, meta.epoch);
    row.store(tables, node);
    meta.bump_layout();
    for number in 0..PARTITION_COUNT {
        let Some(mut partition) = Partition::of(tables, number)? else { continue };
        let Some(entry) = partition.entry_mut(row.number) else { continue };
        (entry.since, entry.count) = (meta.epoch, Count::Floorless);
        partition.store(tables, number);
    }
    Ok(Outcome::Done)
}
