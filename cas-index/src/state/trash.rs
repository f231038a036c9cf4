//! Forgetting: a version goes to the trash, where it still counts; emptied, its references go. DESIGN §7.1.
//! What a retention lock keeps does neither.
//!
//! A removal object is kept as long as a rebuild needs it: while the version is in the trash, then until the
//! version's own object is gone from the nodes, and for the newest version of a name until a newer one exists. Likewise
//! what takes a removal back is kept until the removal is gone: while a node has that, a rebuild finds both.

use super::blocks::Rows;
use super::commit::{Owner, hold_object, parse, release_stub};
use super::interned::{Interned, number_of};
use super::snapshots::{Latest, Version, find, split_trash_key, trash_key};
use super::{Applied, Meta, Outcome, damaged, deny, refuse};
use crate::command::ObjectCover;
use crate::rights::lock;
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, SnapshotId};
use cas_core::snapshot::What;
use cas_net::{ServiceError, SnapshotState};

pub(super) fn forget(
    tables: &mut impl Tables,
    meta: &mut Meta,
    removal: &[u8],
    covers: &[ObjectCover],
) -> Applied<Outcome> {
    let parsed = parse(removal, What::Removal)?;
    let record = parsed.record();
    let mut version = existing(tables, &record.chain_id())?;
    let row = &version.row;
    if (record.vault, record.name.as_str(), record.seq) != (row.vault, &row.name[..], row.seq) {
        return deny("the removal does not fit the version it removes");
    }
    let id = BlockId::of_object(Kind::Snapshot, removal);
    if version.removal() == Some(id) {
        return Ok(Outcome::Done);
    }
    if version.removal().is_some() {
        return refuse(not_found("live snapshot", &row.snapshot));
    }
    if lock::keeps(tables, &version, meta.time_ns)? {
        return refuse(ServiceError::Retained(Box::new(version.row)));
    }
    if tables.get(Table::Stubs, id.as_bytes())?.is_some() {
        return deny(format!("the removal {id} was taken back: make another"));
    }
    let mut rows = Rows::new();
    let removal = hold(tables, meta, &mut rows, "removal", removal, &record.domain, covers)?;
    version.row.state = SnapshotState::Trash { since_ns: meta.time_ns, by: record.device, removal };
    rows.write(tables, meta)?;
    version.store(tables);
    tables.put(Table::Trash, &trash_key(meta.time_ns, &version.row.snapshot), Vec::new());
    Ok(Outcome::Done)
}

pub(super) fn undelete(tables: &mut impl Tables, meta: &mut Meta, snapshot: &[u8; 32]) -> Applied<Outcome> {
    let mut version = existing(tables, &SnapshotId(*snapshot))?;
    let SnapshotState::Trash { since_ns, removal, .. } = version.row.state else {
        return Ok(Outcome::Done);
    };
    let mut rows = Rows::new();
    rows.release(tables, &removal, meta.epoch)?;
    rows.write(tables, meta)?;
    let_live(tables, &mut version, since_ns);
    Ok(Outcome::Done)
}

pub(super) fn bring_back(
    tables: &mut impl Tables,
    meta: &mut Meta,
    returning: &[u8],
    covers: &[ObjectCover],
) -> Applied<Outcome> {
    let parsed = parse(returning, What::Return)?;
    let record = parsed.record();
    let mut version = existing(tables, &record.chain_id())?;
    let row = &version.row;
    if (record.vault, record.name.as_str(), record.seq) != (row.vault, &row.name[..], row.seq) {
        return deny("the return does not fit the version that it brings back");
    }
    let SnapshotState::Trash { since_ns, removal, .. } = row.state else {
        return Ok(Outcome::Done);
    };
    if record.undoes != Some(removal) {
        return deny(format!("the version was removed by {removal}, which this does not take back"));
    }
    let mut rows = Rows::new();
    let returning = hold(tables, meta, &mut rows, "return", returning, &record.domain, covers)?;
    rows.release(tables, &removal, meta.epoch)?;
    release_stub(tables, meta, &mut rows, &returning, &removal)?;
    rows.write(tables, meta)?;
    let_live(tables, &mut version, since_ns);
    Ok(Outcome::Done)
}

/// Holds a removal or return, which are on nobody's account and may come back after they were collected.
fn hold(
    tables: &mut impl Tables,
    meta: &mut Meta,
    rows: &mut Rows,
    what: &str,
    object: &[u8],
    domain: &DomainId,
    covers: &[ObjectCover],
) -> Applied<BlockId> {
    let Some(domain) = number_of(tables, Interned::Domain, domain.as_bytes())? else {
        return deny(format!("the {what} is of an unknown domain"));
    };
    let owner = Owner { domain, device: 0, since: Epoch::ZERO, may_return: true };
    hold_object(tables, meta, rows, Kind::Snapshot, object, covers, owner)
}

fn let_live(tables: &mut impl Tables, version: &mut Version, since_ns: i64) {
    tables.remove(Table::Trash, &trash_key(since_ns, &version.row.snapshot));
    version.row.state = SnapshotState::Live;
    version.store(tables);
}

pub(super) fn empty(tables: &mut impl Tables, meta: &mut Meta, before_ns: i64, limit: u32) -> Applied<Outcome> {
    let (mut due, mut more) = (Vec::new(), false);
    tables.scan(Table::Trash, &[], &mut |key, _| {
        let (since_ns, snapshot) = split_trash_key(key)?;
        if since_ns >= before_ns {
            return Ok(false);
        }
        let (version, _) =
            find(tables, &snapshot)?.ok_or_else(|| damaged(snapshot, "is in the trash and has no row"))?;
        if lock::keeps(tables, &version, meta.time_ns)? {
            return Ok(true);
        }
        more = due.len() >= limit as usize;
        if !more {
            due.push((key.to_vec(), version));
        }
        Ok(!more)
    })?;
    let mut rows = Rows::new();
    let mut gone = Vec::with_capacity(due.len());
    for (key, version) in due {
        let snapshot = version.row.snapshot;
        let removal = version.removal().ok_or_else(|| damaged(snapshot, "is in the trash without a removal"))?;
        rows.release(tables, &version.row.root, meta.epoch)?;
        rows.release(tables, &version.row.object, meta.epoch)?;
        let (vault, name) = (version.row.vault, version.row.name.clone());
        let latest = Latest::of(tables, &vault, &name)?;
        if latest.seq == version.row.seq {
            Latest { stub: Some((removal, version.row.object)), ..latest }.store(tables, &vault, &name);
        } else {
            release_stub(tables, meta, &mut rows, &removal, &version.row.object)?;
        }
        tables.remove(Table::Trash, &key);
        tables.remove(Table::Snapshots, &version.key());
        tables.remove(Table::Objects, snapshot.as_bytes());
        gone.push(version.row);
    }
    rows.write(tables, meta)?;
    Ok(Outcome::Emptied(gone, more))
}

fn existing(tables: &impl Tables, snapshot: &SnapshotId) -> Applied<Version> {
    match find(tables, snapshot)? {
        Some((version, _)) => Ok(version),
        None => refuse(not_found("snapshot", snapshot)),
    }
}

fn not_found(what: &'static str, snapshot: &SnapshotId) -> ServiceError {
    ServiceError::NotFound { what, name: snapshot.to_string() }
}
