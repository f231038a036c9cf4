//! Copies that the index orders: from whichever peer has the right bytes, kept under the grant of the order.

use crate::liar::Liar;
use crate::store::block;
use crate::world::{Client, Info, Stranger, World, grant, healing, object, put, until, wanted};
use cas_core::id::{Epoch, PublicKey};
use cas_net::cluster::{CopyFailed, CopyFault, CopyOrder, Damage, Order};
use cas_net::{Delete, Deleted, Node, NodeId, PutBlock, ServiceError};

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

#[test]
fn wrong_bytes_of_a_peer_are_refused_and_reported_and_another_is_asked() {
    let world = World::new();
    let (a, b) = (world.node("a"), world.node("b"));
    let liar = Stranger::new(90, Liar);
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
