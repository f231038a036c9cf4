//! What is read ahead: in few requests, bounded, and never instead of a good answer.

use super::{block, world};
use crate::fetch::Fetcher;
use cas_core::domain::DomainRecord;
use cas_core::frame::{Compression, Sealer};
use cas_core::id::BlockId;
use cas_core::manifest::{BuiltBlock, Entry, FileType, Manifest, MapBuilder};
use cas_core::secret::{ContentSecret, DomainKeys};
use cas_net::{PutBlock, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn blocks_that_are_read_ahead_come_in_one_request_and_what_is_wrong_is_read_again() {
    let world = world(3);
    let ids: Vec<BlockId> = (1..=9).map(|n| block(n).id).collect();
    (1..=9).for_each(|n| _ = world.push(n).unwrap());
    let before: usize = world.fakes.iter().map(|fake| fake.reads.load(Relaxed)).sum();
    let coming = world.nodes.ahead(&ids, 100 << 20).unwrap();
    for n in 1..=9 {
        assert_eq!(coming.take(&block(n).id).unwrap().1, block(n).bytes);
        assert!(coming.take(&block(n).id).is_none(), "it is given once");
    }
    assert!(coming.is_over() && coming.take(&block(77).id).is_none());
    let after: usize = world.fakes.iter().map(|fake| fake.reads.load(Relaxed)).sum();
    assert_eq!(after - before, 1);

    // What a dead or forgetful member does not send is not waited for.
    world.fakes.iter().for_each(|fake| fake.held.lock().unwrap().clear());
    assert!(world.nodes.ahead(&ids, 100 << 20).unwrap().take(&ids[0]).is_none());
    world.fakes.iter().for_each(|fake| fake.dead.store(true, Relaxed));
    assert!(world.nodes.ahead(&ids, 100 << 20).unwrap().take(&ids[0]).is_none());
}

#[test]
fn pages_come_many_at_a_time() {
    let world = world(3);
    let keys = DomainKeys::new(ContentSecret::from_bytes([1; 32]));
    let record = DomainRecord::default();
    let (mut sealer, mut pages) = (Sealer::new(Compression::Off), 0);
    let mut sink = |page: BuiltBlock| {
        let frame = sealer.seal(&keys, page.kind, &page.plaintext, &page.key, &page.children);
        let stored = PutBlock {
            id: page.id,
            kind: page.kind,
            domain: keys.domain_id(),
            sum: frame.sum,
            bytes: frame.bytes.into(),
        };
        world.fakes.iter().for_each(|fake| _ = fake.held.lock().unwrap().insert(stored.id, stored.clone()));
        pages += 1;
    };
    let mut map = MapBuilder::new(&keys, &record);
    for n in 0..20_000 {
        map.push(format!("{n:06}").as_bytes(), &Entry::new(FileType::File), None, &mut sink).unwrap();
    }
    let root = map.finish(&mut sink);
    assert!(pages > 200, "{pages}");
    let fetcher = Fetcher::new(Arc::new(world.nodes), Arc::new(keys.clone()));
    let manifest = Manifest::new(fetcher, &keys, &record, root.id, root.key);
    assert_eq!(manifest.cursor().filter(Result::is_ok).count(), 20_000);
    let reads: usize = world.fakes.iter().map(|fake| fake.reads.load(Relaxed)).sum();
    assert!(reads < pages / 10, "{reads} trips for {pages} pages");
}

#[test]
fn what_is_read_ahead_is_bounded_over_all_readers() {
    let world = world(3);
    (1..=2).for_each(|n| _ = world.push(n).unwrap());
    let ids = [block(1).id, block(2).id];
    let held: Vec<_> = std::iter::from_fn(|| world.nodes.ahead(&ids, 100 << 20)).take(1000).collect();
    assert!((1..=64).contains(&held.len()), "{}", held.len());
    drop(held);
    assert!(world.nodes.ahead(&ids, 100 << 20).is_some(), "room comes back");
}
