//! What was done by itself, or because somebody asked: the file `runs` beside the log. FORMAT §9.
//!
//! Promise: a run that was written down is there after any crash; the file holds the newest [`KEPT`] runs, and never many
//! more. A tail that a crash has torn is cut; damage before it loses the runs behind it and is said, and nothing else:
//! nothing depends on this file but people and the making up for missed slots.

use super::schedule::Task;
use cas_core::id::Sum;
use cas_net::cluster::{RunEnd, RunInfo};
use cas_net::{Result, ServiceError, encoding};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "runs";
const NEW_FILE: &str = "runs.new";
const HEADER: [u8; 8] = *b"CASR\x01\0\0\0";
const SUM_LEN: usize = 16;
/// Runs that are kept.
pub const KEPT: usize = 1000;
/// The file is rewritten when it holds so many.
const MOST: usize = 2 * KEPT;
/// The longest record, in bytes.
const MAX_RECORD: usize = 4096;
/// The longest text in a record, in bytes.
const MAX_TEXT: usize = 512;

/// Who wanted a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A schedule, for this slot: seconds since 1970.
    Slot(i64),
    /// Somebody.
    Asked,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Everything was done.
    Done,
    /// Something holds the rest back: which, for people.
    Held(String),
    /// The index was stopped.
    Stopped,
    /// Why not.
    Failed(String),
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What was done.
    pub task: Task,
    /// Who wanted it.
    pub cause: Cause,
    /// Cluster time when it began, nanoseconds since 1970.
    pub began_ns: i64,
    /// Cluster time when it ended.
    pub ended_ns: i64,
    /// For how long of that it gave way to pushes, in nanoseconds.
    pub waited_ns: i64,
    /// How it ended.
    pub end: End,
    /// Things it worked on: blocks condemned, blocks verified, versions emptied, rows exported.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// More for people.
    pub note: String,
}

/// The runs so far.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    runs: VecDeque<Run>,
    /// Records in the file.
    written: usize,
}

impl History {
    /// Opens the file in the directory of an index; makes none before there is a run.
    ///
    /// # Errors
    /// [`ServiceError::Io`], [`ServiceError::Version`].
    pub fn open(dir: &Path) -> Result<Self> {
        let (runs, valid, len) = load(dir)?;
        if valid < len {
            tracing::warn!(path = %dir.join(FILE).display(), bytes = len - valid, "cut what does not read of past runs");
            let path = dir.join(FILE);
            let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(valid as u64));
            cut.map_err(|e| ServiceError::io(format!("cut {}", path.display()), e))?;
        }
        let written = runs.len();
        let runs = VecDeque::from(runs).split_off(written.saturating_sub(KEPT));
        Ok(Self { dir: dir.to_owned(), runs, written })
    }

    /// The newest runs, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Adds a run, durably.
    ///
    /// # Errors
    /// [`ServiceError::Io`]: then it is remembered until the end of the process only.
    pub fn add(&mut self, mut run: Run) -> Result<()> {
        shorten(&mut run.note);
        if let End::Held(text) | End::Failed(text) = &mut run.end {
            shorten(text);
        }
        self.runs.push_back(run);
        if self.runs.len() > KEPT {
            self.runs.pop_front();
        }
        let path = self.dir.join(FILE);
        let done = if self.written == 0 || self.written >= MOST { self.rewrite() } else { self.append() };
        done.map_err(|e| ServiceError::io(format!("write {}", path.display()), e))
    }

    fn append(&mut self) -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.dir.join(FILE))?;
        file.write_all(&record(self.runs.back().expect("it was added")))?;
        file.sync_data()?;
        self.written += 1;
        Ok(())
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        let (path, new) = (self.dir.join(FILE), self.dir.join(NEW_FILE));
        let mut bytes = HEADER.to_vec();
        self.runs.iter().for_each(|run| bytes.extend(record(run)));
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()?;
        self.written = self.runs.len();
        Ok(())
    }
}

/// The runs in the directory of an index, oldest first, whether it is served or not. Changes nothing.
///
/// # Errors
/// [`ServiceError::Io`], [`ServiceError::Version`].
pub fn read(dir: &Path) -> Result<Vec<Run>> {
    let (mut runs, ..) = load(dir)?;
    Ok(runs.split_off(runs.len().saturating_sub(KEPT)))
}

/// All that reads, where it ends, and where the file ends.
fn load(dir: &Path) -> Result<(Vec<Run>, usize, usize)> {
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0, 0)),
        Err(e) => return Err(ServiceError::io(format!("read {}", path.display()), e)),
    };
    if bytes.len() >= HEADER.len() && bytes[..4] == HEADER[..4] && bytes[4] != HEADER[4] {
        let (what, found, known) = (path.display().to_string(), bytes[4].into(), HEADER[4].into());
        return Err(ServiceError::Version { what, found, known });
    }
    let (runs, valid) = parse(&bytes);
    Ok((runs, valid, bytes.len()))
}

fn parse(bytes: &[u8]) -> (Vec<Run>, usize) {
    let Some(mut rest) = bytes.strip_prefix(&HEADER) else { return (Vec::new(), 0) };
    let mut runs = Vec::new();
    while let Some((run, after)) = first(rest) {
        runs.push(run);
        rest = after;
    }
    (runs, bytes.len() - rest.len())
}

fn first(bytes: &[u8]) -> Option<(Run, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<SUM_LEN>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= MAX_RECORD)?;
    let (body, rest) = rest.split_at_checked(len)?;
    if Sum::of(body).0[..SUM_LEN] != sum[..] {
        return None;
    }
    Some((encoding::from_bytes(body).ok()?, rest))
}

fn record(run: &Run) -> Vec<u8> {
    let body = encoding::to_bytes(run);
    assert!(body.len() <= MAX_RECORD, "texts are short");
    let len = u32::try_from(body.len()).expect("bounded");
    [&len.to_le_bytes()[..], &Sum::of(&body).0[..SUM_LEN], &body].concat()
}

fn shorten(text: &mut String) {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

const _: () = assert!(2 * MAX_TEXT + 128 <= MAX_RECORD);

impl From<&Run> for RunInfo {
    fn from(run: &Run) -> Self {
        let Run { task, cause, began_ns, ended_ns, waited_ns, end, items, bytes, note } = run.clone();
        let slot_s = match cause {
            Cause::Slot(slot_s) => Some(slot_s),
            Cause::Asked => None,
        };
        let end = match end {
            End::Done => RunEnd::Done,
            End::Held(why) => RunEnd::Held(why),
            End::Stopped => RunEnd::Stopped,
            End::Failed(why) => RunEnd::Failed(why),
        };
        let (task, ended_ns) = (task.name().to_owned(), Some(ended_ns));
        Self { task, slot_s, began_ns, ended_ns, waited_ns, end, items, bytes, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u64) -> Run {
        Run {
            task: Task::Gc,
            cause: Cause::Slot(n as i64 * 3600),
            began_ns: n as i64,
            ended_ns: n as i64 + 5,
            waited_ns: 0,
            end: End::Held("a push".into()),
            items: n,
            bytes: n * 1000,
            note: "note".into(),
        }
    }

    #[test]
    fn a_record_has_its_golden_bytes() {
        let body = [0, 0, 160, 56, 2, 12, 0, 1, 6, 97, 32, 112, 117, 115, 104, 1, 232, 7, 4, 110, 111, 116, 101];
        let bytes = record(&run(1));
        assert_eq!(bytes[20..], body);
        assert_eq!((&bytes[..4], &bytes[4..20]), (&[23, 0, 0, 0][..], &Sum::of(&body).0[..16]));
    }

    #[test]
    fn runs_are_there_after_a_restart_and_the_file_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), vec![]);
        let mut history = History::open(dir.path()).unwrap();
        for n in 0..3 {
            history.add(run(n)).unwrap();
        }
        let mut history = History::open(dir.path()).unwrap();
        assert_eq!(history.runs().cloned().collect::<Vec<_>>(), (0..3).map(run).collect::<Vec<_>>());
        for n in 3..MOST as u64 + 10 {
            history.add(run(n)).unwrap();
        }
        let (newest, kept) = (MOST as u64 + 9, KEPT as u64);
        assert_eq!(read(dir.path()).unwrap().len(), KEPT);
        assert_eq!(read(dir.path()).unwrap()[0], run(newest + 1 - kept));
        let len = fs::metadata(dir.path().join(FILE)).unwrap().len() as usize;
        assert!(len <= HEADER.len() + MOST * record(&run(newest)).len());
    }

    #[test]
    fn a_file_cut_anywhere_reads_up_to_there_and_goes_on() {
        let whole = [&HEADER[..], &record(&run(0)), &record(&run(1))].concat();
        let one = HEADER.len() + record(&run(0)).len();
        for cut in 0..whole.len() {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), &whole[..cut]).unwrap();
            let mut history = History::open(dir.path()).unwrap();
            assert_eq!(history.runs().count(), usize::from(cut >= one), "cut at {cut}");
            history.add(run(7)).unwrap();
            assert_eq!(read(dir.path()).unwrap().last(), Some(&run(7)));
            assert_eq!(read(dir.path()).unwrap().len(), usize::from(cut >= one) + 1);
        }
    }

    #[test]
    fn no_flipped_bit_is_read_as_a_run_and_another_version_is_refused() {
        let whole = [&HEADER[..], &record(&run(0))].concat();
        for at in HEADER.len()..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(parse(&bytes).0, vec![], "byte {at}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"CASR\x02\0\0\0").unwrap();
        assert!(matches!(History::open(dir.path()), Err(ServiceError::Version { found: 2, known: 1, .. })));
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let mut text = "ä".repeat(MAX_TEXT);
        shorten(&mut text);
        assert_eq!(text, "ä".repeat(MAX_TEXT / 2));
    }
}
