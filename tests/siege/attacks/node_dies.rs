//! kill -9 of one node at a time, again and again: nobody's push or pull fails, and nothing is missing afterwards.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        for _ in 0..3 {
            pause(dice, 800);
            let node = dice.one_of(&town.nodes);
            node.kill();
            pause(dice, 1200);
            node.start()?;
        }
        Ok(())
    })
}
