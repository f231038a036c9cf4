//! What a crash leaves behind, and what compaction does beside it.

mod world;

use cas_core::id::Epoch;
use cas_net::{Deleted, Node};
use cas_node::{At, HEADER_LEN, Record, Salt, Store, What};
use world::*;

/// A store whose last group holds three blocks; answers the offset of that group and the bytes of each of its records.
fn with_last_group(dir: &std::path::Path) -> (Vec<cas_net::PutBlock>, usize) {
    let store = Store::open(dir, options()).unwrap();
    put(&store, 5, &block(100, 0, 50));
    let start = std::fs::metadata(&segments(dir)[0]).unwrap().len() as usize;
    let blocks: Vec<_> = (0..3).map(|n| block(n, 0, 300)).collect();
    store.put(&grant(6), blocks.clone()).unwrap().wait().unwrap();
    drop(store);
    lose_cache(dir);
    (blocks, start)
}

#[test]
fn a_block_torn_inside_the_last_group_is_wanted_again_and_never_held() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, start) = with_last_group(dir.path());
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[start + HEADER_LEN + 100] ^= 1;
    std::fs::write(path, bytes).unwrap();
    for _ in 0..2 {
        let store = Store::open(dir.path(), options()).unwrap();
        let (wanted, _) = store.offer(&grant(7), &[blocks[0].id, blocks[1].id]).unwrap();
        assert_eq!(wanted, [true, false]);
        assert_eq!(store.get(&blocks[2].id).unwrap(), blocks[2].bytes);
        put(&store, 8, &block(200, 0, 10)); // It is the last group no more.
        drop(store);
        lose_cache(dir.path());
    }
    assert_eq!(Store::open(dir.path(), options()).unwrap().regions().unwrap(), []);
}

#[test]
fn half_a_copy_never_hides_what_it_was_copied_from() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (block(1, 0, 300), block(2, 0, 300));
    put(&Store::open(dir.path(), options()).unwrap(), 5, &one);
    // As a crash in the midst of a group leaves it: a copy without its bytes, something good behind.
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    for (block, body) in [(&one, vec![0; one.bytes.len()]), (&other, other.bytes.to_vec())] {
        let record = Record {
            what: What::Block,
            kind: Some(block.kind),
            len: body.len() as u32,
            group: 1,
            epoch: Epoch(5),
            domain: block.domain,
            id: block.id,
            sum: block.sum,
        };
        bytes.extend(record.encode(Salt::of(&NODE_SEED, 0)));
        bytes.extend(body);
    }
    std::fs::write(path, bytes).unwrap();
    for round in 0..4 {
        let store = Store::open(dir.path(), options()).unwrap();
        assert_eq!(store.get(&one.id).unwrap(), one.bytes, "round {round}");
        assert_eq!(store.get(&other.id).unwrap(), other.bytes, "round {round}");
        assert_eq!(store.scrub(None, u64::MAX).unwrap().damaged, []);
        put(&store, 6, &block(100 + round, 0, 10));
        if round == 2 {
            assert_eq!(delete(&store, one.id, 5), Deleted::Kept);
            store.compact(0.0).unwrap();
        }
        drop(store);
        lose_cache(dir.path());
    }
}

#[test]
fn records_that_somebody_wrote_into_his_block_are_never_believed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = block(1, 0, 300);
    let store = Store::open(dir.path(), options()).unwrap();
    put(&store, 5, &victim);
    let mut evil = block(2, 0, 0);
    let mut bytes = evil.bytes.to_vec();
    for target in [32, 148, 0] {
        let at = At { segment: 0, offset: target };
        bytes.extend(Record::delete(victim.id, Epoch::ZERO, at).encode(Salt([0; 8])));
        bytes.extend(Record::floor(victim.id.partition(), Epoch(u64::MAX)).encode(Salt::of(&[0; 32], 0)));
    }
    evil.bytes = bytes.into();
    evil.sum = cas_core::id::Sum::of(&evil.bytes);
    put(&store, 5, &evil);
    put(&store, 5, &block(3, 0, 10));
    drop(store);
    lose_cache(dir.path());
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[32 + HEADER_LEN + victim.bytes.len() + 50] ^= 1; // The header of the evil one rots.
    for header in [false, true] {
        if header {
            bytes[3] ^= 1; // And that of the segment.
        }
        std::fs::write(path, &bytes).unwrap();
        let store = Store::open(dir.path(), options()).unwrap();
        assert_eq!(store.get(&victim.id).unwrap(), victim.bytes);
        assert_eq!(store.floor(victim.id.partition()), Epoch::ZERO);
        assert_eq!(store.regions().unwrap().len(), 1 + usize::from(header));
        drop(store);
        lose_cache(dir.path());
    }
}

#[test]
fn a_segment_whose_making_was_cut_anywhere_is_made_whole() {
    for len in 0..=32 {
        let dir = tempfile::tempdir().unwrap();
        let one = block(1, 0, 50);
        put(&Store::open(dir.path(), options()).unwrap(), 5, &one);
        let whole = std::fs::read(&segments(dir.path())[0]).unwrap();
        let second = dir.path().join("segments/0000000001.seg");
        std::fs::write(&second, &vec![0; 32][..len]).unwrap();
        let store = Store::open(dir.path(), options()).unwrap();
        put(&store, 6, &block(2, 0, 50));
        drop(store);
        assert_eq!(std::fs::read(&second).unwrap()[..8], whole[..8], "cut at {len}");
        assert_eq!(Store::open(dir.path(), options()).unwrap().regions().unwrap(), [], "cut at {len}");
    }
}

#[test]
fn a_damaged_header_is_named_as_a_region() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, start) = with_last_group(dir.path());
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[start] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let region = store.regions().unwrap()[0];
    assert_eq!(region.from, start as u64);
    assert_eq!(region.to - region.from, (HEADER_LEN + blocks[0].bytes.len()) as u64);
    assert!(store.get(&blocks[0].id).is_err() && store.get(&blocks[1].id).is_ok());
}

#[test]
fn a_cache_that_knows_more_than_the_segments_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let blocks: Vec<_> = (0..5000).map(|n| block(n, 0, 1)).collect();
    store.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    store.close().unwrap(); // Many enough for a checkpoint.
    drop(store);
    let path = &segments(dir.path())[0];
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.get(&blocks[0].id).unwrap(), blocks[0].bytes);
    let (wanted, _) = store.offer(&grant(6), &[blocks[4999].id]).unwrap();
    assert_eq!(wanted, [true], "what is lost is wanted again");
    drop(store);
    assert!(std::fs::metadata(path).unwrap().len() <= bytes.len() as u64 / 2, "nothing is padded");
}

#[test]
fn compaction_after_a_restart_forgets_the_segments_it_removed() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<_> = (0..6000).map(|n| block(n, 0, 20)).collect();
    let store = Store::open(dir.path(), small()).unwrap();
    blocks.chunks(100).for_each(|some| drop(store.put(&grant(5), some.to_vec()).unwrap().wait().unwrap()));
    store.close().unwrap();
    let even = blocks.iter().filter(|b| b.id.0[0] % 2 == 0);
    let deletes: Vec<_> = even.map(|b| cas_net::Delete { id: b.id, epoch: Epoch(6) }).collect();
    assert!(store.delete(&deletes).unwrap().iter().all(|answer| *answer == Deleted::Gone));
    assert!(store.compact(0.05).unwrap() > 0);
    drop(store);
    for _ in 0..2 {
        let store = Store::open(dir.path(), small()).unwrap();
        assert_eq!(store.stats().unwrap().segments as usize, segments(dir.path()).len());
        for block in &blocks {
            assert_eq!(store.get(&block.id).is_ok(), block.id.0[0] % 2 == 1);
        }
        store.compact(0.0).unwrap();
    }
}

#[test]
fn a_raised_epoch_survives_compaction_and_the_loss_of_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let one = block(1, 0, 100);
    let store = Store::open(dir.path(), small()).unwrap();
    put(&store, 5, &one);
    for n in 10..40 {
        put(&store, 5, &block(n, 0, 300));
    }
    put(&store, 9, &one);
    for n in 10..40 {
        assert_eq!(delete(&store, block(n, 0, 300).id, 6), Deleted::Gone);
    }
    store.compact(0.0).unwrap();
    drop(store);
    lose_cache(dir.path());
    let store = Store::open(dir.path(), small()).unwrap();
    assert_eq!(store.stats().unwrap().blocks, 1);
    assert_eq!(delete(&store, one.id, 9), Deleted::Kept);
}

#[test]
fn compaction_beside_puts_touches_and_deletes_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.compact(0.0).unwrap();
            }
        });
        for (round, n) in (0..30).flat_map(|round| (0..20).map(move |n| (round, n))) {
            let (epoch, one) = (10 + 3 * round, block(n, 0, 200));
            put(&store, epoch, &one);
            assert_eq!(delete(&store, one.id, epoch + 1), Deleted::Gone);
            put(&store, epoch + 2, &one);
            assert_eq!(store.get(&one.id).unwrap(), one.bytes);
            assert!(store.list(None, 100).unwrap().iter().all(|b| b.sum != cas_core::id::Sum::ZERO));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(store);
    lose_cache(dir.path());
    let store = Store::open(dir.path(), small()).unwrap();
    (0..20).for_each(|n| assert_eq!(store.get(&block(n, 0, 200).id).unwrap(), block(n, 0, 200).bytes));
}
