//! What the tests of the store share: blocks from numbers, grants, a store in a folder of its own.
#![allow(dead_code, reason = "each test uses a part")]

use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, Sum};
use cas_core::signing::SigningKey;
use cas_net::{Delete, Deleted, Grant, Node, PutBlock, Receipt, Result, SessionId};
use cas_node::{Options, Store};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub const NODE_SEED: [u8; 32] = [7; 32];

pub fn index_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

pub fn grant(epoch: u64) -> Grant {
    Grant::sign(&index_key(), SessionId(1), Epoch(epoch), false)
}

pub fn replacing(epoch: u64) -> Grant {
    Grant::sign(&index_key(), SessionId(1), Epoch(epoch), true)
}

pub fn options() -> Options {
    let mut options = Options::new(NODE_SEED, index_key().public());
    (options.soft_free, options.reserve) = (0, 64 << 10);
    options
}

/// Segments of a few kilobytes, so that a short test has many.
pub fn small() -> Options {
    let mut options = options();
    options.segment_bytes = 4096;
    options
}

/// Block `n`; `variant` changes its bytes, not its name.
pub fn block(n: u32, variant: u8, len: usize) -> PutBlock {
    let mut x = [0; 32];
    x[..4].copy_from_slice(&n.to_le_bytes());
    let header = Header { kind: Kind::Data, domain: DomainId([3; 16]), x, children: Vec::new() };
    let mut bytes = header.encode();
    bytes.extend((0..len).map(|i| (i as u8).wrapping_mul(31) ^ variant ^ n as u8));
    PutBlock { id: header.id(), kind: Kind::Data, domain: header.domain, sum: Sum::of(&bytes), bytes: bytes.into() }
}

pub fn put(store: &Store, epoch: u64, block: &PutBlock) -> Receipt {
    let receipt = store.put(&grant(epoch), vec![block.clone()]).unwrap().wait().unwrap();
    assert!(receipt.is_genuine() && receipt.node == store.id());
    receipt
}

pub fn delete(store: &Store, id: BlockId, epoch: u64) -> Deleted {
    store.delete(&[Delete { id, epoch: Epoch(epoch) }]).unwrap()[0]
}

/// Deletes the cache, if there was reason to write one.
pub fn lose_cache(dir: &Path) {
    let _ = std::fs::remove_file(dir.join("index.redb"));
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(dir.join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Every file of a store with its bytes.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let top = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    top.chain(segments(dir)).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

pub fn must_be<T>(found: Result<T>, right: impl Fn(&cas_net::ServiceError) -> bool) {
    let error = found.err().expect("it is refused");
    assert!(right(&error), "{error:?}");
}

/// Chance from a seed.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
