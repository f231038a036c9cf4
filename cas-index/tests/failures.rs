//! The n-th file operation fails, for every n of a run with checkpoints.
//!
//! Law 11 and 8: what was acknowledged before the failure is there after it; what was not acknowledged may or may not
//! be, whole; after a failure nothing more is acknowledged, and reads never answer "absent" for what is there.

mod support;

use cas_core::frame::Header;
use cas_core::id::BlockId;
use cas_index::{Index, Options};
use cas_net::{Index as _, Node, ServiceError};
use std::sync::Arc;
use support::*;

/// Pushes that make rewrites of the tables, then merges into them.
const PUSHES: u64 = 9;

fn open(world: &World, disk: &SimDisk) -> cas_net::Result<Index> {
    let disk = Arc::new(disk.clone());
    Index::open(world.path(), Options { disk, checkpoint_log: 1_500, checkpoint_worth: 100, ..options(&world.clock) })
}

fn blocks(n: u64) -> Vec<Header> {
    // The first push is large, so that later ones change a small share of the rows and are merged.
    let (from, count) = if n == 0 { (0, 60) } else { (1_000 * n, 3) };
    let mut out: Vec<Header> = (from..from + count).map(data).collect();
    let ids: Vec<BlockId> = out.iter().map(Header::id).collect();
    out.push(page(from + 500, &ids));
    out
}

/// Runs until something fails. Answers how many pushes were acknowledged.
fn run(world: &mut World) -> u64 {
    for n in 0..PUSHES {
        let pushed = (|| {
            world.index().add_node(world.node.id())?;
            let start = cas_net::StartSession {
                vault: vault(),
                domain: domain(),
                device: device().public(),
                label: String::new(),
            };
            let session = world.index().start_session(&start)?.session;
            assert_eq!(world.push(session, &blocks(n))?, []);
            world.commit(session, "a", blocks(n).last().unwrap().id())
        })();
        match pushed {
            Ok(done) => assert_eq!(done.seq, n + 1),
            Err(ServiceError::Stopped(_)) => {
                assert_reads(world, n);
                let again = world.index().mark(&[blocks(0)[0].id()], true);
                assert!(matches!(again, Err(ServiceError::Stopped(_))), "it goes on after a failure: {again:?}");
                return n;
            }
            Err(e) => panic!("{e:?}"),
        }
    }
    PUSHES
}

/// What was acknowledged reads.
fn assert_reads(world: &World, acknowledged: u64) {
    for n in 0..acknowledged {
        let ids: Vec<BlockId> = blocks(n).iter().map(Header::id).collect();
        assert!(world.index().rows(&ids).unwrap().iter().all(Option::is_some), "push {n} of {acknowledged}");
    }
    let versions = world.index().snapshots(&vault(), Some("a"), false).unwrap().len() as u64;
    assert!((acknowledged..=acknowledged + 1).contains(&versions), "{versions} versions, {acknowledged} acknowledged");
}

#[test]
fn whatever_operation_fails_what_was_acknowledged_is_there_after_it() {
    let mut failures = 0;
    for n in 0.. {
        let disk = SimDisk::default();
        let mut world = World::new();
        world.index = None;
        world.index = Some(open(&world, &disk).unwrap());
        disk.fail_after(n);
        let acknowledged = run(&mut world);
        let _ = world.index().close();
        world.index = None;
        let failed = disk.has_failed();
        disk.heal();
        world.index = Some(open(&world, &disk).unwrap_or_else(|e| panic!("operation {n}: {e:?}")));
        assert_reads(&world, acknowledged);
        world.assert_counts();
        world.index().close().unwrap();
        if !failed {
            break;
        }
        failures += 1;
    }
    assert!(failures > 60, "only {failures} operations were made to fail: are there checkpoints in the run?");
}

#[test]
fn opening_may_fail_at_any_operation_and_be_tried_again() {
    for n in 0.. {
        let disk = SimDisk::default();
        let mut world = World::new();
        world.index = None;
        world.index = Some(open(&world, &disk).unwrap());
        assert_eq!(run(&mut world), PUSHES);
        world.index = None;
        // A tail that was torn, so that opening has something to cut.
        let log = std::fs::read_dir(world.path()).unwrap().map(|e| e.unwrap().path());
        let log = log.filter(|path| path.to_string_lossy().contains("log-")).max().unwrap();
        let mut bytes = std::fs::read(&log).unwrap();
        bytes.extend_from_slice(b"CASG and then nothing");
        std::fs::write(&log, bytes).unwrap();
        disk.fail_after(n);
        let opened = open(&world, &disk);
        let failed = disk.has_failed();
        disk.heal();
        drop(opened);
        world.index = Some(open(&world, &disk).unwrap());
        assert_reads(&world, PUSHES);
        if !failed {
            break;
        }
    }
}

#[test]
fn a_push_where_nothing_changed_costs_two_syncs() {
    let disk = SimDisk::default();
    let mut world = World::new();
    world.index = None;
    let reopen = |world: &World| {
        Index::open(world.path(), Options { disk: Arc::new(disk.clone()), ..options(&world.clock) }).unwrap()
    };
    world.index = Some(reopen(&world));
    let session = world.start();
    world.push(session, &blocks(1)).unwrap();
    world.commit(session, "a", blocks(1)[3].id()).unwrap();
    world.index().close().unwrap();
    world.index = None;
    let before = disk.syncs();
    world.index = Some(reopen(&world));
    let session = world.start();
    let ids: Vec<BlockId> = blocks(1).iter().map(Header::id).collect();
    assert!(world.index().have(session, &ids).unwrap().present.iter().all(|is| *is));
    world.commit(session, "a", ids[3]).unwrap();
    world.index().close().unwrap();
    world.index = None;
    assert_eq!(disk.syncs() - before, 2);
}
