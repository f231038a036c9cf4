//! Looking at an index that may be broken, without opening or changing it: for `cas debug log`.

use crate::command::Command;
use crate::disk::Disk;
use crate::log::{files, parse};
use cas_core::id::Epoch;
use cas_net::{Result, ServiceError};
use std::path::{Path, PathBuf};

/// One log file as it stands.
#[derive(Debug)]
pub struct LogFile {
    /// Where.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// The first epoch that its name says.
    pub first: Epoch,
    /// What reads.
    pub records: Vec<LoggedCommand>,
    /// The first place that does not read, if any: byte and what is wrong.
    pub fault: Option<(u64, String)>,
}

/// One command in a log.
#[derive(Debug)]
pub struct LoggedCommand {
    /// Where its group begins, in bytes.
    pub group_at: u64,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its time, nanoseconds since 1970.
    pub time_ns: i64,
    /// The command, or why it does not decode.
    pub command: std::result::Result<Command, String>,
}

/// Reads all log files of an index, as far as each of them reads.
pub fn logs(dir: &Path, disk: &dyn Disk) -> Result<Vec<LogFile>> {
    let mut out = Vec::new();
    for (first, path) in files(dir, disk)? {
        let bytes = disk.read(&path).map_err(|e| ServiceError::io(format!("read {}", path.display()), e))?;
        let parsed = parse(&bytes, first);
        let records = parsed.groups.into_iter().flat_map(|group| {
            group.records.into_iter().map(move |record| LoggedCommand {
                group_at: group.at,
                epoch: record.epoch,
                time_ns: record.time_ns,
                command: Command::decode(&record.command).map_err(|e| e.to_string()),
            })
        });
        let fault = parsed.fault.map(|fault| (fault.at, fault.why));
        out.push(LogFile { len: bytes.len() as u64, first, records: records.collect(), fault, path });
    }
    Ok(out)
}
