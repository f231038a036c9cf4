//! Stages of the index, one by one: what a first push of 80 000 blocks costs, what an unchanged one costs.
//!
//! `cargo bench -p cas-index`; prints wall and CPU time. The signatures of receipts are left out of the first stage
//! (a node signs a group at a time), the making of headers and ids too.

#[path = "../tests/support/mod.rs"]
mod support;

use cas_core::frame::Header;
use cas_core::id::BlockId;
use cas_index::Index;
use cas_net::cluster::{Cluster as _, DiskId, Join};
use cas_net::{Index as _, Node as _, Registration};
use std::time::Instant;
use support::*;

const PAGES: u64 = 2_500;
const BLOCKS_PER_PAGE: u64 = 32;
/// As a client would send them.
const PAGES_PER_CALL: usize = 128;
const HAVE_PER_CALL: usize = 4096;

fn main() {
    let mut world = World::new();
    world.index = None;
    world.index = Some(Index::open(world.path(), real_options(&world.clock)).unwrap());
    let (data_blocks, pages, root) = tree();
    let ids: Vec<BlockId> = data_blocks.iter().chain(&pages).map(Header::id).collect();
    let session = world.start();

    let first = stage("have, all absent", || have_all(&world, session, &ids));
    per_second("ids", ids.len(), first);
    let grant = world.index().grant(session).unwrap();
    let mut calls: Vec<Registration> = Vec::new();
    let chunks = pages.chunks(PAGES_PER_CALL).zip(data_blocks.chunks(PAGES_PER_CALL * BLOCKS_PER_PAGE as usize));
    for (some_pages, some_data) in chunks {
        let receipts = vec![world.node.put_headers(&grant, &[some_data, some_pages].concat())];
        calls.push(Registration { headers: some_pages.iter().map(Header::encode).collect(), receipts });
    }
    let receipts = vec![world.node.put_headers(&grant, std::slice::from_ref(&root))];
    calls.push(Registration { headers: vec![root.encode()], receipts });
    let took = stage("register 80 000 blocks in 2 500 pages", || {
        for call in calls {
            assert_eq!(world.index().register(session, call).unwrap().missing, []);
        }
    });
    per_second("blocks", ids.len(), took);
    let took = stage("have, all present", || have_all(&world, session, &ids));
    per_second("ids", ids.len(), took);
    stage("commit", || world.commit(session, "a", root.id()).unwrap());
    stage("close with a checkpoint", || world.index().close().unwrap());
    sizes(&world);
    stage("recount", || world.assert_counts());

    world.index = None;
    let mut worst = 0.0f64;
    let mut total = 0.0;
    for _ in 0..10 {
        let begun = Instant::now();
        world.index = Some(Index::open(world.path(), real_options(&world.clock)).unwrap());
        let session = world.start();
        assert!(world.index().have(session, &[root.id()]).unwrap().present[0]);
        world.commit(session, "a", root.id()).unwrap();
        world.index().close().unwrap();
        world.index = None;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        worst = worst.max(ms);
        total += ms;
    }
    println!("open, start, have, commit, close: {:.1} ms on average, {worst:.1} at most", total / 10.0);
    world.index = Some(Index::open(world.path(), real_options(&world.clock)).unwrap());
    let session = world.start();
    let took = stage("have, all present, from the file", || have_all(&world, session, &ids));
    per_second("ids", ids.len(), took);
    join(&world);
    let took = stage("have in a cluster, all present", || have_all(&world, session, &ids));
    per_second("ids", ids.len(), took);

    let (more_data, more_pages) = increment();
    let receipts = vec![
        world.node.put_headers(&world.index().grant(session).unwrap(), &[&more_data[..], &more_pages[..]].concat()),
    ];
    let headers = more_pages.iter().map(Header::encode).collect();
    let took = stage("register an increment of 1 300 blocks", || {
        assert_eq!(world.index().register(session, Registration { headers, receipts }).unwrap().missing, []);
    });
    per_second("blocks", more_data.len(), took);
    stage("close", || world.index().close().unwrap());
    sizes(&world);
}

fn tree() -> (Vec<Header>, Vec<Header>, Header) {
    let data_blocks: Vec<Header> = (0..PAGES * BLOCKS_PER_PAGE).map(data).collect();
    let leaf = |(n, children): (usize, &[Header])| {
        page(n as u64 + 1_000_000, &children.iter().map(Header::id).collect::<Vec<_>>())
    };
    let pages: Vec<Header> = data_blocks.chunks(BLOCKS_PER_PAGE as usize).enumerate().map(leaf).collect();
    let root = page(9_000_000, &pages.iter().map(Header::id).collect::<Vec<_>>());
    (data_blocks, pages, root)
}

fn increment() -> (Vec<Header>, Vec<Header>) {
    let data_blocks: Vec<Header> = (0..1_300).map(|n| data(n + 500_000)).collect();
    let leaf = |(n, children): (usize, &[Header])| {
        page(n as u64 + 2_000_000, &children.iter().map(Header::id).collect::<Vec<_>>())
    };
    let pages = data_blocks.chunks(13).enumerate().map(leaf).collect();
    (data_blocks, pages)
}

/// From now on every block has a partition with members that have to have it.
fn join(world: &World) {
    let token = Some(world.index().join_token("r1", 1_000_000_000).unwrap());
    let (node, disk) = (world.node.id(), DiskId([1; 16]));
    world.index().join(&Join { node, token, disk, capacity: 1 << 40, addresses: vec![] }).unwrap();
}

fn have_all(world: &World, session: cas_net::SessionId, ids: &[BlockId]) {
    for some in ids.chunks(HAVE_PER_CALL) {
        world.index().have(session, some).unwrap();
    }
}

fn stage<R>(what: &str, work: impl FnOnce() -> R) -> f64 {
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    std::hint::black_box(work());
    let wall = begun.elapsed().as_secs_f64();
    println!("{what}: {:.1} ms, CPU {:.1} ms", wall * 1e3, (cpu_seconds() - cpu) * 1e3);
    wall
}

fn per_second(what: &str, count: usize, seconds: f64) {
    println!("    {:.0} {what} a second", count as f64 / seconds);
}

fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn sizes(world: &World) {
    println!("    {:?}", world.index().tables_size().unwrap());
    for entry in std::fs::read_dir(world.path()).unwrap() {
        let entry = entry.unwrap();
        println!("    {}: {} bytes", entry.file_name().to_string_lossy(), entry.metadata().unwrap().len());
    }
}
