//! What the store promises, against a plain model: whatever is done in whatever order, whenever it ends.
//!
//! A failure prints its seed.

use cas_core::id::{BlockId, DomainId, Epoch, Kind, Sum};
use cas_core::signing::SigningKey;
use cas_net::{Delete, Deleted, Grant, Node, PutBlock, ServiceError, SessionId};
use cas_node::{HEADER_LEN, Options, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn index_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

fn options() -> Options {
    let mut options = Options::new([8; 32], index_key().public());
    options.segment_bytes = 20_000;
    options
}

fn open(dir: &Path) -> Store {
    Store::open(dir, options()).unwrap()
}

fn grant(epoch: u64, replace: bool) -> Grant {
    Grant::sign(&index_key(), SessionId(1), Epoch(epoch), replace)
}

/// A block whose content follows from a number.
fn block(n: u64) -> PutBlock {
    let bytes: Vec<u8> =
        (0..200 + n % 700).flat_map(|i| (n * 31 + i).to_le_bytes()).take(64 + n as usize % 900).collect();
    let id = BlockId::of_object(Kind::Snapshot, &bytes);
    PutBlock { id, kind: Kind::Snapshot, domain: DomainId([1; 16]), sum: Sum::of(&bytes), bytes: bytes.into() }
}

fn put(store: &Store, epoch: u64, numbers: &[u64]) {
    let receipt = store.put(&grant(epoch, false), numbers.iter().map(|n| block(*n)).collect()).unwrap().wait().unwrap();
    assert!(receipt.is_genuine());
    assert_eq!(receipt.blocks.len(), numbers.len());
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Number of the block → its put_epoch.
type Model = BTreeMap<u64, u64>;

#[track_caller]
fn assert_same(store: &Store, model: &Model, seed: u64) {
    for n in model.keys() {
        let found = store.get(&block(*n).id);
        assert_eq!(found.unwrap(), block(*n).bytes, "seed {seed}, block {n}");
    }
    let mut expected: Vec<(BlockId, Epoch)> = model.iter().map(|(n, e)| (block(*n).id, Epoch(*e))).collect();
    expected.sort();
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(after, 7).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        listed.extend(page.iter().map(|b| (b.id, b.put_epoch)));
    }
    assert_eq!(listed, expected, "seed {seed}");
    assert_eq!(store.stats().unwrap().blocks, model.len() as u64, "seed {seed}");
}

#[test]
fn any_order_of_events_answers_like_a_plain_map() {
    let rounds = std::env::var("CAS_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for seed in 1..=rounds {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut store = Some(open(dir.path()));
        let mut model = Model::new();
        for epoch in 1..120u64 {
            let node = store.as_ref().unwrap();
            let numbers: Vec<u64> = (0..1 + random.below(6)).map(|_| random.below(60)).collect();
            match random.below(10) {
                0..4 => {
                    let mut once = numbers.clone();
                    once.sort_unstable();
                    once.dedup();
                    put(node, epoch, &once);
                    model.extend(once.iter().map(|n| (*n, epoch)));
                }
                4 => {
                    let ids: Vec<BlockId> = numbers.iter().map(|n| block(*n).id).collect();
                    let (wanted, pending) = node.offer(&grant(epoch, false), &ids).unwrap();
                    pending.wait().unwrap();
                    for (n, wanted) in numbers.iter().zip(wanted) {
                        assert_eq!(wanted, !model.contains_key(n), "seed {seed}");
                        model.entry(*n).and_modify(|e| *e = epoch);
                    }
                }
                5..7 => {
                    let bound = random.below(epoch + 1);
                    for n in numbers {
                        let delete = Delete { id: block(n).id, epoch: Epoch(bound) };
                        let answer = node.delete(&[delete]).unwrap()[0];
                        let kept = model.get(&n).is_some_and(|e| *e >= bound);
                        assert_eq!(answer, if kept { Deleted::Kept } else { Deleted::Gone }, "seed {seed}");
                        if !kept {
                            model.remove(&n);
                        }
                    }
                }
                7 => {
                    node.compact([0.0, 0.3, 1.0][random.below(3) as usize]).unwrap();
                }
                _ => {
                    if random.below(2) == 0 {
                        node.close().unwrap();
                    }
                    drop(store.take());
                    if random.below(3) == 0 {
                        let _ = fs::remove_file(dir.path().join("index.redb"));
                    }
                    store = Some(open(dir.path()));
                }
            }
            if epoch % 10 == 0 {
                assert_same(store.as_ref().unwrap(), &model, seed);
            }
        }
        let node = store.as_ref().unwrap();
        node.compact(0.0).unwrap();
        assert_same(node, &model, seed);
        let stats = node.stats().unwrap();
        assert!(stats.dead_bytes <= 32 * stats.segments + 200 * HEADER_LEN as u64, "seed {seed}: {stats:?}");
    }
}

#[test]
fn a_segment_cut_anywhere_loses_nothing_of_the_groups_before_and_misreads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, &[1, 2, 3]);
    drop(store);
    let acknowledged = fs::metadata(&segments(dir.path())[0]).unwrap().len();
    let store = open(dir.path());
    put(&store, 2, &[4, 5]);
    drop(store);
    let file = segments(dir.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    for cut in acknowledged as usize..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let _ = fs::remove_file(dir.path().join("index.redb"));
        let store = open(dir.path());
        for n in [1, 2, 3] {
            assert_eq!(store.get(&block(n).id).unwrap(), block(n).bytes, "cut at {cut}");
        }
        for n in [4, 5] {
            assert!(store.get(&block(n).id).is_ok_and(|b| b == block(n).bytes) || store.get(&block(n).id).is_err());
        }
        put(&store, 3, &[6]);
        drop(store);
        assert_eq!(open(dir.path()).get(&block(6).id).unwrap(), block(6).bytes, "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_costs_at_most_the_records_it_lies_in_and_is_never_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..20 {
        put(&store, 1, &[n]);
    }
    store.close().unwrap();
    drop(store);
    let file = segments(dir.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    for at in (32..whole.len()).step_by(37) {
        let mut rotten = whole.clone();
        rotten[at] ^= 0x10;
        fs::write(&file, &rotten).unwrap();
        let _ = fs::remove_file(dir.path().join("index.redb"));
        let store = open(dir.path());
        let lost = (0..20).filter(|n| match store.get(&block(*n).id) {
            Ok(bytes) => {
                assert_eq!(bytes, block(*n).bytes, "byte {at}");
                false
            }
            Err(ServiceError::Damaged { .. } | ServiceError::NotFound { .. }) => true,
            Err(e) => panic!("byte {at}: {e}"),
        });
        assert!(lost.count() <= 1, "byte {at}");
    }
}

#[test]
fn damaged_bytes_are_wanted_again_under_a_grant_to_replace() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, &[1, 2]);
    drop(store);
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[32 + HEADER_LEN + 5] ^= 1;
    fs::write(&file, bytes).unwrap();
    let store = open(dir.path());
    let ids = [block(1).id, block(2).id];
    assert!(matches!(store.get(&ids[0]), Err(ServiceError::Damaged { .. })));
    assert_eq!(store.scrub(None, u64::MAX).unwrap().damaged.len(), 1);
    assert_eq!(store.offer(&grant(2, false), &ids).unwrap().0, [true, false], "what is known to be damaged is wanted");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.offer(&grant(3, true), &ids).unwrap().0, [true, true], "what may be replaced is wanted");
    store.put(&grant(3, true), vec![block(1)]).unwrap().wait().unwrap();
    assert_eq!(store.get(&ids[0]).unwrap(), block(1).bytes);
    store.compact(0.0).unwrap();
    assert_eq!(store.get(&ids[0]).unwrap(), block(1).bytes);
}

#[test]
fn what_is_forged_or_misnamed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let denied = |done: cas_net::Result<_>| matches!(done.map(drop), Err(ServiceError::Denied(_)));
    let forged = Grant::sign(&SigningKey::from_seed(&[1; 32]), SessionId(1), Epoch(1), false);
    assert!(denied(store.put(&forged, vec![block(1)])));
    assert!(denied(store.put(&grant(1, false), vec![PutBlock { id: block(2).id, ..block(1) }])));
    assert!(denied(store.put(&grant(1, false), vec![PutBlock { sum: block(2).sum, ..block(1) }])));
    assert!(denied(store.put(&grant(1, false), vec![PutBlock { kind: Kind::Data, ..block(1) }])));
    assert_eq!(store.stats().unwrap().blocks, 0);
}

#[test]
fn a_floor_makes_deletes_void_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, &[1]);
    store.set_floor(block(1).id.partition(), Epoch(5)).unwrap();
    drop(store);
    let _ = fs::remove_file(dir.path().join("index.redb"));
    let store = open(dir.path());
    let delete = |epoch| Delete { id: block(1).id, epoch: Epoch(epoch) };
    assert_eq!(store.delete(&[delete(5)]).unwrap(), [Deleted::Kept]);
    assert_eq!(store.delete(&[delete(6)]).unwrap(), [Deleted::Gone]);
}

#[test]
fn one_directory_one_store_and_reading_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, &[1, 2, 3]);
    assert!(matches!(Store::open(dir.path(), options()).err(), Some(ServiceError::Busy(_))));
    drop(store);
    let contents = || {
        let files = segments(dir.path());
        files.into_iter().map(|f| (f.clone(), fs::read(f).unwrap())).collect::<Vec<_>>()
    };
    let before = contents();
    let mut read_only = options();
    read_only.read_only = true;
    let reader = Store::open(dir.path(), read_only).unwrap();
    assert_eq!(reader.get(&block(2).id).unwrap(), block(2).bytes);
    assert!(reader.put(&grant(2, false), vec![block(4)]).is_err());
    drop(reader);
    assert_eq!(before, contents());
}

#[test]
fn a_segment_of_an_unknown_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[4] = 9;
    bytes[16..32].fill(0);
    fs::write(&file, bytes).unwrap();
    let _ = fs::remove_file(dir.path().join("index.redb"));
    let refused = Store::open(dir.path(), options()).err();
    assert!(matches!(refused, Some(ServiceError::Version { found: 9, known: 1, .. })), "{refused:?}");
}
