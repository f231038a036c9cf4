//! Writes reach every member, or enough of them, or somebody in their stead; whoever is away, full or silent holds up nobody.

use super::{World, block, chained, world};
use crate::nodes::write::What;
use crate::nodes::{Places, Sent};
use cas_core::id::PublicKey;
use cas_net::{Node, NodeId, PendingReceipt, ServiceError};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

#[test]
fn every_member_gets_a_block_once() {
    let world = world(4);
    assert_eq!(world.push(1).unwrap().len(), 3);
    assert!(!world.fakes[3].holds(&block(1).id));
    let again = world.nodes.offer(&world.grant, &[block(1).id]).unwrap();
    assert_eq!(again.wanted, [Places::default()]);
    assert_eq!(world.nodes.settle(&again.view, &[block(1).id], again.sent).unwrap().len(), 3);
}

#[test]
fn a_dead_member_is_left_out_as_long_as_two_are_left() {
    let world = world(3);
    world.fakes[0].dead.store(true, Relaxed);
    assert_eq!(world.push(1).unwrap().len(), 2);
    world.fakes[1].dead.store(true, Relaxed);
    assert!(matches!(world.push(2), Err(ServiceError::Unreachable { .. })));
}

#[test]
fn a_member_that_dies_before_its_receipt_is_no_error_of_the_others() {
    let world = world(3);
    world.fakes[2].dies_before_receipt.store(true, Relaxed);
    assert_eq!(world.push(1).unwrap().len(), 2);
}

#[test]
fn a_member_that_missed_a_block_is_sent_it_by_the_next_push() {
    let world = world(3);
    world.fakes[0].dead.store(true, Relaxed);
    world.push(1).unwrap();
    world.fakes[0].dead.store(false, Relaxed);
    // It is passed over for a while; two are enough, so nobody waits for it. A reader's good answer ends that.
    assert_eq!(world.push(1).unwrap().len(), 2);
    world.nodes.choice.works(world.fakes[0].id());
    assert_eq!(world.push(1).unwrap().len(), 3);
    assert!(world.fakes[0].holds(&block(1).id));
}

#[test]
fn an_object_needs_enough_members() {
    let world = world(3);
    assert_eq!(world.nodes.put_object(&world.grant, block(1)).unwrap().len(), 3);
    world.fakes[0].dead.store(true, Relaxed);
    assert_eq!(world.nodes.put_object(&world.grant, block(2)).unwrap().len(), 2);
    world.fakes[1].dead.store(true, Relaxed);
    assert!(world.nodes.put_object(&world.grant, block(3)).is_err());
}

#[test]
fn somebody_stands_in_where_too_few_members_are_there_and_nobody_where_they_are_enough() {
    let world = chained(5);
    let is_member = |key: &PublicKey| world.fakes[..3].iter().any(|fake| fake.id().0 == *key);
    world.fakes[0].dead.store(true, Relaxed);
    assert!(world.push(1).unwrap().iter().all(is_member));
    world.fakes[1].dead.store(true, Relaxed);
    for n in 2..20 {
        let kept = world.push(n).unwrap();
        assert_eq!((kept.len(), kept.iter().filter(|key| is_member(key)).count()), (2, 1), "block {n}");
    }
    assert!(
        world.fakes[3].holds(&block(2).id) != world.fakes[4].holds(&block(2).id),
        "one of them, the same in a partition"
    );
    assert_eq!(world.nodes.put_object(&world.grant, block(20)).unwrap().len(), 2);
    let other = world.fakes[3..].iter().find(|fake| fake.holds(&block(2).id)).unwrap();
    other.dead.store(true, Relaxed);
    assert_eq!(world.push(2).unwrap().len(), 2, "the other one stands in for the one that stood in");
    world.fakes[3..].iter().for_each(|fake| fake.dead.store(true, Relaxed));
    assert!(world.push(21).is_err(), "there is nobody left");
}

#[test]
fn small_blocks_come_back_too_from_nodes_that_fail() {
    let world = chained(3);
    world.fakes[0].busy.store(1, Relaxed);
    world.fakes[1].busy.store(1, Relaxed);
    assert!(world.push(1).unwrap().len() >= 2);
}

#[test]
fn a_silent_node_is_not_waited_for_when_the_others_are_enough() {
    let world = chained(3);
    let offered = world.nodes.offer(&world.grant, &[block(1).id]).unwrap();
    let mut sent = world.nodes.put(&offered.view, &world.grant, vec![(block(1), offered.wanted[0])]);
    sent.extend(offered.sent);
    let (_never, pending) = PendingReceipt::new();
    let silent = world.fakes[2].id();
    sent.push(Sent { node: silent, what: What::Receipt(Ok(pending)) });
    let began = Instant::now();
    let late = Duration::from_millis(20);
    let receipts = world.nodes.settle_within(late, &offered.view, &[block(1).id], sent).unwrap();
    assert!(receipts.len() >= 2 && began.elapsed() < 10 * late && world.nodes.choice.avoids(&silent));
}

#[test]
fn nodes_whose_ticket_has_expired_are_shown_another() {
    let mut world = world(3);
    world.push(1).unwrap();
    let refuse = |world: &World| world.fakes.iter().for_each(|fake| fake.strange.store(true, Relaxed));
    refuse(&world);
    assert!(matches!(world.push(2), Err(ServiceError::Denied(_))), "there is no other");
    assert!(matches!(world.nodes.get(&block(1).id), Err(ServiceError::Denied(_))));
    let fakes = world.fakes.clone();
    let admit = move |node: &NodeId| {
        fakes.iter().filter(|fake| fake.id() == *node).for_each(|fake| fake.strange.store(false, Relaxed));
        true
    };
    world.nodes = world.nodes.admitted_by(Box::new(admit));
    assert_eq!(world.push(2).unwrap().len(), 3);
    refuse(&world);
    assert_eq!(world.nodes.get(&block(1).id).unwrap(), block(1).bytes);
    refuse(&world);
    assert_eq!(world.nodes.put_object(&world.grant, block(3)).unwrap().len(), 3, "an object is not offered before");
    assert!(world.fakes.iter().all(|fake| !world.nodes.choice.avoids(&fake.id())));
}
