//! Tickets that are void before their time: of devices that were revoked or lost rights. DESIGN §10.
//!
//! Promise: from the command on that takes a right away, no older ticket of the device is in force; the list holds what the
//! oldest valid ticket needs and no more.

use super::row::{self, Device, key};
use crate::state::{Meta, damaged};
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader};
use cas_core::id::{Epoch, PublicKey};
use cas_net::Result;
use cas_net::rights::Revocations;
use cas_net::rights::ticket::TICKET_LIFE_NS;

/// The list, for the heartbeats of nodes.
pub fn revocations(tables: &impl Tables) -> Result<Revocations> {
    let mut out = Revocations::default();
    if let Some(bytes) = tables.get(Table::Rights, &key(row::VOID, &[]))? {
        out.version = Epoch(Reader::new("void row", &bytes).u64().map_err(|e| damaged("voids", e.to_string()))?);
    }
    each(tables, &mut |device, void| out.devices.push((device, void.before)))?;
    Ok(out.bounded())
}

/// Voids all tickets of a device that were given before now.
pub(super) fn void(tables: &mut impl Tables, meta: &Meta, device: &PublicKey) {
    let until_ns = meta.time_ns.saturating_add(TICKET_LIFE_NS);
    let row = Void { before: meta.epoch, until_ns };
    tables.put(Table::Rights, &key(row::VOID, &[device.as_bytes()]), row.encode());
    changed(tables, meta);
}

/// Voids the tickets of all devices of a user.
pub(super) fn void_user(tables: &mut impl Tables, meta: &Meta, user: &str) -> Result<()> {
    for (device, row) in Device::all(tables)? {
        if row.user == user {
            void(tables, meta, &device);
        }
    }
    Ok(())
}

/// Forgets what voids nothing any more, since all those tickets have expired.
pub(super) fn expire(tables: &mut impl Tables, meta: &Meta) -> Result<()> {
    let mut over = Vec::new();
    each(tables, &mut |device, void| {
        if void.until_ns <= meta.time_ns {
            over.push(device);
        }
    })?;
    for device in &over {
        tables.remove(Table::Rights, &key(row::VOID, &[device.as_bytes()]));
    }
    if !over.is_empty() {
        changed(tables, meta);
    }
    Ok(())
}

fn changed(tables: &mut impl Tables, meta: &Meta) {
    tables.put(Table::Rights, &key(row::VOID, &[]), meta.epoch.0.to_le_bytes().to_vec());
}

fn each(tables: &impl Tables, visit: &mut dyn FnMut(PublicKey, Void)) -> Result<()> {
    tables.scan_prefix(Table::Rights, &[row::VOID], &mut |key, bytes| {
        if let Ok(device) = key[1..].try_into() {
            visit(PublicKey(device), Void::decode(bytes).map_err(|e| damaged("voids", e.to_string()))?);
        }
        Ok(true)
    })
}

struct Void {
    before: Epoch,
    until_ns: i64,
}

impl Void {
    fn encode(&self) -> Vec<u8> {
        [self.before.0.to_le_bytes(), self.until_ns.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("void row", bytes);
        Ok(Self { before: Epoch(r.u64()?), until_ns: r.i64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemTables;

    #[test]
    fn a_void_lasts_as_long_as_the_tickets_it_voids() {
        let mut tables = MemTables::default();
        let at = |epoch, time_ns| Meta { epoch: Epoch(epoch), time_ns, ..Meta::default() };
        let device = PublicKey([1; 32]);
        void(&mut tables, &at(7, 100), &device);
        let list = revocations(&tables).unwrap();
        assert_eq!((list.version, &list.devices[..]), (Epoch(7), &[(device, Epoch(7))][..]));
        expire(&mut tables, &at(8, 100 + TICKET_LIFE_NS - 1)).unwrap();
        assert_eq!(revocations(&tables).unwrap(), list, "an older ticket may still be valid");
        expire(&mut tables, &at(9, 100 + TICKET_LIFE_NS)).unwrap();
        let list = revocations(&tables).unwrap();
        assert_eq!((list.version, list.devices.len()), (Epoch(9), 0));
    }
}
