//! Large blocks leave once and go from node to node; the chain survives any one of them, and nobody changes bytes on the way.

use super::{World, block, chained};
use cas_core::id::{BlockId, Sum};
use cas_net::{Node, NodeId, PutBlock, Receipt, Result, ServiceError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Blocks that are worth a chain, sent as a push sends them.
fn push_large(world: &World) -> Result<Vec<Receipt>> {
    push_large_while(world, || {})
}

/// The same, and something happens between offer and put.
fn push_large_while(world: &World, happens: impl FnOnce()) -> Result<Vec<Receipt>> {
    let large = |n: u8| {
        let bytes = vec![n; 100 << 10];
        PutBlock { sum: Sum::of(&bytes), bytes: bytes.into(), ..block(n) }
    };
    let blocks: Vec<PutBlock> = (1..=9).map(large).collect();
    let ids: Vec<BlockId> = blocks.iter().map(|block| block.id).collect();
    let offered = world.nodes.offer(&world.grant, &ids)?;
    happens();
    let mut sent = world.nodes.put(&offered.view, &world.grant, blocks.into_iter().zip(offered.wanted).collect());
    sent.extend(offered.sent);
    world.nodes.settle(&offered.view, &ids, sent)
}

/// Members that have a receipt for every one of the blocks.
fn complete(receipts: &[Receipt]) -> usize {
    let mut held: BTreeMap<NodeId, BTreeSet<BlockId>> = BTreeMap::new();
    for receipt in receipts {
        held.entry(receipt.node).or_default().extend(receipt.blocks.iter().map(|block| block.id));
    }
    held.values().filter(|ids| ids.len() == 9).count()
}

#[test]
fn large_blocks_leave_once_and_every_member_answers_for_them() {
    let world = chained(4);
    assert_eq!(complete(&push_large(&world).unwrap()), 3);
    let puts: usize = world.fakes.iter().map(|fake| fake.puts.load(Relaxed)).sum();
    assert!((1..=3).contains(&puts), "{puts} requests for one request's worth of blocks");
    assert!(world.fakes[3].held.lock().unwrap().is_empty());
}

#[test]
fn a_chain_survives_any_one_of_its_nodes() {
    for dead in 0..3 {
        let world = chained(3);
        world.fakes[dead].dead.store(true, Relaxed);
        assert_eq!(complete(&push_large(&world).unwrap()), 2, "node {dead} is dead");
        let world = chained(3);
        let dies = || world.fakes[dead].dead.store(true, Relaxed);
        assert_eq!(complete(&push_large_while(&world, dies).unwrap()), 2, "node {dead} dies between offer and put");
        let world = chained(3);
        world.fakes[dead].dies_before_receipt.store(true, Relaxed);
        assert_eq!(complete(&push_large(&world).unwrap()), 2, "node {dead} takes the blocks and dies");
    }
}

#[test]
fn blocks_whose_first_node_fails_go_to_the_others() {
    let world = chained(3);
    let ids = [block(1).id];
    let offered = world.nodes.offer(&world.grant, &ids).unwrap();
    let bytes = vec![1; 400 << 10];
    let large = PutBlock { sum: Sum::of(&bytes), bytes: bytes.into(), ..block(1) };
    world.fakes[1].dead.store(true, Relaxed);
    let mut sent = world.nodes.put(&offered.view, &world.grant, vec![(large, offered.wanted[0])]);
    sent.extend(offered.sent);
    let receipts = world.nodes.settle(&offered.view, &ids, sent).unwrap();
    assert_eq!(receipts.len(), 2);
    assert!(world.fakes[0].holds(&ids[0]) && world.fakes[2].holds(&ids[0]));
}

#[test]
fn a_node_that_changes_bytes_on_the_way_is_found_out() {
    let world = chained(3);
    for fake in &world.fakes {
        fake.lies.store(true, Relaxed);
    }
    let error = push_large(&world).unwrap_err();
    assert!(error.to_string().contains("not what was sent"), "{error}");
}

#[test]
fn what_too_few_have_is_sent_again_when_nodes_answer_again() {
    let world = chained(3);
    for busy in [0, 1, 2] {
        world.fakes[busy].busy.store(2, Relaxed);
    }
    assert!(complete(&push_large(&world).unwrap()) >= 2);
}

#[test]
fn a_full_node_is_passed_over_and_a_push_without_room_ends() {
    let world = chained(3);
    world.fakes[1].full.store(true, Relaxed);
    assert_eq!(complete(&push_large(&world).unwrap()), 2);
    assert!(world.nodes.choice.avoids(&world.fakes[1].id()));
    let before = world.fakes[1].puts.load(Relaxed);
    assert_eq!(world.push(50).unwrap().len(), 2);
    assert_eq!(world.fakes[1].puts.load(Relaxed), before, "it is sent nothing more");
    world.fakes[0].full.store(true, Relaxed);
    let began = Instant::now();
    assert!(matches!(world.push(51), Err(ServiceError::Full { .. })));
    assert!(began.elapsed() < world.nodes.patience, "room does not come by waiting");
}
