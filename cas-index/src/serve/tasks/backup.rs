//! Writes an export of the index where the options say, and removes the oldest of those it wrote.

use super::Job;
use crate::serve::backup;
use crate::serve::history::End;
use cas_net::{Result, ServiceError};
use std::fs;
use std::path::{Path, PathBuf};

const PREFIX: &str = "index-";
const SUFFIX: &str = ".cas-index";

pub(super) fn run(job: &mut Job<'_>) -> Result<End> {
    let Some(backups) = job.tools.options.backups.clone() else {
        job.note = "no place for exports is named".to_owned();
        return Ok(End::Done);
    };
    let made = fs::create_dir_all(&backups.dir);
    made.map_err(|e| ServiceError::io(format!("create {}", backups.dir.display()), e))?;
    // Names sort by age: the seconds of this time have ten digits until the year 2286.
    let second = job.tools.index.cluster_time_ns().div_euclid(1_000_000_000).max(0);
    let path = backups.dir.join(format!("{PREFIX}{second:012}{SUFFIX}"));
    let bell = job.tools.bell;
    let Some(written) = backup::export(job.tools.index, &path, &|| bell.is_closing())? else { return Ok(End::Stopped) };
    (job.items, job.bytes) = (written.rows, written.bytes);
    job.note = format!("epoch {} to {}", written.epoch, path.display());
    for old in surplus(exports(&backups.dir)?, backups.keep) {
        fs::remove_file(&old).map_err(|e| ServiceError::io(format!("remove {}", old.display()), e))?;
    }
    Ok(End::Done)
}

/// Those that this has written.
fn exports(dir: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| ServiceError::io(format!("list {}", dir.display()), e);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
        if number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Which go, so that the newest stay: at least one.
fn surplus(mut exports: Vec<PathBuf>, keep: usize) -> Vec<PathBuf> {
    exports.sort();
    let stay = exports.len().saturating_sub(keep.max(1));
    exports.truncate(stay);
    exports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_exports_stay_and_strange_files_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["index-000000000003.cas-index", "index-000000000001.cas-index", "index-x.cas-index", "mine"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let ours = exports(dir.path()).unwrap();
        assert_eq!(surplus(ours.clone(), 1), [dir.path().join("index-000000000001.cas-index")]);
        assert_eq!(surplus(ours.clone(), 0).len(), 1, "one is always kept");
        assert_eq!(surplus(ours, 5), Vec::<PathBuf>::new());
    }
}
