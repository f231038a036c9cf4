//! The command log: append-only, checksummed groups. Bytes: FORMAT §9.
//!
//! Promise: what [`Log::sync`] returned for is read back after any crash, in order. A tail that was torn is dropped and
//! said; damage of anything that was durable is an error, and nothing is cut.

mod format;

pub use format::{Group, HEADER_LEN, LogError, Parsed, Record, parse};

use crate::disk::{Disk, DiskFile};
use cas_core::id::Epoch;
use cas_net::{Result, ServiceError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PREFIX: &str = "log-";

/// The log, ready to be appended to.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    first: Epoch,
    len: u64,
    next: Epoch,
    durable: Epoch,
    ended: bool,
}

/// What the log says, as it was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Records after the last checkpoint, in order.
    pub records: Vec<Record>,
    /// Files that are wholly before the last checkpoint.
    obsolete: Vec<PathBuf>,
    /// The file to go on with, where to cut it, and its first epoch; `None` if one must be made.
    current: Option<(PathBuf, u64, Epoch)>,
    /// Bytes that were dropped because they were never durable.
    pub torn: u64,
}

impl Found {
    /// Whether there is no log at all.
    pub fn is_none(&self) -> bool {
        self.current.is_none()
    }
}

/// The log files of a directory, oldest first, with the first epoch that their name says.
pub fn files(dir: &Path, disk: &dyn Disk) -> Result<Vec<(Epoch, PathBuf)>> {
    let all = disk.list(dir).map_err(|e| ServiceError::io(format!("list {}", dir.display()), e))?;
    let first = |path: &Path| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok().map(Epoch);
    let mut logs: Vec<(Epoch, PathBuf)> = all.into_iter().filter_map(|path| Some((first(&path)?, path))).collect();
    logs.sort();
    Ok(logs)
}

/// Reads what was logged after `base`, the epoch of the last checkpoint. Changes nothing.
pub fn find(dir: &Path, disk: &dyn Disk, base: Epoch) -> Result<Found> {
    let files = files(dir, disk)?;
    let relevant = files.iter().rposition(|(first, _)| *first <= base.next()).unwrap_or(0);
    let mut found = Found { obsolete: files[..relevant].iter().map(|f| f.1.clone()).collect(), ..Found::default() };
    let mut next = match files.get(relevant) {
        None if base == Epoch::ZERO => return Ok(found),
        None => return Err(damaged(dir, format!("no log file of epoch {} or before is there", base.next()))),
        Some((first, path)) if *first > base.next() => {
            return Err(damaged(path, format!("it begins at {first}, the tables end at {base}")));
        }
        Some((first, _)) => *first,
    };
    let mut torn_at: Option<(PathBuf, String)> = None;
    for (first, path) in &files[relevant..] {
        let bytes = disk.read(path).map_err(|e| ServiceError::io(format!("read {}", path.display()), e))?;
        let parsed = parse(&bytes, *first);
        if let Some((at, why)) = &torn_at {
            // A torn tail ends the log. A later file is made when everything before it is durable.
            refuse_damage(at, why, &parsed, next)?;
            if parsed.valid_len > 0 {
                return Err(damaged(at, format!("{why}; {} was begun after it", path.display())));
            }
            found.torn += bytes.len() as u64;
            found.obsolete.push(path.clone());
            continue;
        }
        if *first != next {
            return Err(damaged(path, format!("it begins at {first}, the file before it ends before {next}")));
        }
        if let Some(fault) = &parsed.fault {
            next = parsed.next;
            refuse_damage(path, &fault.to_string(), &parsed, next)?;
            found.torn += bytes.len() as u64 - parsed.valid_len;
            torn_at = Some((path.clone(), fault.to_string()));
        }
        next = parsed.next;
        let keep = parsed.valid_len >= HEADER_LEN as u64;
        found.current = keep.then(|| (path.clone(), parsed.valid_len, *first));
        found.records.extend(parsed.groups.into_iter().flat_map(|g| g.records).filter(|r| r.epoch > base));
    }
    if next <= base {
        return Err(damaged(&files[files.len() - 1].1, format!("it ends before {next}, the tables end at {base}")));
    }
    Ok(found)
}

/// A torn place is damage if anything valid behind it was written when it was known to be durable.
fn refuse_damage(path: &Path, why: &str, parsed: &Parsed, torn: Epoch) -> Result<()> {
    match parsed.groups.iter().map(|g| g.durable).chain(parsed.behind).max() {
        Some(durable) if durable >= torn => {
            Err(damaged(path, format!("{why}; epoch {torn} was durable (`cas index rebuild` makes a new index)")))
        }
        _ => Ok(()),
    }
}

fn damaged(path: &Path, detail: String) -> ServiceError {
    ServiceError::Damaged { what: path.display().to_string(), detail }
}

impl Log {
    /// Cuts what was torn, and goes on behind `last`, the last record found.
    pub fn resume(dir: &Path, disk: Arc<dyn Disk>, found: &Found, last: Epoch) -> Result<Self> {
        let log = match &found.current {
            None => Self::create(dir, disk, last.next())?,
            Some((path, len, first)) => {
                let io = |e| ServiceError::io(format!("open {}", path.display()), e);
                let file = disk.open(path, false).map_err(io)?;
                if file.byte_len().map_err(io)? != *len {
                    file.set_len(*len).and_then(|()| file.sync()).map_err(io)?;
                }
                let (dir, path, first, len) = (dir.to_owned(), path.clone(), *first, *len);
                // Whether the tail survived in the file alone or on the disk too is not known before the next sync.
                Self { disk, dir, path, file, first, len, next: last.next(), durable: Epoch::ZERO, ended: true }
            }
        };
        for path in found.obsolete.iter().filter(|path| **path != log.path) {
            log.disk.remove(path).map_err(|e| ServiceError::io(format!("remove {}", path.display()), e))?;
        }
        Ok(log)
    }

    /// Makes a log file whose first record will have this epoch.
    pub fn create(dir: &Path, disk: Arc<dyn Disk>, first: Epoch) -> Result<Self> {
        let path = dir.join(format!("{PREFIX}{:020}", first.0));
        let make = || {
            let file = disk.open(&path, true)?;
            file.write_at(0, &format::encode_header(first))?;
            file.sync()?;
            disk.sync_dir(dir)?;
            Ok(file)
        };
        let file = make().map_err(|e| ServiceError::io(format!("create {}", path.display()), e))?;
        let durable = Epoch(first.0.saturating_sub(1));
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            path,
            file,
            first,
            len: HEADER_LEN as u64,
            next: first,
            durable,
            ended: true,
        })
    }

    /// The epoch that the next record will have.
    pub fn next(&self) -> Epoch {
        self.next
    }

    /// The last epoch known to be durable.
    pub fn durable(&self) -> Epoch {
        self.durable
    }

    /// Bytes that a start would replay.
    pub fn tail_len(&self) -> u64 {
        self.len - HEADER_LEN as u64
    }

    /// Appends records as one group; not durable until [`Self::sync`].
    pub fn append(&mut self, records: &[(i64, &[u8])]) -> Result<()> {
        let group = format::encode_group(self.next, self.durable, records);
        let written = self.file.write_at(self.len, &group);
        written.map_err(|e| ServiceError::io(format!("append to {}", self.path.display()), e))?;
        self.len += group.len() as u64;
        self.ended = false;
        self.next = Epoch(self.next.0 + records.len() as u64);
        Ok(())
    }

    /// Marks a clean end, unless it is marked. Not synced: it protects nothing.
    pub fn mark_end(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.append(&[])?;
        self.ended = true;
        Ok(())
    }

    /// Makes everything appended durable.
    pub fn sync(&mut self) -> Result<()> {
        let last = Epoch(self.next.0 - 1);
        if self.durable < last {
            self.file.sync().map_err(|e| ServiceError::io(format!("sync {}", self.path.display()), e))?;
            self.durable = last;
        }
        Ok(())
    }

    /// Goes on in a new file; the tables hold durably what stands in the old ones, which are removed.
    pub fn rotate(&mut self) -> Result<()> {
        if self.first == self.next {
            return Ok(());
        }
        let old = self.path.clone();
        *self = Self::create(&self.dir, self.disk.clone(), self.next)?;
        self.disk.remove(&old).map_err(|e| ServiceError::io(format!("remove {}", old.display()), e))
    }
}

#[cfg(test)]
mod tests;
