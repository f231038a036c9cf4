//! Who gets in: clients with a ticket for their own key, as far and as long as it goes; other nodes and the index without one.

use crate::store::block;
use crate::world::{
    Client, DOMAIN, GRACE, HOUR_NS, INDEX_SEED, NOW_NS, World, denied, grant, impatient, index_key, put, until,
};
use cas_core::id::{DomainId, Epoch};
use cas_core::signing::SigningKey;
use cas_net::calls::node::Put;
use cas_net::calls::{Call, Family};
use cas_net::envelope::{AnswerEnvelope, RequestEnvelope};
use cas_net::hello::{self, Hello};
use cas_net::rights::Revocations;
use cas_net::rights::calls::ShowTicket;
use cas_net::rights::ticket::{Ticket, TicketRights};
use cas_net::wire::{decode, encode};
use cas_net::{
    Delete, Grant, Identity, Introduce, Network, Node, PendingReceipt, PutBlock, RawCall, RemoteNode, SessionId, raw,
};
use cas_node::member::{self, Member};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
fn a_stranger_has_nothing_read_that_he_sends() {
    let world = World::new();
    let node = world.node("a");
    world.all(&[&node], &[]);
    let stranger = Client::new(60);
    // He says how much will come, and sends nothing of it: whoever wanted to read it would wait for it.
    let answer = stranger.network.runtime().block_on(async {
        let at = node.address().unwrap().place().parse().unwrap();
        let connection = raw::connect(&Identity::from_seed(&[60; 32]), &identity(&world, "a"), at).await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&hello::encode(&Hello::ours())).await.unwrap();
        recv.read_to_end(1000).await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let (message_len, patience_ms) = (1000, 0);
        let (family, method) = (Family::Node as u8, Put::METHOD);
        let put = RequestEnvelope { message_len, bodies: 1, family, flags: 0, method, patience_ms };
        send.write_all(&encode(&put)).await.unwrap();
        send.write_all(&u32::to_le_bytes(1 << 20)).await.unwrap();
        let answer = recv.read_to_end(1000).await.unwrap();
        assert!(send.stopped().await.unwrap().is_some(), "he is told that the rest is not wanted");
        answer
    });
    let error = decode(&answer[AnswerEnvelope::LEN..], 0).unwrap();
    denied(Err::<(), _>(error), "no ticket");
    // As one who keeps to the protocol hears it.
    let there = stranger.at(&node, &[]);
    let big: Vec<PutBlock> = (0..100).map(|n| block(n, 0, 1 << 20)).collect();
    denied(there.put(&grant(5), big).and_then(PendingReceipt::wait), "no ticket");
    until(|| node.load().bytes == 0);
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

/// The node in the folder of this name.
fn identity(world: &World, name: &str) -> Identity {
    let seed: [u8; 32] = std::fs::read(world.dir(name).join("key")).unwrap().try_into().unwrap();
    Identity::from_seed(&seed)
}

#[test]
fn other_nodes_need_no_ticket_until_they_are_given_up() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    world.all(&[&a, &b], &[]);
    let kept = block(1, 0, 100);
    put(&Client::new(50).welcome(&a), 5, &kept);
    let as_b = Network::new(identity(&world, "b"), impatient()).unwrap();
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
