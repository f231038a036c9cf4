//! The index over the network. PROTOCOL §8.
//!
//! Long lists go in several requests where their meaning allows it: rows, marks, answers to deletes, registrations. A
//! question for presence does not, because its answer has one grant: at most `MAX_IDS` ids.

use super::page;
use crate::address::Address;
use crate::calls::index::*;
use crate::limits::{MAX_IDS, REGISTRATION_BYTES};
use crate::transport::{Connection, Network};
use crate::wire::encode;
use crate::{
    Checkpointed, Commit, Committed, Condemned, Delete, Deleted, Grant, HaveAnswer, Index, IndexStatus, NodeId,
    Receipt, Recount, Registered, Registration, Result, SessionId, SessionInfo, SessionStart, SnapshotRow,
    StartSession, StoredRow,
};
use cas_core::id::{BlockId, PublicKey, SnapshotId, VaultId};
use std::sync::Arc;

/// An index that answers at an address.
#[derive(Debug, Clone)]
pub struct RemoteIndex {
    connection: Connection,
}

impl RemoteIndex {
    /// The index at this address; it connects when it is first asked.
    pub fn new(network: &Arc<Network>, address: &Address) -> Self {
        Self { connection: network.connection(address) }
    }

    /// Its connection, for requests of other families.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn register_part(&self, session: SessionId, registration: Registration) -> Result<Registered> {
        self.connection.call(&Register { session, registration })
    }
}

impl Index for RemoteIndex {
    fn public_key(&self) -> PublicKey {
        self.connection.address().key
    }

    fn add_node(&self, node: NodeId) -> Result<()> {
        self.connection.call(&AddNode { node })
    }

    fn keyring(&self, vault: &VaultId) -> Result<Vec<u8>> {
        self.connection.call(&Keyring { vault: *vault })
    }

    fn put_keyring(&self, object: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.connection.call(&PutKeyring { object: object.to_vec(), receipts: receipts.to_vec() })
    }

    fn vaults(&self) -> Result<Vec<VaultId>> {
        self.connection.call(&Vaults {})
    }

    fn start_session(&self, start: &StartSession) -> Result<SessionStart> {
        self.connection.call(&Start { start: start.clone() })
    }

    fn close_session(&self, session: SessionId) -> Result<()> {
        self.connection.call(&CloseSession { session })
    }

    fn grant(&self, session: SessionId) -> Result<Grant> {
        self.connection.call(&GetGrant { session })
    }

    fn have(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer> {
        self.connection.call(&Have { session, ids: ids.to_vec() })
    }

    fn register(&self, session: SessionId, registration: Registration) -> Result<Registered> {
        for part in parts(registration) {
            let answer = self.register_part(session, part)?;
            if !answer.missing.is_empty() {
                return Ok(answer);
            }
        }
        Ok(Registered::default())
    }

    fn commit(&self, session: SessionId, commit: &Commit) -> Result<Committed> {
        self.connection.call(&MakeCommit { session, commit: commit.clone() })
    }

    fn snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>> {
        self.connection.call(&Snapshots { vault: *vault, name: name.map(str::to_owned), trash })
    }

    fn head(&self, vault: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>> {
        self.connection.call(&Head { vault: *vault, name: name.to_owned() })
    }

    fn snapshot_object(&self, snapshot: &SnapshotId) -> Result<Vec<u8>> {
        self.connection.call(&SnapshotObject { snapshot: *snapshot })
    }

    fn forget(&self, removal: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.connection.call(&Forget { removal: removal.to_vec(), receipts: receipts.to_vec() })
    }

    fn undelete(&self, returning: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.connection.call(&Undelete { returning: returning.to_vec(), receipts: receipts.to_vec() })
    }

    fn empty_trash(&self, before_ns: i64) -> Result<Vec<SnapshotRow>> {
        self.connection.call(&EmptyTrash { before_ns })
    }

    fn end_sessions_except(&self, keep: &[SessionId]) -> Result<Vec<SessionInfo>> {
        self.connection.call(&EndSessionsExcept { keep: keep.to_vec() })
    }

    fn condemn(&self, limit: usize) -> Result<Condemned> {
        self.connection.call(&Condemn { limit: page(limit) })
    }

    fn deleted(&self, node: NodeId, answers: &[(Delete, Deleted)]) -> Result<()> {
        answers
            .chunks(MAX_IDS)
            .try_for_each(|part| self.connection.call(&DeletesAnswered { node, answers: part.to_vec() }))
    }

    fn rows(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>> {
        let mut rows = Vec::with_capacity(ids.len());
        for part in ids.chunks(MAX_IDS) {
            rows.append(&mut self.connection.call(&Rows { ids: part.to_vec() })?);
        }
        Ok(rows)
    }

    fn list_rows(&self, mut after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>> {
        let mut rows = Vec::new();
        while rows.len() < limit {
            let mut part = self.connection.call(&ListRows { after, limit: page(limit - rows.len()) })?;
            let Some(last) = part.last() else { break };
            after = Some(last.id);
            rows.append(&mut part);
        }
        Ok(rows)
    }

    fn children(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        self.connection.call(&Children { id: *id })
    }

    fn mark(&self, ids: &[BlockId], bad: bool) -> Result<()> {
        ids.chunks(MAX_IDS).try_for_each(|part| self.connection.call(&Mark { ids: part.to_vec(), bad }))
    }

    fn recount(&self) -> Result<Recount> {
        self.connection.call(&CompareCounts {})
    }

    fn status(&self) -> Result<IndexStatus> {
        self.connection.call(&Status {})
    }

    fn close(&self) -> Result<Checkpointed> {
        self.connection.call(&Close {})
    }
}

/// A registration in parts that fit: receipts first, because they are remembered for the session; then headers, in
/// their order, which is children before parents. At least one part.
fn parts(registration: Registration) -> Vec<Registration> {
    let size = registration.headers.iter().map(|header| header.len() + 4).sum::<usize>()
        + registration.receipts.iter().map(receipt_len).sum::<usize>();
    if size <= REGISTRATION_BYTES {
        return vec![registration];
    }
    let receipts = split(registration.receipts, receipt_len);
    let headers = split(registration.headers, |header| header.len() + 4);
    let of_receipts = receipts.into_iter().map(|receipts| Registration { receipts, ..Registration::default() });
    let of_headers = headers.into_iter().map(|headers| Registration { headers, ..Registration::default() });
    of_receipts.chain(of_headers).collect()
}

fn receipt_len(receipt: &Receipt) -> usize {
    encode(receipt).len()
}

/// Groups in order, each within the limit or of one item.
fn split<T>(items: Vec<T>, len: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut groups, mut filled) = (Vec::<Vec<T>>::new(), 0);
    for item in items {
        let len = len(&item);
        match groups.last_mut() {
            Some(group) if filled + len <= REGISTRATION_BYTES => group.push(item),
            _ => {
                groups.push(vec![item]);
                filled = 0;
            }
        }
        filled += len;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_registration_is_cut_between_headers_and_keeps_their_order() {
        let headers: Vec<Vec<u8>> = (0..200u8).map(|n| vec![n; 100_000]).collect();
        let parts = parts(Registration { headers: headers.clone(), receipts: vec![] });
        assert!(parts.len() >= 3);
        let len = |part: &Registration| part.headers.iter().map(|header| header.len() + 4).sum::<usize>();
        assert!(parts.iter().all(|part| len(part) <= REGISTRATION_BYTES));
        assert_eq!(parts.into_iter().flat_map(|part| part.headers).collect::<Vec<_>>(), headers);
    }

    #[test]
    fn an_empty_registration_is_still_asked() {
        assert_eq!(parts(Registration::default()).len(), 1);
    }
}
