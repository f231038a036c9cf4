//! Writing in chains: bytes leave once, and go from member to member. DESIGN §9.
//!
//! Promise: a receipt counts only if its node signed the sums that were sent: a node in between cannot put other bytes in
//! their place. Blocks whose first node fails come back, and go to the others one by one; those for which nobody is left come
//! back to whoever sent them.

use super::Nodes;
use super::view::View;
use super::write::{Sent, Targets, What, put_apart, put_plainly};
use cas_core::id::{BlockId, Sum};
use cas_net::chain::{Chained, MAX_HOPS, MAX_WAY_NODES, PendingChain, Returned, Way};
use cas_net::{Grant, NodeId, PutBlock, Receipt, ServiceError};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Fewer bytes than this, put together, are sent to each member at once: that takes one trip, not three.
const CHAIN_BYTES: usize = 256 << 10;

/// Blocks that are sent on by the node that got them.
#[derive(Debug)]
pub struct Chain {
    pending: Result<PendingChain, Returned>,
    order: Order,
}

/// What is to become of them.
#[derive(Debug)]
struct Order {
    grant: Grant,
    /// All nodes that are meant.
    nodes: Vec<NodeId>,
    /// What was sent, and to whom.
    sent: HashMap<BlockId, (Sum, Targets)>,
}

/// What became of a chain.
#[derive(Default)]
pub struct Came {
    /// The word of its nodes.
    pub receipts: Vec<Receipt>,
    /// Those that failed, and why.
    pub failed: Vec<(NodeId, ServiceError)>,
    /// What was sent anew.
    pub again: Vec<Sent>,
    /// What nobody is left for.
    pub back: Vec<(Grant, PutBlock)>,
}

impl Came {
    /// Of one node.
    pub(super) fn of_one(node: NodeId, receipt: cas_net::Result<Receipt>) -> Self {
        match receipt {
            Ok(receipt) => Self { receipts: vec![receipt], ..Self::default() },
            Err(why) => Self { failed: vec![(node, why)], ..Self::default() },
        }
    }
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
        let nodes = view.layout.nodes.len();
        // Blocks that are put together go the same way as far as they can, in few requests; the next ones begin elsewhere.
        let turn = blocks.first().map_or(0, |(block, _)| usize::from(block.id.0[31]) % nodes);
        for (block, mut targets) in blocks {
            // Near ones come before far ones.
            let key = |target: &u16| {
                (self.choice.is_behind(view.info(*target)), (usize::from(*target) + nodes - turn) % nodes)
            };
            targets.sort_by_cached_key(key);
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
            let chain = Chain { pending, order: Order { grant: *grant, nodes, sent: what } };
            sent.push(Sent { node: view.info(first).node, what: What::Chain(Box::new(chain)) });
            sent.extend(put_apart(view, grant, apart));
        }
        sent
    }
}

impl Chain {
    /// Blocks for one node.
    pub(super) fn of_one(view: &View, grant: &Grant, to: u16, instead: bool, blocks: Vec<PutBlock>) -> Self {
        let sent = blocks.iter().map(|block| (block.id, (block.sum, vec![to]))).collect();
        let way = Way { nodes: Vec::new(), hops: vec![Vec::new(); blocks.len()], instead };
        let node = view.node(to).expect("only reachable members are targets");
        let pending = node.put_on(grant, blocks, way);
        Self { pending, order: Order { grant: *grant, nodes: vec![view.info(to).node], sent } }
    }

    /// Waits so long for all of its nodes; gives itself back if they have not answered by then.
    pub(super) fn wait_for(self: Box<Self>, view: &View, first: NodeId, longest: Duration) -> Result<Came, Box<Self>> {
        let Self { pending, order } = *self;
        match pending {
            Ok(pending) => match pending.wait_for(longest) {
                Ok(answer) => Ok(order.came(view, first, answer)),
                Err(pending) => Err(Box::new(Self { pending: Ok(pending), order })),
            },
            Err(returned) => Ok(order.came(view, first, Err(returned))),
        }
    }
}

impl Order {
    fn came(self, view: &View, first: NodeId, answer: Result<Chained, Returned>) -> Came {
        let Self { grant, nodes, sent } = self;
        let mut came = Came::default();
        match answer {
            Ok(chained) => {
                let sums = sent.into_iter().map(|(id, (sum, _))| (id, sum)).collect();
                let Chained { receipts, failed } = chained.vouched(&nodes, &sums);
                (came.receipts, came.failed) = (receipts, failed);
            }
            // A node that does not know chains takes blocks all the same.
            Err(Returned { why: ServiceError::Protocol(_), blocks }) => {
                let targets = |block: &PutBlock| sent.get(&block.id).map_or_else(Vec::new, |(_, to)| to.clone());
                let blocks = blocks.into_iter().map(|block| (targets(&block), block));
                came.again = put_plainly(view, &grant, blocks.map(|(targets, block)| (block, targets)).collect());
            }
            Err(Returned { why, blocks }) => {
                let mut onward = Blocks::new();
                for block in blocks {
                    let mut targets = sent.get(&block.id).map_or_else(Vec::new, |(_, targets)| targets.clone());
                    targets.retain(|target| view.info(*target).node != first);
                    if targets.is_empty() {
                        came.back.push((grant, block));
                    } else {
                        onward.push((block, targets));
                    }
                }
                came.again = put_apart(view, &grant, onward);
                came.failed.push((first, why));
            }
        }
        came
    }
}
