//! Law 4 without asking the index: at rest, any two nodes may be away, and everything is restored from the third copy.
//!
//! If a disk has rotted, that node is one of the two: its copies may be none.

use super::disk_rots;
use crate::dice::Dice;
use crate::siege::Siege;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    let nodes = siege.town.nodes.len();
    let mut away = dice.some_of(2, nodes);
    if !away.contains(&disk_rots::NODE) {
        away[0] = disk_rots::NODE;
    }
    away.iter().for_each(|n| siege.town.nodes[*n].kill());
    siege.pull_everything().map_err(|why| format!("law 4, nodes {away:?} are away: {why}"))?;
    siege.town.start_all()
}
