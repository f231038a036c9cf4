//! Laws 1, 7, 11: when a write, cut, rename or sync fails, once or from then on, the command says so; what it said before
//! holds; and when the disk works again, so does the store. A read that fails is never taken for an answer.
//!
//! Exit code 0 with a failure on the way is right where nothing was lost by it (a cache that cannot be written); the proof is
//! that everything acknowledged comes back.

use crate::cases::{Dice, cases};
use crate::desk::Done;
use crate::faults::{Act, Fault};
use crate::tree::looks;
use crate::world::{World, change, same};
use std::fs;
use std::sync::OnceLock;

const FAILURES: [Act; 6] = [Act::Eio, Act::Enospc, Act::Dead, Act::Full, Act::Short, Act::Eintr];

fn prepared(law: &str) -> World {
    let mut world = World::new(&mut Dice::of_all(law));
    change(&world.desk.path("tree"), &mut Dice::of_all("more"));
    let nothing = Fault::none(world.desk.home());
    world.try_forget(("a", 1), &nothing).and_then(Done::ok).expect("forgotten");
    world
}

/// Failures that a caller has to cope with are no failures.
fn judge(done: &Done, act: Act) -> Result<(), String> {
    if done.has_panicked() {
        return Err(format!("a panic: {done:#?}"));
    }
    if matches!(act, Act::Short | Act::Eintr) && done.code != 0 {
        return Err(format!("what is no failure was taken for one: {done:#?}"));
    }
    if done.code == 130 {
        return Err(format!("nobody interrupted it: {done:#?}"));
    }
    if done.code != 0 && done.stderr.is_empty() {
        return Err(format!("it failed and said nothing: {done:#?}"));
    }
    Ok(())
}

fn failed(law: &str, short: u64, command: impl Fn(&mut World, &Fault) -> Result<Done, String>) {
    let known: OnceLock<(World, u64)> = OnceLock::new();
    cases(law, short, |dice| {
        let (world, operations) = known.get_or_init(|| {
            let world = prepared(law);
            let mut undisturbed = world.copy();
            let nothing = Fault::none(undisturbed.desk.home());
            let done = command(&mut undisturbed, &nothing).and_then(Done::ok);
            (world, done.expect("it works undisturbed").operations.expect("they were counted"))
        });
        let mut world = world.copy();
        let act = *dice.one_of(&FAILURES);
        let fault = Fault::none(world.desk.home()).at(act, 1 + dice.below(*operations));
        let done = command(&mut world, &fault)?;
        judge(&done, act)
            .and_then(|()| world.verify_and_push())
            .map_err(|why| format!("{} (exit {}), then: {why}", done.fault, done.code))
    });
}

#[test]
fn a_failed_operation_of_a_push_is_said_and_costs_nothing_acknowledged() {
    failed("failing::a_failed_operation_of_a_push", 60, |world, fault| world.try_push("a", fault));
}

#[test]
fn a_failed_operation_of_a_collection_costs_nothing() {
    failed("failing::a_failed_operation_of_a_collection", 40, |world, fault| {
        Ok(world.desk.cas_with(fault, ["gc", "--now"]))
    });
}

#[test]
fn a_failed_read_of_the_store_is_never_an_answer() {
    let known: OnceLock<(World, u64)> = OnceLock::new();
    let count_reads = |world: &World| Fault::none(world.desk.home()).of_reads();
    let pull = ["pull", "a@2", "back"];
    cases("failing::a_failed_read_of_the_store", 60, |dice| {
        let (world, operations) = known.get_or_init(|| {
            let world = prepared("failing::reads");
            let undisturbed = world.copy();
            let done = undisturbed.desk.cas_with(&count_reads(&undisturbed), pull);
            (world, done.ok().expect("it works undisturbed").operations.expect("they were counted"))
        });
        let world = world.copy();
        let act = *dice.one_of(&[Act::Eio, Act::Dead, Act::Short, Act::Eintr]);
        let fault = count_reads(&world).at(act, 1 + dice.below(*operations));
        let done = world.desk.cas_with(&fault, pull);
        let looks = &world.expected.versions[&("a".to_owned(), 2)];
        judge(&done, act).map_err(|why| format!("{}: {why}", done.fault))?;
        if done.code != 0 {
            return Ok(());
        }
        let whole = same(looks, &world.desk.path("back"));
        whole.map_err(|why| format!("{}, and it said that all went well: {why}", done.fault))
    });
}

#[test]
fn a_failed_write_of_a_pull_is_said() {
    let known: OnceLock<(World, u64)> = OnceLock::new();
    let pull = ["pull", "a@2", "back"];
    cases("failing::a_failed_write_of_a_pull", 60, |dice| {
        let (world, operations) = known.get_or_init(|| {
            let world = prepared("failing::pull");
            let undisturbed = world.copy();
            let done = undisturbed.desk.cas_with(&Fault::none(undisturbed.desk.path("back")), pull);
            (world, done.ok().expect("it works undisturbed").operations.expect("they were counted"))
        });
        let world = world.copy();
        let act = *dice.one_of(&FAILURES);
        let fault = Fault::none(world.desk.path("back")).at(act, 1 + dice.below(*operations));
        let done = world.desk.cas_with(&fault, pull);
        let looks = &world.expected.versions[&("a".to_owned(), 2)];
        judge(&done, act).map_err(|why| format!("{}: {why}", done.fault))?;
        if done.code == 0 {
            let whole = same(looks, &world.desk.path("back"));
            return whole.map_err(|why| format!("{}, and it said that all went well: {why}", done.fault));
        }
        // When the disk works again, the same command completes what is missing.
        world.desk.cas(pull).ok()?;
        same(looks, &world.desk.path("back")).map_err(|why| format!("{}, repeated: {why}", done.fault))
    });
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_rest_is_pushed() {
    let known: OnceLock<(World, u64)> = OnceLock::new();
    let push = ["push", "tree", "--name", "c", "--force"];
    cases("failing::a_file_that_cannot_be_read", 40, |dice| {
        let of_tree = |world: &World| Fault::none(world.desk.path("tree")).of_reads();
        let (world, operations) = known.get_or_init(|| {
            let mut world = prepared("failing::source");
            // The whole path is what the shim compares.
            let undisturbed = world.copy();
            let tree = undisturbed.desk.path("tree");
            let done = undisturbed.desk.cas_with(&of_tree(&undisturbed), with_path(&push, &tree));
            world.expected = Default::default();
            (world, done.ok().expect("it works undisturbed").operations.expect("they were counted"))
        });
        let world = world.copy();
        let tree = world.desk.path("tree");
        let act = *dice.one_of(&[Act::Eio, Act::Short, Act::Eintr]);
        let fault = of_tree(&world).at(act, 1 + dice.below(*operations));
        let done = world.desk.cas_with(&fault, with_path(&push, &tree));
        judge(&done, act).map_err(|why| format!("{}: {why}", done.fault))?;
        let name = done.fault.rsplit('/').next().unwrap_or_default().to_owned();
        if act == Act::Eio && !(done.code == 3 && !name.is_empty() && done.stderr.contains(&name)) {
            return Err(format!("{name} was not named: {done:#?}"));
        }
        world.desk.cas(["pull", "c", "back"]).ok()?;
        let mut expected = looks(&tree);
        if act == Act::Eio {
            expected.retain(|path, _| !path.ends_with(&name));
            for file in crate::desk::files_below(&world.desk.path("back")).iter().filter(|f| f.ends_with(&name)) {
                fs::remove_file(file).expect("it is there");
            }
        }
        let contents = |looks: std::collections::BTreeMap<String, crate::tree::Look>| {
            looks.into_iter().map(|(path, look)| (path, look.content)).collect::<Vec<_>>()
        };
        let (expected, found) = (contents(expected), contents(looks(&world.desk.path("back"))));
        if expected == found { Ok(()) } else { Err(format!("{}: the rest is not whole", done.fault)) }
    });
}

fn with_path(args: &[&str], tree: &std::path::Path) -> Vec<String> {
    args.iter().map(|arg| if *arg == "tree" { tree.display().to_string() } else { (*arg).to_owned() }).collect()
}
