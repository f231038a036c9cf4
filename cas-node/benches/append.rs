//! What a byte costs on its way into a segment, and what opening costs: after a clean close, after a crash, without the index.
//!
//! `cargo bench -p cas-node --bench append`, in a folder on the disk of `TMPDIR`. CPU is that of the whole process; wall time is the
//! disk's too: every group is synced.

use cas_core::frame::Header;
use cas_core::id::{DomainId, Epoch, Kind, Sum};
use cas_core::signing::SigningKey;
use cas_net::{Grant, Node, PutBlock, SessionId};
use cas_node::{Options, Store};
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes appended in one run.
const APPENDED: usize = 256 << 20;
/// Bytes put at once.
const PUT_BYTES: usize = 4 << 20;
/// Receipts that may be outstanding.
const AHEAD: usize = 4;
/// Blocks in the store that is opened.
const OPENED: usize = 200_000;
/// Bytes of one of them.
const OPENED_LEN: usize = 600;
/// Blocks that came after the index was saved.
const UNSAVED: usize = 4000;

fn main() {
    for len in [1 << 20, 64 << 10, 4 << 10] {
        append(len);
    }
    open();
}

fn append(len: usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), options()).expect("a store");
    let blocks = blocks(0..APPENDED / len, len);
    let timer = Timer::start();
    put_all(&store, blocks);
    let (wall, cpu) = timer.stop();
    let mb_per_s = APPENDED as f64 / 1e6 / wall.as_secs_f64();
    let ns_per_byte = cpu.as_nanos() as f64 / APPENDED as f64;
    println!("append, blocks of {:>4} KiB {mb_per_s:8.0} MB/s {ns_per_byte:8.3} ns CPU a byte", len >> 10);
}

fn open() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), options()).expect("a store");
    put_all(&store, blocks(0..OPENED, OPENED_LEN));
    store.close().expect("closed");
    drop(store);
    println!("open, {OPENED} blocks of {OPENED_LEN} bytes");
    opened("after a clean close", dir.path());
    let store = Store::open(dir.path(), options()).expect("a store");
    put_all(&store, blocks(OPENED..OPENED + UNSAVED, OPENED_LEN));
    drop(store);
    opened("after a crash, 4000 not saved", dir.path());
    std::fs::remove_file(dir.path().join("index.redb")).expect("it was saved");
    opened("rebuilt from the segments", dir.path());
}

fn opened(how: &str, dir: &Path) {
    let timer = Timer::start();
    let store = Store::open(dir, options()).expect("a store");
    let (wall, cpu) = timer.stop();
    assert!(store.stats().expect("stats").blocks >= OPENED as u64);
    println!("  {how:<32} {:8.1} ms {:8.1} ms CPU", wall.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3);
}

fn options() -> Options {
    Options::new([7; 32], index_key().public())
}

fn index_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

fn blocks(numbers: std::ops::Range<usize>, len: usize) -> Vec<PutBlock> {
    let block = |n: usize| {
        let mut x = [0; 32];
        x[..8].copy_from_slice(&n.to_le_bytes());
        let header = Header { kind: Kind::Data, domain: DomainId([3; 16]), x, children: Vec::new() };
        let mut bytes = header.encode();
        bytes.resize(len.max(bytes.len()), n as u8);
        PutBlock {
            id: header.id(),
            kind: header.kind,
            domain: header.domain,
            sum: Sum::of(&bytes),
            bytes: bytes.into(),
        }
    };
    numbers.map(block).collect()
}

/// Puts as a push does: some receipts ahead.
fn put_all(store: &Store, blocks: Vec<PutBlock>) {
    let grant = Grant::sign(&index_key(), SessionId(1), Epoch(5), false);
    let at_once = (PUT_BYTES / blocks[0].bytes.len()).max(1);
    let mut pending = VecDeque::new();
    let mut blocks = blocks.into_iter().peekable();
    while blocks.peek().is_some() {
        pending.push_back(store.put(&grant, blocks.by_ref().take(at_once).collect()).expect("taken"));
        if pending.len() > AHEAD {
            pending.pop_front().expect("one").wait().expect("kept");
        }
    }
    pending.into_iter().for_each(|receipt| drop(receipt.wait().expect("kept")));
}

struct Timer(Instant, Duration);

impl Timer {
    fn start() -> Self {
        Self(Instant::now(), cpu_time())
    }

    fn stop(&self) -> (Duration, Duration) {
        (self.0.elapsed(), cpu_time() - self.1)
    }
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
