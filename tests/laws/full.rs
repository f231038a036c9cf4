//! A full disk: the push says so (exit 13), what was acknowledged is there, and forgetting and collecting still work and give the
//! room back. Needs to mount a small file system; where that is not allowed it says so, and `failing` lets writes
//! fail one by one in its place.

use crate::cases::cases;
use crate::desk::Desk;
use crate::world::{Expected, World, plant};
use std::fs;

const MIB: u64 = 1 << 20;

#[test]
fn a_full_disk_is_said_and_what_is_there_stays_and_room_can_be_made() {
    cases("full::a_full_disk", 4, |dice| {
        let mut world = World { desk: Desk::new(), expected: Expected::default() };
        let room = 24 + dice.below(16);
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
