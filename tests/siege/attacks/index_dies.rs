//! The index dies in the middle of pushes and is back within seconds: commands wait for it, and go on.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        for _ in 0..3 {
            pause(dice, 1500);
            town.index.kill();
            pause(dice, 1500);
            town.index.start()?;
        }
        Ok(())
    })
}
