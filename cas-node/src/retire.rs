//! Removes a segment of which nothing is needed any more.
//!
//! Promise: damage of which nobody knows what it was goes to the folder `quarantine` first; and the segment is gone for good before
//! anything that relies on it is dropped.

use crate::index::Region;
use crate::store::Store;
use cas_net::{Result, ServiceError};

/// Damaged bytes copied at once.
const QUARANTINE_STEP: usize = 4096;

/// Removes a segment.
pub fn retire(store: &Store, number: u32) -> Result<()> {
    quarantine(store, number)?;
    remove(store, number)
}

/// Keeps bytes of which nobody knows what they were.
fn quarantine(store: &Store, number: u32) -> Result<()> {
    let mut regions = store.shared.read().places.regions.clone();
    regions.retain(|region| region.segment == number && region.from > 0);
    let (files, mut kept) = (&store.shared.files, false);
    let folder = files.folder().with_file_name("quarantine");
    for Region { from, to, .. } in regions {
        let path = folder.join(format!("{number:010}-{from:010}"));
        let keep = || {
            let source = files.file(number)?;
            let end = to.min(source.byte_len()?);
            files.disk().create_dir(&folder)?;
            let file = files.disk().create(&path)?;
            let mut buffer = vec![0; QUARANTINE_STEP];
            for at in (from..end).step_by(QUARANTINE_STEP) {
                let part = &mut buffer[..(end - at).min(QUARANTINE_STEP as u64) as usize];
                // What cannot be read is kept as zeros.
                if source.read_at(at, part).is_err() {
                    part.fill(0);
                }
                file.write_at(at - from, &[part])?;
            }
            file.sync_data()
        };
        keep().map_err(|e| ServiceError::io(format!("write {}", path.display()), e))?;
        kept = true;
    }
    let sync = || {
        files.disk().sync_dir(&folder)?;
        folder.parent().map_or(Ok(()), |above| files.disk().sync_dir(above))
    };
    let synced = if kept { sync() } else { Ok(()) };
    synced.map_err(|e| ServiceError::io(format!("sync {}", folder.display()), e))
}

fn remove(store: &Store, number: u32) -> Result<()> {
    let files = &store.shared.files;
    let path = files.path(number);
    files.disk().remove(&path).map_err(|e| ServiceError::io(format!("remove {}", path.display()), e))?;
    files.close(number);
    // Deletes of records in it may be dropped from now on, so it must not come back.
    let synced = files.disk().sync_dir(files.folder());
    synced.map_err(|e| store.shared.stop(format!("syncing {} failed: {e}", files.folder().display())))?;
    let mut state = store.shared.write();
    state.places.usage.remove(&number);
    state.places.regions.retain(|region| region.segment != number);
    Ok(())
}
