//! Blocks that nodes send on to one another: every node answers for itself, and who cannot be reached is named.

use crate::liar::Liar;
use crate::store::block;
use crate::world::{Client, GRACE, Info, Stranger, World, denied, grant, until};
use cas_core::id::Epoch;
use cas_core::signing::SigningKey;
use cas_net::chain::{Chained, Returned, Way};
use cas_net::rights::ticket::TicketRights;
use cas_net::{Grant, Node, NodeId, PutBlock, Receipt, RemoteNode, Result, ServiceError, SessionId};
use cas_node::member::Member;
use std::collections::BTreeSet;

/// Blocks on their way from `first` over the others.
fn send_on(first: &RemoteNode, epoch: u64, blocks: &[PutBlock], others: &[NodeId]) -> Result<Chained, Returned> {
    let hops = vec![(0..others.len() as u8).collect(); blocks.len()];
    let way = Way { nodes: others.to_vec(), hops, instead: false };
    first.put_on(&grant(epoch), blocks.to_vec(), way)?.wait()
}

fn names(receipts: &[Receipt]) -> BTreeSet<NodeId> {
    assert!(receipts.iter().all(Receipt::is_genuine));
    receipts.iter().map(|receipt| receipt.node).collect()
}

#[test]
fn a_chain_is_answered_by_every_node_on_it() {
    let world = World::new();
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));
    world.all(&[&a, &b, &c], &[]);
    let client = Client::new(50);
    let id = |node: &Member| NodeId(node.public_key());
    let blocks: Vec<PutBlock> = (0..9).map(|n| block(n, 0, 50_000)).collect();
    let chained = send_on(&client.welcome(&a), 5, &blocks, &[id(&b), id(&c)]).unwrap();
    assert_eq!(names(&chained.receipts), BTreeSet::from([id(&a), id(&b), id(&c)]));
    assert!(chained.failed.is_empty());
    for node in [&a, &b, &c] {
        let there = Client::new(51).welcome(node);
        assert!(blocks.iter().all(|block| there.get(&block.id).unwrap() == block.bytes));
    }
    assert_eq!((a.counters().sent_on.get(), b.counters().sent_on.get(), c.counters().sent_on.get()), (9, 9, 0));
}

#[test]
fn a_chain_passes_over_who_is_away_and_who_is_no_member() {
    let world = World::new();
    let (a, b, c, d) = (world.node("a"), world.node("b"), world.node("c"), world.node("d"));
    let id = |node: &Member| NodeId(node.public_key());
    let infos = [&a, &b, &c, &d].map(Info::of);
    world.lay_out(1, &infos, |node, _| node != 2);
    until(|| [&a, &b, &c, &d].iter().all(|node| node.layout() == 1));
    let (gone, foreign) = (id(&b), id(&c));
    b.shutdown(GRACE).unwrap();
    let blocks: Vec<PutBlock> = (0..9).map(|n| block(n, 0, 50_000)).collect();
    let client = Client::new(50);
    let chained = send_on(&client.welcome(&a), 5, &blocks, &[gone, foreign, id(&d)]).unwrap();
    assert_eq!(names(&chained.receipts), BTreeSet::from([id(&a), id(&d)]));
    let failed: Vec<_> =
        chained.failed.iter().map(|(node, why)| (*node, matches!(why, ServiceError::Conflict { .. }))).collect();
    assert_eq!(failed, [(gone, false), (foreign, true)]);
    let there = client.welcome(&d);
    assert!(blocks.iter().all(|block| there.get(&block.id).unwrap() == block.bytes));
}

#[test]
fn a_next_node_that_does_not_know_this_one_is_passed_over_and_refuses_nobody() {
    let world = World::new();
    let (a, b) = (world.node("a"), Stranger::new(91, Liar));
    world.all(&[&a], std::slice::from_ref(&b.info));
    let chained = send_on(&Client::new(50).welcome(&a), 5, &[block(1, 0, 100)], &[b.info.node]).unwrap();
    assert_eq!(names(&chained.receipts), BTreeSet::from([NodeId(a.public_key())]));
    assert!(matches!(&chained.failed[..], [(node, ServiceError::Unreachable { .. })] if *node == b.info.node));
}

#[test]
fn a_chain_is_refused_like_a_put() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let (to, blocks) = ([NodeId(b.public_key())], [block(1, 0, 100)]);
    let why = |returned: Result<Chained, Returned>| returned.map(drop).map_err(|returned| returned.why);
    let stranger = Client::new(50);
    denied(why(send_on(&stranger.at(&a, &[]), 5, &blocks, &to)), "no ticket");
    let reader = Client::new(51);
    denied(why(send_on(&reader.at(&a, &[reader.ticket(TicketRights::Read)]), 5, &blocks, &to)), "no ticket");
    let client = Client::new(52);
    let forged = Grant::sign(&SigningKey::from_seed(&[66; 32]), SessionId(1), Epoch(5), false);
    let way = Way { nodes: to.to_vec(), hops: vec![vec![0]], instead: false };
    let chained = client.welcome(&a).put_on(&forged, blocks.to_vec(), way).unwrap().wait().unwrap();
    assert_eq!((chained.receipts.len(), chained.failed.len()), (0, 2));
    // In a circle, to nobody, and twice to the same.
    for hops in [vec![0, 0], vec![1]] {
        let way = Way { nodes: to.to_vec(), hops: vec![hops], instead: false };
        let returned = client.welcome(&a).put_on(&grant(5), blocks.to_vec(), way).unwrap().wait().unwrap_err();
        assert!(matches!(returned.why, ServiceError::Protocol(_)) && returned.blocks.len() == 1);
    }
    assert_eq!(a.counters().puts.get() + b.counters().puts.get(), 0);
}

#[test]
fn nodes_that_send_one_another_chains_without_end_answer_all_of_them() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let client = Client::new(50);
    let push = |from: &Member, to: &Member, seed: u32| {
        let (first, to) = (client.welcome(from), [NodeId(to.public_key())]);
        let chains: Vec<_> = (0..120)
            .map(|n| {
                let way = Way { nodes: to.to_vec(), hops: vec![vec![0]], instead: false };
                first.put_on(&grant(5), vec![block(seed + n, 0, 20_000)], way).unwrap()
            })
            .collect();
        chains.into_iter().map(|chain| chain.wait().unwrap().receipts.len()).sum::<usize>()
    };
    let counts = std::thread::scope(|scope| {
        let there = scope.spawn(|| push(&a, &b, 0));
        let back = scope.spawn(|| push(&b, &a, 1000));
        (there.join().unwrap(), back.join().unwrap())
    });
    assert_eq!(counts, (240, 240));
}
