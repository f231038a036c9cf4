//! What is called here is done there: every method of both traits over the loopback.

mod fakes;

use cas_core::id::{BlockId, DomainId, Epoch, PublicKey, SnapshotId, VaultId};
use cas_core::signing::SigningKey;
use cas_net::calls::Family;
use cas_net::server::{NodeHandler, Peer, Reply, Request, Server, ServerSettings, Services};
use cas_net::*;
use fakes::*;
use std::sync::Arc;

fn receipt() -> Receipt {
    Receipt::sign(&SigningKey::from_seed(&NODE_SEED), Epoch(5), vec![])
}

#[test]
fn every_method_of_the_index_arrives_with_its_arguments_and_its_answer() {
    let index = Arc::new(FakeIndex::default());
    let at = network(INDEX_SEED, Settings::default());
    let (_server, address) = serve(&at, index_services(&index), ServerSettings::default());
    let client = client();
    let remote = RemoteIndex::new(&client, &address);
    let (vault, session, snapshot) = (VaultId([3; 16]), SessionId(11), SnapshotId([9; 32]));

    assert_eq!(remote.public_key(), index.public_key());
    let node = NodeId(PublicKey([5; 32]));
    assert!(matches!(remote.add_node(node), Err(ServiceError::Denied(key)) if key == node.0.to_string()));
    assert_eq!(remote.keyring(&vault).unwrap(), vault.0);
    let conflict = remote.put_keyring(b"ring", &[receipt()]).unwrap_err();
    assert!(matches!(conflict, ServiceError::Conflict { name, latest: 3 } if name == "ring"));
    assert_eq!(remote.vaults().unwrap().len(), 2);
    let start = StartSession { vault, domain: DomainId([1; 16]), device: PublicKey([2; 32]), label: "four".into() };
    let started = SessionStart { session: SessionId(4), epoch: Epoch(2), damaged: 3 };
    assert_eq!(remote.start_session(&start).unwrap(), started);
    assert!(matches!(remote.close_session(session), Err(ServiceError::SessionGone(gone)) if gone == session));
    assert!(remote.grant(session).unwrap().is_from(&index.public_key()));
    let have = remote.have(session, &[BlockId([2; 32]), BlockId([3; 32])]).unwrap();
    assert_eq!((have.present, have.grant.session), (vec![true, false], session));
    let registration = Registration { headers: vec![vec![1, 2]], receipts: vec![receipt()] };
    assert_eq!(remote.register(session, registration).unwrap(), Registered::default());
    let arrived = index.registered.lock().unwrap().pop().unwrap();
    assert_eq!((arrived.headers, arrived.receipts), (vec![vec![1, 2]], vec![receipt()]));
    let commit = Commit { object: vec![0; 17], receipts: vec![receipt()], key: [1; 16] };
    assert_eq!(remote.commit(session, &commit).unwrap(), Committed { snapshot, seq: 17 });
    let rows = remote.snapshots(&vault, Some("laptop"), true).unwrap();
    assert_eq!(rows, index.snapshots(&vault, Some("laptop"), true).unwrap());
    assert_eq!(remote.snapshots(&vault, None, false).unwrap()[0].name, "all");
    assert_eq!(remote.head(&vault, "known").unwrap(), Some((4, SnapshotId([4; 32]))));
    assert_eq!(remote.head(&vault, "unknown").unwrap(), None);
    let missing = remote.snapshot_object(&snapshot).unwrap_err();
    assert!(matches!(missing, ServiceError::NotFound { what: "snapshot", .. }));
    assert!(matches!(remote.forget(&[0; 5], &[receipt()]), Err(ServiceError::Stopped(len)) if len == "5"));
    assert!(matches!(remote.undelete(&[0; 9], &[receipt()]), Err(ServiceError::RootMissing(id)) if id.0 == [9; 32]));
    assert_eq!(remote.empty_trash(-5).unwrap()[0].time_ns, -5);
    assert_eq!(remote.end_sessions_except(&[session]).unwrap()[0].session, session);
    assert_eq!(remote.condemn(77).unwrap().bytes, 77);
    let delete = Delete { id: BlockId([1; 32]), epoch: Epoch(1) };
    remote.deleted(node, &[(delete, Deleted::Kept)]).unwrap();
    let asked = [BlockId([1; 32]), BlockId([0xff; 32])];
    assert_eq!(remote.rows(&asked).unwrap(), index.rows(&asked).unwrap());
    assert_eq!(remote.children(&asked[0]).unwrap(), vec![asked[0]; 3]);
    assert!(matches!(remote.mark(&asked, true), Err(ServiceError::Busy(text)) if text == "2 true"));
    assert_eq!(remote.recount().unwrap().wrong, vec![(BlockId([1; 32]), 2, 3)]);
    assert_eq!(remote.status().unwrap().bytes, 5);
    assert_eq!(remote.close().unwrap(), Checkpointed { log_tail: 8 });
}

#[test]
fn long_lists_are_whole_although_they_go_in_parts() {
    let index = Arc::new(FakeIndex::default());
    let at = network(INDEX_SEED, Settings::default());
    let (_server, address) = serve(&at, index_services(&index), ServerSettings::default());
    let client = client();
    let remote = RemoteIndex::new(&client, &address);
    let all = remote.list_rows(None, usize::MAX).unwrap();
    assert_eq!(all, index.list_rows(None, usize::MAX).unwrap());
    assert_eq!(remote.list_rows(Some(id_of(9)), 20_000).unwrap(), all[10..20_010]);
    let ids: Vec<_> = (0..150_000).map(id_of).collect();
    let rows = remote.rows(&ids).unwrap();
    assert!(rows.iter().zip(&ids).all(|(row, id)| row.unwrap().id == *id) && rows.len() == ids.len());
    let headers: Vec<Vec<u8>> = (0..150u8).map(|n| vec![n; 130_000]).collect();
    let registration = Registration { headers: headers.clone(), receipts: vec![receipt()] };
    remote.register(SessionId(1), registration).unwrap();
    let parts = std::mem::take(&mut *index.registered.lock().unwrap());
    assert_eq!(parts[0].receipts.len(), 1, "receipts come first");
    assert_eq!(parts.into_iter().flat_map(|part| part.headers).collect::<Vec<_>>(), headers);
    let too_many = remote.have(SessionId(1), &vec![BlockId::ZERO; 600_000]).unwrap_err();
    assert!(matches!(too_many, ServiceError::Protocol(_)), "{too_many}");
}

#[test]
fn every_method_of_a_node_arrives_with_its_arguments_and_its_answer() {
    let desk = Desk::new(ServerSettings::default());
    let (node, remote) = (&desk.node, &desk.remote);
    assert_eq!(remote.id(), node.id());
    let blocks = vec![block(1, 3 << 20), block(2, 0), block(3, 100)];
    let taken = remote.put(&grant(), blocks.clone()).unwrap().wait().unwrap();
    assert!(taken.is_genuine() && taken.node == node.id() && taken.grant_epoch == Epoch(5));
    assert_eq!(taken.blocks.iter().map(|b| b.len).collect::<Vec<_>>(), [3 << 20, 0, 100]);
    for block in &blocks {
        assert!(remote.get(&block.id).unwrap() == block.bytes);
    }
    assert!(matches!(remote.get(&id_of(9)), Err(ServiceError::NotFound { what: "block", .. })));
    let (wanted, pending) = remote.offer(&grant(), &[id_of(1), id_of(9)]).unwrap();
    assert_eq!(wanted, [false, true]);
    assert_eq!(pending.wait().unwrap().blocks.len(), 1);
    assert_eq!(remote.locality(&[id_of(2), id_of(9)]).unwrap(), [Some(1), None]);
    assert_eq!(remote.list(Some(id_of(1)), 9).unwrap(), node.list(Some(id_of(1)), 9).unwrap());
    let deletes = [1, 9].map(|n| Delete { id: id_of(n), epoch: Epoch(6) });
    assert_eq!(remote.delete(&deletes).unwrap(), [Deleted::Gone, Deleted::Kept]);
    assert_eq!(remote.scrub(None, 1 << 40).unwrap().bytes, 1 << 40);
    assert_eq!(remote.compact(0.25).unwrap(), 250);
    assert_eq!(remote.stats().unwrap().blocks, 2);
}

#[test]
fn a_refused_put_is_an_error_and_not_a_receipt() {
    let desk = Desk::new(ServerSettings::default());
    let wrong = PutBlock { bytes: vec![1; 100].into(), ..block(1, 100) };
    let refused = desk.remote.put(&grant(), vec![wrong]).unwrap().wait().unwrap_err();
    assert!(matches!(refused, ServiceError::Damaged { .. }), "{refused}");
}

#[test]
fn waiting_for_a_receipt_hurries_the_node() {
    let desk = Desk::new(ServerSettings::default());
    desk.node.receipt_ms.store(10_000, std::sync::atomic::Ordering::SeqCst);
    let start = std::time::Instant::now();
    let pending: Vec<_> = (0..8).map(|n| desk.remote.put(&grant(), vec![block(n, 1000)]).unwrap()).collect();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(pending.iter().all(|pending| pending.poll().is_none()), "nobody has hurried it");
    for pending in pending {
        pending.wait().unwrap();
    }
    let (_, pending) = desk.remote.offer(&grant(), &[id_of(1)]).unwrap();
    pending.wait().unwrap();
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn a_dropped_receipt_does_not_undo_the_put() {
    let desk = Desk::new(ServerSettings::default());
    drop(desk.remote.put(&grant(), vec![block(1, 1 << 20)]).unwrap());
    desk.remote.put(&grant(), vec![block(2, 1)]).unwrap().wait().unwrap();
    let start = std::time::Instant::now();
    while desk.remote.get(&id_of(1)).is_err() {
        assert!(start.elapsed().as_secs() < 10);
    }
}

#[test]
fn a_handler_that_panics_is_an_error_and_the_server_goes_on() {
    let desk = Desk::new(ServerSettings::default());
    assert!(matches!(desk.remote.close(), Err(ServiceError::Stopped(_))));
    assert_eq!(desk.remote.stats().unwrap().blocks, 0);
    let start = std::time::Instant::now();
    while desk.server.load().requests > 0 {
        assert!(start.elapsed().as_secs() < 10, "its place is free again");
    }
}

#[test]
fn a_family_that_is_not_served_is_refused() {
    let desk = Desk::new(ServerSettings::default());
    let index = RemoteIndex::new(&desk.client, &desk.address);
    let refused = index.status().unwrap_err();
    assert!(matches!(&refused, ServiceError::Protocol(text) if text.contains("family 1")), "{refused}");
}

/// What a client says on each new connection reaches the handlers of all families, also after the server came back.
#[test]
fn an_introduction_comes_before_every_other_request_on_every_connection() {
    struct Ticket;
    impl Introduce for Ticket {
        fn calls(&self) -> Vec<RawCall> {
            vec![RawCall::of(&rights::calls::WhoAmI {})]
        }
    }
    let node = Arc::new(FakeNode::default());
    let services = || {
        let node = node.clone();
        let open = move |peer: &Peer| match peer.attached::<&str>() {
            Some(_) => Ok(node.clone() as Arc<dyn Node>),
            None => Err(ServiceError::Denied("it showed no ticket".into())),
        };
        let show = |peer: &Peer, request: Request| {
            assert_eq!(request.message(), []);
            peer.attach(Arc::new("ticket"));
            Ok(Reply::of_bytes(vec![]))
        };
        Services::new().with(Family::Node, NodeHandler::new(open)).with(Family::Rights, show)
    };
    let at = network(NODE_SEED, Settings::default());
    let (server, address) = serve(&at, services(), ServerSettings::default());
    let client = network(CLIENT_SEED, Settings::default());
    let remote = RemoteNode::new(&client, &address);
    assert!(matches!(remote.stats(), Err(ServiceError::Denied(_))));
    remote.connection().introduce(Arc::new(Ticket));
    assert!(matches!(remote.stats(), Err(ServiceError::Denied(_))), "this connection is not a new one");
    assert!(server.shutdown(std::time::Duration::from_secs(5)));
    let listen = format!("127.0.0.1:{}", address.port()).parse().unwrap();
    let _server = Server::start(&at, listen, services(), ServerSettings::default()).unwrap();
    assert_eq!(remote.stats().unwrap().blocks, 0);
}
