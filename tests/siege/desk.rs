//! A device of a person: a home of its own, with an identity, and the commands that are called there.

use crate::program::{Done, Running};
use cas_tests::program;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module.
pub struct Desk {
    root: PathBuf,
    calls: AtomicUsize,
}

impl Desk {
    /// In a new folder.
    pub fn new(root: PathBuf) -> Self {
        std::fs::create_dir_all(&root).expect("a folder");
        Self { root, calls: AtomicUsize::new(0) }
    }

    /// A new device with the identity of this one, and nothing that this one remembers.
    pub fn another(&self, root: PathBuf) -> Self {
        let other = Self::new(root);
        let copied = Command::new("cp").arg("-a").arg(self.path("config")).arg(other.path("config")).status();
        assert!(copied.is_ok_and(|status| status.success()), "the identity is copied");
        other
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A command that can be called here.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(&self.root).env_clear().env("CAS_PASSWORD", crate::town::PASSWORD);
        for (name, dir) in [("DATA", "data"), ("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state")] {
            command.env(format!("XDG_{name}_HOME"), self.root.join(dir));
        }
        command
    }

    /// Starts one.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        let out = self.out(self.calls.fetch_add(1, Ordering::Relaxed));
        Running::start(&mut self.command(args), &out)
    }

    /// Runs one to its end.
    pub fn cas<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Done, String> {
        self.start(args).wait()
    }

    fn out(&self, call: usize) -> PathBuf {
        self.root.join(format!("call{call}"))
    }
}
