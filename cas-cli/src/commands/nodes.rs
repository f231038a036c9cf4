//! `cas nodes`: the nodes of a cluster.

use crate::exit::Exit;
use crate::printer::bytes;
use crate::table;
use crate::time;
use crate::workplace::Workplace;
use cas_client::Result;
use cas_client::fleet;
use cas_client::store::now_ns;
use cas_net::cluster::{Health, NodeInfo};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// Show the nodes of a cluster: rack, state, space, load, when they were last heard
#[derive(Debug, Args)]
pub struct Nodes {}

impl Nodes {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let mut nodes = work.cluster()?.placement().nodes()?;
        nodes.sort_by(|a, b| (&a.rack, a.node).cmp(&(&b.rack, b.node)));
        if work.printer.json() {
            nodes.iter().for_each(|node| work.printer.object(&object(node)));
            return Ok(Exit::Ok);
        }
        let headings = ["NODE", "RACK", "STATE", "HEARD>", "USED>", "CAPACITY>", "FREE>", "SHARE>", "BUSY>", "ADDRESS"];
        table::lines(&headings, nodes.iter().map(row)).iter().for_each(|line| work.printer.line(line));
        if nodes.is_empty() {
            work.printer.say("no node has joined; cas node join-token --rack NAME lets one in");
        }
        Ok(Exit::Ok)
    }
}

fn row(node: &NodeInfo) -> Vec<String> {
    let heard = node.silent_ms.map_or("never".to_owned(), |ms| ago(Duration::from_millis(ms)));
    let address = node.addresses.first().cloned().unwrap_or_default();
    let (space, now) = (&node.space, now_ns());
    let mut state = fleet::state(node, now).to_owned();
    if let Some(until) = node.maintenance_until_ns.filter(|until| *until > now) {
        state.push_str(&format!(" until {}", time::local(until)));
    }
    vec![
        fleet::short(node),
        node.rack.clone(),
        state,
        heard,
        bytes(space.used),
        bytes(space.capacity),
        bytes(space.free),
        format!("{:.1} %", f64::from(node.partitions) * 100.0 / cas_core::layout::PARTITIONS as f64),
        node.load.requests.to_string(),
        address,
    ]
}

/// `3 s ago`, in one unit.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..120 => format!("{s} s ago"),
        s @ 120..7200 => format!("{} min ago", s / 60),
        s @ 7200..172_800 => format!("{} h ago", s / 3600),
        s => format!("{} d ago", s / 86_400),
    }
}

/// A node as an object.
pub fn object(node: &NodeInfo) -> serde_json::Value {
    let health = match node.health {
        Health::Up => "up",
        Health::Suspect => "suspect",
        Health::Down => "down",
    };
    json!({
        "node": node.node.0.to_string(), "rack": node.rack, "state": fleet::state(node, now_ns()), "health": health,
        "maintenance_until": node.maintenance_until_ns.map(time::rfc3339), "silent_ms": node.silent_ms,
        "weight": node.weight, "partitions": node.partitions, "addresses": node.addresses,
        "bytes_used": node.space.used, "bytes_capacity": node.space.capacity, "bytes_free": node.space.free,
        "requests": node.load.requests, "sync_us": node.load.sync_us,
    })
}
