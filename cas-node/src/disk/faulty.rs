//! A disk that fails when told, for tests: the n-th operation, all of a kind, or for want of room. It can also stand still.
//!
//! Promise: an operation that fails by [`Fault::Error`] did nothing; a short write wrote a part; a sync that fails did not sync.
//! Reads fail only when named. Everything is counted, so that a test can fail each operation of a run in turn.

use super::{Disk, DiskFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Making a file or a directory.
    Create,
    /// Opening a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Cutting or extending.
    SetLen,
    /// Taking room.
    Allocate,
    /// Giving room back.
    GiveBack,
}

impl Operation {
    /// Whether it changes what is on the disk.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read)
    }
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With an input/output error, having done nothing.
    Error,
    /// A write: with an input/output error after this many bytes. Others: as [`Fault::Error`].
    Short(usize),
    /// For want of room, a write after this many bytes.
    Full(usize),
    /// Because the process has too many open files.
    TooMany,
}

#[derive(Debug, Default)]
struct Plan {
    /// Fail this changing operation, counted from 0, and perhaps all after it.
    nth: Option<(u64, Fault, bool)>,
    /// Fail all of these.
    always: Option<(Operation, Fault)>,
    /// Bytes that can still be written; `None` for as many as there are.
    room: Option<u64>,
    /// Let these wait.
    held: Option<Operation>,
    waiting: u64,
    counted: u64,
    failed: u64,
    read_bytes: u64,
}

/// A disk that fails when told.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
    let_go: Arc<Condvar>,
}

/// Operations of a kind wait until it is dropped.
#[derive(Debug)]
pub struct Held(FaultyDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.plan().held = None;
        self.0.let_go.notify_all();
    }
}

impl FaultyDisk {
    /// Over a disk that does not fail.
    pub fn over(disk: impl Disk + 'static) -> Self {
        Self { disk: Arc::new(disk), plan: Arc::default(), let_go: Arc::default() }
    }

    /// Fails the changing operation number `n` from now, and all after it if `for_good`.
    pub fn fail_nth(&self, n: u64, fault: Fault, for_good: bool) {
        let mut plan = self.plan();
        plan.nth = Some((plan.counted + n, fault, for_good));
    }

    /// Fails all of these operations from now on.
    pub fn fail_always(&self, operation: Operation, fault: Fault) {
        self.plan().always = Some((operation, fault));
    }

    /// Leaves room for this many bytes.
    pub fn leave_room(&self, bytes: u64) {
        self.plan().room = Some(bytes);
    }

    /// Lets all of these operations wait, from now on.
    #[must_use]
    pub fn hold(&self, operation: Operation) -> Held {
        self.plan().held = Some(operation);
        Held(self.clone())
    }

    /// Operations that wait.
    pub fn waiting(&self) -> u64 {
        self.plan().waiting
    }

    /// Fails no more.
    pub fn heal(&self) {
        let mut plan = self.plan();
        (plan.nth, plan.always, plan.room) = (None, None, None);
    }

    /// Changing operations so far.
    pub fn counted(&self) -> u64 {
        self.plan().counted
    }

    /// Operations that were made to fail so far.
    pub fn failed(&self) -> u64 {
        self.plan().failed
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.plan().read_bytes
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().expect("no thread panics with this lock")
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        self.fault(operation, 0).map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Decides about one operation; takes room for what will be written.
    fn fault(&self, operation: Operation, bytes: usize) -> Option<Fault> {
        let mut plan = self.plan();
        plan.waiting += 1;
        let held = self.let_go.wait_while(plan, |plan| plan.held == Some(operation));
        let mut plan = held.expect("no thread panics with this lock");
        plan.waiting -= 1;
        let number = plan.counted;
        if operation.changes() {
            plan.counted += 1;
        }
        let nth =
            plan.nth.filter(|(n, _, for_good)| operation.changes() && (*n == number || (*for_good && number > *n)));
        let always = plan.always.filter(|(what, _)| *what == operation);
        let full = plan.room.filter(|room| *room < bytes as u64).map(|room| Fault::Full(room as usize));
        let fault = nth.map(|(_, fault, _)| fault).or(always.map(|(_, fault)| fault)).or(full);
        let written = match fault {
            None => bytes,
            Some(Fault::Error | Fault::TooMany) => 0,
            Some(Fault::Short(n) | Fault::Full(n)) => n.min(bytes),
        };
        plan.room = plan.room.map(|room| room - (written as u64).min(room));
        plan.failed += u64::from(fault.is_some());
        fault
    }

    fn wrap(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile { file: file?, disk: self.clone() }))
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Error | Self::Short(_) => rustix::io::Errno::IO.into(),
            Self::Full(_) => io::ErrorKind::StorageFull.into(),
            Self::TooMany => rustix::io::Errno::MFILE.into(),
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(Operation::Create)?;
        self.disk.create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Operation::Create)?;
        self.wrap(self.disk.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Operation::Open)?;
        self.wrap(self.disk.open(path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Operation::Open)?;
        self.wrap(self.disk.open_read(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove)?;
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir)?;
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let room = self.plan().room;
        room.map_or_else(|| self.disk.free_bytes(dir), Ok)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.check(Operation::Read)?;
        self.disk.plan().read_bytes += out.len() as u64;
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let Some(fault) = self.disk.fault(Operation::Write, parts.iter().map(|p| p.len()).sum()) else {
            return self.file.write_at(offset, parts);
        };
        if let Fault::Short(n) | Fault::Full(n) = fault {
            let all = parts.concat();
            self.file.write_at(offset, &[&all[..n.min(all.len())]])?;
        }
        Err(fault.error())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.check(Operation::Sync)?;
        self.file.sync_data()
    }

    fn byte_len(&self) -> io::Result<u64> {
        self.file.byte_len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check(Operation::SetLen)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match self.disk.fault(Operation::Allocate, len as usize) {
            None => self.file.allocate(len),
            Some(fault) => Err(fault.error()),
        }
    }

    fn give_back(&self, from: u64, to: u64) -> io::Result<()> {
        self.disk.check(Operation::GiveBack)?;
        self.file.give_back(from, to)
    }

    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    fn drop_cached(&self, offset: u64) {
        self.file.drop_cached(offset);
    }
}
