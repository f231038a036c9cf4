//! Who and what takes part, by number: users, their devices, vaults, names.

use crate::support;
use cas_core::id::{BlockId, DomainId, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::{SnapshotObject, SnapshotRecord};
use std::sync::OnceLock;

pub const NODE: [u8; 32] = [2; 32];
pub const HOUR: i64 = 3600 * 1_000_000_000;
pub const NAMES: [&str; 5] = ["a", "a/x", "a2", "b", "b/y/z"];
pub const PREFIXES: [&str; 6] = ["", "a", "a/x", "a2", "b", "b/y"];
pub const USERS: usize = 4;
pub const DEVICES: usize = 7;
pub const VAULTS: usize = 2;

pub fn user(n: usize) -> String {
    format!("user{n}")
}

pub fn device(n: usize) -> [u8; 32] {
    [100 + n as u8; 32]
}

pub fn domain(n: usize) -> DomainId {
    DomainId([50 + n as u8; 16])
}

/// The last device has rights of its own only.
pub fn own_rights(n: usize) -> bool {
    n + 1 == DEVICES
}

pub fn vault_id(n: usize) -> VaultId {
    KeyringObject::parse(keyring(n)).unwrap().vault()
}

pub fn keyring(n: usize) -> &'static Vec<u8> {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    &MADE.get_or_init(|| (0..VAULTS).map(|n| support::keyring_object(n as u8 + 1)).collect())[n]
}

pub fn snapshot(vault: usize, name: &str, seq: u64, previous: SnapshotId, root: BlockId) -> SnapshotObject {
    let made = support::snapshot(name, seq, previous, root, 5);
    let record = SnapshotRecord { vault: vault_id(vault), domain: domain(vault), ..made.record().clone() };
    support::resigned(&record)
}
