//! Many small files: wall time of a push beside that into the embedded store; a second push that changes nothing; memory.

use super::data;
use super::embedded::Embedded;
use super::figures::{at_most, least, times, title};
use super::have;
use super::meter::{Cost, measure};
use super::town::{Town, scratch, warm};

/// Wall time of a push as a multiple of that into the embedded store.
const ONE: f64 = 1.5;
/// The same with three copies.
const THREE: f64 = 2.5;

/// See the module. With `with_have` the index is asked for all of these blocks as well.
pub fn measure_all(runs: usize, files: usize, longest_kib: usize, with_have: bool) {
    let (one, three) = (Town::new(1, "r1"), Town::new(3, "r3"));
    let [mut embedded, mut r1, mut r3, mut back] = std::array::from_fn(|_| Vec::new());
    let mut size = 0;
    for run in 0..runs {
        let source = scratch();
        size = data::small(source.path(), 77 + run as u64, files, longest_kib);
        let (from, name) = (source.path().to_str().expect("a path"), format!("small{run}"));
        let store = Embedded::new();
        warm(3 * size);
        embedded.push(store.push(source.path(), &name));
        drop(store);
        for (town, costs) in [(&one, &mut r1), (&three, &mut r3)] {
            warm((town.nodes.len() + 2) * size);
            let before = town.shares();
            let cost = measure(&town.pids(), || town.cas(&["push", from, "--name", &name])).1;
            town.tell_shares("push", &before, &cost);
            costs.push(cost);
        }
        back.push(measure(&three.pids(), || three.cas(&["pull", &name, "there"])).1);
        std::fs::remove_dir_all(three.path("there")).expect("it was restored");
    }
    title(&format!("{files} files of 1 to {longest_kib} KiB, {} MB, least of {runs}", size / 1_000_000));
    let [embedded, r1, r3, back] = [embedded, r1, r3, back].map(|costs: Vec<Cost>| least(costs, |cost| cost.wall));
    times("push, embedded", &embedded);
    times("push, one copy", &r1);
    times("push, three copies", &r3);
    times("pull, three copies", &back);
    let against = |cost: &Cost| cost.wall.as_secs_f64() / embedded.wall.as_secs_f64();
    at_most("push, one copy, against embedded", against(&r1), ONE, "x");
    at_most("push, three copies, against embedded", against(&r3), THREE, "x");
    if with_have {
        have::measure(&three);
    }
    one.tell_memory();
    three.tell_memory();
}
