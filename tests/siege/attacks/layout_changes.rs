//! Nodes are drained, weighted, moved to other racks and made to hold their share again, several at once, while one dies.

use super::pause;
use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use crate::town::RACKS;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    siege.under(dice, Duty::All, |town, dice| {
        let keys: Vec<String> = (0..town.nodes.len()).map(|n| town.node_key(n)).collect::<Result<_, _>>()?;
        let tell = |args: &[&str]| town.office.cas(args)?.ok().map(drop);
        let drained = dice.below(keys.len() as u64) as usize;
        tell(&["node", "drain", &keys[drained]])?;
        pause(dice, 1500);
        let heavy = dice.one_of(&keys);
        tell(&["node", "weight", heavy, *dice.one_of(&["512M", "1G", "2G"])])?;
        tell(&["layout", "apply"])?;
        let dies = dice.one_of(&town.nodes);
        dies.kill();
        pause(dice, 1500);
        dies.start()?;
        tell(&["node", "undrain", &keys[drained]])?;
        let moved = dice.below(keys.len() as u64) as usize;
        tell(&["node", "rack", &keys[moved], &format!("rack{}", dice.below(RACKS as u64))])?;
        tell(&["layout", "apply"])?;
        pause(dice, 1500);
        tell(&["node", "rack", &keys[moved], &format!("rack{}", moved % RACKS)])?;
        tell(&["layout", "apply"])
    })
}
