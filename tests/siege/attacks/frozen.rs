//! A node that stands still and comes back with everything it had begun, sometimes after it was given up.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use crate::town::DOWN;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        let long = dice.once_in(3);
        for _ in 0..2 {
            let node = dice.one_of(&town.nodes);
            node.freeze();
            match long {
                true => std::thread::sleep(DOWN),
                false => pause(dice, 3000),
            }
            node.thaw();
            pause(dice, 500);
        }
        Ok(())
    })
}
