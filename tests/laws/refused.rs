//! Law 11: what cannot be done is refused with what, which and what next, and nothing is changed by it: a wrong key, a version from
//! the future in any file that has one, a store that cannot be written.

use crate::cases::{Dice, cases};
use crate::desk::{Desk, files_below};
use crate::world::World;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// All bytes of a store but the lock's text, which says who was there last.
fn frozen(desk: &Desk) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_below(&desk.store()).into_iter().filter(|file| !file.ends_with("lock"));
    files.map(|file| (file.clone(), fs::read(&file).expect("readable"))).collect()
}

#[test]
fn a_wrong_key_opens_nothing_and_changes_nothing() {
    let mut world = World::new(&mut Dice::of_all("refused"));
    let desk = &world.desk;
    desk.cas(["--identity", "other", "key", "new"]).ok().expect("another key");
    let segments = |desk: &Desk| {
        frozen(desk).into_iter().filter(|(file, _)| file.extension().is_some_and(|e| e == "seg")).collect::<Vec<_>>()
    };
    let before = segments(desk);
    let all: [&[&str]; 6] = [
        &["snapshots"],
        &["pull", "a", "back"],
        &["push", "tree", "--name", "a"],
        &["forget", "a@1"],
        &["check"],
        &["ls", "a"],
    ];
    for command in all {
        for identity in ["other", "missing"] {
            let refused = desk.cas([&["--identity", identity][..], command].concat());
            let refused = refused.expect(12).unwrap_or_else(|why| panic!("{why}"));
            assert!(refused.stderr.contains("help:") && !refused.has_panicked(), "{refused:#?}");
        }
    }
    assert!(!desk.path("back").exists());
    assert!(segments(desk) == before, "segments changed");
    world.verify().expect("everything is as it was");
}

#[test]
fn a_version_from_the_future_is_refused_wherever_it_stands() {
    let world = World::new(&mut Dice::of_all("refused"));
    let cases: [(&str, &[u8], &[u8]); 2] =
        [("cas-store", b"version 1\n", b"version 7\n"), ("node/segments/0000000000.seg", b"CASS\x01", b"CASS\x07")];
    for (file, now, later) in cases {
        let world = world.copy();
        let path = world.desk.store().join(file);
        let mut bytes = fs::read(&path).expect("readable");
        let at = bytes.windows(now.len()).position(|window| window == now).expect("it has a version");
        bytes[at..at + later.len()].copy_from_slice(later);
        if file.ends_with(".seg") {
            // Only magic and version mean the same for ever; the rest of a header is the future's own.
            bytes[later.len()..32].fill(0xf7);
        }
        fs::write(&path, &bytes).expect("writable");
        // The node's cache may know the segment already: nothing else of it is read then.
        let _ = fs::remove_file(world.desk.store().join("node/index.redb"));
        for command in [&["snapshots"][..], &["push", "tree", "--name", "a"], &["gc", "--now"], &["index", "rebuild"]] {
            let refused = world.desk.cas(command);
            assert!(refused.code != 0 && !refused.has_panicked(), "{file}: {refused:#?}");
            assert!(refused.stderr.contains("version 7"), "{file}: {refused:#?}");
        }
        assert_eq!(fs::read(&path).expect("readable"), bytes, "{file} was changed");
        assert!(!world.desk.store().join("node/quarantine").exists(), "the future was taken for damage");
    }
}

#[test]
fn a_store_that_cannot_be_written_can_be_read_and_stays_as_it_is() {
    cases("refused::read_only", 1, |dice| {
        let mut world = World::new(dice);
        let nothing = crate::faults::Fault::none(world.desk.home());
        world.try_forget(("a", 1), &nothing)?.ok()?;
        world.expected.versions.remove(&("a".to_owned(), 1));
        let Some(mount) = crate::mount::read_only(&world.desk.store()) else { return Ok(()) };
        let before = frozen(&world.desk);
        let listed = world.desk.cas(["snapshots", "--json"]).ok()?.objects().len();
        for (version, looks) in &world.expected.versions {
            let back = world.desk.path("back");
            let _ = fs::remove_dir_all(&back);
            world.desk.cas(["pull", &format!("{}@{}", version.0, version.1), "back"]).ok()?;
            crate::world::same(looks, &back)?;
        }
        world.desk.cas(["check", "--read-data", "--recount"]).ok()?;
        for command in [&["push", "tree", "--name", "a"][..], &["gc", "--now"], &["forget", "a@2"]] {
            let refused = world.desk.cas(command);
            if refused.code == 0 || refused.has_panicked() || refused.stderr.is_empty() {
                return Err(format!("a store that cannot be written: {refused:#?}"));
            }
        }
        let unchanged = frozen(&world.desk) == before && listed == world.expected.versions.len();
        drop(mount);
        if unchanged { Ok(()) } else { Err("it was changed".to_owned()) }
    });
}
