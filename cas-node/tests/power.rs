//! A power cut at any time, on a disk that keeps of unsynced bytes and names what chance keeps.
//!
//! A failure prints its seed; `CAS_TEST_ROUNDS` runs more of them.

mod world;

use cas_core::id::Epoch;
use cas_net::{Delete, Deleted, Node, PendingReceipt};
use cas_node::disk::{Fault, FaultyDisk, MemoryDisk};
use cas_node::{Options, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::*;

fn on(disk: &FaultyDisk) -> Options {
    let mut options = small();
    (options.disk, options.fresh) = (Arc::new(disk.clone()), 30);
    options
}

/// Blocks of which it is known what became of them: the least epoch, or gone.
type Model = BTreeMap<u32, Option<u64>>;

fn named(n: u32) -> cas_net::PutBlock {
    block(n, 0, 30 + 40 * (n as usize % 40))
}

/// Works until the disk dies; answers what was acknowledged.
fn work(store: &Store, epochs: std::ops::Range<u64>, chance: &mut Chance, model: &mut Model) {
    for epoch in epochs {
        let numbers: Vec<u32> = (0..1 + chance.below(8)).map(|_| chance.below(50) as u32).collect();
        match chance.below(8) {
            0..4 => {
                let put = store.put(&grant(epoch), numbers.iter().map(|n| named(*n)).collect());
                let known = put.and_then(PendingReceipt::wait).is_ok();
                for n in numbers {
                    if known {
                        model.insert(n, Some(epoch));
                    } else if model.get(&n) == Some(&None) {
                        model.remove(&n);
                    }
                }
            }
            4..6 => {
                let deletes = numbers.iter().map(|n| Delete { id: named(*n).id, epoch: Epoch(epoch) });
                let answers = store.delete(&deletes.collect::<Vec<_>>());
                for (i, n) in numbers.iter().enumerate() {
                    match answers.as_ref().map(|answers| answers[i]) {
                        Ok(Deleted::Gone) => drop(model.insert(*n, None)),
                        Ok(Deleted::Kept) => {}
                        Err(_) => drop(model.remove(n)),
                    }
                }
            }
            6 => drop(store.compact(0.1)),
            _ => drop(store.close()),
        }
    }
}

#[track_caller]
fn assert_kept(store: &Store, model: &Model, seed: u64) {
    let listed: BTreeMap<_, _> = store.list(None, 1000).unwrap().into_iter().map(|b| (b.id, b.put_epoch)).collect();
    for (n, epoch) in model {
        let one = named(*n);
        match epoch {
            Some(epoch) => {
                let found = store.get(&one.id).unwrap_or_else(|e| panic!("seed {seed}, block {n}: {e}"));
                assert_eq!(found, one.bytes, "seed {seed}, block {n}");
                assert!(listed[&one.id] >= Epoch(*epoch), "seed {seed}, block {n}");
            }
            None => assert!(!listed.contains_key(&one.id), "seed {seed}: block {n} came back"),
        }
    }
    for id in listed.keys() {
        assert!(store.get(id).is_ok(), "seed {seed}: {id} is listed and cannot be read");
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let rounds = std::env::var("CAS_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..rounds {
        let mut chance = Chance(seed);
        let memory = MemoryDisk::new();
        let mut model = Model::new();
        for life in 0..4u64 {
            let disk = FaultyDisk::over(memory.clone());
            disk.fail_nth(chance.below(120), Fault::Short(chance.below(3000) as usize), true);
            if let Ok(store) = Store::open(dir.path(), on(&disk)) {
                work(&store, 100 * life + 1..100 * life + 40, &mut chance, &mut model);
            }
            memory.power_cut(&mut |n| chance.below(n));
            // What is there is there with and without the cache, and stays when the power is cut again at once.
            let alone = memory.copy();
            if let Some(cache) = alone.bytes(&dir.path().join("index.redb")) {
                let broken = if chance.below(2) == 0 { Vec::new() } else { cache[..cache.len() / 2].to_vec() };
                alone.set_bytes(&dir.path().join("index.redb"), &broken);
            }
            for disk in [alone, memory.clone()] {
                let store = Store::open(dir.path(), on(&FaultyDisk::over(disk.clone()))).unwrap();
                assert_kept(&store, &model, seed);
                drop(store);
                disk.power_cut(&mut |n| chance.below(n));
                let store = Store::open(dir.path(), on(&FaultyDisk::over(disk))).unwrap();
                assert_kept(&store, &model, seed);
            }
        }
    }
}

#[test]
fn with_and_without_the_cache_the_node_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..60 {
        let mut chance = Chance(seed);
        let memory = MemoryDisk::new();
        for life in 0..5u64 {
            let disk = FaultyDisk::over(memory.clone());
            if chance.below(2) == 0 {
                disk.fail_nth(chance.below(150), Fault::Error, true);
            }
            if let Ok(store) = Store::open(dir.path(), on(&disk)) {
                work(&store, 100 * life + 1..100 * life + 40, &mut chance, &mut Model::new());
            }
            memory.power_cut(&mut |n| chance.below(n));
            // Twice, so that both have buried what a crash left.
            drop(Store::open(dir.path(), on(&FaultyDisk::over(memory.clone()))).unwrap().close());
            let alone = memory.copy();
            if alone.bytes(&dir.path().join("index.redb")).is_some() {
                alone.set_bytes(&dir.path().join("index.redb"), b"");
            }
            let said = |disk: &MemoryDisk| {
                let store = Store::open(dir.path(), on(&FaultyDisk::over(disk.clone()))).unwrap();
                (store.list(None, 1000).unwrap(), store.stats().unwrap())
            };
            assert_eq!(said(&memory), said(&alone), "seed {seed}, life {life}");
        }
    }
}
