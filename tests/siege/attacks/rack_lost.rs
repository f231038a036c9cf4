//! A rack goes dark: two copies of everything are left, which is enough to go on. Sometimes it is given up and healed.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use crate::town::{DOWN, RACKS};

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        let rack = dice.below(RACKS as u64) as usize;
        let nodes = || town.nodes.iter().skip(rack).step_by(RACKS);
        nodes().for_each(|node| node.kill());
        match dice.once_in(2) {
            true => std::thread::sleep(DOWN),
            false => pause(dice, 4000),
        }
        nodes().try_for_each(|node| node.start())
    })
}
