//! Push sessions: the epoch of their start protects what became unreferenced later. DESIGN §7.1.

use super::blocks::{Rows, State};
use super::interned::{self, Interned};
use super::{Applied, Meta, Outcome, damaged, refuse};
use crate::cluster::Placement;
use crate::command::Packed;
use crate::rights::{domains, quota};
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, put_varint};
use cas_core::id::{BlockId, DomainId, Epoch, VaultId};
use cas_net::{Result, ServiceError, SessionId, SessionInfo};

/// A live session. Its number is the epoch of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Nanoseconds since 1970.
    pub started_ns: i64,
    /// The vault it will commit to.
    pub vault: VaultId,
    /// The number of the domain of its blocks.
    pub domain: u32,
    /// The number of its account: its device in its vault.
    pub device: u32,
    /// For people.
    pub label: String,
}

impl Session {
    /// The epoch of its start.
    pub fn start(&self) -> Epoch {
        Epoch(self.id.0)
    }

    /// For people.
    pub fn info(&self) -> SessionInfo {
        let Self { id, started_ns, label, .. } = self.clone();
        SessionInfo { session: id, epoch: self.start(), started_ns, label }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.started_ns.to_le_bytes().to_vec();
        out.extend_from_slice(self.vault.as_bytes());
        put_varint(&mut out, self.domain.into());
        put_varint(&mut out, self.device.into());
        out.extend_from_slice(self.label.as_bytes());
        out
    }

    fn decode(key: &[u8], bytes: &[u8]) -> Result<Self> {
        let id =
            key.try_into().map(u64::from_be_bytes).map_err(|_| damaged("sessions", "has a key of another length"))?;
        fields(id, bytes).map_err(|e| damaged(format!("session {id}"), e.to_string()))
    }
}

fn fields(id: u64, bytes: &[u8]) -> std::result::Result<Session, FormatError> {
    let mut r = Reader::new("session row", bytes);
    let started_ns = r.i64()?;
    let vault = VaultId(r.array()?);
    let (domain, device) = (r.varint()? as u32, r.varint()? as u32);
    let label = String::from_utf8_lossy(r.rest()).into_owned();
    Ok(Session { id: SessionId(id), started_ns, vault, domain, device, label })
}

/// A session, if it lives.
pub fn session(tables: &impl Tables, id: SessionId) -> Result<Option<Session>> {
    let key = id.0.to_be_bytes();
    tables.get(Table::Sessions, &key)?.map(|bytes| Session::decode(&key, &bytes)).transpose()
}

/// All live sessions, oldest first.
pub fn sessions(tables: &impl Tables) -> Result<Vec<Session>> {
    let mut out = Vec::new();
    tables.scan(Table::Sessions, &[], &mut |key, bytes| {
        out.push(Session::decode(key, bytes)?);
        Ok(true)
    })?;
    Ok(out)
}

/// The oldest live session.
pub fn first_session(tables: &impl Tables) -> Result<Option<Session>> {
    let mut first = None;
    tables.scan(Table::Sessions, &[], &mut |key, bytes| {
        first = Some(Session::decode(key, bytes)?);
        Ok(false)
    })?;
    Ok(first)
}

/// The session, or a refusal.
pub(super) fn living(tables: &impl Tables, id: u64) -> Applied<Session> {
    match session(tables, SessionId(id))? {
        Some(session) => Ok(session),
        None => refuse(ServiceError::SessionGone(SessionId(id))),
    }
}

pub(super) fn start(
    tables: &mut impl Tables,
    meta: &Meta,
    vault: [u8; 16],
    domain: [u8; 16],
    device: [u8; 32],
    label: &str,
) -> Applied<Outcome> {
    let id = SessionId(meta.epoch.0);
    let bound = DomainId(domain);
    let domain = interned::intern(tables, Interned::Domain, &domain)?;
    let device = interned::intern(tables, Interned::Device, &quota::account(&device, &VaultId(vault)))?;
    domains::bind(tables, &VaultId(vault), &bound)?;
    let started_ns = meta.time_ns;
    let session = Session { id, started_ns, vault: VaultId(vault), domain, device, label: label.to_owned() };
    tables.put(Table::Sessions, &id.0.to_be_bytes(), session.encode());
    Ok(Outcome::Started(id))
}

pub(super) fn end(tables: &mut impl Tables, id: u64) -> Applied<Outcome> {
    let ended = session(tables, SessionId(id))?;
    tables.remove(Table::Sessions, &id.to_be_bytes());
    Ok(Outcome::Ended(ended.iter().map(Session::info).collect()))
}

pub(super) fn end_except(tables: &mut impl Tables, keep: &[u64]) -> Applied<Outcome> {
    let mut ended = sessions(tables)?;
    ended.retain(|session| !keep.contains(&session.id.0));
    for session in &ended {
        tables.remove(Table::Sessions, &session.id.0.to_be_bytes());
    }
    Ok(Outcome::Ended(ended.iter().map(Session::info).collect()))
}

/// Moves unreferenced blocks to the end of the collector's queue, behind the start of the session.
pub(super) fn touch(tables: &mut impl Tables, meta: &mut Meta, id: u64, ids: &Packed) -> Applied<Outcome> {
    let session = living(tables, id)?;
    let ids: Vec<BlockId> = ids.ids().collect();
    let mut placement = Placement::load(tables, meta)?;
    let mut rows = Rows::new();
    let mut present = Vec::with_capacity(ids.len());
    let mut not_older = Epoch::ZERO;
    for id in &ids {
        let row = rows.of(tables, id)?;
        present.push(match row {
            Some(row) if row.state == State::Live && row.domain == session.domain => {
                if row.count == 0 {
                    row.zero = meta.epoch;
                }
                let verdict = placement.judge(tables, meta, id, true, &[])?;
                not_older = not_older.max(if verdict.enough { Epoch::ZERO } else { verdict.not_older });
                verdict.enough
            }
            Some(row) => {
                not_older = not_older.max(changed_at(row.state));
                false
            }
            None => false,
        });
    }
    rows.write(tables, meta)?;
    Ok(Outcome::Touched(present, not_older))
}

/// The epoch of the change that took a block out of use: a grant to write it again must not be older.
pub fn changed_at(state: State) -> Epoch {
    match state {
        State::Live => Epoch::ZERO,
        State::Bad(epoch) | State::Condemned(epoch) => epoch,
    }
}
