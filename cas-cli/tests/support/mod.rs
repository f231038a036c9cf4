//! A desk of one's own: a home, a folder for files, and the binary that works there.
#![allow(dead_code)] // Each test binary uses a part of it.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything one test needs; gone afterwards.
pub struct Desk {
    dir: tempfile::TempDir,
    seed: u64,
}

impl Desk {
    pub fn new() -> Self {
        let given = std::env::var("CAS_TEST_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or_else(|| std::process::id().into());
        eprintln!("replay: CAS_TEST_SEED={seed} cargo test -p cas-cli --test laws");
        Self { dir: tempfile::tempdir().unwrap(), seed }
    }

    pub fn random(&self) -> Random {
        Random(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("home/data/cas/store")
    }

    /// Bytes of all files of the store.
    pub fn stored_bytes(&self) -> u64 {
        files_below(&self.store()).iter().map(|f| f.metadata().unwrap().len()).sum()
    }

    /// Bytes of all segments.
    pub fn segment_bytes(&self) -> u64 {
        files_below(&self.store().join("node/segments")).iter().map(|f| f.metadata().unwrap().len()).sum()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cas"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        for (name, dir) in [("DATA", "data"), ("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state")] {
            command.env(format!("XDG_{name}_HOME"), self.path("home").join(dir));
        }
        command
    }

    pub fn cas<const N: usize>(&self, args: [&str; N]) -> Done {
        let output = self.command(&args).output().unwrap();
        Done {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    pub args: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "cas {}: {self:#?}", self.args);
        self
    }

    /// The last JSON line.
    pub fn summary(&self) -> Value {
        serde_json::from_str(self.stdout.lines().last().unwrap()).unwrap()
    }
}

/// xorshift64: for tests.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

/// All regular files below a folder.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return out };
    for entry in entries {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            out.extend(files_below(&path));
        } else if meta.is_file() {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// What a person would compare: names, types, contents, modes, times, owners, links, how much of it is on the disk.
#[track_caller]
pub fn assert_same_tree(a: &Path, b: &Path) {
    assert_eq!(described(a, a), described(b, b));
}

fn described(root: &Path, dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let m = path.symlink_metadata().unwrap();
        let content = if m.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else if m.is_file() {
            let sparse = m.blocks() * 512 < m.len();
            format!("{} bytes, hash {}, sparse {sparse}", m.len(), hash(&fs::read(&path).unwrap()))
        } else {
            String::new()
        };
        let name = path.strip_prefix(root).unwrap();
        out.push(format!(
            "{name:?} {:o} {}:{} {}.{:09} links {} {content}",
            m.mode(),
            m.uid(),
            m.gid(),
            m.mtime(),
            m.mtime_nsec(),
            if m.is_dir() { 0 } else { m.nlink() }
        ));
        if m.is_dir() {
            out.extend(described(root, &path));
        }
    }
    out
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
