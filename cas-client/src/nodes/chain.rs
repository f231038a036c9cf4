//! Writing in chains: bytes leave once, and go from member to member. DESIGN §9.
//!
//! Promise: a receipt counts only if its node signed the sums that were sent: a node in between cannot put other bytes in
//! their place. Blocks whose first node fails come back, and go to the others one by one.

use super::Nodes;
use super::view::View;
use super::write::{Sent, Targets, What, put_apart};
use cas_core::id::{BlockId, Sum};
use cas_net::chain::{Chained, MAX_HOPS, MAX_WAY_NODES, PendingChain, Returned, Way};
use cas_net::{Grant, NodeId, PutBlock, Receipt, ServiceError};
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// Fewer bytes than this, put together, are sent to each member at once: that takes one trip, not three.
const CHAIN_BYTES: usize = 256 << 10;

/// Blocks that are sent on by the node that got them.
#[derive(Debug)]
pub struct Chain {
    pending: Result<PendingChain, Returned>,
    grant: Grant,
    /// All nodes that are meant.
    nodes: Vec<NodeId>,
    /// What was sent, and to whom.
    sent: HashMap<BlockId, (Sum, Targets)>,
}

/// What became of a chain.
pub struct Came {
    /// The word of its nodes.
    pub receipts: Vec<Receipt>,
    /// Those that failed, and why.
    pub failed: Vec<(NodeId, ServiceError)>,
    /// What was sent anew.
    pub again: Vec<Sent>,
}

/// Blocks with their targets.
type Blocks = Vec<(PutBlock, Targets)>;

impl Nodes {
    /// Which blocks go in chains, by who gets them first, and which apart.
    pub(super) fn chained(&self, view: &View, blocks: Blocks) -> (BTreeMap<u16, Blocks>, Blocks) {
        let bytes: usize = blocks.iter().map(|(block, _)| block.bytes.len()).sum();
        if bytes < CHAIN_BYTES {
            return (BTreeMap::new(), blocks);
        }
        let (mut chains, mut apart) = (BTreeMap::<u16, Blocks>::new(), Blocks::new());
        let now = Instant::now();
        for (block, mut targets) in blocks {
            // Not all blocks go to the same one first; near ones come before far ones.
            let turn = usize::from(block.id.0[31]) % targets.len().max(1);
            targets.rotate_left(turn);
            targets.sort_by_key(|target| self.choice.is_behind(view.info(*target), now));
            let sends_on = |first: &u16| view.node(*first).is_some_and(|node| node.sends_on());
            match targets.first() {
                Some(first) if targets.len() > 1 && targets.len() <= MAX_HOPS && sends_on(first) => {
                    chains.entry(*first).or_default().push((block, targets));
                }
                _ => apart.push((block, targets)),
            }
        }
        (chains, apart)
    }

    /// Sends blocks to their first node.
    pub(super) fn put_on(&self, view: &View, grant: &Grant, chains: BTreeMap<u16, Blocks>) -> Vec<Sent> {
        let mut sent = Vec::with_capacity(chains.len());
        for (first, blocks) in chains {
            let mut numbers: BTreeMap<u16, u8> = BTreeMap::new();
            let mut way = Way::default();
            for (_, targets) in &blocks {
                for target in &targets[1..] {
                    if numbers.len() < MAX_WAY_NODES && !numbers.contains_key(target) {
                        numbers.insert(*target, u8::try_from(numbers.len()).expect("there are not more"));
                        way.nodes.push(view.info(*target).node);
                    }
                }
            }
            let fits = |targets: &Targets| targets[1..].iter().all(|target| numbers.contains_key(target));
            let (blocks, apart): (Blocks, Blocks) = blocks.into_iter().partition(|(_, targets)| fits(targets));
            let mut nodes = way.nodes.clone();
            nodes.push(view.info(first).node);
            let what = blocks.iter().map(|(block, targets)| (block.id, (block.sum, targets.clone()))).collect();
            way.hops = blocks.iter().map(|(_, to)| to[1..].iter().map(|target| numbers[target]).collect()).collect();
            let node = view.node(first).expect("only reachable members are targets");
            let pending = node.put_on(grant, blocks.into_iter().map(|(block, _)| block).collect(), way);
            let chain = Chain { pending, grant: *grant, nodes, sent: what };
            sent.push(Sent { node: view.info(first).node, what: What::Chain(Box::new(chain)) });
            sent.extend(put_apart(view, grant, apart));
        }
        sent
    }
}

impl Chain {
    /// Waits for all of its nodes.
    pub(super) fn settle(self, view: &View, first: NodeId) -> Came {
        let Self { pending, grant, nodes, sent } = self;
        match pending.and_then(PendingChain::wait) {
            Ok(chained) => {
                let sums = sent.into_iter().map(|(id, (sum, _))| (id, sum)).collect();
                let Chained { receipts, failed } = chained.vouched(&nodes, &sums);
                Came { receipts, failed, again: Vec::new() }
            }
            Err(Returned { why, blocks }) => {
                // A node that does not know chains takes blocks all the same.
                let takes = matches!(why, ServiceError::Protocol(_));
                let onward = |block: PutBlock| {
                    let mut targets = sent.get(&block.id).map_or_else(Vec::new, |(_, targets)| targets.clone());
                    targets.retain(|target| takes || view.info(*target).node != first);
                    (block, targets)
                };
                let again = put_apart(view, &grant, blocks.into_iter().map(onward).collect());
                let failed = if takes { Vec::new() } else { vec![(first, why)] };
                Came { receipts: Vec::new(), failed, again }
            }
        }
    }
}
