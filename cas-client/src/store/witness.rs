//! What the node still has of what an index does not tell any more.
//!
//! An index that says less than was seen before has lost something, or was rolled back. If the node holds the very object
//! that was seen, it is the index that lost it, and a rebuild brings it back. Reads every object on the node: only when
//! something is wrong.

use super::Store;
use crate::error::Result;
use cas_core::id::{BlockId, Kind, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::SnapshotObject;

/// Blocks listed in one step.
const LIST: usize = 16_384;

/// Whether a version, or its removal, is on the node.
pub fn has_version(store: &Store, vault: &VaultId, version: &SnapshotId) -> Result<bool> {
    any_object(store, Kind::Snapshot, |bytes| {
        let record = SnapshotObject::parse(bytes).ok().map(|object| object.record().clone());
        record.is_some_and(|record| record.vault == *vault && record.chain_id() == *version)
    })
}

/// Whether a keyring of this version or a later one is on the node.
pub fn has_keyring(store: &Store, vault: &VaultId, version: u32) -> Result<bool> {
    any_object(store, Kind::Keyring, |bytes| {
        KeyringObject::parse(bytes).is_ok_and(|keyring| keyring.vault() == *vault && keyring.version() >= version)
    })
}

/// Nobody bears witness in a cluster: its nodes tell their lists to its index alone.
fn any_object(store: &Store, kind: Kind, is_it: impl Fn(&[u8]) -> bool) -> Result<bool> {
    let Ok(node) = store.node() else { return Ok(false) };
    let mut after: Option<BlockId> = None;
    loop {
        let listed = node.list(after, LIST)?;
        let Some(last) = listed.last() else { return Ok(false) };
        after = Some(last.id);
        for block in listed.iter().filter(|block| block.kind == kind) {
            // One that cannot be read bears no witness.
            if node.get(&block.id).is_ok_and(|bytes| is_it(&bytes)) {
                return Ok(true);
            }
        }
    }
}
