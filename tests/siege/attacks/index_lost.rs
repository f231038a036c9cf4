//! The index is lost with all it knew but its key. It is made anew from the nodes: names, versions and counts are the same,
//! people, roles and nodes join again.

use crate::dice::Dice;
use crate::siege::{Duty, Siege};
use std::fs;

pub fn run(siege: &mut Siege, dice: &mut Dice) -> Result<(), String> {
    let town = &mut siege.town;
    let keys: Vec<String> = (0..town.nodes.len()).map(|n| town.node_key(n)).collect::<Result<_, _>>()?;
    town.index.kill();
    let (dir, lost) = (town.place("index"), town.place("index-lost"));
    _ = fs::remove_dir_all(&lost);
    fs::rename(&dir, &lost).expect("it was there");
    fs::create_dir(&dir).expect("a folder");
    fs::copy(lost.join("key"), dir.join("key")).expect("its key");
    let nodes: Vec<String> =
        keys.iter().enumerate().map(|(n, key)| format!("cas://{key}@{}", town.reached_at(n))).collect();
    let dir = dir.to_str().expect("in UTF-8").to_owned();
    town.office.cas(["index", "rebuild", &dir, "--node", &nodes.join(","), "--json"])?.ok()?;
    town.office.cas(["index", "init", &dir, "--admin", "ada"])?.ok()?;
    town.index.start()?;
    town.office.cas(["login", &town.address, "--user", "ada"])?.ok()?;
    town.office.cas(["grant", "owner", &town.vault, "ada"])?.ok()?;
    for n in 0..town.nodes.len() {
        town.rejoin(n)?;
    }
    town.office.cas(["layout", "apply", "--pool", "r3"])?.ok()?;
    town.rest()?;
    siege.under(dice, Duty::All, |_, _| Ok(()))
}
