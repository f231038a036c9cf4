//! Counts what a push will find, ahead of it: for whoever shows how long it will take.
//!
//! Promise: the same walk and the same rules as the push, a stat per file, nothing opened. What changes meanwhile makes
//! the count wrong, never the push.

use super::{Excludes, PushOptions, place_sources, walk};
use crate::error::Result;
use rustix::fs::FileType;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What was counted so far.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Files.
    pub files: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Whether that is all.
    pub complete: AtomicBool,
}

impl Ahead {
    /// Counts until the end, or until `stop`. `store` is left out, as it is from the push.
    pub fn count(&self, options: &PushOptions, store: Option<&Path>, stop: &AtomicBool) -> Result<()> {
        let (sources, _) = place_sources(&options.paths)?;
        let mut rules = options.excludes.clone();
        rules.folders.extend(store.map(Path::to_owned));
        let excludes = Excludes::compile(&rules)?;
        let mut count = |job: walk::Job| {
            for item in &job.items {
                let stat = match &item.listed {
                    Some(stat) => Ok(**stat),
                    None => item.dir.stat(&item.name),
                };
                if let Ok(stat) = stat
                    && FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile
                {
                    self.files.fetch_add(1, Relaxed);
                    self.bytes.fetch_add(stat.stx_size, Relaxed);
                }
            }
            !stop.load(Relaxed)
        };
        walk::Walker::new(&excludes, options.one_file_system, &mut count).walk(&sources);
        self.complete.store(!stop.load(Relaxed), Relaxed);
        Ok(())
    }
}
