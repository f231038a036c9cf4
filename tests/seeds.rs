//! The seeds of the fuzz targets, run without libFuzzer: as they are, cut at every byte, with bits flipped.
//!
//! To look at one input: `cargo test -p cas-tests --test seeds`, with the file added to `fuzz/seeds/TARGET/`.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use targets::{TARGETS, run, seeds};

/// Cuts and flips of one seed, each.
const MUTATIONS: usize = 400;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds")
}

/// Per target and name what is committed.
fn committed() -> BTreeMap<(String, String), Vec<u8>> {
    let entries = |folder: &Path| fs::read_dir(folder).expect("seeds are there").map(|e| e.expect("readable").path());
    let last = |path: &Path| path.file_name().expect("a name").to_str().expect("in ASCII").to_owned();
    let files = entries(&folder()).flat_map(|folder| entries(&folder).collect::<Vec<_>>());
    let named =
        |file: PathBuf| ((last(file.parent().expect("in a folder")), last(&file)), fs::read(&file).expect("a file"));
    files.map(named).collect()
}

#[test]
fn what_is_committed_is_what_the_program_makes() {
    let made: BTreeMap<_, _> = seeds().into_iter().map(|(t, n, bytes)| ((t.to_owned(), n), bytes)).collect();
    let committed = committed();
    let differ = |key: &&(String, String)| made.get(*key) != committed.get(*key);
    let all: std::collections::BTreeSet<_> = made.keys().chain(committed.keys()).collect();
    let wrong: Vec<_> = all.into_iter().filter(differ).collect();
    assert!(wrong.is_empty(), "a format changed, or `cargo run --example seeds` was not run in fuzz/: {wrong:?}");
}

#[test]
fn every_target_accepts_a_seed_and_is_a_program() {
    let committed = committed();
    for (target, _) in TARGETS {
        assert!(committed.keys().any(|(t, name)| t == target && !name.starts_with("refused")), "{target} has no seed");
        let program = folder().join(format!("../fuzz_targets/{target}.rs"));
        assert!(
            fs::read_to_string(&program).is_ok_and(|p| p.contains(&format!("\"{target}\""))),
            "{}",
            program.display()
        );
    }
}

#[test]
fn a_seed_is_accepted_unless_its_name_says_otherwise() {
    for ((target, name), bytes) in committed() {
        assert_eq!(run(&target, &bytes), !name.starts_with("refused"), "{target}/{name}");
    }
}

#[test]
fn a_seed_cut_anywhere_breaks_no_law() {
    for ((target, _), bytes) in committed() {
        for len in (0..bytes.len()).step_by(bytes.len() / MUTATIONS + 1) {
            run(&target, &bytes[..len]);
        }
    }
}

#[test]
fn a_seed_with_changed_bytes_breaks_no_law() {
    for ((target, _), bytes) in committed() {
        for at in (0..bytes.len()).step_by(bytes.len() / MUTATIONS + 1) {
            for changed in [bytes[at] ^ 1 << (at % 8), 0, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = changed;
                run(&target, &bad);
            }
        }
    }
}
