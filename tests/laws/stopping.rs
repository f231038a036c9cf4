//! Law 11 and the promise of every long command: Ctrl-C ends it soon, truthfully (exit 130), and leaves a store that needs no
//! repair. The moments are chosen by file operations, so that all of a command is covered whatever the machine's speed.

use crate::cases::{Dice, cases};
use crate::desk::Done;
use crate::faults::{Act, Fault};
use crate::world::World;
use std::sync::OnceLock;

#[test]
fn ctrl_c_at_any_moment_leaves_a_store_that_needs_no_repair() {
    let prepared: OnceLock<World> = OnceLock::new();
    cases("stopping::ctrl_c", 25, |dice| {
        let world = prepared.get_or_init(|| World::new(&mut Dice::of_all("stopping")));
        let mut world = world.copy();
        crate::world::change(&world.desk.path("tree"), dice);
        let fault = Fault::none(world.desk.home()).at(Act::Interrupt, 1 + dice.below(30));
        let done = match dice.below(4) {
            0 => world.desk.cas_with(&fault, ["gc", "--now"]),
            1 => world.desk.cas_with(&fault, ["check", "--read-data"]),
            _ => world.try_push("a", &fault)?,
        };
        truthful(&done).and_then(|()| world.verify_and_push()).map_err(|why| format!("{}: {why}", done.fault))
    });
}

/// Either it was done before the signal was seen, or it says that it was not.
fn truthful(done: &Done) -> Result<(), String> {
    match done.code {
        0 => Ok(()),
        130 if done.stderr.contains("interrupted") => Ok(()),
        _ => Err(format!("{done:#?}")),
    }
}
