//! What a failing disk may cost: an answer, never a word that was given.
//!
//! A workload runs on a disk whose n-th changing operation fails, for every n; then the disk is whole again, the store is opened, and
//! everything that was acknowledged must be there.

mod world;

use cas_core::id::Epoch;
use cas_net::{Delete, Deleted, Node, Result, ServiceError};
use cas_node::disk::{Fault, FaultyDisk, MemoryDisk, Operation};
use cas_node::{Options, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use world::*;

fn on(disk: &FaultyDisk) -> Options {
    let mut options = small();
    (options.disk, options.fresh) = (Arc::new(disk.clone()), 40);
    options
}

/// What was acknowledged: block → the epoch it has at least, or that it is gone. A block with an unanswered delete is not in it.
type Model = BTreeMap<u32, Option<u64>>;

/// Puts, deletes, compacts and closes; stops at nothing.
fn work(store: &Store, round: u64, model: &mut Model) {
    let epoch = 10 * round;
    for n in 0..30 {
        let one = block(n, 0, 40 + 20 * n as usize);
        match store.put(&grant(epoch), vec![one]).and_then(cas_net::PendingReceipt::wait) {
            Ok(_) => drop(model.insert(n, Some(epoch))),
            // It may be there or not; what was there before stays.
            Err(_) if model.get(&n).is_some_and(Option::is_none) => drop(model.remove(&n)),
            Err(_) => {}
        }
    }
    for n in (0..30).filter(|n| u64::from(*n) % 3 == round % 3) {
        let id = block(n, 0, 40 + 20 * n as usize).id;
        match store.delete(&[Delete { id, epoch: Epoch(epoch + 1) }]) {
            Ok(answers) if answers == [Deleted::Gone] => drop(model.insert(n, None)),
            Ok(_) => {}
            Err(_) => drop(model.remove(&n)),
        }
    }
    let _ = store.compact(0.0);
}

#[track_caller]
fn assert_kept(store: &Store, model: &Model, context: &str) {
    let listed: BTreeMap<_, _> = store.list(None, 1000).unwrap().into_iter().map(|b| (b.id, b)).collect();
    for (n, epoch) in model {
        let one = block(*n, 0, 40 + 20 * *n as usize);
        match epoch {
            Some(epoch) => {
                assert_eq!(store.get(&one.id).expect(context), one.bytes, "{context}, block {n}");
                assert!(listed[&one.id].put_epoch >= Epoch(*epoch), "{context}, block {n}");
                assert_eq!(listed[&one.id].sum, one.sum, "{context}, block {n}");
            }
            None => assert!(!listed.contains_key(&one.id), "{context}, block {n} came back"),
        }
    }
}

fn run(dir: &Path, disk: &FaultyDisk, model: &mut Model) -> Result<()> {
    for round in 1..4 {
        let store = Store::open(dir, on(disk))?;
        work(&store, round, model);
        if round % 2 == 0 {
            store.close()?;
        }
    }
    Ok(())
}

#[test]
fn whichever_operation_fails_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let whole = FaultyDisk::over(MemoryDisk::new());
    run(dir.path(), &whole, &mut Model::new()).unwrap();
    let operations = whole.counted();
    assert!(operations > 200);
    for n in 0..operations {
        for (fault, for_good) in [(Fault::Error, false), (Fault::Short(70), true), (Fault::Full(1), false)] {
            let context = format!("operation {n} of {operations}, {fault:?}, for good: {for_good}");
            let disk = FaultyDisk::over(MemoryDisk::new());
            disk.fail_nth(n, fault, for_good);
            let mut model = Model::new();
            let _ = run(dir.path(), &disk, &mut model);
            disk.heal();
            let store = Store::open(dir.path(), on(&disk)).expect(&context);
            assert_kept(&store, &model, &context);
            work(&store, 7, &mut model);
            assert_kept(&store, &model, &context);
        }
    }
}

#[test]
fn a_failed_sync_stops_the_node_for_all_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::over(MemoryDisk::new());
    let store = Store::open(dir.path(), on(&disk)).unwrap();
    put(&store, 5, &block(1, 0, 10));
    put(&store, 5, &block(9, 0, 10));
    delete(&store, block(9, 0, 10).id, 6);
    disk.fail_always(Operation::Sync, Fault::Error);
    let stopped = |e: &ServiceError| matches!(e, ServiceError::Stopped(_));
    let waiting: Vec<_> = (2..5).map(|n| store.put(&grant(6), vec![block(n, 0, 10)])).collect();
    waiting.into_iter().for_each(|pending| must_be(pending.and_then(cas_net::PendingReceipt::wait), stopped));
    disk.heal();
    must_be(store.put(&grant(7), vec![block(1, 0, 10)]).and_then(cas_net::PendingReceipt::wait), stopped);
    must_be(store.delete(&[Delete { id: block(1, 0, 10).id, epoch: Epoch(9) }]), stopped);
    must_be(store.set_floor(1, Epoch(9)), stopped);
    must_be(store.compact(0.0), stopped);
    must_be(store.close(), stopped);
    assert_eq!(store.get(&block(1, 0, 10).id).unwrap(), block(1, 0, 10).bytes, "what was there can be read");
    assert!(store.get(&block(2, 0, 10).id).is_err(), "what was not synced cannot");
}

#[test]
fn too_many_open_files_are_an_error_and_no_reason_to_call_a_block_damaged_or_to_want_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::over(MemoryDisk::new());
    let blocks: Vec<_> = (0..40).map(|n| block(n, 0, 300)).collect();
    let store = Store::open(dir.path(), on(&disk)).unwrap();
    blocks.iter().for_each(|one| drop(put(&store, 5, one)));
    drop(store);
    let store = Store::open(dir.path(), on(&disk)).unwrap();
    let before = store.stats().unwrap();
    disk.fail_always(Operation::Open, Fault::TooMany);
    let is_io = |e: &ServiceError| matches!(e, ServiceError::Io { .. });
    must_be(store.get(&blocks[0].id), is_io);
    must_be(store.offer(&grant(6), &[blocks[0].id]), is_io);
    must_be(store.put(&replacing(6), vec![blocks[0].clone()]), is_io);
    must_be(store.list(None, 100), is_io);
    must_be(store.scrub(None, u64::MAX), is_io);
    must_be(store.regions(), is_io);
    delete(&store, blocks[1].id, 6);
    must_be(store.compact(0.0), is_io);
    disk.heal();
    assert_eq!(store.offer(&grant(6), &[blocks[0].id]).unwrap().0, [false]);
    assert_eq!(store.get(&blocks[0].id).unwrap(), blocks[0].bytes);
    assert_eq!(store.scrub(None, u64::MAX).unwrap().damaged, []);
    assert_eq!(store.stats().unwrap().blocks, before.blocks - 1);
}

#[test]
fn an_index_that_cannot_be_saved_costs_no_block() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<_> = (0..341).map(|n| block(n, 0, 30)).collect();
    let mut went_on = 0;
    for fault in [Fault::Full(10), Fault::TooMany, Fault::Error] {
        for n in 2.. {
            let disk = FaultyDisk::over(MemoryDisk::new());
            let store = Store::open(dir.path(), on(&disk)).unwrap();
            store.put(&grant(5), blocks[..300].to_vec()).unwrap().wait().unwrap();
            store.set_floor(0, Epoch(1)).unwrap(); // They are saved; the others will be, into the same file.
            disk.fail_nth(n, fault, false);
            store.put(&grant(5), blocks[300..].to_vec()).unwrap().wait().unwrap();
            let _ = store.set_floor(0, Epoch(1)); // Behind the checkpoint.
            let failed = disk.failed();
            disk.heal();
            // It goes on or stops, but answers nothing wrong.
            if store.set_floor(0, Epoch(1)).is_ok() {
                blocks.iter().for_each(|one| assert_eq!(store.get(&one.id).unwrap(), one.bytes));
                went_on += failed;
            }
            drop(store);
            let store = Store::open(dir.path(), on(&disk)).unwrap();
            for one in &blocks {
                assert_eq!(store.get(&one.id).expect("it is there"), one.bytes, "operation {n}, {fault:?}");
            }
            if failed == 0 {
                break;
            }
        }
    }
    assert!(went_on > 4, "a full disk does not stop it");
}

#[test]
fn a_full_disk_refuses_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::over(MemoryDisk::new());
    let store = Store::open(dir.path(), on(&disk)).unwrap();
    put(&store, 5, &block(1, 0, 500));
    let full = |e: &ServiceError| matches!(e, ServiceError::Full { .. });
    for room in [0, 1, 107, 108, 300] {
        disk.leave_room(room);
        must_be(store.put(&grant(6), vec![block(2, 0, 500)]).and_then(cas_net::PendingReceipt::wait), full);
        disk.leave_room(4 * 108);
        assert_eq!(delete(&store, block(1, 0, 500).id, 5), Deleted::Kept);
        disk.heal();
        put(&store, 6, &block(3, 0, 500));
    }
    drop(store);
    let store = Store::open(dir.path(), on(&disk)).unwrap();
    assert_eq!(store.regions().unwrap(), []);
    assert_eq!(store.list(None, 9).unwrap().len(), 2);
}

#[test]
fn below_the_soft_limit_only_new_blocks_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::over(MemoryDisk::new());
    let mut options = on(&disk);
    options.soft_free = 10_000;
    let store = Store::open(dir.path(), options).unwrap();
    let blocks: Vec<_> = (0..20).map(|n| block(n, 0, 300)).collect();
    blocks.iter().for_each(|one| drop(put(&store, 5, one)));
    disk.leave_room(9_999);
    must_be(store.put(&grant(6), vec![block(99, 0, 10)]), |e| matches!(e, ServiceError::Full { .. }));
    put(&store, 6, &blocks[0]);
    for one in &blocks[1..] {
        assert_eq!(delete(&store, one.id, 6), Deleted::Gone);
    }
    assert!(store.compact(0.0).unwrap() > 4000);
    assert_eq!(store.get(&blocks[0].id).unwrap(), blocks[0].bytes);
}
