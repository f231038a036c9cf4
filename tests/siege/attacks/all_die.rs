//! The power fails: every server dies at the same moment, in the middle of pushes, and they come back one by one.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::Truth, |town, dice| {
        pause(dice, 1500);
        let servers: Vec<_> = town.servers().collect();
        servers.iter().for_each(|server| server.kill());
        for n in dice.some_of(servers.len(), servers.len()) {
            pause(dice, 300);
            servers[n].start()?;
        }
        Ok(())
    })
}
