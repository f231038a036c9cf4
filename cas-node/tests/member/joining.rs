//! A node joins once, with a token; its folder keeps who it is, for one process at a time.

use crate::store::block;
use crate::world::{Client, GRACE, World, denied, put, wipe};
use cas_core::id::PublicKey;
use cas_net::address::Address;
use cas_net::{Node, ServiceError};
use cas_node::member;

#[test]
fn a_node_joins_with_a_token_and_then_beats() {
    let world = World::new();
    denied(member::join(&member::JoinOptions { token: None, ..world.joining("a") }), "token");
    let error = member::serve(world.options("a")).unwrap_err();
    assert!(matches!(error, ServiceError::NotFound { .. }), "{error}");
    assert_eq!(world.join("a").rack, "r1");
    let node = world.serve("a");
    assert_eq!(member::init(&world.dir("a")).unwrap(), node.public_key());
    world.beat(&node);
    assert!(!world.beats(&node)[0].takes_orders, "what was ordered before it was started is forgotten");
    let beat = world.beats(&node).pop().unwrap();
    assert_eq!((beat.disk, beat.space.capacity, beat.layout), (node.disk(), 1 << 30, 0));
    assert_eq!(beat.addresses, [node.address().unwrap().place()]);
    assert!(beat.space.free > 0 && beat.takes_orders && beat.damage.is_empty());
    node.health().unwrap();
    let metrics = node.metrics().unwrap();
    assert!(metrics.contains("\ncas_node_up 1\n") && metrics.contains("cas_node_sync_seconds_count"), "{metrics}");
    node.shutdown(GRACE).unwrap();
}

#[test]
fn a_node_of_one_cluster_does_not_join_another() {
    let world = World::new();
    world.join("a");
    let elsewhere = World::new();
    let other = Address::new(PublicKey([8; 32]), elsewhere.address.place().parse().unwrap());
    denied(member::join(&member::JoinOptions { index: other, ..world.joining("a") }), "holds a node of the cluster");
    // The same cluster may move.
    member::join(&member::JoinOptions { index: elsewhere.address, ..world.joining("a") }).unwrap();
}

#[test]
fn a_restart_keeps_key_and_disk_and_an_emptied_folder_is_another_disk() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let (key, disk, kept, client) = (node.public_key(), node.disk(), block(1, 0, 100), Client::new(50));
    put(&client.welcome(&node), 5, &kept);
    node.shutdown(GRACE).unwrap();
    let node = world.serve("a");
    assert_eq!((node.public_key(), node.disk()), (key, disk));
    assert_eq!(client.welcome(&node).get(&kept.id).unwrap(), kept.bytes);
    node.shutdown(GRACE).unwrap();
    wipe(&world.dir("a"));
    let node = world.serve("a");
    assert_eq!(node.public_key(), key);
    assert_ne!(node.disk(), disk);
    world.beat(&node);
    assert_eq!(world.beats(&node).pop().unwrap().disk, node.disk());
    // Empty, but not emptied.
    let disk = node.disk();
    node.shutdown(GRACE).unwrap();
    assert_eq!(world.serve("a").disk(), disk);
}

#[test]
fn only_one_process_serves_a_folder() {
    let world = World::new();
    let node = world.node("a");
    assert!(matches!(member::serve(world.options("a")), Err(ServiceError::Busy(_))));
    drop(node);
    world.serve("a");
}
