//! Laws 4 and 7: a disk that is gone or rots costs copies, never data.

use crate::person::Person;
use crate::world::{World, seed};
use cas_index::serve::{End, Task};

#[test]
fn a_disk_that_is_gone_is_filled_again_from_peers() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 4 << 20);
    let expected = person.push("home");
    world.rest();
    world.nodes[0].kill();
    world.nodes[0].lose_disk();
    world.nodes[0].start();
    world.until("it is missed", |world| world.status().uncounted > 0 || world.status().short > 0);
    person.verify("home", &expected);
    world.rest();
    world.check();
    person.verify("home", &expected);
}

#[test]
fn rot_on_one_disk_is_found_by_a_scrub_and_healed_from_another() {
    let world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 4 << 20);
    let expected = person.push("home");
    world.rest();
    assert!(world.nodes[3].rot() > 0);
    // Nobody reads before the scrub: a reader would report the rot and have it healed first.
    let run = world.run(Task::Scrub);
    assert_eq!(run.end, End::Done, "{run:?}");
    assert!(!run.note.starts_with("0 damaged"), "{run:?}");
    world.until("nothing is damaged any more", |world| world.run(Task::Scrub).note.starts_with("0 damaged"));
    world.rest();
    world.check();
    person.verify("home", &expected);
}
