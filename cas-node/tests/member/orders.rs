//! What else the index orders or allows: deletes, floors, lists, and that strays go.

use crate::store::block;
use crate::world::{Client, Info, World, grant, put, until};
use cas_core::id::Epoch;
use cas_net::cluster::Order;
use cas_net::{Delete, Deleted, Node, PutBlock, ServiceError};
use cas_node::member;
use std::time::Duration;

#[test]
fn a_delete_takes_what_is_older_and_nothing_else() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let (old, new) = (block(1, 0, 100), block(2, 0, 100));
    put(&there, 5, &old);
    put(&there, 9, &new);
    let deletes = [&old, &new].map(|block| Delete { id: block.id, epoch: Epoch(8) });
    world.order(&node, Order::Delete(deletes.to_vec()));
    until(|| world.index.said().deleted.len() == 2);
    assert_eq!(world.index.said().deleted, [(deletes[0], Deleted::Gone), (deletes[1], Deleted::Kept)]);
    assert!(matches!(there.get(&old.id), Err(ServiceError::NotFound { .. })));
    assert_eq!(there.get(&new.id).unwrap(), new.bytes);
}

#[test]
fn a_partition_is_floored_and_listed_to_its_end() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let blocks: Vec<PutBlock> = (0..50).map(|n| block(n, 0, 50)).collect();
    there.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    let partition = blocks[3].id.partition();
    let all: Vec<u16> = (0..4096).collect();
    world.order(&node, Order::Floor { partitions: all.clone(), epoch: Epoch(30) });
    until(|| world.index.said().floors.len() == 1);
    assert_eq!(world.index.said().floors[0].partitions, all);
    world.order(&node, Order::Delete(vec![Delete { id: blocks[3].id, epoch: Epoch(30) }]));
    until(|| world.index.said().deleted.len() == 1);
    assert_eq!(world.index.said().deleted[0].1, Deleted::Kept);
    world.order(&node, Order::Inventory { partition, floor: Epoch(30), after: None });
    until(|| !world.index.said().chunks.is_empty());
    let chunk = world.index.said().chunks[0].clone();
    assert_eq!((chunk.partition, chunk.floor, chunk.after, chunk.upto), (partition, Epoch(30), None, None));
    let mut expected: Vec<_> = blocks.iter().filter(|b| b.id.partition() == partition).map(|b| (b.id, b.sum)).collect();
    expected.sort();
    assert_eq!(chunk.blocks, expected);
}

#[test]
fn strays_are_deleted_when_the_index_says_so() {
    let world = World::new();
    world.join("a");
    let mut options = world.options("a");
    options.settings.stray_period = Duration::from_millis(100);
    let node = member::serve(options).unwrap();
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let (stray, kept) = (block(1, 0, 100), block(2, 0, 100));
    put(&there, 5, &kept);
    put(&there, 5, &stray);
    world.index.said().strays = vec![stray.id];
    until(|| matches!(there.get(&stray.id), Err(ServiceError::NotFound { .. })));
    assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
}

#[test]
fn what_a_node_gave_away_goes_long_before_it_asks_about_everything() {
    let world = World::new();
    world.join("a");
    let mut options = world.options("a");
    options.settings.left_pause = Duration::from_millis(50);
    let node = member::serve(options).unwrap();
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let (given, awaited) = (block(1, 0, 100), block(2, 0, 100));
    put(&there, 5, &given);
    put(&there, 5, &awaited);
    assert_ne!(given.id.partition(), awaited.id.partition());
    let infos = [Info::of(&node)];
    world.index.said().strays = vec![given.id];
    world.lay_out(2, &infos, |_, at| ![given.id.partition(), awaited.id.partition()].contains(&at));
    until(|| matches!(there.get(&given.id), Err(ServiceError::Conflict { .. })));
    assert_eq!(there.get(&awaited.id).unwrap(), awaited.bytes, "the index has not said so yet");
    world.index.said().strays = vec![awaited.id];
    until(|| matches!(there.get(&awaited.id), Err(ServiceError::Conflict { .. })));
}
