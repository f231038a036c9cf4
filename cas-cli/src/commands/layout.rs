//! `cas layout`: which node holds what, and what another layout would move.

use crate::exit::Exit;
use crate::printer::bytes;
use crate::table;
use crate::workplace::Workplace;
use cas_client::Result;
use cas_client::fleet;
use cas_core::layout::PARTITIONS;
use cas_net::cluster::{Cluster, Layout as Table, NodeInfo, NodeWant, PlanShown};
use clap::{Args, Subcommand};
use serde_json::json;

/// Show and change where copies lie
///
/// Draining, removing or losing a node makes its own changes. Nodes that have joined hold nothing until a layout with them
/// is applied.
#[derive(Debug, Args)]
pub struct Layout {
    #[command(subcommand)]
    command: Option<LayoutCommand>,
}

#[derive(Debug, Subcommand)]
enum LayoutCommand {
    /// Show the layout: the pool, and the share of each node (the default)
    Show,
    /// Show what a layout for the nodes as they are now would move; changes nothing
    Plan {
        /// With this pool: r1, r2 or r3 copies of everything
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
    },
    /// Plan, and begin to move
    Apply {
        /// With this pool: r1, r2 or r3 copies of everything
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
    },
    /// Keep another number of copies: cas layout set-pool default r3
    SetPool {
        /// Of which redundancy class; there is one, default
        #[arg(value_parser = ["default"])]
        class: String,
        /// r1, r2 or r3
        pool: String,
        /// Say what would be moved, change nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
}

impl Layout {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let placement = &**cluster.placement();
        match self.command.unwrap_or(LayoutCommand::Show) {
            LayoutCommand::Show => show(work, placement)?,
            LayoutCommand::Plan { pool } => plan(work, placement, pool.as_deref(), true)?,
            LayoutCommand::Apply { pool } => plan(work, placement, pool.as_deref(), false)?,
            LayoutCommand::SetPool { class: _, pool, dry_run } => plan(work, placement, Some(&pool), dry_run)?,
        }
        Ok(Exit::Ok)
    }
}

fn show(work: &Workplace, placement: &dyn Cluster) -> Result<()> {
    let (layout, status) = (placement.layout(0)?, placement.cluster_status()?);
    let printer = &work.printer;
    let Some(Table { version, nodes, partitions, .. }) = layout else {
        match printer.json() {
            true => printer.object(&json!({"layout": null})),
            false => printer.say("there is no layout: no node has joined"),
        }
        return Ok(());
    };
    if printer.json() {
        printer.object(&json!({
            "layout": version, "pool": status.pool, "to_move": status.to_move, "moving": status.moving,
            "partitions": partitions.len(), "nodes": nodes.iter().map(super::nodes::object).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    printer.line(format!("layout   version {version}, pool {}, {} partitions", status.pool, partitions.len()));
    let rows = nodes.iter().map(|node| {
        let share = format!("{:.1} %", f64::from(node.partitions) * 100.0 / PARTITIONS as f64);
        vec![fleet::short(node), node.rack.clone(), bytes(node.weight), node.partitions.to_string(), share]
    });
    table::lines(&["NODE", "RACK", "WEIGHT>", "PARTITIONS>", "SHARE>"], rows)
        .iter()
        .for_each(|line| printer.line(line));
    if status.to_move > 0 {
        printer.say(format!("{} partitions are not there yet; cas status shows how it goes", status.to_move));
    }
    if nodes.iter().any(|node| node.want == NodeWant::New) {
        printer.say("some nodes have no share yet: cas layout plan, cas layout apply");
    }
    Ok(())
}

fn plan(work: &Workplace, placement: &dyn Cluster, pool: Option<&str>, dry_run: bool) -> Result<()> {
    let shown = placement.plan_layout(pool)?;
    tell(work, &shown, &placement.nodes()?);
    if dry_run {
        work.printer.say("nothing was changed; cas layout apply begins");
        return Ok(());
    }
    fleet::apply(placement, pool, &shown)?;
    if work.printer.json() {
        work.printer.object(&json!({"message_type": "applied", "pool": shown.pool}));
    }
    work.printer.say("applied; cas status --wait waits until everything is where it should be");
    Ok(())
}

fn tell(work: &Workplace, shown: &PlanShown, nodes: &[NodeInfo]) {
    let printer = &work.printer;
    if printer.json() {
        printer.object(&json!({
            "message_type": "plan", "based_on": shown.based_on, "pool": shown.pool, "table": shown.table.to_string(),
            "copies": shown.copies, "bytes": shown.bytes,
            "nodes": shown.nodes.iter().map(|node| json!({
                "node": node.node.0.to_string(), "before": node.before, "after": node.after,
                "bytes_in": node.bytes_in, "bytes_out": node.bytes_out,
            })).collect::<Vec<_>>(),
        }));
        return;
    }
    let rows = shown.nodes.iter().map(|traffic| {
        let known = nodes.iter().find(|node| node.node == traffic.node);
        let mut key = traffic.node.0.to_string();
        key.truncate(12);
        let (rack, before, after) =
            (known.map_or(String::new(), |node| node.rack.clone()), traffic.before, traffic.after);
        vec![key, rack, before.to_string(), after.to_string(), bytes(traffic.bytes_in), bytes(traffic.bytes_out)]
    });
    let headings = ["NODE", "RACK", "PARTITIONS>", "THEN>", "COMES>", "GOES>"];
    table::lines(&headings, rows).iter().for_each(|line| printer.line(line));
    printer.line(format!(
        "pool {}: {} copies of partitions are made, about {}",
        shown.pool,
        shown.copies,
        bytes(shown.bytes)
    ));
}
