//! A disk that remembers what was synced, and can fail on demand.

use super::Dice;
use cas_index::{Disk, DiskFile, LocalDisk};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The file system, with a notebook.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Notes>);

#[derive(Debug)]
struct Notes {
    /// Length of each log file at its last sync.
    synced: Mutex<BTreeMap<PathBuf, u64>>,
    /// Changing operations until one fails; negative: never.
    until_failure: AtomicI64,
    pub syncs: AtomicU64,
}

impl Default for Notes {
    fn default() -> Self {
        Self { synced: Mutex::default(), until_failure: AtomicI64::new(-1), syncs: AtomicU64::new(0) }
    }
}

impl SimDisk {
    /// The n-th changing operation from now on (0 is the next) fails, and every one after it.
    pub fn fail_after(&self, operations: i64) {
        self.0.until_failure.store(operations, Ordering::SeqCst);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.0.until_failure.store(-1, Ordering::SeqCst);
    }

    /// Whether the failure has come.
    pub fn has_failed(&self) -> bool {
        self.0.until_failure.load(Ordering::SeqCst) == 0
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// Cuts or spoils each log file at some byte behind its last sync.
    pub fn power_cut(&self, dice: &mut Dice) {
        let mut synced = self.0.synced.lock().unwrap();
        for (path, durable) in synced.iter_mut() {
            let Ok(mut bytes) = std::fs::read(path) else { continue };
            let lost = bytes.len() as u64 - *durable;
            if lost == 0 {
                continue;
            }
            let at = (*durable + dice.roll() % lost) as usize;
            if dice.chance(2) {
                bytes.truncate(at);
            } else {
                // Blocks reach a disk in any order: a hole, and valid bytes behind it.
                let end = (at + 1 + dice.below(200)).min(bytes.len());
                bytes[at..end].fill(0);
            }
            std::fs::write(path, &bytes).unwrap();
        }
    }

    fn change(&self) -> io::Result<()> {
        let left = self.0.until_failure.load(Ordering::SeqCst);
        match left {
            0 => Err(io::Error::other("this disk fails on purpose")),
            left if left > 0 => {
                self.0.until_failure.store(left - 1, Ordering::SeqCst);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        if create {
            self.change()?;
        }
        let inner = LocalDisk.open(path, create)?;
        Ok(Arc::new(SimFile { inner, disk: self.clone(), path: path.to_owned() }))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        LocalDisk.open_read(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        LocalDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.0.synced.lock().unwrap().remove(path);
        LocalDisk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        LocalDisk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change()?;
        LocalDisk.sync_dir(dir)
    }
}

#[derive(Debug)]
struct SimFile {
    inner: Arc<dyn DiskFile>,
    disk: SimDisk,
    path: PathBuf,
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(e) = self.disk.change() {
            // A write that fails may have written a part.
            let _ = self.inner.write_at(offset, &bytes[..bytes.len() / 2]);
            return Err(e);
        }
        self.inner.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.change()?;
        self.disk.0.syncs.fetch_add(1, Ordering::SeqCst);
        let len = self.inner.byte_len()?;
        if self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")) {
            self.disk.0.synced.lock().unwrap().insert(self.path.clone(), len);
        }
        // Real syncs are left out: the tests' power cuts are simulated, and real ones cost a hundred times more.
        Ok(())
    }
    fn byte_len(&self) -> io::Result<u64> {
        self.inner.byte_len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change()?;
        self.inner.set_len(len)
    }
}
