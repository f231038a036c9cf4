//! Reading: the best member first, the next on any fault.

use super::Nodes;
use super::view::View;
use cas_core::id::BlockId;
use cas_net::cluster::Damage;
use cas_net::{Node, NodeId, Result, ServiceError};
use std::sync::Arc;
use std::time::Instant;

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
        let mut refused = None;
        let mut damaged = Vec::new();
        let mut found = self.read_in(&self.view(), id, open, &mut refused, &mut damaged);
        if found.is_err() && self.refresh().unwrap_or(false) {
            found = self.read_in(&self.view(), id, open, &mut refused, &mut damaged);
        }
        self.report(&damaged);
        found.map_err(|why| refused.unwrap_or_else(|| why.into()))
    }

    fn read_in<T, E>(
        &self,
        view: &View,
        id: &BlockId,
        open: &mut dyn FnMut(Vec<u8>) -> std::result::Result<T, E>,
        refused: &mut Option<E>,
        damaged: &mut Vec<Damage>,
    ) -> Result<T> {
        let mut worst = ServiceError::NotFound { what: "block", name: id.to_string() };
        for (info, node) in self.ranked(view, id) {
            match self.ask(info, &**node, id) {
                Ok(bytes) => match open(bytes) {
                    Ok(opened) => return Ok(opened),
                    Err(why) => {
                        damaged.push(Damage { node: info, id: *id });
                        *refused = Some(why);
                    }
                },
                Err(why) => {
                    if matches!(why, ServiceError::Damaged { .. } | ServiceError::NotFound { .. }) {
                        damaged.push(Damage { node: info, id: *id });
                    }
                    worst = worse(worst, why);
                }
            }
        }
        Err(worst)
    }

    fn ask(&self, who: NodeId, node: &dyn Node, id: &BlockId) -> Result<Vec<u8>> {
        let began = Instant::now();
        self.choice.begins(who);
        let got = node.get(id);
        match &got {
            Ok(_) => self.choice.ends(who, began.elapsed()),
            Err(why) => self.choice.failed(who, why, Instant::now()),
        }
        got
    }

    /// The members of a block, the best first; those that may not have everything last.
    fn ranked<'v>(&self, view: &'v View, id: &BlockId) -> Vec<(NodeId, &'v Arc<dyn Node>)> {
        let now = Instant::now();
        let mut members: Vec<_> = view
            .members(id)
            .map(|(_, member, node)| {
                let info = view.info(member.node);
                let behind = member.is_uncounted() || member.joins();
                (behind, self.choice.rank(info, now), info.node, node)
            })
            .collect();
        members.sort_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal));
        members.into_iter().map(|(.., id, node)| (id, node)).collect()
    }

    /// Tells the index of copies that are not what they should be. It looks itself; that it cannot be told now is no
    /// reason to fail a read.
    fn report(&self, damaged: &[Damage]) {
        if let (Some(source), false) = (&self.source, damaged.is_empty())
            && let Err(why) = source.cluster.report(damaged)
        {
            tracing::debug!("{} damaged copies could not be reported: {why}", damaged.len());
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

/// What says more of a block: damage before absence, and that somebody could not be asked before both, since he may have it.
fn worse(a: ServiceError, b: ServiceError) -> ServiceError {
    let weight = |e: &ServiceError| match e {
        ServiceError::NotFound { .. } => 0,
        ServiceError::Damaged { .. } => 1,
        _ => 2,
    };
    if weight(&b) >= weight(&a) { b } else { a }
}
