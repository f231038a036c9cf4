//! Commits: a new version of a name, by compare and swap. DESIGN §7.1.
//!
//! Promise: the history of a name is linear; a seq is given once, also after its version was forgotten and collected.
//! The same key commits once. A version names the vault's newest keyring.

use super::blocks::{Row, Rows, State};
use super::graves;
use super::interned::{Interned, number_of};
use super::sessions::living;
use super::snapshots::{Latest, Version, store_object};
use super::vaults::VaultRow;
use super::{Applied, Meta, Outcome, deny, refuse};
use crate::cluster::{Placement, Word, heal};
use crate::command::ObjectCover;
use crate::rights::quota;
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, Epoch, Kind, SnapshotId, Sum};
use cas_core::snapshot::{SnapshotObject, SnapshotRecord, What};
use cas_net::{Committed, ServiceError, SnapshotRow, SnapshotState};

/// Commits whose keys are remembered.
pub const KEPT_COMMITS: u64 = 4096;
/// Receipts of one object, at most: members as they are and as they will be, and those that stand in.
const MAX_COVERS: usize = 16;
const BY_KEY: u8 = 0;
const BY_NUMBER: u8 = 1;

pub(super) fn commit(
    tables: &mut impl Tables,
    meta: &mut Meta,
    session: u64,
    key: &[u8; 16],
    object: &[u8],
    covers: &[ObjectCover],
) -> Applied<Outcome> {
    let parsed = parse(object, What::Snapshot)?;
    let (record, snapshot) = (parsed.record(), parsed.snapshot_id());
    if let Some(done) = committed(tables, key)? {
        if done.snapshot == snapshot {
            return Ok(Outcome::Committed(done));
        }
        return deny("the key of this commit was used for another");
    }
    let session = living(tables, session)?;
    let domain = number_of(tables, Interned::Domain, record.domain.as_bytes())?;
    if record.vault != session.vault || domain != Some(session.domain) {
        return deny("the snapshot is of another vault or domain than the session");
    }
    let (vault, name) = (record.vault, record.name.as_str());
    // Who was removed from the keyring since could go on by naming an older one.
    if let Some(newest) = VaultRow::of(tables, &vault)?.filter(|newest| newest.version != record.keyring.version) {
        return refuse(ServiceError::Conflict { name: format!("keyring of {vault}"), latest: newest.version.into() });
    }
    let latest = Latest::of(tables, &vault, name)?;
    if latest.seq.checked_add(1) != Some(record.seq) || record.previous != latest.snapshot {
        return refuse(ServiceError::Conflict { name: name.to_owned(), latest: latest.seq });
    }

    let mut rows = Rows::new();
    match rows.of(tables, &record.root)? {
        Some(row) if row.state == State::Live && row.domain == session.domain => {}
        _ => return refuse(ServiceError::RootMissing(record.root)),
    }
    if let Some(full) = quota::check(tables, &session, object.len() as u64)? {
        return refuse(full);
    }
    let owner = Owner { domain: session.domain, device: session.device, since: session.start(), may_return: false };
    let object_id = hold_object(tables, meta, &mut rows, Kind::Snapshot, object, covers, owner)?;
    rows.hold(tables, &record.root)?;
    if let Some((removal, removed)) = latest.stub {
        release_stub(tables, meta, &mut rows, &removal, &removed)?;
    }
    rows.write(tables, meta)?;

    let row = new_row(record, snapshot, object_id);
    let version = Version { row, committed_ns: Some(meta.time_ns) };
    version.store(tables);
    store_object(tables, &version, object);
    Latest { seq: record.seq, snapshot, stub: None }.store(tables, &vault, name);
    tables.remove(Table::Sessions, &session.id.0.to_be_bytes());
    let done = Committed { snapshot, seq: record.seq };
    remember(tables, meta, key, done)?;
    Ok(Outcome::Committed(done))
}

/// The row of a version that lives.
pub(crate) fn new_row(record: &SnapshotRecord, snapshot: SnapshotId, object: BlockId) -> SnapshotRow {
    SnapshotRow {
        vault: record.vault,
        name: record.name.as_str().to_owned(),
        seq: record.seq,
        snapshot,
        object,
        root: record.root,
        time_ns: record.time_ns,
        state: SnapshotState::Live,
    }
}

/// Reads an object that the service has verified.
pub(super) fn parse(object: &[u8], what: What) -> Applied<SnapshotObject> {
    match SnapshotObject::parse_unverified(object) {
        Ok(parsed) if parsed.what() == what => Ok(parsed),
        Ok(_) => deny("a removal stands where a snapshot should, or the other way"),
        Err(e) => deny(e.to_string()),
    }
}

/// On whose account an object's row comes into being.
pub(super) struct Owner {
    /// The number of the domain.
    pub domain: u32,
    /// The number of the device.
    pub device: u32,
    /// The oldest grant that counts.
    pub since: Epoch,
    /// Whether there may have been a row of these very bytes before, which is gone. Not for a version: its seq is new.
    pub may_return: bool,
}

/// Counts one reference on an object that receipts say is stored: by as many nodes as an acknowledgement needs. Whose copies are
/// missing beside those is a heal row.
pub(super) fn hold_object(
    tables: &mut impl Tables,
    meta: &mut Meta,
    rows: &mut Rows,
    kind: Kind,
    object: &[u8],
    covers: &[ObjectCover],
    owner: Owner,
) -> Applied<BlockId> {
    let id = BlockId::of_object(kind, object);
    if covers.len() > MAX_COVERS {
        return deny(format!("{} receipts of one object", covers.len()));
    }
    let mut said = Vec::with_capacity(covers.len());
    for cover in covers {
        let Some(node) = number_of(tables, Interned::Node, &cover.node)? else {
            return deny("the receipt is of an unknown node");
        };
        if cover.sum() != Sum::of(object) || cover.len as usize != object.len() {
            return deny("the receipt is of other bytes than the object");
        }
        said.push(Word { node, grant: Epoch(cover.grant) });
    }
    let row = rows.of(tables, &id)?;
    let gone = if owner.may_return { meta.last_gone } else { Epoch::ZERO };
    let not_older = row.as_ref().map_or(gone, |row| super::changed_at(row.state));
    said.retain(|word| word.grant >= not_older.max(owner.since) && word.grant < meta.epoch);
    if said.is_empty() {
        return refuse(ServiceError::Stale(id));
    }
    let is_live = row.as_ref().is_some_and(|row| row.state == State::Live);
    let verdict = Placement::load(tables, meta)?.judge(tables, meta, &id, is_live, &said)?;
    if !verdict.enough {
        let detail = format!("only {} of them took {id}", said.len());
        return refuse(ServiceError::Unreachable { peer: "enough nodes".to_owned(), detail });
    }
    let (count, sum) = (row.as_ref().map_or(0, |row| row.count), Sum::of(object));
    let len = u32::try_from(object.len()).expect("as long as its receipt says");
    let Owner { domain, device, .. } = owner;
    let mut now = Row { kind, state: State::Live, sum, count, len, domain, device, zero: meta.epoch };
    now.count += 1;
    *row = Some(now);
    graves::close(tables, &id)?;
    if verdict.changed {
        heal::put(tables, meta, &id, verdict.heal.as_ref())?;
    }
    Ok(id)
}

/// Lets go of a removal (or return) object: at once if what it removed (or took back) is gone from the nodes, else when
/// that goes. Until then a rebuild would find the removed snapshot (the removal) and must find this too.
pub(super) fn release_stub(
    tables: &mut impl Tables,
    meta: &Meta,
    rows: &mut Rows,
    removal: &BlockId,
    removed: &BlockId,
) -> Applied<()> {
    if rows.of(tables, removed)?.is_none() && !graves::is_open(tables, removed)? {
        rows.release(tables, removal, meta.epoch)?;
        return Ok(());
    }
    let mut waiting = tables.get(Table::Stubs, removed.as_bytes())?.map_or_else(Vec::new, |v| v.into_owned());
    waiting.extend_from_slice(removal.as_bytes());
    tables.put(Table::Stubs, removed.as_bytes(), waiting);
    Ok(())
}

fn committed(tables: &impl Tables, key: &[u8; 16]) -> Applied<Option<Committed>> {
    let Some(bytes) = tables.get(Table::Commits, &[&[BY_KEY], &key[..]].concat())? else { return Ok(None) };
    let error = || super::damaged("commits", "has a value of another length");
    let (snapshot, seq) = bytes.split_first_chunk::<32>().ok_or_else(error)?;
    let seq = u64::from_be_bytes(seq.try_into().map_err(|_| error())?);
    Ok(Some(Committed { snapshot: SnapshotId(*snapshot), seq }))
}

fn remember(tables: &mut impl Tables, meta: &mut Meta, key: &[u8; 16], done: Committed) -> Applied<()> {
    let value = [&done.snapshot.0[..], &done.seq.to_be_bytes()].concat();
    tables.put(Table::Commits, &[&[BY_KEY], &key[..]].concat(), value);
    tables.put(Table::Commits, &by_number(meta.commits), key.to_vec());
    if let Some(old) = meta.commits.checked_sub(KEPT_COMMITS) {
        let forgotten = tables.get(Table::Commits, &by_number(old))?.map(|key| [&[BY_KEY], &key[..]].concat());
        if let Some(forgotten) = forgotten {
            tables.remove(Table::Commits, &forgotten);
        }
        tables.remove(Table::Commits, &by_number(old));
    }
    meta.commits += 1;
    Ok(())
}

fn by_number(number: u64) -> Vec<u8> {
    [&[BY_NUMBER], &number.to_be_bytes()[..]].concat()
}
