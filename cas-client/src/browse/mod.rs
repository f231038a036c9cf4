//! Reading snapshots without restoring them: list, find, compare, dump, follow one path, count.
//!
//! Promise: everything that is told comes from a signed record and verified pages. What cannot be read is an
//! [`Unreadable`] that names the range of paths, and the rest is told.
//! Not here: writing to a file system (`pull`), words for people.

mod content;
mod diff;
mod find;
mod freed;
mod library;
mod list;
mod near;
mod opened;
mod reach;
mod sizes;
mod tar;
mod versions;

pub use content::{resolved, write_file, write_range};
pub use diff::{DiffTotals, Difference, Differences, Kinds, Sort, Unread, What, compare};
pub use find::{Found, SizeIs, Wanted, find_in_one, find_in_versions};
pub use freed::{Forecast, Freed};
pub use library::Library;
pub use list::{Listing, list, look_up};
pub use opened::Opened;
pub use reach::{Reach, Reached};
pub use sizes::{Sizes, sizes};
pub use tar::{TarReport, write_tar};
pub use versions::{Run, State, versions};

use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::manifest::{Manifest, ManifestPath, ReadError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A manifest that is read here. Those of one domain share a fetcher, and so the pages it has opened.
pub type Book = Manifest<Arc<Fetcher>>;

/// A range of paths that cannot be read.
pub type Unreadable = ReadError<ClientError>;

/// A path inside a snapshot as a person gives it; `None` is all of it.
pub fn inner_path(path: &[u8]) -> Result<Option<ManifestPath>> {
    if path.is_empty() {
        return Ok(None);
    }
    let checked = ManifestPath::new(path);
    checked.map(Some).map_err(|e| ClientError::Usage(format!("{:?}: {e}", String::from_utf8_lossy(path))))
}

/// The error when one block stands in the way of everything.
pub fn unreadable(error: Unreadable) -> ClientError {
    ClientError::damaged(error.block, error)
}

fn not_found(path: &[u8]) -> ClientError {
    ClientError::NotFound { what: "path", name: String::from_utf8_lossy(path).into_owned() }
}

fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(ClientError::Interrupted) } else { Ok(()) }
}
