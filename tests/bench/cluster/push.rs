//! Push and pull of incompressible data: CPU a byte of all processes, beside raw QUIC and beside the embedded store.

use super::Plan;
use super::data;
use super::embedded::Embedded;
use super::figures::{at_most, bytes, least, title};
use super::meter::{Cost, measure};
use super::raw::Raw;
use super::town::{Town, scratch, warm};
use std::path::Path;

/// What a push may cost above raw QUIC, one copy; in nanoseconds a byte.
const PUSH: f64 = 2.5;
/// What a push of three copies may cost above three times raw QUIC.
const PUSH_THREE: f64 = 4.0;
/// What a pull may cost above raw QUIC.
const PULL: f64 = 2.0;

/// A push and a pull of the same data.
#[derive(Default)]
struct Pair {
    push: Vec<Cost>,
    pull: Vec<Cost>,
}

impl Pair {
    fn least(self) -> (Cost, Cost) {
        (least(self.push, |cost| cost.cpu), least(self.pull, |cost| cost.cpu))
    }
}

/// See the module.
pub fn measure_all(plan: &Plan) {
    let (one, three) = (Town::new(1, "r1"), Town::new(3, "r3"));
    let wire = Raw::start();
    let [mut raw, mut embedded, mut r1, mut r3] = std::array::from_fn(|_| Pair::default());
    let size = plan.mib << 20;
    // It warms up: windows, path MTU, congestion.
    wire.push(size);
    for run in 0..plan.runs {
        let (source, name) = (scratch(), format!("run{run}"));
        data::large(source.path(), run as u64 + 1, plan.mib);
        raw.push.push(wire.push(size));
        let store = Embedded::new();
        warm(3 * size);
        embedded.push.push(store.push(source.path(), &name));
        embedded.pull.push(store.pull(&name));
        drop(store);
        both(&one, source.path(), &name, size, &mut r1);
        both(&three, source.path(), &name, size, &mut r3);
        raw.pull.push(wire.pull(size));
    }
    title(&format!("push and pull of {} MiB that do not compress, least of {}", plan.mib, plan.runs));
    let [raw, embedded, r1, r3] = [raw, embedded, r1, r3].map(Pair::least);
    let told = [("raw QUIC", raw), ("embedded", embedded), ("one copy", r1), ("three copies", r3)];
    for (what, (push, pull)) in &told {
        bytes(&format!("push, {what}"), push, size);
        bytes(&format!("pull, {what}"), pull, size);
    }
    let ns = |cost: &Cost| cost.ns_per_byte(size);
    let above = |pair: (Cost, Cost)| (ns(&pair.0) - ns(&raw.0), ns(&pair.1) - ns(&raw.1));
    at_most("push, one copy, above raw", above(r1).0, PUSH, "ns");
    at_most("push, three copies, above 3 x raw", ns(&r3.0) - 3.0 * ns(&raw.0), PUSH_THREE, "ns");
    at_most("pull, one copy, above raw", above(r1).1, PULL, "ns");
    at_most("pull, three copies, above raw", above(r3).1, PULL, "ns");
    title(
        "the same without what the embedded store takes for it: reading, cutting, naming, sealing, keeping, restoring",
    );
    println!("push, one copy, above raw and embedded: {:.2} ns", above(r1).0 - ns(&embedded.0));
    println!(
        "push, three copies, above 3 x raw and embedded: {:.2} ns",
        ns(&r3.0) - 3.0 * ns(&raw.0) - ns(&embedded.0)
    );
    println!("pull, one copy, above raw and embedded: {:.2} ns", above(r1).1 - ns(&embedded.1));
    one.tell_memory();
    three.tell_memory();
}

fn both(town: &Town, from: &Path, name: &str, size: usize, costs: &mut Pair) {
    let from = from.to_str().expect("a path");
    warm((town.nodes.len() + 2) * size);
    let before = town.shares();
    costs.push.push(measure(&town.pids(), || town.cas(&["push", from, "--name", name])).1);
    town.tell_shares("push", &before, costs.push.last().expect("it was just pushed"));
    warm(2 * size);
    let before = town.shares();
    costs.pull.push(measure(&town.pids(), || town.cas(&["pull", name, "there"])).1);
    town.tell_shares("pull", &before, costs.pull.last().expect("it was just pulled"));
    std::fs::remove_dir_all(town.path("there")).expect("it was restored");
}
