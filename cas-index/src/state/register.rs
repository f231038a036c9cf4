//! Registration: pages and their children become rows, edges are counted. DESIGN §7.1.
//!
//! Promise: all or nothing. After it every page named is live, each of its children is live with this page counted
//! once, and whatever became live is covered by a receipt that no delete can have overtaken.

use super::blocks::{Row, Rows, State};
use super::interned::{Interned, number_of};
use super::sessions::{Session, living};
use super::{Applied, Meta, Outcome, deny, refuse};
use crate::cluster::command::MoreCover;
use crate::cluster::{Placement, Word, heal};
use crate::command::{Cover, MAX_EDGES, Register};
use crate::rights::quota;
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, Epoch, Kind, Sum};

/// Receipts of a block beside the first.
const MAX_MORE: usize = 7;

pub(super) fn register(tables: &mut impl Tables, meta: &mut Meta, register: &Register) -> Applied<Outcome> {
    register_all(tables, meta, register, &[])
}

/// With more receipts than one for a block.
pub(crate) fn register_all(
    tables: &mut impl Tables,
    meta: &mut Meta,
    register: &Register,
    more: &[MoreCover],
) -> Applied<Outcome> {
    let session = living(tables, register.session)?;
    let ids: Vec<BlockId> = register.ids.ids().collect();
    let kinds = checked_kinds(tables, register, ids.len())?;
    let Some(mut rows) = Rows::load(tables, &ids)? else { return deny("a registration names a block twice") };

    let mut placement = Placement::load(tables, meta)?;
    let said = Said::new(tables, register, more)?;
    let mut healing = Vec::new();
    let mut missing = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        match rows.at(i) {
            Some(row) if row.domain != session.domain => return deny(format!("{id} belongs to another domain")),
            Some(row) if row.count > u32::MAX - MAX_EDGES as u32 => {
                return deny(format!("{id} is referenced too often"));
            }
            Some(row) if row.state == State::Live && placement.is_open() => {}
            // A page that comes back must bring its edges: they went when it was condemned.
            Some(row)
                if row.state != State::Live
                    && row.kind.has_children()
                    && kinds[i].is_none()
                    && has_no_edges(tables, id)? =>
            {
                missing.push(*id)
            }
            row => {
                let words = said.words(i, row.as_ref(), &session, meta);
                let is_live = row.as_ref().is_some_and(|row| row.state == State::Live);
                let verdict = placement.judge(tables, meta, id, is_live, &words)?;
                if !verdict.enough {
                    missing.push(*id);
                } else if verdict.changed {
                    healing.push((*id, verdict.heal));
                }
            }
        }
    }
    if !missing.is_empty() {
        return Ok(Outcome::Registered(missing));
    }

    let is_new = |row: &Option<Row>| row.as_ref().is_none_or(|row| row.state != State::Live);
    let mut wanted = 0;
    for (i, cover) in register.covers.iter().enumerate() {
        wanted += if is_new(rows.at(i)) { u64::from(cover.len) } else { 0 };
    }
    if let Some(full) = quota::check(tables, &session, wanted)? {
        return refuse(full);
    }

    let mut counted = Vec::with_capacity(register.pages.len());
    for page in &register.pages {
        let row = rows.at(page.at as usize);
        let lives = row.as_ref().is_some_and(|row| !row.is_condemned());
        counted.push(lives && !has_no_edges(tables, &ids[page.at as usize])?);
    }
    revive(&mut rows, register, &kinds, &session, meta.epoch);
    for (page, counted) in register.pages.iter().zip(counted) {
        if counted {
            continue;
        }
        let mut edges = Vec::with_capacity(page.children.len() * BlockId::LEN);
        for child in &page.children {
            let row = rows.at(*child as usize).as_mut().expect("every id is live by now");
            row.count += 1;
            edges.extend_from_slice(ids[*child as usize].as_bytes());
        }
        tables.put(Table::Kids, ids[page.at as usize].as_bytes(), edges);
    }
    for page in &register.pages {
        let row = rows.at(page.at as usize).as_mut().expect("every id is live by now");
        if row.count == 0 {
            row.zero = meta.epoch;
        }
    }
    rows.write(tables, meta)?;
    for (id, row) in healing {
        heal::put(tables, meta, &id, row.as_ref())?;
    }
    Ok(Outcome::Registered(Vec::new()))
}

/// Refuses what is not well formed. Answers the kind per id as far as pages say it.
fn checked_kinds(tables: &impl Tables, register: &Register, ids: usize) -> Applied<Vec<Option<Kind>>> {
    let covers = register.covers.len();
    let edges: usize = register.pages.iter().map(|page| page.children.len()).sum();
    if covers > ids || register.sums.count() != covers || register.ids.0.len() != ids * 32 || edges > MAX_EDGES {
        return deny("a registration is malformed");
    }
    let mut known = Vec::with_capacity(register.nodes.count());
    for n in 0..register.nodes.count() {
        known.push(number_of(tables, Interned::Node, &register.nodes.at(n))?.is_some());
    }
    if register.covers.iter().any(|cover: &Cover| !known.get(cover.node as usize).is_some_and(|known| *known)) {
        return deny("a receipt is of an unknown node");
    }
    let mut kinds = vec![None; ids];
    let mut seen_by = vec![u32::MAX; ids];
    for (n, page) in register.pages.iter().enumerate() {
        let kind = Kind::from_byte(page.kind).filter(|kind| kind.has_children());
        match kinds.get_mut(page.at as usize) {
            Some(slot @ None) if kind.is_some() => *slot = kind,
            _ => return deny("a registration names a page twice or wrongly"),
        }
        for child in &page.children {
            match seen_by.get_mut(*child as usize) {
                Some(seen) if *seen != n as u32 => *seen = n as u32,
                _ => return deny("a page names a child twice or wrongly"),
            }
        }
    }
    Ok(kinds)
}

/// What the receipts of a registration say.
struct Said<'a> {
    register: &'a Register,
    /// Numbers of its nodes.
    nodes: Vec<u32>,
    /// The other receipts, by block.
    more: Vec<MoreCover>,
}

impl<'a> Said<'a> {
    fn new(tables: &impl Tables, register: &'a Register, more: &[MoreCover]) -> Applied<Self> {
        let mut nodes = Vec::with_capacity(register.nodes.count());
        for n in 0..register.nodes.count() {
            nodes.extend(number_of(tables, Interned::Node, &register.nodes.at(n))?);
        }
        let mut more = more.to_vec();
        more.sort_unstable_by_key(|cover| (cover.at, cover.node));
        let is_named =
            |cover: &MoreCover| (cover.node as usize) < nodes.len() && (cover.at as usize) < register.covers.len();
        if more.len() > MAX_EDGES * MAX_MORE || !more.iter().all(is_named) {
            return deny("a registration is malformed");
        }
        Ok(Self { register, nodes, more })
    }

    /// The receipts of a block that hold.
    fn words(&self, i: usize, row: Option<&Row>, session: &Session, meta: &Meta) -> Vec<Word> {
        let Some(cover) = self.register.covers.get(i) else { return Vec::new() };
        // Of what lives, a copy is one of the same bytes.
        if row.is_some_and(|row| row.state == State::Live && row.sum.0 != self.register.sums.at(i)) {
            return Vec::new();
        }
        let first = self.more.partition_point(|more| (more.at as usize) < i);
        let more = self.more[first..].iter().take_while(|more| more.at as usize == i);
        let all = more.map(|more| (more.node, more.grant)).chain([(cover.node, cover.grant)]);
        let holding = all.filter(|(_, grant)| holds(Epoch(*grant), row, session, meta));
        holding.map(|(node, grant)| Word { node: self.nodes[node as usize], grant: Epoch(grant) }).collect()
    }
}

/// Whether a receipt proves that the block is there, and that no delete can have overtaken it.
fn holds(grant: Epoch, row: Option<&Row>, session: &Session, meta: &Meta) -> bool {
    let not_older = match row {
        Some(row) => super::changed_at(row.state),
        None => meta.last_gone,
    };
    grant >= session.start() && grant >= not_older && grant < meta.epoch
}

fn has_no_edges(tables: &impl Tables, page: &BlockId) -> Applied<bool> {
    Ok(tables.get(Table::Kids, page.as_bytes())?.is_none())
}

/// Makes everything covered that is not live a live row.
fn revive(rows: &mut Rows, register: &Register, kinds: &[Option<Kind>], session: &Session, now: Epoch) {
    for (i, cover) in register.covers.iter().enumerate() {
        let row = rows.at(i);
        if row.is_some_and(|row| row.state == State::Live) {
            continue;
        }
        *row = Some(Row {
            kind: kinds[i].or(row.map(|row| row.kind)).unwrap_or(Kind::Data),
            state: State::Live,
            sum: Sum(register.sums.at(i)),
            count: row.map_or(0, |row| row.count),
            len: cover.len,
            domain: session.domain,
            device: session.device,
            zero: now,
        });
    }
    for (i, kind) in kinds.iter().enumerate() {
        if let (Some(kind), Some(row)) = (kind, rows.at(i)) {
            row.kind = *kind;
        }
    }
}
