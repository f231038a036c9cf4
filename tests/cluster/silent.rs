//! Law 4 under silence: what a node does not say any more is said by others, and when it comes back it copies what it missed.

use crate::person::Person;
use crate::world::{World, seed};
use cas_net::cluster::{Health, NodeChange};

/// A world of which nodes may be away for long without being given up, with a version in it.
fn lived_in() -> (World, Person) {
    let world = World::patient();
    let mut person = Person::new(&world);
    person.plant(seed(), 8 << 20);
    person.push("before");
    world.rest();
    (world, person)
}

#[test]
fn a_node_that_stays_away_is_healed_from_peers() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 4 << 20);
    let expected = person.push("home");
    world.rest();
    world.nodes[4].kill();
    world.until_health(4, Health::Down);
    let id = world.nodes[4].id();
    world.until("its copies are elsewhere", |world| {
        let status = world.status();
        world.info(4).partitions == 0
            && status.short == 0
            && status.to_move == 0
            && status.moving == 0
            && status.uncounted == 0
    });
    world.check();
    let layout = cas_net::cluster::Cluster::layout(world.index(), 0).unwrap().unwrap();
    assert!(world.rows().iter().all(|row| !layout.takes(&id, &row.id)), "it is a member of something");
    person.verify("home", &expected);
}

#[test]
fn a_node_that_comes_back_in_time_copies_what_it_missed_and_no_more() {
    let (mut world, mut person) = lived_in();
    world.nodes[1].kill();
    person.write("new", &crate::person::noise(seed() + 99, 1 << 20));
    let expected = person.push("home");
    world.start(1);
    world.rest();
    world.check();
    let copied = world.nodes[1].running().counters().copied_bytes.get();
    assert!(copied < 2 << 20, "{copied} bytes were copied for 1 MiB that was new");
    person.verify("home", &expected);
}

#[test]
fn a_push_goes_on_with_two_of_three_members_away_and_the_copies_go_home() {
    let (mut world, mut person) = lived_in();
    world.nodes[1].kill();
    world.nodes[2].kill();
    person.write("new", &crate::person::noise(seed() + 99, 4 << 20));
    let expected = person.push("home");
    assert!(world.status().short > 0);
    person.verify("home", &expected);
    world.start(1);
    world.start(2);
    world.rest();
    world.check();
    world.until("nobody holds anything in another's stead", |world| {
        world.held().values().map(|blocks| blocks.len()).sum::<usize>() == 3 * world.rows().len()
    });
    person.verify("home", &expected);
}

#[test]
fn many_nodes_that_vanish_together_are_waited_for_and_no_data_is_given_up() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    let expected = person.push("home");
    world.rest();
    for n in 0..4 {
        world.nodes[n].kill();
    }
    world.until("healing is suspended", |world| world.status().suspended);
    std::thread::sleep(crate::world::DOWN);
    assert!((0..4).all(|n| world.info(n).health == Health::Suspect), "nobody is declared down");
    for n in 0..4 {
        world.start(n);
    }
    world.rest();
    world.check();
    person.verify("home", &expected);
}

#[test]
fn nodes_that_somebody_gives_up_are_healed_though_many_vanished_together() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    let expected = person.push("home");
    world.rest();
    // A whole rack and a node of another: of every block there is a copy in the third.
    for n in [0, 1, 3] {
        world.nodes[n].kill();
    }
    world.until("healing is suspended", |world| world.status().suspended);
    [0, 1, 3].into_iter().for_each(|n| world.change(n, NodeChange::Remove { lost: true }));
    world.until("three hold what six held", |world| {
        let status = world.status();
        status.nodes == 3 && status.is_healthy()
    });
    world.check();
    person.verify("home", &expected);
}
