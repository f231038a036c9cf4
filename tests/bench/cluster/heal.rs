//! A node dies for good: how fast its copies are made elsewhere, and what that costs whom.

use super::data;
use super::figures::title;
use super::meter::measure;
use super::town::{Town, scratch};

/// Two copies on three nodes, one of which dies.
pub fn measure_all(mib: usize) {
    let mut town = Town::new(3, "r2");
    {
        let source = scratch();
        data::large(source.path(), 5, mib);
        town.cas(&["push", source.path().to_str().expect("a path"), "--name", "all"]);
    }
    town.rest();
    let before = town.status();
    let key = town.key(2);
    town.nodes[2].kill();
    std::fs::remove_dir_all(town.path("node2")).expect("its disk");
    town.nodes.truncate(2);
    let shares = town.shares();
    let ((), cost) = measure(&town.pids(), || {
        town.cas(&["node", "remove", &key, "--lost"]);
        town.cas(&["status", "--wait"]);
    });
    let after = town.status();
    let more = |field: &str| after[field].as_u64().unwrap_or(0) - before[field].as_u64().unwrap_or(0);
    let (blocks, bytes) = (more("copied"), more("bytes_copied"));
    title(&format!("a node of {} MB is lost: two copies, three nodes", bytes / 1_000_000));
    let took: Vec<f64> = town.shares().iter().zip(shares).map(|(now, then)| (*now - then).as_secs_f64()).collect();
    let rate = cost.mb_per_second(bytes as usize);
    println!("{blocks} copies in {:.1} s: {rate:.0} MB/s", cost.wall.as_secs_f64());
    println!("CPU: nodes {:.2} + {:.2} s, index {:.2} s", took[0], took[1], took[2]);
    println!("{:.2} ns CPU/byte of all servers", took.iter().sum::<f64>() * 1e9 / bytes.max(1) as f64);
    town.tell_memory();
}
