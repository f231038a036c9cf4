//! Reads go to the best member and on to the next; nobody waits for the dead, and wrong bytes are reported.

use super::fake::gone;
use super::{World, block, layout, world};
use crate::nodes::choice::LAST_PAUSE;
use cas_core::id::Sum;
use cas_net::cluster::Member;
use cas_net::{Node, ServiceError};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

#[test]
fn reading_goes_to_the_next_member_on_any_fault_and_reports_wrong_bytes() {
    let world = world(3);
    world.push(1).unwrap();
    let whole = block(1);
    let mut open = |bytes: Vec<u8>| match Sum::of(&bytes) == whole.sum {
        true => Ok(bytes),
        false => Err(ServiceError::Damaged { what: "block".into(), detail: "its bytes".into() }),
    };
    for broken in 0..2 {
        world.fakes[broken].lies.store(true, Relaxed);
        for _ in 0..3 {
            assert_eq!(world.nodes.read(&whole.id, &mut open).unwrap(), whole.bytes);
        }
    }
    world.fakes[2].dead.store(true, Relaxed);
    let error = world.nodes.read(&whole.id, &mut open).unwrap_err();
    assert!(matches!(error, ServiceError::Damaged { .. }), "{error}");
    world.nodes.source.as_ref().unwrap().reports.flush();
    let reported = world.told.damage.lock().unwrap();
    assert!(reported.iter().all(|d| d.node != world.fakes[2].id()) && !reported.is_empty());
}

/// Reads a block, and says which nodes were asked.
fn readers(world: &World, n: u8) -> Vec<usize> {
    let before: Vec<_> = world.fakes.iter().map(|fake| fake.reads.load(Relaxed)).collect();
    assert_eq!(world.nodes.get(&block(n).id).unwrap(), block(n).bytes);
    let asked = world.fakes.iter().zip(before).enumerate();
    asked.filter(|(_, (fake, before))| fake.reads.load(Relaxed) > *before).map(|(at, _)| at).collect()
}

/// The node that is asked first now.
fn best(world: &World, n: u8) -> usize {
    let id = world.nodes.ranked(&world.nodes.view(), &block(n).id)[0].id;
    world.fakes.iter().position(|fake| fake.id() == id).unwrap()
}

#[test]
fn a_slow_member_is_overtaken_by_another() {
    let world = world(3);
    world.push(1).unwrap();
    for fake in &world.fakes {
        (0..20).for_each(|_| world.nodes.choice.ends(fake.id(), Ok(Duration::ZERO), Instant::now()));
    }
    let first = best(&world, 1);
    world.fakes[first].slow.store(true, Relaxed);
    let asked = readers(&world, 1);
    assert_eq!(asked.len(), 2, "one more was asked, not all");
    world.fakes[first].let_go();
}

#[test]
fn when_extra_reads_are_used_up_a_member_is_waited_for() {
    let world = world(3);
    world.push(1).unwrap();
    (0..20).for_each(|_| _ = readers(&world, 1));
    while world.nodes.choice.may_hedge() {}
    let first = best(&world, 1);
    world.fakes[first].slow.store(true, Relaxed);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| readers(&world, 1));
        while world.fakes[first].held_back.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        world.fakes[first].let_go();
        assert_eq!(reading.join().unwrap(), [first], "nobody else was asked");
    });
}

#[test]
fn a_dead_member_is_asked_once_and_then_only_looked_at() {
    let world = world(3);
    world.push(1).unwrap();
    let first = best(&world, 1);
    world.fakes[first].dead.store(true, Relaxed);
    assert_eq!(readers(&world, 1).len(), 2);
    let before = world.fakes[first].reads.load(Relaxed);
    (0..50).for_each(|_| assert!(!readers(&world, 1).contains(&first)));
    assert_eq!(world.fakes[first].reads.load(Relaxed), before);
}

#[test]
fn a_node_that_answers_again_is_used_again() {
    let world = world(3);
    world.push(1).unwrap();
    let dead = &world.fakes[0];
    let long_ago = Instant::now() - 2 * LAST_PAUSE;
    world.nodes.choice.failed(dead.id(), &gone(), long_ago);
    dead.dead.store(true, Relaxed);
    readers(&world, 1); // Somebody looks, in vain.
    assert!(world.nodes.choice.avoids(&dead.id()));
    dead.dead.store(false, Relaxed);
    world.nodes.choice.works(dead.id());
    world.nodes.choice.failed(dead.id(), &gone(), long_ago);
    readers(&world, 1); // Somebody looks, and finds it well.
    assert!(!world.nodes.choice.avoids(&dead.id()));
}

#[test]
fn a_member_that_does_not_count_yet_is_not_blamed_for_what_it_lacks() {
    let world = world(3);
    world.push(1).unwrap();
    let mut newer = layout(2, &[1, 2, 3], &[0, 1, 2]);
    newer.partitions.iter_mut().for_each(|members| members[0].flags = Member::UNCOUNTED);
    *world.told.newer.lock().unwrap() = Some(newer);
    assert!(world.nodes.refresh().unwrap());
    world.fakes[0].held.lock().unwrap().clear();
    world.fakes[1].dead.store(true, Relaxed);
    world.fakes[2].dead.store(true, Relaxed);
    assert!(world.nodes.get(&block(1).id).is_err());
    world.nodes.source.as_ref().unwrap().reports.flush();
    assert!(world.told.damage.lock().unwrap().is_empty());
}

#[test]
fn what_is_kept_in_the_stead_of_members_is_read_where_the_index_says() {
    let world = world(4);
    (0..2).for_each(|n| world.fakes[n].dead.store(true, Relaxed));
    world.push(1).unwrap();
    world.fakes[2].dead.store(true, Relaxed);
    assert!(world.nodes.get(&block(1).id).is_err());
    *world.told.located.lock().unwrap() = vec![world.fakes[3].id()];
    assert_eq!(world.nodes.get(&block(1).id).unwrap(), block(1).bytes);
}
