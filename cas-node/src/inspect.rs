//! Looks into a segment file without opening a store: for finding out what is lost. Never writes.

pub use crate::scan::Found;

use crate::disk::{Disk, LocalDisk};
use crate::record::{HEADER_LEN, Record};
use crate::scan::{self, Scan};
use crate::segment::{self, Beginning, SEGMENT_HEADER};
use cas_net::{Result, ServiceError};
use std::path::Path;

/// What stands in a segment, in order; for records also whether the body is what its sum says.
///
/// The tail is shown as that of the newest segment: what cannot be read there is the end. Errors: no such file, another
/// version, a segment under the name of another.
pub fn segment(path: &Path) -> Result<Vec<(Found, bool)>> {
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = LocalDisk.open_read(path).map_err(failed)?;
    let mut found = Vec::new();
    let beginning = segment::begin(&*file, path, segment::number_of(path))?;
    let salt = beginning.salt(&*file, None).map_err(failed)?;
    if beginning == Beginning::Damaged {
        found.push((Found::Damage { from: 0, to: SEGMENT_HEADER }, false));
    }
    let mut scan = Scan::new(&*file, salt, true, 0).map_err(failed)?;
    while let Some(item) = scan.step().map_err(failed)? {
        let good = match &item {
            // Bytes that cannot be read are not good.
            Found::Record(at, record) => scan::body_is_good(&*file, *at, record).unwrap_or(false),
            Found::Damage { .. } | Found::End(_) => false,
        };
        found.push((item, good));
    }
    Ok(found)
}

/// The body of a record that [`segment`] found at `at`, good or not.
pub fn body(path: &Path, at: u64, record: &Record) -> Result<Vec<u8>> {
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = LocalDisk.open_read(path).map_err(failed)?;
    let mut body = vec![0; record.len as usize];
    file.read_at(at + HEADER_LEN as u64, &mut body).map_err(failed)?;
    Ok(body)
}
