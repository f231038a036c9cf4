//! The work that is done by schedule or because somebody asks: one file a task. Each goes in steps, gives way to pushes
//! between them ([`pace`](super::pace)), and stops between them when the index is to end.

mod backup;
mod gc;
mod objects;
mod retention;
mod scrub;

use super::backup::Held;
use super::bell::Bell;
use super::history::End;
use super::options::ServeOptions;
use super::pace::{Busy, Pace, pace};
use super::schedule::Task;
use crate::Index;
use cas_net::server::Load;
use cas_net::{Index as _, Network, Result};
use std::sync::Arc;
use std::time::Duration;

/// Why nothing is swept after a restore.
pub(super) const RESTORED: &str =
    "the index was restored from an export: look at what it knows, then cas index release";

/// What a task works with.
pub(super) struct Tools<'a> {
    pub index: &'a Index,
    pub network: &'a Arc<Network>,
    pub options: &'a ServeOptions,
    pub bell: &'a Bell,
    pub held: &'a Held,
    pub load: &'a dyn Fn() -> Load,
}

/// A run while it runs.
pub(super) struct Job<'a> {
    tools: Tools<'a>,
    /// For how long it has given way.
    pub waited: Duration,
    /// What it has done so far; also counts if it fails.
    pub items: u64,
    pub bytes: u64,
    pub note: String,
}

impl<'a> Job<'a> {
    pub fn new(tools: Tools<'a>) -> Self {
        Self { tools, waited: Duration::ZERO, items: 0, bytes: 0, note: String::new() }
    }

    /// Does it.
    pub fn run(&mut self, task: Task) -> Result<End> {
        match task {
            Task::Gc | Task::Retention if self.tools.held.is_held() => Ok(End::Held(RESTORED.into())),
            Task::Gc => gc::run(self),
            Task::Scrub => scrub::run(self),
            Task::Retention => retention::run(self),
            Task::Backup => backup::run(self),
        }
    }

    /// Waits for its turn. Answers whether the next step may be a whole one; `None`: the index is to end.
    fn turn(&mut self) -> Result<Option<bool>> {
        let limits = &self.tools.options.limits;
        loop {
            if self.tools.bell.is_closing() {
                return Ok(None);
            }
            let sessions = self.tools.index.status()?.sessions.len();
            let busy = Busy { sessions, requests: (self.tools.load)().requests };
            match pace(limits, busy, self.waited) {
                Pace::Full => return Ok(Some(true)),
                Pace::Small => return Ok(Some(false)),
                Pace::Wait => {
                    self.tools.bell.sleep(limits.pause);
                    self.waited += limits.pause;
                }
            }
        }
    }
}
