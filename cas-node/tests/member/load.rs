//! Much at once: long answers, a disk that is full, a disk that is slow.

use crate::store::block;
use crate::world::{Client, World, grant, object, put, until};
use cas_core::id::BlockId;
use cas_net::{Found, Node, PendingReceipt, PutBlock, ServiceError};
use cas_node::member;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn many_blocks_come_in_one_answer_as_far_as_it_goes() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let blocks: Vec<PutBlock> = (0..20).map(|n| block(n, 0, 1000)).collect();
    there.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    let ids: Vec<BlockId> = blocks.iter().map(|b| b.id).chain([BlockId([1; 32])]).collect();
    let found = there.get_many(&ids, 1 << 20).unwrap();
    for (block, found) in blocks.iter().zip(&found) {
        assert!(matches!(found, Found::Here(here) if here.bytes == block.bytes && here.sum == block.sum));
    }
    assert!(matches!(found.last(), Some(Found::Absent)));
    let some = there.get_many(&ids, 3000).unwrap();
    assert!(matches!(some[0], Found::Here(_)) && matches!(some[10], Found::Later));
    assert!(matches!(there.get_many(&ids, 0).unwrap()[0], Found::Later | Found::Here(_)));
}

#[test]
fn a_full_node_refuses_blocks_and_takes_objects() {
    let world = World::new();
    member::join(&member::JoinOptions { capacity: 1 << 20, ..world.joining("a") }).unwrap();
    let node = world.serve("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let full = (0..20)
        .map(|n| block(n, 0, 100_000))
        .find_map(|block| there.put(&grant(5), vec![block]).and_then(PendingReceipt::wait).err());
    assert!(matches!(full, Some(ServiceError::Full { .. })), "{full:?}");
    put(&there, 5, &object("forgetting must work"));
    assert!(node.space().unwrap().free < 200_000);
}

#[test]
fn a_slow_disk_makes_writers_wait_or_come_again_and_readers_are_served() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let kept = block(9999, 0, 100);
    put(&Client::new(50).welcome(&node), 5, &kept);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..8u32 {
            let (node, is_over) = (&node, &is_over);
            scope.spawn(move || {
                let there = Client::new(100 + seed as u8).welcome(node);
                for n in 0..20 {
                    let sent = there.put(&grant(5), vec![block(seed * 100 + n, 0, 1 << 20)]);
                    match sent.and_then(PendingReceipt::wait) {
                        Ok(receipt) => assert_eq!(receipt.blocks.len(), 1),
                        Err(ServiceError::Busy(_)) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
                is_over.store(true, Ordering::SeqCst);
            });
        }
        let there = Client::new(99).welcome(&node);
        while !is_over.load(Ordering::SeqCst) {
            assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
        }
    });
    until(|| node.load().requests == 0);
}
