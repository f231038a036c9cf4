//! A figure, not a law: how fast what a dead node held is made elsewhere.
//!
//! `cargo test --release -p cas-tests --test cluster measure -- --ignored --nocapture`

use crate::person::Person;
use crate::world::{World, seed};
use cas_net::cluster::NodeChange;
use std::time::Instant;

#[test]
#[ignore = "it measures"]
fn a_dead_node_is_healed_at_a_rate() {
    let mut world = World::patient();
    let mut person = Person::new(&world);
    person.plant(seed(), 256 << 20);
    person.push("home");
    world.rest();
    let before = world.status();
    world.nodes[4].kill();
    // Given up at once: on a busy machine silence says little.
    world.change(4, NodeChange::Remove { lost: true });
    let begun = Instant::now();
    world.until("its copies are elsewhere", |world| {
        let status = world.status();
        world.info(4).partitions == 0 && status.short == 0 && status.to_move == 0 && status.uncounted == 0
    });
    let (seconds, after) = (begun.elapsed().as_secs_f64(), world.status());
    let (blocks, bytes) = (after.copied - before.copied, after.copied_bytes - before.copied_bytes);
    println!("{blocks} blocks of {bytes} bytes in {seconds:.1} s: {:.1} MB/s", bytes as f64 / seconds / 1e6);
    for node in world.nodes.iter().filter(|node| node.is_running()) {
        let counted = node.running().counters();
        println!("  {} copied, {} touched", counted.copies.get(), counted.touched.get());
    }
    assert!(blocks > 0);
}
