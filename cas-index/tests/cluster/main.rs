//! The laws of a cluster (DESIGN §12: 1, 2, 4, 5) under random events: pushes, losses, returns, drains, layouts, collection,
//! and crashes of the index, with nodes that are maps in memory. `CAS_SEED=n` replays one: the same events, in the same order, with
//! the same ids and epochs. (Tokens to join with are drawn anew; nothing depends on what they are.)

mod events;
mod laws;
mod node;
mod orders;
mod push;
#[path = "../support/mod.rs"]
mod support;

use cas_core::id::{BlockId, SnapshotId};
use cas_index::cluster::planner::Throttle;
use cas_index::{Index, Options};
use cas_net::cluster::{Cluster, Join, Layout};
use cas_net::{Delete, Index as _, NodeId};
use node::SimNode;
use std::collections::BTreeMap;
use support::{Clock, Dice, device, for_seeds, options};

const SECOND: i64 = 1_000_000_000;

/// An index, nodes, and what was promised to clients.
struct Sim {
    dice: Dice,
    dir: tempfile::TempDir,
    clock: Clock,
    options: Options,
    index: Option<Index>,
    nodes: Vec<SimNode>,
    now_ns: i64,
    pushes: u64,
    /// Versions that were acknowledged and not forgotten, and the blocks they need.
    kept: BTreeMap<SnapshotId, Vec<BlockId>>,
    /// Deletes that are still on their way.
    late: Vec<(usize, Delete)>,
    events: Vec<String>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::default());
        let throttle = Throttle { moves_per_node: 4096, ..Throttle::default() };
        // No checkpoint by the time that really passes: it makes durable, and grants say, what no seed says.
        let options = Options { throttle, checkpoint_worth: u64::MAX, ..options(&clock) };
        let index = Some(Index::open(dir.path(), options.clone()).unwrap());
        let mut sim = Self {
            dice: Dice(seed),
            dir,
            clock,
            options,
            index,
            nodes: Vec::new(),
            now_ns: 0,
            pushes: 0,
            kept: BTreeMap::new(),
            late: Vec::new(),
            events: Vec::new(),
        };
        sim.join();
        sim
    }

    fn index(&self) -> &Index {
        self.index.as_ref().unwrap()
    }

    fn layout(&self) -> Layout {
        self.index().layout(0).unwrap().expect("a node has joined")
    }

    fn say(&mut self, what: impl Into<String>) {
        self.events.push(what.into());
    }

    fn join(&mut self) {
        self.nodes.push(SimNode::new(self.nodes.len() as u8 + 10));
        self.let_in(self.nodes.len() - 1);
        self.say("join");
    }

    fn let_in(&self, n: usize) {
        let node = &self.nodes[n];
        let without = Join { node: node.id(), token: None, disk: node.disk, capacity: 1000, addresses: vec![] };
        assert!(self.index().join(&without).is_err(), "nobody joins without a token");
        let token = Some(self.index().join_token(&format!("rack {}", (n + 10) % 3), 60 * SECOND).unwrap());
        let join = Join { token, ..without };
        self.index().join(&join).unwrap();
        assert!(self.index().join(&Join { node: NodeId(device().public()), ..join }).is_err(), "a token is used once");
    }

    /// A few nodes, all of them laid out.
    fn begun(seed: u64) -> Self {
        let mut sim = Self::new(seed);
        (0..sim.dice.below(5)).for_each(|_| sim.join());
        match sim.nodes.len() {
            1 => {}
            2 => sim.settle("r2"),
            _ => sim.settle(if seed.is_multiple_of(3) { "r2" } else { "r3" }),
        }
        sim
    }

    /// Pushes, and whatever happens beside them; the laws are looked at after each step.
    fn live(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.dice.chance(2) {
                self.push()
            } else {
                self.events(true)
            }
            self.check();
        }
    }

    /// Tells a story; if it breaks a law, says what had happened.
    fn tell(&mut self, story: impl FnOnce(&mut Self)) {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(self)));
        if let Err(panic) = told {
            eprintln!("events: {}", self.events.join(", "));
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn no_order_of_events_loses_a_copy_that_counts() {
    for_seeds(6, |seed| {
        let mut sim = Sim::begun(seed);
        sim.tell(|sim| {
            sim.live(50);
            sim.lose_a_disk();
            sim.live(50);
            sim.rest();
        });
        let said = |what: &str| sim.events.iter().filter(|event| event.contains(what)).count();
        println!(
            "seed {seed}: {} nodes, {}: {} of {} pushes, {} forgotten, {} silent, {} disks, {} crashes, {} operations",
            sim.nodes.len(),
            sim.layout().pool().unwrap(),
            said("push"),
            sim.pushes,
            said("forget"),
            said("silent"),
            said("disk"),
            said("crash"),
            said("operator")
        );
    });
}

#[test]
fn a_seed_replays_the_same_events() {
    // Nor do two processes differ in what is made once in each.
    const ID: &str = "74a61e604542a383f707a778d9a29808147a5a5e7dc35d60fbb6cfd4f32f5b0b";
    let object = support::snapshot("n", 1, SnapshotId([0; 32]), support::data(1).id(), 0);
    assert_eq!(object.object_id().to_string(), ID);
    let [first, again] = [(); 2].map(|()| {
        let mut sim = Sim::begun(3);
        sim.tell(|sim| sim.live(40));
        let copies: Vec<String> = sim.nodes.iter().map(|node| format!("{:?}", node.copies)).collect();
        (sim.events, sim.dice.0, copies)
    });
    assert_eq!(first, again);
}

/// Law 9. Nobody has looked for strays: what a node gave away, it still holds.
#[test]
fn an_index_made_from_nodes_knows_what_the_old_one_knew_whatever_has_moved() {
    for_seeds(4, |seed| {
        let mut sim = Sim::new(seed);
        (0..3 + sim.dice.below(3)).for_each(|_| sim.join());
        let pool = if seed % 3 == 0 { "r2" } else { "r3" };
        sim.settle(pool);
        sim.tell(|sim| {
            for round in 0..2 {
                for _ in 0..30 {
                    match sim.dice.below(5) {
                        0 | 1 => sim.push(),
                        2 => sim.forget(),
                        3 => sim.collect(),
                        _ => sim.operate(),
                    }
                    let some = sim.dice.below(8) as i64;
                    sim.pass(some);
                }
                sim.all_are_members();
                sim.settle(pool);
                let [before, after] = sim.lose_index();
                assert_eq!(after, before, "versions after round {round}");
                sim.settle(pool);
                sim.check();
                assert_eq!(sim.index().status().unwrap().bad, 0);
            }
            sim.rest();
        });
    });
}
