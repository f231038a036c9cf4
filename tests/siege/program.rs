//! Calls of the program, and what came of them.

use crate::sky::lock;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(4);
/// No command may take longer, whatever happens: it must say that it failed.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// A command that ended.
#[derive(Debug)]
#[allow(dead_code, reason = "all of it is shown when a test fails")]
pub struct Done {
    pub args: String,
    /// Its exit code; -9 if it was killed.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub seconds: f64,
}

/// A command under way.
pub struct Running {
    child: Mutex<Child>,
    args: String,
    out: PathBuf,
    began: Instant,
}

impl Running {
    /// Starts it; what it prints goes to files beside this one.
    pub fn start(command: &mut Command, out: &Path) -> Self {
        let file = |name: &str| File::create(out.with_extension(name)).expect("a file");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = Mutex::new(command.spawn().expect("the program starts"));
        Self { child, args: args.join(" "), out: out.to_owned(), began: Instant::now() }
    }

    /// The process, while it has not been waited for.
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// As kill -9 does, whatever it is doing.
    pub fn kill(&self) {
        _ = lock(&self.child).kill();
    }

    pub fn has_ended(&self) -> bool {
        self.ended().is_some()
    }

    fn ended(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().expect("a child")
    }

    /// Waits for its end.
    pub fn wait(self) -> Result<Done, String> {
        loop {
            if let Some(status) = self.ended() {
                return Ok(self.done(status.code().unwrap_or(-9)));
            }
            if self.began.elapsed() > PATIENCE {
                self.kill();
                return Err(format!("it hangs: {:#?}", self.done(-9)));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn done(&self, code: i32) -> Done {
        let text = |name: &str| {
            let bytes = fs::read(self.out.with_extension(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let seconds = self.began.elapsed().as_secs_f64();
        if std::env::var_os("CAS_SIEGE_TELL").is_some() {
            eprintln!("{seconds:6.2} s, exit code {code}: cas {}", self.args);
        }
        Done { args: self.args.clone(), code, stdout: text("out"), stderr: text("err"), seconds }
    }
}

impl Done {
    /// Itself if everything was done.
    pub fn ok(self) -> Result<Self, String> {
        self.one_of(&[0])
    }

    /// Itself if its exit code is one of these, and it says so: law 11.
    pub fn one_of(self, codes: &[i32]) -> Result<Self, String> {
        if !codes.contains(&self.code) {
            return Err(format!("expected exit code {codes:?}: {self:#?}"));
        }
        if self.code == 101 || self.stderr.contains("panicked at") {
            return Err(format!("it panicked: {self:#?}"));
        }
        if self.code > 0 && self.stderr.trim().is_empty() && self.stdout.trim().is_empty() {
            return Err(format!("it failed and does not say why: {self:#?}"));
        }
        Ok(self)
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
