//! Somebody with a device, a folder and a vault in the cluster.

use crate::world::{PASSWORD, World};
use cas_client::browse::Opened;
use cas_client::check::{CheckOptions, CheckProgress, CheckReport, Sample, check};
use cas_client::forget::forget;
use cas_client::pull::{Overwrite, Progress, PullOptions, pull};
use cas_client::push::{Counters, ExcludeRules, PushOptions, PushReport, push};
use cas_client::random;
use cas_client::reference::Reference;
use cas_client::store::cluster::{Cluster, Reach};
use cas_client::store::{Store, now_ns};
use cas_client::vault::{NewVault, Vault};
use cas_core::agebox::Identity;
use cas_core::domain::DomainRecord;
use cas_core::frame::Compression;
use cas_net::rights::{Login, Password};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// See the module.
pub struct Person {
    pub store: Store,
    pub vault: Vault,
    identity: Identity,
    dir: tempfile::TempDir,
}

impl Person {
    /// Logs in as the admin from a new device, and founds a vault.
    pub fn new(world: &World) -> Self {
        let (dir, identity) = (tempfile::tempdir().unwrap(), Identity::from_random(&random()));
        fs::create_dir(dir.path().join("src")).unwrap();
        let device = identity.device_seed();
        let reach = Reach { address: world.address(), device: &device, rack: None, state: dir.path(), waiting: None };
        let login = Login { user: "ada".into(), password: Password::new(PASSWORD), label: "test".into() };
        Cluster::reach(&reach).unwrap().rights().login(&login).unwrap();
        let store = Store::connect(&reach).unwrap();
        let new = NewVault {
            domain: DomainRecord::with_sizes(4 << 10, 16 << 10, 64 << 10).unwrap(),
            owner: identity.recipient(),
            recovery: Identity::from_random(&random()).recipient(),
            label: "test".to_owned(),
        };
        let vault = Vault::create(&store, vec![identity.clone()], new, dir.path()).unwrap();
        Self { store, vault, identity, dir }
    }

    /// The same identity on a new machine, which has seen nothing yet.
    pub fn forget_what_was_seen(&mut self, world: &World) {
        let (state, device) = (self.dir.path().join("new machine"), self.identity.device_seed());
        let reach = Reach { address: world.address(), device: &device, rack: None, state: &state, waiting: None };
        self.store = Store::connect(&reach).unwrap();
        self.vault = Vault::open(&self.store, vec![self.identity.clone()], None, &state).unwrap();
        self.admit();
    }

    fn admit(&self) {
        let cluster = self.store.cluster().expect("it is one");
        cluster.admit(&self.vault.id(), &self.vault.keys().domain_id()).unwrap();
    }

    pub fn src(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.src().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Files that follow from a seed: small ones, large ones, one that compresses.
    pub fn plant(&self, seed: u64, bytes: usize) {
        let files = 40;
        for n in 0..files {
            let len = bytes / files * 2 * n / files;
            self.write(&format!("d{}/f{n}", n % 5), &noise(seed + n as u64, len));
        }
        self.write("zeros", &vec![0; 100_000]);
        self.write("empty", b"");
    }

    pub fn try_push(&mut self, name: &str) -> cas_client::Result<PushReport> {
        let options = PushOptions {
            paths: vec![self.src()],
            name: name.to_owned(),
            excludes: ExcludeRules::default(),
            one_file_system: false,
            compression: Compression::Zstd(1),
            force: true,
            dry_run: false,
            jobs: 2,
            host: "host".to_owned(),
            user: "user".to_owned(),
            tags: Vec::new(),
            time_ns: None,
            program: "test".to_owned(),
        };
        let cache = self.dir.path().join("cache");
        push(&self.store, &mut self.vault, &cache, &options, &Arc::<Counters>::default(), &GO_ON)
    }

    /// Pushes; answers what the folder held.
    pub fn push(&mut self, name: &str) -> Tree {
        let report = self.try_push(name).unwrap();
        eprintln!("pushed {} bytes in {:.1} s", report.counts.bytes, report.elapsed.as_secs_f64());
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        self.admit();
        tree(&self.src())
    }

    pub fn open(&mut self, reference: &str) -> Opened {
        self.try_open(reference).unwrap()
    }

    pub fn try_open(&mut self, reference: &str) -> cas_client::Result<Opened> {
        Opened::open(&self.store, &mut self.vault, &Reference::parse(reference, 0).unwrap())
    }

    /// Restores a version into an empty folder and compares it with what was pushed.
    pub fn verify(&mut self, reference: &str, expected: &Tree) {
        let opened = self.open(reference);
        self.verify_opened(&opened, expected);
    }

    pub fn verify_opened(&self, opened: &Opened, expected: &Tree) {
        let back = tempfile::tempdir().unwrap();
        let options = PullOptions {
            target: back.path().join("back"),
            path: Vec::new(),
            overwrite: Overwrite::IfChanged,
            delete: false,
            dry_run: false,
            numeric_owner: false,
            excludes: ExcludeRules::default(),
            jobs: 2,
        };
        let root = opened.row.root;
        let report = pull(&self.store, root, &opened.details, &options, &Progress::default(), &GO_ON).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert!(tree(&options.target) == *expected, "it is not what was pushed");
    }

    /// Checks everything, all bytes among it.
    pub fn check(&self) -> CheckReport {
        let options = CheckOptions { read: Some(Sample::All), position: 0, recount: true, mark: false, jobs: 2 };
        check(&self.store, Some(&self.vault), &options, &CheckProgress::default(), &GO_ON).unwrap()
    }

    /// Forgets all versions of a name.
    pub fn forget(&self, name: &str) {
        let rows = self.store.index().snapshots(&self.vault.id(), Some(name), false).unwrap();
        assert!(!rows.is_empty());
        forget(&self.store, &self.vault, &rows, now_ns(), &mut |_| {}).unwrap();
    }
}

/// What a folder holds, by path.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

pub fn tree(dir: &Path) -> Tree {
    let (mut out, mut open) = (Tree::new(), vec![dir.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                out.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    out
}

/// Bytes that follow from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| (next() >> 32) as u8).collect()
}
