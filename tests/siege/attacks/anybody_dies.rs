//! kill -9 of any server, several at once, the index among them: what cannot be done is said, what was said to be done is.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::Truth, |town, dice| {
        let servers: Vec<_> = town.servers().collect();
        for _ in 0..4 {
            let several = 1 + dice.below(3) as usize;
            let chosen = dice.some_of(several, servers.len());
            chosen.iter().for_each(|n| servers[*n].kill());
            pause(dice, 1500);
            // Now and then somebody stays away until the next are dead.
            let late = usize::from(dice.once_in(3));
            chosen.iter().skip(late).try_for_each(|n| servers[*n].start())?;
            pause(dice, 800);
        }
        Ok(())
    })
}
