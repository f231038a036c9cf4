//! The tests of the tests: each harness is shown real damage and has to cry out. A law that nothing can break proves nothing.

use crate::cases::Dice;
use crate::desk::files_below;
use crate::faults::{Act, Fault};
use crate::world::World;
use std::fs;

fn world() -> World {
    World::new(&mut Dice::of_all("teeth"))
}

#[test]
fn a_world_without_damage_passes() {
    world().verify_and_push().expect("nothing is wrong");
}

#[test]
fn a_flipped_byte_is_damage() {
    let mut world = world();
    let segment = files_below(&world.desk.store().join("node/segments")).remove(0);
    let mut bytes = fs::read(&segment).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).expect("writable");
    assert!(world.verify().is_err());
}

#[test]
fn a_version_that_is_gone_is_damage() {
    let mut world = world();
    world.desk.cas(["forget", "a@1"]).ok().expect("forgotten behind the model's back");
    assert!(world.verify().is_err_and(|why| why.contains("a@1")));
}

#[test]
fn a_version_with_other_contents_is_damage() {
    let mut world = world();
    let first = world.expected.versions[&("a".to_owned(), 1)].clone();
    world.expected.versions.insert(("a".to_owned(), 2), first);
    assert!(world.verify().is_err_and(|why| why.contains("a@2")));
}

#[test]
fn a_lost_acknowledgement_is_damage() {
    let mut world = world();
    let older = world.copy();
    crate::world::change(&world.desk.path("tree"), &mut Dice::of_all("more"));
    world.push("a").expect("a push");
    fs::remove_dir_all(world.desk.home()).expect("it was there");
    fs::rename(older.desk.home(), world.desk.home()).expect("an older store in its place");
    assert!(world.verify().is_err_and(|why| why.contains("a@3")));
}

#[test]
fn the_shim_kills_and_fails_at_the_operation_that_was_asked_for() {
    let world = world();
    for (act, code) in [(Act::KillBefore, -9), (Act::KillAfter, -9), (Act::Dead, 1)] {
        let fault = Fault::none(world.desk.home()).at(act, 3);
        let done = world.desk.cas_with(&fault, ["push", "tree", "--name", "a"]);
        assert!(done.fault.contains("operation 3"), "{done:#?}");
        assert_eq!(done.code, code, "{done:#?}");
    }
}
