//! File operations of a node, behind a small trait, so that a test can fail the n-th of them.
//!
//! Promise of [`LocalDisk`]: what [`DiskFile::sync_data`] returned for survives a power cut, and so do names after
//! [`Disk::sync_dir`]. Not here: what stands in the files.

mod faulty;
mod memory;

pub use faulty::{Fault, FaultyDisk, Held, Operation};
pub use memory::MemoryDisk;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate, statvfs};
use rustix::io::Errno;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens, names and removes files.
pub trait Disk: Debug + Send + Sync {
    /// Makes a directory and its parents.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a new file for reading and writing; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that can still be written to the disk of this directory.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Fills `out` from `offset`; an error of kind `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all parts, one behind the other, at `offset`.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Its length in bytes.
    fn byte_len(&self) -> io::Result<u64>;
    /// Cuts or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes room on the disk for `len` bytes and makes it that long. An error of kind `Unsupported` where that cannot be.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Gives the room of these bytes back, as far as the file system can; they read as zeros, or as before. An error of kind
    /// `Unsupported` where that cannot be.
    fn give_back(&self, from: u64, to: u64) -> io::Result<()>;
    /// Bytes of the disk that it takes.
    fn allocated(&self) -> io::Result<u64>;
    /// Asks that what was cached from `offset` on is read from the medium again.
    fn drop_cached(&self, offset: u64);
}

/// Whether an error says that the medium does not give bytes that once stood there. Others, like too many open files or missing
/// rights, say nothing about them.
pub fn is_damage(error: &io::Error) -> bool {
    const OF_THE_MEDIUM: [Errno; 6] =
        [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::ILSEQ, Errno::UCLEAN, Errno::REMOTEIO];
    error.kind() == io::ErrorKind::UnexpectedEof
        || Errno::from_io_error(error).is_some_and(|errno| OF_THE_MEDIUM.contains(&errno))
}

/// Whether an error says that there is no room on the disk.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What file systems give back at once: whole pages of this many bytes.
pub const PAGE: u64 = 4096;

/// Parts handed to the system in one write; the system's own limit.
const MAX_PARTS: usize = 1024;

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for File {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let (mut rest, mut at) = (&mut slices[..], offset);
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(self, &rest[..rest.len().min(MAX_PARTS)], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut rest, written);
                    at += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        Ok(fallocate(self, FallocateFlags::empty(), 0, len)?)
    }

    fn give_back(&self, from: u64, to: u64) -> io::Result<()> {
        let (from, to) = (from.next_multiple_of(PAGE), to / PAGE * PAGE);
        if from < to {
            fallocate(self, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, to - from)?;
        }
        Ok(())
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.metadata()?.blocks() * 512)
    }

    fn drop_cached(&self, offset: u64) {
        let to_the_end: Option<NonZeroU64> = None;
        let _ = fadvise(self, offset, to_the_end, Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_is_given_back_reads_as_zeros_and_only_whole_pages_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = LocalDisk.create(&dir.path().join("file")).unwrap();
        file.write_at(0, &[&[7; 5 * PAGE as usize]]).unwrap();
        file.sync_data().unwrap();
        let before = file.allocated().unwrap();
        match file.give_back(100, 4 * PAGE + 100) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => return,
            done => done.unwrap(),
        }
        file.give_back(10, 20).unwrap();
        let mut back = vec![1; 5 * PAGE as usize];
        file.read_at(0, &mut back).unwrap();
        let page = PAGE as usize;
        assert!(back[..page].iter().chain(&back[4 * page..]).all(|b| *b == 7));
        assert!(back[page..4 * page].iter().all(|b| *b == 0));
        assert!(file.allocated().unwrap() < before);
        assert_eq!(file.byte_len().unwrap(), 5 * PAGE);
    }

    #[test]
    fn only_what_the_medium_says_is_damage() {
        assert!(is_damage(&Errno::IO.into()) && is_damage(&io::ErrorKind::UnexpectedEof.into()));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::ACCESS, Errno::NOMEM, Errno::NOENT] {
            assert!(!is_damage(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn many_parts_are_written_one_behind_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = LocalDisk.create(&dir.path().join("file")).unwrap();
        let bytes: Vec<u8> = (0..9000u32).map(|i| i as u8).collect();
        let parts: Vec<&[u8]> = std::iter::once(&bytes[..0]).chain(bytes.chunks(3)).collect();
        file.write_at(5, &parts).unwrap();
        file.write_at(0, &[]).unwrap();
        let mut back = vec![0; bytes.len()];
        file.read_at(5, &mut back).unwrap();
        assert_eq!((back, file.byte_len().unwrap()), (bytes, 9005));
        assert_eq!(file.read_at(9000, &mut [0; 9]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
