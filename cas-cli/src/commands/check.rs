//! `cas check`: is everything there and right?

use crate::exit::Exit;
use crate::printer::bytes;
use crate::progress::Bar;
use crate::workplace::{STOP, Workplace};
use cas_client::check::{self, CheckOptions, CheckProgress, CheckReport, Sample};
use cas_client::{Result, random};
use clap::Args;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Verify that everything the snapshots need is there and right
///
/// Without options: signatures, pages, the index beside the node. What is damaged is named with the snapshots and paths it
/// touches, and marked, so that the next push of a file that is still there replaces it. Exit code 14 if anything is wrong.
#[derive(Debug, Args)]
pub struct Check {
    /// Read and verify stored bytes too: all, or a random share like 10%
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = share)]
    read_data: Option<f64>,
    /// Compare all counts with the edges they count
    #[arg(long)]
    recount: bool,
    /// Leave no marks
    #[arg(long)]
    no_mark: bool,
    /// Threads [default: one per core]
    #[arg(short, long, env = "CAS_JOBS", default_value_t = 0, hide_default_value = true, value_name = "N")]
    jobs: usize,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
    number
        .filter(|n| (0.0..=100.0).contains(n))
        .map(|n| n / 100.0)
        .ok_or_else(|| "expected a share like 10%".to_owned())
}

impl Check {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let store = work.open()?;
        let vault = work.vault(&store)?;
        let read = self
            .read_data
            .map(|share| if share >= 1.0 { Sample::All } else { Sample::Share(share, u64::from_le_bytes(random())) });
        let mark = !self.no_mark && !work.is_read_only();
        let options = CheckOptions { read, recount: self.recount, mark, jobs: self.jobs };
        let progress = Arc::<CheckProgress>::default();
        let seen = progress.clone();
        let bar = Bar::start(work.printer, None, move || (seen.blocks.load(Relaxed), seen.bytes.load(Relaxed), 0));
        let checked = check::check(&store, &vault, &options, &progress, &STOP);
        bar.finish();
        let closed = store.close();
        let report = checked?;
        closed?;
        if work.printer.json() {
            tell_json(work, &report);
        } else {
            tell(work, &report);
        }
        Ok(if report.is_clean() { Exit::Ok } else { Exit::Damaged })
    }
}

fn tell(work: &Workplace, report: &CheckReport) {
    let printer = &work.printer;
    for finding in &report.findings {
        let block = finding.block.map_or(String::new(), |id| format!("block {id}: "));
        printer.must_say(format!("error: {block}{}", finding.what));
        for touched in report.touched.iter().filter(|t| Some(t.block) == finding.block) {
            let path = crate::escape::text(&touched.path);
            printer.must_say(format!("  touches: {}@{}:{path}", touched.row.name, touched.row.seq));
        }
    }
    if let Some(recount) = &report.recount {
        for (id, stored, counted) in &recount.wrong {
            printer.must_say(format!("error: block {id}: its count is {stored}, its edges are {counted}"));
        }
        for id in &recount.dangling {
            printer.must_say(format!("error: block {id}: something refers to it, and the index does not know it"));
        }
        printer.say(format!("{} counts, {} edges", recount.rows, recount.edges));
    }
    let read = if report.read_blocks > 0 {
        format!(", {} blocks ({}) read", report.read_blocks, bytes(report.read_bytes))
    } else {
        String::new()
    };
    let orphans = if report.orphans > 0 {
        format!("; {} blocks left by interrupted pushes, gc removes them", report.orphans)
    } else {
        String::new()
    };
    let verdict = if report.is_clean() {
        "nothing is wrong".to_owned()
    } else {
        "damage was found; pushing the files again replaces what is damaged".to_owned()
    };
    printer.say(format!(
        "{} snapshots, {} pages, {} blocks{read}{orphans}: {verdict}",
        report.snapshots, report.pages, report.blocks
    ));
}

fn tell_json(work: &Workplace, report: &CheckReport) {
    for finding in &report.findings {
        let paths: Vec<String> = report
            .touched
            .iter()
            .filter(|t| Some(t.block) == finding.block)
            .map(|t| format!("{}@{}:{}", t.row.name, t.row.seq, String::from_utf8_lossy(&t.path)))
            .collect();
        let block = finding.block.map(|id| id.to_string());
        work.printer
            .object(&json!({"message_type": "error", "block": block, "message": finding.what, "touches": paths}));
    }
    let wrong = report.recount.as_ref().map_or(0, |r| r.wrong.len() + r.dangling.len());
    work.printer.object(&json!({
        "message_type": "summary",
        "num_errors": report.findings.len() + wrong,
        "snapshots": report.snapshots,
        "pages": report.pages,
        "blocks": report.blocks,
        "orphans": report.orphans,
        "blocks_read": report.read_blocks,
        "bytes_read": report.read_bytes,
        "wrong_counts": wrong,
    }));
}
