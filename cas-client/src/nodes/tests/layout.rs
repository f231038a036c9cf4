//! A layout that changes is followed, also in the middle of a push.

use super::{block, chained, layout, world};
use cas_net::{Node, ServiceError};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_layout_that_has_changed_is_fetched_when_a_block_is_not_where_it_was() {
    let world = world(5);
    world.push(1).unwrap();
    for old in 0..3 {
        let held = world.fakes[old].held.lock().unwrap().remove(&block(1).id).unwrap();
        world.fakes[4].held.lock().unwrap().insert(held.id, held);
    }
    assert!(matches!(world.nodes.get(&block(1).id), Err(ServiceError::NotFound { .. })));
    *world.told.newer.lock().unwrap() = Some(layout(2, &[1, 2, 3, 4, 5], &[2, 3, 4]));
    assert_eq!(world.nodes.get(&block(1).id).unwrap(), block(1).bytes);
}

#[test]
fn a_push_goes_on_by_the_layout_that_came_in_its_middle() {
    let world = chained(5);
    let ids = [block(1).id];
    let offered = world.nodes.offer(&world.grant, &ids).unwrap();
    // Two of three members are replaced before the blocks are sent.
    *world.told.newer.lock().unwrap() = Some(layout(2, &[1, 2, 3, 4, 5], &[2, 3, 4]));
    world.fakes[0].foreign.store(true, Relaxed);
    world.fakes[1].foreign.store(true, Relaxed);
    let mut sent = world.nodes.put(&offered.view, &world.grant, vec![(block(1), offered.wanted[0])]);
    sent.extend(offered.sent);
    let receipts = world.nodes.settle(&offered.view, &ids, sent).unwrap();
    let of_new = (2..5).filter(|at| receipts.iter().any(|receipt| receipt.node == world.fakes[*at].id()));
    assert_eq!(of_new.count(), 3);
    assert_eq!(world.nodes.view().layout.version, 2);
}

#[test]
fn blocks_are_offered_to_those_who_are_members_by_now() {
    let world = chained(5);
    *world.told.newer.lock().unwrap() = Some(layout(2, &[1, 2, 3, 4, 5], &[2, 3, 4]));
    (0..3).for_each(|old| world.fakes[old].dead.store(old < 2, Relaxed));
    assert_eq!(world.push(1).unwrap().len(), 3);
}
