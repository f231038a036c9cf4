//! Forgetting versions, and bringing them back while they are in the trash.
//!
//! Nothing is deleted here: a forgotten version stays whole until `gc` empties the trash. Needs no lock against pushes.
//! Both leave a signed object on the nodes before the index hears of them, so that an index that is rebuilt tells the same.

use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::{Vault, in_session, with_receipts};
use cas_core::id::Kind;
use cas_core::snapshot::{SnapshotError, SnapshotObject};
use cas_net::{Receipt, SessionId, SnapshotRow, SnapshotState, StartSession};

/// Moves versions to the trash, each with a removal that this device signs. Stops at the first that cannot be; `done`
/// hears of each that was.
pub fn forget(
    store: &Store,
    vault: &Vault,
    rows: &[SnapshotRow],
    now_ns: i64,
    done: &mut dyn FnMut(&SnapshotRow),
) -> Result<()> {
    in_session(store, &start(vault, "forget"), |session| {
        rows.iter().try_for_each(|row| {
            let record = vault.record_of(store, &row.snapshot)?;
            let removal = SnapshotObject::removal(record.record(), now_ns, vault.keyring().reference(), vault.device());
            let removal = removal.map_err(usage)?.encode();
            taken(store, vault, session, &removal, &|receipts| store.index().forget(&removal, receipts))?;
            done(row);
            Ok(())
        })
    })
}

/// Brings versions back from the trash, each with an object that this device signs. Those that are not there are passed
/// over. Stops at the first that cannot be brought back; `done` hears of each that was.
pub fn undelete(
    store: &Store,
    vault: &Vault,
    rows: &[SnapshotRow],
    now_ns: i64,
    done: &mut dyn FnMut(&SnapshotRow),
) -> Result<()> {
    in_session(store, &start(vault, "undelete"), |session| {
        rows.iter().try_for_each(|row| {
            let SnapshotState::Trash { removal, .. } = row.state else { return Ok(()) };
            let record = vault.record_of(store, &row.snapshot)?;
            let (keyring, device) = (vault.keyring().reference(), vault.device());
            let returning = SnapshotObject::returning(record.record(), removal, now_ns, keyring, device);
            let returning = returning.map_err(usage)?.encode();
            taken(store, vault, session, &returning, &|receipts| store.index().undelete(&returning, receipts))?;
            done(row);
            Ok(())
        })
    })
}

fn start(vault: &Vault, what: &str) -> StartSession {
    let label = format!("{what} (process {})", std::process::id());
    StartSession { vault: vault.id(), domain: vault.keys().domain_id(), device: vault.device().public(), label }
}

/// Puts an object on the nodes and has the index take it.
fn taken(
    store: &Store,
    vault: &Vault,
    session: SessionId,
    object: &[u8],
    take: &dyn Fn(&[Receipt]) -> cas_net::Result<()>,
) -> Result<()> {
    with_receipts(store, session, Kind::Snapshot, vault.keys().domain_id(), object, take)
}

fn usage(error: SnapshotError) -> ClientError {
    ClientError::Usage(error.to_string())
}
