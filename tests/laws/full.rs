//! A full disk: the push says so (exit 13), what was acknowledged is there, and forgetting and collecting still work and give the
//! room back. Needs to mount a small file system; where that is not allowed it says so, and `failing` lets writes
//! fail one by one in its place.

use crate::cases::cases;
use crate::desk::Desk;
use crate::world::{Expected, World, plant};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const MIB: u64 = 1 << 20;

#[test]
fn a_full_disk_is_said_and_what_is_there_stays_and_room_can_be_made() {
    cases("full::a_full_disk", 4, |dice| {
        let mut world = World { desk: Desk::new(), expected: Expected::default() };
        let room = 48 + dice.below(24);
        let Some(mount) = crate::mount::of_bytes(&world.desk.home(), room * MIB) else { return Ok(()) };
        plant(&world.desk.path("tree"), dice);
        world.desk.cas(["init"]).ok()?;
        world.push("a")?;
        let mut refused = None;
        for n in 0..room {
            let len = MIB + dice.below(4 * MIB);
            fs::write(world.desk.path("tree/big"), dice.bytes(len as usize)).expect("a file");
            let nothing = crate::faults::Fault::none(world.desk.home());
            let done = world.try_push("a", &nothing)?;
            if done.code != 0 {
                refused = Some((n, done));
                break;
            }
        }
        let (n, refused) = refused.ok_or("the disk was never full")?;
        let context = |why: String| format!("{room} MiB, full after {n} versions: {why}");
        let refused = refused.expect(13).map_err(context)?;
        if refused.has_panicked() || !refused.stderr.contains("cas gc --now") {
            return Err(context(format!("{refused:#?}")));
        }
        world.verify().map_err(context)?;
        world.desk.cas(["forget", "a", "--keep-last", "1"]).ok().map_err(context)?;
        let last = world.expected.required.last().expect("one was pushed").clone();
        world.expected.required.retain(|version| *version == last);
        world.desk.cas(["gc", "--now"]).ok().map_err(context)?;
        world.push("a").map_err(context)?;
        world.verify().map_err(context)?;
        drop(mount);
        Ok(())
    });
}

/// Takes all that is free in a folder's file system.
fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("of others")).expect("a file");
    for len in [MIB as usize, 4096, 1] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
}

#[test]
fn on_a_disk_that_others_filled_to_the_last_byte_forgetting_and_collecting_still_make_room() {
    cases("full::others", 2, |dice| {
        let mut world = World { desk: Desk::new(), expected: Expected::default() };
        let home = world.desk.home();
        let Some(mount) = crate::mount::of_bytes(&home, 64 * MIB) else { return Ok(()) };
        plant(&world.desk.path("tree"), dice);
        world.desk.cas(["init"]).ok()?;
        let big = world.desk.path("tree/big");
        let len = (8 + dice.below(8)) * MIB;
        fs::write(&big, dice.bytes(len as usize)).expect("a file");
        world.push("a")?;
        fs::remove_file(&big).expect("it was written");
        world.push("a")?;
        fill(&home);
        fs::write(world.desk.path("tree/new"), dice.bytes(MIB as usize)).expect("a file");
        let refused = world.try_push("b", &crate::faults::Fault::none(home.clone()))?;
        if refused.code == 0 || refused.has_panicked() {
            return Err(format!("a push onto a full disk: {refused:#?}"));
        }
        world.desk.cas(["forget", "a", "--keep-last", "1"]).ok()?;
        let last = world.expected.required.last().expect("two were pushed").clone();
        world.expected.required.retain(|version| *version == last);
        world.desk.cas(["gc", "--now"]).ok()?;
        world.verify()?;
        fs::remove_file(home.join("of others")).expect("it was written");
        world.push("a")?;
        world.verify()?;
        let stored: u64 = crate::desk::files_below(&world.desk.store().join("node/segments"))
            .iter()
            .map(|file| fs::metadata(file).expect("a file").blocks() * 512)
            .sum();
        drop(mount);
        if stored < 6 * MIB { Ok(()) } else { Err(format!("{stored} bytes are still stored")) }
    });
}
