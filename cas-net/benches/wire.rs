//! What the wire costs above raw QUIC: `cargo bench -p cas-net --bench wire`.
//!
//! Both ends in one process over the loopback, 1 MiB blocks of incompressible bytes, CPU time of the whole process.
//! Raw QUIC has the same settings and runs before and after, in the same run. Blocks are made outside of the
//! measured time. Beside: what a sink and a source cost here without any network.

#[path = "../tests/fakes/mod.rs"]
mod fakes;

use bytes::Bytes;
use cas_core::id::BlockId;
use cas_core::signing::SigningKey;
use cas_net::calls::Family;
use cas_net::server::{IndexHandler, NodeHandler, Server, ServerSettings, Services};
use cas_net::*;
use fakes::{FakeIndex, block, grant, network};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BLOCK: usize = 1 << 20;
const ROUND: usize = 192;
const ROUNDS: usize = 6;
const CALLERS: usize = 8;
const IDS: usize = 4096;
const HAVES: usize = 400;

/// Takes everything, keeps nothing, and gives one block.
struct Sink {
    key: SigningKey,
    block: Vec<u8>,
}

impl Node for Sink {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }
    fn offer(&self, _: &Grant, _: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        unimplemented!()
    }
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        let received = |b: &PutBlock| Received { id: b.id, kind: b.kind, sum: b.sum, len: b.bytes.len() as u32 };
        let receipt = Receipt::sign(&self.key, grant.epoch, blocks.iter().map(received).collect());
        let (answer, pending) = PendingReceipt::new();
        answer.send(Ok(receipt)).unwrap();
        Ok(pending)
    }
    fn get(&self, _: &BlockId) -> Result<Vec<u8>> {
        Ok(self.block.clone())
    }
    fn locality(&self, _: &[BlockId]) -> Result<Vec<Option<u64>>> {
        unimplemented!()
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        unimplemented!()
    }
    fn list(&self, _: Option<BlockId>, _: usize) -> Result<Vec<StoredBlock>> {
        unimplemented!()
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        unimplemented!()
    }
    fn compact(&self, _: f64) -> Result<u64> {
        unimplemented!()
    }
    fn stats(&self) -> Result<NodeStats> {
        Ok(NodeStats::default())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// CPU time of all threads of the process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[derive(Default, Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    bytes: usize,
}

impl Cost {
    fn add(&mut self, bytes: usize, work: impl FnOnce()) {
        let (wall, used) = (Instant::now(), cpu());
        work();
        self.wall += wall.elapsed();
        self.cpu += cpu() - used;
        self.bytes += bytes;
    }

    fn ns_per_byte(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.bytes as f64
    }

    fn print(&self, what: &str) {
        let mb = self.bytes as f64 / 1e6 / self.wall.as_secs_f64();
        println!("{what:<28} {:>7.3} ns CPU/byte {mb:>8.0} MB/s", self.ns_per_byte());
    }
}

struct Desk {
    at: Arc<Network>,
    client: Arc<Network>,
    _server: Server,
    node: RemoteNode,
    index: RemoteIndex,
    sink: Arc<Sink>,
    raw: quinn::Connection,
}

impl Desk {
    fn new() -> Self {
        let (at, client) = (network(fakes::NODE_SEED, Settings::default()), network([3; 32], Settings::default()));
        let sink =
            Arc::new(Sink { key: SigningKey::from_seed(&fakes::NODE_SEED), block: block(0, BLOCK).bytes.into() });
        let (node, index) = (sink.clone(), Arc::new(FakeIndex::default()));
        let services = Services::new()
            .with(Family::Node, NodeHandler::new(move |_| Ok(node.clone() as Arc<dyn Node>)))
            .with(Family::Index, IndexHandler::new(move |_| Ok(index.clone() as Arc<dyn Index>)));
        let (server, address) = fakes::serve(&at, services, ServerSettings::default());
        let raw = raw_pair(&at, &client, sink.block.clone().into());
        let (node, index) = (RemoteNode::new(&client, &address), RemoteIndex::new(&client, &address));
        Self { at, client, _server: server, node, index, sink, raw }
    }
}

/// A raw server that takes what comes, or gives a block to who sends nothing; and a connection to it.
fn raw_pair(at: &Network, client: &Network, block: Bytes) -> quinn::Connection {
    let (here, there) = (Identity::from_seed(&fakes::NODE_SEED), Identity::from_seed(&[3; 32]));
    let endpoint = {
        let _inside = at.runtime().enter();
        raw::listen(&here, "127.0.0.1:0".parse().unwrap(), 128).unwrap()
    };
    let socket = endpoint.local_addr().unwrap();
    at.runtime().spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let block = block.clone();
            tokio::spawn(async move {
                let mut got = 0;
                while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.unwrap() {
                    got += chunk.bytes.len();
                }
                send.write_chunk(if got > 1 { Bytes::from_static(b"taken") } else { block }).await.unwrap();
                send.finish().unwrap();
            });
        }
    });
    client.runtime().block_on(raw::connect(&there, &here, socket)).unwrap()
}

async fn raw_ask(connection: quinn::Connection, bytes: Bytes) -> usize {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_chunk(bytes).await.unwrap();
    send.finish().unwrap();
    let mut got = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.unwrap() {
        got += chunk.bytes.len();
    }
    got
}

/// As many at once as callers would have.
fn raw_round(desk: &Desk, at_once: usize, requests: Vec<Bytes>) -> usize {
    let handle = desk.client.runtime();
    let room = Arc::new(tokio::sync::Semaphore::new(at_once));
    handle.block_on(async {
        let mut tasks = Vec::new();
        for bytes in requests {
            let permit = room.clone().acquire_owned().await.unwrap();
            let connection = desk.raw.clone();
            tasks.push(tokio::spawn(async move {
                let got = raw_ask(connection, bytes).await;
                drop(permit);
                got
            }));
        }
        let mut got = 0;
        for task in tasks {
            got += task.await.unwrap();
        }
        got
    })
}

fn blocks() -> Vec<PutBlock> {
    (0..ROUND).map(|n| block(n as u32, BLOCK)).collect()
}

fn raw_push(desk: &Desk, cost: &mut Cost) {
    let requests: Vec<_> = blocks().into_iter().map(|block| block.bytes).collect();
    cost.add(ROUND * BLOCK, || assert_eq!(raw_round(desk, 64, requests), ROUND * 5));
}

fn push(desk: &Desk, cost: &mut Cost) {
    let blocks = blocks();
    let grant = grant();
    cost.add(ROUND * BLOCK, || {
        let mut pending = std::collections::VecDeque::new();
        for block in blocks {
            if pending.len() == 64 {
                pending.pop_front().map(|p: PendingReceipt| p.wait().unwrap());
            }
            pending.push_back(desk.node.put(&grant, vec![block]).unwrap());
        }
        pending.into_iter().for_each(|pending| assert_eq!(pending.wait().unwrap().blocks.len(), 1));
    });
}

fn raw_pull(desk: &Desk, cost: &mut Cost) {
    let requests = vec![Bytes::from_static(b"?"); ROUND];
    cost.add(ROUND * BLOCK, || assert_eq!(raw_round(desk, CALLERS, requests), ROUND * BLOCK));
}

fn pull(desk: &Desk, cost: &mut Cost) {
    cost.add(ROUND * BLOCK, || {
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    for _ in 0..ROUND / CALLERS {
                        assert_eq!(desk.node.get(&BlockId([1; 32])).unwrap().len(), BLOCK);
                    }
                });
            }
        });
    });
}

/// The same calls without a network.
fn local(desk: &Desk, put: &mut Cost, get: &mut Cost) {
    let (blocks, grant) = (blocks(), grant());
    put.add(ROUND * BLOCK, || {
        for block in blocks {
            desk.sink.put(&grant, vec![block]).unwrap().wait().unwrap();
        }
    });
    get.add(ROUND * BLOCK, || {
        for _ in 0..ROUND {
            assert_eq!(desk.sink.get(&BlockId([1; 32])).unwrap().len(), BLOCK);
        }
    });
}

fn have(desk: &Desk) {
    let ids: Vec<_> = (0..IDS as u32).map(fakes::id_of).collect();
    let mut cost = Cost::default();
    cost.add(IDS * HAVES, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..HAVES / 4 {
                        assert_eq!(desk.index.have(SessionId(1), &ids).unwrap().present.len(), IDS);
                    }
                });
            }
        });
    });
    let rate = cost.bytes as f64 / cost.wall.as_secs_f64();
    println!("have                         {rate:>10.0} ids/s, {:.0} ns CPU an id", cost.ns_per_byte());
}

fn small(desk: &Desk) {
    const CALLS: usize = 8000;
    let mut cost = Cost::default();
    cost.add(CALLS, || {
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| (0..CALLS / CALLERS).for_each(|_| assert!(desk.node.stats().is_ok())));
            }
        });
    });
    let rate = cost.bytes as f64 / cost.wall.as_secs_f64();
    println!("small calls                  {rate:>10.0} calls/s, {:.1} us CPU a call", cost.ns_per_byte() / 1000.0);
}

fn main() {
    let desk = Desk::new();
    let mut costs = [Cost::default(); 6];
    // The first round warms up: windows, path MTU, congestion.
    for round in 0..=ROUNDS {
        if round == 1 {
            costs = [Cost::default(); 6];
        }
        let [raw_in, put, raw_out, get, local_put, local_get] = &mut costs;
        raw_push(&desk, raw_in);
        push(&desk, put);
        raw_pull(&desk, raw_out);
        pull(&desk, get);
        local(&desk, local_put, local_get);
    }
    let [raw_in, put, raw_out, get, local_put, local_get] = costs;
    raw_in.print("push, raw QUIC");
    put.print("push, put");
    println!("  above raw                  {:>7.3} ns", put.ns_per_byte() - raw_in.ns_per_byte());
    raw_out.print("pull, raw QUIC");
    get.print("pull, get");
    println!("  above raw                  {:>7.3} ns", get.ns_per_byte() - raw_out.ns_per_byte());
    local_put.print("put without a network");
    local_get.print("get without a network");
    have(&desk);
    small(&desk);
    drop(desk.at);
}
