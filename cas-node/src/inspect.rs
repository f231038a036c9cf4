//! Looks into a segment file without opening a store: for finding out what is lost. Never writes.

use crate::segment;
pub use crate::segment::Found;
use cas_net::{Result, ServiceError};
use std::fs::File;
use std::path::Path;

/// What stands in a segment, in order; for records also whether the body is what its sum says.
pub fn segment(path: &Path) -> Result<Vec<(Found, bool)>> {
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = File::open(path).map_err(failed)?;
    let mut found = Vec::new();
    segment::scan(&file, 0, true, |item| found.push(item)).map_err(failed)?;
    let judge = |item: Found| match item {
        Found::Record(at, record) => Ok((item, segment::body_is_good(&file, at, &record).map_err(failed)?)),
        other => Ok((other, false)),
    };
    found.into_iter().map(judge).collect()
}

/// The body of a record.
pub fn body(path: &Path, at: u64, record: &crate::Record) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let mut body = vec![0; record.len as usize];
    let file = File::open(path).map_err(failed)?;
    file.read_exact_at(&mut body, at + crate::HEADER_LEN as u64).map_err(failed)?;
    Ok(body)
}
