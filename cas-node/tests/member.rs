//! A node as a member of a cluster: joining, who gets in, orders, and what holds while others are away or lie.

mod cluster;
mod world;

use cas_core::id::{BlockId, DomainId, Epoch, PublicKey};
use cas_core::signing::SigningKey;
use cas_net::address::Address;
use cas_net::chain::{Chained, PendingChain, Returned, Way};
use cas_net::cluster::{CopyFailed, CopyFault, CopyOrder, Damage, Order};
use cas_net::rights::Revocations;
use cas_net::rights::calls::ShowTicket;
use cas_net::rights::ticket::{Ticket, TicketRights};
use cas_net::*;
use cas_node::Options;
use cas_node::disk::{Fault, FaultyDisk, LocalDisk, Operation};
use cas_node::member::{self, Member, MemberOptions};
use cluster::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use world::block;

const GRACE: Duration = Duration::from_secs(10);

#[test]
fn a_node_joins_with_a_token_and_then_beats() {
    let world = World::new();
    denied(member::join(&member::JoinOptions { token: None, ..world.joining("a") }), "token");
    let error = member::serve(world.options("a")).unwrap_err();
    assert!(matches!(error, ServiceError::NotFound { .. }), "{error}");
    assert_eq!(world.join("a").rack, "r1");
    let node = world.serve("a");
    assert_eq!(member::init(&world.dir("a")).unwrap(), node.public_key());
    world.beat(&node);
    assert!(!world.beats(&node)[0].takes_orders, "what was ordered before it was started is forgotten");
    let beat = world.beats(&node).pop().unwrap();
    assert_eq!((beat.disk, beat.space.capacity, beat.layout), (node.disk(), 1 << 30, 0));
    assert_eq!(beat.addresses, [node.address().unwrap().place()]);
    assert!(beat.space.free > 0 && beat.takes_orders && beat.damage.is_empty());
    node.health().unwrap();
    let metrics = node.metrics().unwrap();
    assert!(metrics.contains("\ncas_node_up 1\n") && metrics.contains("cas_node_sync_seconds_count"), "{metrics}");
    node.shutdown(GRACE).unwrap();
}

#[test]
fn a_node_of_one_cluster_does_not_join_another() {
    let world = World::new();
    world.join("a");
    let elsewhere = World::new();
    let other = Address::new(PublicKey([8; 32]), elsewhere.address.place().parse().unwrap());
    denied(member::join(&member::JoinOptions { index: other, ..world.joining("a") }), "holds a node of the cluster");
    // The same cluster may move.
    member::join(&member::JoinOptions { index: elsewhere.address, ..world.joining("a") }).unwrap();
}

#[test]
fn a_restart_keeps_key_and_disk_and_an_emptied_folder_is_another_disk() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let (key, disk, kept, client) = (node.public_key(), node.disk(), block(1, 0, 100), Client::new(50));
    put(&client.welcome(&node), 5, &kept);
    node.shutdown(GRACE).unwrap();
    let node = world.serve("a");
    assert_eq!((node.public_key(), node.disk()), (key, disk));
    assert_eq!(client.welcome(&node).get(&kept.id).unwrap(), kept.bytes);
    node.shutdown(GRACE).unwrap();
    wipe(&world.dir("a"));
    let node = world.serve("a");
    assert_eq!(node.public_key(), key);
    assert_ne!(node.disk(), disk);
    world.beat(&node);
    assert_eq!(world.beats(&node).pop().unwrap().disk, node.disk());
    // Empty, but not emptied.
    let disk = node.disk();
    node.shutdown(GRACE).unwrap();
    assert_eq!(world.serve("a").disk(), disk);
}

#[test]
fn only_one_process_serves_a_folder() {
    let world = World::new();
    let node = world.node("a");
    assert!(matches!(member::serve(world.options("a")), Err(ServiceError::Busy(_))));
    drop(node);
    world.serve("a");
}

#[test]
fn nobody_gets_in_without_a_ticket_of_this_index_for_his_own_key() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let (owner, thief) = (Client::new(50), Client::new(51));
    let kept = block(1, 0, 100);
    put(&owner.welcome(&node), 5, &kept);
    let good = owner.ticket(TicketRights::ReadWrite);
    denied(thief.at(&node, &[]).get(&kept.id), "no ticket");
    denied(Client::new(51).at(&node, &[good]).get(&kept.id), "another client's");
    let forger = SigningKey::from_seed(&[66; 32]);
    let forged = Ticket::sign(&forger, thief.key, DOMAIN, TicketRights::ReadWrite, Epoch(10), NOW_NS + HOUR_NS);
    denied(Client::new(51).at(&node, &[forged]).get(&kept.id), "not of this store's index");
    let changed = {
        let mut ticket = thief.ticket(TicketRights::Read);
        ticket.expires_ns = i64::MAX;
        ticket
    };
    denied(Client::new(51).at(&node, &[changed]).get(&kept.id), "not of this store's index");
    let expired = Ticket::sign(&index_key(), thief.key, DOMAIN, TicketRights::ReadWrite, Epoch(10), NOW_NS - 1);
    denied(Client::new(51).at(&node, &[expired]).get(&kept.id), "expired");
    assert_eq!(owner.welcome(&node).get(&kept.id).unwrap(), kept.bytes);
    assert!(node.counters().refusals.get() >= 5);
}

#[test]
fn a_ticket_is_void_within_a_beat_of_its_revocation_also_after_a_restart_without_the_index() {
    let mut world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let (owner, other) = (Client::new(50), Client::new(51));
    let kept = block(1, 0, 100);
    let (open, others) = (owner.welcome(&node), other.welcome(&node));
    put(&open, 5, &kept);
    assert_eq!(others.get(&kept.id).unwrap(), kept.bytes);
    let devices = vec![(owner.key, Epoch(11))];
    world.index.said().revoked = Revocations { version: Epoch(11), all_before: Epoch(0), devices };
    world.beat(&node);
    world.beat(&node);
    denied(open.get(&kept.id), "voided");
    assert_eq!(others.get(&kept.id).unwrap(), kept.bytes);
    let newer = Ticket::sign(&index_key(), owner.key, DOMAIN, TicketRights::Read, Epoch(11), NOW_NS + HOUR_NS);
    assert_eq!(Client::new(50).at(&node, &[newer]).get(&kept.id).unwrap(), kept.bytes);
    node.shutdown(GRACE).unwrap();
    world.stop_index();
    let node = world.serve("a");
    denied(Client::new(50).welcome(&node).get(&kept.id), "voided");
    assert_eq!(Client::new(51).welcome(&node).get(&kept.id).unwrap(), kept.bytes);
}

#[test]
fn a_ticket_allows_what_it_says_in_its_domain_and_no_more() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let owner = Client::new(50);
    let (kept, new) = (block(1, 0, 100), block(2, 0, 100));
    put(&owner.welcome(&node), 5, &kept);
    let reader = Client::new(51);
    let reads = reader.at(&node, &[reader.ticket(TicketRights::Read)]);
    assert_eq!(reads.get(&kept.id).unwrap(), kept.bytes);
    denied(reads.put(&grant(6), vec![new.clone()]).and_then(PendingReceipt::wait), "no ticket");
    let pusher = Client::new(52);
    let writes = pusher.at(&node, &[pusher.ticket(TicketRights::Write)]);
    put(&writes, 6, &new);
    denied(writes.get(&new.id), "no ticket");
    assert_eq!(writes.locality(&[new.id]).unwrap(), [None]);
    // A domain of somebody else: its blocks are not told of, not given, and not touched.
    let stranger = Client::new(53);
    let elsewhere = DomainId([4; 16]);
    let theirs = Ticket::sign(&index_key(), stranger.key, elsewhere, TicketRights::ReadWrite, Epoch(10), i64::MAX);
    let there = stranger.at(&node, &[theirs]);
    denied(there.get(&kept.id), "no ticket");
    denied(there.get_many(&[kept.id], 1 << 20), "no ticket");
    let (wanted, receipt) = there.offer(&grant(50), &[kept.id]).unwrap();
    assert_eq!((wanted, receipt.wait().unwrap().blocks), (vec![true], vec![]));
    assert_eq!(there.locality(&[kept.id]).unwrap(), [None]);
    denied(there.put(&grant(50), vec![kept.clone()]).and_then(PendingReceipt::wait), "no ticket");
    // And nothing that is the index's.
    let all = owner.welcome(&node);
    denied(all.list(None, 10), "index");
    denied(all.scrub(None, 1 << 20).map(drop), "index");
    denied(all.compact(0.0), "index");
    denied(all.stats(), "index");
    denied(all.close(), "index");
    denied(all.delete(&[Delete { id: kept.id, epoch: Epoch(99) }]), "order");
    assert_eq!(all.get(&kept.id).unwrap(), kept.bytes);
}

#[test]
fn a_write_needs_a_grant_of_the_index_and_the_right_partition() {
    let world = World::new();
    let node = world.node("a");
    let owner = Client::new(50);
    let there = owner.welcome(&node);
    let ours = block(1, 0, 100);
    let foreign = (2..).map(|n| block(n, 0, 100)).find(|b| b.id.partition() != ours.id.partition()).unwrap();
    // Without a layout it is a member of nothing.
    let refused = |found: Result<PendingReceipt>, version| match found.and_then(PendingReceipt::wait) {
        Err(ServiceError::Conflict { latest, .. }) if latest == version => {}
        other => panic!("expected a refusal with layout {version}, found {other:?}"),
    };
    refused(there.put(&grant(5), vec![ours.clone()]), 0);
    let partition = ours.id.partition();
    world.lay_out(7, &[Info::of(&node)], |_, p| p == partition);
    // A newer layout is looked for before anybody is refused.
    std::thread::sleep(Duration::from_millis(300));
    put(&there, 5, &ours);
    refused(there.put(&grant(5), vec![foreign.clone()]), 7);
    refused(there.offer(&grant(5), &[foreign.id]).map(|(_, receipt)| receipt), 7);
    assert!(matches!(there.get(&foreign.id), Err(ServiceError::Conflict { latest: 7, .. })));
    let forged = Grant::sign(&SigningKey::from_seed(&[66; 32]), SessionId(1), Epoch(5), false);
    denied(there.put(&forged, vec![ours]).and_then(PendingReceipt::wait), "grant");
    // In the stead of members it is kept, under a grant all the same.
    let instead = |grant: &Grant| {
        let way = Way { nodes: vec![], hops: vec![vec![]], instead: true };
        there.put_on(grant, vec![foreign.clone()], way).unwrap().wait().unwrap()
    };
    assert_eq!(instead(&forged).receipts.len(), 0);
    assert_eq!(instead(&grant(5)).receipts.len(), 1);
    assert_eq!(there.get(&foreign.id).unwrap(), foreign.bytes);
    let stranger = Client::new(51);
    let way = Way { nodes: vec![], hops: vec![vec![]], instead: true };
    let refused = stranger.at(&node, &[]).put_on(&grant(5), vec![foreign.clone()], way);
    denied(refused.and_then(PendingChain::wait).map_err(|returned| returned.why), "no ticket");
}

#[test]
fn other_nodes_need_no_ticket_until_they_are_given_up() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let kept = block(1, 0, 100);
    put(&Client::new(50).welcome(&a), 5, &kept);
    let seed: [u8; 32] = std::fs::read(world.dir("b").join("key")).unwrap().try_into().unwrap();
    let as_b = Network::new(Identity::from_seed(&seed), impatient()).unwrap();
    let peer = RemoteNode::new(&as_b, &a.address().unwrap());
    assert_eq!(peer.get(&kept.id).unwrap(), kept.bytes);
    // What a client gave another node comes without a ticket, but not without a grant.
    put(&peer, 6, &block(2, 0, 9));
    let forged = Grant::sign(&SigningKey::from_seed(&[66; 32]), SessionId(1), Epoch(6), false);
    denied(peer.put(&forged, vec![block(3, 0, 9)]).and_then(PendingReceipt::wait), "grant");
    let removed = {
        let mut layout = world.index.said().layout.clone().unwrap();
        layout.version += 1;
        layout.nodes[1].want = cas_net::cluster::NodeWant::Removed;
        layout
    };
    world.index.said().layout = Some(removed);
    until(|| a.layout() == 2);
    denied(peer.get(&kept.id), "no ticket");
}

#[test]
fn a_copy_is_fetched_from_a_peer_kept_and_answered() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let at_a = Client::new(50).welcome(&a);
    let blocks: Vec<PutBlock> = (0..300).map(|n| block(n, 0, 2000)).chain([object("a keyring")]).collect();
    at_a.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    let here = &blocks[7];
    put(&Client::new(50).welcome(&b), 5, here);
    let from = vec![NodeId(a.public_key())];
    let order = CopyOrder { from, grant: healing(20), blocks: blocks.iter().map(wanted).collect() };
    world.order(&b, Order::Copy(order));
    let stored = || world.index.said().done.iter().map(|done| done.stored.len()).sum::<usize>();
    until(|| stored() == blocks.len());
    for done in &world.index.said().done {
        assert_eq!((done.node.0, done.disk, done.grant, done.failed.len()), (b.public_key(), b.disk(), Epoch(20), 0));
    }
    let counters = b.counters();
    assert_eq!((counters.copies.get(), counters.touched.get()), (300, 1));
    let at_b = Client::new(50).welcome(&b);
    for block in &blocks {
        assert_eq!(at_b.get(&block.id).unwrap(), block.bytes);
    }
    // They are there under the new grant: an older delete does nothing.
    let deletes = blocks.iter().map(|block| Delete { id: block.id, epoch: Epoch(20) }).collect();
    world.order(&b, Order::Delete(deletes));
    until(|| world.index.said().deleted.len() == blocks.len());
    assert!(world.index.said().deleted.iter().all(|(_, answer)| *answer == Deleted::Kept));
}

/// A node that gives rubbish, under any name.
struct Liar(AtomicUsize);

impl Node for Liar {
    fn id(&self) -> NodeId {
        NodeId(PublicKey::ZERO)
    }
    fn offer(&self, _: &Grant, _: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        Err(ServiceError::Denied("no".into()))
    }
    fn put(&self, _: &Grant, _: Vec<PutBlock>) -> Result<PendingReceipt> {
        Err(ServiceError::Denied("no".into()))
    }
    fn put_on(&self, _: &Grant, blocks: Vec<PutBlock>, _: Way) -> Result<PendingChain, Returned> {
        Err(Returned { why: ServiceError::Denied("there is no ticket for this".into()), blocks })
    }
    fn get(&self, _: &BlockId) -> Result<Vec<u8>> {
        Ok(vec![7; 100])
    }
    fn get_many(&self, ids: &[BlockId], _: u64) -> Result<Vec<Found>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let other = block(900, 1, 100);
        Ok(ids.iter().map(|id| Found::Here(PutBlock { id: *id, ..other.clone() })).collect())
    }
    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        Ok(vec![None; ids.len()])
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        Ok(vec![])
    }
    fn list(&self, _: Option<BlockId>, _: usize) -> Result<Vec<StoredBlock>> {
        Ok(vec![])
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        Ok(Scrubbed::default())
    }
    fn compact(&self, _: f64) -> Result<u64> {
        Ok(0)
    }
    fn stats(&self) -> Result<NodeStats> {
        Ok(NodeStats::default())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn wrong_bytes_of_a_peer_are_refused_and_reported_and_another_is_asked() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    let liar = Stranger::new(90, Liar(AtomicUsize::new(0)));
    world.all(&[&a, &b], std::slice::from_ref(&liar.info));
    let kept = block(1, 0, 100);
    put(&Client::new(50).welcome(&a), 5, &kept);
    let order = |from: &[NodeId], block: &PutBlock| {
        Order::Copy(CopyOrder { from: from.to_vec(), grant: healing(20), blocks: vec![wanted(block)] })
    };
    world.order(&b, order(&[liar.info.node, NodeId(a.public_key())], &kept));
    until(|| world.index.said().done.len() == 1);
    assert_eq!(world.index.said().done[0].stored, [wanted(&kept)]);
    assert!(world.index.said().reports.contains(&Damage { node: liar.info.node, id: kept.id }));
    assert_eq!(Client::new(50).welcome(&b).get(&kept.id).unwrap(), kept.bytes);
    // Nobody has it: that is said, and nothing is kept.
    let nowhere = block(2, 0, 100);
    world.order(&b, order(&[NodeId(a.public_key()), liar.info.node], &nowhere));
    until(|| world.index.said().done.len() == 2);
    let done = world.index.said().done[1].clone();
    let failed = CopyFailed { id: nowhere.id, from: liar.info.node, fault: CopyFault::WrongBytes };
    assert_eq!((done.stored, done.failed), (vec![], vec![failed]));
    assert!(matches!(Client::new(50).welcome(&b).get(&nowhere.id), Err(ServiceError::NotFound { .. })));
}

#[test]
fn a_peer_that_is_away_is_passed_over() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    let gone = Info { node: NodeId(PublicKey([77; 32])), addresses: vec!["127.0.0.1:9".into()] };
    world.all(&[&a, &b], std::slice::from_ref(&gone));
    let kept = block(1, 0, 100);
    put(&Client::new(50).welcome(&a), 5, &kept);
    let from = vec![gone.node, NodeId(a.public_key())];
    world.order(&b, Order::Copy(CopyOrder { from, grant: healing(20), blocks: vec![wanted(&kept)] }));
    until(|| world.index.said().done.iter().any(|done| done.stored == [wanted(&kept)]));
    assert!(world.index.said().reports.is_empty(), "silence is no damage");
}

#[test]
fn a_delete_takes_what_is_older_and_nothing_else() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let (old, new) = (block(1, 0, 100), block(2, 0, 100));
    put(&there, 5, &old);
    put(&there, 9, &new);
    let deletes = [&old, &new].map(|block| Delete { id: block.id, epoch: Epoch(8) });
    world.order(&node, Order::Delete(deletes.to_vec()));
    until(|| world.index.said().deleted.len() == 2);
    assert_eq!(world.index.said().deleted, [(deletes[0], Deleted::Gone), (deletes[1], Deleted::Kept)]);
    assert!(matches!(there.get(&old.id), Err(ServiceError::NotFound { .. })));
    assert_eq!(there.get(&new.id).unwrap(), new.bytes);
}

#[test]
fn a_partition_is_floored_and_listed_to_its_end() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let blocks: Vec<PutBlock> = (0..50).map(|n| block(n, 0, 50)).collect();
    there.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    let partition = blocks[3].id.partition();
    let all: Vec<u16> = (0..4096).collect();
    world.order(&node, Order::Floor { partitions: all.clone(), epoch: Epoch(30) });
    until(|| world.index.said().floors.len() == 1);
    assert_eq!(world.index.said().floors[0].partitions, all);
    world.order(&node, Order::Delete(vec![Delete { id: blocks[3].id, epoch: Epoch(30) }]));
    until(|| world.index.said().deleted.len() == 1);
    assert_eq!(world.index.said().deleted[0].1, Deleted::Kept);
    world.order(&node, Order::Inventory { partition, floor: Epoch(30), after: None });
    until(|| !world.index.said().chunks.is_empty());
    let chunk = world.index.said().chunks[0].clone();
    assert_eq!((chunk.partition, chunk.floor, chunk.after, chunk.upto), (partition, Epoch(30), None, None));
    let mut expected: Vec<_> = blocks.iter().filter(|b| b.id.partition() == partition).map(|b| (b.id, b.sum)).collect();
    expected.sort();
    assert_eq!(chunk.blocks, expected);
}

#[test]
fn a_block_that_is_lost_or_rotten_is_said_with_the_next_beat_and_healed_by_a_copy() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let (rotten, absent, good) = (block(1, 0, 5000), block(2, 0, 100), block(3, 0, 100));
    for node in [&a, &b] {
        let there = Client::new(50).welcome(node);
        there.put(&grant(5), vec![rotten.clone(), good.clone()]).unwrap().wait().unwrap();
    }
    let path = world::segments(&world.dir("b")).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|part| part == &rotten.bytes[1000..1064]).unwrap();
    bytes[at] ^= 1;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..=at], at as u64).unwrap();
    world.order(&b, Order::Verify(vec![rotten.id, absent.id, good.id]));
    let told =
        || world.beats(&b).iter().flat_map(|beat| beat.damage.clone()).map(|damage| damage.id).collect::<Vec<_>>();
    until(|| !told().is_empty());
    let mut lost = [rotten.id, absent.id];
    lost.sort();
    assert_eq!(told()[..2], lost);
    world.beat(&b);
    world.beat(&b);
    assert_eq!(told().len(), 2, "what was answered is not said again");
    assert!(matches!(Client::new(50).welcome(&b).get(&rotten.id), Err(ServiceError::Damaged { .. })));
    let order = CopyOrder { from: vec![NodeId(a.public_key())], grant: healing(20), blocks: vec![wanted(&rotten)] };
    world.order(&b, Order::Copy(order));
    until(|| world.index.said().done.len() == 1);
    assert_eq!(Client::new(50).welcome(&b).get(&rotten.id).unwrap(), rotten.bytes);
}

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

#[test]
fn a_full_node_refuses_blocks_and_takes_objects() {
    let world = World::new();
    member::join(&member::JoinOptions { capacity: 1 << 20, ..world.joining("a") }).unwrap();
    let node = world.serve("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let full = (0..20)
        .map(|n| block(n, 0, 100_000))
        .find_map(|block| there.put(&grant(5), vec![block]).and_then(PendingReceipt::wait).err());
    assert!(matches!(full, Some(ServiceError::Full { .. })), "{full:?}");
    put(&there, 5, &object("forgetting must work"));
    assert!(node.space().unwrap().free < 200_000);
}

#[test]
fn strays_are_deleted_when_the_index_says_so() {
    let world = World::new();
    world.join("a");
    let mut options = world.options("a");
    options.settings.stray_period = Duration::from_millis(100);
    let node = member::serve(options).unwrap();
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let (stray, kept) = (block(1, 0, 100), block(2, 0, 100));
    put(&there, 5, &kept);
    put(&there, 5, &stray);
    world.index.said().strays = vec![stray.id];
    until(|| matches!(there.get(&stray.id), Err(ServiceError::NotFound { .. })));
    assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
}

#[test]
fn what_a_node_gave_away_goes_long_before_it_asks_about_everything() {
    let world = World::new();
    world.join("a");
    let mut options = world.options("a");
    options.settings.left_pause = Duration::from_millis(50);
    let node = member::serve(options).unwrap();
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let (given, awaited) = (block(1, 0, 100), block(2, 0, 100));
    put(&there, 5, &given);
    put(&there, 5, &awaited);
    assert_ne!(given.id.partition(), awaited.id.partition());
    let infos = [Info::of(&node)];
    world.index.said().strays = vec![given.id];
    world.lay_out(2, &infos, |_, at| ![given.id.partition(), awaited.id.partition()].contains(&at));
    until(|| matches!(there.get(&given.id), Err(ServiceError::Conflict { .. })));
    assert_eq!(there.get(&awaited.id).unwrap(), awaited.bytes, "the index has not said so yet");
    world.index.said().strays = vec![awaited.id];
    until(|| matches!(there.get(&awaited.id), Err(ServiceError::Conflict { .. })));
}

#[test]
fn the_scrub_finds_rot_by_itself_and_goes_on_after_a_restart() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let rotten = block(1, 0, 5000);
    put(&Client::new(50).welcome(&node), 5, &rotten);
    node.shutdown(GRACE).unwrap();
    let path = world::segments(&world.dir("a")).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|part| part == &rotten.bytes[1000..1064]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut options = world.options("a");
    options.settings.scrub_period = Duration::from_millis(50);
    let node = member::serve(options).unwrap();
    until(|| world.beats(&node).iter().any(|beat| beat.damage.iter().any(|damage| damage.id == rotten.id)));
    node.shutdown(GRACE).unwrap();
    assert!(world.dir("a").join("scrub").exists());
}

#[test]
fn the_index_reads_lists_scrubs_and_writes() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let kept = block(1, 0, 100);
    put(&Client::new(50).welcome(&node), 5, &kept);
    let network = Network::new(Identity::from_seed(&INDEX_SEED), impatient()).unwrap();
    let there = RemoteNode::new(&network, &node.address().unwrap());
    assert_eq!(there.list(None, 10).unwrap().len(), 1);
    assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
    assert_eq!(there.scrub(None, 1 << 30).unwrap().blocks, 1);
    assert_eq!(there.stats().unwrap().blocks, 1);
    // It writes removals by rules of retention, under grants of its own.
    put(&there, 5, &block(2, 0, 9));
}

#[test]
fn many_blocks_come_in_one_answer_as_far_as_it_goes() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let there = Client::new(50).welcome(&node);
    let blocks: Vec<PutBlock> = (0..20).map(|n| block(n, 0, 1000)).collect();
    there.put(&grant(5), blocks.clone()).unwrap().wait().unwrap();
    let ids: Vec<BlockId> = blocks.iter().map(|b| b.id).chain([BlockId([1; 32])]).collect();
    let found = there.get_many(&ids, 1 << 20).unwrap();
    for (block, found) in blocks.iter().zip(&found) {
        assert!(matches!(found, Found::Here(here) if here.bytes == block.bytes && here.sum == block.sum));
    }
    assert!(matches!(found.last(), Some(Found::Absent)));
    let some = there.get_many(&ids, 3000).unwrap();
    assert!(matches!(some[0], Found::Here(_)) && matches!(some[10], Found::Later));
    assert!(matches!(there.get_many(&ids, 0).unwrap()[0], Found::Later | Found::Here(_)));
}

#[test]
fn a_stranger_has_nothing_read_that_he_sends() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let stranger = Arc::new(Client::new(60));
    let there = stranger.at(&node, &[]);
    let big: Vec<PutBlock> = (0..100).map(|n| block(n, 0, 1 << 20)).collect();
    denied(there.put(&grant(5), big).and_then(PendingReceipt::wait), "no ticket");
    until(|| node.load().bytes == 0);
}

/// Blocks on their way from `first` over the others.
fn send_on(first: &RemoteNode, epoch: u64, blocks: &[PutBlock], others: &[NodeId]) -> Result<Chained, Returned> {
    let hops = vec![(0..others.len() as u8).collect(); blocks.len()];
    let way = Way { nodes: others.to_vec(), hops, instead: false };
    first.put_on(&grant(epoch), blocks.to_vec(), way)?.wait()
}

fn names(receipts: &[Receipt]) -> BTreeSet<NodeId> {
    assert!(receipts.iter().all(Receipt::is_genuine));
    receipts.iter().map(|receipt| receipt.node).collect()
}

#[test]
fn a_chain_is_answered_by_every_node_on_it() {
    let world = World::new();
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));
    world.all(&[&a, &b, &c], &[]);
    let client = Client::new(50);
    let id = |node: &Member| NodeId(node.public_key());
    let blocks: Vec<PutBlock> = (0..9).map(|n| block(n, 0, 50_000)).collect();
    let chained = send_on(&client.welcome(&a), 5, &blocks, &[id(&b), id(&c)]).unwrap();
    assert_eq!(names(&chained.receipts), BTreeSet::from([id(&a), id(&b), id(&c)]));
    assert!(chained.failed.is_empty());
    for node in [&a, &b, &c] {
        let there = Client::new(51).welcome(node);
        assert!(blocks.iter().all(|block| there.get(&block.id).unwrap() == block.bytes));
    }
    assert_eq!((a.counters().sent_on.get(), b.counters().sent_on.get(), c.counters().sent_on.get()), (9, 9, 0));
}

#[test]
fn a_chain_passes_over_who_is_away_and_who_is_no_member() {
    let world = World::new();
    let (a, b, c, d) = (world.node("a"), world.node("b"), world.node("c"), world.node("d"));
    let id = |node: &Member| NodeId(node.public_key());
    let infos = [&a, &b, &c, &d].map(Info::of);
    world.lay_out(1, &infos, |node, _| node != 2);
    until(|| [&a, &b, &c, &d].iter().all(|node| node.layout() == 1));
    let (gone, foreign) = (id(&b), id(&c));
    b.shutdown(GRACE).unwrap();
    let blocks: Vec<PutBlock> = (0..9).map(|n| block(n, 0, 50_000)).collect();
    let client = Client::new(50);
    let chained = send_on(&client.welcome(&a), 5, &blocks, &[gone, foreign, id(&d)]).unwrap();
    assert_eq!(names(&chained.receipts), BTreeSet::from([id(&a), id(&d)]));
    let failed: Vec<_> =
        chained.failed.iter().map(|(node, why)| (*node, matches!(why, ServiceError::Conflict { .. }))).collect();
    assert_eq!(failed, [(gone, false), (foreign, true)]);
    let there = client.welcome(&d);
    assert!(blocks.iter().all(|block| there.get(&block.id).unwrap() == block.bytes));
}

#[test]
fn a_next_node_that_does_not_know_this_one_is_passed_over_and_refuses_nobody() {
    let world = World::new();
    let (a, b) = (world.node("a"), Stranger::new(91, Liar(AtomicUsize::new(0))));
    world.all(&[&a], std::slice::from_ref(&b.info));
    let chained = send_on(&Client::new(50).welcome(&a), 5, &[block(1, 0, 100)], &[b.info.node]).unwrap();
    assert_eq!(names(&chained.receipts), BTreeSet::from([NodeId(a.public_key())]));
    assert!(matches!(&chained.failed[..], [(node, ServiceError::Unreachable { .. })] if *node == b.info.node));
}

#[test]
fn a_chain_is_refused_like_a_put() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let (to, blocks) = ([NodeId(b.public_key())], [block(1, 0, 100)]);
    let why = |returned: Result<Chained, Returned>| returned.map(drop).map_err(|returned| returned.why);
    let stranger = Client::new(50);
    denied(why(send_on(&stranger.at(&a, &[]), 5, &blocks, &to)), "no ticket");
    let reader = Client::new(51);
    denied(why(send_on(&reader.at(&a, &[reader.ticket(TicketRights::Read)]), 5, &blocks, &to)), "no ticket");
    let client = Client::new(52);
    let forged = Grant::sign(&SigningKey::from_seed(&[66; 32]), SessionId(1), Epoch(5), false);
    let way = Way { nodes: to.to_vec(), hops: vec![vec![0]], instead: false };
    let chained = client.welcome(&a).put_on(&forged, blocks.to_vec(), way).unwrap().wait().unwrap();
    assert_eq!((chained.receipts.len(), chained.failed.len()), (0, 2));
    // In a circle, to nobody, and twice to the same.
    for hops in [vec![0, 0], vec![1]] {
        let way = Way { nodes: to.to_vec(), hops: vec![hops], instead: false };
        let returned = client.welcome(&a).put_on(&grant(5), blocks.to_vec(), way).unwrap().wait().unwrap_err();
        assert!(matches!(returned.why, ServiceError::Protocol(_)) && returned.blocks.len() == 1);
    }
    assert_eq!(a.counters().puts.get() + b.counters().puts.get(), 0);
}

#[test]
fn nodes_that_send_one_another_chains_without_end_answer_all_of_them() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let client = Client::new(50);
    let push = |from: &Member, to: &Member, seed: u32| {
        let (first, to) = (client.welcome(from), [NodeId(to.public_key())]);
        let chains: Vec<_> = (0..120)
            .map(|n| {
                let way = Way { nodes: to.to_vec(), hops: vec![vec![0]], instead: false };
                first.put_on(&grant(5), vec![block(seed + n, 0, 20_000)], way).unwrap()
            })
            .collect();
        chains.into_iter().map(|chain| chain.wait().unwrap().receipts.len()).sum::<usize>()
    };
    let counts = std::thread::scope(|scope| {
        let there = scope.spawn(|| push(&a, &b, 0));
        let back = scope.spawn(|| push(&b, &a, 1000));
        (there.join().unwrap(), back.join().unwrap())
    });
    assert_eq!(counts, (240, 240));
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
    let node = member::serve(MemberOptions { tune, ..world.options("a") }).unwrap();
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
    let serve = || member::serve(MemberOptions { tune, ..world.options("a") }).unwrap();
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
    std::fs::remove_file(&world::segments(&world.dir("a"))[1]).unwrap();
    assert_ne!(serve().disk(), disk);
}

#[test]
fn who_shows_no_ticket_is_sent_away_and_who_shows_one_stays() {
    let world = World::new();
    world.join("a");
    let mut options = world.options("a");
    options.server.hello = Duration::from_secs(2);
    let node = member::serve(options).unwrap();
    world.all(&[&node], &[]);
    let (guest, strangers) = (Client::new(50), [60, 61, 62].map(Client::new));
    let kept = block(1, 0, 100);
    let there = guest.welcome(&node);
    put(&there, 5, &kept);
    let nodes: Vec<_> = strangers.iter().map(|stranger| stranger.at(&node, &[])).collect();
    nodes.iter().for_each(|there| denied(there.get(&kept.id), "no ticket"));
    let text = |node: &Member| node.metrics().unwrap();
    assert!(text(&node).contains("\ncas_node_connections 4\n"), "{}", text(&node));
    until(|| text(&node).contains("\ncas_node_connections 1\n"));
    assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
    // Its ticket is voided: it goes, too.
    world.index.said().revoked = Revocations { version: Epoch(11), all_before: Epoch(11), devices: Vec::new() };
    until(|| text(&node).contains("\ncas_node_connections 0\n"));
}

#[test]
fn a_slow_disk_makes_writers_wait_or_come_again_and_readers_are_served() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let kept = block(9999, 0, 100);
    put(&Client::new(50).welcome(&node), 5, &kept);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..8u32 {
            let (node, is_over) = (&node, &is_over);
            scope.spawn(move || {
                let there = Client::new(100 + seed as u8).welcome(node);
                for n in 0..20 {
                    let sent = there.put(&grant(5), vec![block(seed * 100 + n, 0, 1 << 20)]);
                    match sent.and_then(PendingReceipt::wait) {
                        Ok(receipt) => assert_eq!(receipt.blocks.len(), 1),
                        Err(ServiceError::Busy(_)) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
                is_over.store(true, Ordering::SeqCst);
            });
        }
        let there = Client::new(99).welcome(&node);
        while !is_over.load(Ordering::SeqCst) {
            assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
        }
    });
    until(|| node.load().requests == 0);
}

#[test]
fn an_index_that_was_restored_with_an_older_layout_is_followed() {
    let world = World::new();
    let node = world.node("a");
    let theirs = Info { node: NodeId(PublicKey([7; 32])), addresses: Vec::new() };
    world.lay_out(9, std::slice::from_ref(&theirs), |_, _| true);
    until(|| node.layout() == 9);
    world.lay_out(5, &[Info::of(&node)], |_, _| true);
    until(|| node.layout() == 5);
    put(&Client::new(50).welcome(&node), 5, &block(1, 0, 100));
    // One that contradicts itself is not.
    world.lay_out(12, &[Info::of(&node)], |_, _| true);
    world.index.said().layout.as_mut().unwrap().partitions.pop();
    world.beat(&node);
    world.beat(&node);
    assert_eq!(node.layout(), 5);
    put(&Client::new(51).welcome(&node), 5, &block(2, 0, 100));
}

/// Shows the ticket that is there when it connects.
struct Renewed(Mutex<Ticket>);

impl Introduce for Renewed {
    fn calls(&self) -> Vec<RawCall> {
        vec![RawCall::of(&ShowTicket { ticket: *self.0.lock().unwrap() })]
    }
}

#[test]
fn a_client_whose_ticket_has_expired_comes_again_with_a_new_one() {
    let world = World::new();
    world.join("a");
    let mut options = world.options("a");
    options.server.hello = Duration::from_secs(1);
    let node = member::serve(options).unwrap();
    world.all(&[&node], &[]);
    let (writer, reader) = (Client::new(50), Client::new(51));
    let kept = block(1, 0, 100);
    put(&writer.welcome(&node), 5, &kept);
    let until_ns = |end_ns| Ticket::sign(&index_key(), reader.key, DOMAIN, TicketRights::Read, Epoch(10), end_ns);
    world.index.said().time_ns = NOW_NS + 60 * 1_000_000_000;
    world.beat(&node);
    world.beat(&node);
    let renewed = Arc::new(Renewed(Mutex::new(until_ns(NOW_NS + 64 * 1_000_000_000))));
    let there = RemoteNode::new(&reader.network, &node.address().unwrap());
    there.connection().introduce(renewed.clone());
    assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
    *renewed.0.lock().unwrap() = until_ns(NOW_NS + HOUR_NS);
    world.index.said().time_ns = NOW_NS + 120 * 1_000_000_000;
    until(|| node.metrics().unwrap().contains("\ncas_node_connections 0\n"));
    assert_eq!(there.get(&kept.id).unwrap(), kept.bytes);
}
