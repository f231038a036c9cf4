//! The index is lost with its disk: what it exported before brings it back, and nothing that nodes hold is swept until somebody
//! has looked.

use crate::person::Person;
use crate::world::{World, seed};
use cas_index::serve::{End, Task, backup};
use cas_net::Index as _;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

#[test]
fn a_lost_index_comes_back_from_its_export_and_finds_what_nodes_hold() {
    let mut world = World::with(3, "r3");
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    let first = person.push("home");
    assert_eq!(world.run(Task::Backup).end, End::Done);
    person.write("late", &crate::person::noise(seed() + 77, 1 << 20));
    person.push("home");
    world.rest();
    let late: BTreeSet<_> = world.rows().iter().map(|row| row.id).collect();

    world.lose_index();
    let export = fs::read_dir(world.exports()).unwrap().next().unwrap().unwrap().path();
    let seed = cas_index::serve::seed(&world.index_dir()).unwrap();
    let options = cas_index::Options { cache_bytes: 16 << 20, ..cas_index::Options::new(seed) };
    let restored = backup::restore(&export, &world.index_dir(), &options).unwrap();
    assert_eq!(restored.nodes, 3);
    world.start_index();
    assert!(world.index.as_ref().unwrap().is_held());
    world.rest();
    world.check();
    assert!(person.try_open("home").is_err(), "who has seen more says so");
    person.forget_what_was_seen(&world);
    person.verify("home", &first);
    assert!(matches!(world.run(Task::Gc).end, End::Held(_)));
    std::thread::sleep(Duration::from_secs(3)); // Nodes ask about strays meanwhile.
    let held: BTreeSet<_> = world.held().into_values().flat_map(|blocks| blocks.into_keys()).collect();
    assert!(late.is_subset(&held), "what came after the export was swept before anybody looked");

    world.index.as_ref().unwrap().release().unwrap();
    assert_eq!(world.run(Task::Gc).end, End::Done);
    world.until("what nobody knows is gone", |world| {
        let known: BTreeSet<_> = world.rows().iter().map(|row| row.id).collect();
        world.held().values().all(|blocks| blocks.keys().all(|id| known.contains(id)))
    });
    assert_eq!(world.index().status().unwrap().condemned, 0);
    person.verify("home", &first);
}
