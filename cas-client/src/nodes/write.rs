//! Writing: every member of a block's partition is offered it, and gets it if it wants it.
//!
//! Bytes leave once, for the first of those members, who sends them on ([`super::chain`]); little ones, and those that a chain
//! could not take, leave once for each member. A member that fails is left out as long as the others can be enough; the index
//! records what it lacks when the receipts come in. Where too few are left, bytes that came back are sent again
//! ([`super::again`]): to those who are members by now, when they answer again.

use super::Nodes;
use super::again::{Again, is_passing};
use super::chain::{Came, Chain};
use super::view::View;
use cas_core::id::BlockId;
use cas_net::{Grant, NodeId, OfferAnswer, PendingReceipt, PutBlock, Receipt, Result, ServiceError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long to wait for the answer of a member to an offer when the others are enough.
const OFFER_GRACE: Duration = Duration::from_secs(5);
/// The same for receipts: it has to write what it was sent.
const RECEIPT_GRACE: Duration = Duration::from_secs(8);
/// As long as it takes: every request ends by itself.
const NO_HURRY: Duration = Duration::from_secs(24 * 3600);

/// Nodes that a block may go to: bits of [`Places`].
pub(super) const MAX_PLACES: usize = 16;

/// Members of one block, as bits by their number among the members of its partition; behind them those that stand in for some.
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
type Answer = Result<OfferAnswer>;

/// Which ids each member is asked for: their places in the list, and its number among the members of each.
type Asked = BTreeMap<u16, Vec<(usize, usize)>>;

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

    pub(super) fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    pub(super) fn has(self, place: usize) -> bool {
        place < MAX_PLACES && self.0 & (1 << place) != 0
    }

    /// Whether there are any with this number or a higher one.
    pub(super) fn any_from(self, place: usize) -> bool {
        self.0.checked_shr(place as u32).is_some_and(|rest| rest != 0)
    }
}

impl Nodes {
    /// Asks all members which blocks they want. Members that have a block touch it under the grant.
    ///
    /// # Errors
    /// [`ServiceError::Unreachable`] if for some block too few members can be asked to acknowledge it.
    pub fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<Offered> {
        let mut again = Again::within(self.patience);
        let mut is_shown = false;
        loop {
            let view = self.view();
            let why = match self.offer_in(view.clone(), grant, ids) {
                // Who is missing may have been replaced.
                Ok((_, true)) if self.is_outdated(&view) => continue,
                Ok((offered, _)) => return Ok(offered),
                Err(why) => why,
            };
            if matches!(why, ServiceError::Denied(_))
                && !std::mem::replace(&mut is_shown, true)
                && self.is_admitted(&self.present(&view))
            {
                continue;
            }
            if !self.is_outdated(&view) && (!is_passing(&why) || !again.pause()) {
                return Err(why);
            }
        }
    }

    /// The nodes that did not fail lately.
    fn present(&self, view: &View) -> Vec<NodeId> {
        view.layout.nodes.iter().map(|info| info.node).filter(|node| !self.choice.avoids(node)).collect()
    }

    /// Answers also whether somebody is to stand in for members.
    fn offer_in(&self, view: Arc<View>, grant: &Grant, ids: &[BlockId]) -> Result<(Offered, bool)> {
        let (asked, is_short) = self.by_node(&view, ids);
        if let Some(id) = ids.iter().find(|id| view.members(id).next().is_none()) {
            return Err(no_member(id));
        }
        let mut offered = Offered { wanted: vec![Places::default(); ids.len()], sent: Vec::new(), view: view.clone() };
        let is_alone = asked.len() <= 1 && !is_short;
        let mut reached: Vec<Vec<NodeId>> = vec![Vec::new(); if is_alone { 0 } else { ids.len() }];
        let (mut fault, mut refused) = (None, false);
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
                    // Another layout or another ticket may be all that is wrong: nobody stands in for one who is there.
                    refused |= matches!(why, ServiceError::Conflict { .. } | ServiceError::Denied(_));
                    fault = Some(why);
                }
            }
        }
        if fault.is_none() && !is_short {
            return Ok((offered, false));
        }
        let mut instead = false;
        if let Some(why) = fault.take_if(|_| is_alone) {
            return Err(why);
        }
        for ((id, reached), wanted) in ids.iter().zip(&reached).zip(&mut offered.wanted) {
            if !view.layout.is_enough(id, reached) {
                match self.stand_ins(&view, id, reached) {
                    Some(others) if !refused => (wanted.0, instead) = (wanted.0 | others.0, true),
                    _ => return Err(fault.unwrap_or_else(|| no_member(id))),
                }
            }
        }
        Ok((offered, instead))
    }

    /// Which ids each member is asked for, with its number among the members of each. Those that failed lately are left out
    /// where the others are enough, or somebody can stand in for them; that is the second answer.
    fn by_node(&self, view: &View, ids: &[BlockId]) -> (Asked, bool) {
        let (mut asked, mut is_short) = (Asked::new(), false);
        for node in &view.layout.nodes {
            if let Some(way) = view.by_id(&node.node) {
                self.look_after(node.node, way);
            }
        }
        for (at, id) in ids.iter().enumerate() {
            let good: Vec<NodeId> = view
                .members(id)
                .map(|(_, member, _)| view.info(member.node).node)
                .filter(|node| !self.choice.avoids(node))
                .collect();
            let mut enough = view.layout.is_enough(id, &good);
            if !enough && self.stand_ins(view, id, &good).is_some() {
                (enough, is_short) = (true, true);
            }
            for (place, member, _) in view.members(id) {
                if !enough || good.contains(&view.info(member.node).node) {
                    asked.entry(member.node).or_default().push((at, place));
                }
            }
        }
        (asked, is_short)
    }

    /// Offers to all of them at once. Those that do not answer are not waited for long where the others are enough.
    fn ask_all(&self, view: &View, grant: &Grant, ids: &[BlockId], asked: &Asked) -> Vec<(u16, Answer)> {
        let ids_of = |asked: &[(usize, usize)]| asked.iter().map(|(at, _)| ids[*at]).collect::<Vec<_>>();
        let node = |number: u16| view.node(number).expect("only reachable members are asked");
        if let (1, Some((number, asked))) = (asked.len(), asked.iter().next()) {
            return vec![(*number, node(*number).offer(grant, &ids_of(asked)))];
        }
        let (sender, answers) = channel();
        for (number, asked) in asked {
            let (number, sender) = (*number, sender.clone());
            // Nobody may wait any more.
            let done = Box::new(move |answer| drop(sender.send((number, answer))));
            node(number).offer_then(grant, ids_of(asked), done);
        }
        let began = Instant::now();
        let mut came: Vec<(u16, Answer)> = Vec::with_capacity(asked.len());
        while came.len() < asked.len() {
            let longest = if is_answered(view, ids, asked, &came) { OFFER_GRACE } else { NO_HURRY };
            match answers.recv_timeout(longest.saturating_sub(began.elapsed())) {
                Ok(answer) => came.push(answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let late: Vec<u16> = asked.keys().copied().filter(|n| came.iter().all(|(m, _)| m != n)).collect();
                    came.extend(late.into_iter().map(|number| (number, Err(silent(view.info(number).node)))));
                }
            }
        }
        came
    }

    /// Sends blocks to those who want them, by the layout they were offered under. Answers as soon as they are on their way;
    /// what goes wrong is said by [`Self::settle`].
    pub fn put(&self, view: &View, grant: &Grant, blocks: Vec<(PutBlock, Places)>) -> Vec<Sent> {
        let (mut ours, mut others) = (Vec::with_capacity(blocks.len()), Vec::new());
        for (block, places) in blocks {
            let (targets, instead): (Targets, Targets) =
                view.targets(&block.id, places).into_iter().partition(|number| is_member(view, &block.id, *number));
            if !instead.is_empty() {
                others.push((block.clone(), instead));
            }
            if !targets.is_empty() {
                ours.push((block, targets));
            }
        }
        let (chained, mut apart) = self.chained(view, ours);
        apart.append(&mut others);
        let mut sent = self.put_on(view, grant, chained);
        sent.extend(put_apart(view, grant, apart));
        sent
    }

    /// Puts one object to all members that are there, to others in the stead of those that are not if these are too few, and waits
    /// until enough have it.
    ///
    /// # Errors
    /// If too few nodes keep it.
    pub fn put_object(&self, grant: &Grant, block: PutBlock) -> Result<Vec<Receipt>> {
        let view = self.view();
        let put = |block: PutBlock| {
            let id = block.id;
            let sent = put_apart(&view, grant, vec![(block, self.targets_again(&view, &id, &[]))]);
            self.settle(&view, &[id], sent)
        };
        match put(block.clone()) {
            // A ticket lives for hours, a push may take days; and its last object is not offered before.
            Err(ServiceError::Denied(_)) if self.is_admitted(&self.present(&view)) => put(block),
            done => done,
        }
    }

    /// Waits for receipts, those of the offer and of all puts of these blocks. What too few members have is sent again, as far as
    /// it came back.
    ///
    /// # Errors
    /// Why a member failed, if a block is left with too few.
    pub fn settle(&self, view: &View, ids: &[BlockId], sent: impl IntoIterator<Item = Sent>) -> Result<Vec<Receipt>> {
        self.settle_within(RECEIPT_GRACE, view, ids, sent)
    }

    /// The same; those that are not needed are waited for so long.
    pub(super) fn settle_within(
        &self,
        grace: Duration,
        view: &View,
        ids: &[BlockId],
        sent: impl IntoIterator<Item = Sent>,
    ) -> Result<Vec<Receipt>> {
        let mut settled = Settled::default();
        let mut again = Again::within(self.patience);
        let mut newer: Option<Arc<View>> = None;
        let mut waiting: Vec<Sent> = sent.into_iter().collect();
        loop {
            let view = newer.as_deref().unwrap_or(view);
            self.wait(grace, view, ids, std::mem::take(&mut waiting), &mut settled);
            let short = settled.short(view, ids);
            let Some(why) = settled.fault.take_if(|_| !short.is_empty()) else { break };
            if !short.iter().all(|id| settled.back.contains_key(id)) {
                return Err(why);
            }
            let is_outdated = self.is_outdated(view);
            if !is_outdated && (!settled.is_passing || !again.pause()) {
                return Err(why);
            }
            tracing::debug!("{} blocks are sent again: {why}", short.len());
            settled.is_passing = false;
            let current = self.view();
            for (grant, blocks) in self.take_back(&mut settled, &current, &short) {
                waiting.extend(put_apart(&current, &grant, blocks));
            }
            newer = Some(current);
        }
        settled.receipts.retain(|receipt| !receipt.blocks.is_empty());
        Ok(settled.receipts)
    }

    /// Waits until everybody has answered, or enough have and the others take too long.
    fn wait(&self, grace: Duration, view: &View, ids: &[BlockId], sent: Vec<Sent>, settled: &mut Settled) {
        let began = Instant::now();
        let (mut waiting, mut late) = (sent, Vec::new());
        while let Some(sent) = waiting.pop() {
            match sent.wait_for(view, grace.saturating_sub(began.elapsed())) {
                Ok(came) => waiting.extend(self.take(came, settled)),
                Err(sent) => late.push(sent),
            }
        }
        if late.is_empty() {
            return;
        }
        if settled.short(view, ids).is_empty() {
            late.iter().for_each(|sent| self.choice.failed(sent.node, &silent(sent.node), Instant::now()));
            return;
        }
        while let Some(sent) = late.pop() {
            match sent.wait_for(view, NO_HURRY) {
                Ok(came) => late.extend(self.take(came, settled)),
                Err(sent) => settled.fault = Some(silent(sent.node)),
            }
        }
    }

    /// What is short, with those who are to have it beside those who do, by the grant it is sent under.
    fn take_back(
        &self,
        settled: &mut Settled,
        view: &View,
        short: &[BlockId],
    ) -> Vec<(Grant, Vec<(PutBlock, Targets)>)> {
        let mut sets: Vec<(Grant, Vec<(PutBlock, Targets)>)> = Vec::new();
        for id in short {
            let Some((grant, block)) = settled.back.remove(id) else { continue };
            let stored = settled.stored().remove(id).unwrap_or_default();
            let targets = self.targets_again(view, id, &stored);
            let same = |set: &(Grant, _)| (set.0.session, set.0.epoch) == (grant.session, grant.epoch);
            match sets.iter_mut().find(|set| same(set)) {
                Some((_, blocks)) => blocks.push((block, targets)),
                None => sets.push((grant, vec![(block, targets)])),
            }
        }
        sets
    }

    /// Notes what came. Answers what is to be waited for instead.
    fn take(&self, came: Came, settled: &mut Settled) -> Vec<Sent> {
        settled.receipts.extend(came.receipts);
        settled.back.extend(came.back.into_iter().map(|(grant, block)| (block.id, (grant, block))));
        for (node, why) in came.failed {
            self.choice.failed(node, &why, Instant::now());
            settled.is_passing |= is_passing(&why);
            settled.fault = Some(why);
        }
        came.again
    }
}

/// What has become of blocks so far.
#[derive(Default)]
struct Settled {
    receipts: Vec<Receipt>,
    fault: Option<ServiceError>,
    /// Whether a fault is one that passes.
    is_passing: bool,
    /// Blocks that came back.
    back: HashMap<BlockId, (Grant, PutBlock)>,
}

impl Settled {
    /// Blocks that too few members have.
    fn short(&self, view: &View, ids: &[BlockId]) -> Vec<BlockId> {
        let stored = self.stored();
        let is_short = |id: &&BlockId| !view.layout.is_enough(id, stored.get(id).map_or(&[], Vec::as_slice));
        ids.iter().filter(is_short).copied().collect()
    }

    fn stored(&self) -> HashMap<&BlockId, Vec<NodeId>> {
        let mut stored: HashMap<&BlockId, Vec<NodeId>> = HashMap::new();
        for receipt in &self.receipts {
            for block in &receipt.blocks {
                stored.entry(&block.id).or_default().push(receipt.node);
            }
        }
        stored
    }
}

impl Sent {
    /// Waits so long; gives itself back if nothing came.
    fn wait_for(self, view: &View, longest: Duration) -> Result<Came, Self> {
        let Self { node, what } = self;
        match what {
            What::Receipt(Ok(pending)) => match pending.wait_for(longest) {
                Ok(receipt) => Ok(Came::of_one(node, receipt)),
                Err(pending) => Err(Self { node, what: What::Receipt(Ok(pending)) }),
            },
            What::Receipt(Err(why)) => Ok(Came::of_one(node, Err(why))),
            What::Chain(chain) => {
                chain.wait_for(view, node, longest).map_err(|chain| Self { node, what: What::Chain(chain) })
            }
        }
    }
}

/// Sends blocks once to each of their targets. From those that send on, they come back if they cannot be kept.
pub(super) fn put_apart(view: &View, grant: &Grant, blocks: Vec<(PutBlock, Targets)>) -> Vec<Sent> {
    let send = |((number, instead), blocks)| {
        let node = view.node(number).expect("only reachable nodes are targets");
        let what = if node.sends_on() {
            What::Chain(Box::new(Chain::of_one(view, grant, number, instead, blocks)))
        } else {
            What::Receipt(node.put(grant, blocks))
        };
        Sent { node: view.info(number).node, what }
    };
    by_target(view, blocks).into_iter().map(send).collect()
}

/// The same, to nodes that know nothing of sending on.
pub(super) fn put_plainly(view: &View, grant: &Grant, blocks: Vec<(PutBlock, Targets)>) -> Vec<Sent> {
    let send = |((number, _), blocks)| {
        let node = view.node(number).expect("only reachable nodes are targets");
        Sent { node: view.info(number).node, what: What::Receipt(node.put(grant, blocks)) }
    };
    by_target(view, blocks).into_iter().map(send).collect()
}

/// Blocks by the node that they go to, and whether it stands in for a member.
fn by_target(view: &View, blocks: Vec<(PutBlock, Targets)>) -> BTreeMap<(u16, bool), Vec<PutBlock>> {
    let mut parts: BTreeMap<(u16, bool), Vec<PutBlock>> = BTreeMap::new();
    for (block, mut targets) in blocks {
        let last = targets.pop();
        let part = |target| (target, !is_member(view, &block.id, target));
        for target in targets {
            parts.entry(part(target)).or_default().push(block.clone());
        }
        if let Some(last) = last.map(part) {
            parts.entry(last).or_default().push(block);
        }
    }
    parts
}

fn is_member(view: &View, id: &BlockId, number: u16) -> bool {
    view.layout.members(id).iter().any(|member| member.node == number)
}

/// Whether those that have answered an offer are enough for every block.
fn is_answered(view: &View, ids: &[BlockId], asked: &Asked, came: &[(u16, Answer)]) -> bool {
    let mut reached: Vec<Vec<NodeId>> = vec![Vec::new(); ids.len()];
    for (number, answer) in came {
        if answer.is_ok() {
            asked[number].iter().for_each(|(at, _)| reached[*at].push(view.info(*number).node));
        }
    }
    ids.iter().zip(&reached).all(|(id, reached)| view.layout.is_enough(id, reached))
}

fn silent(node: NodeId) -> ServiceError {
    ServiceError::Unreachable { peer: node.0.to_string(), detail: "it is silent".into() }
}

fn no_member(id: &BlockId) -> ServiceError {
    ServiceError::Unreachable { peer: "every member".into(), detail: format!("nobody takes block {id}") }
}
