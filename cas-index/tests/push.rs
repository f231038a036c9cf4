//! A push from its session to its commit, and what comes after it.

mod support;

use cas_core::id::{BlockId, Kind};
use cas_core::snapshot::SnapshotObject;
use cas_net::{Index as _, RowState, ServiceError, SnapshotState};
use support::*;

/// Two data blocks, a page over them, a root over that.
fn tree(from: u64) -> Vec<cas_core::frame::Header> {
    let (a, b) = (data(from), data(from + 1));
    let leaf = page(from + 2, &[a.id(), b.id()]);
    let root = page(from + 3, &[leaf.id()]);
    vec![a, b, leaf, root]
}

#[test]
fn a_committed_push_is_listed_and_counted_also_after_a_crash() {
    let mut world = World::new();
    let blocks = tree(0);
    let session = world.start();
    assert_eq!(world.push(session, &blocks).unwrap(), []);
    let done = world.commit(session, "a", blocks[3].id()).unwrap();
    for _ in 0..2 {
        let rows = world.index().snapshots(&vault(), None, false).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].seq, rows[0].snapshot, &rows[0].state), (1, done.snapshot, &SnapshotState::Live));
        let ids: Vec<BlockId> = blocks.iter().map(|b| b.id()).collect();
        let stored = world.index().rows(&ids).unwrap();
        assert!(stored.iter().all(|row| row.is_some_and(|row| row.count == 1 && row.state == RowState::Live)));
        assert_eq!(stored[0].unwrap().kind, Kind::Data);
        world.assert_counts();
        world.crash();
    }
}

#[test]
fn what_nobody_references_goes_and_what_is_shared_stays() {
    let mut world = World::new();
    let (mut first, second) = (tree(0), tree(10));
    first[3] = page(20, &[first[2].id(), second[2].id()]);
    for (name, blocks) in [("b", &second), ("a", &[&second[..3], &first[..]].concat())] {
        let session = world.start();
        assert_eq!(world.push(session, blocks).unwrap(), []);
        world.commit(session, name, blocks.last().unwrap().id()).unwrap();
    }
    let done = world.index().snapshots(&vault(), Some("b"), false).unwrap()[0].snapshot;
    world.forget(&done).unwrap();
    world.collect(2);
    assert!(world.node.has(&second[3].id()), "it is in the trash");
    assert_eq!(world.index().empty_trash(i64::MAX).unwrap().len(), 1);
    world.collect(2);
    assert!(!world.node.has(&second[3].id()));
    assert!(world.node.has(&second[2].id()) && world.node.has(&second[0].id()), "shared with the other version");
    world.assert_counts();
    let status = world.index().status().unwrap();
    assert_eq!((status.condemned, status.unreferenced), (0, 0));
}

#[test]
fn a_block_that_is_neither_live_nor_received_is_named_and_nothing_is_registered() {
    let world = World::new();
    let session = world.start();
    let blocks = tree(0);
    assert_eq!(world.push(session, &blocks[1..]).unwrap(), [blocks[0].id()]);
    let ids: Vec<BlockId> = blocks.iter().map(|b| b.id()).collect();
    assert_eq!(world.index().rows(&ids).unwrap(), [None, None, None, None]);
    // The receipts were remembered: the missing one is enough.
    assert_eq!(world.push(session, &blocks[..1]).unwrap(), []);
    let registration =
        cas_net::Registration { headers: vec![blocks[2].encode(), blocks[3].encode()], receipts: vec![] };
    assert_eq!(world.index().register(session, registration).unwrap().missing, []);
}

#[test]
fn a_live_session_holds_back_what_it_touched() {
    let mut world = World::new();
    let blocks = tree(0);
    let first = world.start();
    assert_eq!(world.push(first, &blocks).unwrap(), []);
    world.index().close_session(first).unwrap();
    let second = world.start();
    let root = blocks[3].id();
    assert!(world.index().have(second, &[root]).unwrap().present[0]);
    let step = world.index().condemn(100).unwrap();
    assert!(step.deletes.is_empty());
    assert!(matches!(step.held, Some(cas_net::GcHolder::Session(info)) if info.session == second));
    world.commit(second, "a", root).unwrap();
    world.collect(100);
    assert!(world.node.has(&root));
    world.assert_counts();
}

#[test]
fn a_condemned_block_comes_back_under_a_newer_grant_only() {
    let mut world = World::new();
    let blocks = tree(0);
    let first = world.start();
    let old_grant = world.index().grant(first).unwrap();
    assert_eq!(world.push(first, &blocks).unwrap(), []);
    world.index().close_session(first).unwrap();
    let deletes = world.index().condemn(100).unwrap().deletes;
    assert_eq!(deletes.len(), 1, "the root alone: its children are held by it until now");
    let second = world.start();
    let old = world.node.put_headers(&old_grant, &blocks[3..]);
    let stale = cas_net::Registration { headers: vec![blocks[3].encode()], receipts: vec![old] };
    assert_eq!(world.index().register(second, stale).unwrap().missing, [blocks[3].id()]);
    assert_eq!(world.push(second, &blocks).unwrap(), []);
    let answers = cas_net::Node::delete(&world.node, &deletes).unwrap();
    assert_eq!(answers, [cas_net::Deleted::Kept]);
    world.index().deleted(cas_net::NodeId(world.node_key()), &[(deletes[0], answers[0])]).unwrap();
    world.commit(second, "a", blocks[3].id()).unwrap();
    world.assert_counts();
}

#[test]
fn a_bad_block_is_replaced_by_the_next_push_though_its_page_is_live() {
    let mut world = World::new();
    let blocks = tree(0);
    let session = world.start();
    world.push(session, &blocks).unwrap();
    world.commit(session, "a", blocks[3].id()).unwrap();
    let bad = blocks[0].id();
    world.index().mark(&[bad], true).unwrap();
    let start =
        cas_net::StartSession { vault: vault(), domain: domain(), device: device().public(), label: String::new() };
    let session = world.index().start_session(&start).unwrap();
    assert_eq!(session.damaged, 1);
    let have = world.index().have(session.session, &[bad]).unwrap();
    assert_eq!((have.present[0], have.grant.replace), (false, true));
    let receipt = world.node.put_headers(&have.grant, &blocks[..1]);
    let registration = cas_net::Registration { headers: vec![], receipts: vec![receipt] };
    assert_eq!(world.index().register(session.session, registration).unwrap().missing, []);
    assert_eq!(world.index().rows(&[bad]).unwrap()[0].unwrap().state, RowState::Live);
    assert_eq!(world.index().status().unwrap().bad, 0);
    world.assert_counts();
}

#[test]
fn the_history_of_a_name_is_linear_and_a_key_commits_once() {
    let mut world = World::new();
    let blocks = tree(0);
    let (a, b) = (world.start(), world.start());
    world.push(a, &blocks).unwrap();
    world.push(b, &blocks).unwrap();
    let root = blocks[3].id();
    let object = snapshot("a", 1, Default::default(), root, 0);
    let grant = world.index().grant(a).unwrap();
    let receipt = world.put_object(&grant, &object);
    let commit = cas_net::Commit { object: object.encode(), receipts: vec![receipt], key: [1; 16] };
    let done = world.index().commit(a, &commit).unwrap();
    assert_eq!(world.index().commit(a, &commit).unwrap(), done, "the same key again");
    let other = snapshot("a", 1, Default::default(), root, 1);
    let receipt = world.put_object(&world.index().grant(b).unwrap(), &other);
    let second = cas_net::Commit { object: other.encode(), receipts: vec![receipt], key: [2; 16] };
    let conflict = world.index().commit(b, &second);
    assert!(matches!(conflict, Err(ServiceError::Conflict { latest: 1, .. })), "{conflict:?}");
    // Forgotten and collected, its seq is still not given again.
    world.index().close_session(b).unwrap();
    world.forget(&done.snapshot).unwrap();
    world.index().empty_trash(i64::MAX).unwrap();
    world.collect(100);
    assert_eq!(world.index().head(&vault(), "a").unwrap(), Some((1, done.snapshot)));
    let session = world.start();
    world.push(session, &blocks).unwrap();
    assert_eq!(world.commit(session, "a", root).unwrap().seq, 2);
    world.assert_counts();
}

#[test]
fn a_removal_whose_receipt_is_older_than_what_was_collected_is_put_again() {
    let mut world = World::new();
    let (session, blocks) = (world.start(), tree(0));
    world.push(session, &blocks).unwrap();
    let done = world.commit(session, "a", blocks[3].id()).unwrap();
    let given_up = world.start();
    world.push(given_up, &tree(7)).unwrap();
    world.index().close_session(given_up).unwrap();
    let session = world.start();
    let object = SnapshotObject::parse(&world.index().snapshot_object(&done.snapshot).unwrap()).unwrap();
    let removal = removal(&object, world.clock.now());
    let receipt = world.put_object(&world.index().grant(session).unwrap(), &removal);
    world.collect(100);
    let forget = |receipt| world.index().forget(&removal.encode(), &[receipt]);
    assert!(matches!(forget(receipt), Err(ServiceError::Stale(id)) if id == removal.object_id()));
    forget(world.put_object(&world.index().grant(session).unwrap(), &removal)).unwrap();
}

#[test]
fn an_expired_session_neither_registers_nor_commits() {
    let mut world = World::new();
    let blocks = tree(0);
    let session = world.start();
    world.push(session, &blocks).unwrap();
    world.clock.turn(DAY_NS);
    world.collect(100);
    assert!(matches!(world.push(session, &blocks), Err(ServiceError::SessionGone(gone)) if gone == session));
    assert!(matches!(world.commit(session, "a", blocks[3].id()), Err(ServiceError::SessionGone(_))));
    assert!(!world.node.has(&blocks[0].id()));
}

#[test]
fn a_registration_larger_than_one_command_is_cut_bottom_up() {
    let mut world = World::new();
    let session = world.start();
    // 20 leaves of 4 096 children each: more than 65 536 edges, and a root over them.
    let (mut blocks, mut leaves) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let children: Vec<_> = (0..4096).map(|i| data(n * 10_000 + i)).collect();
        let ids: Vec<BlockId> = children.iter().map(|b| b.id()).collect();
        blocks.extend(children);
        leaves.push(page(900_000 + n, &ids));
    }
    let root = page(999_999, &leaves.iter().map(|b| b.id()).collect::<Vec<_>>());
    blocks.extend(leaves);
    blocks.push(root.clone());
    assert_eq!(world.push(session, &blocks).unwrap(), []);
    world.commit(session, "a", root.id()).unwrap();
    let recount = world.index().recount().unwrap();
    assert_eq!((recount.edges, recount.wrong.len(), recount.dangling.len()), (20 * 4096 + 20 + 2, 0, 0));
    // Nothing is unreferenced, so no page ever stayed in the collector's queue.
    assert_eq!(world.index().status().unwrap().unreferenced, 0);
}

#[test]
fn lies_about_edges_and_domains_are_refused() {
    let world = World::new();
    let session = world.start();
    let (a, id) = (data(1), data(1).id());
    let refused = |headers: Vec<Vec<u8>>| {
        let registration = cas_net::Registration { headers, receipts: vec![] };
        matches!(world.index().register(session, registration), Err(ServiceError::Denied(_)))
    };
    assert!(refused(vec![page(2, &[id, id]).encode()]), "a child twice");
    let foreign = cas_core::frame::Header { domain: cas_core::id::DomainId([9; 16]), ..page(2, &[id]) };
    assert!(refused(vec![foreign.encode()]), "a page of another domain");
    assert!(refused(vec![a.encode()]), "data");
    assert!(refused(vec![[page(2, &[id]).encode(), vec![0]].concat()]), "trailing bytes");
    let stranger = MemNode::new(99);
    let receipt = stranger.put_headers(&world.index().grant(session).unwrap(), &[a]);
    let registration = cas_net::Registration { headers: vec![], receipts: vec![receipt] };
    assert!(matches!(world.index().register(session, registration), Err(ServiceError::Denied(_))), "an unknown node");
}
