//! Partitions: a node cut off from all, from some, one way only, or again and again; people cut off from a node.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use crate::sky::{Party, Sky, Weather};
use crate::town::NODES;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::Truth, |town, dice| {
        for _ in 0..3 {
            let flaps = if dice.once_in(3) { 4 } else { 1 };
            let (kind, one, other) = (dice.below(6), dice.below(NODES as u64), dice.below(NODES as u64));
            for _ in 0..flaps {
                build(&town.sky, kind, Party::Node(one as usize), Party::Node(other as usize));
                pause(dice, 6000 / flaps);
                town.sky.clear();
                pause(dice, 1000 / flaps);
            }
        }
        Ok(())
    })
}

fn build(sky: &Sky, kind: u64, node: Party, other: Party) {
    let everybody = (0..NODES).map(Party::Node).chain([Party::Index, Party::Person]);
    match kind {
        0 => everybody.for_each(|party| sky.set_between(node, party, Weather::WALL)),
        1 => everybody.for_each(|party| sky.set(node, party, Weather::WALL)),
        2 => everybody.for_each(|party| sky.set(party, node, Weather::WALL)),
        3 => sky.set_between(node, other, Weather::WALL),
        4 => sky.set_between(node, Party::Index, Weather::WALL),
        _ => sky.set_between(node, Party::Person, Weather::WALL),
    }
}
