//! The one thread that writes. Durable first, findable second, acknowledged third.
//!
//! What waits while a group is being written and synced becomes the next group, up to [`Limits::group_bytes`]: nobody waits
//! for a timer. A failed `fdatasync` poisons the disk: nothing is acknowledged any more until a restart has
//! read the segments again. A failed write is cut off again, and what was in it is refused.

use crate::places::{MAX_FRESH, Place, Position};
use crate::record::{HEADER_LEN, Record, What};
use crate::segment;
use crate::store::{Disk, State};
use cas_core::id::{BlockId, Epoch, Kind};
use cas_net::{PutBlock, Result, ServiceError};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, RwLock};

/// Bounds of a group and of a segment.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes written at once, about.
    pub group_bytes: usize,
    /// Bytes of a segment, about.
    pub segment_bytes: u64,
}

/// Something to append.
pub enum Append {
    /// A block that is not here, or replaces bad bytes.
    Block(PutBlock, Epoch),
    /// A block copied by compaction, if it still lies where it was read.
    Copy {
        /// The record as it was read, with its newest put_epoch.
        record: Record,
        /// Its body.
        body: Vec<u8>,
        /// Where it lay.
        from: Place,
    },
    /// A touch, delete or floor.
    Note(What, BlockId, Epoch),
}

/// A request: what to append, and whom to tell when it is durable and findable.
pub struct Request {
    pub appends: Vec<Append>,
    pub done: Box<dyn FnOnce(Result<()>) + Send>,
}

/// What the thread is told.
pub enum Order {
    Append(Request),
    /// Begin a new segment; answers its number.
    Rotate(SyncSender<Result<u32>>),
    /// Checkpoint if it is worth it, and mark a clean end.
    Close(SyncSender<Result<()>>),
}

pub struct Writer {
    pub disk: Arc<Disk>,
    pub state: Arc<RwLock<State>>,
    pub limits: Limits,
    pub segment: u32,
    pub file: File,
    pub len: u64,
    pub group: u32,
    /// Records since the last checkpoint.
    pub unsaved: u64,
    /// Whether anything was appended since the last end mark.
    pub open_end: bool,
    pub poisoned: Option<String>,
}

/// Records that a start may have to read again rather than pay for a checkpoint at close.
const REPLAY_RECORDS: u64 = 4096;

impl Writer {
    /// Serves until the channel closes.
    pub fn run(mut self, orders: &Receiver<Order>) {
        let mut next = orders.recv().ok();
        while let Some(order) = next.take() {
            match order {
                Order::Append(first) => next = self.group(first, orders),
                Order::Rotate(answer) => {
                    let rotated = self.rotate().map(|()| self.segment);
                    let _ = answer.send(rotated);
                }
                Order::Close(answer) => {
                    let _ = answer.send(self.close());
                }
            }
            if next.is_none() {
                next = orders.recv().ok();
            }
        }
    }

    /// Writes one group of `first` and what waits behind it. Answers an order that does not fit in.
    fn group(&mut self, first: Request, orders: &Receiver<Order>) -> Option<Order> {
        let mut requests = vec![first];
        let mut bytes: usize = requests[0].appends.iter().map(Append::len).sum();
        let mut left = None;
        while bytes < self.limits.group_bytes {
            match orders.try_recv() {
                Ok(Order::Append(request)) => {
                    bytes += request.appends.iter().map(Append::len).sum::<usize>();
                    requests.push(request);
                }
                Ok(other) => {
                    left = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let written = self.write(&requests);
        self.disk.waiting.release(bytes);
        match written {
            Ok(()) => requests.into_iter().for_each(|r| (r.done)(Ok(()))),
            Err(e) => {
                let mut e = Some(e);
                for request in requests {
                    let error = e.take().unwrap_or_else(|| self.refusal());
                    (request.done)(Err(error));
                }
            }
        }
        left
    }

    fn refusal(&self) -> ServiceError {
        match &self.poisoned {
            Some(why) => ServiceError::Stopped(why.clone()),
            None => {
                ServiceError::Full { what: "the disk of the node".into(), detail: "the group was not written".into() }
            }
        }
    }

    fn write(&mut self, requests: &[Request]) -> Result<()> {
        if self.poisoned.is_some() {
            return Err(self.refusal());
        }
        if self.len >= self.limits.segment_bytes {
            self.rotate()?;
        }
        let mut buffer = Vec::with_capacity(requests.iter().flat_map(|r| &r.appends).map(Append::len).sum());
        let mut placed = Vec::new();
        for append in requests.iter().flat_map(|r| &r.appends) {
            let at = self.len + buffer.len() as u64;
            placed.extend(self.put(append, at, &mut buffer)?);
        }
        if buffer.is_empty() {
            return Ok(());
        }
        self.append(&buffer)?;
        self.group += 1;
        self.unsaved += placed.len() as u64;
        self.open_end = true;
        let mut state = self.state.write().expect("no thread panics with this lock");
        state.places.usage.entry(self.segment).or_default().total = self.len;
        for (id, change) in placed {
            state.apply(id, change)?;
        }
        if state.places.fresh() >= MAX_FRESH {
            let position = Position { segment: self.segment, offset: self.len };
            state.places.checkpoint(position)?;
            self.unsaved = 0;
        }
        Ok(())
    }

    /// Encodes one append at `at`; answers what becomes of the block, or nothing if the append is void by now.
    fn put(&self, append: &Append, at: u64, out: &mut Vec<u8>) -> Result<Option<(BlockId, Change)>> {
        let place = |record: &Record| Place {
            segment: self.segment,
            offset: at as u32,
            len: record.len,
            put_epoch: record.epoch,
            kind: record.kind.unwrap_or(Kind::Data),
        };
        Ok(match append {
            Append::Block(block, epoch) => {
                let record = Record {
                    what: What::Block,
                    kind: Some(block.kind),
                    len: block.bytes.len() as u32,
                    group: self.group,
                    epoch: *epoch,
                    domain: block.domain,
                    id: block.id,
                    sum: block.sum,
                };
                record.put(out);
                out.extend_from_slice(&block.bytes);
                Some((block.id, Change::of(&record, place(&record))))
            }
            Append::Copy { record, body, from } => {
                let state = self.state.read().expect("no thread panics with this lock");
                let now = state.places.get(&record.id)?;
                let Some(now) = now.filter(|now| (now.segment, now.offset) == (from.segment, from.offset)) else {
                    return Ok(None);
                };
                let record = Record { group: self.group, epoch: now.put_epoch, ..*record };
                record.put(out);
                out.extend_from_slice(body);
                Some((record.id, Change::of(&record, place(&record))))
            }
            Append::Note(what, id, epoch) => {
                let mut record = Record::note(*what, *id, *epoch);
                record.group = self.group;
                record.put(out);
                Some((*id, Change::of(&record, place(&record))))
            }
        })
    }

    /// One write, one sync.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let before = self.len;
        if let Err(e) = (&self.file).write_all(bytes) {
            let cut =
                self.file.set_len(before).and_then(|()| io::Seek::seek(&mut &self.file, io::SeekFrom::Start(before)));
            if let Err(again) = cut {
                return Err(self.poison(format!("a write failed ({e}) and cannot be undone ({again})")));
            }
            return Err(write_failed(&segment::path(&self.disk.segments, self.segment), e));
        }
        if let Err(e) = self.file.sync_data() {
            return Err(self.poison(format!("syncing segment {} failed: {e}", self.segment)));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn poison(&mut self, why: String) -> ServiceError {
        tracing::error!("{why}");
        self.poisoned = Some(why.clone());
        self.disk.poisoned.store(true, Ordering::Release);
        ServiceError::Stopped(why)
    }

    fn rotate(&mut self) -> Result<()> {
        if self.poisoned.is_some() {
            return Err(self.refusal());
        }
        if self.len <= segment::SEGMENT_HEADER {
            return Ok(());
        }
        let number = self.segment + 1;
        self.file = create(&self.disk.segments, number)?;
        (self.segment, self.len, self.group) = (number, segment::SEGMENT_HEADER, 0);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if self.poisoned.is_some() {
            return Err(self.refusal());
        }
        if self.open_end {
            let mut end = Vec::with_capacity(HEADER_LEN);
            let mut record = Record::note(What::End, BlockId::ZERO, Epoch::ZERO);
            record.group = self.group;
            record.put(&mut end);
            self.append(&end)?;
            self.open_end = false;
        }
        let mut state = self.state.write().expect("no thread panics with this lock");
        state.places.usage.entry(self.segment).or_default().total = self.len;
        if self.unsaved > REPLAY_RECORDS {
            state.places.checkpoint(Position { segment: self.segment, offset: self.len })?;
            self.unsaved = 0;
        }
        Ok(())
    }
}

/// What a record does to its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    At(Place),
    Touched(Epoch),
    Gone,
    Floor(Epoch),
    Nothing,
}

impl Change {
    /// Of a record, which lies at `place` if it is a block.
    pub fn of(record: &Record, place: Place) -> Self {
        match record.what {
            What::Block => Self::At(place),
            What::Touch => Self::Touched(record.epoch),
            What::Delete => Self::Gone,
            What::Floor => Self::Floor(record.epoch),
            What::End => Self::Nothing,
        }
    }
}

impl Append {
    pub fn len(&self) -> usize {
        HEADER_LEN
            + match self {
                Self::Block(block, _) => block.bytes.len(),
                Self::Copy { body, .. } => body.len(),
                Self::Note(..) => 0,
            }
    }
}

/// Makes a new segment, durably.
pub fn create(folder: &std::path::Path, number: u32) -> Result<File> {
    let path = segment::path(folder, number);
    let made = || -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&segment::header(number))?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    };
    made().map_err(|e| {
        let _ = std::fs::remove_file(&path);
        write_failed(&path, e)
    })
}

fn write_failed(path: &std::path::Path, error: io::Error) -> ServiceError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ServiceError::Full {
            what: format!("the disk of {}", path.display()),
            detail: "nothing of this group was kept".to_owned(),
        },
        _ => ServiceError::io(format!("write {}", path.display()), error),
    }
}
