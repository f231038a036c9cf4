//! Reads records out of segments, with a bounded number of files open.
//!
//! Promise: bytes that are answered were compared with their sum. `Damaged` is said of bytes that the medium does not give, or gives
//! otherwise than they were written; whatever else keeps us from reading is `Io` and says nothing about them.

use crate::disk::{self, Disk, DiskFile};
use crate::index::Place;
use crate::record::{HEADER_LEN, Record, Salt, What};
use crate::segment::{self, Beginning};
use cas_core::id::{BlockId, Sum};
use cas_net::{Received, Result, ServiceError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Segment files kept open for reading.
pub const OPEN_FILES: usize = 16;

/// The segment files.
pub struct Files {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    seed: [u8; 32],
    /// The least recently used first.
    open: Mutex<Vec<(u32, Arc<dyn DiskFile>)>>,
}

impl Files {
    /// Of this folder, of the node with this seed.
    pub fn new(disk: Arc<dyn Disk>, folder: PathBuf, seed: [u8; 32]) -> Self {
        Self { disk, folder, seed, open: Mutex::default() }
    }

    /// The disk they are on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The folder they are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a segment.
    pub fn path(&self, number: u32) -> PathBuf {
        segment::path(&self.folder, number)
    }

    /// The salt of a segment that this node makes.
    pub fn salt(&self, number: u32) -> Salt {
        Salt::of(&self.seed, number)
    }

    /// A segment to be gone through: open for reading, with what stands at its beginning and the salt of its records.
    pub fn begin(&self, number: u32) -> Result<(Arc<dyn DiskFile>, Beginning, Salt)> {
        let path = self.path(number);
        let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
        let file = self.file(number).map_err(failed)?;
        let beginning = segment::begin(&*file, &path, Some(number))?;
        let salt = beginning.salt(&*file, Some(self.salt(number))).map_err(failed)?;
        Ok((file, beginning, salt))
    }

    /// A segment, open for reading.
    pub fn file(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().position(|(n, _)| *n == number);
        let file = match found {
            Some(at) => open.remove(at).1,
            None => self.disk.open_read(&self.path(number))?,
        };
        if open.len() >= OPEN_FILES {
            open.remove(0);
        }
        open.push((number, file.clone()));
        Ok(file)
    }

    /// Closes a segment that is being removed.
    pub fn close(&self, number: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(n, _)| *n != number);
    }

    /// Reads a record and its body, and verifies both.
    pub fn read(&self, id: &BlockId, place: &Place) -> Result<(Record, Vec<u8>)> {
        let mut bytes = vec![0; HEADER_LEN + place.len as usize];
        self.fill(id, place, &mut bytes)?;
        let record = self.parse(id, place, &bytes)?;
        bytes.drain(..HEADER_LEN);
        let found = Sum::of(&bytes);
        if found != record.sum {
            return Err(self.damaged(id, place, &format!("its bytes hash to {found}, expected {}", record.sum)));
        }
        Ok((record, bytes))
    }

    /// Reads and verifies the header of a record, not its body.
    pub fn header(&self, id: &BlockId, place: &Place) -> Result<Record> {
        let mut bytes = [0; HEADER_LEN];
        self.fill(id, place, &mut bytes)?;
        self.parse(id, place, &bytes)
    }

    /// What a receipt says of a block that lies here.
    fn received(&self, id: &BlockId, place: &Place) -> Result<Received> {
        let record = self.header(id, place)?;
        Ok(Received { id: *id, kind: place.kind, sum: record.sum, len: record.len })
    }

    /// What a receipt says of a block that lies here; nothing if its record is not what was written.
    pub fn received_if_good(&self, id: &BlockId, place: &Place) -> Result<Option<Received>> {
        match self.received(id, place) {
            Ok(received) => Ok(Some(received)),
            Err(ServiceError::Damaged { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn fill(&self, id: &BlockId, place: &Place, out: &mut [u8]) -> Result<()> {
        let file = self.file(place.at.segment).map_err(|e| match e.kind() {
            ErrorKind::NotFound => self.damaged(id, place, "the file is not there"),
            _ => ServiceError::io(format!("open {}", self.path(place.at.segment).display()), e),
        })?;
        file.read_at(place.at.offset.into(), out).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => self.damaged(id, place, "the file ends before its last byte"),
            _ if disk::is_damage(&e) => self.damaged(id, place, &format!("it cannot be read: {e}")),
            _ => ServiceError::io(format!("read {}", self.path(place.at.segment).display()), e),
        })
    }

    fn parse(&self, id: &BlockId, place: &Place, bytes: &[u8]) -> Result<Record> {
        match Record::parse(bytes) {
            Some((_, r))
                if r.id == *id && r.what == What::Block && r.len == place.len && r.kind == Some(place.kind) =>
            {
                Ok(r)
            }
            Some((_, r)) => Err(self.damaged(id, place, &format!("expected its record, found that of {}", r.id))),
            None => Err(self.damaged(id, place, "expected its record, found other bytes")),
        }
    }

    fn where_is(&self, place: &Place) -> String {
        format!("segment {}, byte {}", self.path(place.at.segment).display(), place.at.offset)
    }

    fn damaged(&self, id: &BlockId, place: &Place, why: &str) -> ServiceError {
        ServiceError::Damaged { what: format!("block {id}"), detail: format!("{}: {why}", self.where_is(place)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;

    #[test]
    fn no_more_files_are_open_than_the_limit_and_the_least_used_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Arc::new(LocalDisk), dir.path().to_owned(), [7; 32]);
        for number in 0..2 * OPEN_FILES as u32 {
            LocalDisk.create(&files.path(number)).unwrap();
            files.file(0).unwrap();
            files.file(number).unwrap();
        }
        let open: Vec<u32> = files.open.lock().unwrap().iter().map(|(n, _)| *n).collect();
        assert_eq!(open.len(), OPEN_FILES);
        assert!(open.contains(&0) && !open.contains(&1));
    }
}
