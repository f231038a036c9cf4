//! redb on files of our own [`crate::disk::Disk`]: to be written, or to be read without ever writing.
//!
//! Promise: an error of kind `InvalidData` says that the file is not to be trusted any more: the medium did not give what stood there,
//! or did not say that it keeps it. Any other error says that the system would not just then.

use crate::disk::{self, DiskFile};
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// redb on a file of our [`Disk`].
#[derive(Debug)]
pub struct Backend(pub Arc<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.byte_len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out).map_err(|e| if disk::is_damage(&e) { distrusted(e) } else { e })
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(distrusted)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, &[data])
    }
}

fn distrusted(error: io::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// A file below what is written over it in memory: redb can repair it without writing to it.
#[derive(Debug)]
pub struct Overlay {
    file: Backend,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    len: u64,
    pages: BTreeMap<u64, Box<[u8; OVER_PAGE]>>,
}

const OVER_PAGE: usize = 4096;

impl Overlay {
    /// Over this file.
    pub fn over(file: Backend) -> io::Result<Self> {
        let len = file.0.byte_len()?;
        Ok(Self { file, over: Mutex::new(Over { len, pages: BTreeMap::new() }) })
    }

    /// A page as it stands in the file, zeros behind its end.
    fn below(&self, page: u64) -> io::Result<Box<[u8; OVER_PAGE]>> {
        let mut bytes = Box::new([0; OVER_PAGE]);
        let at = page * OVER_PAGE as u64;
        let there = self.file.0.byte_len()?.saturating_sub(at).min(OVER_PAGE as u64) as usize;
        self.file.read(at, &mut bytes[..there])?;
        Ok(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of pages that `len` bytes at `offset` touch: page, start in it, start in the bytes, length.
fn pages_of(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let (page, start) = (at / OVER_PAGE as u64, (at % OVER_PAGE as u64) as usize);
        let n = (OVER_PAGE - start).min(len - done);
        done += n;
        (n > 0).then_some((page, start, done - n, n))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        if offset + out.len() as u64 > over.len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if over.pages.is_empty() && offset + out.len() as u64 <= self.file.0.byte_len()? {
            return self.file.read(offset, out);
        }
        for (page, start, at, n) in pages_of(offset, out.len()) {
            let part = &mut out[at..at + n];
            match over.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + n]),
                None => part.copy_from_slice(&self.below(page)?[start..start + n]),
            }
        }
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().len = len;
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        for (page, start, at, n) in pages_of(offset, data.len()) {
            let bytes = match over.pages.entry(page) {
                Entry::Occupied(bytes) => bytes.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(self.below(page)?),
            };
            bytes[start..start + n].copy_from_slice(&data[at..at + n]);
        }
        Ok(())
    }
}
