//! Nodes in memory that fail on demand, and what the whole of them promises then.

use super::{Nodes, Places};
use crate::fetch::Fetcher;
use cas_core::domain::DomainRecord;
use cas_core::frame::{Compression, Sealer};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, Sum};
use cas_core::layout::{PARTITIONS, Pool};
use cas_core::manifest::{BuiltBlock, Entry, FileType, Manifest, MapBuilder};
use cas_core::secret::{ContentSecret, DomainKeys};
use cas_core::signing::SigningKey;
use cas_net::chain::{Chained, PendingChain, Returned, Way};
use cas_net::cluster::*;
use cas_net::{
    Delete, Deleted, Done, Found, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result,
    Scrubbed, ServiceError, SessionId, StoredBlock,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A node of a layout.
pub fn info(seed: u8, rack: &str) -> NodeInfo {
    NodeInfo {
        node: NodeId(SigningKey::from_seed(&[seed; 32]).public()),
        rack: rack.into(),
        weight: 1,
        addresses: vec![],
        want: NodeWant::Member,
        maintenance_until_ns: None,
        health: Health::Up,
        silent_ms: None,
        space: Space::default(),
        load: Load::default(),
        partitions: PARTITIONS as u32,
    }
}

/// Keeps blocks in memory; says nothing any more, or wrong bytes, when told.
struct Fake {
    key: SigningKey,
    held: Mutex<BTreeMap<BlockId, PutBlock>>,
    dead: AtomicBool,
    dies_before_receipt: AtomicBool,
    lies: AtomicBool,
    /// Whom it sends blocks on to, if to anybody.
    others: Mutex<Vec<Arc<Fake>>>,
    /// Puts that it got from a client.
    puts: AtomicUsize,
    /// It answers reads when somebody lets it, not before.
    slow: AtomicBool,
    held_back: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    /// Reads that it got.
    reads: AtomicUsize,
    /// It has no room.
    full: AtomicBool,
    /// It says Busy to so many puts.
    busy: AtomicUsize,
    /// It goes by a newer layout, in which it is no member.
    foreign: AtomicBool,
    /// It refuses this client.
    strange: AtomicBool,
}

impl Fake {
    fn new(seed: u8) -> Arc<Self> {
        let key = SigningKey::from_seed(&[seed; 32]);
        let no = || AtomicBool::new(false);
        Arc::new(Self {
            key,
            held: Mutex::default(),
            dead: no(),
            dies_before_receipt: no(),
            lies: no(),
            others: Mutex::default(),
            puts: AtomicUsize::new(0),
            slow: no(),
            held_back: Mutex::default(),
            reads: AtomicUsize::new(0),
            full: no(),
            busy: AtomicUsize::new(0),
            foreign: no(),
            strange: no(),
        })
    }

    fn alive(&self) -> Result<()> {
        if self.strange.load(Relaxed) {
            return Err(ServiceError::Denied("the ticket has expired".into()));
        }
        if self.dead.load(Relaxed) { Err(gone()) } else { Ok(()) }
    }

    /// Whether it takes a block now.
    fn takes(&self) -> Result<()> {
        self.alive()?;
        if self.foreign.load(Relaxed) {
            return Err(ServiceError::Conflict { name: "layout".into(), latest: 2 });
        }
        if self.full.load(Relaxed) {
            return Err(ServiceError::Full { what: "a fake".into(), detail: "it is".into() });
        }
        match self.busy.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(ServiceError::Busy("a fake".into())),
            Err(_) => Ok(()),
        }
    }

    fn found(&self, id: &BlockId) -> Found {
        match self.held.lock().unwrap().get(id) {
            Some(block) => {
                let mut block = block.clone();
                if self.lies.load(Relaxed) {
                    block.bytes.fill(0);
                }
                Found::Here(block)
            }
            None => Found::Absent,
        }
    }

    /// Answers what it held back.
    fn let_go(&self) {
        let held_back = std::mem::take(&mut *self.held_back.lock().unwrap());
        held_back.into_iter().for_each(|answer| answer());
    }

    fn holds(&self, id: &BlockId) -> bool {
        self.held.lock().unwrap().contains_key(id)
    }

    fn receipt(&self, grant: &Grant, ids: &[BlockId]) -> PendingReceipt {
        let (answer, pending) = PendingReceipt::new();
        let held = self.held.lock().unwrap();
        let blocks = ids.iter().filter_map(|id| held.get(id));
        let blocks =
            blocks.map(|b| Received { id: b.id, kind: b.kind, sum: b.sum, len: b.bytes.len() as u32 }).collect();
        let receipt = match self.dies_before_receipt.load(Relaxed) {
            true => Err(gone()),
            false => Ok(Receipt::sign(&self.key, grant.epoch, blocks)),
        };
        answer.send(receipt).unwrap();
        pending
    }
}

fn gone() -> ServiceError {
    ServiceError::Unreachable { peer: "a fake".into(), detail: "it is dead".into() }
}

impl Node for Fake {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }
    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        self.alive()?;
        Ok((ids.iter().map(|id| !self.holds(id)).collect(), self.receipt(grant, ids)))
    }
    fn sends_on(&self) -> bool {
        !self.others.lock().unwrap().is_empty()
    }
    fn put_on(&self, grant: &Grant, blocks: Vec<PutBlock>, way: Way) -> Result<PendingChain, Returned> {
        way.check(blocks.len()).unwrap();
        self.puts.fetch_add(1, Relaxed);
        if let Err(why) = self.takes() {
            return Err(Returned { why, blocks });
        }
        let others = self.others.lock().unwrap().clone();
        let mut chained = Chained::default();
        for (block, hops) in blocks.iter().zip(&way.hops) {
            for hop in hops {
                let other = others.iter().find(|other| other.id() == way.nodes[usize::from(*hop)]).unwrap();
                let mut block = block.clone();
                if self.lies.load(Relaxed) {
                    block.bytes[40] ^= 1;
                    block.sum = Sum::of(&block.bytes);
                }
                match other.put(grant, vec![block]).and_then(PendingReceipt::wait) {
                    Ok(receipt) => chained.receipts.push(receipt),
                    Err(why) => chained.failed.push((other.id(), why)),
                }
                other.puts.fetch_sub(1, Relaxed);
            }
        }
        match self.put(grant, blocks)?.wait() {
            Ok(receipt) => chained.receipts.push(receipt),
            Err(why) => chained.failed.push((self.id(), why)),
        }
        self.puts.fetch_sub(1, Relaxed);
        let (answer, pending) = PendingChain::new();
        answer.send(Ok(chained)).unwrap();
        Ok(pending)
    }
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.puts.fetch_add(1, Relaxed);
        self.takes()?;
        let ids: Vec<_> = blocks.iter().map(|b| b.id).collect();
        self.held.lock().unwrap().extend(blocks.into_iter().map(|b| (b.id, b)));
        Ok(self.receipt(grant, &ids))
    }
    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        self.alive()?;
        let held = self.held.lock().unwrap();
        let block = held.get(id).ok_or(ServiceError::NotFound { what: "block", name: id.to_string() })?;
        Ok(if self.lies.load(Relaxed) { vec![0; block.bytes.len()] } else { block.bytes.clone() })
    }
    fn get_then(&self, ids: Vec<BlockId>, _: u64, done: Done<Vec<Found>>) {
        self.reads.fetch_add(1, Relaxed);
        let found = self.alive().map(|()| ids.iter().map(|id| self.found(id)).collect());
        if self.slow.load(Relaxed) {
            return self.held_back.lock().unwrap().push(Box::new(move || done(found)));
        }
        done(found);
    }
    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        Ok(vec![None; ids.len()])
    }
    fn delete(&self, _: &[Delete]) -> Result<Vec<Deleted>> {
        unreachable!("nobody deletes here")
    }
    fn list(&self, _: Option<BlockId>, _: usize) -> Result<Vec<StoredBlock>> {
        unreachable!("nobody lists here")
    }
    fn scrub(&self, _: Option<BlockId>, _: u64) -> Result<Scrubbed> {
        unreachable!("nobody scrubs here")
    }
    fn compact(&self, _: f64) -> Result<u64> {
        unreachable!("nobody compacts here")
    }
    fn stats(&self) -> Result<NodeStats> {
        unreachable!("nobody counts here")
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// An index that only knows a layout and notes what is reported.
struct Told {
    newer: Mutex<Option<Layout>>,
    damage: Mutex<Vec<Damage>>,
    /// Where all blocks are.
    located: Mutex<Vec<NodeId>>,
}

impl Cluster for Told {
    fn layout(&self, known: u64) -> Result<Option<Layout>> {
        Ok(self.newer.lock().unwrap().clone().filter(|layout| layout.version > known))
    }
    fn report(&self, damage: &[Damage]) -> Result<()> {
        self.damage.lock().unwrap().extend_from_slice(damage);
        Ok(())
    }
    fn join_token(&self, _: &str, _: i64) -> Result<JoinToken> {
        unreachable!()
    }
    fn join(&self, _: &Join) -> Result<Joined> {
        unreachable!()
    }
    fn beat(&self, _: &Beat) -> Result<BeatAnswer> {
        unreachable!()
    }
    fn copies_done(&self, _: &CopyDone) -> Result<()> {
        unreachable!()
    }
    fn floored(&self, _: &Floored) -> Result<()> {
        unreachable!()
    }
    fn inventory(&self, _: &InventoryChunk) -> Result<bool> {
        unreachable!()
    }
    fn strays(&self, _: NodeId, _: &[BlockId]) -> Result<Vec<Delete>> {
        unreachable!()
    }
    fn locate(&self, ids: &[BlockId]) -> Result<Vec<Option<Located>>> {
        let nodes = self.located.lock().unwrap().clone();
        Ok(ids
            .iter()
            .map(|id| Some(Located { id: *id, sum: Sum::ZERO, len: 0, nodes: nodes.clone(), missing: vec![] }))
            .collect())
    }
    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        unreachable!()
    }
    fn cluster_status(&self) -> Result<ClusterStatus> {
        unreachable!()
    }
    fn change_node(&self, _: NodeId, _: &NodeChange) -> Result<()> {
        unreachable!()
    }
    fn plan_layout(&self, _: Option<&str>) -> Result<PlanShown> {
        unreachable!()
    }
    fn apply_layout(&self, _: &PlanShown) -> Result<()> {
        unreachable!()
    }
}

struct World {
    fakes: Vec<Arc<Fake>>,
    told: Arc<Told>,
    nodes: Nodes,
    grant: Grant,
}

/// So many nodes, of which the first three (or fewer) are members of everything.
fn world(count: u8) -> World {
    let fakes: Vec<_> = (1..=count).map(Fake::new).collect();
    let told = Arc::new(Told { newer: Mutex::default(), damage: Mutex::default(), located: Mutex::default() });
    let by_id = fakes.clone();
    let reach = move |info: &NodeInfo| {
        by_id.iter().find(|fake| fake.id() == info.node).map(|fake| fake.clone() as Arc<dyn Node>)
    };
    let seeds: Vec<u8> = (1..=count).collect();
    let mut nodes = Nodes::of(told.clone(), layout(1, &seeds, &[0, 1, 2]), None, Box::new(reach));
    nodes.patience = Duration::from_millis(200);
    let grant = Grant::sign(&SigningKey::from_seed(&[9; 32]), SessionId(1), Epoch(1), false);
    World { fakes, told, nodes, grant }
}

fn layout(version: u64, nodes: &[u8], members: &[u16]) -> Layout {
    let nodes = nodes.iter().map(|seed| info(*seed, "r")).collect();
    let members: Vec<_> = members.iter().map(|node| Member { node: *node, flags: 0 }).collect();
    Layout { version, pool: Pool::R3 as u8, nodes, partitions: vec![members; PARTITIONS] }
}

fn block(n: u8) -> PutBlock {
    let bytes = vec![n; 100];
    PutBlock { id: BlockId([n; 32]), kind: Kind::Data, domain: DomainId([0; 16]), sum: Sum::of(&bytes), bytes }
}

impl World {
    /// Offers and puts a block; answers who gave a receipt.
    fn push(&self, n: u8) -> Result<Vec<PublicKey>> {
        let offered = self.nodes.offer(&self.grant, &[block(n).id])?;
        let mut sent = offered.sent;
        sent.extend(self.nodes.put(&offered.view, &self.grant, vec![(block(n), offered.wanted[0])]));
        let receipts = self.nodes.settle(&offered.view, &[block(n).id], sent)?;
        let mut who: Vec<_> = receipts.iter().map(|r| r.node.0).collect();
        who.sort();
        Ok(who)
    }
}

#[test]
fn every_member_gets_a_block_once() {
    let world = world(4);
    assert_eq!(world.push(1).unwrap().len(), 3);
    assert!(!world.fakes[3].holds(&block(1).id));
    let again = world.nodes.offer(&world.grant, &[block(1).id]).unwrap();
    assert_eq!(again.wanted, [Places::default()]);
    assert_eq!(world.nodes.settle(&again.view, &[block(1).id], again.sent).unwrap().len(), 3);
}

#[test]
fn a_dead_member_is_left_out_as_long_as_two_are_left() {
    let world = world(3);
    world.fakes[0].dead.store(true, Relaxed);
    assert_eq!(world.push(1).unwrap().len(), 2);
    world.fakes[1].dead.store(true, Relaxed);
    assert!(matches!(world.push(2), Err(ServiceError::Unreachable { .. })));
}

#[test]
fn a_member_that_dies_before_its_receipt_is_no_error_of_the_others() {
    let world = world(3);
    world.fakes[2].dies_before_receipt.store(true, Relaxed);
    assert_eq!(world.push(1).unwrap().len(), 2);
}

#[test]
fn a_member_that_missed_a_block_is_sent_it_by_the_next_push() {
    let world = world(3);
    world.fakes[0].dead.store(true, Relaxed);
    world.push(1).unwrap();
    world.fakes[0].dead.store(false, Relaxed);
    // It is passed over for a while; two are enough, so nobody waits for it. A reader's good answer ends that.
    assert_eq!(world.push(1).unwrap().len(), 2);
    world.nodes.choice.works(world.fakes[0].id());
    assert_eq!(world.push(1).unwrap().len(), 3);
    assert!(world.fakes[0].holds(&block(1).id));
}

#[test]
fn reading_goes_to_the_next_member_on_any_fault_and_reports_wrong_bytes() {
    let world = world(3);
    world.push(1).unwrap();
    let whole = block(1);
    let mut open = |bytes: Vec<u8>| match Sum::of(&bytes) == whole.sum {
        true => Ok(bytes),
        false => Err(ServiceError::Damaged { what: "block".into(), detail: "its bytes".into() }),
    };
    for broken in 0..2 {
        world.fakes[broken].lies.store(true, Relaxed);
        for _ in 0..3 {
            assert_eq!(world.nodes.read(&whole.id, &mut open).unwrap(), whole.bytes);
        }
    }
    world.fakes[2].dead.store(true, Relaxed);
    let error = world.nodes.read(&whole.id, &mut open).unwrap_err();
    assert!(matches!(error, ServiceError::Damaged { .. }), "{error}");
    world.nodes.source.as_ref().unwrap().reports.flush();
    let reported = world.told.damage.lock().unwrap();
    assert!(reported.iter().all(|d| d.node != world.fakes[2].id()) && !reported.is_empty());
}

/// Reads a block, and says which nodes were asked.
fn readers(world: &World, n: u8) -> Vec<usize> {
    let before: Vec<_> = world.fakes.iter().map(|fake| fake.reads.load(Relaxed)).collect();
    assert_eq!(world.nodes.get(&block(n).id).unwrap(), block(n).bytes);
    let asked = world.fakes.iter().zip(before).enumerate();
    asked.filter(|(_, (fake, before))| fake.reads.load(Relaxed) > *before).map(|(at, _)| at).collect()
}

/// The node that is asked first now.
fn best(world: &World, n: u8) -> usize {
    let id = world.nodes.ranked(&world.nodes.view(), &block(n).id)[0].id;
    world.fakes.iter().position(|fake| fake.id() == id).unwrap()
}

#[test]
fn a_slow_member_is_overtaken_by_another() {
    let world = world(3);
    world.push(1).unwrap();
    for fake in &world.fakes {
        (0..20).for_each(|_| world.nodes.choice.ends(fake.id(), Ok(Duration::ZERO), Instant::now()));
    }
    let first = best(&world, 1);
    world.fakes[first].slow.store(true, Relaxed);
    let asked = readers(&world, 1);
    assert_eq!(asked.len(), 2, "one more was asked, not all");
    world.fakes[first].let_go();
}

#[test]
fn when_extra_reads_are_used_up_a_member_is_waited_for() {
    let world = world(3);
    world.push(1).unwrap();
    (0..20).for_each(|_| _ = readers(&world, 1));
    while world.nodes.choice.may_hedge() {}
    let first = best(&world, 1);
    world.fakes[first].slow.store(true, Relaxed);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| readers(&world, 1));
        while world.fakes[first].held_back.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        world.fakes[first].let_go();
        assert_eq!(reading.join().unwrap(), [first], "nobody else was asked");
    });
}

#[test]
fn a_dead_member_is_asked_once_and_then_only_looked_at() {
    let world = world(3);
    world.push(1).unwrap();
    let first = best(&world, 1);
    world.fakes[first].dead.store(true, Relaxed);
    assert_eq!(readers(&world, 1).len(), 2);
    let before = world.fakes[first].reads.load(Relaxed);
    (0..50).for_each(|_| assert!(!readers(&world, 1).contains(&first)));
    assert_eq!(world.fakes[first].reads.load(Relaxed), before);
}

#[test]
fn a_node_that_answers_again_is_used_again() {
    let world = world(3);
    world.push(1).unwrap();
    let dead = &world.fakes[0];
    let long_ago = Instant::now() - 2 * super::choice::LAST_PAUSE;
    world.nodes.choice.failed(dead.id(), &gone(), long_ago);
    dead.dead.store(true, Relaxed);
    readers(&world, 1); // Somebody looks, in vain.
    assert!(world.nodes.choice.avoids(&dead.id()));
    dead.dead.store(false, Relaxed);
    world.nodes.choice.works(dead.id());
    world.nodes.choice.failed(dead.id(), &gone(), long_ago);
    readers(&world, 1); // Somebody looks, and finds it well.
    assert!(!world.nodes.choice.avoids(&dead.id()));
}

#[test]
fn a_member_that_does_not_count_yet_is_not_blamed_for_what_it_lacks() {
    let world = world(3);
    world.push(1).unwrap();
    let mut newer = layout(2, &[1, 2, 3], &[0, 1, 2]);
    newer.partitions.iter_mut().for_each(|members| members[0].flags = Member::UNCOUNTED);
    *world.told.newer.lock().unwrap() = Some(newer);
    assert!(world.nodes.refresh().unwrap());
    world.fakes[0].held.lock().unwrap().clear();
    world.fakes[1].dead.store(true, Relaxed);
    world.fakes[2].dead.store(true, Relaxed);
    assert!(world.nodes.get(&block(1).id).is_err());
    world.nodes.source.as_ref().unwrap().reports.flush();
    assert!(world.told.damage.lock().unwrap().is_empty());
}

#[test]
fn a_layout_that_has_changed_is_fetched_when_a_block_is_not_where_it_was() {
    let world = world(5);
    world.push(1).unwrap();
    for old in 0..3 {
        let held = world.fakes[old].held.lock().unwrap().remove(&block(1).id).unwrap();
        world.fakes[4].held.lock().unwrap().insert(held.id, held);
    }
    assert!(matches!(world.nodes.get(&block(1).id), Err(ServiceError::NotFound { .. })));
    *world.told.newer.lock().unwrap() = Some(layout(2, &[1, 2, 3, 4, 5], &[2, 3, 4]));
    assert_eq!(world.nodes.get(&block(1).id).unwrap(), block(1).bytes);
}

#[test]
fn an_object_needs_enough_members() {
    let world = world(3);
    assert_eq!(world.nodes.put_object(&world.grant, block(1)).unwrap().len(), 3);
    world.fakes[0].dead.store(true, Relaxed);
    assert_eq!(world.nodes.put_object(&world.grant, block(2)).unwrap().len(), 2);
    world.fakes[1].dead.store(true, Relaxed);
    assert!(world.nodes.put_object(&world.grant, block(3)).is_err());
}

#[test]
fn somebody_stands_in_where_too_few_members_are_there_and_nobody_where_they_are_enough() {
    let world = chained(5);
    let is_member = |key: &PublicKey| world.fakes[..3].iter().any(|fake| fake.id().0 == *key);
    world.fakes[0].dead.store(true, Relaxed);
    assert!(world.push(1).unwrap().iter().all(is_member));
    world.fakes[1].dead.store(true, Relaxed);
    for n in 2..20 {
        let kept = world.push(n).unwrap();
        assert_eq!((kept.len(), kept.iter().filter(|key| is_member(key)).count()), (2, 1), "block {n}");
    }
    assert!(
        world.fakes[3].holds(&block(2).id) != world.fakes[4].holds(&block(2).id),
        "one of them, the same in a partition"
    );
    assert_eq!(world.nodes.put_object(&world.grant, block(20)).unwrap().len(), 2);
    let other = world.fakes[3..].iter().find(|fake| fake.holds(&block(2).id)).unwrap();
    other.dead.store(true, Relaxed);
    assert_eq!(world.push(2).unwrap().len(), 2, "the other one stands in for the one that stood in");
    world.fakes[3..].iter().for_each(|fake| fake.dead.store(true, Relaxed));
    assert!(world.push(21).is_err(), "there is nobody left");
}

#[test]
fn what_is_kept_in_the_stead_of_members_is_read_where_the_index_says() {
    let world = world(4);
    (0..2).for_each(|n| world.fakes[n].dead.store(true, Relaxed));
    world.push(1).unwrap();
    world.fakes[2].dead.store(true, Relaxed);
    assert!(world.nodes.get(&block(1).id).is_err());
    *world.told.located.lock().unwrap() = vec![world.fakes[3].id()];
    assert_eq!(world.nodes.get(&block(1).id).unwrap(), block(1).bytes);
}

/// Blocks that are worth a chain, sent as a push sends them.
fn push_large(world: &World) -> Result<Vec<Receipt>> {
    let large = |n: u8| {
        let bytes = vec![n; 100 << 10];
        PutBlock { sum: Sum::of(&bytes), bytes, ..block(n) }
    };
    let blocks: Vec<PutBlock> = (1..=9).map(large).collect();
    let ids: Vec<BlockId> = blocks.iter().map(|block| block.id).collect();
    let offered = world.nodes.offer(&world.grant, &ids)?;
    let mut sent = world.nodes.put(&offered.view, &world.grant, blocks.into_iter().zip(offered.wanted).collect());
    sent.extend(offered.sent);
    world.nodes.settle(&offered.view, &ids, sent)
}

fn chained(count: u8) -> World {
    let world = world(count);
    for fake in &world.fakes {
        *fake.others.lock().unwrap() = world.fakes.clone();
    }
    world
}

/// Members that have a receipt for every one of the blocks.
fn complete(receipts: &[Receipt]) -> usize {
    let mut held: BTreeMap<NodeId, std::collections::BTreeSet<BlockId>> = BTreeMap::new();
    for receipt in receipts {
        held.entry(receipt.node).or_default().extend(receipt.blocks.iter().map(|block| block.id));
    }
    held.values().filter(|ids| ids.len() == 9).count()
}

#[test]
fn large_blocks_leave_once_and_every_member_answers_for_them() {
    let world = chained(4);
    assert_eq!(complete(&push_large(&world).unwrap()), 3);
    let puts: usize = world.fakes.iter().map(|fake| fake.puts.load(Relaxed)).sum();
    assert!((1..=3).contains(&puts), "{puts} requests for one request's worth of blocks");
    assert!(world.fakes[3].held.lock().unwrap().is_empty());
}

#[test]
fn a_chain_survives_any_one_of_its_nodes() {
    for dead in 0..3 {
        let world = chained(3);
        let offered = world.nodes.offer(&world.grant, &[block(1).id]).unwrap();
        drop(offered);
        // It dies between offer and put.
        world.fakes[dead].dies_before_receipt.store(true, Relaxed);
        assert_eq!(complete(&push_large(&world).unwrap()), 2, "node {dead}");
        let world = chained(3);
        world.fakes[dead].dead.store(true, Relaxed);
        assert_eq!(complete(&push_large(&world).unwrap()), 2, "node {dead}");
    }
}

#[test]
fn blocks_whose_first_node_fails_go_to_the_others() {
    let world = chained(3);
    let ids = [block(1).id];
    let offered = world.nodes.offer(&world.grant, &ids).unwrap();
    let bytes = vec![1; 400 << 10];
    let large = PutBlock { sum: Sum::of(&bytes), bytes, ..block(1) };
    world.fakes[1].dead.store(true, Relaxed);
    let mut sent = world.nodes.put(&offered.view, &world.grant, vec![(large, offered.wanted[0])]);
    sent.extend(offered.sent);
    let receipts = world.nodes.settle(&offered.view, &ids, sent).unwrap();
    assert_eq!(receipts.len(), 2);
    assert!(world.fakes[0].holds(&ids[0]) && world.fakes[2].holds(&ids[0]));
}

#[test]
fn a_node_that_changes_bytes_on_the_way_is_found_out() {
    let world = chained(3);
    for fake in &world.fakes {
        fake.lies.store(true, Relaxed);
    }
    let error = push_large(&world).unwrap_err();
    assert!(error.to_string().contains("not what was sent"), "{error}");
}

#[test]
fn what_too_few_have_is_sent_again_when_nodes_answer_again() {
    let world = chained(3);
    for busy in [0, 1, 2] {
        world.fakes[busy].busy.store(2, Relaxed);
    }
    assert!(complete(&push_large(&world).unwrap()) >= 2);
}

#[test]
fn small_blocks_come_back_too_from_nodes_that_fail() {
    let world = chained(3);
    world.fakes[0].busy.store(1, Relaxed);
    world.fakes[1].busy.store(1, Relaxed);
    assert!(world.push(1).unwrap().len() >= 2);
}

#[test]
fn a_full_node_is_passed_over_and_a_push_without_room_ends() {
    let world = chained(3);
    world.fakes[1].full.store(true, Relaxed);
    assert_eq!(complete(&push_large(&world).unwrap()), 2);
    assert!(world.nodes.choice.avoids(&world.fakes[1].id()));
    let before = world.fakes[1].puts.load(Relaxed);
    assert_eq!(world.push(50).unwrap().len(), 2);
    assert_eq!(world.fakes[1].puts.load(Relaxed), before, "it is sent nothing more");
    world.fakes[0].full.store(true, Relaxed);
    let began = Instant::now();
    assert!(matches!(world.push(51), Err(ServiceError::Full { .. })));
    assert!(began.elapsed() < world.nodes.patience, "room does not come by waiting");
}

#[test]
fn a_push_goes_on_by_the_layout_that_came_in_its_middle() {
    let world = chained(5);
    let ids = [block(1).id];
    let offered = world.nodes.offer(&world.grant, &ids).unwrap();
    // Two of three members are replaced before the blocks are sent.
    *world.told.newer.lock().unwrap() = Some(layout(2, &[1, 2, 3, 4, 5], &[2, 3, 4]));
    world.fakes[0].foreign.store(true, Relaxed);
    world.fakes[1].foreign.store(true, Relaxed);
    let mut sent = world.nodes.put(&offered.view, &world.grant, vec![(block(1), offered.wanted[0])]);
    sent.extend(offered.sent);
    let receipts = world.nodes.settle(&offered.view, &ids, sent).unwrap();
    let of_new = (2..5).filter(|at| receipts.iter().any(|receipt| receipt.node == world.fakes[*at].id()));
    assert_eq!(of_new.count(), 3);
    assert_eq!(world.nodes.view().layout.version, 2);
}

#[test]
fn blocks_are_offered_to_those_who_are_members_by_now() {
    let world = chained(5);
    *world.told.newer.lock().unwrap() = Some(layout(2, &[1, 2, 3, 4, 5], &[2, 3, 4]));
    (0..3).for_each(|old| world.fakes[old].dead.store(old < 2, Relaxed));
    assert_eq!(world.push(1).unwrap().len(), 3);
}

#[test]
fn a_silent_node_is_not_waited_for_when_the_others_are_enough() {
    let world = chained(3);
    let offered = world.nodes.offer(&world.grant, &[block(1).id]).unwrap();
    let mut sent = world.nodes.put(&offered.view, &world.grant, vec![(block(1), offered.wanted[0])]);
    sent.extend(offered.sent);
    let (_never, pending) = PendingReceipt::new();
    let silent = world.fakes[2].id();
    sent.push(super::Sent { node: silent, what: super::write::What::Receipt(Ok(pending)) });
    let began = Instant::now();
    let late = Duration::from_millis(20);
    let receipts = world.nodes.settle_within(late, &offered.view, &[block(1).id], sent).unwrap();
    assert!(receipts.len() >= 2 && began.elapsed() < 10 * late && world.nodes.choice.avoids(&silent));
}

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
        let stored =
            PutBlock { id: page.id, kind: page.kind, domain: keys.domain_id(), sum: frame.sum, bytes: frame.bytes };
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

#[test]
fn nodes_whose_ticket_has_expired_are_shown_another() {
    let mut world = world(3);
    world.push(1).unwrap();
    let refuse = |world: &World| world.fakes.iter().for_each(|fake| fake.strange.store(true, Relaxed));
    refuse(&world);
    assert!(matches!(world.push(2), Err(ServiceError::Denied(_))), "there is no other");
    assert!(matches!(world.nodes.get(&block(1).id), Err(ServiceError::Denied(_))));
    let fakes = world.fakes.clone();
    let admit = move |node: &NodeId| {
        fakes.iter().filter(|fake| fake.id() == *node).for_each(|fake| fake.strange.store(false, Relaxed));
        true
    };
    world.nodes = world.nodes.admitted_by(Box::new(admit));
    assert_eq!(world.push(2).unwrap().len(), 3);
    refuse(&world);
    assert_eq!(world.nodes.get(&block(1).id).unwrap(), block(1).bytes);
    refuse(&world);
    assert_eq!(world.nodes.put_object(&world.grant, block(3)).unwrap().len(), 3, "an object is not offered before");
    assert!(world.fakes.iter().all(|fake| !world.nodes.choice.avoids(&fake.id())));
}
