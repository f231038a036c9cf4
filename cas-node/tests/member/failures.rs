//! What holds when the index is away, the node is stopped, its disk fails or a segment is gone.

use crate::store::{block, segments};
use crate::world::{Client, GRACE, World, grant, put, tune, until};
use cas_net::{Node, PendingReceipt, PutBlock, Result, ServiceError};
use cas_node::Options;
use cas_node::disk::{Fault, FaultyDisk, LocalDisk, Operation};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

#[test]
fn with_the_index_away_reads_go_on_and_beats_come_back_with_it() {
    let mut world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let owner = Client::new(50);
    let kept = block(1, 0, 100);
    put(&owner.welcome(&node), 5, &kept);
    world.stop_index();
    until(|| node.health().is_err());
    assert_eq!(owner.welcome(&node).get(&kept.id).unwrap(), kept.bytes);
    assert_eq!(Client::new(51).welcome(&node).get(&kept.id).unwrap(), kept.bytes, "tickets need no index");
    node.shutdown(GRACE).unwrap();
    // It starts without it, too, and knows its layout.
    let node = world.serve("a");
    assert_eq!(node.layout(), 1);
    assert_eq!(Client::new(52).welcome(&node).get(&kept.id).unwrap(), kept.bytes);
    world.start_index();
    until(|| node.health().is_ok());
}

#[test]
fn a_shutdown_answers_what_was_begun() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let blocks: Vec<PutBlock> = (0..64).map(|n| block(n, 0, 200_000)).collect();
    let pending: Vec<_> = blocks.iter().map(|block| there.put(&grant(5), vec![block.clone()]).unwrap()).collect();
    until(|| node.counters().puts.get() > 0);
    let stopping = std::thread::spawn(move || node.shutdown(GRACE));
    let acknowledged = pending.into_iter().map(PendingReceipt::wait).filter(Result::is_ok).count();
    assert!(stopping.join().unwrap().unwrap());
    assert!(acknowledged > 0);
    let node = world.serve("a");
    let there = Client::new(50).welcome(&node);
    let kept = blocks.iter().filter(|block| there.get(&block.id).is_ok()).count();
    assert!(kept >= acknowledged, "{kept} of {acknowledged} acknowledged blocks are there");
}

/// A disk that a test lets fail.
static DISK: LazyLock<FaultyDisk> = LazyLock::new(|| FaultyDisk::over(LocalDisk));

#[test]
fn a_failed_sync_ends_the_node_with_its_reason_and_nothing_more_is_acknowledged() {
    let world = World::new();
    world.join("a");
    let tune = |options: &mut Options| {
        tune(options);
        options.disk = Arc::new(DISK.clone());
    };
    let node = world.serve_tuned("a", tune);
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let kept = block(1, 0, 100);
    put(&there, 5, &kept);
    DISK.fail_always(Operation::Sync, Fault::Error);
    let lost = there.put(&grant(6), vec![block(2, 0, 100)]).and_then(PendingReceipt::wait);
    assert!(matches!(lost, Err(ServiceError::Stopped(_) | ServiceError::Io { .. })), "{lost:?}");
    DISK.heal();
    let after = there.put(&grant(6), vec![block(3, 0, 100)]).and_then(PendingReceipt::wait);
    assert!(matches!(after, Err(ServiceError::Stopped(_))), "{after:?}");
    let why = node.wait_fault(Duration::from_secs(10)).unwrap();
    assert!(why.contains("sync"), "{why}");
    assert!(node.health().is_err());
    // The last beat is over: it is not said to be alive.
    let beats = world.beats(&node).len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.beats(&node).len(), beats);
    drop(node);
    let node = world.serve("a");
    assert_eq!(Client::new(51).welcome(&node).get(&kept.id).unwrap(), kept.bytes);
}

#[test]
fn a_node_that_lost_a_segment_and_its_index_has_all_it_holds_counted_anew() {
    let world = World::new();
    world.join("a");
    let tune = |options: &mut Options| {
        tune(options);
        options.segment_bytes = 4096;
    };
    let serve = || world.serve_tuned("a", tune);
    let node = serve();
    world.all(&[&node], &[]);
    let client = Client::new(50);
    let there = client.welcome(&node);
    (0..20).for_each(|n| drop(put(&there, 5, &block(n, 0, 2000))));
    let disk = node.disk();
    node.shutdown(GRACE).unwrap();
    let node = serve();
    assert_eq!(node.disk(), disk);
    node.shutdown(GRACE).unwrap();
    let _ = std::fs::remove_file(world.dir("a").join("index.redb"));
    std::fs::remove_file(&segments(&world.dir("a"))[1]).unwrap();
    assert_ne!(serve().disk(), disk);
}
