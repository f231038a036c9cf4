//! Rot is found, asked for or not, and said with the next beat.

use crate::store::{block, segments};
use crate::world::{Client, GRACE, World, grant, healing, put, until, wanted};
use cas_net::cluster::{CopyOrder, Order};
use cas_net::{Node, NodeId, ServiceError};
use cas_node::member;
use std::time::Duration;

#[test]
fn a_block_that_is_lost_or_rotten_is_said_with_the_next_beat_and_healed_by_a_copy() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let (rotten, absent, good) = (block(1, 0, 5000), block(2, 0, 100), block(3, 0, 100));
    for node in [&a, &b] {
        let there = Client::new(50).welcome(node);
        there.put(&grant(5), vec![rotten.clone(), good.clone()]).unwrap().wait().unwrap();
    }
    let path = segments(&world.dir("b")).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|part| part == &rotten.bytes[1000..1064]).unwrap();
    bytes[at] ^= 1;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..=at], at as u64).unwrap();
    world.order(&b, Order::Verify(vec![rotten.id, absent.id, good.id]));
    let told =
        || world.beats(&b).iter().flat_map(|beat| beat.damage.clone()).map(|damage| damage.id).collect::<Vec<_>>();
    until(|| !told().is_empty());
    let mut lost = [rotten.id, absent.id];
    lost.sort();
    assert_eq!(told()[..2], lost);
    world.beat(&b);
    world.beat(&b);
    assert_eq!(told().len(), 2, "what was answered is not said again");
    assert!(matches!(Client::new(50).welcome(&b).get(&rotten.id), Err(ServiceError::Damaged { .. })));
    let order = CopyOrder { from: vec![NodeId(a.public_key())], grant: healing(20), blocks: vec![wanted(&rotten)] };
    world.order(&b, Order::Copy(order));
    until(|| world.index.said().done.len() == 1);
    assert_eq!(Client::new(50).welcome(&b).get(&rotten.id).unwrap(), rotten.bytes);
}

#[test]
fn the_scrub_finds_rot_by_itself_and_goes_on_after_a_restart() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let rotten = block(1, 0, 5000);
    put(&Client::new(50).welcome(&node), 5, &rotten);
    node.shutdown(GRACE).unwrap();
    let path = segments(&world.dir("a")).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|part| part == &rotten.bytes[1000..1064]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut options = world.options("a");
    options.settings.scrub_period = Duration::from_millis(50);
    let node = member::serve(options).unwrap();
    until(|| world.beats(&node).iter().any(|beat| beat.damage.iter().any(|damage| damage.id == rotten.id)));
    node.shutdown(GRACE).unwrap();
    assert!(world.dir("a").join("scrub").exists());
}
