//! The rules of put, offer, delete and opening, one by one.

mod world;

use cas_core::id::{BlockId, Epoch, Sum};
use cas_core::signing::SigningKey;
use cas_net::{Deleted, Grant, Node, ServiceError, SessionId};
use cas_node::Store;
use world::*;

#[test]
fn what_was_acknowledged_comes_back_as_it_was_with_and_without_close_and_cache() {
    for (close, keep_cache) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let blocks: Vec<_> = (0..40).map(|n| block(n, 0, 50 * n as usize)).collect();
        let store = Store::open(dir.path(), small()).unwrap();
        let receipt = store.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
        assert_eq!(
            receipt.blocks.iter().map(|r| r.sum).collect::<Vec<_>>(),
            blocks.iter().map(|b| b.sum).collect::<Vec<_>>()
        );
        let stats = store.stats().unwrap();
        if close {
            store.close().unwrap();
        }
        drop(store);
        if !keep_cache {
            lose_cache(dir.path());
        }
        let store = Store::open(dir.path(), small()).unwrap();
        for block in &blocks {
            assert_eq!(store.get(&block.id).unwrap(), block.bytes);
        }
        let again = store.stats().unwrap();
        assert_eq!((again.blocks, again.live_bytes, again.segments), (stats.blocks, stats.live_bytes, stats.segments));
    }
}

#[test]
fn a_block_that_is_here_keeps_its_bytes_and_the_receipt_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let (first, second) = (block(1, 0, 100), block(1, 9, 100));
    assert_eq!((first.id, first.sum == second.sum), (second.id, false));
    put(&store, 5, &first);
    assert_eq!(put(&store, 6, &second).blocks[0].sum, first.sum);
    assert_eq!(store.get(&first.id).unwrap(), first.bytes);
}

#[test]
fn leave_to_replace_replaces_other_bytes_also_well_kept_ones_and_keeps_equal_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (block(1, 0, 100), block(1, 9, 100));
    let store = Store::open(dir.path(), options()).unwrap();
    put(&store, 5, &first);
    let before = store.stats().unwrap();
    assert_eq!(store.offer(&replacing(6), &[first.id]).unwrap().0, [true]);
    let receipt = store.put(&replacing(7), vec![first.clone()]).unwrap().wait().unwrap();
    assert_eq!((receipt.blocks[0].sum, store.stats().unwrap().live_bytes), (first.sum, before.live_bytes));
    let receipt = store.put(&replacing(8), vec![second.clone()]).unwrap().wait().unwrap();
    assert_eq!(receipt.blocks[0].sum, second.sum);
    drop(store);
    lose_cache(dir.path());
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.get(&first.id).unwrap(), second.bytes);
    assert_eq!(store.stats().unwrap().blocks, 1);
}

#[test]
fn of_two_equal_names_in_one_put_the_first_is_kept_and_both_receipts_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let blocks = vec![block(1, 0, 100), block(1, 9, 100)];
    let receipt = store.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    assert!(receipt.blocks.iter().all(|r| r.sum == blocks[0].sum));
    assert_eq!(store.get(&blocks[0].id).unwrap(), blocks[0].bytes);
}

#[test]
fn offered_blocks_that_are_here_are_touched_the_others_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let (here, absent) = (block(1, 0, 10), block(2, 0, 10));
    put(&store, 5, &here);
    let (wanted, receipt) = store.offer(&grant(8), &[here.id, absent.id]).unwrap();
    let receipt = receipt.wait().unwrap();
    assert_eq!(wanted, [false, true]);
    assert_eq!(receipt.blocks.iter().map(|r| (r.id, r.sum)).collect::<Vec<_>>(), [(here.id, here.sum)]);
    assert_eq!(store.list(None, 9).unwrap()[0].put_epoch, Epoch(8));
    drop(store);
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.list(None, 9).unwrap()[0].put_epoch, Epoch(8));
    let (_, receipt) = store.offer(&grant(6), &[here.id]).unwrap();
    assert_eq!(receipt.wait().unwrap().blocks.len(), 1);
    assert_eq!(store.list(None, 9).unwrap()[0].put_epoch, Epoch(8), "an epoch never falls");
}

#[test]
fn only_what_was_not_put_or_touched_since_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let one = block(1, 0, 10);
    put(&store, 5, &one);
    assert_eq!(delete(&store, one.id, 5), Deleted::Kept);
    put(&store, 7, &one);
    assert_eq!(delete(&store, one.id, 7), Deleted::Kept);
    assert_eq!(delete(&store, one.id, 8), Deleted::Gone);
    must_be(store.get(&one.id), |e| matches!(e, ServiceError::NotFound { .. }));
    assert_eq!(delete(&store, one.id, 8), Deleted::Gone);
    put(&store, 9, &one);
    drop(store);
    lose_cache(dir.path());
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.get(&one.id).unwrap(), one.bytes);
}

#[test]
fn a_floor_voids_deletes_at_or_below_it_in_its_partition_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let one = block(1, 0, 10);
    let other = (2..).map(|n| block(n, 0, 10)).find(|b| b.id.partition() != one.id.partition()).unwrap();
    put(&store, 5, &one);
    put(&store, 5, &other);
    store.set_floor(one.id.partition(), Epoch(20)).unwrap();
    store.set_floor(one.id.partition(), Epoch(10)).unwrap();
    drop(store);
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(delete(&store, one.id, 20), Deleted::Kept);
    assert_eq!(delete(&store, other.id, 20), Deleted::Gone);
    assert_eq!(delete(&store, one.id, 21), Deleted::Gone);
}

#[test]
fn no_delete_wins_against_a_touch_whose_receipt_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let one = block(1, 0, 10);
    for round in 0..200 {
        let epoch = 10 + 10 * round;
        put(&store, epoch, &one);
        let held = std::thread::scope(|scope| {
            scope.spawn(|| delete(&store, one.id, epoch + 1));
            let (wanted, receipt) = store.offer(&grant(epoch + 2), &[one.id]).unwrap();
            receipt.wait().is_ok() && !wanted[0]
        });
        assert!(!held || store.get(&one.id).is_ok(), "round {round}");
    }
}

#[test]
fn a_grant_of_somebody_else_or_a_wrong_name_or_sum_is_denied_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let one = block(1, 0, 10);
    let denied = |e: &ServiceError| matches!(e, ServiceError::Denied(_));
    let forged = Grant::sign(&SigningKey::from_seed(&[1; 32]), SessionId(1), Epoch(5), false);
    must_be(store.put(&forged, vec![one.clone()]), denied);
    must_be(store.offer(&forged, &[one.id]), denied);
    let mut sum = one.clone();
    sum.sum = Sum([1; 32]);
    let mut name = one.clone();
    name.id = BlockId([1; 32]);
    let mut kind = one.clone();
    kind.kind = cas_core::id::Kind::Page;
    for bad in [sum, name, kind] {
        must_be(store.put(&grant(5), vec![one.clone(), bad]), denied);
    }
    assert_eq!(store.stats().unwrap().blocks, 0);
}

#[test]
fn a_page_of_a_list_is_the_same_part_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let mut ids: Vec<_> = (0..30).map(|n| block(n, 0, 10)).map(|b| (put(&store, 5, &b), b.id).1).collect();
    ids.sort();
    for limit in [1, 7, 30, 100] {
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let page = store.list(after, limit).unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            all.extend(page.iter().map(|b| b.id));
        }
        assert_eq!(all, ids, "pages of {limit}");
    }
}

#[test]
fn a_block_that_moves_while_it_is_listed_is_listed_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    let kept: std::collections::BTreeMap<_, _> = (0..300).map(|n| block(n, 0, 100)).map(|b| (b.id, b)).collect();
    kept.values().for_each(|one| drop(put(&store, 5, one)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40 {
                let filler: Vec<_> = (0..60).map(|n| block(10_000 + n, 0, 200)).collect();
                store.put(&grant(10 * round + 6), filler.clone()).unwrap().wait().unwrap();
                filler.iter().for_each(|one| assert_eq!(delete(&store, one.id, 10 * round + 7), Deleted::Gone));
                store.compact(0.0).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let page = store.list(after, 37).unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                seen.extend(page.into_iter().filter(|b| kept.contains_key(&b.id)));
            }
            assert!(seen.iter().map(|b| &b.id).eq(kept.keys()), "{} of {}", seen.len(), kept.len());
            assert!(seen.iter().all(|b| b.sum == kept[&b.id].sum), "a sum is not that of its block");
        }
    });
}

#[test]
fn the_pages_of_all_partitions_are_the_pages_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    store.put(&grant(5), (0..500).map(|n| block(n, 0, 10)).collect()).unwrap().wait().unwrap();
    let mut all = Vec::new();
    for partition in 0..4096 {
        let mut after = None;
        loop {
            let page = store.list_partition(partition, after, 2).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            all.extend(page);
        }
    }
    assert_eq!(all, store.list(None, 1000).unwrap());
}

#[test]
fn opened_read_only_it_uses_what_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let disk = cas_node::disk::FaultyDisk::over(cas_node::disk::LocalDisk);
    let mut options = options();
    options.disk = std::sync::Arc::new(disk.clone());
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let count = 20_000;
    store.put(&grant(5), (0..count).map(|n| block(n, 0, 400)).collect()).unwrap().wait().unwrap();
    store.close().unwrap();
    drop(store);
    options.read_only = true;
    let read_to_open = || {
        let before = disk.read_bytes();
        let store = Store::open(dir.path(), options.clone()).unwrap();
        assert_eq!(store.stats().unwrap().blocks, u64::from(count));
        disk.read_bytes() - before
    };
    let with = read_to_open();
    lose_cache(dir.path());
    let without = read_to_open();
    // In debug builds redb goes through its whole file; the segments are left alone anyway.
    assert!(4 * with < without, "{with} bytes read with the index, {without} without");
}

#[test]
fn one_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    must_be(Store::open(dir.path(), options()).map(drop), |e| matches!(e, ServiceError::Busy(_)));
    drop(store);
    Store::open(dir.path(), options()).unwrap();
}

#[test]
fn opened_read_only_it_reads_everything_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<_> = (0..30).map(|n| block(n, 0, 300)).collect();
    let store = Store::open(dir.path(), small()).unwrap();
    blocks.iter().for_each(|b| drop(put(&store, 5, b)));
    drop(store);
    let last = segments(dir.path()).pop().unwrap();
    let mut torn = std::fs::read(&last).unwrap();
    torn.extend_from_slice(b"CASR torn");
    std::fs::write(&last, torn).unwrap();
    let before = contents(dir.path());
    let mut reading = small();
    reading.read_only = true;
    let store = Store::open(dir.path(), reading).unwrap();
    for block in &blocks {
        assert_eq!(store.get(&block.id).unwrap(), block.bytes);
    }
    must_be(store.put(&grant(6), blocks), |e| matches!(e, ServiceError::Denied(_)));
    store.close().unwrap();
    drop(store);
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_version_from_the_future_is_refused_a_flipped_bit_is_not_one() {
    let dir = tempfile::tempdir().unwrap();
    let one = block(1, 0, 10);
    put(&Store::open(dir.path(), options()).unwrap(), 5, &one);
    lose_cache(dir.path());
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[4] = 2;
    std::fs::write(path, &bytes).unwrap();
    assert_eq!(Store::open(dir.path(), options()).unwrap().get(&one.id).unwrap(), one.bytes);
    lose_cache(dir.path());
    // Whatever else the future writes there.
    for (at, byte) in [(5, 1), (16, 0), (31, 7)] {
        let mut later = bytes.clone();
        later[at] ^= byte;
        later[20] ^= 0xff;
        std::fs::write(path, &later).unwrap();
        for len in [later.len(), 32, 5] {
            std::fs::write(path, &later[..len]).unwrap();
            must_be(Store::open(dir.path(), options()).map(drop), |e| {
                matches!(e, ServiceError::Version { found: 2, .. })
            });
            assert_eq!(std::fs::read(path).unwrap(), later[..len]);
        }
    }
}
