//! Law 7: every wrong byte is noticed before a user sees it, in every kind of file that is stored; what it costs is named, and
//! is at most the files in it. Law 9: a rotten index is made anew from the segments, a rotten node index by itself.
//!
//! A byte that nobody needs (of a dead record, of a cache) may rot unseen: then everything restores. A segment that is cut
//! at the end looks like one that a power cut tore: what was in it must be missed, not forgotten.

use crate::cases::{Dice, cases};
use crate::desk::{Done, files_below};
use crate::world::{Looks, World};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What happened to a file.
#[derive(Debug)]
struct Damage {
    path: String,
    what: String,
}

/// Spoils one file: a bit, a run of bytes, an end that is gone, all of it.
fn spoil(file: &Path, home: &Path, dice: &mut Dice) -> Damage {
    let mut bytes = fs::read(file).expect("readable");
    let at = dice.below(bytes.len().max(1) as u64) as usize;
    let what = match dice.below(8) {
        _ if bytes.is_empty() => {
            bytes = dice.bytes(64);
            "64 bytes in place of none".to_owned()
        }
        0..4 => {
            bytes[at] ^= 1 << dice.below(8);
            format!("a bit of byte {at}")
        }
        4 | 5 => {
            let end = bytes.len().min(at + 1 + dice.below(5000) as usize);
            let other = if dice.once_in(2) { vec![0; end - at] } else { dice.bytes(end - at) };
            bytes[at..end].copy_from_slice(&other);
            format!("bytes {at} to {end}")
        }
        6 => {
            bytes.truncate(at);
            format!("everything from byte {at}")
        }
        _ => {
            fs::remove_file(file).expect("it was there");
            let path = file.strip_prefix(home).expect("below").display().to_string();
            return Damage { path, what: "all of it: removed".to_owned() };
        }
    };
    fs::write(file, bytes).expect("writable");
    Damage { path: file.strip_prefix(home).expect("below").display().to_string(), what }
}

/// Pulls everything that should be there. Wrong bytes are the crime; missing ones must be said.
fn pull_all(world: &World) -> Result<bool, String> {
    let mut all = true;
    for ((name, seq), looks) in &world.expected.versions {
        let back = world.desk.path("back");
        let _ = fs::remove_dir_all(&back);
        let done = world.desk.cas(["pull", &format!("{name}@{seq}"), "back"]);
        if done.has_panicked() {
            return Err(format!("a panic: {done:#?}"));
        }
        judge_pull(&done, looks, &back).map_err(|why| format!("{name}@{seq}: {why}: {done:#?}"))?;
        all &= done.code == 0;
    }
    Ok(all)
}

fn judge_pull(done: &Done, expected: &Looks, back: &Path) -> Result<(), String> {
    if !back.exists() {
        return if done.code == 0 { Err("nothing came, and all is well?".to_owned()) } else { Ok(()) };
    }
    let found = crate::tree::looks(back);
    for (path, look) in &found {
        let wanted = expected.get(path).ok_or_else(|| format!("{path:?} was never pushed"))?;
        let named = done.code != 0 && (path.is_empty() || done.stderr.contains(path.as_str()));
        if look.content != wanted.content && !named {
            return Err(format!("{path:?} came back wrong"));
        }
        if done.code == 0 && look != wanted {
            return Err(format!("{path:?} differs: {look:?}, was {wanted:?}"));
        }
    }
    match expected.keys().find(|path| !found.contains_key(*path)) {
        Some(path) if done.code == 0 => Err(format!("{path:?} is missing, and all is well?")),
        _ => Ok(()),
    }
}

/// The files of the store, by the folder they are in.
fn kinds(world: &World) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut kinds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in files_below(&world.desk.home()) {
        // The identity is no part of the store: who loses it needs the recovery key.
        if !file.ends_with("identity") {
            let relative = file.strip_prefix(world.desk.home()).expect("below").to_owned();
            kinds.entry(file.parent().expect("below").to_owned()).or_default().push(relative);
        }
    }
    kinds
}

#[test]
fn a_rotten_file_of_any_kind_is_noticed_and_what_it_costs_is_named() {
    let prepared = OnceLock::new();
    cases("rot::a_rotten_file", 150, |dice| {
        let world: &World = prepared.get_or_init(|| World::new(&mut Dice::of_all("rot")));
        let mut world = world.copy();
        let kinds: Vec<_> = kinds(&world).into_values().collect();
        let kind = dice.one_of(&kinds);
        let file = world.desk.home().join(dice.one_of(kind));
        let damage = spoil(&file, &world.desk.home(), dice);
        let context = |why: String| format!("{} lost {}: {why}", damage.path, damage.what);
        let whole = pull_all(&world).map_err(context)?;
        if !whole {
            recover(&mut world).map_err(context)?;
        }
        // With the files still there, a push heals everything that they hold.
        world.push("a").map_err(context)?;
        let (last, looks) = world.expected.versions.iter().next_back().expect("it was just pushed");
        let back = world.desk.path("back");
        let _ = fs::remove_dir_all(&back);
        world.desk.cas(["pull", &format!("{}@{}", last.0, last.1), "back"]).ok().map_err(context)?;
        crate::world::same(looks, &back).map_err(context)
    });
}

/// What the hints say: make the index anew, trust the store again, check.
fn recover(world: &mut World) -> Result<(), String> {
    let mut listed = world.desk.cas(["snapshots", "--json"]);
    if listed.stderr.contains("cas vault trust") {
        world.desk.cas(["vault", "trust"]).ok()?;
        listed = world.desk.cas(["snapshots", "--json"]);
    }
    if listed.code != 0 {
        let rebuilt = world.desk.cas(["index", "rebuild", "--json"]);
        if ![0, 14].contains(&rebuilt.code) {
            return Err(format!("the index was not made anew: {rebuilt:#?}"));
        }
        pull_all(world)?;
    }
    let checked = world.desk.cas(["check", "--read-data"]);
    if ![0, 14].contains(&checked.code) || checked.has_panicked() {
        return Err(format!("check gave up: {checked:#?}"));
    }
    // What is lost for good is no longer asked for.
    let listed = world.listed()?;
    world.expected.versions.retain(|version, _| listed.contains(version));
    world.expected.required.clear();
    Ok(())
}

#[test]
fn a_lost_index_is_made_anew_with_equal_answers() {
    cases("rot::a_lost_index", 8, |dice| {
        let mut world = World::new(dice);
        crate::world::change(&world.desk.path("tree"), dice);
        world.push("b/deeper")?;
        let nothing = crate::faults::Fault::none(world.desk.home());
        world.try_forget(("a", 1), &nothing)?.ok()?;
        let answers = |world: &World| -> Result<Vec<serde_json::Value>, String> {
            Ok(world.desk.cas(["snapshots", "--trash", "--json"]).ok()?.objects())
        };
        let before = answers(&world)?;
        if dice.once_in(2) {
            fs::remove_dir_all(world.desk.store().join("index")).expect("it was there");
        }
        if dice.once_in(2) {
            let _ = fs::remove_file(world.desk.store().join("node/index.redb"));
        }
        if dice.once_in(2) {
            fs::remove_file(world.desk.store().join("node/key")).expect("it was there");
        }
        world.desk.cas(["index", "rebuild"]).ok()?;
        let after = answers(&world)?;
        let without_trash_time = |mut answers: Vec<serde_json::Value>| {
            answers.iter_mut().filter_map(|a| a.as_object_mut()).for_each(|a| drop(a.remove("trash_since")));
            answers
        };
        let (before, after) = (without_trash_time(before), without_trash_time(after));
        if before != after {
            return Err(format!("before {before:#?}, after {after:#?}"));
        }
        world.verify_and_push()?;
        world.desk.cas(["gc", "--now"]).ok()?;
        world.verify_and_push()
    });
}

#[test]
fn an_index_that_lost_its_end_is_refused_and_nothing_is_collected_by_it() {
    cases("rot::an_index_that_lost_its_end", 12, |dice| {
        let mut world = World::new(dice);
        let index = world.desk.store().join("index");
        let log = || files_below(&index).into_iter().find(|f| f.display().to_string().contains("log-")).expect("a log");
        let older = fs::metadata(log()).expect("it is there").len();
        let whole = world.copy();
        crate::world::change(&world.desk.path("tree"), dice);
        world.push("b")?;
        match dice.below(3) {
            // A clean end, of an earlier command: nothing in the log says that there was more.
            0 => fs::OpenOptions::new().write(true).open(log()).and_then(|f| f.set_len(older)).expect("cut"),
            1 => {
                let len = older + dice.below(fs::metadata(log()).expect("it is there").len() - older);
                fs::OpenOptions::new().write(true).open(log()).and_then(|f| f.set_len(len)).expect("cut");
            }
            _ => {
                fs::remove_dir_all(&index).expect("it was there");
                fs::rename(whole.desk.store().join("index"), &index).expect("an older copy in its place");
            }
        }
        if world.desk.cas(["gc", "--now"]).code == 0 {
            // Only the mark of a clean end was lost.
            return world.verify_and_push();
        }
        for command in [&["gc", "--now"][..], &["snapshots"], &["push", "tree", "--name", "c"]] {
            let refused = world.desk.cas(command).expect(14)?;
            if !refused.stderr.contains("index rebuild") {
                return Err(format!("no way out is named: {refused:#?}"));
            }
        }
        world.desk.cas(["index", "rebuild"]).ok()?;
        world.verify_and_push()
    });
}
