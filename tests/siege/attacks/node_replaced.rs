//! A node is gone for good, key and all; a new one takes its place.

use crate::dice::Dice;
use crate::siege::{Duty, Siege};

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    let n = dice.below(siege.town.nodes.len() as u64) as usize;
    let key = siege.town.node_key(n)?;
    siege.town.nodes[n].kill();
    std::fs::remove_dir_all(siege.town.node_dir(n)).expect("it was there");
    siege.town.replace(n)?;
    siege.under(dice, Duty::All, |town, _| {
        town.office.cas(["node", "remove", &key, "--lost"])?.ok()?;
        town.nodes[n].start()?;
        town.office.cas(["layout", "apply"])?.ok().map(drop)
    })
}
