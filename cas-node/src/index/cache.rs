//! `index.redb`: places as of the last checkpoint. FORMAT §8.
//!
//! Promise: it never says what was not put into it. Whatever is wrong with it (a panic of redb, a value that does not check)
//! is caught in [`Cache::guarded`]: the file is removed, and the next opening makes it anew from the segments. A disk that is
//! full, or a process with too many open files, is nothing wrong with it: it is opened again as it was. A batch that is large beside the file is written into a new file, in order of ids, which costs a third of the
//! room and a tenth of the time of random inserts.

use super::backend::{Backend, Overlay};
use super::place::Place;
use super::saved::Saved;
use crate::disk::{self, Disk, DiskFile};
use cas_core::id::BlockId;
use cas_net::{Result, ServiceError};
use redb::{Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const FILE: &str = "index.redb";
const NEW_FILE: &str = "index.redb.new";
const PLACES: TableDefinition<'static, [u8; 32], [u8; Place::LEN]> = TableDefinition::new("places v2");
const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta v2");
const STATE: &str = "state";
/// Memory that redb may use, in bytes.
const MEMORY: usize = 16 << 20;
/// The same while a new file is written: it is filled in order of ids, so little is looked at twice.
const MEMORY_OF_NEW: usize = 4 << 20;
/// A new file is written when at least one row in so many changes.
const REWRITE_SHARE: u64 = 8;

/// Changes, in order of ids; `None` removes.
pub type Changes = BTreeMap<BlockId, Option<Place>>;
type Table = ReadOnlyTable<[u8; 32], [u8; Place::LEN]>;
type Range = redb::Range<'static, [u8; 32], [u8; Place::LEN]>;

/// The file, or the lack of one.
pub struct Cache {
    // Field order is drop order: the table before its database.
    table: Option<Table>,
    db: Option<Database>,
    /// Whether redb may write to the file. It is opened so by the first merge only: short runs never write to it.
    writable: bool,
    rows: u64,
    /// `false` once it cannot be trusted.
    usable: AtomicBool,
    /// After an error of the system, until it is opened again: redb answers nothing from then on.
    stumbled: AtomicBool,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Cache {
    /// Opens the cache in `dir`. Answers also what was saved; nothing if there is no usable file.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, read_only: bool) -> (Self, Option<Saved>) {
        let mut cache = Self {
            table: None,
            db: None,
            writable: false,
            rows: 0,
            usable: true.into(),
            stumbled: false.into(),
            disk,
            dir: dir.to_owned(),
        };
        let files = cache.disk.list(dir).unwrap_or_default();
        if !read_only && files.contains(&dir.join(NEW_FILE)) {
            let _ = cache.disk.remove(&dir.join(NEW_FILE));
        }
        if !files.contains(&dir.join(FILE)) {
            return (cache, None);
        }
        match cache.open_file(false).and_then(|()| cache.saved()) {
            Ok(saved) => {
                cache.rows = saved.blocks;
                (cache, Some(saved))
            }
            Err(e) => {
                tracing::warn!("the node's index is made anew: {e}");
                cache.drop_file(read_only);
                (cache, None)
            }
        }
    }

    /// Closes the file and removes it.
    pub fn drop_file(&mut self, read_only: bool) {
        self.rows = 0;
        self.shut();
        if !read_only {
            let _ = self.disk.remove(&self.dir.join(FILE));
        }
        (self.usable, self.stumbled) = (true.into(), false.into());
    }

    /// Opens the file again after an error of the system: what was committed is there.
    pub fn recover(&mut self) -> Result<()> {
        if !*self.stumbled.get_mut() || !*self.usable.get_mut() {
            return Ok(());
        }
        self.shut();
        self.open_file(false)?;
        self.stumbled = false.into();
        Ok(())
    }

    /// Closes the file. redb may write once more when it goes, and fail.
    fn shut(&mut self) {
        self.table = None;
        let db = self.db.take();
        let _ = caught(|| {
            drop(db);
            Ok(())
        });
    }

    /// Where a block lies.
    pub fn get(&self, id: &BlockId) -> Result<Option<Place>> {
        let Some(table) = self.table()? else { return Ok(None) };
        let found = self.guarded(|| Ok(table.get(*id.as_bytes())?.map(|value| value.value())))?;
        found.map(|value| Place::decode(id, &value).ok_or_else(|| self.broken("a row does not check"))).transpose()
    }

    /// All blocks behind `after`, in order of ids.
    pub fn range(&self, after: Option<BlockId>) -> Result<Rows<'_>> {
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0));
        let range = match self.table()? {
            None => None,
            Some(table) => Some(self.guarded(|| Ok(table.range::<[u8; 32]>((start, Bound::Unbounded))?))?),
        };
        Ok(Rows { cache: self, range })
    }

    /// The table; none if there is no file.
    fn table(&self) -> Result<Option<&Table>> {
        match &self.table {
            None if self.db.is_some() || self.stumbled.load(Ordering::Acquire) => Err(self.stumble("it is not open")),
            table => Ok(table.as_ref()),
        }
    }

    /// Writes changes durably, with what is saved beside them. Readers go on with the old state until [`Self::adopt`].
    pub fn write(&self, changes: &Changes, saved: &Saved) -> Result<Written> {
        if !self.usable.load(Ordering::Acquire) {
            return Err(self.broken("an earlier fault"));
        }
        match &self.db {
            Some(db) if self.writable && !self.wants_rewrite(changes) => self.merge(db, changes, saved),
            _ => self.rewrite(changes, saved),
        }
    }

    /// Makes ready for [`Self::write`].
    pub fn prepare(&mut self, changes: &Changes) -> Result<()> {
        if self.db.is_some() && !self.writable && !self.wants_rewrite(changes) { self.open_file(true) } else { Ok(()) }
    }

    fn wants_rewrite(&self, changes: &Changes) -> bool {
        changes.len() as u64 * REWRITE_SHARE >= self.rows
    }

    fn merge(&self, db: &Database, changes: &Changes, saved: &Saved) -> Result<Written> {
        self.guarded(|| {
            let txn = begin(db)?;
            {
                let mut table = txn.open_table(PLACES)?;
                for (id, place) in changes {
                    match place {
                        Some(place) => drop(table.insert(*id.as_bytes(), place.encode(id))?),
                        None => drop(table.remove(*id.as_bytes())?),
                    }
                }
                txn.open_table(META)?.insert(STATE, &saved.encode()[..])?;
            }
            txn.commit()?;
            Ok(Written { rows: saved.blocks, is_new: false })
        })
    }

    fn rewrite(&self, changes: &Changes, saved: &Saved) -> Result<Written> {
        let path = self.dir.join(NEW_FILE);
        let created = self.disk.create(&path).map_err(|e| ServiceError::io(format!("create {}", path.display()), e))?;
        let written = self.fill(created.clone(), changes, saved);
        let synced = written.and_then(|()| {
            created.sync_data().map_err(|e| ServiceError::io(format!("sync {}", path.display()), e))?;
            Ok(Written { rows: saved.blocks, is_new: true })
        });
        synced.inspect_err(|_| drop(self.disk.remove(&path)))
    }

    fn fill(&self, file: Arc<dyn DiskFile>, changes: &Changes, saved: &Saved) -> Result<()> {
        let mut old = self.range(None)?;
        let mut failed = Ok(());
        let rows = merged([Box::new(changes.iter().map(|(id, place)| Ok((*id, *place))))], &mut old);
        // What goes wrong with the new file is not the old one's fault.
        let filled = caught(|| {
            let mut db = builder(MEMORY_OF_NEW).create_with_backend(Backend(file))?;
            let txn = begin(&db)?;
            {
                let mut table = txn.open_table(PLACES)?;
                let mut cursor = table.upper_bound_mut(Bound::<[u8; 32]>::Unbounded)?;
                for row in rows {
                    match row {
                        Ok((id, place)) => cursor.insert_before(id.0, place.encode(&id))?,
                        Err(e) => {
                            failed = Err(e);
                            break;
                        }
                    }
                }
                cursor.close()?;
                txn.open_table(META)?.insert(STATE, &saved.encode()[..])?;
            }
            txn.commit()?;
            // redb doubles its file when it is full; this gives the rest back.
            db.compact()?;
            drop(db);
            Ok(())
        });
        filled.map_err(|fault| match fault {
            Fault::System(_) => fault.of(&self.dir.join(NEW_FILE)),
            Fault::File(why) => Fault::System(io::Error::other(why)).of(&self.dir.join(NEW_FILE)),
        })?;
        failed
    }

    /// Lets readers see what was written.
    pub fn adopt(&mut self, written: Written) -> Result<()> {
        self.rows = written.rows;
        if written.is_new {
            let (from, to) = (self.dir.join(NEW_FILE), self.dir.join(FILE));
            let renamed = self.disk.rename(&from, &to).and_then(|()| self.disk.sync_dir(&self.dir));
            renamed.map_err(|e| ServiceError::io(format!("rename {}", from.display()), e))?;
            return self.open_file(false);
        }
        self.open_table()
    }

    fn open_file(&mut self, writable: bool) -> Result<()> {
        let path = self.dir.join(FILE);
        let opened = if writable { self.disk.open(&path) } else { self.disk.open_read(&path) };
        let file = opened.map_err(|e| ServiceError::io(format!("open {}", path.display()), e))?;
        let backend = Backend(file);
        let db = self.guarded(|| match writable {
            true => Ok(builder(MEMORY).create_with_backend(backend)?),
            false => Ok(builder(MEMORY).create_with_backend(Overlay::over(backend)?)?),
        })?;
        self.table = None;
        (self.db, self.writable) = (Some(db), writable);
        self.open_table()
    }

    fn saved(&self) -> Result<Saved> {
        let saved = self.guarded(|| {
            let txn = self.db.as_ref().expect("it was opened").begin_read()?;
            let bytes = txn.open_table(META)?.get(STATE)?.map(|bytes| bytes.value().to_vec());
            Ok(bytes.and_then(|bytes| Saved::decode(&bytes)))
        })?;
        saved.ok_or_else(|| self.broken("what was saved does not check"))
    }

    fn open_table(&mut self) -> Result<()> {
        self.table = None;
        if let Some(db) = &self.db {
            self.table = Some(self.guarded(|| Ok(db.begin_read()?.open_table(PLACES)?))?);
        }
        Ok(())
    }

    /// The one place where errors and panics of redb end up.
    fn guarded<R>(&self, work: impl FnOnce() -> std::result::Result<R, redb::Error>) -> Result<R> {
        caught(work).map_err(|fault| match fault {
            Fault::System(e) => self.stumble(e),
            Fault::File(why) => self.broken(&why),
        })
    }

    fn stumble(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ServiceError {
        self.stumbled.store(true, Ordering::Release);
        Fault::System(io::Error::other(error)).of(&self.dir.join(FILE))
    }

    fn broken(&self, why: &str) -> ServiceError {
        if self.usable.swap(false, Ordering::AcqRel) {
            let _ = self.disk.remove(&self.dir.join(FILE));
        }
        Fault::File(why.to_owned()).of(&self.dir.join(FILE))
    }
}

/// What went wrong with redb.
enum Fault {
    /// The system would not: no room, too many open files.
    System(io::Error),
    /// What stands in the file, or redb itself.
    File(String),
}

impl Fault {
    fn of(self, path: &Path) -> ServiceError {
        let what = path.display().to_string();
        match self {
            Self::System(e) if disk::is_full(&e) => ServiceError::Full { what, detail: e.to_string() },
            Self::System(e) => ServiceError::io(format!("use {what}"), e),
            Self::File(why) => ServiceError::Damaged {
                what,
                detail: format!("{why}; the next opening makes it anew from the segments"),
            },
        }
    }
}

/// Runs redb, catches its errors and panics.
fn caught<R>(work: impl FnOnce() -> std::result::Result<R, redb::Error>) -> std::result::Result<R, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(redb::Error::Io(e))) if e.kind() != io::ErrorKind::InvalidData => Err(Fault::System(e)),
        Ok(Err(redb::Error::PreviousIo)) => Err(Fault::System(io::Error::other("an operation before failed"))),
        Ok(Err(e)) => Err(Fault::File(e.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(Fault::File(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()))
        }
    }
}

/// What [`Cache::write`] wrote.
pub struct Written {
    rows: u64,
    is_new: bool,
}

/// Places in order of ids.
pub struct Rows<'a> {
    cache: &'a Cache,
    range: Option<Range>,
}

impl Iterator for Rows<'_> {
    type Item = Result<(BlockId, Option<Place>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.range.as_mut()?;
        let next = self.cache.guarded(|| match range.next() {
            None => Ok(None),
            Some(row) => row.map(|(key, value)| Some((BlockId(key.value()), value.value()))).map_err(Into::into),
        });
        let decoded = |(id, bytes): (BlockId, [u8; Place::LEN])| {
            let place = Place::decode(&id, &bytes).ok_or_else(|| self.cache.broken("a row does not check"))?;
            Ok((id, Some(place)))
        };
        next.transpose().map(|row| row.and_then(decoded))
    }
}

/// Places in order of ids from several layers, the newest first; what a newer layer says of an id counts.
pub type Layer<'a> = Box<dyn Iterator<Item = Result<(BlockId, Option<Place>)>> + 'a>;

/// Merges layers; see [`Layer`].
pub fn merged<'a, const N: usize>(
    newer: [Layer<'a>; N],
    oldest: &'a mut Rows<'_>,
) -> impl Iterator<Item = Result<(BlockId, Place)>> + 'a {
    let mut layers: Vec<_> = newer.into_iter().map(Iterator::peekable).collect();
    layers.push((Box::new(oldest) as Layer<'a>).peekable());
    std::iter::from_fn(move || {
        loop {
            let mut first: Option<BlockId> = None;
            for layer in &mut layers {
                match layer.peek() {
                    Some(Ok((id, _))) => first = Some(first.map_or(*id, |f| f.min(*id))),
                    Some(Err(_)) => return layer.next().and_then(std::result::Result::err).map(Err),
                    None => {}
                }
            }
            let first = first?;
            let is_first = |row: &Result<(BlockId, Option<Place>)>| row.as_ref().is_ok_and(|(id, _)| *id == first);
            let mut found = None;
            for layer in &mut layers {
                let row = layer.next_if(is_first);
                found = found.or(row.and_then(Result::ok));
            }
            if let Some((id, Some(place))) = found {
                return Some(Ok((id, place)));
            }
        }
    })
}

fn builder(memory: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(memory);
    builder
}

fn begin(db: &Database) -> std::result::Result<redb::WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.set_quick_repair(true);
    Ok(txn)
}
