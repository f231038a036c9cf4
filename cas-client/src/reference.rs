//! How a person names a snapshot and a path in it: `NAME`, `NAME@3`, `NAME@latest~1`, `NAME@2026-11-20`, an id prefix,
//! each with `:path/inside`.
//!
//! Parsing knows nothing of a store; choosing among rows is a function of the rows.

use crate::error::{ClientError, Result};
use cas_net::SnapshotRow;

/// Shortest prefix of a snapshot id that counts as one.
const MIN_ID_DIGITS: usize = 6;
const NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// Which snapshot, and what in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// As it was said, without the path.
    pub text: String,
    /// The snapshot.
    pub which: Which,
    /// The path inside, without slashes at its ends; empty for all of it.
    pub path: Vec<u8>,
}

/// Which snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// A name or an id prefix; as a name its newest version.
    NameOrId(String),
    /// A version of a name.
    Version {
        /// The name.
        name: String,
        /// Which of its versions.
        at: At,
    },
}

/// Which version of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// This seq.
    Seq(u64),
    /// This many before the newest.
    Back(usize),
    /// The newest that was made before this time (nanoseconds since 1970).
    Before(i64),
    /// The one whose id begins so.
    Id(String),
}

impl Reference {
    /// Reads `NAME[@VERSION][:PATH]`. `local_offset_s` is the caller's offset from UTC: dates are local.
    pub fn parse(text: &str, local_offset_s: i64) -> Result<Self> {
        let (which, path) = split_path(text);
        let path = path.trim_matches('/').as_bytes().to_vec();
        let parsed = match which.split_once('@') {
            None => Which::NameOrId(which.to_owned()),
            Some((name, version)) => Which::Version { name: name.to_owned(), at: At::parse(version, local_offset_s)? },
        };
        if which.is_empty() || which.starts_with('@') {
            return Err(ClientError::Usage(format!(
                "{text:?} names no snapshot: expected NAME, NAME@VERSION or an id"
            )));
        }
        Ok(Self { text: which.to_owned(), which: parsed, path })
    }

    /// Chooses the row that is meant.
    pub fn choose<'a>(&self, rows: &'a [SnapshotRow]) -> Result<&'a SnapshotRow> {
        match &self.which {
            Which::NameOrId(text) => self.newest(rows, text).map_or_else(|| self.by_id(rows, text), Ok),
            Which::Version { name, at } => self.version(rows, name, at),
        }
    }

    fn newest<'a>(&self, rows: &'a [SnapshotRow], name: &str) -> Option<&'a SnapshotRow> {
        let latest = name == "latest" && !rows.iter().any(|r| r.name == "latest");
        rows.iter()
            .filter(|r| latest || r.name == name)
            .max_by_key(|r| if latest { (r.time_ns, 0) } else { (0, r.seq) })
    }

    fn by_id<'a>(&self, rows: &'a [SnapshotRow], prefix: &str) -> Result<&'a SnapshotRow> {
        let not_found = || ClientError::NotFound { what: "snapshot", name: self.text.clone() };
        if prefix.len() < MIN_ID_DIGITS || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let prefix = prefix.to_ascii_lowercase();
        let mut fitting = rows.iter().filter(|r| r.snapshot.to_string().starts_with(&prefix));
        match (fitting.next(), fitting.next()) {
            (Some(row), None) => Ok(row),
            (None, _) => Err(not_found()),
            (Some(a), Some(b)) => Err(ClientError::Ambiguous {
                text: self.text.clone(),
                candidates: format!("{}@{} or {}@{}", a.name, a.seq, b.name, b.seq),
            }),
        }
    }

    fn version<'a>(&self, rows: &'a [SnapshotRow], name: &str, at: &At) -> Result<&'a SnapshotRow> {
        let mut versions: Vec<_> = rows.iter().filter(|r| r.name == name).collect();
        versions.sort_by_key(|r| std::cmp::Reverse(r.seq));
        let found = match at {
            At::Seq(seq) => versions.iter().find(|r| r.seq == *seq),
            At::Back(n) => versions.get(*n),
            At::Before(time_ns) => versions.iter().find(|r| r.time_ns < *time_ns),
            At::Id(prefix) => {
                return versions
                    .iter()
                    .find(|r| r.snapshot.to_string().starts_with(prefix))
                    .copied()
                    .ok_or_else(|| self.missing());
            }
        };
        found.copied().ok_or_else(|| self.missing())
    }

    fn missing(&self) -> ClientError {
        ClientError::NotFound { what: "version", name: self.text.clone() }
    }
}

/// Splits at the first colon that does not belong to a time of day.
fn split_path(text: &str) -> (&str, &str) {
    let from = text.find('@').map_or(0, |at| at + 1 + date_length(&text[at + 1..]));
    match text[from..].find(':') {
        Some(colon) => (&text[..from + colon], &text[from + colon + 1..]),
        None => (text, ""),
    }
}

/// How much of the start is `YYYY-MM-DD[T| HH:MM[:SS]]`.
fn date_length(text: &str) -> usize {
    const SHAPES: [&str; 3] = ["dddd-dd-ddTdd:dd:dd", "dddd-dd-ddTdd:dd", "dddd-dd-dd"];
    let fits = |shape: &str| {
        text.len() >= shape.len()
            && text.bytes().zip(shape.bytes()).all(|(b, s)| match s {
                b'd' => b.is_ascii_digit(),
                b'T' => b == b'T' || b == b' ',
                s => b == s,
            })
    };
    SHAPES.iter().find(|shape| fits(shape)).map_or(0, |shape| shape.len())
}

impl At {
    fn parse(text: &str, local_offset_s: i64) -> Result<Self> {
        if text == "latest" {
            return Ok(Self::Back(0));
        }
        let back = text.strip_prefix("latest~").or_else(|| text.strip_prefix('~'));
        if let Some(Ok(n)) = back.map(str::parse) {
            return Ok(Self::Back(n));
        }
        if date_length(text) == text.len() && !text.is_empty() {
            return date(text, local_offset_s).map(Self::Before).ok_or_else(|| usage(text));
        }
        match text.parse() {
            Ok(seq) if text.len() < 20 => Ok(Self::Seq(seq)),
            _ if text.len() >= MIN_ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Self::Id(text.to_ascii_lowercase()))
            }
            _ => Err(usage(text)),
        }
    }
}

fn usage(text: &str) -> ClientError {
    ClientError::Usage(format!("{text:?} is no version: expected a number, latest, latest~N, a date or an id"))
}

/// The first moment after a date or time: everything of that day, minute or second counts as made by then.
fn date(text: &str, local_offset_s: i64) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to).and_then(|d| d.parse::<i64>().ok());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY_S - local_offset_s;
    let seconds = match text.len() {
        10 => DAY_S,
        16 => number(11, 13)? * 3600 + number(14, 16)? * 60 + 60,
        _ => number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)? + 1,
    };
    (midnight + seconds).checked_mul(NS)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::id::{BlockId, SnapshotId, VaultId};
    use cas_net::SnapshotState;

    fn rows() -> Vec<SnapshotRow> {
        let row = |name: &str, seq: u64, day: i64| SnapshotRow {
            vault: VaultId::ZERO,
            name: name.to_owned(),
            seq,
            snapshot: SnapshotId([0xa0 + day as u8; 32]),
            object: BlockId::ZERO,
            root: BlockId::ZERO,
            time_ns: (days_from_civil(2026, 11, day) * DAY_S + 43_200) * NS,
            state: SnapshotState::Live,
        };
        vec![row("a/b", 1, 1), row("a/b", 2, 2), row("a/b", 4, 4), row("c", 1, 3)]
    }

    fn chosen(text: &str) -> Option<(String, u64, String)> {
        let reference = Reference::parse(text, 0).ok()?;
        let rows = rows();
        let row = reference.choose(&rows).ok()?;
        Some((row.name.clone(), row.seq, String::from_utf8(reference.path).unwrap()))
    }

    #[test]
    fn every_way_to_name_a_snapshot() {
        for (text, name, seq, path) in [
            ("a/b", "a/b", 4, ""),
            ("a/b:x/y/", "a/b", 4, "x/y"),
            ("a/b@1", "a/b", 1, ""),
            ("a/b@latest:p", "a/b", 4, "p"),
            ("a/b@latest~1", "a/b", 2, ""),
            ("a/b@~2", "a/b", 1, ""),
            ("a/b@2026-11-03", "a/b", 2, ""),
            ("a/b@2026-11-04T12:00:q:r", "a/b", 4, "q:r"),
            ("a/b@2026-11-04T11:59:q", "a/b", 2, "q"),
            ("a/b@a1a1a1", "a/b", 1, ""),
            ("A2A2A2:x", "a/b", 2, "x"),
            ("a3a3a3a3", "c", 1, ""),
            ("latest", "a/b", 4, ""),
        ] {
            assert_eq!(chosen(text), Some((name.to_owned(), seq, path.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            ":x",
            "@1",
            "a/b@",
            "a/b@x",
            "a/b@3",
            "a/b@latest~9",
            "a/b@2026-10-01",
            "a/b@2026-13-01",
            "d",
            "a2a2a",
            "bbbbbb",
        ] {
            assert_eq!(chosen(text), None, "{text}");
        }
    }
}
