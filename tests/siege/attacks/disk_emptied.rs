//! A node comes back with an empty disk: it holds nothing, nobody believes that it does, and it is filled again.

use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use std::fs;

/// What a new disk does not have. Its key and its membership were kept elsewhere.
const LOST: [&str; 3] = ["segments", "index", "disk-id"];

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        let n = dice.below(town.nodes.len() as u64) as usize;
        town.nodes[n].kill();
        let lost = if dice.once_in(2) { &LOST[..] } else { &LOST[..1] };
        for name in lost {
            let path = town.node_dir(n).join(name);
            _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        town.nodes[n].start()
    })
}
