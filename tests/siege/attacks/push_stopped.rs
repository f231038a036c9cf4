//! A push stands still for longer than it may live, while others forget and collect what it counts on; then it goes on. Either
//! it says that it has to be called again, or everything it refers to is there.

use crate::dice::Dice;
use crate::server::signal_process;
use crate::siege::{Duty, Siege};
use crate::town::LEASE;
use rustix::process::Signal;
use std::time::Duration;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    let mut victim = siege.people.pop().expect("somebody");
    let done = siege.under(dice, Duty::All, |_, dice| {
        (0..3).for_each(|_| victim.change(dice));
        victim.write_new(dice, 2 << 20);
        let push = victim.start_push();
        std::thread::sleep(Duration::from_millis(dice.below(700)));
        signal_process(&push, Signal::STOP);
        std::thread::sleep(LEASE);
        signal_process(&push, Signal::CONT);
        victim.end_push(push)?.one_of(&[0, 1, 11, 15])?;
        victim.push()?.ok().map(drop)
    });
    siege.people.push(victim);
    done
}
