//! Requests of the index family, answered by an [`Index`]. PROTOCOL §8.

use super::{Handler, Peer, Reply, Request};
use crate::calls::Call;
use crate::calls::index::*;
use crate::limits::MAX_ROWS;
use crate::{Index, Result};
use std::sync::Arc;

/// Answers with the index that a peer may use: whoever opens it decides by the peer's key what that is, by giving
/// an index that checks rights, or an error.
pub struct IndexHandler<O> {
    open: O,
}

impl<O: Fn(&Peer) -> Result<Arc<dyn Index>> + Send + Sync> IndexHandler<O> {
    /// Opens the index with this, at each request.
    pub fn new(open: O) -> Self {
        Self { open }
    }
}

impl<O: Fn(&Peer) -> Result<Arc<dyn Index>> + Send + Sync> Handler for IndexHandler<O> {
    fn handle(&self, peer: &Peer, request: Request) -> Result<Reply> {
        let index = (self.open)(peer)?;
        match request.method() {
            ..=10 => pushing(&*index, &request),
            11..=17 | Undelete::METHOD => names(&*index, &request),
            _ => keeping(&*index, &request),
        }
    }
}

fn pushing(index: &dyn Index, request: &Request) -> Result<Reply> {
    match request.method() {
        AddNode::METHOD => request.answer(|c: AddNode| index.add_node(c.node)),
        Keyring::METHOD => request.answer(|c: Keyring| index.keyring(&c.vault)),
        PutKeyring::METHOD => request.answer(|c: PutKeyring| index.put_keyring(&c.object, &c.receipts)),
        Vaults::METHOD => request.answer(|_: Vaults| index.vaults()),
        Start::METHOD => request.answer(|c: Start| index.start_session(&c.start)),
        CloseSession::METHOD => request.answer(|c: CloseSession| index.close_session(c.session)),
        GetGrant::METHOD => request.answer(|c: GetGrant| index.grant(c.session)),
        Have::METHOD => request.answer(|c: Have| index.have(c.session, &c.ids)),
        Register::METHOD => request.answer(|c: Register| index.register(c.session, c.registration)),
        MakeCommit::METHOD => request.answer(|c: MakeCommit| index.commit(c.session, &c.commit)),
        _ => Err(request.unknown()),
    }
}

fn names(index: &dyn Index, request: &Request) -> Result<Reply> {
    match request.method() {
        Snapshots::METHOD => request.answer(|c: Snapshots| index.snapshots(&c.vault, c.name.as_deref(), c.trash)),
        Head::METHOD => request.answer(|c: Head| index.head(&c.vault, &c.name)),
        SnapshotObject::METHOD => request.answer(|c: SnapshotObject| index.snapshot_object(&c.snapshot)),
        Forget::METHOD => request.answer(|c: Forget| index.forget(&c.removal, &c.receipts)),
        Undelete::METHOD => request.answer(|c: Undelete| index.undelete(&c.returning, &c.receipts)),
        EmptyTrash::METHOD => request.answer(|c: EmptyTrash| index.empty_trash(c.before_ns)),
        EndSessionsExcept::METHOD => request.answer(|c: EndSessionsExcept| index.end_sessions_except(&c.keep)),
        _ => Err(request.unknown()),
    }
}

fn keeping(index: &dyn Index, request: &Request) -> Result<Reply> {
    match request.method() {
        Condemn::METHOD => request.answer(|c: Condemn| index.condemn(page(c.limit))),
        DeletesAnswered::METHOD => request.answer(|c: DeletesAnswered| index.deleted(c.node, &c.answers)),
        Rows::METHOD => request.answer(|c: Rows| index.rows(&c.ids)),
        ListRows::METHOD => request.answer(|c: ListRows| index.list_rows(c.after, page(c.limit))),
        Children::METHOD => request.answer(|c: Children| index.children(&c.id)),
        Mark::METHOD => request.answer(|c: Mark| index.mark(&c.ids, c.bad)),
        CompareCounts::METHOD => request.answer(|_: CompareCounts| index.recount()),
        Status::METHOD => request.answer(|_: Status| index.status()),
        Close::METHOD => request.answer(|_: Close| index.close()),
        _ => Err(request.unknown()),
    }
}

fn page(limit: u32) -> usize {
    (limit as usize).min(MAX_ROWS)
}
