//! `cas diff`: what differs between two snapshots.

use crate::exit::Exit;
use crate::printer::bytes;
use crate::reading::{self, Missing, Output, with_library};
use crate::workplace::{STOP, Workplace};
use crate::{entry, escape};
use cas_client::browse::{self, DiffTotals, Difference, Library, Opened, What};
use cas_client::reference::Reference;
use cas_client::{ClientError, Result};
use cas_core::manifest::Side;
use clap::Args;
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering::Relaxed;

/// Show what differs between two snapshots
///
/// What is only in the second is marked +, only in the first -, other content M, another type T, other attributes U; behind
/// the path stands in what it differs. Paths are escaped as in cas ls. With one name, its last two versions are compared.
#[derive(Debug, Args)]
pub struct Diff {
    /// The first [default with one REF: the version before it]
    #[arg(value_name = "REF")]
    first: String,
    /// The second
    #[arg(value_name = "REF")]
    second: Option<String>,
    /// Also what differs in nothing but its time
    #[arg(short, long)]
    metadata: bool,
    /// Totals only
    #[arg(long, alias = "summary")]
    stat: bool,
}

impl Diff {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let second = reading::reference(self.second.as_ref().unwrap_or(&self.first))?;
        let first = self.second.as_ref().map(|_| reading::reference(&self.first)).transpose()?;
        let path = inner_path(first.as_ref(), &second)?;
        with_library(work, Some(&second), |library| {
            let new = library.open_reference(&second)?;
            let old = match &first {
                Some(first) => library.open_reference(first)?,
                None => before(library, &new)?,
            };
            self.compare(work, &old, &new, &path)
        })
    }

    fn compare(&self, work: &Workplace, old: &Opened, new: &Opened, path: &[u8]) -> Result<Exit> {
        let printer = &work.printer;
        let (old_book, new_book) = (old.book(), new.book());
        let (mut totals, mut missing, mut out) = (DiffTotals::default(), Missing::default(), Output::new());
        for item in browse::compare(&old_book, &new_book, path) {
            if STOP.load(Relaxed) {
                return Err(ClientError::Interrupted);
            }
            match item {
                Ok(difference) => {
                    totals.count(&difference);
                    if !self.stat && (self.metadata || !is_touched(&difference)) {
                        show(work, &mut out, &difference)?;
                    }
                }
                Err(unread) => {
                    let row = if unread.side == Side::Old { &old.row } else { &new.row };
                    missing.range(printer, &reading::version(row), &unread.error);
                }
            }
        }
        tell_totals(work, &mut out, old, new, &totals)?;
        out.finish()?;
        Ok(missing.exit())
    }
}

/// The version before.
fn before(library: &Library<'_>, new: &Opened) -> Result<Opened> {
    let row = &new.row;
    let rows = library.live();
    let older = rows.iter().filter(|r| r.name == row.name && r.seq < row.seq).max_by_key(|r| r.seq);
    let older = older.ok_or_else(|| ClientError::NotFound { what: "version before", name: reading::version(row) })?;
    library.open_row(older)
}

/// One path for both.
fn inner_path(first: Option<&Reference>, second: &Reference) -> Result<Vec<u8>> {
    match first.map(|first| &first.path) {
        Some(path) if !path.is_empty() && !second.path.is_empty() && *path != second.path => {
            Err(ClientError::Usage("both snapshots are compared at the same path".to_owned()))
        }
        Some(path) if second.path.is_empty() => Ok(path.clone()),
        _ => Ok(second.path.clone()),
    }
}

fn is_touched(difference: &Difference) -> bool {
    matches!(difference.what, What::Changed { kinds, .. } if kinds.only_time())
}

/// As restic: M content, T type, U what stands around it.
fn modifier(what: &What) -> &'static str {
    match what {
        What::Added(_) => "+",
        What::Removed(_) => "-",
        What::Changed { kinds, .. } if kinds.file_type => "T",
        What::Changed { kinds, .. } if kinds.content => "M",
        What::Changed { .. } => "U",
    }
}

fn show(work: &Workplace, out: &mut Output, difference: &Difference) -> Result<()> {
    let item = difference.entry();
    let modifier = modifier(&difference.what);
    let words: Vec<&str> = match &difference.what {
        What::Changed { kinds, .. } => kinds.words().collect(),
        _ => Vec::new(),
    };
    if work.printer.json() {
        let mut object = Map::new();
        escape::put(&mut object, "path", item.path.as_bytes());
        object.insert("modifier".to_owned(), modifier.into());
        object.insert("type".to_owned(), entry::type_name(item.entry.file_type).into());
        object.insert("changes".to_owned(), words.into());
        object.insert("bytes_added".to_owned(), difference.bytes_added.into());
        object.insert("bytes_removed".to_owned(), difference.bytes_removed.into());
        return out.object("change", object);
    }
    let mut line = format!("{modifier}  {}", entry::path(item.path.as_bytes(), &item.entry, false));
    if let What::Changed { old, new, .. } = &difference.what {
        let told: Vec<String> = words.into_iter().map(|word| in_words(word, old, new, difference)).collect();
        line += &format!("  ({})", told.join(", "));
    }
    out.line(line)
}

/// What changed, with what it was and is where that is short.
fn in_words(
    word: &str,
    old: &cas_core::manifest::EntryWithIds,
    new: &cas_core::manifest::EntryWithIds,
    difference: &Difference,
) -> String {
    let (a, b) = (&old.entry, &new.entry);
    let owner = |e: &cas_core::manifest::Entry| {
        let name = |name: &[u8], id: u32| if name.is_empty() { id.to_string() } else { escape::text(name) };
        format!("{}:{}", name(&e.user, e.uid), name(&e.group, e.gid))
    };
    match word {
        "type" => format!("{} to {}", entry::type_name(a.file_type), entry::type_name(b.file_type)),
        "content" if difference.bytes_added + difference.bytes_removed > 0 => {
            format!("content +{} -{}", bytes(difference.bytes_added), bytes(difference.bytes_removed))
        }
        "mode" => format!("{} to {}", entry::permissions(a), entry::permissions(b)),
        "owner" => format!("{} to {}", owner(a), owner(b)),
        word => word.to_owned(),
    }
}

fn tell_totals(work: &Workplace, out: &mut Output, old: &Opened, new: &Opened, totals: &DiffTotals) -> Result<()> {
    let counted = |[files, dirs, others]: [u64; 3], bytes: u64| json!({"files": files, "dirs": dirs, "others": others, "bytes": bytes});
    if work.printer.json() {
        let value = json!({
            "source_snapshot": old.row.snapshot.to_string(),
            "target_snapshot": new.row.snapshot.to_string(),
            "changed_files": totals.changed[0],
            "changed_dirs": totals.changed[1],
            "changed_others": totals.changed[2],
            "touched": totals.touched,
            "added": counted(totals.added, totals.bytes_added),
            "removed": counted(totals.removed, totals.bytes_removed),
        });
        let Value::Object(object) = value else { unreachable!("an object") };
        return out.object("statistics", object);
    }
    let words = |[files, dirs, others]: [u64; 3]| format!("{files} files, {dirs} folders, {others} others");
    let names = format!("{} to {}", reading::version(&old.row), reading::version(&new.row));
    let lines = [
        format!("{names}:"),
        format!("  added    {}; {}", words(totals.added), bytes(totals.bytes_added)),
        format!("  removed  {}; {}", words(totals.removed), bytes(totals.bytes_removed)),
        format!("  changed  {}; {} in their time only", words(totals.changed), totals.touched),
    ];
    lines.iter().try_for_each(|line| out.line(line))
}
