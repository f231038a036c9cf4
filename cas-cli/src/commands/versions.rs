//! `cas versions`: one path through the versions of a name.

use crate::exit::Exit;
use crate::reading::{self, Missing, Output, with_library};
use crate::workplace::{STOP, Workplace};
use crate::{entry, escape, table, time};
use cas_client::browse::{self, Library, Opened, Run, State};
use cas_client::reference::{Reference, Which};
use cas_client::{ClientError, Result};
use cas_core::manifest::ManifestPath;
use cas_net::SnapshotRow;
use clap::Args;
use serde_json::{Map, Value};

/// Show how a file or folder changed from version to version
///
/// Versions side by side in which its content is the same are one line.
#[derive(Debug, Args)]
pub struct Versions {
    /// Which path of which name; with NAME@3 only up to that version
    #[arg(value_name = "NAME:PATH")]
    reference: String,
    /// Exact sizes
    #[arg(short, long)]
    bytes: bool,
}

impl Versions {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let reference = reading::reference(&self.reference)?;
        let Some(path) = browse::inner_path(&reference.path)? else {
            let help = format!(
                "{}: name a path, like {}:some/file; cas snapshots lists whole versions",
                self.reference, self.reference
            );
            return Err(ClientError::Usage(help));
        };
        with_library(work, Some(&reference), |library| {
            let mut missing = Missing::default();
            let open = opened(work, library, &reference, &mut missing)?;
            let books: Vec<_> = open.iter().map(|opened| (opened.root(), opened.book())).collect();
            let runs = browse::versions(&books, &path, &STOP)?;
            for run in &runs {
                if let State::Unknown(error) = &run.state {
                    missing.other(&work.printer, &reading::version(&open[run.last].row), error);
                }
            }
            if runs.iter().all(|run| matches!(run.state, State::Absent)) && !open.is_empty() {
                return Err(ClientError::NotFound { what: "path", name: escape::text(path.as_bytes()) });
            }
            let mut out = Output::new();
            if work.printer.json() {
                runs.iter().try_for_each(|run| out.object("version", object(run, &open, &path)))?;
            } else {
                let headings = ["VERSIONS", "FROM", "TO", "SIZE>", "MODIFIED", "MODE", ""];
                let rows = runs.iter().map(|run| self.cells(run, &open));
                table::lines(&headings, rows).iter().try_for_each(|line| out.line(line))?;
            }
            out.finish()?;
            Ok(missing.exit())
        })
    }

    fn cells(&self, run: &Run, open: &[Opened]) -> Vec<String> {
        let (first, last) = (&open[run.first].row, &open[run.last].row);
        let versions = match first.seq == last.seq {
            true => format!("@{}", first.seq),
            false => format!("@{} to @{}", first.seq, last.seq),
        };
        let mut cells = vec![versions, time::local(first.time_ns), time::local(last.time_ns)];
        match &run.state {
            State::Absent => cells.extend(["", "", "", "not there"].map(str::to_owned)),
            State::Unknown(_) => cells.extend(["?", "?", "?", "cannot be read"].map(str::to_owned)),
            State::Present(item) => {
                let e = &item.entry;
                let size = entry::size(e, !self.bytes);
                let link = e.link_target.as_ref().map_or(String::new(), |t| format!("-> {}", escape::text(t)));
                cells.extend([size, time::local_of(e.mtime.seconds, e.mtime.nanoseconds), entry::permissions(e), link]);
            }
        }
        cells
    }
}

/// The versions of the name, oldest first, up to the one that is meant. What cannot be opened is told.
fn opened(
    work: &Workplace,
    library: &Library<'_>,
    reference: &Reference,
    missing: &mut Missing,
) -> Result<Vec<Opened>> {
    let chosen = library.choose(reference)?;
    let all = matches!(&reference.which, Which::NameOrId(text) if *text == chosen.name || text == "latest");
    let is_wanted = |row: &&SnapshotRow| row.name == chosen.name && (all || row.seq <= chosen.seq);
    let mut open = Vec::new();
    for row in library.live().iter().filter(is_wanted) {
        match library.open_row(row) {
            Ok(opened) => open.push(opened),
            Err(error) => missing.other(&work.printer, &reading::version(row), &error),
        }
    }
    Ok(open)
}

fn object(run: &Run, open: &[Opened], path: &ManifestPath) -> Map<String, Value> {
    let (first, last) = (&open[run.first].row, &open[run.last].row);
    let (mut out, state) = match &run.state {
        State::Present(item) => (entry::object(path.as_bytes(), &item.entry), "present"),
        State::Absent => (Map::new(), "absent"),
        State::Unknown(_) => (Map::new(), "unreadable"),
    };
    escape::put(&mut out, "path", path.as_bytes());
    out.insert("state".to_owned(), state.into());
    out.insert("snapshot_name".to_owned(), last.name.clone().into());
    out.insert("snapshot".to_owned(), last.snapshot.to_string().into());
    out.insert("versions".to_owned(), (run.last - run.first + 1).into());
    out.insert("first_version".to_owned(), first.seq.into());
    out.insert("last_version".to_owned(), last.seq.into());
    out.insert("first_time".to_owned(), time::rfc3339(first.time_ns).into());
    out.insert("last_time".to_owned(), time::rfc3339(last.time_ns).into());
    out
}
