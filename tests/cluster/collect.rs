//! Laws 2 and 5: what nobody references leaves all nodes, and nothing else does.

use crate::person::Person;
use crate::world::{World, seed};
use cas_core::id::BlockId;
use cas_index::serve::{End, Task};
use cas_net::{Index as _, RowState};

#[test]
fn a_forgotten_version_leaves_every_disk_and_the_others_stay() {
    let world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    let kept = person.push("kept");
    person.write("more", &crate::person::noise(seed() + 1000, 3 << 20));
    person.push("gone");
    world.rest();
    let before = world.rows().len();
    person.forget("gone");
    let run = world.run(Task::Gc);
    assert_eq!(run.end, End::Done, "{run:?}");
    assert!(run.items > 10 && run.bytes > 2 << 20, "{run:?}");
    world.until("every node has deleted", |world| world.index().status().unwrap().condemned == 0);
    assert!(world.rows().len() < before - 10);
    world.rest();
    world.check();
    world.check_nothing_else();
    person.verify("kept", &kept);
}

#[test]
fn a_node_that_missed_the_deletes_is_cleaned_when_it_is_back() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    person.push("gone");
    let kept = {
        std::fs::remove_dir_all(person.src().join("d1")).unwrap();
        person.push("kept")
    };
    world.rest();
    world.nodes[2].kill();
    world.until_health(2, cas_net::cluster::Health::Down);
    person.forget("gone");
    assert_eq!(world.run(Task::Gc).end, End::Done);
    world.until("those who are there have deleted", |world| world.index().status().unwrap().condemned == 0);
    world.start(2);
    world.rest();
    world.until("it holds no stray", |world| {
        let known: std::collections::BTreeSet<_> = world.rows().iter().map(|row| row.id).collect();
        world.held()[&world.nodes[2].id()].keys().all(|id| known.contains(id))
    });
    world.check();
    person.verify("kept", &kept);
}

#[test]
fn a_check_takes_nothing_for_missing_that_is_being_deleted() {
    let mut world = World::patient();
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    person.push("kept");
    person.write("more", &crate::person::noise(seed() + 1000, 2 << 20));
    person.push("gone");
    world.rest();
    person.forget("gone");
    world.nodes[2].kill();
    assert_eq!(world.run(Task::Gc).end, End::Done);
    let condemned = |world: &World| -> Vec<BlockId> {
        let rows = world.rows().into_iter().filter(|row| matches!(row.state, RowState::Condemned(_)));
        rows.map(|row| row.id).collect()
    };
    world.until("those who are there have deleted", |world| {
        let condemned = condemned(world);
        world.held().values().all(|held| condemned.iter().all(|id| !held.contains_key(id)))
    });
    assert!(!condemned(&world).is_empty(), "one of them has yet to answer");
    let report = person.check();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.unread, None);
}
