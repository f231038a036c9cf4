//! What all servers have in common: how they log, what they print first, when they end.

use crate::log::Form;
use crate::measure::span;
use crate::workplace::{STOP, Workplace};
use cas_client::discover::Announced;
use cas_client::{Result, host};
use cas_net::address::Address;
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(100);

/// Options of every server.
#[derive(Debug, Args)]
pub struct Serving {
    /// Log JSON, one object a line
    #[arg(long, env = "CAS_LOG_JSON")]
    log_json: bool,
    /// How long requests under way may take after SIGTERM or Ctrl-C; a second one ends at once, which loses nothing either
    #[arg(long, env = "CAS_GRACE", value_parser = span, value_name = "TIME", default_value = "20s")]
    grace: i64,
}

impl Serving {
    /// The form of its log.
    pub fn form(&self) -> Form {
        if self.log_json { Form::Json } else { Form::Text }
    }

    /// How long an end may take.
    pub fn grace(&self) -> Duration {
        Duration::from_nanos(self.grace.unsigned_abs())
    }
}

/// Says that a server is there, on one line of standard output: the address that goes into the next terminal.
pub fn listening(work: &Workplace, what: &str, address: &str, http: Option<SocketAddr>) {
    let printer = &work.printer;
    if printer.json() {
        let http = http.map(|http| http.to_string());
        printer.object(&json!({"message_type": "listening", "server": what, "address": address, "http": http}));
        return;
    }
    printer.line(address);
    if let Some(http) = http {
        printer.say(format!("metrics and health: http://{http}/metrics, http://{http}/healthz"));
    }
}

/// Announces an index on the local network, if it is wanted. `listen` is what it was told to listen on, `address` what it has.
pub fn announced(wanted: bool, address: &Address, listen: SocketAddr) -> Result<Option<Announced>> {
    let listen = SocketAddr::new(listen.ip(), address.port());
    wanted.then(|| Announced::start(&address.key, listen, &host::host_name())).transpose()
}

/// Waits for a signal, or for a fault.
pub fn until_stopped(fault: impl Fn() -> Option<String>) -> Option<String> {
    while !STOP.load(Ordering::Relaxed) {
        if let Some(fault) = fault() {
            return Some(fault);
        }
        std::thread::sleep(LOOK);
    }
    None
}
