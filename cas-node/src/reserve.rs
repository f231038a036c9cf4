//! Room kept aside, so that forgetting and collecting work on a disk that others filled to the last byte. FORMAT §8, DESIGN §6.
//!
//! Promise: the file `reserve` holds nothing and is never read; it may be missing at any time, and then there is less room, no
//! more. It is released as a whole, to whoever writes to this disk first: to the node's log as well as to the index beside it.
//! Where a file system cannot take room for a file beforehand, there is none.

use crate::disk::Disk;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const FILE: &str = "reserve";
/// One byte is kept for so many that are stored: deleting writes a record for each block …
const SHARE: u64 = 64;
/// … and at least this much for an index's log and tables, in bytes.
const LEAST: u64 = 1 << 20;
/// When the disk has less than this beside it, the room is worth more free than held. Bytes.
const SCARCE: u64 = 2 << 20;
/// Left to others when room is taken back on a scarce disk, in bytes.
const LEFT: u64 = 64 << 10;

/// The file that holds the room.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    most: u64,
    held: AtomicU64,
}

impl Reserve {
    /// In a node's directory, of at most so many bytes.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, most: u64) -> Self {
        let path = dir.join(FILE);
        let held = disk.open_read(&path).and_then(|file| file.byte_len()).unwrap_or(0);
        Self { disk, path, most, held: held.into() }
    }

    /// Bytes held.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// At opening: holds what a store of `stored` bytes should have, or releases it if the disk is full already.
    pub fn settle(&self, stored: u64) {
        let wanted = self.wanted(stored);
        let Some(free) = self.free() else { return };
        if free.saturating_add(self.held()) >= wanted + SCARCE {
            self.hold(wanted);
        } else {
            self.release();
        }
    }

    /// At the end: takes back what there is, of what a store of `stored` bytes should have.
    pub fn restore(&self, stored: u64) {
        let Some(free) = self.free() else { return };
        let there = free.saturating_add(self.held()).saturating_sub(LEFT);
        let wanted = self.wanted(stored).min(there);
        // What fits at its beginning need not be touched.
        if wanted > self.held() {
            self.hold(wanted);
        }
    }

    /// Gives the room to whoever writes next. Answers the bytes.
    pub fn release(&self) -> u64 {
        let held = self.held.swap(0, Ordering::AcqRel);
        match self.disk.remove(&self.path) {
            Ok(()) if held > 0 => tracing::warn!("the disk is full: {} releases {held} bytes", self.path.display()),
            Err(e) if held > 0 => tracing::warn!("{} cannot be removed: {e}", self.path.display()),
            _ => {}
        }
        held
    }

    fn wanted(&self, stored: u64) -> u64 {
        (stored / SHARE).max(LEAST).min(self.most)
    }

    fn free(&self) -> Option<u64> {
        self.disk.free_bytes(self.path.parent()?).ok()
    }

    /// Makes it `wanted` bytes long, unless it has about that already.
    fn hold(&self, wanted: u64) {
        let held = self.held();
        if wanted == held || (held > 0 && (wanted / 2..=2 * wanted).contains(&held)) {
            return;
        }
        let taken = self.disk.create(&self.path).and_then(|file| {
            file.allocate(wanted)?;
            file.byte_len()
        });
        match taken {
            Ok(len) => self.held.store(len, Ordering::Release),
            Err(e) => {
                if e.kind() != ErrorKind::Unsupported {
                    tracing::warn!("{} holds no room: {e}", self.path.display());
                }
                self.held.store(0, Ordering::Release);
                let _ = self.disk.remove(&self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Fault, FaultyDisk, MemoryDisk, Operation};

    fn on(disk: &FaultyDisk) -> Reserve {
        Reserve::new(Arc::new(disk.clone()), Path::new("node"), 4 << 20)
    }

    #[test]
    fn it_grows_with_the_store_and_is_kept_over_openings() {
        let disk = FaultyDisk::over(MemoryDisk::new());
        on(&disk).settle(0);
        assert_eq!(on(&disk).held(), LEAST);
        on(&disk).settle(SHARE * (3 << 20));
        assert_eq!(on(&disk).held(), 3 << 20);
        let before = disk.counted();
        on(&disk).settle(SHARE * (2 << 20));
        assert_eq!((on(&disk).held(), disk.counted()), (3 << 20, before), "about right is right");
        on(&disk).settle(u64::MAX);
        assert_eq!(on(&disk).held(), 3 << 20);
        on(&disk).release();
        on(&disk).settle(u64::MAX);
        assert_eq!(on(&disk).held(), 4 << 20);
    }

    #[test]
    fn on_a_full_disk_it_is_released_and_taken_back_as_far_as_there_is_room() {
        let disk = FaultyDisk::over(MemoryDisk::new());
        let reserve = on(&disk);
        reserve.settle(0);
        disk.leave_room(SCARCE - 1);
        reserve.settle(0);
        assert_eq!(reserve.held(), 0);
        disk.leave_room(LEFT + 1000);
        reserve.restore(0);
        assert_eq!((reserve.held(), on(&disk).held()), (1000, 1000));
    }

    #[test]
    fn a_file_system_that_cannot_keep_room_is_no_error() {
        let disk = FaultyDisk::over(MemoryDisk::new());
        disk.fail_always(Operation::Allocate, Fault::Error);
        let reserve = on(&disk);
        reserve.settle(0);
        assert_eq!(reserve.held(), 0);
        assert!(disk.open_read(Path::new("node/reserve")).is_err());
    }
}
