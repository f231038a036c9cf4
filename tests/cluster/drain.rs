//! Laws 4 and 5 while nodes come and go.

use crate::person::Person;
use crate::world::{World, seed};
use cas_net::cluster::NodeChange;

#[test]
fn a_drained_node_gives_everything_away_and_holds_nothing_in_the_end() {
    let world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 4 << 20);
    let first = person.push("home");
    world.change(5, NodeChange::Drain);
    person.write("while", b"it drains");
    let second = person.push("home");
    world.until("it is a member of nothing", |world| world.info(5).partitions == 0);
    world.rest();
    world.check();
    world.until("it holds nothing", |world| world.held()[&world.nodes[5].id()].is_empty());
    world.check_nothing_else();
    person.verify("home@1", &first);
    person.verify("home", &second);
}

#[test]
fn a_node_that_joins_takes_its_share_once_a_layout_is_applied() {
    let mut world = World::with(3, "r3");
    let mut person = Person::new(&world);
    person.plant(seed(), 4 << 20);
    let expected = person.push("home");
    (0..2).for_each(|_| world.add_node());
    world.rest();
    assert_eq!(world.info(4).partitions, 0, "nothing moves before somebody says so");
    world.apply(None);
    // It shares a rack with one other.
    world.until("it takes its share", |world| world.info(4).partitions > 4096 / 2 - 100);
    world.rest();
    world.check();
    person.verify("home", &expected);
}

#[test]
fn one_copy_becomes_three_by_a_layout() {
    let world = World::with(3, "r1");
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    let expected = person.push("home");
    world.rest();
    assert_eq!(world.held().values().map(|blocks| blocks.len()).sum::<usize>(), world.rows().len());
    world.apply(Some("r3"));
    world.rest();
    world.check();
    person.verify("home", &expected);
}
