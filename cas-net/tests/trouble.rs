//! What goes wrong between two ends: other keys, lost connections, silence, crowds, shutdowns.

mod fakes;

use cas_net::address::Address;
use cas_net::server::{Server, ServerSettings};
use cas_net::*;
use fakes::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn patient() -> Settings {
    Settings { reconnect: Duration::from_secs(15), busy: Duration::from_secs(10), ..Settings::default() }
}

#[test]
fn a_server_with_another_key_is_never_spoken_to() {
    let desk = Desk::new(ServerSettings::default());
    let expected = Identity::from_seed(&[77; 32]).public();
    let mut wrong = desk.address.clone();
    wrong.key = expected;
    let error = RemoteNode::new(&desk.client, &wrong).stats().unwrap_err();
    let ServiceError::WrongKey { address, expected: said, found } = &error else { panic!("{error}") };
    assert_eq!((address, said, found), (&desk.address.place(), &expected, &desk.address.key));
    assert!(error.to_string().contains("another server"), "{error}");
    assert_eq!(desk.node.most_working.load(Ordering::SeqCst), 0);
}

#[test]
fn a_key_that_is_not_admitted_is_told_so() {
    let node = Arc::new(FakeNode::default());
    let at = network(NODE_SEED, Settings::default());
    let friend = Identity::from_seed(&[50; 32]).public();
    let services = node_services(&node).admit(move |key| *key == friend);
    let (_server, address) = serve(&at, services, ServerSettings::default());
    let stranger = client();
    let refused = RemoteNode::new(&stranger, &address).stats().unwrap_err();
    assert!(matches!(&refused, ServiceError::Denied(text) if text.contains("not admitted")), "{refused}");
    let friend = network([50; 32], hasty());
    RemoteNode::new(&friend, &address).stats().unwrap();
}

#[test]
fn a_handler_knows_the_key_of_its_caller() {
    let node = Arc::new(FakeNode::default());
    let at = network(NODE_SEED, Settings::default());
    let friend = Identity::from_seed(&[50; 32]).public();
    let handler = server::NodeHandler::new(move |peer: &server::Peer| {
        if peer.key() == friend {
            Ok(node.clone() as Arc<dyn Node>)
        } else {
            Err(ServiceError::Denied(peer.key().to_string()))
        }
    });
    let services = server::Services::new().with(calls::Family::Node, handler);
    let (_server, address) = serve(&at, services, ServerSettings::default());
    let (stranger, friend) = (client(), network([50; 32], hasty()));
    let refused = RemoteNode::new(&stranger, &address).stats().unwrap_err();
    assert!(matches!(refused, ServiceError::Denied(key) if key == stranger.public_key().to_string()));
    RemoteNode::new(&friend, &address).stats().unwrap();
}

#[test]
fn nobody_at_the_address_is_an_error_within_the_patience() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { patience: Duration::from_secs(2), ..hasty() };
    let client = network(CLIENT_SEED, settings);
    let address = Address::new(Identity::from_seed(&NODE_SEED).public(), free);
    let start = Instant::now();
    let error = RemoteNode::new(&client, &address).stats().unwrap_err();
    assert!(matches!(error, ServiceError::Unreachable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn whoever_waits_for_a_peer_that_does_not_answer_hears_of_it() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let hear = heard.clone();
    let waiting = Some(Waiting(Arc::new(move |peer| hear.lock().unwrap().push(peer.to_owned()))));
    let (patience, reconnect) = (Duration::from_secs(5), Duration::from_secs(4));
    let client = network(CLIENT_SEED, Settings { patience, reconnect, waiting, ..hasty() });
    let address = Address::new(Identity::from_seed(&NODE_SEED).public(), free);
    assert!(RemoteNode::new(&client, &address).stats().is_err());
    assert_eq!(heard.lock().unwrap()[..], [free.to_string()]);
}

#[test]
fn a_peer_that_answers_too_late_is_given_up_and_others_are_not_held_up() {
    let desk = Desk::new(ServerSettings::default());
    desk.remote.stats().unwrap();
    desk.node.delay_ms.store(3000, Ordering::SeqCst);
    let hasty = network([9; 32], Settings { patience: Duration::from_millis(500), ..hasty() });
    let start = Instant::now();
    let error = RemoteNode::new(&hasty, &desk.address).stats().unwrap_err();
    assert!(matches!(error, ServiceError::Unreachable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    desk.node.delay_ms.store(0, Ordering::SeqCst);
    assert!(desk.remote.compact(0.5).is_ok());
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let node = Arc::new(FakeNode::default());
    let at = network(NODE_SEED, Settings::default());
    let (server, address) = serve(&at, node_services(&node), ServerSettings::default());
    let client = network(CLIENT_SEED, patient());
    let remote = RemoteNode::new(&client, &address);
    remote.put(&grant(), vec![block(1, 1000)]).unwrap().wait().unwrap();
    assert!(server.shutdown(Duration::from_secs(5)));
    drop(at);
    let again = std::thread::spawn({
        let (node, listen) = (node, format!("127.0.0.1:{}", address.port()).parse().unwrap());
        move || {
            std::thread::sleep(Duration::from_millis(700));
            let at = network(NODE_SEED, Settings::default());
            let server = Server::start(&at, listen, node_services(&node), ServerSettings::default()).unwrap();
            (at, server)
        }
    });
    assert!(remote.get(&id_of(1)).unwrap() == block(1, 1000).bytes);
    remote.put(&grant(), vec![block(2, 1000)]).unwrap().wait().unwrap();
    drop(again.join().unwrap());
}

/// The process is gone without a word: its successor tells the peers at their next packet.
#[test]
fn a_server_that_was_killed_is_found_again_long_before_its_connections_time_out() {
    let node = Arc::new(FakeNode::default());
    let at = network(NODE_SEED, Settings::default());
    let (server, address) = serve(&at, node_services(&node), ServerSettings::default());
    let client = network(CLIENT_SEED, patient());
    // All packets pass a relay that can be switched from the first server to the second one.
    let relay = Relay::start(server.socket().unwrap());
    let through = Address::new(address.key, relay.front);
    let remote = RemoteNode::new(&client, &through);
    remote.put(&grant(), vec![block(1, 1000)]).unwrap().wait().unwrap();
    let at_again = network(NODE_SEED, Settings::default());
    let (again, _) = serve(&at_again, node_services(&node), ServerSettings::default());
    relay.switch(again.socket().unwrap());
    let start = Instant::now();
    assert!(remote.get(&id_of(1)).unwrap() == block(1, 1000).bytes);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    drop((server, at));
}

#[test]
fn sixty_four_callers_at_once_all_get_their_own_answers() {
    let desk = Desk::new(ServerSettings::default());
    std::thread::scope(|scope| {
        for caller in 0..64u32 {
            let remote = &desk.remote;
            scope.spawn(move || {
                for n in 0..10 {
                    let put = block(caller * 100 + n, 1 + (caller as usize * 7919) % 70_000);
                    let pending = remote.put(&grant(), vec![put.clone()]).unwrap();
                    assert_eq!(pending.wait().unwrap().blocks[0].id, put.id);
                    assert!(remote.get(&put.id).unwrap() == put.bytes);
                }
            });
        }
    });
    assert_eq!(desk.remote.stats().unwrap().blocks, 640);
    assert_eq!(desk.server.load().connections, 1, "one connection for all");
    wait_until("all is released", || desk.server.load() == server::Load { connections: 1, requests: 0, bytes: 0 });
}

#[test]
fn handlers_at_work_are_bounded_and_who_waits_too_long_is_told_busy() {
    let settings = ServerSettings { workers: 4, busy_after: Duration::from_millis(100), ..ServerSettings::default() };
    let desk = Desk::new(settings);
    desk.node.delay_ms.store(700, Ordering::SeqCst);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16).map(|_| scope.spawn(|| desk.remote.stats())).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let busy = answers.iter().filter(|a| matches!(a, Err(ServiceError::Busy(_)))).count();
    let done = answers.iter().filter(|a| a.is_ok()).count();
    assert_eq!((done, busy), (4, 12));
    assert_eq!(desk.node.most_working.load(Ordering::SeqCst), 4);
    // Whoever has the patience gets through.
    desk.node.delay_ms.store(50, Ordering::SeqCst);
    let patient = network([9; 32], patient());
    let remote = RemoteNode::new(&patient, &desk.address);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16).map(|_| scope.spawn(|| remote.stats().unwrap())).collect();
        callers.into_iter().for_each(|caller| assert!(caller.join().is_ok()));
    });
}

#[test]
fn a_put_blocks_while_too_much_is_under_way() {
    let settings = Settings { in_flight: 0, ..patient() }; // At least one request of the largest size: 128 MiB.
    let node = Arc::new(FakeNode::default());
    node.receipt_ms.store(1000, Ordering::SeqCst);
    let at = network(NODE_SEED, Settings::default());
    let (_server, address) = serve(&at, node_services(&node), ServerSettings::default());
    let client = network(CLIENT_SEED, settings);
    let remote = RemoteNode::new(&client, &address);
    let start = Instant::now();
    let first = remote.put(&grant(), vec![block(1, 60 << 20), block(2, 60 << 20)]).unwrap();
    assert!(first.poll().is_none());
    let second = remote.put(&grant(), vec![block(3, 30 << 20)]).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "it waited for the receipt of the first");
    assert_eq!(first.wait().unwrap().blocks.len() + second.wait().unwrap().blocks.len(), 3);
}

#[test]
fn a_shutdown_under_load_answers_what_was_begun_and_loses_no_word() {
    let desk = Desk::new(ServerSettings::default());
    desk.node.delay_ms.store(5, Ordering::SeqCst);
    desk.node.receipt_ms.store(50, Ordering::SeqCst);
    let Desk { node, server, remote, .. } = desk;
    let (acknowledged, refused) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16u32)
            .map(|caller| {
                let remote = &remote;
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for n in 0.. {
                        let put = block(caller * 10_000 + n, 20_000);
                        match remote.put(&grant(), vec![put]).and_then(PendingReceipt::wait) {
                            Ok(receipt) => acknowledged.push(receipt.blocks[0].id),
                            Err(ServiceError::Unreachable { .. }) => return acknowledged,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        assert!(server.shutdown(Duration::from_secs(10)), "everything begun was answered");
        let all: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        (all.concat(), all.len())
    });
    let kept = node.blocks.lock().unwrap();
    assert!(acknowledged.len() > 16 && acknowledged.iter().all(|id| kept.contains_key(id)));
    assert_eq!(kept.len(), acknowledged.len(), "what was done was acknowledged");
    assert_eq!(refused, 16);
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Passes datagrams of one client on to a server that can be exchanged.
struct Relay {
    front: std::net::SocketAddr,
    back: Arc<Mutex<std::net::SocketAddr>>,
}

impl Relay {
    fn start(back: std::net::SocketAddr) -> Self {
        let (front, out) = (socket(), socket());
        let relay = Self { front: front.local_addr().unwrap(), back: Arc::new(Mutex::new(back)) };
        let client = Arc::new(Mutex::new(relay.front));
        let (to, seen) = (relay.back.clone(), client.clone());
        let (front_in, out_in) = (front.try_clone().unwrap(), out.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok((len, from)) = front_in.recv_from(&mut buffer) {
                *seen.lock().unwrap() = from;
                let _ = out_in.send_to(&buffer[..len], *to.lock().unwrap());
            }
        });
        let back = relay.back.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok((len, from)) = out.recv_from(&mut buffer) {
                if from == *back.lock().unwrap() {
                    let _ = front.send_to(&buffer[..len], *client.lock().unwrap());
                }
            }
        });
        relay
    }

    fn switch(&self, back: std::net::SocketAddr) {
        *self.back.lock().unwrap() = back;
    }
}

fn socket() -> std::net::UdpSocket {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap()
}
