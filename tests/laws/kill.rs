//! Laws 1, 2, 3: killed at any operation on a file, each command leaves a store that needs no repair, in which everything is that
//! was acknowledged, nothing counts wrongly, and the next push works.
//!
//! A false alarm would be to ask for the version whose push was killed: it may be there (whole) or not. Every
//! operation is reached in the long run; the short one takes them at random. Kills between two operations are in it: an
//! operation is disturbed before, in the middle of and after its bytes.

use crate::cases::{Dice, cases};
use crate::desk::{Desk, Done};
use crate::faults::{Act, Fault};
use crate::world::{World, change};
use std::sync::OnceLock;

const KILLS: [Act; 3] = [Act::KillBefore, Act::KillHalf, Act::KillAfter];

/// Prepares a world once, then lets a command be killed in copies of it.
fn killed(
    law: &str,
    short: u64,
    prepare: impl Fn(&mut World),
    command: impl Fn(&mut World, &Fault) -> Result<Done, String>,
    afterwards: impl Fn(&mut World) -> Result<(), String>,
) {
    let prepared: OnceLock<(World, u64)> = OnceLock::new();
    cases(law, short, |dice| {
        let (world, operations) = prepared.get_or_init(|| {
            let mut world = World::new(&mut Dice::of_all(law));
            prepare(&mut world);
            let mut undisturbed = world.copy();
            let nothing = Fault::none(undisturbed.desk.home());
            let done = command(&mut undisturbed, &nothing).and_then(Done::ok);
            let operations = done.expect("it works undisturbed").operations.expect("they were counted");
            (world, operations)
        });
        let mut world = world.copy();
        let fault = Fault::none(world.desk.home()).at(*dice.one_of(&KILLS), 1 + dice.below(*operations));
        let done = command(&mut world, &fault)?;
        if !done.was_killed() {
            // With several threads an operation more or less is possible.
            return done.ok().map(|_| ());
        }
        afterwards(&mut world).map_err(|why| format!("{}, then: {why}", done.fault))
    });
}

#[test]
fn a_killed_push_leaves_what_was_acknowledged_and_can_be_repeated() {
    killed(
        "kill::a_killed_push",
        60,
        |world| change(&world.desk.path("tree"), &mut Dice::of_all("more")),
        |world, fault| world.try_push("a", fault),
        World::verify_and_push,
    );
}

#[test]
fn a_killed_first_push_can_be_repeated() {
    cases("kill::a_killed_first_push", 25, |dice| {
        let desk = Desk::new();
        crate::world::plant(&desk.path("tree"), dice);
        let push = ["push", "tree", "--name", "a"];
        let operations = {
            let undisturbed = desk.copy();
            undisturbed.cas_with(&Fault::none(undisturbed.home()), push).ok()?.operations.expect("counted")
        };
        let fault = Fault::none(desk.home()).at(*dice.one_of(&KILLS), 1 + dice.below(operations));
        let killed = desk.cas_with(&fault, push);
        desk.cas(push).ok().map_err(|why| format!("{}, then: {why}", killed.fault))?;
        desk.cas(["check", "--read-data", "--recount"]).ok()?;
        desk.cas(["pull", "a", "back"]).ok()?;
        crate::world::same(&crate::tree::looks(&desk.path("tree")), &desk.path("back"))
    });
}

#[test]
fn a_killed_forget_forgets_or_does_not() {
    killed(
        "kill::a_killed_forget",
        15,
        |_| {},
        |world, fault| world.try_forget(("a", 1), fault),
        World::verify_and_push,
    );
}

#[test]
fn a_killed_collection_takes_nothing_that_is_needed() {
    killed(
        "kill::a_killed_collection",
        40,
        |world| {
            let nothing = Fault::none(world.desk.home());
            world.try_forget(("a", 1), &nothing).and_then(Done::ok).expect("forgotten");
        },
        |world, fault| Ok(world.desk.cas_with(fault, ["gc", "--now"])),
        |world| {
            world.verify()?;
            world.desk.cas(["gc", "--now"]).ok()?;
            world.verify_and_push()
        },
    );
}

#[test]
fn a_killed_rebuild_can_be_repeated() {
    killed(
        "kill::a_killed_rebuild",
        25,
        |_| {},
        |world, fault| Ok(world.desk.cas_with(fault, ["index", "rebuild"])),
        |world| {
            // What opens before the repetition must be right, not half an index.
            if world.desk.cas(["snapshots"]).code == 0 {
                world.verify()?;
            }
            world.desk.cas(["index", "rebuild"]).ok()?;
            world.verify_and_push()
        },
    );
}

#[test]
fn what_a_killed_push_stored_is_not_stored_again() {
    cases("kill::what_a_killed_push_stored", 12, |dice| {
        let mut world = World::new(dice);
        std::fs::remove_dir_all(world.desk.path("tree")).expect("it was there");
        crate::world::plant(&world.desk.path("tree"), dice);
        let fault = Fault::none(world.desk.home()).at(*dice.one_of(&KILLS), 4 + dice.below(12));
        world.try_push("a", &fault)?;
        world.push("a")?;
        let mut seen = std::collections::HashSet::new();
        for file in crate::desk::files_below(&world.desk.store().join("node/segments")) {
            for (found, good) in cas_node::inspect::segment(&file).map_err(|e| e.to_string())? {
                if let cas_node::inspect::Found::Record(at, record) = found
                    && record.what == cas_node::What::Block
                    && !(good && seen.insert(record.id))
                {
                    return Err(format!(
                        "{} stands twice or broken, again at byte {at} of {}",
                        record.id,
                        file.display()
                    ));
                }
            }
        }
        Ok(())
    });
}
