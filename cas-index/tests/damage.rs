//! Stored bytes that rot: noticed, never misread.

mod support;

use cas_core::frame::Header;
use cas_core::id::BlockId;
use cas_index::{Index, LocalDisk, Options, inspect};
use cas_net::{Index as _, ServiceError};
use std::path::{Path, PathBuf};
use support::*;

fn blocks() -> Vec<Header> {
    let mut out: Vec<Header> = (0..40).map(data).collect();
    let ids: Vec<BlockId> = out.iter().map(Header::id).collect();
    out.push(page(500, &ids));
    out
}

/// A world with three versions, closed; with or without a checkpoint.
fn closed(checkpoint: bool) -> World {
    let mut world = World::new();
    if checkpoint {
        world.index = None;
        let small = Options { checkpoint_worth: 1, ..options(&world.clock) };
        world.index = Some(Index::open(world.path(), small).unwrap());
    }
    for _ in 0..3 {
        let session = world.start();
        world.push(session, &blocks()).unwrap();
        world.commit(session, "a", blocks()[40].id()).unwrap();
    }
    world.index().close().unwrap();
    world.index = None;
    world
}

fn file(dir: &Path, name: &str) -> PathBuf {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(name)).max().unwrap()
}

/// Opens a copy of `world` in which one file has other bytes.
fn with_bytes(world: &World, name: &str, bytes: &[u8]) -> (tempfile::TempDir, cas_net::Result<Index>) {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(world.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(file(dir.path(), name), bytes).unwrap();
    let index = Index::open(dir.path(), options(&world.clock));
    (dir, index)
}

#[test]
fn a_log_cut_anywhere_opens_with_a_prefix_of_its_history_or_is_refused() {
    let world = closed(false);
    let bytes = std::fs::read(file(world.path(), "log-")).unwrap();
    let mut newest = 0;
    for len in (0..bytes.len() - 60).step_by(7).chain(bytes.len() - 60..=bytes.len()) {
        let (_dir, index) = with_bytes(&world, "log-", &bytes[..len]);
        let versions = index.unwrap().snapshots(&vault(), None, true).unwrap();
        assert!(versions.iter().enumerate().all(|(n, v)| v.seq == n as u64 + 1));
        assert!(versions.len() >= newest, "history shrinks at {len}");
        newest = versions.len();
    }
    assert_eq!(newest, 3);
}

#[test]
fn a_flipped_bit_of_what_was_durable_stops_the_opening_and_nothing_is_cut() {
    let world = closed(false);
    let bytes = std::fs::read(file(world.path(), "log-")).unwrap();
    let (mut refused, mut dropped) = (0, 0);
    for at in (0..bytes.len()).step_by(11) {
        let mut spoiled = bytes.clone();
        spoiled[at] ^= 0x10;
        let (dir, index) = with_bytes(&world, "log-", &spoiled);
        match index {
            Err(ServiceError::Damaged { .. }) => {
                refused += 1;
                assert_eq!(std::fs::read(file(dir.path(), "log-")).unwrap(), spoiled, "byte {at}");
            }
            Ok(index) => {
                // Only what no later group vouches for may be taken for a torn tail: the clean end itself.
                dropped += 1;
                assert_eq!(index.snapshots(&vault(), None, true).unwrap().len(), 3, "byte {at}");
            }
            Err(e) => panic!("byte {at}: {e:?}"),
        }
    }
    assert!(refused > 100 && dropped < 10, "{refused} refused, {dropped} dropped");
}

#[test]
fn a_flipped_bit_in_the_tables_is_an_error_or_changes_no_answer() {
    let world = closed(true);
    let bytes = std::fs::read(file(world.path(), "tables.redb")).unwrap();
    let intact = Index::open(world.path(), options(&world.clock)).unwrap();
    let expected = Answers::of(&intact, &["a"]);
    drop(intact);
    let mut dice = Dice(1);
    let mut noticed = 0;
    for _ in 0..400 {
        let at = dice.below(bytes.len());
        let mut spoiled = bytes.clone();
        spoiled[at] ^= 1 << dice.below(8);
        let (_dir, index) = with_bytes(&world, "tables.redb", &spoiled);
        let answers = index.and_then(|index| {
            let rows = index.list_rows(None, usize::MAX)?;
            for row in rows.iter().filter(|row| row.kind.has_children()) {
                index.children(&row.id)?;
            }
            index.snapshots(&vault(), None, true)?;
            index.head(&vault(), "a")?;
            Ok(Answers::of(&index, &["a"]))
        });
        match answers {
            Ok(answers) => assert_eq!(answers, expected, "byte {at}"),
            Err(ServiceError::Damaged { .. } | ServiceError::Version { .. } | ServiceError::Io { .. }) => noticed += 1,
            Err(e) => panic!("byte {at}: {e:?}"),
        }
    }
    assert!(noticed > 10, "{noticed} of 400 were noticed: does the file hold anything?");
}

#[test]
fn a_missing_log_is_an_error_when_there_are_tables() {
    let world = closed(true);
    std::fs::remove_file(file(world.path(), "log-")).unwrap();
    let opened = Index::open(world.path(), options(&world.clock));
    assert!(matches!(opened.err(), Some(ServiceError::Damaged { .. })));
}

#[test]
fn a_broken_log_can_still_be_looked_at() {
    let world = closed(false);
    let path = file(world.path(), "log-");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let logs = inspect::logs(world.path(), &LocalDisk).unwrap();
    assert_eq!(logs.len(), 1);
    assert!(!logs[0].records.is_empty() && logs[0].records.iter().all(|record| record.command.is_ok()));
    assert!(logs[0].fault.as_ref().is_some_and(|(at, _)| (*at as usize) <= middle));
}

#[test]
fn read_only_changes_nothing_and_refuses_commands() {
    let world = closed(false);
    let path = file(world.path(), "log-");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"CASG torn");
    std::fs::write(&path, &bytes).unwrap();
    let index = Index::open(world.path(), Options { read_only: true, ..options(&world.clock) }).unwrap();
    assert_eq!(index.snapshots(&vault(), None, false).unwrap().len(), 3);
    assert!(matches!(index.mark(&[blocks()[0].id()], true), Err(ServiceError::Denied(_))));
    index.close().unwrap();
    drop(index);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_lost_index_is_not_replaced_by_an_empty_one_and_an_open_one_is_not_opened_twice() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::default();
    let lost = Index::open(dir.path(), Options { must_exist: true, ..options(&clock) });
    assert!(matches!(lost.err(), Some(ServiceError::NotFound { .. })));
    let first = Index::open(dir.path(), options(&clock)).unwrap();
    assert!(matches!(Index::open(dir.path(), options(&clock)).err(), Some(ServiceError::Busy(_))));
    drop(first);
    Index::open(dir.path(), Options { must_exist: true, ..options(&clock) }).unwrap();
}
