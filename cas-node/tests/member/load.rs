//! Much at once: long answers, a disk that is full, a disk that stands still for a while.

use crate::store::block;
use crate::world::{Client, World, grant, object, put, tune, until};
use cas_core::id::BlockId;
use cas_net::{Found, Node, PendingReceipt, PutBlock, ServiceError};
use cas_node::Options;
use cas_node::disk::{FaultyDisk, LocalDisk, Operation};
use cas_node::member;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// Clients that write at once, …
const WRITERS: u32 = 8;
/// … and what each of them sends before it hears anything, a MiB each: together more than may wait for the writer.
const PUTS: u32 = 8;

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

/// A disk that a test lets stand still.
static DISK: LazyLock<FaultyDisk> = LazyLock::new(|| FaultyDisk::over(LocalDisk));

#[test]
fn a_slow_disk_makes_writers_wait_or_come_again_and_readers_are_served() {
    let world = World::new();
    world.join("a");
    let tune = |options: &mut Options| {
        tune(options);
        options.disk = Arc::new(DISK.clone());
    };
    let node = world.serve_tuned("a", tune);
    world.all(&[&node], &[]);
    let there = Client::new(99).welcome(&node);
    let kept = block(9999, 0, 100);
    put(&there, 5, &kept);
    let acknowledged = AtomicUsize::new(0);
    let writer = |number: u32| {
        let there = Client::new(100 + number as u8).welcome(&node);
        let blocks = (0..PUTS).map(|n| block(number * 100 + n, 0, 1 << 20));
        let sent: Vec<_> = blocks.map(|block| there.put(&grant(5), vec![block]).unwrap()).collect();
        for pending in sent {
            match pending.wait() {
                Ok(receipt) => drop(acknowledged.fetch_add(receipt.blocks.len(), Ordering::SeqCst)),
                Err(ServiceError::Busy(_)) => {}
                Err(e) => panic!("{e}"),
            }
        }
    };
    let read = || assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
    let held = DISK.hold(Operation::Sync);
    std::thread::scope(|scope| {
        let writer = &writer;
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(move || writer(number))).collect();
        until(|| {
            read();
            DISK.waiting() > 0 && node.load().bytes >= u64::from(WRITERS * PUTS) << 20
        });
        (0..100).for_each(|_| read());
        assert_eq!(acknowledged.load(Ordering::SeqCst), 0, "nothing is acknowledged that is not on the disk");
        drop(held);
        while writers.iter().any(|writer| !writer.is_finished()) {
            read();
        }
    });
    assert!(acknowledged.load(Ordering::SeqCst) > 0);
    until(|| node.load().requests == 0);
}
