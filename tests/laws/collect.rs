//! Laws 2, 3, 5, 8: whatever order people push, forget, bring back and collect in, and whoever is killed on the way, everything
//! that is listed restores, counts are those of a recount, numbers are never used twice, and what nobody needs is gone.

use crate::cases::{Dice, cases};
use crate::desk::{Done, bytes_below};
use crate::faults::{Act, Fault};
use crate::world::{World, change};
use std::fs;

/// Steps of one life.
const STEPS: u64 = 14;
/// What gc may leave of dead bytes, as a part of the store.
const DEAD_SHARE: f64 = 0.05;
/// Bytes of what a store is beside its blocks: segment headers, logs, the node's index.
const FIXED: u64 = 200_000;

#[test]
fn any_life_of_a_store_keeps_what_is_listed_and_loses_the_rest() {
    cases("collect::any_life", 8, |dice| {
        let mut world = World::new(dice);
        let mut numbers = std::collections::BTreeMap::from([("a".to_owned(), 2)]);
        for step in 0..STEPS {
            let said = live(&mut world, &mut numbers, dice);
            said.and_then(|()| world.verify()).map_err(|why| format!("step {step}: {why}"))?;
        }
        let versions: Vec<_> = world.listed()?.into_iter().collect();
        for (name, seq) in &versions[1..] {
            world.desk.cas(["forget", &format!("{name}@{seq}")]).ok()?;
        }
        world.desk.cas(["gc", "--now"]).ok()?;
        world.desk.cas(["check", "--read-data", "--recount"]).ok()?;
        let left = bytes_below(&world.desk.store().join("node/segments"));
        let needed = fresh_size(&world, &versions[0])?;
        let allowed = needed + (needed as f64 * DEAD_SHARE) as u64 + FIXED;
        if left > allowed {
            return Err(format!("one version needs {needed} bytes, {left} are left, {allowed} would be allowed"));
        }
        Ok(())
    });
}

/// One step, perhaps killed on the way.
fn live(
    world: &mut World,
    numbers: &mut std::collections::BTreeMap<String, u64>,
    dice: &mut Dice,
) -> Result<(), String> {
    let mut fault = Fault::none(world.desk.home());
    if dice.once_in(3) {
        fault = fault.at(*dice.one_of(&[Act::KillBefore, Act::KillHalf, Act::KillAfter]), 1 + dice.below(25));
    }
    let fine = |done: Done| if done.was_killed() { Ok(()) } else { done.ok().map(|_| ()) };
    let listed: Vec<_> = world.listed()?.into_iter().collect();
    match dice.below(6) {
        0..3 => {
            change(&world.desk.path("tree"), dice);
            let name = dice.one_of(&["a", "b", "b/c"]).to_string();
            let done = world.try_push(&name, &fault)?;
            if done.code == 0 {
                let seq = done.summary()?["version"].as_u64().ok_or("no version")?;
                let last = numbers.insert(name.clone(), seq).unwrap_or(0);
                if seq <= last {
                    return Err(format!("{name}@{seq} was given after {name}@{last}"));
                }
            }
            fine(done)
        }
        3 if listed.len() > 1 => {
            let (name, seq) = dice.one_of(&listed).clone();
            let forgotten = world.expected.versions[&(name.clone(), seq)].clone();
            fine(world.try_forget((&name, seq), &fault)?)?;
            if dice.once_in(2) && world.expected.gone.remove(&(name.clone(), seq)) {
                world.desk.cas(["gc"]).ok()?;
                world.desk.cas(["undelete", &format!("{name}@{seq}")]).ok()?;
                world.expected.required.insert((name.clone(), seq));
                world.expected.versions.insert((name, seq), forgotten);
            }
            Ok(())
        }
        4 => fine(world.desk.cas_with(&fault, ["gc"])),
        _ => fine(world.desk.cas_with(&fault, ["gc", "--now"])),
    }
}

/// Bytes of segments that one version takes in a store of its own.
fn fresh_size(world: &World, (name, seq): &(String, u64)) -> Result<u64, String> {
    let _ = fs::remove_dir_all(world.desk.path("back"));
    world.desk.cas(["pull", &format!("{name}@{seq}"), "back"]).ok()?;
    let other = crate::desk::Desk::with_store();
    other.cas(["push", &world.desk.path("back").display().to_string(), "--name", "a"]).ok()?;
    Ok(bytes_below(&other.store().join("node/segments")))
}
