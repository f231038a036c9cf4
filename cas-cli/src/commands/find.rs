//! `cas find`: which versions hold a path.

use crate::exit::Exit;
use crate::reading::{self, Missing, Output, with_library};
use crate::workplace::{STOP, Workplace};
use crate::{entry, time};
use cas_client::browse::{self, Book, Library, Opened, SizeIs, Wanted};
use cas_client::{ClientError, Result};
use cas_core::manifest::{EntryWithIds, FileType, Mtime};
use cas_net::{SnapshotRow, SnapshotState};
use clap::{Args, ValueEnum};
use jiff::{Span, Timestamp, Zoned, civil};
use std::collections::BTreeMap;

/// Find files in all versions of all names
///
/// A pattern without a slash matches a name, with a slash a path from the top of the snapshot; *, ?, [a-z] and ** as in
/// .gitignore; of several one has to match. A file is shown once for each state it was in, as REF:PATH of the newest version
/// that has it, ready for cas dump and cas pull. Paths are escaped as in cas ls.
#[derive(Debug, Args)]
pub struct Find {
    /// What to look for
    #[arg(required_unless_present_any = ["types", "newer", "older", "size"], value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only in this name and those under it; may be repeated
    #[arg(short = 'N', long, value_name = "NAME")]
    name: Vec<String>,
    /// Only in this version; may be repeated
    #[arg(short, long, value_name = "REF", conflicts_with = "name")]
    snapshot: Vec<String>,
    /// Only in the newest version of each name
    #[arg(long)]
    latest: bool,
    /// Only of this type; may be repeated
    #[arg(short, long = "type", value_enum, value_name = "TYPE")]
    types: Vec<TypeArg>,
    /// Only what was changed at this time or later: 2026-11-20, "2026-11-20 10:30", or 3d, 12h, 2w ago
    #[arg(long, alias = "oldest", short_alias = 'O', value_name = "TIME", value_parser = moment)]
    newer: Option<Mtime>,
    /// Only what was changed before this time
    #[arg(long, alias = "newest", value_name = "TIME", value_parser = moment)]
    older: Option<Mtime>,
    /// Only files of this size: 10k; +1M for that and more, -1M for that and less; may be repeated
    #[arg(long, value_name = "[+-]SIZE", allow_hyphen_values = true, value_parser = size)]
    size: Vec<SizeIs>,
    /// Small and capital letters are the same
    #[arg(long)]
    ignore_case: bool,
    /// Permissions, owners, size, time and the versions, too
    #[arg(short, long)]
    long: bool,
    /// Sizes in KiB, MiB …
    #[arg(long, alias = "human-readable")]
    human: bool,
    /// What is found as it is, each followed by a NUL
    #[arg(short = '0', long, alias = "print0", conflicts_with_all = ["long", "json"])]
    null: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TypeArg {
    /// Regular files
    #[value(alias = "f")]
    File,
    /// Folders
    #[value(aliases = ["d", "directory"])]
    Dir,
    /// Symbolic links
    #[value(aliases = ["l", "link"])]
    Symlink,
    /// Named pipes
    #[value(alias = "p")]
    Fifo,
    /// Sockets
    #[value(alias = "s")]
    Socket,
    /// Character devices
    #[value(alias = "c")]
    Chardev,
    /// Block devices
    #[value(aliases = ["b", "blockdev"])]
    Dev,
}

impl TypeArg {
    fn file_type(self) -> FileType {
        match self {
            Self::File => FileType::File,
            Self::Dir => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::Chardev => FileType::CharDevice,
            Self::Dev => FileType::BlockDevice,
        }
    }
}

impl Find {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let mut wanted = Wanted::new(&self.patterns, self.ignore_case)?;
        wanted.types = self.types.iter().map(|t| t.file_type()).collect();
        (wanted.newer, wanted.older, wanted.sizes) = (self.newer, self.older, self.size.clone());
        with_library(work, None, |library| {
            let mut missing = Missing::default();
            let mut out = Output::new();
            for rows in self.rows(library)?.into_values() {
                self.search(work, library, &rows, &wanted, &mut out, &mut missing)?;
            }
            out.finish()?;
            Ok(missing.exit())
        })
    }

    /// The versions to search, by name.
    fn rows(&self, library: &Library<'_>) -> Result<BTreeMap<String, Vec<SnapshotRow>>> {
        let live = library.live();
        let mut names: BTreeMap<String, Vec<SnapshotRow>> = BTreeMap::new();
        let mut take = |row: &SnapshotRow| {
            let rows = names.entry(row.name.clone()).or_default();
            if !rows.contains(row) {
                rows.push(row.clone());
            }
        };
        for text in &self.snapshot {
            take(reading::reference(text)?.choose(&live)?);
        }
        if self.snapshot.is_empty() {
            for name in &self.name {
                if !live.iter().any(|row| reading::is_under(row, name)) {
                    return Err(ClientError::NotFound { what: "name", name: name.clone() });
                }
            }
            let is_wanted =
                |row: &&SnapshotRow| self.name.is_empty() || self.name.iter().any(|name| reading::is_under(row, name));
            live.iter().filter(is_wanted).for_each(&mut take);
        }
        for rows in names.values_mut() {
            rows.sort_by_key(|row| row.seq);
            if self.latest {
                rows.drain(..rows.len() - 1);
            }
        }
        Ok(names)
    }

    fn search(
        &self,
        work: &Workplace,
        library: &Library<'_>,
        rows: &[SnapshotRow],
        wanted: &Wanted,
        out: &mut Output,
        missing: &mut Missing,
    ) -> Result<()> {
        let printer = &work.printer;
        let mut open: Vec<Opened> = Vec::new();
        for row in rows {
            debug_assert_eq!(row.state, SnapshotState::Live);
            match library.open_row(row) {
                Ok(opened) => open.push(opened),
                Err(error) => missing.other(printer, &reading::version(row), &error),
            }
        }
        if let [only] = &open[..] {
            for item in browse::find_in_one(&only.book(), wanted) {
                match item {
                    Ok(item) => self.show(work, out, &item, &only.row, &only.row)?,
                    Err(error) => missing.range(printer, &reading::version(&only.row), &error),
                }
            }
            return Ok(());
        }
        let books: Vec<Book> = open.iter().map(Opened::book).collect();
        let mut gap = |version: usize, error| missing.range(printer, &reading::version(&open[version].row), &error);
        for found in browse::find_in_versions(&books, wanted, &mut gap, &STOP)? {
            self.show(work, out, &found.entry, &open[found.first].row, &open[found.last].row)?;
        }
        Ok(())
    }

    fn show(
        &self,
        work: &Workplace,
        out: &mut Output,
        item: &EntryWithIds,
        first: &SnapshotRow,
        last: &SnapshotRow,
    ) -> Result<()> {
        let path = item.path.as_bytes();
        if work.printer.json() {
            let mut object = entry::object(path, &item.entry);
            object.insert("snapshot".to_owned(), last.snapshot.to_string().into());
            object.insert("snapshot_name".to_owned(), last.name.clone().into());
            object.insert("first_version".to_owned(), first.seq.into());
            object.insert("last_version".to_owned(), last.seq.into());
            object.insert("last_time".to_owned(), time::rfc3339(last.time_ns).into());
            return out.object("match", object);
        }
        let version = reading::version(last);
        if self.null {
            out.bytes(format!("{version}:").as_bytes())?;
            out.bytes(path)?;
            return out.bytes(b"\0");
        }
        let shown = format!("{version}:{}", entry::path(path, &item.entry, self.long));
        if !self.long {
            return out.line(shown);
        }
        let versions = match first.seq == last.seq {
            true => String::new(),
            false => format!("  (versions {} to {})", first.seq, last.seq),
        };
        out.line(format!("{} {shown}{versions}", entry::attributes(&item.entry, self.human)))
    }
}

/// A time as a person says it.
fn moment(text: &str) -> std::result::Result<Mtime, String> {
    let text = text.trim();
    let zone = jiff::tz::TimeZone::system();
    let local = |time: civil::DateTime| time.to_zoned(zone.clone()).ok().map(|z| z.timestamp());
    let timestamp = if let Ok(timestamp) = text.parse::<Timestamp>() {
        Some(timestamp)
    } else if let Ok(time) = text.parse::<civil::DateTime>() {
        local(time)
    } else if let Ok(span) = text.trim_end_matches(" ago").parse::<Span>() {
        Zoned::now().checked_sub(span.abs()).ok().map(|z| z.timestamp())
    } else {
        None
    };
    let timestamp = timestamp.ok_or("expected a time like 2026-11-20, 2026-11-20 10:30 or 3d (ago)")?;
    // From the second below, so that nanoseconds count upwards.
    let ns = timestamp.as_nanosecond();
    let (seconds, nanoseconds) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    Ok(Mtime { seconds: seconds as i64, nanoseconds: nanoseconds as u32 })
}

/// A size as a person says it.
fn size(text: &str) -> std::result::Result<SizeIs, String> {
    let (kind, number): (fn(u64) -> SizeIs, &str) = match text.as_bytes().first() {
        Some(b'+') => (SizeIs::AtLeast, &text[1..]),
        Some(b'-') => (SizeIs::AtMost, &text[1..]),
        _ => (SizeIs::Exactly, text),
    };
    let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
    let power = match number[digits.len()..].to_ascii_lowercase().trim_end_matches("ib") {
        "" | "b" | "c" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err("expected a size like 500, 10k, +1M or -2GiB".to_owned()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << (10 * power)));
    bytes.map(kind).ok_or_else(|| "expected a size like 500, 10k, +1M or -2GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_direction_and_unit() {
        assert_eq!(size("500"), Ok(SizeIs::Exactly(500)));
        assert_eq!(size("+1M"), Ok(SizeIs::AtLeast(1 << 20)));
        assert_eq!(size("-2GiB"), Ok(SizeIs::AtMost(2 << 30)));
        assert_eq!(size("10k"), Ok(SizeIs::Exactly(10 << 10)));
        for bad in ["", "+", "M", "1x", "-", "1.5M", "99999999P", "ä"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_dates_instants_or_so_long_ago() {
        let instant = moment("2026-11-20T10:30:00Z").unwrap();
        assert_eq!(instant, Mtime { seconds: 1_795_170_600, nanoseconds: 0 });
        assert_eq!(moment("1969-12-31T23:59:58.5Z").unwrap(), Mtime { seconds: -2, nanoseconds: 500_000_000 });
        assert!(moment("2026-11-20").unwrap() < moment("2026-11-20 10:30").unwrap());
        assert!(moment("3d").unwrap() < moment("12h ago").unwrap());
        assert!(moment("2w").is_ok() && moment("yesterdayish").is_err() && moment("").is_err());
    }
}
