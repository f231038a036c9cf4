//! The disk of a node has no room left: what it refuses goes elsewhere, and it goes on when there is room.

#[path = "../../laws/mount.rs"]
#[allow(dead_code, reason = "others mount otherwise")]
mod mount;

use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use std::path::Path;
use std::process::Command;

/// Room that is left: little more than below which a node refuses.
const ROOM: u64 = 18 << 20;
/// New bytes of everybody.
const NEW: usize = 8 << 20;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    let n = dice.below(siege.town.nodes.len() as u64) as usize;
    let (dir, aside) = (siege.town.node_dir(n), siege.town.place("aside"));
    siege.town.nodes[n].kill();
    copy(&dir, &aside);
    _ = std::fs::remove_file(aside.join("reserve"));
    let mounted = mount::of_bytes(&dir, bytes_below(&aside) + ROOM);
    let Some(mounted) = mounted else {
        _ = std::fs::remove_dir_all(&aside);
        return siege.town.nodes[n].start();
    };
    copy(&aside, &dir);
    siege.town.nodes[n].start()?;
    let done = siege.people.iter_mut().try_for_each(|person| {
        person.write_new(dice, NEW);
        person.push()?.ok().map(drop)
    });
    let done = done.and_then(|()| siege.under(dice, Duty::All, |_, _| Ok(())));
    siege.town.nodes[n].kill();
    _ = std::fs::remove_dir_all(&aside);
    copy(&dir, &aside);
    drop(mounted);
    _ = std::fs::remove_dir_all(&dir);
    std::fs::rename(&aside, &dir).expect("the larger disk");
    done
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "the disk is copied");
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata().expect("there").is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().expect("there").len().next_multiple_of(4096),
    };
    entries.map(bytes).sum()
}
