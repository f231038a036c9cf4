//! The rows of nodes. FORMAT §12.

use crate::state::interned::{self, Interned};
use crate::state::{Applied, Meta, Outcome, damaged, deny};
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, put_bytes, put_varint};
use cas_core::id::{Epoch, PublicKey};
use cas_core::layout::{self, MAX_RACK, NodeState};
use cas_net::Result;
use cas_net::cluster::{MAX_ADDRESS, MAX_ADDRESSES};
use serde::{Deserialize, Serialize};

const PREFIX: u8 = b'n';

/// What a node is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Want {
    /// To hold its share.
    Member = 0,
    /// To give away what it has.
    Draining = 1,
    /// Nothing; what it holds counts until it is elsewhere.
    Removed = 2,
    /// Nothing; it is known to hold nothing any more.
    Lost = 3,
    /// To hold its share once a layout with it is applied.
    New = 4,
}

impl Want {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Member, Self::Draining, Self::Removed, Self::Lost, Self::New]
            .into_iter()
            .find(|want| *want as u8 == byte)
    }
}

/// A node that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its number.
    pub number: u32,
    /// What it is wanted for.
    pub want: Want,
    /// Whether it has been silent for long: then its copies do not count.
    pub down: bool,
    /// Since when it has the disk it has: no older receipt counts.
    pub since: Epoch,
    /// Its share relative to the others.
    pub weight: u64,
    /// Bytes it may use.
    pub capacity: u64,
    /// Until when its silence is expected, nanoseconds since 1970.
    pub maintenance_until_ns: Option<i64>,
    /// What it keeps blocks on.
    pub disk: [u8; 16],
    /// What fails together with it. Empty: the index was made from nodes, and it has not joined again.
    pub rack: String,
    /// Host and port.
    pub addresses: Vec<String>,
}

impl NodeRow {
    /// Whether it has said where it stands. One that an index found when it was made from nodes has not, until it joins again.
    pub(super) fn has_joined(&self) -> bool {
        !self.rack.is_empty()
    }

    /// Whether its copies count.
    pub fn counts(&self) -> bool {
        !self.down && self.want != Want::Lost
    }

    /// The node as a plan sees it.
    pub fn planned(&self, key: PublicKey) -> layout::Node {
        let state = match self.want {
            Want::Member if self.down => NodeState::Gone,
            Want::Member => NodeState::Member,
            Want::Draining | Want::New => NodeState::Draining,
            Want::Removed | Want::Lost => NodeState::Gone,
        };
        layout::Node { key, rack: self.rack.clone(), weight: self.weight, state }
    }

    /// Writes it.
    pub(super) fn store(&self, tables: &mut impl Tables, node: &[u8; 32]) {
        tables.put(Table::Cluster, &key(node), self.encode());
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.want as u8, self.down.into()];
        for value in [self.number.into(), self.since.0, self.weight, self.capacity] {
            put_varint(&mut out, value);
        }
        out.push(self.maintenance_until_ns.is_some().into());
        out.extend_from_slice(&self.maintenance_until_ns.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.disk);
        put_bytes(&mut out, self.rack.as_bytes());
        self.addresses.iter().for_each(|address| put_bytes(&mut out, address.as_bytes()));
        out
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("node row", bytes);
        let want = r.u8()?;
        let want = Want::from_byte(want).ok_or_else(|| r.error("what it is wanted for"))?;
        let down = r.u8()? != 0;
        let number = u32::try_from(r.varint()?).map_err(|_| r.error("a u32"))?;
        let (since, weight, capacity) = (Epoch(r.varint()?), r.varint()?, r.varint()?);
        let maintained = r.u8()? != 0;
        let until = r.i64()?;
        let disk = r.array()?;
        let rack = text(&mut r, MAX_RACK)?;
        let mut addresses = Vec::new();
        while !r.is_empty() {
            addresses.push(text(&mut r, MAX_ADDRESS)?);
        }
        let maintenance_until_ns = maintained.then_some(until);
        Ok(Self { number, want, down, since, weight, capacity, maintenance_until_ns, disk, rack, addresses })
    }
}

fn text(r: &mut Reader<'_>, limit: usize) -> std::result::Result<String, FormatError> {
    let bytes = r.bytes(limit)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| r.error("UTF-8"))
}

fn key(node: &[u8; 32]) -> Vec<u8> {
    [&[PREFIX], &node[..]].concat()
}

/// A node that has joined.
pub fn node_of(tables: &impl Tables, node: &[u8; 32]) -> Result<Option<NodeRow>> {
    let found = tables.get(Table::Cluster, &key(node))?;
    found.map(|bytes| NodeRow::decode(&bytes).map_err(|e| damaged(PublicKey(*node), e.to_string()))).transpose()
}

/// All nodes that have joined, by key.
pub fn nodes(tables: &impl Tables) -> Result<Vec<(PublicKey, NodeRow)>> {
    let mut out = Vec::new();
    tables.scan_prefix(Table::Cluster, &[PREFIX], &mut |key, value| {
        let key = PublicKey(key[1..].try_into().map_err(|_| damaged("nodes", "has a key of another length"))?);
        out.push((key, NodeRow::decode(value).map_err(|e| damaged(key, e.to_string()))?));
        Ok(true)
    })?;
    Ok(out)
}

/// The node, or a refusal.
pub(super) fn known(tables: &impl Tables, node: &[u8; 32]) -> Applied<NodeRow> {
    match node_of(tables, node)? {
        Some(row) => Ok(row),
        None => deny(format!("node {} has not joined", PublicKey(*node))),
    }
}

/// Changes a row; whoever goes by the layout hears of it.
pub(super) fn change(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    change: impl FnOnce(&mut NodeRow),
) -> Applied<Outcome> {
    let before = known(tables, node)?;
    let mut row = before.clone();
    change(&mut row);
    if row != before {
        // One that has not joined again after a rebuild may be changed, too.
        if row.rack != before.rack || row.addresses != before.addresses {
            checked(&row.rack, &row.addresses)?;
        }
        row.store(tables, node);
        meta.bump_layout();
    }
    Ok(Outcome::Done)
}

pub(super) fn rerack(tables: &mut impl Tables, meta: &mut Meta, node: &[u8; 32], rack: &str) -> Applied<Outcome> {
    change(tables, meta, node, |row| rack.clone_into(&mut row.rack))
}

/// Refuses names that are too long.
pub(super) fn checked(rack: &str, addresses: &[String]) -> Applied<()> {
    if rack.is_empty() || rack.len() > MAX_RACK {
        return deny(format!("the name of a rack has 1 to {MAX_RACK} bytes"));
    }
    if addresses.len() > MAX_ADDRESSES || addresses.iter().any(|address| address.len() > MAX_ADDRESS) {
        return deny(format!("a node has at most {MAX_ADDRESSES} addresses of {MAX_ADDRESS} bytes"));
    }
    Ok(())
}

/// Makes the row of a node that is new here.
pub(super) fn new_row(
    tables: &mut impl Tables,
    meta: &mut Meta,
    node: &[u8; 32],
    rack: &str,
    disk: &[u8; 16],
    capacity: u64,
    addresses: &[String],
) -> Applied<()> {
    checked(rack, addresses)?;
    let known = interned::number_of(tables, Interned::Node, node)?;
    let number = interned::intern(tables, Interned::Node, node)?;
    // One that was known before the cluster keeps what it has said.
    let since = if known.is_some() { Epoch::ZERO } else { meta.epoch };
    let (rack, addresses) = (rack.to_owned(), addresses.to_vec());
    let is_first = super::partition::pool(tables)?.is_none();
    let want = if is_first { Want::Member } else { Want::New };
    let (down, weight, maintenance_until_ns) = (false, capacity.max(1), None);
    NodeRow { number, want, down, since, weight, capacity, maintenance_until_ns, disk: *disk, rack, addresses }
        .store(tables, node);
    super::moves::first_layout(tables, number, since)?;
    meta.bump_layout();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_golden_bytes_and_read_back() {
        let row = NodeRow {
            number: 3,
            want: Want::Draining,
            down: true,
            since: Epoch(300),
            weight: 5,
            capacity: 6,
            maintenance_until_ns: Some(-1),
            disk: [9; 16],
            rack: "r1".into(),
            addresses: vec!["a:1".into(), "b:2".into()],
        };
        let golden = [&[1, 1, 3, 0xac, 2, 5, 6, 1][..], &[255; 8], &[9; 16], b"\x02r1\x03a:1\x03b:2"].concat();
        assert_eq!(row.encode(), golden);
        assert_eq!(NodeRow::decode(&golden).unwrap(), row);
        for len in 0..golden.len() {
            assert!(NodeRow::decode(&golden[..len]).is_ok_and(|r| r.encode() == golden[..len]) || len != golden.len());
        }
    }
}
