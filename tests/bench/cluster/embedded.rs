//! The same work on a store in a folder: what a push or pull costs without a network.

use super::meter::{Cost, measure};
use super::town::{run, scratch};
use std::path::Path;

/// A person with a store.
pub struct Embedded(tempfile::TempDir);

impl Embedded {
    /// With a vault.
    pub fn new() -> Self {
        let home = scratch();
        std::fs::create_dir(home.path().join("seed")).expect("a folder");
        run(home.path(), &["push", "seed", "--name", "seed"]);
        Self(home)
    }

    pub fn push(&self, from: &Path, name: &str) -> Cost {
        let from = from.to_str().expect("a path");
        measure(&[], || run(self.0.path(), &["push", from, "--name", name])).1
    }

    /// What is restored is removed again.
    pub fn pull(&self, name: &str) -> Cost {
        let cost = measure(&[], || run(self.0.path(), &["pull", name, "there"])).1;
        std::fs::remove_dir_all(self.0.path().join("there")).expect("it was restored");
        cost
    }
}
