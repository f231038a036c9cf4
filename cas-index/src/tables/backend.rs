//! What redb reads and writes through: a file of our disk, or a copy of one in memory.
//!
//! Promise: all that redb writes passes a [`crate::disk::Disk`], so that tests can fail it; a copy never writes to the file it was
//! made from. Not here: what the bytes say (redb, FORMAT §9).

use crate::disk::DiskFile;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A file.
#[derive(Debug)]
pub struct Direct(pub Arc<dyn DiskFile>);

impl StorageBackend for Direct {
    fn len(&self) -> io::Result<u64> {
        self.0.byte_len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

/// A copy in memory: what is written never reaches the file. For repairing without leave to write.
#[derive(Debug)]
pub struct Overlaid(Mutex<Vec<u8>>);

impl Overlaid {
    /// A copy of all that this file holds now.
    pub fn over(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let mut all = vec![0; file.byte_len()? as usize];
        file.read_at(0, &mut all)?;
        Ok(Self(Mutex::new(all)))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Vec<u8>) -> Option<R>) -> io::Result<R> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut all).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl StorageBackend for Overlaid {
    fn len(&self) -> io::Result<u64> {
        self.with(|all| Some(all.len() as u64))
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        self.with(|all| all.get(start..start + out.len()).map(|bytes| out.copy_from_slice(bytes)))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|all| {
            all.resize(len as usize, 0);
            Some(())
        })
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        self.with(|all| all.get_mut(start..start + data.len()).map(|bytes| bytes.copy_from_slice(data)))
    }
}
