//! Names, versions, vaults: what people see.

use super::push::verified_object;
use super::{By, Index, unexpected};
use crate::command::{Command, Packed};
use crate::rights::command::{Command as Rights, Deed};
use crate::state::interned::{Interned, number_of};
use crate::state::snapshots::{Latest, find, versions};
use crate::state::{Outcome, VaultRow};
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, Kind, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::What;
use cas_net::{NodeId, Receipt, Result, ServiceError, SnapshotRow, SnapshotState};

/// Versions that one command removes from the trash.
const TRASH_STEP: u32 = 256;

impl Index {
    pub(crate) fn add_one_node(&self, by: By, node: NodeId) -> Result<()> {
        if number_of(&*self.tables(), Interned::Node, node.0.as_bytes())?.is_some() {
            return Ok(());
        }
        self.submit_by(by, Command::AddNode { node: node.0.0 }, true).map(drop)
    }

    pub(super) fn newest_keyring(&self, vault: &VaultId) -> Result<Vec<u8>> {
        let row = VaultRow::of(&*self.tables(), vault)?;
        Ok(row.ok_or_else(|| ServiceError::NotFound { what: "vault", name: vault.to_string() })?.keyring)
    }

    pub(crate) fn put_one_keyring(&self, by: By, object: &[u8], receipts: &[Receipt]) -> Result<()> {
        KeyringObject::parse(object).map_err(|e| ServiceError::Denied(e.to_string()))?;
        let covers = self.covers(receipts, &BlockId::of_object(Kind::Keyring, object))?;
        self.submit_by(by, Command::PutKeyring { object: Packed(object.to_vec()), covers }, true).map(drop)
    }

    pub(super) fn all_vaults(&self) -> Result<Vec<VaultId>> {
        let mut out = Vec::new();
        self.tables().scan(Table::Vaults, &[], &mut |key, _| {
            out.extend(key.try_into().ok().map(VaultId));
            Ok(true)
        })?;
        Ok(out)
    }

    pub(super) fn list_snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>> {
        let all = versions(&*self.tables(), vault, name)?;
        Ok(all.into_iter().map(|v| v.row).filter(|row| trash || row.state == SnapshotState::Live).collect())
    }

    pub(super) fn newest_version(&self, vault: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>> {
        let latest = Latest::of(&*self.tables(), vault, name)?;
        Ok((latest.seq > 0).then_some((latest.seq, latest.snapshot)))
    }

    pub(super) fn object_of(&self, snapshot: &SnapshotId) -> Result<Vec<u8>> {
        let found = find(&*self.tables(), snapshot)?;
        Ok(found.ok_or_else(|| ServiceError::NotFound { what: "snapshot", name: snapshot.to_string() })?.1)
    }

    pub(crate) fn forget_one(&self, by: By, removal: &[u8], receipts: &[Receipt]) -> Result<()> {
        let object = verified_object(removal, What::Removal)?;
        let covers = self.covers(receipts, &object.object_id())?;
        self.submit_by(by, Command::Forget { removal: Packed(removal.to_vec()), covers }, true).map(drop)
    }

    /// As [`Self::forget_one`], by nobody's wish but that of the rules of retention; it stands in the audit log.
    pub(crate) fn forget_by_rules(&self, removal: &[u8], receipts: &[Receipt]) -> Result<()> {
        let object = verified_object(removal, What::Removal)?;
        let covers = self.covers(receipts, &object.object_id())?;
        let command = Command::Forget { removal: Packed(removal.to_vec()), covers };
        let deed = Deed::Carry { command: Packed(command.encode()) };
        self.submit(Command::Rights(Rights { by: None, deed }), true).map(drop)
    }

    pub(crate) fn undelete_one(&self, by: By, returning: &[u8], receipts: &[Receipt]) -> Result<()> {
        let object = verified_object(returning, What::Return)?;
        let covers = self.covers(receipts, &object.object_id())?;
        self.submit_by(by, Command::Return { returning: Packed(returning.to_vec()), covers }, true).map(drop)
    }

    pub(crate) fn empty_all_trash(&self, by: By, before_ns: i64) -> Result<Vec<SnapshotRow>> {
        let mut gone = Vec::new();
        loop {
            if self.is_empty(Table::Trash)? {
                return Ok(gone);
            }
            match self.submit_by(by, Command::EmptyTrash { before_ns, limit: TRASH_STEP }, true)? {
                Outcome::Emptied(rows, more) => {
                    gone.extend(rows);
                    if !more {
                        return Ok(gone);
                    }
                }
                other => unexpected(&other),
            }
        }
    }

    pub(super) fn is_empty(&self, table: Table) -> Result<bool> {
        let mut empty = true;
        self.tables().scan(table, &[], &mut |_, _| {
            empty = false;
            Ok(false)
        })?;
        Ok(empty)
    }
}
