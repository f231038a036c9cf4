//! Datagrams are lost, come twice, late and out of order, everywhere: slower, and nothing else.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use crate::sky::{Party, Weather};
use crate::town::NODES;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        let all: Vec<Party> = (0..NODES).map(Party::Node).chain([Party::Index, Party::Person]).collect();
        for from in &all {
            for to in &all {
                let (lost, twice, delay_ms) = (dice.below(50), dice.below(100), dice.below(20));
                town.sky.set(*from, *to, Weather { lost, twice, delay_ms });
            }
        }
        pause(dice, 6000);
        Ok(())
    })
}
