//! Laws 1, 2, 3, 8: after a power cut at any moment, with anything of the unsynced lost, what was acknowledged before it is
//! there, whole, and the store needs no repair.
//!
//! The processes run under the shim that writes down every write, cut, name and sync; [`crate::trace`] then makes what a disk
//! may have at any moment. That is harder than a real cut, where most of the unsynced survives. Identity, cache and memory
//! of the person are cut too: they lie on the same disk.

use crate::cases::{Dice, cases};
use crate::desk::{Desk, Done};
use crate::faults::Fault;
use crate::trace::{Disk, Loss, Op, cut_power, read};
use crate::world::{Expected, World, change, plant};
use std::fs;
use std::sync::OnceLock;

/// A history with its trace.
struct Recorded {
    world: World,
    ops: Vec<Op>,
    /// What was to be expected when the trace was this long, in bytes.
    moments: Vec<(u64, Expected)>,
}

/// First push, more pushes, forgetting, collecting, a rebuild.
fn record(law: &str) -> Recorded {
    let mut dice = Dice::of_all(law);
    let desk = Desk::new();
    plant(&desk.path("tree"), &mut dice);
    let mut recorded =
        Recorded { world: World { desk, expected: Expected::default() }, ops: Vec::new(), moments: Vec::new() };
    let fault = Fault::none(recorded.world.desk.home()).traced(recorded.world.desk.path("trace"));
    recorded.step(|world| world.desk.cas_with(&fault, ["init", "--blocks", "fine"]));
    for _ in 0..2 {
        recorded.step(|world| world.try_push("a", &fault).expect("a push"));
        change(&recorded.world.desk.path("tree"), &mut dice);
    }
    recorded.step(|world| world.try_forget(("a", 1), &fault).expect("forgotten"));
    recorded.step(|world| world.desk.cas_with(&fault, ["gc", "--now"]));
    recorded.step(|world| world.try_push("b", &fault).expect("a push"));
    change(&recorded.world.desk.path("tree"), &mut dice);
    recorded.step(|world| world.try_push("a", &fault).expect("a push"));
    recorded.ops = read(&recorded.world.desk.path("trace"));
    recorded
}

impl Recorded {
    fn step(&mut self, run: impl FnOnce(&mut World) -> Done) {
        let begun = self.world.expected.clone();
        let done = run(&mut self.world);
        assert_eq!(done.code, 0, "{done:#?}");
        // Until it is acknowledged: what was before, less what may be on its way out, and what may be on its way in.
        let mut between = begun;
        between.required.retain(|version| self.world.expected.required.contains(version));
        between.versions.clone_from(&self.world.expected.versions);
        let before = self.moments.last().map_or(0, |(end, _)| *end);
        let end = fs::metadata(self.world.desk.path("trace")).expect("the trace").len();
        self.moments.push((before, between));
        self.moments.push((end, self.world.expected.clone()));
    }

    /// What must be there when the power goes after `op`.
    fn expected_after(&self, op: &Op) -> Expected {
        let last = self.moments.iter().rfind(|(end, _)| *end <= op.end);
        last.expect("the first moment is at the very beginning").1.clone()
    }

    /// A world as the disk has it after the first `count` operations.
    fn after_cut(&self, count: usize, disk: Disk, loss: Loss, dice: &mut Dice) -> World {
        let desk = Desk::new();
        cut_power(&self.ops[..count], disk, loss, dice, &desk.home());
        let tree = self.world.desk.path("tree");
        let copied = std::process::Command::new("cp").arg("-a").arg(tree).arg(desk.path("tree")).status();
        assert!(copied.is_ok_and(|status| status.success()));
        World { desk, expected: self.expected_after(&self.ops[count - 1]) }
    }

    /// The operation with which the first command ended: before it there is no store to speak of.
    fn initialized(&self) -> usize {
        self.ops.iter().position(|op| op.end > self.moments[1].0).expect("more was done")
    }
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there_and_the_store_works() {
    let recorded = OnceLock::new();
    cases("power::after_a_power_cut", 150, |dice| {
        let recorded = recorded.get_or_init(|| record("power"));
        let first = recorded.initialized();
        let count = match dice.below(3) {
            // Right after an acknowledgement, when it matters most.
            0 => {
                let (end, _) = recorded.moments[1 + 2 * dice.below(recorded.moments.len() as u64 / 2) as usize];
                recorded.ops.iter().position(|op| op.end == end).expect("commands end with an operation") + 1
            }
            _ => first + dice.below((recorded.ops.len() - first) as u64) as usize + 1,
        };
        let loss = *dice.one_of(&[Loss::All, Loss::None, Loss::Late, Loss::Any]);
        let mut world = recorded.after_cut(count, Disk::Honest, loss, dice);
        world
            .verify_and_push()
            .map_err(|why| format!("cut after operation {count} ({}), {loss:?} lost: {why}", recorded.ops[count - 1]))
    });
}

#[test]
fn a_disk_that_lies_is_noticed_by_these_tests() {
    let recorded = record("power");
    let mut dice = Dice::of_all("power");
    let mut world = recorded.after_cut(recorded.ops.len(), Disk::Lying, Loss::Late, &mut dice);
    assert!(world.verify().is_err(), "a disk that keeps nothing it synced passed for a good one");
}
