//! `cas stats`: how much there is, and what it costs.

use crate::exit::Exit;
use crate::printer::bytes;
use crate::reading::{self, Missing, Output, with_library};
use crate::table;
use crate::workplace::{STOP, Workplace};
use cas_client::Result;
use cas_client::browse::{self, Forecast, Freed, Library, Opened, Reach, Reached, Sizes};
use cas_net::{SnapshotRow, SnapshotState};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Count files, bytes and what they take in the store
///
/// WHICH is a name (with all names under it), NAME@3 or the first digits of an id. "Only here" is what would be freed, to the
/// byte, if it were forgotten and collected. Reads the lists of files of every version once.
#[derive(Debug, Args)]
pub struct Stats {
    /// A name or a version [default: everything]
    #[arg(value_name = "WHICH")]
    which: Option<String>,
}

/// What was counted.
struct Counted {
    sizes: Sizes,
    stored: Reached,
    only_here: Freed,
    /// Everything in the trash, if all was asked for.
    trash: Option<(usize, Freed)>,
    garbage: Freed,
    names: Vec<NameStats>,
}

struct NameStats {
    name: String,
    versions: usize,
    newest: Option<(u64, u64)>,
    stored: Reached,
    only_here: Freed,
}

impl Stats {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        with_library(work, None, |library| {
            let mut missing = Missing::default();
            let rows = self.rows(library)?;
            let counted = self.count(work, library, &rows, &mut missing)?;
            let mut out = Output::new();
            if work.printer.json() {
                let Value::Object(object) = counted.object() else { unreachable!("an object") };
                out.object("stats", object)?;
            } else {
                counted.lines().iter().try_for_each(|line| out.line(line))?;
            }
            out.finish()?;
            Ok(missing.exit())
        })
    }

    fn rows(&self, library: &Library<'_>) -> Result<Vec<SnapshotRow>> {
        let live = library.live();
        let Some(which) = &self.which else { return Ok(live) };
        let under: Vec<_> = live.iter().filter(|row| reading::is_under(row, which)).cloned().collect();
        if !under.is_empty() {
            return Ok(under);
        }
        Ok(vec![reading::reference(which)?.choose(&live)?.clone()])
    }

    fn count(
        &self,
        work: &Workplace,
        library: &Library<'_>,
        rows: &[SnapshotRow],
        missing: &mut Missing,
    ) -> Result<Counted> {
        let index = &**library.store().index();
        let mut open: Vec<Opened> = Vec::new();
        for row in rows {
            match library.open_row(row) {
                Ok(opened) => open.push(opened),
                Err(error) => missing.other(&work.printer, &reading::version(row), &error),
            }
        }
        let sizes = browse::sizes(&open, &STOP)?;
        for (name, seq, error) in &sizes.unread {
            missing.other(&work.printer, &format!("{name}@{seq}"), error);
        }
        let stored = reached(library, rows)?;
        let forecast = Forecast::new(index, &STOP)?;
        let trash: Vec<_> = library.rows().iter().filter(|row| row.state != SnapshotState::Live).collect();
        let trash = match self.which {
            None => Some((trash.len(), forecast.freed_by_forgetting(trash, &STOP)?)),
            Some(_) => None,
        };
        Ok(Counted {
            sizes,
            stored,
            only_here: forecast.freed_by_forgetting(rows, &STOP)?,
            trash,
            garbage: forecast.garbage(),
            names: names(library, rows, &open, &forecast)?,
        })
    }
}

/// What these versions hold, each block once.
fn reached<'r>(library: &Library<'_>, rows: impl IntoIterator<Item = &'r SnapshotRow>) -> Result<Reached> {
    let (mut reach, mut stored) = (Reach::default(), Reached::default());
    for row in rows {
        for top in [row.root, row.object] {
            stored += reach.add(&**library.store().index(), top, &STOP)?;
        }
    }
    Ok(stored)
}

/// Each name on its own.
fn names(
    library: &Library<'_>,
    rows: &[SnapshotRow],
    open: &[Opened],
    forecast: &Forecast<'_>,
) -> Result<Vec<NameStats>> {
    let mut names: BTreeMap<&str, Vec<&SnapshotRow>> = BTreeMap::new();
    rows.iter().for_each(|row| names.entry(&row.name).or_default().push(row));
    let mut counted = Vec::new();
    for (name, rows) in names {
        let stored = reached(library, rows.iter().copied())?;
        let newest = open.iter().filter(|opened| opened.row.name == name).max_by_key(|opened| opened.row.seq);
        counted.push(NameStats {
            name: name.to_owned(),
            versions: rows.len(),
            newest: newest.map(|opened| (opened.details.stats.files, opened.details.stats.bytes)),
            stored,
            only_here: forecast.freed_by_forgetting(rows, &STOP)?,
        });
    }
    Ok(counted)
}

impl Counted {
    fn lines(&self) -> Vec<String> {
        let Self { sizes, stored, .. } = self;
        let mut lines = vec![
            format!("versions    {} of {}", sizes.snapshots, reading::count(self.names.len(), "name")),
            format!(
                "files       {}, {} folders, {} others, summed over the versions",
                sizes.files, sizes.directories, sizes.others
            ),
            format!("in all      {}", bytes(sizes.bytes)),
            format!(
                "distinct    {} (deduplication {})",
                bytes(sizes.distinct_bytes),
                ratio(sizes.bytes, sizes.distinct_bytes)
            ),
            format!(
                "stored      {} in {} blocks (compression {}, together {})",
                bytes(stored.bytes()),
                stored.blocks(),
                ratio(sizes.distinct_bytes, stored.bytes()),
                ratio(sizes.bytes, stored.bytes()),
            ),
            format!("only here   {} in {} blocks", bytes(self.only_here.bytes()), self.only_here.blocks()),
        ];
        if let Some((versions, freed)) = self.trash.filter(|(versions, _)| *versions > 0) {
            lines.push(format!(
                "in trash    {}; emptying it frees {}",
                reading::count(versions, "version"),
                bytes(freed.bytes())
            ));
        }
        if self.garbage.blocks() > 0 {
            lines.push(format!(
                "garbage     {} in {} blocks, until cas gc",
                bytes(self.garbage.bytes()),
                self.garbage.blocks()
            ));
        }
        if stored.bad + stored.missing > 0 {
            lines.push(format!(
                "damaged     {} blocks marked bad, {} missing: see cas check",
                stored.bad, stored.missing
            ));
        }
        if self.names.len() > 1 {
            lines.push(String::new());
            let headings = ["NAME", "VERSIONS>", "NEWEST>", "FILES>", "STORED>", "ONLY HERE>"];
            lines.extend(table::lines(&headings, self.names.iter().map(NameStats::cells)));
        }
        lines
    }

    /// Field names of restic's raw data, and what it does not have.
    fn object(&self) -> Value {
        let Self { sizes, stored, .. } = self;
        let quotient = |a: u64, b: u64| if b == 0 { Value::Null } else { json!(a as f64 / b as f64) };
        let saved = sizes.distinct_bytes.saturating_sub(stored.bytes());
        json!({
            "total_size": stored.bytes(),
            "total_uncompressed_size": sizes.distinct_bytes,
            "compression_ratio": quotient(sizes.distinct_bytes, stored.bytes()),
            "compression_space_saving": quotient(saved * 100, sizes.distinct_bytes),
            "total_blob_count": stored.blocks(),
            "snapshots_count": sizes.snapshots,
            "total_file_count": sizes.files,
            "total_dir_count": sizes.directories,
            "total_other_count": sizes.others,
            "total_restore_size": sizes.bytes,
            "deduplication_ratio": quotient(sizes.bytes, sizes.distinct_bytes),
            "bad_blob_count": stored.bad,
            "missing_blob_count": stored.missing,
            "unique_size": self.only_here.bytes(),
            "unique_blob_count": self.only_here.blocks(),
            "trash_size": self.trash.map(|(_, freed)| freed.bytes()),
            "garbage_size": self.garbage.bytes(),
            "names": self.names.iter().map(NameStats::object).collect::<Vec<_>>(),
        })
    }
}

impl NameStats {
    fn cells(&self) -> Vec<String> {
        let (files, size) = self.newest.map_or(("?".to_owned(), "?".to_owned()), |(f, b)| (f.to_string(), bytes(b)));
        let stored = bytes(self.stored.bytes());
        vec![self.name.clone(), self.versions.to_string(), size, files, stored, bytes(self.only_here.bytes())]
    }

    fn object(&self) -> Value {
        json!({
            "name": self.name,
            "snapshots_count": self.versions,
            "newest_file_count": self.newest.map(|n| n.0),
            "newest_size": self.newest.map(|n| n.1),
            "total_size": self.stored.bytes(),
            "unique_size": self.only_here.bytes(),
        })
    }
}

fn ratio(whole: u64, part: u64) -> String {
    if part == 0 { "none".to_owned() } else { format!("{:.2} to 1", whole as f64 / part as f64) }
}
