//! Names and their versions: rows of the tables names, snapshots and objects. FORMAT §9.

use super::damaged;
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, RecordWriter, critical, optional, put_bytes32, put_varint};
use cas_core::id::{BlockId, PublicKey, SnapshotId, VaultId};
use cas_net::{Result, SnapshotRow, SnapshotState};

const TAG_SNAPSHOT: u64 = critical(1);
const TAG_OBJECT: u64 = critical(2);
const TAG_ROOT: u64 = critical(3);
const TAG_TIME: u64 = critical(4);
const TAG_TRASH: u64 = critical(5);
const TAG_COMMITTED: u64 = optional(6);

/// The newest version of a name, also if it is gone: its seq is never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latest {
    /// Its seq.
    pub seq: u64,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// If it is gone: the removal object that tells a rebuild of it, and the object that was removed.
    pub stub: Option<(BlockId, BlockId)>,
}

impl Latest {
    /// The newest version of a name; seq 0 if there was none.
    pub fn of(tables: &impl Tables, vault: &VaultId, name: &str) -> Result<Self> {
        let Some(bytes) = tables.get(Table::Names, &name_key(vault, name))? else { return Ok(Self::default()) };
        Self::decode(&bytes).map_err(|e| damaged(format!("name {name}"), e.to_string()))
    }

    /// Writes it.
    pub fn store(&self, tables: &mut impl Tables, vault: &VaultId, name: &str) {
        let mut out = Vec::with_capacity(100);
        put_varint(&mut out, self.seq);
        out.extend_from_slice(self.snapshot.as_bytes());
        if let Some((removal, object)) = &self.stub {
            out.extend_from_slice(removal.as_bytes());
            out.extend_from_slice(object.as_bytes());
        }
        tables.put(Table::Names, &name_key(vault, name), out);
    }

    /// Reads a row of the table names.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("name row", bytes);
        let (seq, snapshot) = (r.varint()?, SnapshotId(r.array()?));
        let stub = if r.is_empty() { None } else { Some((BlockId(r.array()?), BlockId(r.array()?))) };
        r.finish()?;
        Ok(Self { seq, snapshot, stub })
    }
}

fn name_key(vault: &VaultId, name: &str) -> Vec<u8> {
    [vault.as_bytes(), name.as_bytes()].concat()
}

/// A version, and what the border does not show of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What the border shows.
    pub row: SnapshotRow,
    /// Index time of its commit; not known after a rebuild. The record's own time is the client's word.
    pub committed_ns: Option<i64>,
}

impl Version {
    /// Its key in the table snapshots.
    pub fn key(&self) -> Vec<u8> {
        [&name_key(&self.row.vault, &self.row.name)[..], &[0], &self.row.seq.to_be_bytes()].concat()
    }

    /// In the trash: the removal object.
    pub fn removal(&self) -> Option<BlockId> {
        match self.row.state {
            SnapshotState::Trash { removal, .. } => Some(removal),
            SnapshotState::Live => None,
        }
    }

    /// Writes its row.
    pub fn store(&self, tables: &mut impl Tables) {
        let mut out = RecordWriter::new();
        out.field(TAG_SNAPSHOT, self.row.snapshot.0).field(TAG_OBJECT, self.row.object.0);
        out.field(TAG_ROOT, self.row.root.0).field(TAG_TIME, self.row.time_ns.to_le_bytes());
        if let SnapshotState::Trash { since_ns, by, removal } = &self.row.state {
            out.field(TAG_TRASH, [&since_ns.to_le_bytes()[..], by.as_bytes(), removal.as_bytes()].concat());
        }
        if let Some(committed_ns) = self.committed_ns {
            out.field(TAG_COMMITTED, committed_ns.to_le_bytes());
        }
        tables.put(Table::Snapshots, &self.key(), out.finish());
    }

    /// Reads a row of the table snapshots.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let Some((vault, name, seq)) = split_key(key) else { return Err(damaged("snapshots", "has a malformed key")) };
        let read = fields(value).map_err(|e| damaged(format!("{name} version {seq}"), e.to_string()))?;
        let state = match read.trash {
            None => SnapshotState::Live,
            Some((since_ns, by, removal)) => SnapshotState::Trash { since_ns, by, removal },
        };
        let Fields { snapshot, object, root, time_ns, committed_ns, .. } = read;
        let row = SnapshotRow { vault, name, seq, snapshot, object, root, time_ns, state };
        Ok(Self { row, committed_ns })
    }
}

#[derive(Default)]
struct Fields {
    snapshot: SnapshotId,
    object: BlockId,
    root: BlockId,
    time_ns: i64,
    trash: Option<(i64, PublicKey, BlockId)>,
    committed_ns: Option<i64>,
}

fn fields(value: &[u8]) -> std::result::Result<Fields, FormatError> {
    let mut out = Fields::default();
    Reader::new("snapshot row", value).record(|tag, r| {
        match tag {
            TAG_SNAPSHOT => out.snapshot = SnapshotId(r.array()?),
            TAG_OBJECT => out.object = BlockId(r.array()?),
            TAG_ROOT => out.root = BlockId(r.array()?),
            TAG_TIME => out.time_ns = r.i64()?,
            TAG_TRASH => out.trash = Some((r.i64()?, PublicKey(r.array()?), BlockId(r.array()?))),
            TAG_COMMITTED => out.committed_ns = Some(r.i64()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(out)
}

fn split_key(key: &[u8]) -> Option<(VaultId, String, u64)> {
    let (vault, rest) = key.split_first_chunk::<16>()?;
    let (rest, seq) = rest.split_last_chunk::<8>()?;
    let (nul, name) = rest.split_last()?;
    let name = std::str::from_utf8(name).ok().filter(|_| *nul == 0)?;
    Some((VaultId(*vault), name.to_owned(), u64::from_be_bytes(*seq)))
}

/// Versions of one vault, of one name or all, in order of name and seq.
pub fn versions(tables: &impl Tables, vault: &VaultId, name: Option<&str>) -> Result<Vec<Version>> {
    let prefix = match name {
        None => vault.as_bytes().to_vec(),
        Some(name) => [&name_key(vault, name)[..], &[0]].concat(),
    };
    let mut out = Vec::new();
    tables.scan_prefix(Table::Snapshots, &prefix, &mut |key, value| {
        out.push(Version::decode(key, value)?);
        Ok(true)
    })?;
    Ok(out)
}

/// All versions of all vaults, one by one.
pub fn each_version(tables: &impl Tables, mut visit: impl FnMut(Version) -> Result<()>) -> Result<()> {
    tables.scan(Table::Snapshots, &[], &mut |key, value| {
        visit(Version::decode(key, value)?)?;
        Ok(true)
    })
}

/// Writes the object of a version, to be found by its snapshot id.
pub fn store_object(tables: &mut impl Tables, version: &Version, object: &[u8]) {
    let mut out = Vec::with_capacity(object.len() + 64);
    put_bytes32(&mut out, &version.key());
    out.extend_from_slice(object);
    tables.put(Table::Objects, version.row.snapshot.as_bytes(), out);
}

/// The version and the object of a snapshot.
pub fn find(tables: &impl Tables, snapshot: &SnapshotId) -> Result<Option<(Version, Vec<u8>)>> {
    let Some(bytes) = tables.get(Table::Objects, snapshot.as_bytes())? else { return Ok(None) };
    let mut r = Reader::new("object row", &bytes);
    let key = r.bytes32(bytes.len()).map_err(|e| damaged(snapshot, e.to_string()))?;
    let Some(row) = tables.get(Table::Snapshots, key)? else {
        return Err(damaged(snapshot, "has an object and no row"));
    };
    Ok(Some((Version::decode(key, &row)?, r.rest().to_vec())))
}

/// Key in the table trash: in order of time.
pub fn trash_key(since_ns: i64, snapshot: &SnapshotId) -> Vec<u8> {
    [&(since_ns ^ i64::MIN).to_be_bytes()[..], snapshot.as_bytes()].concat()
}

/// Reads such a key.
pub fn split_trash_key(key: &[u8]) -> Result<(i64, SnapshotId)> {
    let error = || damaged("trash", "has a key of another length");
    let (since, snapshot) = key.split_first_chunk::<8>().ok_or_else(error)?;
    Ok((i64::from_be_bytes(*since) ^ i64::MIN, SnapshotId(snapshot.try_into().map_err(|_| error())?)))
}
