//! What the nodes of a store promise as a whole when some of them fail, fall silent or lie: nodes in memory, and a layout of them.

mod ahead;
mod chain;
mod fake;
mod layout;
mod read;
mod told;
mod write;

use super::Nodes;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, Sum};
use cas_core::layout::{PARTITIONS, Pool};
use cas_core::signing::SigningKey;
use cas_net::cluster::{Health, Layout, Load, Member, NodeInfo, NodeWant, Space};
use cas_net::{Grant, Node, NodeId, PutBlock, Result, SessionId};
use fake::Fake;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use told::Told;

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

fn chained(count: u8) -> World {
    let world = world(count);
    for fake in &world.fakes {
        *fake.others.lock().unwrap() = world.fakes.clone();
    }
    world
}

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

fn layout(version: u64, nodes: &[u8], members: &[u16]) -> Layout {
    let nodes = nodes.iter().map(|seed| info(*seed, "r")).collect();
    let members: Vec<_> = members.iter().map(|node| Member { node: *node, flags: 0 }).collect();
    Layout { version, pool: Pool::R3 as u8, nodes, partitions: vec![members; PARTITIONS] }
}

fn block(n: u8) -> PutBlock {
    let bytes = vec![n; 100];
    PutBlock {
        id: BlockId([n; 32]),
        kind: Kind::Data,
        domain: DomainId([0; 16]),
        sum: Sum::of(&bytes),
        bytes: bytes.into(),
    }
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
