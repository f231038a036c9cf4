//! Writing: every member of a block's partition is offered it, and gets it if it wants it.
//!
//! Bytes leave once, for the first of those members, who sends them on ([`super::chain`]); little ones, and those that a chain
//! could not take, leave once for each member. A member that fails is left out as long as the others can be enough; the index
//! records what it lacks when the receipts come in.

use super::Nodes;
use super::chain::Chain;
use super::view::View;
use cas_core::id::BlockId;
use cas_net::{Grant, NodeId, PendingReceipt, PutBlock, Receipt, Result, ServiceError};
use std::collections::{BTreeMap, HashMap, VecDeque};
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

/// A request to one node whose receipt is awaited, or to one that sends blocks on.
#[derive(Debug)]
pub struct Sent {
    pub(super) node: NodeId,
    pub(super) what: What,
}

/// What is awaited.
#[derive(Debug)]
pub(super) enum What {
    Receipt(Result<PendingReceipt>),
    Chain(Box<Chain>),
}

/// Members that a block goes to, by their numbers in the layout.
pub(super) type Targets = Vec<u16>;

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
                    offered.sent.push(Sent { node, what: What::Receipt(Ok(receipt)) });
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
        let targets = |(block, places): (PutBlock, Places)| {
            let members = view.members(&block.id).filter(|(at, ..)| places.has(*at));
            let targets: Targets = members.map(|(_, member, _)| member.node).collect();
            (block, targets)
        };
        let blocks: Vec<(PutBlock, Targets)> = blocks.into_iter().map(targets).collect();
        let (chained, apart) = self.chained(view, blocks);
        let mut sent = self.put_on(view, grant, chained);
        sent.extend(put_apart(view, grant, apart));
        sent
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
        let mut waiting: VecDeque<Sent> = sent.into_iter().collect();
        while let Some(Sent { node, what }) = waiting.pop_front() {
            let mut failed = |node: NodeId, why: ServiceError| {
                self.choice.failed(node, &why, Instant::now());
                fault = Some(why);
            };
            match what {
                What::Receipt(receipt) => match receipt.and_then(PendingReceipt::wait) {
                    Ok(receipt) => receipts.push(receipt),
                    Err(why) => failed(node, why),
                },
                What::Chain(chain) => {
                    let came = chain.settle(view, node);
                    receipts.extend(came.receipts);
                    came.failed.into_iter().for_each(|(node, why)| failed(node, why));
                    waiting.extend(came.again);
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

/// Sends blocks once to each of their targets.
pub(super) fn put_apart(view: &View, grant: &Grant, blocks: Vec<(PutBlock, Targets)>) -> Vec<Sent> {
    let mut parts: BTreeMap<u16, Vec<PutBlock>> = BTreeMap::new();
    for (block, mut targets) in blocks {
        let last = targets.pop();
        for target in targets {
            parts.entry(target).or_default().push(block.clone());
        }
        if let Some(last) = last {
            parts.entry(last).or_default().push(block);
        }
    }
    let send = |(number, blocks)| {
        let node = view.node(number).expect("only reachable members are targets");
        Sent { node: view.info(number).node, what: What::Receipt(node.put(grant, blocks)) }
    };
    parts.into_iter().map(send).collect()
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
