//! What can be made to go wrong in a process, and the shim that does it (`faults/shim.c`, built here with the C compiler that
//! building `cas` needs anyway).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The process is gone before it.
    KillBefore,
    /// Half of the bytes are written, then it is gone.
    KillHalf,
    /// It is done, then the process is gone.
    KillAfter,
    /// It fails once.
    Eio,
    /// It fails once for want of space.
    Enospc,
    /// It and all later ones fail.
    Dead,
    /// It and all later ones find no space.
    Full,
    /// It is done in part only.
    Short,
    /// A signal came between.
    Eintr,
    /// Ctrl-C comes before it.
    Interrupt,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::KillBefore => "kill-before",
            Self::KillHalf => "kill-half",
            Self::KillAfter => "kill-after",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::Dead => "dead",
            Self::Full => "full",
            Self::Short => "short",
            Self::Eintr => "eintr",
            Self::Interrupt => "interrupt",
        }
    }
}

/// A disturbance of one process.
#[derive(Debug, Clone)]
pub struct Fault {
    root: PathBuf,
    disturb: Option<(Act, u64)>,
    reads: bool,
    trace: Option<PathBuf>,
}

impl Fault {
    /// Nothing goes wrong: changes below `root` are counted.
    pub fn none(root: PathBuf) -> Self {
        Self { root, disturb: None, reads: false, trace: None }
    }

    /// The n-th operation is disturbed, from 1.
    pub fn at(self, act: Act, n: u64) -> Self {
        Self { disturb: Some((act, n)), ..self }
    }

    /// Reads instead of changes.
    pub fn of_reads(self) -> Self {
        Self { reads: true, ..self }
    }

    /// All changes are written down.
    pub fn traced(self, file: PathBuf) -> Self {
        Self { trace: Some(file), ..self }
    }

    pub(crate) fn put_on(&self, command: &mut Command, shim: &Path, report: &Path) {
        command.env("LD_PRELOAD", shim).env("CAS_FAULT_ROOT", &self.root).env("CAS_FAULT_REPORT", report);
        if let Some((act, n)) = self.disturb {
            command.env("CAS_FAULT_DO", act.name()).env("CAS_FAULT_AT", n.to_string());
        }
        if self.reads {
            command.env("CAS_FAULT_READS", "1");
        }
        if let Some(file) = &self.trace {
            command.env("CAS_FAULT_TRACE", file);
        }
    }
}

/// The shim, built once a run.
pub fn shim() -> PathBuf {
    static SHIM: OnceLock<TempDir> = OnceLock::new();
    let folder = SHIM.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("cas-shim-").tempdir().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("laws/faults/shim.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
        let built = Command::new(compiler)
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(folder.path().join("shim.so"))
            .arg(source)
            .arg("-lpthread")
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the shim is built with the C compiler");
        folder
    });
    folder.path().join("shim.so")
}
