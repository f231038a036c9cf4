//! Forgetting versions, and bringing them back while they are in the trash.
//!
//! Nothing is deleted here: a forgotten version stays whole until `gc` empties the trash. Needs no lock against pushes.

use crate::error::{ClientError, Result};
use crate::push::put_object;
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::Kind;
use cas_core::snapshot::SnapshotObject;
use cas_net::{SnapshotRow, StartSession};

/// Moves versions to the trash, each with a removal that this device signs. Stops at the first that cannot be; `done`
/// hears of each that was.
pub fn forget(
    store: &Store,
    vault: &Vault,
    rows: &[SnapshotRow],
    now_ns: i64,
    done: &mut dyn FnMut(&SnapshotRow),
) -> Result<()> {
    let domain = vault.keys().domain_id();
    let label = format!("forget (process {})", std::process::id());
    let start = StartSession { vault: vault.id(), domain, device: vault.device().public(), label };
    let session = store.index().start_session(&start)?.session;
    let forgotten = rows.iter().try_for_each(|row| -> Result<()> {
        let record = vault.record_of(store, &row.snapshot)?;
        let removal = SnapshotObject::removal(record.record(), now_ns, vault.keyring().reference(), vault.device());
        let removal = removal.map_err(|e| ClientError::Usage(e.to_string()))?.encode();
        let grant = store.index().grant(session)?;
        let receipt = put_object(store.nodes(), grant, Kind::Snapshot, domain, &removal)?;
        store.index().forget(&removal, &receipt)?;
        done(row);
        Ok(())
    });
    let closed = store.index().close_session(session);
    forgotten?;
    Ok(closed?)
}

/// Brings versions back from the trash.
pub fn undelete(store: &Store, rows: &[SnapshotRow], done: &mut dyn FnMut(&SnapshotRow)) -> Result<()> {
    for row in rows {
        store.index().undelete(&row.snapshot)?;
        done(row);
    }
    Ok(())
}
