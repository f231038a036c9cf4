//! The redb file below the changes: everything as of the last checkpoint. FORMAT §9.
//!
//! Promise: every value is checked against its CRC when it is read; an error or a panic of redb is caught in
//! [`TablesFile::guarded`] and remembered, after which the index takes no more commands. The file is opened for
//! writing by the first checkpoint of a process only, so that short runs never write to it.

use super::backend::{Direct, Overlaid};
use super::{Table, Visit};
use crate::crc::crc32c;
use crate::disk::Disk;
use cas_net::{Result, ServiceError};
use redb::{Builder, Database, Durability, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction, ReadableDatabase};
use redb::{ReadableTableMetadata, TableDefinition, TableError, WriteTransaction};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const FILE: &str = "tables.redb";
const NEW_FILE: &str = "tables.redb.new";
const CRC_LEN: usize = 4;
/// A file is rewritten, in order of keys, when it is longer than what it holds by more than this factor (random inserts alone
/// leave it half as long again), …
const BLOAT_NUMERATOR: u64 = 7;
const BLOAT_DENOMINATOR: u64 = 4;
/// … if it is longer than this, …
const BLOAT_FLOOR: u64 = 4 << 20;
/// … and not so long that callers would wait for seconds.
const BLOAT_CEILING: u64 = 256 << 20;
/// It is also rewritten when at least one row in so many changes: cheaper than as many random inserts.
const REWRITE_SHARE: usize = 4;

/// Changes to put over the file: per table, in order of keys; `None` removes.
pub type Changes = [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Table::ALL.len()];

type IdTable = TableDefinition<'static, [u8; 32], &'static [u8]>;
type BytesTable = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn is_by_id(table: Table) -> bool {
    matches!(table, Table::Blocks | Table::Kids)
}

/// How large the file is, and what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TablesSize {
    /// Bytes of the file.
    pub file: u64,
    /// Bytes of keys and values in it.
    pub held: u64,
}

enum Handle {
    /// No file yet.
    None,
    ReadOnly(ReadOnlyDatabase),
    Writable(Database),
}

enum Opened {
    ById(ReadOnlyTable<[u8; 32], &'static [u8]>),
    ByBytes(ReadOnlyTable<&'static [u8], &'static [u8]>),
}

type OpenedTables = [Option<Opened>; Table::ALL.len()];

/// Cache while a new file is written, in bytes: it is filled in order of keys, so little is looked at twice.
const WRITE_NEW_CACHE: usize = 4 << 20;

/// The tables as of the last checkpoint.
pub struct TablesFile {
    // Field order is drop order: tables and their transaction before the database.
    tables: OpenedTables,
    /// Shared with those that are [`Self::frozen`], which may outlive the file's name.
    handle: Arc<Handle>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cache_bytes: usize,
    broken: Arc<OnceLock<String>>,
}

impl TablesFile {
    /// Opens what is there.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, cache_bytes: usize, read_only: bool) -> Result<Self> {
        let tables = std::array::from_fn(|_| None);
        let broken = Arc::new(OnceLock::new());
        let mut opened =
            Self { tables, handle: Arc::new(Handle::None), disk, dir: dir.to_owned(), cache_bytes, broken };
        let files = opened.disk.list(dir).map_err(|e| ServiceError::io(format!("list {}", dir.display()), e))?;
        let (path, new) = (dir.join(FILE), dir.join(NEW_FILE));
        if files.contains(&new) && !read_only {
            opened.disk.remove(&new).map_err(|e| ServiceError::io(format!("remove {}", new.display()), e))?;
        }
        if files.contains(&path) {
            let handle = opened.open_file(&path, read_only)?;
            opened.take(handle)?;
        }
        Ok(opened)
    }

    /// Whether there is a file.
    pub fn exists(&self) -> bool {
        !matches!(*self.handle, Handle::None)
    }

    /// What broke, if anything did: nothing more may be written then.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// The value of a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = match &self.tables[table as usize] {
            None => return Ok(None),
            Some(Opened::ById(opened)) => {
                let Ok(id) = <[u8; 32]>::try_from(key) else { return Ok(None) };
                self.guarded(|| Ok(opened.get(id)?.map(|v| checked(table, key, v.value()).map(<[u8]>::to_vec))))?
            }
            Some(Opened::ByBytes(opened)) => {
                self.guarded(|| Ok(opened.get(key)?.map(|v| checked(table, key, v.value()).map(<[u8]>::to_vec))))?
            }
        };
        value.transpose().map_err(|e| self.break_with(e))
    }

    /// Rows from `from` on, until `visit` says no.
    pub fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        match &self.tables[table as usize] {
            None => Ok(()),
            Some(Opened::ById(opened)) => {
                let mut start = [0; 32];
                let len = from.len().min(32);
                start[..len].copy_from_slice(&from[..len]);
                let bound = if from.len() > 32 { Bound::Excluded(start) } else { Bound::Included(start) };
                let mut range = self.guarded(|| Ok(opened.range::<[u8; 32]>((bound, Bound::Unbounded))?))?;
                while let Some(row) = self.guarded(|| Ok(range.next().transpose()?))? {
                    let (key, value) = self.guarded(|| Ok((row.0.value(), row.1.value())))?;
                    if !visit(&key, checked(table, &key, value).map_err(|e| self.break_with(e))?)? {
                        break;
                    }
                }
                Ok(())
            }
            Some(Opened::ByBytes(opened)) => {
                let mut range = self.guarded(|| Ok(opened.range::<&[u8]>(from..)?))?;
                while let Some(row) = self.guarded(|| Ok(range.next().transpose()?))? {
                    let (key, value) = self.guarded(|| Ok((row.0.value(), row.1.value())))?;
                    if !visit(key, checked(table, key, value).map_err(|e| self.break_with(e))?)? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Size of the file and of what it holds. Walks the file.
    pub fn size(&self) -> Result<TablesSize> {
        if !self.exists() {
            return Ok(TablesSize::default());
        }
        let file = self.file_len()?;
        let mut held = 0;
        for table in Table::ALL {
            let Some(opened) = &self.tables[table as usize] else { continue };
            held += self.guarded(|| {
                let stats = match opened {
                    Opened::ById(t) => t.stats()?,
                    Opened::ByBytes(t) => t.stats()?,
                };
                Ok(stats.stored_bytes())
            })?;
        }
        Ok(TablesSize { file, held })
    }

    fn file_len(&self) -> Result<u64> {
        let path = self.dir.join(FILE);
        let len = self.disk.open_read(&path).and_then(|f| f.byte_len());
        len.map_err(|e| ServiceError::io(format!("measure {}", path.display()), e))
    }

    /// Rows of a table.
    fn rows(&self, table: Table) -> Result<u64> {
        self.guarded(|| {
            Ok(match &self.tables[table as usize] {
                None => 0,
                Some(Opened::ById(t)) => t.len()?,
                Some(Opened::ByBytes(t)) => t.len()?,
            })
        })
    }

    /// Whether these changes are better written into a new file, in order of keys, than into the old one. Bloat is looked
    /// for at the end of a process only, since measuring walks the file.
    pub fn wants_rewrite(&self, changes: &Changes, at_end: bool) -> Result<bool> {
        if !self.exists() {
            return Ok(true);
        }
        let changed = changes[Table::Blocks as usize].len();
        if changed > 0 && changed * REWRITE_SHARE >= self.rows(Table::Blocks)? as usize {
            return Ok(true);
        }
        if !at_end || !(BLOAT_FLOOR..BLOAT_CEILING).contains(&self.file_len()?) {
            return Ok(false);
        }
        let size = self.size()?;
        Ok(size.file * BLOAT_DENOMINATOR > size.held * BLOAT_NUMERATOR)
    }

    /// Makes the file writable for [`Self::merge`]; readers must be kept out. After an error they go on with the old handle.
    pub fn make_writable(&mut self) -> Result<()> {
        if matches!(*self.handle, Handle::ReadOnly(_)) {
            let handle = Handle::Writable(self.open_writable(&self.dir.join(FILE))?);
            self.take(handle)?;
        }
        Ok(())
    }

    /// Writes the changes into the file, durably. Readers go on with the old state until [`Self::reload`].
    pub fn merge(&self, changes: &Changes) -> Result<()> {
        let Handle::Writable(db) = &*self.handle else { panic!("merge needs a writable file") };
        self.guarded(|| {
            let txn = begin(db)?;
            for table in Table::ALL {
                merge_table(&txn, table, &changes[table as usize])?;
            }
            Ok(txn.commit()?)
        })
    }

    /// Writes everything into a new file beside the old one, durably, in order of keys.
    pub fn write_new(&self, changes: &Changes) -> Result<Rewritten> {
        let path = self.dir.join(NEW_FILE);
        let mut db = self.open_with(builder(WRITE_NEW_CACHE.min(self.cache_bytes)), &path, true)?;
        self.guarded(|| {
            let txn = begin(&db)?;
            for table in Table::ALL {
                self.load_table(&txn, table, &changes[table as usize])?;
            }
            txn.commit()?;
            // redb doubles its file when it is full; this gives the rest back.
            db.compact()?;
            Ok(())
        })?;
        self.guarded(move || {
            drop(db);
            Ok(())
        })?;
        // A database that is closed has synced; this one sync more keeps that from being an assumption.
        let synced = self.disk.open(&path, false).and_then(|file| file.sync());
        synced.map_err(|e| ServiceError::io(format!("sync {}", path.display()), e))?;
        Ok(Rewritten)
    }

    /// Puts the new file in the place of the old one; readers must be kept out. After an error they go on with the old one.
    pub fn swap(&mut self, _: Rewritten) -> Result<()> {
        let (path, new) = (self.dir.join(FILE), self.dir.join(NEW_FILE));
        let renamed = self.disk.rename(&new, &path).and_then(|()| self.disk.sync_dir(&self.dir));
        renamed.map_err(|e| ServiceError::io(format!("rename {}", new.display()), e))?;
        let handle = self.open_file(&path, false)?;
        self.take(handle)
    }

    /// Lets readers see the newest state; readers must be kept out.
    pub fn reload(&mut self) -> Result<()> {
        self.tables = self.open_tables(&self.handle)?;
        Ok(())
    }

    /// The same rows for ever, for a long read beside checkpoints; readers must be kept out. What breaks while it is read breaks
    /// nothing else. As long as it lives, the file only grows.
    pub fn frozen(&mut self) -> Result<Self> {
        // Two handles of one file know nothing of one another: a writer would reuse what a reader still reads.
        self.make_writable()?;
        let broken = Arc::new(OnceLock::new());
        let (disk, dir, cache_bytes) = (self.disk.clone(), self.dir.clone(), self.cache_bytes);
        Ok(Self {
            tables: self.open_tables(&self.handle)?,
            handle: self.handle.clone(),
            disk,
            dir,
            cache_bytes,
            broken,
        })
    }

    fn take(&mut self, handle: Handle) -> Result<()> {
        self.tables = self.open_tables(&handle)?;
        self.handle = Arc::new(handle);
        Ok(())
    }

    fn open_tables(&self, handle: &Handle) -> Result<OpenedTables> {
        let mut tables: OpenedTables = std::array::from_fn(|_| None);
        let txn = self.guarded(|| match handle {
            Handle::None => Ok(None),
            Handle::ReadOnly(db) => Ok(Some(db.begin_read()?)),
            Handle::Writable(db) => Ok(Some(db.begin_read()?)),
        })?;
        for table in Table::ALL {
            if let Some(txn) = &txn {
                tables[table as usize] = self.guarded(|| open_table(txn, table))?;
            }
        }
        Ok(tables)
    }

    fn open_file(&self, path: &Path, read_only: bool) -> Result<Handle> {
        let opened = self.guarded(|| match self.builder().open_read_only(path) {
            Ok(db) => Ok(Some(Handle::ReadOnly(db))),
            Err(redb::DatabaseError::RepairAborted) => Ok(None),
            Err(e) => Err(e.into()),
        })?;
        match opened {
            Some(handle) => Ok(handle),
            // A checkpoint was interrupted: redb goes back to the state before it, in memory only if nothing may be written.
            None if read_only => {
                let file =
                    self.disk.open_read(path).map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?;
                let backend =
                    Overlaid::over(file).map_err(|e| ServiceError::io(format!("read {}", path.display()), e))?;
                Ok(Handle::Writable(self.guarded(|| Ok(self.builder().create_with_backend(backend)?))?))
            }
            None => Ok(Handle::Writable(self.open_writable(path)?)),
        }
    }

    fn open_writable(&self, path: &Path) -> Result<Database> {
        self.open_with(self.builder(), path, false)
    }

    fn open_with(&self, builder: Builder, path: &Path, create: bool) -> Result<Database> {
        let file = self.disk.open(path, create).map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?;
        self.guarded(|| Ok(builder.create_with_backend(Direct(file))?))
    }

    fn builder(&self) -> Builder {
        builder(self.cache_bytes)
    }

    /// All rows of one table, old and changed, into an empty table.
    fn load_table(
        &self,
        txn: &WriteTransaction,
        table: Table,
        changes: &TableChanges,
    ) -> std::result::Result<(), Fault> {
        let mut failed = None;
        if is_by_id(table) {
            let mut to = txn.open_table(IdTable::new(table.name()))?;
            let mut cursor = to.upper_bound_mut(Bound::<[u8; 32]>::Unbounded)?;
            let scanned = super::layered::merged(self, table, changes, &[], &mut |key, value| {
                let key: [u8; 32] = key.try_into().expect("this table is keyed by id");
                failed = cursor.insert_before(key, &with_crc(table, &key, value)[..]).err();
                Ok(failed.is_none())
            });
            scanned.map_err(Fault::Service)?;
            failed.map_or(Ok(()), Err)?;
            cursor.close()?;
        } else {
            let mut to = txn.open_table(BytesTable::new(table.name()))?;
            let mut cursor = to.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
            let scanned = super::layered::merged(self, table, changes, &[], &mut |key, value| {
                failed = cursor.insert_before(key, &with_crc(table, key, value)[..]).err();
                Ok(failed.is_none())
            });
            scanned.map_err(Fault::Service)?;
            failed.map_or(Ok(()), Err)?;
            cursor.close()?;
        }
        Ok(())
    }

    /// The one place where errors and panics of redb end up.
    fn guarded<R>(&self, work: impl FnOnce() -> std::result::Result<R, Fault>) -> Result<R> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Fault::Service(e))) => Err(e),
            Ok(Err(Fault::Redb(redb::Error::Io(e)))) => {
                let _ = self.broken.set(e.to_string());
                Err(ServiceError::io(format!("use {}", self.dir.join(FILE).display()), e))
            }
            Ok(Err(Fault::Redb(e))) => Err(self.break_with(e.to_string())),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
                Err(self.break_with(text.to_owned()))
            }
        }
    }

    fn break_with(&self, detail: String) -> ServiceError {
        let _ = self.broken.set(detail.clone());
        ServiceError::Damaged { what: self.dir.join(FILE).display().to_string(), detail }
    }
}

/// Proof that a new file was written durably.
pub struct Rewritten;

type TableChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What may go wrong inside [`TablesFile::guarded`].
enum Fault {
    Redb(redb::Error),
    Service(ServiceError),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

fn begin(db: &Database) -> std::result::Result<WriteTransaction, Fault> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.set_quick_repair(true);
    Ok(txn)
}

fn open_table(txn: &ReadTransaction, table: Table) -> std::result::Result<Option<Opened>, Fault> {
    let opened = if is_by_id(table) {
        txn.open_table(IdTable::new(table.name())).map(Opened::ById)
    } else {
        txn.open_table(BytesTable::new(table.name())).map(Opened::ByBytes)
    };
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn merge_table(txn: &WriteTransaction, table: Table, changes: &TableChanges) -> std::result::Result<(), Fault> {
    if changes.is_empty() {
        return Ok(());
    }
    if is_by_id(table) {
        let mut to = txn.open_table(IdTable::new(table.name()))?;
        for (key, value) in changes {
            let id: [u8; 32] = key[..].try_into().expect("this table is keyed by id");
            match value {
                Some(value) => drop(to.insert(id, &with_crc(table, key, value)[..])?),
                None => drop(to.remove(id)?),
            }
        }
    } else {
        let mut to = txn.open_table(BytesTable::new(table.name()))?;
        for (key, value) in changes {
            match value {
                Some(value) => drop(to.insert(&key[..], &with_crc(table, key, value)[..])?),
                None => drop(to.remove(&key[..])?),
            }
        }
    }
    Ok(())
}

fn with_crc(table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + CRC_LEN);
    out.extend_from_slice(value);
    out.extend_from_slice(&crc32c(&[&[table as u8], key, value]).to_le_bytes());
    out
}

fn checked<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> std::result::Result<&'a [u8], String> {
    let hex = || key.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let split = stored.split_last_chunk::<CRC_LEN>();
    let (value, crc) = split.ok_or_else(|| format!("row {} of {} is cut short", hex(), table.name()))?;
    let found = crc32c(&[&[table as u8], key, value]);
    match u32::from_le_bytes(*crc) {
        expected if expected == found => Ok(value),
        expected => Err(format!("row {} of {}: its CRC is {found:08x}, not {expected:08x}", hex(), table.name())),
    }
}
