//! Law 9: the index as it was, from the nodes alone; and what a rebuild says when something is missing there.
//! (`laws.rs` rebuilds at the end of every world.)

mod support;

use cas_core::agebox::Identity;
use cas_core::domain::DomainRecord;
use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Kind};
use cas_core::keyring::{Device, Keyring, KeyringObject, Member, Role};
use cas_core::secret::ContentSecret;
use cas_core::snapshot::SnapshotObject;
use cas_index::{Index, rebuild};
use cas_net::{GcHolder, Index as _, RowState, ServiceError, SnapshotRow, SnapshotState};
use support::*;

fn blocks() -> Vec<Header> {
    let leaf = |n: u64| {
        let data_blocks: Vec<Header> = (10 * n..10 * n + 3).map(data).collect();
        let ids: Vec<BlockId> = data_blocks.iter().map(Header::id).collect();
        [data_blocks, vec![page(500 + n, &ids)]].concat()
    };
    let mut out = [leaf(1), leaf(2)].concat();
    out.push(page(600, &[out[3].id(), out[7].id()]));
    out
}

/// A keyring, three versions of `a` (the first in the trash, the newest gone for good), one of `c`.
fn world() -> (World, cas_core::id::VaultId) {
    let mut world = World::new();
    let vault_id = put_keyring(&world);
    let mut made = Vec::new();
    for (name, root) in [("a", 8), ("a", 3), ("a", 7), ("c", 3)] {
        let session = world.start();
        assert_eq!(world.push(session, &blocks()).unwrap(), []);
        made.push(world.commit(session, name, blocks()[root].id()).unwrap().snapshot);
    }
    world.forget(&made[2]).unwrap();
    world.index().empty_trash(i64::MAX).unwrap();
    world.clock.turn(5);
    world.forget(&made[0]).unwrap();
    world.collect(100);
    (world, vault_id)
}

fn put_keyring(world: &World) -> cas_core::id::VaultId {
    let root = cas_core::keyring::RootSeed::from_bytes([4; 32]);
    let keyring = first_keyring(&root);
    let object = KeyringObject::build(&keyring, &root).unwrap();
    let session = world.start();
    let grant = world.index().grant(session).unwrap();
    let bytes = object.encode();
    let receipt = world.node.put_all(&grant, vec![(Kind::Keyring, DomainId::ZERO, object.object_id(), bytes.clone())]);
    world.index().put_keyring(&bytes, std::slice::from_ref(&receipt)).unwrap();
    world.index().put_keyring(&bytes, std::slice::from_ref(&receipt)).unwrap();
    world.index().close_session(session).unwrap();
    object.vault()
}

fn first_keyring(root: &cas_core::keyring::RootSeed) -> Keyring {
    let member = |role, seed: u8| Member {
        role,
        recipient: Identity::from_random(&[seed; 32]).recipient(),
        label: "somebody".into(),
    };
    let members = vec![member(Role::Recovery, 1), member(Role::Owner, 2)];
    let devices = vec![Device { key: device().public(), label: "here".into() }];
    let secret = ContentSecret::from_bytes([6; 32]);
    Keyring::first(root.vault_id(), DomainRecord::default(), secret, members, devices).unwrap()
}

fn rebuilt(world: &World) -> (tempfile::TempDir, Index, cas_index::Rebuilt) {
    let dir = tempfile::tempdir().unwrap();
    let found = rebuild(dir.path(), &options(&world.clock), &[&world.node]).unwrap();
    let index = Index::open(dir.path(), options(&world.clock)).unwrap();
    (dir, index, found)
}

#[test]
fn a_rebuilt_index_answers_as_the_old_one_did() {
    let (world, vault_id) = world();
    let (_dir, index, found) = rebuilt(&world);
    assert_eq!((found.live, found.trash, found.orphans), (2, 1, 0));
    let old = Answers::of(world.index(), &["a", "c", "none"]);
    assert_eq!(Answers::of(&index, &["a", "c", "none"]), old);
    assert_eq!(old.heads[0].1.unwrap().0, 3, "the newest version is gone, its seq is not given again");
    assert_eq!(index.vaults().unwrap(), [vault_id]);
    assert!(found.epoch > world.index().status().unwrap().epoch);
}

#[test]
fn the_trash_clock_begins_anew_and_a_next_version_follows_the_one_that_is_gone() {
    let (mut world, _) = world();
    let (dir, index, _) = rebuilt(&world);
    let trash = index.snapshots(&vault(), Some("a"), true).unwrap();
    assert!(matches!(trash[0].state, SnapshotState::Trash { since_ns, .. } if since_ns == world.clock.now()));
    world.index = Some(index);
    let session = world.start();
    assert_eq!(world.push(session, &blocks()).unwrap(), []);
    assert_eq!(world.commit(session, "a", blocks()[7].id()).unwrap().seq, 4);
    world.collect(100);
    world.assert_counts();
    drop(dir);
}

#[test]
fn a_page_that_no_node_has_is_said_holds_the_collector_and_is_healed_by_a_push() {
    let (mut world, _) = world();
    let lost = blocks()[3].id();
    world.node.blocks.lock().unwrap().remove(&lost);
    let (_dir, index, found) = rebuilt(&world);
    assert_eq!(found.unreadable.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [lost]);
    assert_eq!(found.orphans, 3, "what hung on that page alone");
    world.index = Some(index);
    let row = world.index().rows(&[lost]).unwrap()[0].unwrap();
    assert_eq!((row.state, row.count), (RowState::Bad, 3));
    // Something to collect, which must wait.
    let session = world.start();
    world.push(session, &[data(99), page(99, &[data(99).id()])]).unwrap();
    world.index().close_session(session).unwrap();
    let step = world.index().condemn(10).unwrap();
    assert!(step.deletes.is_empty() && matches!(step.held, Some(GcHolder::NewEra)), "{step:?}");
    let session = world.start();
    assert_eq!(world.push(session, &blocks()).unwrap(), []);
    world.index().close_session(session).unwrap();
    let row = world.index().rows(&[lost]).unwrap()[0].unwrap();
    assert_eq!((row.state, row.count, row.kind), (RowState::Live, 3, Kind::Page));
    assert_eq!(world.index().children(&lost).unwrap().len(), 3);
    world.assert_counts();
    world.collect(10);
    assert!(!world.node.has(&data(99).id()), "nothing is missing any more, so nothing is held");
    world.assert_counts();
}

#[test]
fn a_removed_version_whose_blocks_the_collector_took_is_gone_and_holds_nobody_back() {
    for newest in [false, true] {
        let mut world = World::new();
        let own = [vec![data(71), page(71, &[data(71).id()])], blocks()].concat();
        let names = if newest { ["a", "b"] } else { ["a", "a"] };
        let mut made = Vec::new();
        for (name, root) in names.iter().zip([own[1].id(), blocks()[3].id()]) {
            let session = world.start();
            assert_eq!(world.push(session, &own).unwrap(), []);
            made.push(world.commit(session, name, root).unwrap());
        }
        world.forget(&made[0].snapshot).unwrap();
        // The collector was on its way: the record is still there, and one of its blocks.
        world.node.blocks.lock().unwrap().remove(&data(71).id());
        let (_dir, index, found) = rebuilt(&world);
        assert_eq!((found.live, found.trash, found.unreadable.len()), (1, 0, 0), "{found:?}");
        world.index = Some(index);
        world.assert_counts();
        let left = world.index().snapshots(&vault(), None, true).unwrap();
        assert_eq!(left.iter().map(|row| row.snapshot).collect::<Vec<_>>(), [made[1].snapshot]);
        world.collect(100);
        world.assert_counts();
        let (_dir, index, found) = rebuilt(&world);
        assert_eq!((found.live, found.trash), (1, 0), "it does not live again");
        assert_eq!(index.head(&vault(), "a").unwrap().unwrap().0, if newest { 1 } else { 2 });
    }
}

#[test]
fn what_stays_missing_can_be_given_up_and_is_not_marked_good_by_anyone() {
    let (mut world, _) = world();
    let (lost_page, lost_data) = (blocks()[3].id(), blocks()[4].id());
    world.node.blocks.lock().unwrap().retain(|id, _| *id != lost_page && *id != lost_data);
    let (_dir, index, found) = rebuilt(&world);
    // What lives needs the page; the data was of a version in the trash alone, which is gone with it.
    assert_eq!((found.unreadable.len(), found.trash), (1, 0));
    world.index = Some(index);
    world.index().mark(&[lost_page], false).unwrap();
    let rows = world.index().rows(&[lost_page]).unwrap();
    assert!(rows.iter().all(|row| row.unwrap().state == RowState::Bad));
    for version in world.index().snapshots(&vault(), None, false).unwrap() {
        world.forget(&version.snapshot).unwrap();
    }
    world.index().empty_trash(i64::MAX).unwrap();
    assert!(matches!(world.index().condemn(10).unwrap().held, Some(GcHolder::NewEra)));
    world.index().release_hold().unwrap();
    world.collect(10);
    world.assert_counts();
    let status = world.index().status().unwrap();
    assert_eq!((status.bad, status.unreferenced, status.condemned), (0, 0, 0));
}

#[test]
fn a_version_that_came_back_from_the_trash_lives_though_its_removal_is_still_stored() {
    let (mut world, _) = world();
    let version = |world: &World| world.index().snapshots(&vault(), Some("a"), true).unwrap()[0].clone();
    let first = version(&world);
    world.undelete(&first).unwrap();
    assert_rebuilt(&mut world, |world| assert_eq!(version(world).state, SnapshotState::Live));
    // Forgotten again, by another removal, it is in the trash again, whichever of the three a rebuild reads first.
    world.clock.turn(5);
    world.forget(&first.snapshot).unwrap();
    assert_rebuilt(&mut world, |world| assert!(matches!(version(world).state, SnapshotState::Trash { .. })));
    world.clock.turn(5);
    let second = version(&world);
    world.undelete(&second).unwrap();
    assert_eq!(world.node.blocks.lock().unwrap().values().filter(|kept| kept.kind == Kind::Snapshot).count(), 8);
    assert_rebuilt(&mut world, |world| assert_eq!(version(world).state, SnapshotState::Live));
    world.collect(100);
    assert_rebuilt(&mut world, |world| assert_eq!(version(world).state, SnapshotState::Live));
    let left = world.node.blocks.lock().unwrap().values().filter(|kept| kept.kind == Kind::Snapshot).count();
    assert_eq!(left, 4, "two versions of a, one of c, the removal of the newest of a");
}

/// Its old index and its rebuilt one say the same of versions; the world goes on with the rebuilt one.
fn assert_rebuilt(world: &mut World, check: impl Fn(&World)) {
    check(world);
    let names = ["a", "c"];
    let before = Answers::of(world.index(), &names);
    world.index = None;
    let found = rebuild(world.path(), &options(&world.clock), &[&world.node]).unwrap();
    assert_eq!((found.unreadable, found.skipped), (vec![], vec![]));
    world.crash();
    world.assert_counts();
    check(world);
    let after = Answers::of(world.index(), &names);
    assert_eq!((after.versions, after.heads, after.vaults), (before.versions, before.heads, before.vaults));
}

#[test]
fn what_takes_a_removal_back_stays_until_the_last_node_let_the_removal_go() {
    let (mut world, _) = world();
    let first = world.index().snapshots(&vault(), Some("a"), true).unwrap()[0].clone();
    let SnapshotState::Trash { removal, .. } = first.state else { panic!("{first:?}") };
    world.undelete(&first).unwrap();
    // The node is away: it hears of no delete, and nothing may go before it says that the removal went.
    let deletes = loop {
        let step = world.index().condemn(100).unwrap();
        if !step.more {
            break step.deletes;
        }
    };
    assert!(deletes.iter().any(|delete| delete.id == removal), "{deletes:?}");
    let returning = objects(&world).into_iter().find(|object| object.record().undoes == Some(removal)).unwrap();
    assert!(!deletes.iter().any(|delete| delete.id == returning.object_id()));
    // Not even in an index that was rebuilt meanwhile.
    assert_rebuilt(&mut world, |_| {});
    let first_step = world.index().condemn(100).unwrap().deletes;
    assert_eq!(first_step.iter().map(|delete| delete.id).collect::<Vec<_>>(), [removal]);
    world.collect(100);
    assert!(!world.node.has(&removal) && !world.node.has(&returning.object_id()));
}

#[test]
fn a_return_is_of_one_removal_of_one_version() {
    let (mut world, _) = world();
    let session = world.start();
    let versions = world.index().snapshots(&vault(), None, true).unwrap();
    let (first, other) = (versions[0].clone(), versions[1].clone());
    let SnapshotState::Trash { since_ns, by, .. } = first.state else { panic!("{first:?}") };
    let grant = world.index().grant(session).unwrap();
    let of_another = SnapshotState::Trash { since_ns, by, removal: other.object };
    let (wrong, receipt) = world.put_return(&grant, &SnapshotRow { state: of_another, ..first.clone() });
    assert!(matches!(world.index().undelete(&wrong, std::slice::from_ref(&receipt)), Err(ServiceError::Denied(_))));
    // A forged one of another version undoes nothing when the index is rebuilt, either.
    world.put_return(&grant, &SnapshotRow { state: first.state, ..other });
    world.index().close_session(session).unwrap();
    let trash = |world: &World| assert!(world.index().snapshots(&vault(), Some("a"), false).unwrap().len() == 1);
    assert_rebuilt(&mut world, trash);
    // The right one does, and is answered again when it is asked again.
    let session = world.start();
    let first = world.index().snapshots(&vault(), None, true).unwrap()[0].clone();
    let (right, receipt) = world.put_return(&world.index().grant(session).unwrap(), &first);
    world.index().undelete(&right, std::slice::from_ref(&receipt)).unwrap();
    world.index().undelete(&right, std::slice::from_ref(&receipt)).unwrap();
    // A removal that was taken back removes nothing any more.
    let removal = objects(&world).into_iter().find(|object| match first.state {
        SnapshotState::Trash { removal, .. } => object.object_id() == removal,
        SnapshotState::Live => false,
    });
    let removal = removal.unwrap();
    let receipt = world.put_object(&world.index().grant(session).unwrap(), &removal);
    assert!(matches!(
        world.index().forget(&removal.encode(), std::slice::from_ref(&receipt)),
        Err(ServiceError::Denied(_))
    ));
    world.index().close_session(session).unwrap();
}

fn objects(world: &World) -> Vec<SnapshotObject> {
    let blocks = world.node.blocks.lock().unwrap();
    let objects = blocks.values().filter(|kept| kept.kind == Kind::Snapshot);
    objects.map(|kept| SnapshotObject::parse(&kept.bytes).unwrap()).collect()
}

#[test]
fn a_version_that_was_stored_and_not_committed_loses_to_the_one_that_was() {
    let mut world = World::new();
    let session = world.start();
    world.push(session, &blocks()).unwrap();
    let never = snapshot("a", 1, Default::default(), blocks()[3].id(), 77);
    world.put_object(&world.index().grant(session).unwrap(), &never);
    let done = world.commit(session, "a", blocks()[8].id()).unwrap();
    let session = world.start();
    world.push(session, &blocks()).unwrap();
    world.commit(session, "a", blocks()[8].id()).unwrap();
    let (_dir, index, _) = rebuilt(&world);
    let versions = index.snapshots(&vault(), Some("a"), true).unwrap();
    assert_eq!(versions.iter().map(|v| v.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(versions[0].snapshot, done.snapshot, "the second version names the first");
}

#[test]
fn the_old_files_are_kept_aside_and_an_interrupted_exchange_is_said() {
    let (mut world, _) = world();
    let before = Answers::of(world.index(), &["a"]);
    world.index = None;
    rebuild(world.path(), &options(&world.clock), &[&world.node]).unwrap();
    assert!(world.path().join("before-rebuild-0").read_dir().unwrap().count() > 0);
    world.crash();
    assert_eq!(Answers::of(world.index(), &["a"]), before);
    let first = world.index().status().unwrap().epoch.era();
    world.index = None;
    std::fs::write(world.path().join("rebuilding"), b"").unwrap();
    let opened = Index::open(world.path(), options(&world.clock));
    assert!(matches!(opened.err(), Some(ServiceError::Damaged { .. })));
    rebuild(world.path(), &options(&world.clock), &[&world.node]).unwrap();
    world.crash();
    assert_eq!(Answers::of(world.index(), &["a"]), before);
    assert_eq!(world.index().status().unwrap().epoch.era(), first + 1);
}
