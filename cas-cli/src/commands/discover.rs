//! `cas discover`: which indexes announce themselves on the local network.

use crate::exit::Exit;
use crate::measure::span;
use crate::workplace::Workplace;
use cas_client::{Result, discover};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// List the clusters that announce themselves on the local network (cas index serve --announce)
///
/// The keys are what somebody there says: compare yours with the one that cas index serve printed. With the right key, the
/// address cas://KEY@lan goes wherever that index is announced, and whoever answers there has to prove the key.
#[derive(Debug, Args)]
pub struct Discover {
    /// How long to listen
    #[arg(long, value_parser = span, value_name = "TIME", default_value = "3s")]
    wait: i64,
}

impl Discover {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let found = discover::find(None, Duration::from_nanos(self.wait.unsigned_abs()))?;
        for index in &found {
            if work.printer.json() {
                work.printer.object(&json!({"address": index.address.to_string(), "name": index.name}));
            } else {
                work.printer.line(format!("{}  {}", index.address, index.name));
            }
        }
        if found.is_empty() {
            work.printer.say("nobody announces a cluster here");
        }
        Ok(Exit::Ok)
    }
}
