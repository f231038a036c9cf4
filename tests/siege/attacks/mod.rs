//! The attacks, one a file. Each finds a town at rest, and leaves it so that it comes to rest by itself.

mod all_die;
mod anybody_dies;
mod disk_emptied;
mod disk_full;
mod disk_rots;
mod frozen;
mod index_dies;
mod index_lost;
mod layout_changes;
mod node_dies;
mod node_replaced;
mod push_dies;
mod push_stopped;
mod rack_lost;
mod storm;
mod two_lost;
mod walls;

use crate::dice::Dice;
use crate::siege::Siege;
use std::time::Duration;

/// An attack.
pub struct Attack {
    pub name: &'static str,
    pub run: fn(&mut Siege, &mut Dice) -> Result<(), String>,
}

/// All of them; the short siege is made of the first.
pub const ALL: &[Attack] = &[
    Attack { name: "node_dies", run: node_dies::run },
    Attack { name: "push_dies", run: push_dies::run },
    Attack { name: "index_dies", run: index_dies::run },
    Attack { name: "push_stopped", run: push_stopped::run },
    Attack { name: "two_lost", run: two_lost::run },
    Attack { name: "all_die", run: all_die::run },
    Attack { name: "disk_emptied", run: disk_emptied::run },
    Attack { name: "walls", run: walls::run },
    Attack { name: "storm", run: storm::run },
    Attack { name: "disk_rots", run: disk_rots::run },
    Attack { name: "frozen", run: frozen::run },
    Attack { name: "layout_changes", run: layout_changes::run },
    Attack { name: "disk_full", run: disk_full::run },
    Attack { name: "rack_lost", run: rack_lost::run },
    Attack { name: "anybody_dies", run: anybody_dies::run },
    Attack { name: "node_replaced", run: node_replaced::run },
    Attack { name: "index_lost", run: index_lost::run },
];

/// Some time, at most so long.
fn pause(dice: &mut Dice, ms: u64) {
    std::thread::sleep(Duration::from_millis(dice.below(ms)));
}
