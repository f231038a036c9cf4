//! Writing: every member of a block's partition is offered it, and gets it if it wants it.
//!
//! Fan-out: bytes leave once for each member. A member that fails is left out as long as the others can be enough; the index
//! records what it lacks when the receipts come in.

use super::Nodes;
use super::view::View;
use cas_core::id::BlockId;
use cas_net::{Grant, NodeId, PendingReceipt, PutBlock, Receipt, Result, ServiceError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Members of one block, as bits by their number among the members of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places(u16);

/// What the members said to an offer.
pub struct Offered {
    /// Per id: who wants it. Nobody, if all that count have it.
    pub wanted: Vec<Places>,
    /// Of those who have some of it.
    pub sent: Vec<Sent>,
    /// The layout that [`Places`] refer to.
    pub view: Arc<View>,
}

/// What one node says to an offer.
type Answer = Result<(Vec<bool>, PendingReceipt)>;

/// A request to one node whose receipt is awaited.
#[derive(Debug)]
pub struct Sent {
    node: NodeId,
    receipt: Result<PendingReceipt>,
}

impl Places {
    /// Whether nobody is meant.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn add(&mut self, member: usize) {
        self.0 |= 1 << member;
    }

    fn has(self, member: usize) -> bool {
        self.0 & (1 << member) != 0
    }
}

impl Nodes {
    /// Asks all members which blocks they want. Members that have a block touch it under the grant.
    ///
    /// # Errors
    /// [`ServiceError::Unreachable`] if for some block too few members can be asked to acknowledge it.
    pub fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<Offered> {
        match self.offer_in(self.view(), grant, ids) {
            Err(why) => {
                if self.refresh()? {
                    self.offer_in(self.view(), grant, ids)
                } else {
                    Err(why)
                }
            }
            offered => offered,
        }
    }

    fn offer_in(&self, view: Arc<View>, grant: &Grant, ids: &[BlockId]) -> Result<Offered> {
        let asked = self.by_node(&view, ids);
        if let Some(id) = ids.iter().find(|id| view.members(id).next().is_none()) {
            return Err(no_member(id));
        }
        let mut offered = Offered { wanted: vec![Places::default(); ids.len()], sent: Vec::new(), view: view.clone() };
        let mut reached: Vec<Vec<NodeId>> = vec![Vec::new(); if asked.len() > 1 { ids.len() } else { 0 }];
        let mut fault = None;
        for (number, answer) in self.ask_all(&view, grant, ids, &asked) {
            let node = view.info(number).node;
            match answer {
                Ok((wanted, receipt)) => {
                    for ((at, member), wanted) in asked[&number].iter().zip(wanted) {
                        if wanted {
                            offered.wanted[*at].add(*member);
                        }
                        if let Some(reached) = reached.get_mut(*at) {
                            reached.push(node);
                        }
                    }
                    offered.sent.push(Sent { node, receipt: Ok(receipt) });
                }
                Err(why) => {
                    self.choice.failed(node, &why, Instant::now());
                    fault = Some(why);
                }
            }
        }
        match fault {
            None => Ok(offered),
            Some(why) if asked.len() <= 1 => Err(why),
            Some(why) => {
                let short = ids.iter().zip(&reached).find(|(id, reached)| !view.layout.is_enough(id, reached));
                short.map_or(Ok(offered), |_| Err(why))
            }
        }
    }

    /// Which ids each member is asked for, with its number among the members of each. Those that failed lately are left out
    /// where the others are enough.
    fn by_node(&self, view: &View, ids: &[BlockId]) -> BTreeMap<u16, Vec<(usize, usize)>> {
        let now = Instant::now();
        let mut asked: BTreeMap<u16, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, id) in ids.iter().enumerate() {
            let good: Vec<NodeId> = view
                .members(id)
                .map(|(_, member, _)| view.info(member.node).node)
                .filter(|node| !self.choice.avoids(node, now))
                .collect();
            let enough = view.layout.is_enough(id, &good);
            for (place, member, _) in view.members(id) {
                if !enough || good.contains(&view.info(member.node).node) {
                    asked.entry(member.node).or_default().push((at, place));
                }
            }
        }
        asked
    }

    /// Offers to all of them at once.
    fn ask_all(
        &self,
        view: &View,
        grant: &Grant,
        ids: &[BlockId],
        asked: &BTreeMap<u16, Vec<(usize, usize)>>,
    ) -> Vec<(u16, Answer)> {
        let ask = |number: u16, asked: &[(usize, usize)]| {
            let node = view.node(number).expect("only reachable members are asked");
            let ids: Vec<BlockId> = asked.iter().map(|(at, _)| ids[*at]).collect();
            (number, node.offer(grant, &ids))
        };
        if asked.len() <= 1 {
            return asked.iter().map(|(number, asked)| ask(*number, asked)).collect();
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                asked.iter().map(|(number, asked)| scope.spawn(move || ask(*number, asked))).collect();
            threads.into_iter().map(|thread| thread.join().expect("offering does not panic")).collect()
        })
    }

    /// Sends blocks to those who want them, by the layout they were offered under. Answers as soon as they are on their way;
    /// what goes wrong is said by [`Self::settle`].
    pub fn put(&self, view: &View, grant: &Grant, blocks: Vec<(PutBlock, Places)>) -> Vec<Sent> {
        let mut parts: BTreeMap<u16, Vec<PutBlock>> = BTreeMap::new();
        for (block, places) in blocks {
            let mut targets: Vec<u16> =
                view.members(&block.id).filter(|(at, ..)| places.has(*at)).map(|(_, member, _)| member.node).collect();
            let last = targets.pop();
            for target in targets {
                parts.entry(target).or_default().push(block.clone());
            }
            if let Some(last) = last {
                parts.entry(last).or_default().push(block);
            }
        }
        let send = |(number, blocks)| {
            let node = view.node(number).expect("it was offered to");
            Sent { node: view.info(number).node, receipt: node.put(grant, blocks) }
        };
        parts.into_iter().map(send).collect()
    }

    /// Puts one object to all members and waits until enough have it.
    ///
    /// # Errors
    /// If too few members keep it.
    pub fn put_object(&self, grant: &Grant, block: PutBlock) -> Result<Vec<Receipt>> {
        let view = self.view();
        let id = block.id;
        let mut all = Places::default();
        view.members(&id).for_each(|(at, ..)| all.add(at));
        let sent = self.put(&view, grant, vec![(block, all)]);
        self.settle(&view, &[id], sent)
    }

    /// Waits for receipts, those of the offer and of all puts of these blocks.
    ///
    /// # Errors
    /// Why a member failed, if a block is left with too few.
    pub fn settle(&self, view: &View, ids: &[BlockId], sent: impl IntoIterator<Item = Sent>) -> Result<Vec<Receipt>> {
        let (mut receipts, mut fault) = (Vec::new(), None);
        for Sent { node, receipt } in sent {
            match receipt.and_then(PendingReceipt::wait) {
                Ok(receipt) => receipts.push(receipt),
                Err(why) => {
                    self.choice.failed(node, &why, Instant::now());
                    fault = Some(why);
                }
            }
        }
        receipts.retain(|receipt| !receipt.blocks.is_empty());
        match fault {
            Some(why) if is_short(view, ids, &receipts) => Err(why),
            _ => Ok(receipts),
        }
    }
}

/// Whether some block has receipts of too few members.
fn is_short(view: &View, ids: &[BlockId], receipts: &[Receipt]) -> bool {
    let mut stored: HashMap<BlockId, Vec<NodeId>> = HashMap::new();
    for receipt in receipts {
        for block in &receipt.blocks {
            stored.entry(block.id).or_default().push(receipt.node);
        }
    }
    ids.iter().any(|id| !view.layout.is_enough(id, stored.get(id).map_or(&[], Vec::as_slice)))
}

fn no_member(id: &BlockId) -> ServiceError {
    ServiceError::Unreachable { peer: "every member".into(), detail: format!("nobody takes block {id}") }
}
