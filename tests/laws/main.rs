//! The laws of DESIGN §12, attacked with the program that people run: killed and failed at every file operation, after power
//! cuts, with rotten bytes, on full disks, two at a time. What a careful person would try first stands in
//! `cas-cli/tests/laws.rs`; here is what only a hostile machine does.
//!
//! Every case follows from a seed; a failure says how to replay it:
//!
//! ```text
//! CAS_TEST_SEED=1 CAS_TEST_CASE=17 cargo test -p cas-tests --test laws power:: -- --nocapture
//! ```
//!
//! `CAS_TEST_SCALE=n` runs n times as many cases, `CAS_TEST_SEED` others, `CAS_BINARY` another program. `teeth` holds the
//! tests that prove that the others bite.

mod cases;
mod collect;
mod desk;
mod failing;
mod faults;
mod full;
mod kill;
mod mount;
mod power;
mod race;
mod refused;
mod rot;
mod secrecy;
mod stopping;
mod teeth;
mod trace;
#[path = "../restore/tree.rs"]
#[allow(dead_code, reason = "its tree is made in another test")]
mod tree;
mod world;
