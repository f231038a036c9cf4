//! Looking at stored things without opening the store: works when the store does not open, and never writes.

use crate::error::{ClientError, Result};
use cas_core::id::BlockId;
pub use cas_index::inspect::{LogFile, LoggedCommand};
pub use cas_node::inspect::{Found, body, segment};
pub use cas_node::{Record, What};
use std::path::{Path, PathBuf};

/// A record of a block, wherever it lies.
pub struct Located {
    /// The segment file.
    pub file: PathBuf,
    /// Where its record begins.
    pub at: u64,
    /// What the record says.
    pub record: Record,
    /// Whether its bytes are what its sum says.
    pub good: bool,
}

/// The segment files of a store's folder, oldest first.
pub fn segment_files(store: &Path) -> Result<Vec<PathBuf>> {
    let folder = store.join("node/segments");
    let failed = |e| ClientError::io(format!("list {}", folder.display()), e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    files.sort();
    Ok(files)
}

/// All records of blocks whose id begins with `prefix`, oldest first: the last good one counts.
pub fn locate(store: &Path, prefix: &str) -> Result<Vec<Located>> {
    let prefix = prefix.to_ascii_lowercase();
    let fits = |id: &BlockId| id.to_string().starts_with(&prefix);
    let mut located = Vec::new();
    for file in segment_files(store)? {
        for (found, good) in segment(&file)? {
            if let Found::Record(at, record) = found
                && record.what == What::Block
                && fits(&record.id)
            {
                located.push(Located { file: file.clone(), at, record, good });
            }
        }
    }
    if located.is_empty() {
        return Err(ClientError::NotFound { what: "block", name: prefix });
    }
    Ok(located)
}

/// The command log of a store's folder.
pub fn log(store: &Path) -> Result<Vec<LogFile>> {
    Ok(cas_index::inspect::logs(&store.join("index"), &cas_index::LocalDisk)?)
}
