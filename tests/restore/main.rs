//! Law 1 and FORMAT.md together: `restore.py`, written from the document and without a line of ours, gives back what was
//! pushed, and says so where it cannot.
//!
//! Needs python3 with blake3, cryptography, pyrage and zstandard. Without them the tests say so and pass; with
//! `CAS_REQUIRE_PYTHON=1` in the environment they fail.

mod tree;

use cas_client::identity;
use cas_client::push::{self, Counters, ExcludeRules, PushOptions};
use cas_client::store::{Store, now_ns};
use cas_client::vault::{NewVault, Vault};
use cas_core::agebox::Identity;
use cas_core::domain::{DomainRecord, Profile};
use cas_core::frame::Compression;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;
use tree::{Original, looks};

const NAME: &str = "test/tree";
const MODULES: &str = "import blake3, cryptography, pyrage, zstandard";

/// A store with one version of a tree, in a folder of its own.
struct Pushed {
    root: TempDir,
    original: Original,
}

impl Pushed {
    fn new() -> Self {
        let root = TempDir::new().expect("a folder");
        let original = Original::make(&root.path().join("original"));
        let pushed = Self { root, original };
        pushed.push();
        pushed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn push(&self) {
        let store = Store::create(&self.path("store"), "test").expect("a store");
        let identity = identity::create(&self.path("identity"), "of the test").expect("an identity");
        let new = NewVault {
            domain: DomainRecord::of_profile(Profile::Fine),
            owner: identity.recipient(),
            recovery: Identity::from_random(&[7; 32]).recipient(),
            label: "test".to_owned(),
        };
        let mut vault = Vault::create(&store, vec![identity], new, &self.path("state")).expect("a vault");
        let options = options(&self.original.path);
        let counters = Arc::<Counters>::default();
        let report = push::push(&store, &mut vault, &self.path("cache"), &options, &counters, &AtomicBool::new(false));
        let report = report.expect("a push");
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        store.close().expect("a clean end");
    }

    fn restore(&self, target: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("restore/restore.py");
        let mut python = Command::new("python3");
        python.arg(script).arg(self.path("store")).arg(self.path("identity")).arg(NAME).arg(self.path(target));
        python.output().expect("python3 was there a moment ago")
    }
}

fn options(path: &Path) -> PushOptions {
    PushOptions {
        paths: vec![path.to_owned()],
        name: NAME.to_owned(),
        excludes: ExcludeRules::default(),
        one_file_system: false,
        compression: Compression::Zstd(3),
        force: false,
        dry_run: false,
        jobs: 2,
        host: "host".to_owned(),
        user: "user".to_owned(),
        tags: vec!["tag".to_owned()],
        time_ns: Some(now_ns()),
        program: "test".to_owned(),
    }
}

/// Whether the program can run here.
fn python_is_there() -> bool {
    let said = Command::new("python3").args(["-c", MODULES]).output();
    let why = match said {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(e) => e.to_string(),
    };
    assert!(std::env::var_os("CAS_REQUIRE_PYTHON").is_none(), "restore.py cannot run: {why}");
    eprintln!("skipped, restore.py cannot run: {why}");
    false
}

#[test]
fn a_stranger_restores_everything_from_the_segments_alone() {
    if !python_is_there() {
        return;
    }
    let pushed = Pushed::new();
    for gone in ["store/index", "store/cas-store", "state", "cache"] {
        let path = pushed.path(gone);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("was there");
    }
    let _ = fs::remove_file(pushed.path("store/node/index.redb")); // Not written for so few blocks.
    let output = pushed.restore("restored");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(looks(&pushed.path("restored")), looks(&pushed.original.path));
}

#[test]
fn a_flipped_byte_anywhere_is_noticed_and_what_is_not_named_is_whole() {
    if !python_is_there() {
        return;
    }
    let pushed = Pushed::new();
    let segment = pushed.path("store/node/segments/0000000000.seg");
    let good = fs::read(&segment).expect("the first segment");
    let original = looks(&pushed.original.path);
    for n in 1..16 {
        let at = good.len() * n / 16;
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&segment, bad).expect("writable");
        let target = format!("restored-{n}");
        let output = pushed.restore(&target);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && !said.contains("Traceback"), "byte {at}: {said}");
        let restored = looks(&pushed.path(&target));
        for (path, look) in &restored {
            let named = said.contains(path) || path.is_empty();
            assert!(named || original[path].content == look.content, "byte {at}: {path} differs, said: {said}");
        }
        for path in original.keys().filter(|path| !restored.contains_key(*path)) {
            let named = said.contains(path) || said.contains("part of the tree");
            assert!(named, "byte {at}: {path} is not there, said: {said}");
        }
    }
}
