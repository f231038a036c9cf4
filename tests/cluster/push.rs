//! Laws 1 and 4: what was acknowledged restores bit for bit, and lies where the layout says.

use crate::person::Person;
use crate::world::{World, seed};
use cas_core::layout::Pool;
use cas_net::cluster::Cluster;

#[test]
fn a_push_is_on_three_nodes_in_three_racks_and_restores() {
    let world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 4 << 20);
    let first = person.push("home");
    person.write("d0/f1", b"changed");
    let second = person.push("home");
    world.rest();
    world.check();
    let layout = world.index().layout(0).unwrap().unwrap();
    assert_eq!(layout.pool(), Some(Pool::R3));
    assert_eq!(world.held().values().map(|blocks| blocks.len()).sum::<usize>(), 3 * world.rows().len());
    person.verify("home@1", &first);
    person.verify("home", &second);
}

#[test]
fn the_record_of_a_version_is_on_every_member_when_it_is_acknowledged() {
    let world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 1 << 20);
    person.push("home");
    let versions = person.store.index().snapshots(&person.vault.id(), Some("home"), false).unwrap();
    let located = world.index().locate(&[versions[0].object]).unwrap().remove(0).unwrap();
    assert_eq!((located.nodes.len(), located.missing.len()), (3, 0));
}

#[test]
fn a_node_that_dies_in_mid_push_fails_nothing_and_costs_no_copy() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 48 << 20);
    let expected = std::thread::scope(|scope| {
        let pushed = scope.spawn(|| {
            let expected = person.push("home");
            (person, expected)
        });
        world.until("the push is under way", |world| world.rows().len() > 20);
        world.nodes[2].kill();
        pushed.join().unwrap()
    });
    let (mut person, expected) = expected;
    person.verify("home", &expected);
    world.start(2);
    world.rest();
    world.check();
    person.verify("home", &expected);
}
