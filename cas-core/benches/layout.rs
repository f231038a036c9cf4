//! How long a plan takes: new clusters and changes of them.
//!
//! `cargo bench -p cas-core --bench layout`

use cas_core::id::PublicKey;
use cas_core::kdf;
use cas_core::layout::{Node, NodeState, Pool, plan};
use std::time::Instant;

fn main() {
    for (count, racks) in [(3, 3), (10, 3), (100, 10), (400, 20)] {
        let mut nodes: Vec<Node> = (0..count).map(|n| node(n, n % racks)).collect();
        let started = Instant::now();
        let first = plan(None, &nodes, Pool::R3).expect("enough nodes").table;
        let new = started.elapsed();
        nodes.push(node(count, 0));
        let started = Instant::now();
        let added = plan(Some(&first), &nodes, Pool::R3).expect("enough nodes");
        let add = started.elapsed();
        nodes.retain(|node| node.rack != "rack 0");
        let started = Instant::now();
        let lost = plan(Some(&added.table), &nodes, Pool::R3).map(|plan| plan.moves.len());
        let lose = started.elapsed();
        println!(
            "{count:>4} nodes in {racks:>2} racks: new {new:.1?}, add one {add:.1?}, lose a rack {lose:.1?} ({lost:?} moves)"
        );
    }
}

fn node(n: u32, rack: u32) -> Node {
    let key = PublicKey(kdf::hash(&n.to_le_bytes()));
    Node { key, rack: format!("rack {rack}"), weight: 10_000 + u64::from(n % 7) * 1000, state: NodeState::Member }
}
