//! kill -9 of a push at any moment, while others push the same contents and collect: the next push goes on from there.

use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use std::time::Duration;

/// So many pushes die.
const DEATHS: u64 = 5;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    let mut victim = siege.people.pop().expect("somebody");
    let done = siege.under(dice, Duty::All, |_, dice| {
        for _ in 0..DEATHS {
            victim.change(dice);
            let push = victim.start_push();
            std::thread::sleep(Duration::from_millis(dice.below(700)));
            push.kill();
            victim.end_push(push)?.one_of(&[0, -9])?;
        }
        victim.change(dice);
        victim.push()?.ok().map(drop)
    });
    siege.people.push(victim);
    done
}
