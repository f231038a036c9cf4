//! Bytes flip in the segments of a node: nobody is given wrong ones, and whoever reads them has them replaced.
//!
//! It is always the same node. Rot that nobody has read yet is a copy less than the index knows of; on three nodes in turn
//! it would be data that is lost, and no fault of ours.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

pub const NODE: usize = 0;
/// So many bytes of each segment.
const FLIPS: usize = 40;
/// A segment that cannot be recognised is another attack: the header stays.
const HEADER: u64 = 64;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.town.nodes[NODE].kill();
    for segment in fs::read_dir(siege.town.node_dir(NODE).join("segments")).expect("segments").flatten() {
        let file = File::options().read(true).write(true).open(segment.path()).expect("a segment");
        let len = file.metadata().expect("a file").len();
        for _ in 0..if len > 4 * HEADER { FLIPS } else { 0 } {
            let at = HEADER + dice.below(len - HEADER);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("a byte");
            file.write_all_at(&[byte[0] ^ (1 << dice.below(8))], at).expect("a byte");
        }
    }
    siege.town.nodes[NODE].start()?;
    siege.under(dice, Duty::All, |_, dice| {
        pause(dice, 2000);
        Ok(())
    })
}
