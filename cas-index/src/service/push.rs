//! What a push asks: a session, what is there, registration, commit. DESIGN §7.1.

use super::receipts::{Word, take_all};
use super::{By, Index, unexpected};
use crate::cluster::command::MoreCover;
use crate::cluster::{self, Placement};
use crate::command::{Command, Cover, MAX_EDGES, NewPage, Packed, Register};
use crate::rights::quota;
use crate::state::blocks::{Row, State, bad_in, row};
use crate::state::{self, Meta, Outcome, Session};
use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey};
use cas_core::snapshot::{SnapshotObject, What};
use cas_net::{
    Commit, Committed, Grant, HaveAnswer, Receipt, Registered, Registration, Result, ServiceError, SessionId,
    SessionStart, StartSession,
};
use std::collections::{HashMap, HashSet};

/// Ids in one `have`.
const MAX_HAVE: usize = 1 << 20;
/// Ids that are looked up while the writer waits.
const LOOK_STEP: usize = 4096;
/// Bytes of a session's label.
const MAX_LABEL: usize = 4096;

impl Index {
    pub(crate) fn start_one(&self, by: By, start: &StartSession) -> Result<SessionStart> {
        if start.label.len() > MAX_LABEL {
            return Err(ServiceError::Denied(format!("a label of {} bytes; at most {MAX_LABEL}", start.label.len())));
        }
        let StartSession { vault, domain, device, label } = start.clone();
        let command = Command::StartSession { vault: vault.0, domain: domain.0, device: device.0, label };
        let session = match self.submit_by(by, command, true)? {
            Outcome::Started(session) => session,
            other => unexpected(&other),
        };
        let domain = self.renew(session)?.domain;
        let damaged = bad_in(&*self.tables(), domain)?;
        Ok(SessionStart { session, epoch: Epoch(session.0), damaged })
    }

    pub(super) fn grant_objects(&self, session: SessionId) -> Result<Grant> {
        let start = self.renew(session)?.start();
        Ok(Grant::sign(&self.key, session, self.durable_from(start)?, false))
    }

    pub(super) fn have_ids(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer> {
        if ids.len() > MAX_HAVE {
            return Err(ServiceError::Denied(format!("{} ids at once; at most {MAX_HAVE}", ids.len())));
        }
        let live = self.renew(session)?;
        let mut look = self.look(&live, ids)?;
        for part in look.touch.chunks(MAX_EDGES) {
            let touched = Packed::of_ids(part.iter().map(|i| &ids[*i]));
            match self.submit(Command::Touch { session: session.0, ids: touched }, false)? {
                Outcome::Touched(present, not_older) => {
                    part.iter().zip(present).for_each(|(i, is)| look.present[*i] = is);
                    look.not_older = look.not_older.max(not_older);
                }
                other => unexpected(&other),
            }
        }
        let absent = look.present.iter().filter(|present| !**present).count() as u64;
        if absent > 0
            && let Some(full) = quota::check(&*self.tables(), &live, absent * quota::MIN_STORED)?
        {
            return Err(full);
        }
        let epoch = self.durable_from(look.not_older)?;
        Ok(HaveAnswer { present: look.present, grant: Grant::sign(&self.key, session, epoch, look.replace) })
    }

    /// Step by step, so that the writer is not kept waiting; each step finds the session alive, which is what the
    /// promise of each of its answers rests on.
    fn look(&self, session: &Session, ids: &[BlockId]) -> Result<Look> {
        let mut look = Look { present: Vec::with_capacity(ids.len()), not_older: session.start(), ..Look::default() };
        for part in ids.chunks(LOOK_STEP) {
            let tables = self.tables();
            if state::session(&*tables, session.id)?.is_none() {
                return Err(ServiceError::SessionGone(session.id));
            }
            let meta = Meta::load(&*tables)?;
            let mut placement = Placement::load(&*tables, &meta)?;
            for id in part {
                let row = row(&*tables, id)?.filter(|row| row.domain == session.domain);
                let few = match row {
                    Some(row) if row.state == State::Live => placement.lacks(&*tables, &meta, id)?,
                    _ => None,
                };
                look.take(session, row, few);
            }
        }
        Ok(look)
    }

    /// Cuts a registration into commands of bounded size, bottom-up. If one of them misses something those before it
    /// stand, which changes nothing: their pages are live and the client's next try passes over them.
    pub(super) fn register_pages(&self, session: SessionId, registration: Registration) -> Result<Registered> {
        let live = self.renew(session)?;
        let domain = {
            let tables = self.tables();
            DomainId(state::interned::id_of(&*tables, state::interned::Interned::Domain, live.domain)?)
        };
        let pages = parse_headers(&registration.headers, &domain)?;
        for receipt in &registration.receipts {
            self.verify(receipt)?;
        }
        take_all(&mut self.memory(), session, &registration.receipts);

        let heals = self.heals(&live, &registration.receipts, &pages)?;
        let mut rest = &pages[..];
        let mut heal = &heals[..];
        while !rest.is_empty() || !heal.is_empty() {
            let (now, later) = rest.split_at(first_batch(rest));
            let (heal_now, heal_later) = heal.split_at(heal.len().min(MAX_EDGES));
            (rest, heal) = (later, heal_later);
            let (command, ids) = self.batch(session, now, heal_now)?;
            match self.submit(command, false)? {
                Outcome::Registered(missing) if missing.is_empty() => {}
                Outcome::Registered(missing) => return Ok(Registered { missing }),
                other => unexpected(&other),
            }
            if let Some(memory) = self.memory().get_mut(&session) {
                memory.forget(&ids);
            }
        }
        self.late_copies(&registration.receipts)?;
        Ok(Registered::default())
    }

    /// Blocks marked bad that these receipts may heal, and that no page here names.
    fn heals(&self, session: &Session, receipts: &[Receipt], pages: &[Page]) -> Result<Vec<BlockId>> {
        let tables = self.tables();
        if bad_in(&*tables, session.domain)? == 0 {
            return Ok(Vec::new());
        }
        let named: HashSet<&BlockId> = pages.iter().flat_map(|p| p.children.iter().chain([&p.id])).collect();
        let mut heals = Vec::new();
        for block in receipts.iter().flat_map(|receipt| &receipt.blocks) {
            let is_bad =
                || Ok::<_, ServiceError>(row(&*tables, &block.id)?.is_some_and(|r| matches!(r.state, State::Bad(_))));
            if !named.contains(&block.id) && is_bad()? {
                heals.push(block.id);
            }
        }
        heals.sort_unstable();
        heals.dedup();
        Ok(heals)
    }

    /// One command, and the ids in it: those with receipts first.
    fn batch(&self, session: SessionId, pages: &[Page], heals: &[BlockId]) -> Result<(Command, Vec<BlockId>)> {
        let mut places: HashMap<BlockId, u32> = HashMap::new();
        let mut ids: Vec<BlockId> = Vec::new();
        let named = pages.iter().flat_map(|p| p.children.iter().chain([&p.id])).chain(heals);
        for id in named {
            places.entry(*id).or_insert_with(|| {
                ids.push(*id);
                0
            });
        }
        let with_header: HashSet<&BlockId> = pages.iter().map(|page| &page.id).chain(heals).collect();
        let mut words: HashMap<BlockId, Vec<Word>> = HashMap::new();
        {
            let tables = self.tables();
            let memory = self.memory();
            for id in memory.get(&session).filter(|memory| !memory.is_empty()).map_or(&[][..], |_| &ids[..]) {
                let mut said = memory[&session].words(id, || Ok(row(&*tables, id)?.map(|row| row.sum)))?;
                said.retain(|word| !word.has_children || with_header.contains(id));
                if !said.is_empty() {
                    words.insert(*id, said);
                }
            }
        }
        ids.sort_by_key(|id| !words.contains_key(id));
        for (place, id) in ids.iter().enumerate() {
            places.insert(*id, place as u32);
        }
        let mut out = Register { session: session.0, ids: Packed::of_ids(&ids), ..Register::default() };
        let (mut nodes, mut more): (Vec<PublicKey>, Vec<MoreCover>) = Default::default();
        for said in ids.iter().map_while(|id| words.get(id)) {
            for (n, word) in said.iter().enumerate() {
                let node = nodes.iter().position(|node| *node == word.node).unwrap_or_else(|| {
                    nodes.push(word.node);
                    nodes.len() - 1
                }) as u32;
                if n == 0 {
                    out.sums.0.extend_from_slice(word.sum.as_bytes());
                    out.covers.push(Cover { len: word.len, grant: word.grant.0, node });
                } else {
                    more.push(MoreCover { at: out.covers.len() as u32 - 1, node, grant: word.grant.0 });
                }
            }
        }
        out.nodes = Packed(nodes.iter().flat_map(|node| node.0).collect());
        out.pages = pages
            .iter()
            .map(|page| NewPage {
                at: places[&page.id],
                kind: page.kind as u8,
                children: page.children.iter().map(|child| places[child]).collect(),
            })
            .collect();
        // The embedded store has one node, and its log the shorter command.
        let command = match more.is_empty() {
            true => Command::Register(out),
            false => Command::Cluster(cluster::Command::Register { register: out, more }),
        };
        Ok((command, ids))
    }

    pub(crate) fn close_one(&self, by: By, session: SessionId) -> Result<()> {
        self.submit_by(by, Command::EndSession { session: session.0 }, false)?;
        self.memory().remove(&session);
        Ok(())
    }

    pub(crate) fn commit_one(&self, by: By, session: SessionId, commit: &Commit) -> Result<Committed> {
        let object = verified_object(&commit.object, What::Snapshot)?;
        let covers = self.covers(&commit.receipts, &object.object_id())?;
        let (key, object) = (commit.key, Packed(commit.object.clone()));
        match self.submit_by(by, Command::Commit { session: session.0, key, object, covers }, true)? {
            Outcome::Committed(done) => {
                self.memory().remove(&session);
                Ok(done)
            }
            other => unexpected(&other),
        }
    }
}

/// What is there, as a read finds it.
#[derive(Default)]
struct Look {
    present: Vec<bool>,
    /// Present ones that the session does not protect yet, by place.
    touch: Vec<usize>,
    /// A grant for the absent ones must not be older.
    not_older: Epoch,
    replace: bool,
}

impl Look {
    /// The row of the next id. `few`: it has too few copies, and a grant for more must not be older than this.
    fn take(&mut self, session: &Session, row: Option<Row>, few: Option<Epoch>) {
        let present = few.is_none() && row.is_some_and(|row| row.state == State::Live);
        self.not_older = self.not_older.max(few.unwrap_or_default());
        if let Some(row) = row {
            if present && row.count == 0 && row.zero < session.start() {
                self.touch.push(self.present.len());
            }
            self.not_older = self.not_older.max(state::changed_at(row.state));
            self.replace |= matches!(row.state, State::Bad(_));
        }
        self.present.push(present);
    }
}

/// A page or list to register.
struct Page {
    id: BlockId,
    kind: Kind,
    children: Vec<BlockId>,
}

/// Reads headers, each page once.
fn parse_headers(headers: &[Vec<u8>], domain: &DomainId) -> Result<Vec<Page>> {
    let mut seen = HashSet::new();
    let mut pages = Vec::with_capacity(headers.len());
    for bytes in headers {
        let (header, len) = Header::parse(bytes).map_err(|e| ServiceError::Denied(e.to_string()))?;
        let id = header.id();
        if len != bytes.len() || !header.kind.has_children() {
            return Err(ServiceError::Denied(format!("the header of {id} is not that of a page or list alone")));
        }
        if header.domain != *domain {
            return Err(ServiceError::Denied(format!("{id} is of domain {}, the session of {domain}", header.domain)));
        }
        if header.children.iter().collect::<HashSet<_>>().len() != header.children.len() {
            return Err(ServiceError::Denied(format!("{id} names a child twice")));
        }
        if seen.insert(id) {
            pages.push(Page { id, kind: header.kind, children: header.children });
        }
    }
    Ok(pages)
}

/// How many of these pages fit into one command.
fn first_batch(pages: &[Page]) -> usize {
    let mut edges = 0;
    let fits = |page: &&Page| {
        edges += page.children.len() + 1;
        edges <= MAX_EDGES
    };
    pages.iter().take_while(fits).count()
}

/// An object whose signature holds.
pub(super) fn verified_object(bytes: &[u8], what: What) -> Result<SnapshotObject> {
    let object = SnapshotObject::parse(bytes).map_err(|e| ServiceError::Denied(e.to_string()))?;
    if object.what() != what {
        return Err(ServiceError::Denied(format!("an object of kind {:?}, not {what:?}", object.what())));
    }
    Ok(object)
}

const _: () = assert!(cas_core::limits::MAX_CHILDREN < MAX_EDGES);
