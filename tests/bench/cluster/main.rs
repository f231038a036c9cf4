//! What a cluster costs: `cargo bench -p cas-tests --bench cluster -- [SECTION …] [--mib N] [--files N] [--runs N] [--heal-mib N]`.
//!
//! Sections: `push` (and pull), `small`, `have`, `heal`, `many`; all but the last without one being named. Servers are processes of
//! the program `cas` on the loopback, folders lie in memory (`CAS_BENCH_DIR`, else /dev/shm), CPU time is that of all processes
//! together. Beside each figure stands the one that is wanted of it; raw QUIC, with the same settings, runs in the same run.

mod data;
mod embedded;
mod figures;
mod have;
mod heal;
mod meter;
mod push;
mod raw;
mod small;
mod town;

/// So many times the small files, and smaller ones, show what grows with their number.
const MANY: usize = 5;

/// What to measure, and how much of it.
pub struct Plan {
    sections: Vec<String>,
    /// Of incompressible data, in a run.
    pub mib: usize,
    /// Small ones.
    pub files: usize,
    /// Of which the least is told.
    pub runs: usize,
    /// Pushed before a node dies.
    pub heal_mib: usize,
}

impl Plan {
    fn of(mut args: impl Iterator<Item = String>) -> Self {
        let mut plan = Self { sections: Vec::new(), mib: 512, files: 80_000, runs: 3, heal_mib: 2048 };
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{arg} N"));
            match arg.as_str() {
                "--mib" => plan.mib = number(),
                "--files" => plan.files = number(),
                "--runs" => plan.runs = number(),
                "--heal-mib" => plan.heal_mib = number(),
                // Cargo says that this is a benchmark.
                "--bench" => {}
                section => plan.sections.push(section.to_owned()),
            }
        }
        if plan.sections.is_empty() {
            plan.sections = ["push", "small", "have", "heal"].map(str::to_owned).to_vec();
        }
        plan
    }

    fn has(&self, section: &str) -> bool {
        self.sections.iter().any(|name| name == section)
    }
}

fn main() {
    if let Some(role) = std::env::args().nth(1).filter(|role| role == raw::SERVER) {
        return raw::serve(&role);
    }
    let plan = Plan::of(std::env::args().skip(1));
    if plan.has("push") {
        push::measure_all(&plan);
    }
    if plan.has("small") || plan.has("have") {
        small::measure_all(plan.runs, plan.files, 16, plan.has("have"));
    }
    if plan.has("many") {
        small::measure_all(1, MANY * plan.files, 2, true);
    }
    if plan.has("heal") {
        heal::measure_all(plan.heal_mib / 4);
        heal::measure_all(plan.heal_mib);
    }
}
