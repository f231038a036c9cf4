//! Reading: the best member first, another one when it takes longer than it should, the next on any fault.
//!
//! ```text
//! best member ──longer than 19 of 20 reads──▶ second member as well ──3 s of silence──▶ third …
//!      └─ error, wrong bytes: the next one at once
//! ```
//! Extra reads are a small share of all. Whoever loses a race is not stopped: what it sends is measured, then dropped.

use super::Nodes;
use super::choice::{Choice, SILENCE};
use super::view::View;
use cas_core::id::BlockId;
use cas_net::cluster::Damage;
use cas_net::{Found, Node, NodeId, Result, ServiceError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

/// What was found out in reading one block.
pub(super) struct Findings<E> {
    /// Why the reader refused the last bytes it saw.
    refused: Option<E>,
    /// Copies that are not what they should be.
    pub(super) damaged: Vec<Damage>,
    /// A node goes by another layout.
    stale: bool,
    /// Nodes that take no orders from this client.
    refused_by: Vec<NodeId>,
}

impl Nodes {
    /// The stored bytes of a block, from whichever member has them.
    ///
    /// # Errors
    /// `Damaged` or `NotFound` if every member was asked and none has it whole; else why a member could not be asked.
    pub fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        self.read(id, &mut |bytes| Ok(bytes))
    }

    /// Like [`Self::get`], for a reader who can tell wrong bytes: those that `open` refuses count as the member's fault.
    ///
    /// # Errors
    /// The last refusal of `open`, if no member had anything better; else as [`Self::get`].
    pub fn read<T, E: From<ServiceError> + std::fmt::Debug>(
        &self,
        id: &BlockId,
        open: &mut dyn FnMut(Vec<u8>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut findings = Findings { refused: None, damaged: Vec::new(), stale: false, refused_by: Vec::new() };
        let view = self.view();
        let mut found = self.read_in(&view, id, open, &mut findings);
        let is_outdated = (found.is_err() || findings.stale) && self.is_outdated(&view);
        if found.is_err() && (self.is_admitted(&findings.refused_by) || is_outdated) {
            found = self.read_in(&self.view(), id, open, &mut findings);
        }
        if found.is_err() {
            let view = self.view();
            let others = self.others(&view, id);
            if !others.is_empty() {
                found = self.read_from(&others, id, open, &mut findings).or(found);
            }
        }
        self.report(&findings.damaged);
        found.map_err(|why| findings.refused.unwrap_or_else(|| why.into()))
    }

    fn read_in<T, E>(
        &self,
        view: &View,
        id: &BlockId,
        open: &mut dyn FnMut(Vec<u8>) -> std::result::Result<T, E>,
        findings: &mut Findings<E>,
    ) -> Result<T> {
        self.read_from(&self.ranked(view, id), id, open, findings)
    }

    fn read_from<T, E>(
        &self,
        ranked: &[Candidate<'_>],
        id: &BlockId,
        open: &mut dyn FnMut(Vec<u8>) -> std::result::Result<T, E>,
        findings: &mut Findings<E>,
    ) -> Result<T> {
        let mut race = Race::new(id, ranked, &self.choice);
        let mut worst = ServiceError::NotFound { what: "block", name: id.to_string() };
        while let Some((candidate, answer)) = race.next() {
            let damage = Damage { node: candidate.id, id: *id };
            match answer {
                Ok(bytes) => match open(bytes) {
                    Ok(opened) => return Ok(opened),
                    Err(why) => {
                        findings.damaged.push(damage);
                        findings.refused = Some(why);
                    }
                },
                Err(why) => {
                    let is_gone = matches!(why, ServiceError::NotFound { .. }) && !candidate.behind;
                    if is_gone || matches!(why, ServiceError::Damaged { .. }) {
                        findings.damaged.push(damage);
                    }
                    if matches!(why, ServiceError::Denied(_)) {
                        findings.refused_by.push(candidate.id);
                    }
                    findings.stale |= matches!(why, ServiceError::Conflict { .. });
                    worst = worse(worst, why);
                }
            }
        }
        Err(worst)
    }

    /// The members of a block, the best first; those that may not have everything last.
    pub(super) fn ranked<'v>(&self, view: &'v View, id: &BlockId) -> Vec<Candidate<'v>> {
        let mut members: Vec<_> = view
            .members(id)
            .map(|(_, member, node)| {
                let info = view.info(member.node);
                self.look_after(info.node, node);
                let behind = member.is_uncounted() || member.joins();
                (self.choice.rank(info), Candidate { id: info.node, behind, node })
            })
            .collect();
        let key = |(rank, candidate): &(_, Candidate<'v>)| (candidate.behind, *rank);
        members.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
        members.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Nodes that keep a block in the stead of members, by what the index knows.
    fn others<'v>(&self, view: &'v View, id: &BlockId) -> Vec<Candidate<'v>> {
        let nodes = self.located(id).into_iter().filter(|node| !view.layout.takes(node, id));
        let candidate = |id: NodeId| Some(Candidate { id, behind: true, node: view.by_id(&id)? });
        nodes.filter_map(candidate).collect()
    }

    /// Tells the index of copies that are not what they should be. That it cannot be told now is no reason to fail a read.
    pub(super) fn report(&self, damaged: &[Damage]) {
        if let (Some(source), false) = (&self.source, damaged.is_empty()) {
            source.reports.tell(damaged);
        }
    }

    /// Where blocks lie on their best member: numbers that grow with the place on disk, to read in that order.
    ///
    /// # Errors
    /// As the node says.
    pub fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let view = self.view();
        match view.layout.nodes.len() {
            1 => view.node(0).map_or_else(|| Ok(vec![None; ids.len()]), |node| node.locality(ids)),
            // Over many nodes and disks there is no such order.
            _ => Ok(vec![None; ids.len()]),
        }
    }
}

/// A member that may be asked.
pub(super) struct Candidate<'v> {
    pub(super) id: NodeId,
    /// It may not have everything it should.
    pub(super) behind: bool,
    pub(super) node: &'v Arc<dyn Node>,
}

type Answer = (usize, Result<Vec<u8>>);

/// Members being asked for one block.
struct Race<'r, 'v> {
    id: BlockId,
    ranked: &'r [Candidate<'v>],
    choice: &'r Arc<Choice>,
    asked: usize,
    answered: usize,
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl<'r, 'v> Race<'r, 'v> {
    fn new(id: &BlockId, ranked: &'r [Candidate<'v>], choice: &'r Arc<Choice>) -> Self {
        choice.earns();
        Self { id: *id, ranked, choice, asked: 0, answered: 0, answers: channel() }
    }

    /// The next answer; `None` when all have answered.
    fn next(&mut self) -> Option<(&'r Candidate<'v>, Result<Vec<u8>>)> {
        if self.asked == self.answered {
            if self.asked == self.ranked.len() {
                return None;
            }
            if self.ranked.len() == 1 {
                return Some(self.ask_only());
            }
            self.ask_next();
        }
        let (at, answer) = self.wait();
        self.answered += 1;
        Some((&self.ranked[at], answer))
    }

    /// Nobody else has it: no need to be able to wait for two.
    fn ask_only(&mut self) -> (&'r Candidate<'v>, Result<Vec<u8>>) {
        let only = &self.ranked[0];
        (self.asked, self.answered) = (1, 1);
        let began = Instant::now();
        self.choice.begins(only.id);
        let got = only.node.get(&self.id);
        let now = Instant::now();
        self.choice.ends(only.id, got.as_ref().map(|_| now - began), now);
        (only, got)
    }

    fn ask_next(&mut self) {
        let (at, id, candidate) = (self.asked, self.id, &self.ranked[self.asked]);
        self.asked += 1;
        let (node, choice, answers) = (candidate.id, self.choice.clone(), self.answers.0.clone());
        let began = Instant::now();
        choice.begins(node);
        let done = move |found: Result<Vec<Found>>| {
            let got = found.and_then(|found| only(&id, found));
            let now = Instant::now();
            choice.ends(node, got.as_ref().map(|_| now - began), now);
            let _ = answers.send((at, got)); // The race may be over.
        };
        candidate.node.get_then(vec![id], 1, Box::new(done));
    }

    /// Waits for whoever comes first, and asks more of them meanwhile.
    fn wait(&mut self) -> Answer {
        let mut since = Instant::now();
        let mut hedged = false;
        while self.asked < self.ranked.len() {
            let newest = &self.ranked[self.asked - 1];
            let patience = if hedged { SILENCE } else { self.choice.wait_alone(&newest.id) };
            match self.answers.1.recv_timeout(patience.saturating_sub(since.elapsed())) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => unreachable!("this end of the channel is kept"),
                Err(RecvTimeoutError::Timeout) if patience >= SILENCE || self.choice.may_hedge() => {
                    self.ask_next();
                    (since, hedged) = (Instant::now(), true);
                }
                Err(RecvTimeoutError::Timeout) => hedged = true,
            }
        }
        self.answers.1.recv().expect("this end of the channel is kept")
    }
}

/// The bytes of the one block that was asked for.
fn only(id: &BlockId, found: Vec<Found>) -> Result<Vec<u8>> {
    let only: Option<[Found; 1]> = found.try_into().ok();
    match only {
        Some([Found::Here(block)]) if block.id == *id => Ok(block.bytes.into()),
        Some([Found::Absent]) => Err(ServiceError::NotFound { what: "block", name: id.to_string() }),
        Some([Found::Damaged(detail)]) => Err(ServiceError::Damaged { what: format!("block {id}"), detail }),
        _ => Err(ServiceError::Protocol("GetMany: not what was asked for".into())),
    }
}

/// What says more of a block: damage before absence, and that somebody could not be asked before both, since he may have it.
fn worse(a: ServiceError, b: ServiceError) -> ServiceError {
    let weight = |e: &ServiceError| match e {
        ServiceError::NotFound { .. } => 0,
        ServiceError::Damaged { .. } => 1,
        _ => 2,
    };
    if weight(&b) >= weight(&a) { b } else { a }
}
