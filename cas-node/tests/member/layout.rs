//! What a node takes is what the layout of its index gives it, under a grant; also when that layout is an older one.

use crate::store::block;
use crate::world::{Client, Info, World, denied, grant, put, until};
use cas_core::id::{Epoch, PublicKey};
use cas_core::signing::SigningKey;
use cas_net::chain::{PendingChain, Way};
use cas_net::{Grant, Node, NodeId, PendingReceipt, Result, ServiceError, SessionId};
use std::time::Duration;

#[test]
fn a_write_needs_a_grant_of_the_index_and_the_right_partition() {
    let world = World::new();
    let node = world.node("a");
    let owner = Client::new(50);
    let there = owner.welcome(&node);
    let ours = block(1, 0, 100);
    let foreign = (2..).map(|n| block(n, 0, 100)).find(|b| b.id.partition() != ours.id.partition()).unwrap();
    // Without a layout it is a member of nothing.
    let refused = |found: Result<PendingReceipt>, version| match found.and_then(PendingReceipt::wait) {
        Err(ServiceError::Conflict { latest, .. }) if latest == version => {}
        other => panic!("expected a refusal with layout {version}, found {other:?}"),
    };
    refused(there.put(&grant(5), vec![ours.clone()]), 0);
    let partition = ours.id.partition();
    world.lay_out(7, &[Info::of(&node)], |_, p| p == partition);
    // A newer layout is looked for before anybody is refused.
    std::thread::sleep(Duration::from_millis(300));
    put(&there, 5, &ours);
    refused(there.put(&grant(5), vec![foreign.clone()]), 7);
    refused(there.offer(&grant(5), &[foreign.id]).map(|(_, receipt)| receipt), 7);
    assert!(matches!(there.get(&foreign.id), Err(ServiceError::Conflict { latest: 7, .. })));
    let forged = Grant::sign(&SigningKey::from_seed(&[66; 32]), SessionId(1), Epoch(5), false);
    denied(there.put(&forged, vec![ours]).and_then(PendingReceipt::wait), "grant");
    // In the stead of members it is kept, under a grant all the same.
    let instead = |grant: &Grant| {
        let way = Way { nodes: vec![], hops: vec![vec![]], instead: true };
        there.put_on(grant, vec![foreign.clone()], way).unwrap().wait().unwrap()
    };
    assert_eq!(instead(&forged).receipts.len(), 0);
    assert_eq!(instead(&grant(5)).receipts.len(), 1);
    assert_eq!(there.get(&foreign.id).unwrap(), foreign.bytes);
    let stranger = Client::new(51);
    let way = Way { nodes: vec![], hops: vec![vec![]], instead: true };
    let refused = stranger.at(&node, &[]).put_on(&grant(5), vec![foreign.clone()], way);
    denied(refused.and_then(PendingChain::wait).map_err(|returned| returned.why), "no ticket");
}

#[test]
fn an_index_that_was_restored_with_an_older_layout_is_followed() {
    let world = World::new();
    let node = world.node("a");
    let theirs = Info { node: NodeId(PublicKey([7; 32])), addresses: Vec::new() };
    world.lay_out(9, std::slice::from_ref(&theirs), |_, _| true);
    until(|| node.layout() == 9);
    world.lay_out(5, &[Info::of(&node)], |_, _| true);
    until(|| node.layout() == 5);
    put(&Client::new(50).welcome(&node), 5, &block(1, 0, 100));
    // One that contradicts itself is not.
    world.lay_out(12, &[Info::of(&node)], |_, _| true);
    world.index.said().layout.as_mut().unwrap().partitions.pop();
    world.beat(&node);
    world.beat(&node);
    assert_eq!(node.layout(), 5);
    put(&Client::new(51).welcome(&node), 5, &block(2, 0, 100));
}
