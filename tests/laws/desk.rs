//! A desk: a home of one's own with a store in it, and the program, also under a shim that disturbs it.

use crate::faults::{Fault, shim};
use cas_tests::program;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Everything a person has, below one folder that goes with this value.
pub struct Desk {
    root: TempDir,
}

/// A command that ended.
#[derive(Debug)]
#[allow(dead_code, reason = "all of it is shown when a test fails")]
pub struct Done {
    /// What was called.
    pub args: String,
    /// Its exit code; -9 if it was killed.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// What the shim did to it.
    pub fault: String,
    /// Operations that the shim counted, if the process came to its end.
    pub operations: Option<u64>,
}

impl Desk {
    pub fn new() -> Self {
        Self { root: tempfile::Builder::new().prefix("cas-laws-").tempdir().expect("a folder") }
    }

    /// A desk with a store, cut finely so that little data makes many blocks.
    pub fn with_store() -> Self {
        let desk = Self::new();
        desk.cas(["init", "--blocks", "fine"]).ok().expect("a store");
        desk
    }

    /// Another desk with all this one has.
    pub fn copy(&self) -> Self {
        let other = Self::new();
        let copied = Command::new("cp").arg("-a").arg(self.path(".")).arg(other.path(".")).status();
        assert!(copied.is_ok_and(|status| status.success()), "the desk is copied");
        other
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Store, identity, cache and memory.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn store(&self) -> PathBuf {
        self.path("home/data/cas/store")
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.root.path()).env_clear().stdin(Stdio::null());
        for (name, dir) in [("DATA", "data"), ("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state")] {
            command.env(format!("XDG_{name}_HOME"), self.home().join(dir));
        }
        command
    }

    pub fn cas<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Done {
        run(&mut self.command(args))
    }

    /// The same with something going wrong on the way.
    pub fn cas_with<S: AsRef<OsStr>>(&self, fault: &Fault, args: impl IntoIterator<Item = S>) -> Done {
        let report = self.path("report");
        let mut command = self.command(args);
        fault.put_on(&mut command, &shim(), &report);
        let mut done = run(&mut command);
        let text = fs::read_to_string(&report).unwrap_or_default();
        for line in text.lines() {
            match line.strip_prefix("operations ") {
                Some(count) => done.operations = count.parse().ok(),
                None => done.fault = line.to_owned(),
            }
        }
        done
    }
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> Done {
    let output = command.output().expect("the program starts");
    Done::of(&command.get_args().collect::<Vec<_>>(), &output)
}

impl Done {
    /// What came of a process.
    pub fn of(args: &[impl AsRef<OsStr>], output: &Output) -> Self {
        let args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        Self {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-9),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            fault: String::new(),
            operations: None,
        }
    }

    /// Itself if its exit code is this one.
    pub fn expect(self, code: i32) -> Result<Self, String> {
        if self.code == code { Ok(self) } else { Err(format!("expected exit code {code}: {self:#?}")) }
    }

    /// Itself if everything was done.
    pub fn ok(self) -> Result<Self, String> {
        self.expect(0)
    }

    pub fn was_killed(&self) -> bool {
        self.code == -9
    }

    /// Nobody should end in a panic, whatever the disk does. redb's own are caught where it is used, and are heard all the same.
    pub fn has_panicked(&self) -> bool {
        let panics = self.stderr.lines().filter(|line| line.contains("panicked at"));
        self.code == 101 || panics.into_iter().any(|line| !line.contains("/redb-"))
    }

    /// All JSON lines of the result.
    pub fn objects(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last of them.
    pub fn summary(&self) -> Result<Value, String> {
        self.objects().pop().ok_or_else(|| format!("no result: {self:#?}"))
    }
}

/// All regular files below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.expect("readable");
            match entry.file_type().expect("a type") {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => out.push(entry.path()),
                _ => {}
            }
        }
    }
    out.sort();
    out
}

/// Bytes of all of them.
pub fn bytes_below(folder: &Path) -> u64 {
    files_below(folder).iter().map(|file| fs::metadata(file).map_or(0, |m| m.len())).sum()
}
