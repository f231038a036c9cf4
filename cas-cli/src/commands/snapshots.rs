//! `cas snapshots`: which versions there are.

use crate::exit::Exit;
use crate::printer::bytes;
use crate::reading::{self, Missing, Output, with_library};
use crate::workplace::Workplace;
use crate::{escape, table, time};
use cas_client::Result;
use cas_client::browse::Library;
use cas_core::snapshot::Details;
use cas_net::{SnapshotRow, SnapshotState};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// List versions, oldest first
///
/// WHICH is a name (with all names under it), NAME@3 or the first digits of an id. With --json, one object a version.
#[derive(Debug, Args)]
pub struct Snapshots {
    /// Names or versions [default: all]
    #[arg(value_name = "WHICH")]
    which: Vec<String>,
    /// Only of this host; may be repeated
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Vec<String>,
    /// Only with this tag; with all of several separated by commas; may be repeated for others
    #[arg(long, value_name = "TAG[,TAG…]")]
    tag: Vec<String>,
    /// Only the newest N of each name
    #[arg(short = 'n', long, value_name = "N", num_args = 0..=1, default_missing_value = "1")]
    latest: Option<usize>,
    /// Those in the trash, too
    #[arg(long)]
    trash: bool,
}

/// A version, with its details if they can be read.
struct Line {
    row: SnapshotRow,
    details: Option<Details>,
}

impl Snapshots {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        with_library(work, None, |library| {
            let mut missing = Missing::default();
            let lines = self.lines(work, library, &mut missing)?;
            if work.printer.json() {
                let mut out = Output::new();
                lines.iter().try_for_each(|line| out.object("snapshot", line.object()))?;
                out.finish()?;
            } else {
                self.tell(work, &lines)?;
            }
            Ok(missing.exit())
        })
    }

    fn lines(&self, work: &Workplace, library: &Library<'_>, missing: &mut Missing) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for row in self.rows(library)? {
            let details = match library.open_row(&row) {
                Ok(opened) => Some(opened.details),
                Err(error) => {
                    missing.other(&work.printer, &reading::version(&row), &error);
                    None
                }
            };
            let line = Line { row, details };
            if line.is_of(&self.host, &self.tag) {
                lines.push(line);
            }
        }
        lines.sort_by(|a, b| (a.row.time_ns, &a.row.name, a.row.seq).cmp(&(b.row.time_ns, &b.row.name, b.row.seq)));
        if let Some(latest) = self.latest {
            keep_latest(&mut lines, latest);
        }
        Ok(lines)
    }

    fn rows(&self, library: &Library<'_>) -> Result<Vec<SnapshotRow>> {
        let shown = |row: &&SnapshotRow| self.trash || row.state == SnapshotState::Live;
        let rows: Vec<SnapshotRow> = library.rows().iter().filter(shown).cloned().collect();
        // `list snapshots`, as in restic, lists them all.
        let is_word = |which: &String| which == "snapshots" && !rows.iter().any(|row| reading::is_under(row, which));
        if self.which.iter().all(is_word) {
            return Ok(rows);
        }
        let mut chosen: Vec<SnapshotRow> = Vec::new();
        for which in &self.which {
            let mut found: Vec<_> = rows.iter().filter(|row| reading::is_under(row, which)).collect();
            if found.is_empty() {
                found.push(library.choose_among(&reading::reference(which)?, &rows)?);
            }
            found
                .into_iter()
                .filter(|row| !chosen.contains(row))
                .cloned()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|row| chosen.push(row));
        }
        Ok(chosen)
    }

    fn tell(&self, work: &Workplace, lines: &[Line]) -> Result<()> {
        if lines.is_empty() {
            work.printer.say("no snapshots");
            return Ok(());
        }
        let headings = ["ID", "NAME@VERSION", "TIME", "HOST", "FILES>", "SIZE>", "TAGS", "PATHS"];
        let mut out = Output::new();
        table::lines(&headings, lines.iter().map(Line::cells)).iter().try_for_each(|line| out.line(line))?;
        out.finish()?;
        let mut names: Vec<_> = lines.iter().map(|line| &line.row.name).collect();
        names.sort();
        names.dedup();
        work.printer.say(format!(
            "{} of {}",
            reading::count(lines.len(), "version"),
            reading::count(names.len(), "name")
        ));
        Ok(())
    }
}

/// Keeps the newest of each name, in lines sorted by time.
fn keep_latest(lines: &mut Vec<Line>, latest: usize) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    lines.reverse();
    lines.retain(|line| {
        let count = seen.entry(line.row.name.clone()).or_default();
        *count += 1;
        *count <= latest
    });
    lines.reverse();
}

impl Line {
    /// What cannot be read may be of any host, and is shown.
    fn is_of(&self, hosts: &[String], tags: &[String]) -> bool {
        let Some(details) = &self.details else { return true };
        let has_all = |tags: &String| tags.split(',').all(|tag| details.tags.iter().any(|t| t == tag));
        (hosts.is_empty() || hosts.contains(&details.host)) && (tags.is_empty() || tags.iter().any(has_all))
    }

    fn cells(&self) -> Vec<String> {
        let row = &self.row;
        let mut cells = vec![row.snapshot.short(), reading::version(row), time::local(row.time_ns)];
        match &self.details {
            Some(details) => {
                let mut tags: Vec<String> = details.tags.iter().map(|tag| escape::text(tag.as_bytes())).collect();
                if row.state != SnapshotState::Live {
                    tags.insert(0, "(in trash)".to_owned());
                }
                let paths: Vec<String> = details.paths.iter().map(|path| escape::text(path)).collect();
                cells.extend([
                    escape::text(details.host.as_bytes()),
                    details.stats.files.to_string(),
                    bytes(details.stats.bytes),
                    tags.join(","),
                    paths.join(" "),
                ]);
            }
            None => cells.extend(["?", "?", "?", "", "?"].map(str::to_owned)),
        }
        cells
    }

    fn object(&self) -> Map<String, Value> {
        object(&self.row, self.details.as_ref())
    }
}

/// A version as an object, with the field names of restic.
pub fn object(row: &SnapshotRow, details: Option<&Details>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("id", row.snapshot.to_string().into());
    put("short_id", row.snapshot.short().into());
    put("name", row.name.clone().into());
    put("version", row.seq.into());
    put("time", time::rfc3339(row.time_ns).into());
    put("tree", row.root.to_string().into());
    if let SnapshotState::Trash { since_ns, .. } = row.state {
        put("trash_since", time::rfc3339(since_ns).into());
    }
    let Some(details) = details else { return out };
    let stats = &details.stats;
    put("hostname", details.host.clone().into());
    put("username", details.user.clone().into());
    put("paths", details.paths.iter().map(|path| Value::from(escape::text(path))).collect());
    put("tags", details.tags.clone().into());
    put("program_version", details.program.clone().into());
    put(
        "summary",
        json!({
            "files": stats.files,
            "dirs": stats.directories,
            "others": stats.others,
            "total_files_processed": stats.files,
            "total_bytes_processed": stats.bytes,
            "data_added_packed": stats.new_stored_bytes,
            "errors": details.errors,
            "total_duration": details.duration_ms as f64 / 1000.0,
        }),
    );
    out
}
