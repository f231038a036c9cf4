//! Nodes in memory that fail on demand, and what the whole of them promises then.

use super::{Nodes, Places};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, Sum};
use cas_core::layout::{PARTITIONS, Pool};
use cas_core::signing::SigningKey;
use cas_net::cluster::*;
use cas_net::{
    Delete, Deleted, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result, Scrubbed,
    ServiceError, SessionId, StoredBlock,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

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
}

impl Fake {
    fn new(seed: u8) -> Arc<Self> {
        let key = SigningKey::from_seed(&[seed; 32]);
        let no = || AtomicBool::new(false);
        Arc::new(Self { key, held: Mutex::default(), dead: no(), dies_before_receipt: no(), lies: no() })
    }

    fn alive(&self) -> Result<()> {
        if self.dead.load(Relaxed) { Err(gone()) } else { Ok(()) }
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
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.alive()?;
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
    fn locate(&self, _: &[BlockId]) -> Result<Vec<Option<Located>>> {
        unreachable!()
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
    let told = Arc::new(Told { newer: Mutex::default(), damage: Mutex::default() });
    let by_id = fakes.clone();
    let reach = move |info: &NodeInfo| {
        by_id.iter().find(|fake| fake.id() == info.node).map(|fake| fake.clone() as Arc<dyn Node>)
    };
    let nodes = Nodes::of(told.clone(), layout(1, &(1..=count).collect::<Vec<_>>(), &[0, 1, 2]), None, Box::new(reach));
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
    world.nodes.choice.ends(world.fakes[0].id(), std::time::Duration::ZERO);
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
    let reported = world.told.damage.lock().unwrap();
    assert!(reported.iter().all(|d| d.node != world.fakes[2].id()) && !reported.is_empty());
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
