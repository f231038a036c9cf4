//! Collection, rows, status: what gc, check and people ask.

use super::{By, Index, unexpected};
use crate::command::{Command, MAX_EDGES, Packed};
use crate::state::blocks::{Row, kids, row};
use crate::state::{Condemnation, Meta, Outcome, Session, sessions};
use crate::tables::{Layered, Table, Tables};
use cas_core::id::BlockId;
use cas_net::{
    Condemned, Delete, Deleted, GcHolder, IndexStatus, NodeId, Result, ServiceError, SessionId, SessionInfo, StoredRow,
};

impl Index {
    pub(crate) fn end_others(&self, by: By, keep: &[SessionId]) -> Result<Vec<SessionInfo>> {
        let any = sessions(&*self.tables())?.iter().any(|session| !keep.contains(&session.id));
        if !any {
            return Ok(Vec::new());
        }
        let keep: Vec<u64> = keep.iter().map(|session| session.0).collect();
        match self.submit_by(by, Command::EndSessionsExcept { keep: keep.clone() }, false)? {
            Outcome::Ended(ended) => {
                self.memory().retain(|session, _| keep.contains(&session.0));
                Ok(ended)
            }
            other => unexpected(&other),
        }
    }

    /// Ends sessions whose clients have not been heard of for the lease. One that is first seen after a restart begins a new lease.
    /// Answers how many there were.
    pub(crate) fn expire(&self) -> Result<usize> {
        let now = self.now_ns();
        let all = sessions(&*self.tables())?;
        let expired: Vec<SessionId> = {
            let mut memory = self.memory();
            memory.retain(|id, _| all.iter().any(|session| session.id == *id));
            let mut due = |session: &Session| {
                let memory = memory.entry(session.id).or_insert_with(|| super::receipts::Memory::seen_at(now));
                now.saturating_sub(memory.seen_ns) > self.options.lease_ns
            };
            all.iter().filter(|session| due(session)).map(|session| session.id).collect()
        };
        for session in &expired {
            self.submit(Command::EndSession { session: session.0 }, false)?;
            self.memory().remove(session);
        }
        Ok(expired.len())
    }

    /// All tables as they stand now, for a long read while commands go on.
    pub(crate) fn frozen(&self) -> Result<Layered> {
        self.shared.tables.write().frozen()
    }

    pub(super) fn condemn_some(&self, limit: usize) -> Result<Condemned> {
        self.expire()?;
        if self.is_empty(Table::Zero)? && self.is_empty(Table::Condemned)? {
            return Ok(Condemned::default());
        }
        let limit = u32::try_from(limit.min(MAX_EDGES)).expect("bounded");
        match self.submit(Command::Condemn { limit }, true)? {
            Outcome::Condemned(Condemnation { deletes, bytes, held_by, held, more }) => {
                let held = if held { Some(GcHolder::NewEra) } else { held_by.map(GcHolder::Session) };
                Ok(Condemned { deletes, bytes, held, more })
            }
            other => unexpected(&other),
        }
    }

    pub(super) fn take_answers(&self, node: NodeId, answers: &[(Delete, Deleted)]) -> Result<()> {
        for part in answers.chunks(MAX_EDGES) {
            let ids = Packed::of_ids(part.iter().map(|(delete, _)| &delete.id));
            let epochs = part.iter().map(|(delete, _)| delete.epoch.0).collect();
            let gone = part.iter().map(|(_, answer)| *answer == Deleted::Gone).collect();
            self.submit(Command::Deleted { node: node.0.0, ids, epochs, gone }, false)?;
        }
        Ok(())
    }

    pub(super) fn rows_of(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>> {
        let tables = self.tables();
        ids.iter().map(|id| row(&*tables, id)?.map(|row| row.stored(*id, &*tables)).transpose()).collect()
    }

    pub(super) fn rows_after(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>> {
        let tables = self.tables();
        let mut out = Vec::new();
        let from = after.map_or(Vec::new(), |id| id.0.to_vec());
        tables.scan(Table::Blocks, &from, &mut |key, value| {
            let id =
                BlockId(key.try_into().map_err(|_| crate::state::damaged("blocks", "has a key of another length"))?);
            if after == Some(id) {
                return Ok(true);
            }
            if out.len() >= limit {
                return Ok(false);
            }
            let row = Row::decode(value).map_err(|e| crate::state::damaged(id, e.to_string()))?;
            out.push(row.stored(id, &*tables)?);
            Ok(true)
        })?;
        Ok(out)
    }

    pub(super) fn children_of(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        let found = kids(&*self.tables(), id)?;
        found.ok_or_else(|| ServiceError::NotFound { what: "page", name: id.to_string() })
    }

    pub(crate) fn mark_all(&self, by: By, ids: &[BlockId], bad: bool) -> Result<()> {
        for part in ids.chunks(MAX_EDGES) {
            self.submit_by(by, Command::Mark { ids: Packed::of_ids(part), bad }, true)?;
        }
        Ok(())
    }

    pub(super) fn how_it_stands(&self) -> Result<IndexStatus> {
        let tables = self.tables();
        let Meta { epoch, live, bad, condemned, unreferenced, bytes, .. } = Meta::load(&*tables)?;
        let sessions = sessions(&*tables)?.iter().map(Session::info).collect();
        Ok(IndexStatus { epoch, live, bad, condemned, unreferenced, bytes, sessions })
    }
}
