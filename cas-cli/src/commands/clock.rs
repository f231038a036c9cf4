//! `cas clock`: the time that locks, trash and tokens go by.

use crate::exit::Exit;
use crate::measure::span_text;
use crate::time;
use crate::workplace::Workplace;
use cas_client::{ClientError, Result};
use clap::{Args, Subcommand};
use serde_json::json;

/// Show the time of the cluster; a step of the machine's clock that is too large waits here to be accepted (exit code 3)
#[derive(Debug, Args)]
pub struct Clock {
    #[command(subcommand)]
    command: Option<ClockCommand>,
}

#[derive(Debug, Subcommand)]
enum ClockCommand {
    /// Accept that the clock of the index's machine is right although it is far ahead. For an admin
    ///
    /// Retention locks and the trash go by it: what they keep may be let go sooner than it seems.
    Accept,
}

impl Clock {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let rights = &**cluster.rights();
        let state = rights.clock()?;
        if let Some(ClockCommand::Accept) = self.command {
            let Some(waiting) = state.waiting_ns else {
                return Err(ClientError::Usage("no step of the clock waits to be accepted".to_owned()));
            };
            rights.accept_clock(waiting)?;
            work.printer.say(format!("the time of the cluster goes on from {}", time::local(waiting)));
            return Ok(Exit::Ok);
        }
        let printer = &work.printer;
        if printer.json() {
            let waiting = state.waiting_ns.map(time::rfc3339);
            printer.object(&json!({"now": time::rfc3339(state.now_ns), "waiting": waiting}));
        } else {
            printer.line(format!("cluster  {}", time::local(state.now_ns)));
            if let Some(waiting) = state.waiting_ns {
                let ahead = span_text(waiting.saturating_sub(state.now_ns));
                printer.line(format!("machine  {}, {ahead} ahead: cas clock accept", time::local(waiting)));
            }
        }
        Ok(if state.waiting_ns.is_some() { Exit::Partial } else { Exit::Ok })
    }
}
