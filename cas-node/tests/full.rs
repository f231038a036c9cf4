//! A disk that others filled to the last byte: deleting and compacting go on and give the room back.
//!
//! On a small file system in memory; where mounting is not allowed, that is said and nothing is tested.

mod world;

use cas_core::id::Epoch;
use cas_net::{Delete, Deleted, Node, PutBlock, ServiceError};
use cas_node::disk::{Disk, LocalDisk};
use cas_node::{Options, Store};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use world::*;

const MIB: usize = 1 << 20;

/// A small file system that goes with its value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn of(mib: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(dir.path());
        match mount.output() {
            Ok(done) if done.status.success() => Some(Self(dir)),
            done => {
                eprintln!("skipped, nothing can be mounted here: {done:?}");
                None
            }
        }
    }

    fn store(&self) -> std::path::PathBuf {
        self.0.path().join("node")
    }

    fn free(&self) -> u64 {
        LocalDisk.free_bytes(self.0.path()).unwrap()
    }

    /// Somebody else takes all that is free.
    fn fill(&self) {
        let mut file = File::options().append(true).create(true).open(self.0.path().join("of others")).unwrap();
        for len in [MIB, 4096, 1] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
        assert_eq!(self.free(), 0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn options(reserve: u64) -> Options {
    let mut options = world::options();
    (options.segment_bytes, options.soft_free, options.reserve) = (4 * MIB as u64, 2 * MIB as u64, reserve);
    options
}

fn blocks(range: std::ops::Range<u32>, len: usize) -> Vec<PutBlock> {
    range.map(|n| block(n, 0, len)).collect()
}

#[track_caller]
fn delete_all(store: &Store, blocks: &[PutBlock]) {
    let deletes: Vec<_> = blocks.iter().map(|b| Delete { id: b.id, epoch: Epoch(9) }).collect();
    assert!(store.delete(&deletes).unwrap().iter().all(|answer| *answer == Deleted::Gone));
}

#[track_caller]
fn assert_whole(dir: &Path, kept: &[PutBlock], gone: &[PutBlock]) {
    lose_cache(dir);
    let store = Store::open(dir, options(0)).unwrap();
    assert!(kept.iter().all(|b| store.get(&b.id).is_ok_and(|bytes| bytes == b.bytes)));
    assert!(gone.iter().all(|b| matches!(store.get(&b.id), Err(ServiceError::NotFound { .. }))));
    assert_eq!(store.regions().unwrap(), []);
}

#[test]
fn what_others_fill_while_the_store_is_closed_or_open_can_still_be_collected() {
    for closed in [false, true] {
        let Some(disk) = SmallDisk::of(40) else { return };
        let all = blocks(0..24, MIB);
        let mut store = Some(Store::open(&disk.store(), options(4 * MIB as u64)).unwrap());
        all.iter().for_each(|one| drop(put(store.as_ref().unwrap(), 5, one)));
        if closed {
            store.take().unwrap().close().unwrap();
        }
        disk.fill();
        let store = store.unwrap_or_else(|| Store::open(&disk.store(), options(4 * MIB as u64)).unwrap());
        must_be(store.put(&grant(6), blocks(99..100, MIB)), |e| matches!(e, ServiceError::Full { .. }));
        let (kept, gone) = all.split_at(2);
        delete_all(&store, gone);
        let before = store.stats().unwrap();
        store.compact(0.05).unwrap();
        let after = store.stats().unwrap();
        assert!(after.dead_bytes * 20 <= after.live_bytes, "{after:?}");
        assert!(disk.free() >= 20 * MIB as u64, "{} bytes are free", disk.free());
        assert!(before.segment_bytes - after.segment_bytes >= 20 * MIB as u64);
        put(&store, 10, &block(99, 0, MIB));
        store.close().unwrap();
        drop(store);
        assert!(disk.store().join("reserve").metadata().unwrap().len() >= MIB as u64, "it is held again");
        assert_whole(&disk.store(), kept, gone);
    }
}

#[test]
fn without_any_room_dead_bodies_are_given_back_where_they_lie_and_then_the_rest_can_be_copied() {
    let Some(disk) = SmallDisk::of(40) else { return };
    let all = blocks(0..24, MIB);
    let store = Store::open(&disk.store(), options(0)).unwrap();
    all.iter().for_each(|one| drop(put(&store, 5, one)));
    let (gone, kept): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(n, _)| n % 4 != 0);
    let [gone, kept] = [gone, kept].map(|some| some.into_iter().map(|(_, b)| b).collect::<Vec<_>>());
    delete_all(&store, &gone);
    disk.fill();
    store.compact(0.05).unwrap();
    assert!(disk.free() >= 12 * MIB as u64, "{} bytes are free", disk.free());
    for one in &kept {
        assert_eq!(store.get(&one.id).unwrap(), one.bytes);
    }
    drop(store);
    assert_whole(&disk.store(), &kept, &gone);
}

#[test]
fn many_small_blocks_are_deleted_in_the_room_of_the_reserve() {
    let Some(disk) = SmallDisk::of(40) else { return };
    let all = blocks(0..6000, 2000);
    let store = Store::open(&disk.store(), options(MIB as u64)).unwrap();
    all.chunks(500).for_each(|some| drop(store.put(&grant(5), some.to_vec()).unwrap().wait().unwrap()));
    disk.fill();
    let (kept, gone) = all.split_at(100);
    delete_all(&store, gone);
    store.compact(0.05).unwrap();
    assert!(disk.free() >= 10 * MIB as u64, "{} bytes are free", disk.free());
    store.close().unwrap();
    drop(store);
    assert_whole(&disk.store(), kept, gone);
}
