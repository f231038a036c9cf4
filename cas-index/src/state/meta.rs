//! The one row of the table meta: where the index stands, and counters. FORMAT §9.

use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, put_varint};
use cas_core::id::Epoch;
use cas_net::{Result, ServiceError};

const KEY: &[u8] = b"meta";
const FORMAT: u64 = 1;

/// Where the index stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// The last command applied.
    pub epoch: Epoch,
    /// Its time, nanoseconds since 1970.
    pub time_ns: i64,
    /// Rows that live and are not marked bad.
    pub live: u64,
    /// Rows marked bad.
    pub bad: u64,
    /// Rows being deleted.
    pub condemned: u64,
    /// Live or bad rows that nobody references.
    pub unreferenced: u64,
    /// Stored bytes of all rows.
    pub bytes: u64,
    /// The newest condemnation of a row that is gone. A receipt under an older grant proves nothing for a block
    /// without a row: the deletes of that time may have reached it.
    pub last_gone: Epoch,
    /// Whether nothing may be condemned, because the rebuild could not read everything.
    pub held: bool,
    /// Commits so far.
    pub commits: u64,
    /// The version of the layout: the epoch of its last change. 0 while no node has joined a cluster.
    pub layout: u64,
    /// Rows with fewer copies than they should have.
    pub short: u64,
}

impl Meta {
    /// Reads it; a new index has an empty one.
    pub fn load(tables: &impl Tables) -> Result<Self> {
        match tables.get(Table::Meta, KEY)? {
            None => Ok(Self::default()),
            Some(bytes) => decode(&bytes)?.map_err(|e| super::damaged("meta", e.to_string())),
        }
    }

    /// The layout changes with this command.
    pub fn bump_layout(&mut self) {
        self.layout = self.epoch.0;
    }

    /// Writes it.
    pub fn store(&self, tables: &mut impl Tables) {
        let mut out = Vec::with_capacity(64);
        put_varint(&mut out, FORMAT);
        put_varint(&mut out, self.epoch.0);
        out.extend_from_slice(&self.time_ns.to_le_bytes());
        for value in [self.live, self.bad, self.condemned, self.unreferenced, self.bytes, self.last_gone.0] {
            put_varint(&mut out, value);
        }
        out.push(self.held.into());
        put_varint(&mut out, self.commits);
        if self.layout > 0 {
            put_varint(&mut out, self.layout);
            put_varint(&mut out, self.short);
        }
        tables.put(Table::Meta, KEY, out);
    }
}

/// An outer error is one of version.
fn decode(bytes: &[u8]) -> Result<std::result::Result<Meta, FormatError>> {
    let mut r = Reader::new("meta row", bytes);
    match r.varint() {
        Ok(FORMAT) => Ok(fields(r)),
        Ok(found) => {
            Err(ServiceError::Version { what: "tables.redb".into(), found: found as u32, known: FORMAT as u32 })
        }
        Err(e) => Ok(Err(e)),
    }
}

fn fields(mut r: Reader<'_>) -> std::result::Result<Meta, FormatError> {
    let mut meta = Meta {
        epoch: Epoch(r.varint()?),
        time_ns: r.i64()?,
        live: r.varint()?,
        bad: r.varint()?,
        condemned: r.varint()?,
        unreferenced: r.varint()?,
        bytes: r.varint()?,
        last_gone: Epoch(r.varint()?),
        held: r.u8()? != 0,
        commits: r.varint()?,
        ..Meta::default()
    };
    if !r.is_empty() {
        (meta.layout, meta.short) = (r.varint()?, r.varint()?);
    }
    r.finish()?;
    Ok(meta)
}
