//! `cas check`: is everything there and right?

use crate::exit::Exit;
use crate::printer::bytes;
use crate::progress::{Bar, Now, Total};
use crate::reading::reasons;
use crate::workplace::{STOP, Workplace};
use cas_client::check::{self, CheckOptions, CheckProgress, CheckReport, Part, Round, Sample};
use cas_client::store::Store;
use cas_client::vault::Vault;
use cas_client::{ClientError, Result};
use clap::Args;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Verify that everything the snapshots need is there and right
///
/// Without options: signatures, pages against one another, lists, links, the index beside the node. What is damaged is named with the
/// snapshots and paths it touches, and marked, so that the next push of a file that is still there replaces it. Exit code 14 if
/// anything is wrong, 3 if some vaults could not be opened or a cluster lacks copies.
#[derive(Debug, Args)]
pub struct Check {
    /// Read and verify stored bytes too: all, a share (10%), an amount (1G) or the n-th of t parts (3/10). Shares and amounts go on where the
    /// last one ended
    #[arg(long, value_name = "PART", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = sample)]
    read_data: Option<Sample>,
    /// The same as --read-data=PART
    #[arg(long, value_name = "PART", hide = true, conflicts_with = "read_data", value_parser = sample)]
    read_data_subset: Option<Sample>,
    /// Compare all counts with the edges they count
    #[arg(long)]
    recount: bool,
    /// Check only what needs no key, as a host does that can push and not read
    #[arg(long)]
    without_key: bool,
    /// Leave no marks
    #[arg(long)]
    no_mark: bool,
    /// Threads [default: one per core]
    #[arg(short, long, env = "CAS_JOBS", default_value_t = 0, hide_default_value = true, value_name = "N")]
    jobs: usize,
}

fn sample(text: &str) -> std::result::Result<Sample, String> {
    let wrong = || "expected a share like 10%, an amount like 1G or a part like 3/10".to_owned();
    if let Some(share) = text.strip_suffix('%') {
        let share: f64 = share.trim().parse().map_err(|_| wrong())?;
        return match share {
            100.0 => Ok(Sample::All),
            share if share > 0.0 && share < 100.0 => Ok(Sample::Share(share / 100.0)),
            _ => Err("expected a share above 0 % and up to 100 %".to_owned()),
        };
    }
    if let Some((n, of)) = text.split_once('/') {
        return match (n.trim().parse(), of.trim().parse()) {
            (Ok(n), Ok(of)) if 1 <= n && n <= of => Ok(Sample::Nth(n, of)),
            _ => Err("expected n/t with 1 ≤ n ≤ t".to_owned()),
        };
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match &text[digits.len()..] {
        "" => 0,
        unit => 1 + "kmgt".find(unit.to_ascii_lowercase().trim_end_matches(['b', 'i'])).ok_or_else(wrong)? as u32,
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * 1024f64.powi(power as i32);
    if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(Sample::Bytes(bytes as u64)) } else { Err(wrong()) }
}

impl Check {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let store = work.open()?;
        let vault = self.vault(work, &store)?;
        let read = self.read_data.or(self.read_data_subset);
        let mark = !self.no_mark && !work.is_read_only();
        let round = Round::open(&work.places.state, &store.place());
        let options = CheckOptions { read, position: round.position(), recount: self.recount, mark, jobs: self.jobs };
        let progress = Arc::<CheckProgress>::default();
        let seen = progress.clone();
        let bar = Bar::start(work.printer, move || {
            let load = |n: &AtomicU64| n.load(Relaxed);
            let total = (load(&seen.total_blocks), load(&seen.total_bytes));
            let known = if total.0 > 0 { Total::Known(total.0, total.1) } else { Total::None };
            Now { files: load(&seen.blocks), bytes: load(&seen.bytes), total: known, ..Now::of("blocks") }
        });
        let checked = check::check(&store, vault.as_ref(), &options, &progress, &STOP);
        bar.finish();
        let closed = store.close();
        let report = checked?;
        closed?;
        if let (Some(Sample::Share(_) | Sample::Bytes(_)), Some(part)) = (read, &report.part)
            && let Err(e) = round.passed(part)
        {
            work.printer.warn(format!("the next check may read the same part again: {}", reasons(&e)));
        }
        if work.printer.json() {
            tell_json(work, &report);
        } else {
            tell(work, &report);
        }
        Ok(match () {
            () if !report.is_clean() => Exit::Damaged,
            () if report.closed > 0 && !self.without_key => Exit::Partial,
            () if report.short_blocks > 0 || report.unread_blocks > 0 => Exit::Partial,
            () => Exit::Ok,
        })
    }

    /// The vault, unless nobody wants to open it.
    fn vault(&self, work: &Workplace, store: &Store) -> Result<Option<Vault>> {
        if self.without_key {
            return Ok(None);
        }
        work.vault(store).map(Some).inspect_err(|e| {
            if let ClientError::NoIdentity(_) | ClientError::WrongKey { .. } = e {
                work.printer.warn("cas check --without-key checks what needs no key");
            }
        })
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
    for short in &report.short {
        let mut missing: Vec<String> = short.missing.iter().map(|node| node.0.to_string()).collect();
        missing.iter_mut().for_each(|key| key.truncate(12));
        printer.explain(format!("block {}: no copy on node {}", short.block, missing.join(", ")));
    }
    if let Some((id, why)) = &report.unread {
        printer.must_say(format!("{} blocks could not be read now, {id} among them: {why}", report.unread_blocks));
    }
    if report.hidden_vaults > 0 {
        printer.say(format!(
            "{} vaults are not this device's to look into: of their blocks it is known where they are, not what needs them",
            report.hidden_vaults
        ));
    }
    if report.short_blocks > 0 {
        printer.must_say(format!(
            "{} blocks have fewer copies than they should; the cluster makes them (cas status), -v names them",
            report.short_blocks
        ));
    }
    let read = match &report.part {
        Some(part) => format!(", {} blocks ({}) read{}", report.read_blocks, bytes(report.read_bytes), which(part)),
        None => String::new(),
    };
    let orphans = if report.orphans > 0 {
        format!("; {} blocks left by interrupted pushes, gc removes them", report.orphans)
    } else {
        String::new()
    };
    let verdict = match () {
        () if !report.is_clean() => "damage was found; pushing the files again replaces what is damaged",
        () if report.closed > 0 => "nothing is wrong as far as that goes without a key",
        () if report.unread_blocks > 0 => "nothing is wrong with what could be read",
        () => "nothing is wrong",
    };
    if report.closed > 0 {
        printer.must_say(format!(
            "not checked, for want of a key: the paths, lists and contents of {} of {} snapshots; their blocks were, by name and \
             sum",
            report.closed, report.snapshots
        ));
    }
    printer.say(format!(
        "{} snapshots, {} pages, {} blocks{read}{orphans}: {verdict}",
        report.snapshots, report.pages, report.blocks
    ));
}

/// The part of all blocks that was read, if it was not everything.
fn which(part: &Part) -> String {
    if *part == Part::WHOLE {
        return String::new();
    }
    let (from, to) = part.percent();
    let to = if to > 100.0 { to - 100.0 } else { to };
    format!(": those from {from:.1} % to {to:.1} % of all ids")
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
        "snapshots_without_key": report.closed,
        "pages": report.pages,
        "blocks": report.blocks,
        "orphans": report.orphans,
        "short_of_copies": report.short_blocks,
        "vaults_hidden": report.hidden_vaults,
        "blocks_unread": report.unread_blocks,
        "blocks_read": report.read_blocks,
        "bytes_read": report.read_bytes,
        "part_read": report.part.map(|part| part.percent()),
        "wrong_counts": wrong,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_to_read_are_written_as_in_restic() {
        for (text, wanted) in [
            ("100%", Sample::All),
            ("2.5%", Sample::Share(0.025)),
            ("3/10", Sample::Nth(3, 10)),
            ("1G", Sample::Bytes(1 << 30)),
            ("1.5MiB", Sample::Bytes(3 << 19)),
            ("4096", Sample::Bytes(4096)),
        ] {
            assert_eq!(sample(text), Ok(wanted), "{text}");
        }
        for text in ["", "0%", "101%", "0/3", "4/3", "1X", "G", "-1G", "1/", "mg"] {
            assert!(sample(text).is_err(), "{text:?}");
        }
    }
}
