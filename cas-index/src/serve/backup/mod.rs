//! Exports of an index: all its tables in one file, as they stood at one moment, written while it serves. FORMAT §9.
//!
//! Promise: an export that was written reads back whole or is refused; commands go on meanwhile, and none of them shows in
//! it halfway. It holds everything the index knows, hashes of passwords among it, and not its key: whoever has both
//! can be the index. A [`restore()`]d index begins a new era, believes no node that it has a block before it has looked, and
//! sweeps nothing until somebody has looked too (`held`).

mod format;
mod restore;

pub use format::Summary;
pub(super) use restore::held;
pub use restore::{Held, Restored, is_held, release, restore};

use crate::Index;
use crate::state::Meta;
use crate::tables::{Table, Tables};
use cas_net::{Index as _, Result, ServiceError};
use format::Writer;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Rows after which it looks whether it is to stop.
const STOP_STEP: u64 = 4096;

/// Writes an export to `path`, which appears when it is whole and durable, for its owner's eyes only. `None`: it was
/// told to stop.
///
/// # Errors
/// [`ServiceError::Io`]; [`ServiceError::Damaged`] if the tables do not read.
pub fn export(index: &Index, path: &Path, stop: &dyn Fn() -> bool) -> Result<Option<Summary>> {
    let part = beside(path);
    let io = |e| ServiceError::io(format!("write {}", part.display()), e);
    let mut how = File::options();
    let file = how.write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(io)?;
    match write(index, BufWriter::new(&file), stop) {
        Ok(Some(summary)) => {
            let placed = file.sync_all().and_then(|()| fs::rename(&part, path)).and_then(|()| sync_parent(path));
            placed.map_err(io)?;
            Ok(Some(summary))
        }
        other => {
            // What is half written is of no use to anybody; the error that led here says more than one about this.
            let _ = fs::remove_file(&part);
            other
        }
    }
}

/// Reads an export to its end, and says what it is.
///
/// # Errors
/// [`ServiceError::Damaged`], [`ServiceError::Version`], [`ServiceError::Io`].
pub fn verify(path: &Path) -> Result<Summary> {
    format::read(path, &mut |_, _, _| Ok(()))
}

fn write(index: &Index, to: BufWriter<&File>, stop: &dyn Fn() -> bool) -> Result<Option<Summary>> {
    let tables = index.frozen()?;
    let meta = Meta::load(&tables)?;
    let mut out = Writer::begin(to, meta.epoch, meta.time_ns, &index.public_key())?;
    let (mut rows, mut stopped) = (0u64, stop());
    for table in Table::ALL {
        tables.scan(table, &[], &mut |key, value| {
            out.row(table, key, value)?;
            rows += 1;
            stopped = stopped || rows.is_multiple_of(STOP_STEP) && stop();
            Ok(!stopped)
        })?;
        if stopped {
            return Ok(None);
        }
    }
    out.end().map(Some)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
