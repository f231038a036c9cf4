//! A disk in memory that knows what was synced, for tests: a power cut keeps that, and of the rest what chance keeps.
//!
//! Promise: after [`MemoryDisk::power_cut`] every sector holds what was synced last or one of the bytes written since, every name
//! what was synced last or what it was changed to; nothing else. A sync that returned is never undone.

use super::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    next: u64,
}

/// A disk in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power. `chance(n)` is a number below n: what was not synced stays or goes by it.
    pub fn power_cut(&self, chance: &mut dyn FnMut(u64) -> u64) {
        let mut inner = self.lock();
        let Inner { files, names, synced_names, .. } = &mut *inner;
        let all: Vec<PathBuf> = names.keys().chain(synced_names.keys()).cloned().collect();
        for path in all {
            if names.get(&path) != synced_names.get(&path) && chance(2) == 0 {
                match synced_names.get(&path) {
                    Some(file) => names.insert(path, *file),
                    None => names.remove(&path),
                };
            }
        }
        *synced_names = names.clone();
        for content in files.values_mut() {
            content.now = mixed(content, chance);
            content.synced = content.now.clone();
        }
    }

    /// The bytes of a file, if it is there.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.lock();
        inner.names.get(path).map(|file| inner.files[file].now.clone())
    }

    /// Puts bytes in the place of a file, durably.
    pub fn set_bytes(&self, path: &Path, bytes: &[u8]) {
        let mut inner = self.lock();
        let file = *inner.names.get(path).expect("the file is there");
        inner.files.insert(file, Content { now: bytes.to_vec(), synced: bytes.to_vec() });
    }

    /// Another disk with the same content.
    pub fn copy(&self) -> Self {
        let inner = self.lock();
        let (names, synced_names) = (inner.names.clone(), inner.synced_names.clone());
        Self(Arc::new(Mutex::new(Inner { files: inner.files.clone(), names, synced_names, next: inner.next })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no thread panics with this lock")
    }

    fn file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let number = *self.lock().names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), number }))
    }
}

fn mixed(content: &Content, chance: &mut dyn FnMut(u64) -> u64) -> Vec<u8> {
    let Content { now, synced } = content;
    if now == synced {
        return now.clone();
    }
    let (low, high) = (now.len().min(synced.len()), now.len().max(synced.len()));
    let len = match chance(3) {
        0 => synced.len(),
        1 => now.len(),
        _ => low + chance((high - low + 1) as u64) as usize,
    };
    let byte = |from: &[u8], i: usize| from.get(i).copied().unwrap_or(0);
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        let start = out.len();
        let from = if chance(2) == 0 { synced } else { now };
        out.extend((start..len.min(start + SECTOR)).map(|i| byte(from, i)));
    }
    out
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        match inner.names.get(path).copied() {
            Some(file) => inner.files.get_mut(&file).expect("named files are there").now.clear(),
            None => {
                let number = inner.next;
                inner.next += 1;
                inner.files.insert(number, Content::default());
                inner.names.insert(path.to_owned(), number);
            }
        }
        drop(inner);
        self.file(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        let file = inner.names.remove(from).ok_or(ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().names.remove(path).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        let Inner { names, synced_names, .. } = &mut *inner;
        synced_names.retain(|path, _| path.parent() != Some(dir));
        let here = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        synced_names.extend(here.map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    number: u64,
}

impl MemoryFile {
    fn with<R>(&self, work: impl FnOnce(&mut Content) -> R) -> R {
        work(self.disk.lock().files.get_mut(&self.number).expect("open files are there"))
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        self.with(|content| match content.now.get(start..start + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        })
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let (start, bytes) = (offset as usize, parts.concat());
        self.with(|content| {
            let end = start + bytes.len();
            content.now.resize(content.now.len().max(end), 0);
            content.now[start..end].copy_from_slice(&bytes);
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|content| content.synced.clone_from(&content.now));
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        self.with(|content| Ok(content.now.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|content| content.now.resize(len as usize, 0));
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn give_back(&self, from: u64, to: u64) -> io::Result<()> {
        self.with(|content| content.now[from as usize..to as usize].fill(0));
        Ok(())
    }

    fn allocated(&self) -> io::Result<u64> {
        self.byte_len()
    }

    fn drop_cached(&self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_nothing_that_was_never_written() {
        for seed in 0..200u64 {
            let mut state = seed;
            let mut chance = |n: u64| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) % n
            };
            let (disk, path) = (MemoryDisk::new(), Path::new("dir/file"));
            let file = disk.create(path).unwrap();
            file.write_at(0, &[&[1; 2 * SECTOR]]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new("dir")).unwrap();
            file.write_at(2 * SECTOR as u64, &[&[2; 2 * SECTOR]]).unwrap();
            disk.create(Path::new("dir/other")).unwrap();
            disk.power_cut(&mut chance);
            let bytes = disk.bytes(path).unwrap();
            assert_eq!(bytes[..2 * SECTOR], [1; 2 * SECTOR]);
            assert!(bytes[2 * SECTOR..].iter().all(|b| *b == 0 || *b == 2) && bytes.len() <= 4 * SECTOR);
        }
    }
}
