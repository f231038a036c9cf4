//! A server of the town: a process that can be killed, stopped and started again at the same place.

use crate::desk::Desk;
use crate::program::{PATIENCE, Running};
use crate::sky::{Party, Sky, lock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// See the module.
pub struct Server {
    pub party: Party,
    /// Where it listens, behind its relay.
    pub port: u16,
    /// What it is called with.
    pub args: Vec<String>,
    desk: Desk,
    sky: Arc<Sky>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Running>,
    starts: usize,
}

impl Server {
    /// One that serves with these arguments.
    pub fn new(party: Party, port: u16, desk: Desk, args: Vec<String>, sky: Arc<Sky>) -> Self {
        Self { party, port, args, desk, sky, state: Mutex::default() }
    }

    /// Starts it, if it does not run, and waits until it listens.
    pub fn start(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        if state.process.is_some() {
            return Ok(());
        }
        state.starts += 1;
        let out = self.out(state.starts);
        let process = Running::start(&mut self.desk.command(&self.args), &out);
        self.sky.knows(process.id(), self.party);
        let began = Instant::now();
        while !fs::read_to_string(out.with_extension("out")).is_ok_and(|text| text.contains("listening")) {
            if process.has_ended() || began.elapsed() > PATIENCE {
                return Err(format!("{:?} does not serve: {:#?}", self.party, process.wait()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        state.process = Some(process);
        Ok(())
    }

    /// As kill -9 does.
    pub fn kill(&self) {
        if let Some(process) = lock(&self.state).process.take() {
            process.kill();
            _ = process.wait();
        }
    }

    /// Has it stand still.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// And go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &lock(&self.state).process {
            signal_process(process, signal);
        }
    }

    /// Why it ended, if it did by itself: nothing here makes a server give up.
    pub fn fault(&self) -> Option<String> {
        let mut state = lock(&self.state);
        let has_ended = state.process.as_ref().is_some_and(Running::has_ended);
        let done = if has_ended { state.process.take().map(Running::wait) } else { None };
        let panicked =
            self.log(state.starts).lines().any(|line| line.contains("panicked at") && !line.contains("/redb-"));
        match done {
            Some(done) => Some(format!("{:?} has ended: {done:#?}", self.party)),
            None if panicked => Some(format!("{:?} panicked", self.party)),
            None => None,
        }
    }

    /// The last lines of its last log.
    pub fn last_words(&self, lines: usize) -> String {
        let log = self.log(lock(&self.state).starts);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn log(&self, start: usize) -> String {
        fs::read_to_string(self.out(start).with_extension("err")).unwrap_or_default()
    }

    fn out(&self, start: usize) -> PathBuf {
        self.desk.path(&format!("serve{start}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a command that runs.
pub fn signal_process(process: &Running, signal: Signal) {
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    _ = kill_process(id.expect("a process"), signal);
}
