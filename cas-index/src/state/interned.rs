//! Small numbers for domains, devices and nodes, so that a block's row can be small. FORMAT §9.

use crate::tables::{Table, Tables};
use cas_net::Result;

/// What has a number. Numbers are given from 1 on, in order of first use, and never taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Interned {
    /// A domain id.
    Domain = 0,
    /// An account: a device key ‖ a vault. In older stores the key alone.
    Device = 1,
    /// A node key.
    Node = 2,
}

const BY_NUMBER: u8 = 128;

/// The number of an id, if it has one.
pub fn number_of(tables: &impl Tables, what: Interned, id: &[u8]) -> Result<Option<u32>> {
    let found = tables.get(Table::Interned, &by_id(what, id))?;
    found.map(|bytes| number(&bytes)).transpose()
}

/// The number of an id, given now if need be.
pub fn intern(tables: &mut impl Tables, what: Interned, id: &[u8]) -> Result<u32> {
    if let Some(number) = number_of(tables, what, id)? {
        return Ok(number);
    }
    let number = all(tables, what)?.len() as u32 + 1;
    tables.put(Table::Interned, &by_id(what, id), number.to_le_bytes().to_vec());
    tables.put(Table::Interned, &by_number(what, number), id.to_vec());
    Ok(number)
}

/// The id with a number.
pub fn id_of<const N: usize>(tables: &impl Tables, what: Interned, number: u32) -> Result<[u8; N]> {
    let error = || super::damaged(format!("interned {what:?} {number}"), "is missing or of another length");
    let found = tables.get(Table::Interned, &by_number(what, number))?.ok_or_else(error)?;
    <[u8; N]>::try_from(&found[..]).map_err(|_| error())
}

/// The id with a number, whatever its length.
pub fn bytes_of(tables: &impl Tables, what: Interned, number: u32) -> Result<Vec<u8>> {
    let found = tables.get(Table::Interned, &by_number(what, number))?;
    found.map(|id| id.into_owned()).ok_or_else(|| super::damaged(format!("interned {what:?} {number}"), "is missing"))
}

/// All ids, in order of number.
pub fn all(tables: &impl Tables, what: Interned) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    tables.scan_prefix(Table::Interned, &[BY_NUMBER + what as u8], &mut |_, id| {
        out.push(id.to_vec());
        Ok(true)
    })?;
    Ok(out)
}

fn by_id(what: Interned, id: &[u8]) -> Vec<u8> {
    [&[what as u8], id].concat()
}

fn by_number(what: Interned, number: u32) -> Vec<u8> {
    [&[BY_NUMBER + what as u8], &number.to_be_bytes()[..]].concat()
}

fn number(bytes: &[u8]) -> Result<u32> {
    let bytes = bytes.try_into().map_err(|_| super::damaged("interned", "is not a number"))?;
    Ok(u32::from_le_bytes(bytes))
}
