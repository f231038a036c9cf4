//! Decides what a group holds: block, touch, delete or nothing, for each thing that was asked. Writes nothing.
//!
//! Promise: decisions are made one after the other, in the order in which the records will stand, each on what those before it
//! leave behind. So a delete never takes a block for which a receipt is being written, and a receipt never names
//! a block that a delete has just taken. DESIGN §7.1.

use crate::index::Place;
use crate::record::{At, HEADER_LEN, Record, Salt, What};
use crate::shared::Shared;
use cas_core::id::{BlockId, Epoch};
use cas_net::{Bytes, Delete, Deleted, PutBlock, Received, Result};
use std::collections::HashMap;

/// What a caller found out about a block before it asked: reading old bytes is not the writer's work.
#[derive(Debug, Clone, Copy)]
pub struct Looked {
    /// Where the block lay.
    pub at: At,
    /// What a receipt says of it; `None` if its bytes are wrong or shall be replaced.
    pub good: Option<Received>,
}

/// A block copied by compaction.
#[derive(Debug)]
pub struct Copied {
    /// Its record as it was read.
    pub record: Record,
    /// Its body, verified.
    pub body: Bytes,
    /// Where it lay.
    pub from: At,
}

/// A record with its place.
pub struct Written {
    /// Where it will stand.
    pub at: At,
    /// What it says.
    pub record: Record,
    header: [u8; HEADER_LEN],
    body: Bytes,
}

/// A group under construction.
pub struct Group<'a> {
    shared: &'a Shared,
    salt: Salt,
    number: u32,
    at: At,
    written: Vec<Written>,
    /// Block records that are dead once this group is durable; nothing in it says so, because then they must stay.
    dead: Vec<(BlockId, At)>,
    /// Blocks as they will be after this group.
    after: HashMap<BlockId, Option<(Place, Received)>>,
}

impl<'a> Group<'a> {
    /// A group that will stand at `at`, in a segment with this salt, and is the `number`th of it.
    pub fn new(shared: &'a Shared, at: At, salt: Salt, number: u32) -> Self {
        Self { shared, salt, number, at, written: Vec::new(), dead: Vec::new(), after: HashMap::new() }
    }

    /// Its records.
    pub fn records(&self) -> &[Written] {
        &self.written
    }

    /// Block records that are dead once it is durable: to be buried in the next one.
    pub fn take_dead(&mut self) -> Vec<(BlockId, At)> {
        std::mem::take(&mut self.dead)
    }

    /// Says of dead block records that they are dead.
    pub fn bury(&mut self, dead: &[(BlockId, At)]) {
        for (id, at) in dead {
            self.append(Record::delete(*id, Epoch::ZERO, *at), Bytes::new());
        }
    }

    /// Its bytes in parts.
    pub fn parts(&self) -> Vec<&[u8]> {
        let mut parts = Vec::with_capacity(2 * self.written.len());
        for written in &self.written {
            parts.push(&written.header[..]);
            if !written.body.is_empty() {
                parts.push(&written.body[..]);
            }
        }
        parts
    }

    /// The first byte behind it.
    pub fn end(&self) -> u64 {
        self.at.offset.into()
    }

    /// A block that is put. Own bytes are kept, but those that are known to be wrong or shall be replaced.
    pub fn put(&mut self, epoch: Epoch, block: PutBlock, looked: Option<Looked>) -> Result<Received> {
        let Some(place) = self.place(&block.id)? else { return Ok(self.append_block(epoch, block)) };
        let good = match looked.filter(|looked| looked.at == place.at) {
            Some(looked) => looked.good,
            // It came, or compaction moved and verified it, since the caller looked.
            None => self.received(&block.id, &place)?,
        };
        match good {
            Some(received) => {
                self.touch(&block.id, place, received, epoch);
                Ok(received)
            }
            None => {
                self.dead.push((block.id, place.at));
                Ok(self.append_block(epoch.max(place.put_epoch), block))
            }
        }
    }

    /// A block that is offered: a receipt if it is here and good, nothing if it is wanted.
    pub fn offer(&mut self, epoch: Epoch, id: &BlockId, looked: Looked) -> Result<Option<Received>> {
        let Some(place) = self.place(id)? else { return Ok(None) };
        let good = if place.at == looked.at { looked.good } else { self.received(id, &place)? };
        if let Some(received) = good {
            self.touch(id, place, received, epoch);
        }
        Ok(good)
    }

    /// A block that shall be deleted.
    pub fn delete(&mut self, delete: &Delete) -> Result<Deleted> {
        let Some(place) = self.place(&delete.id)? else { return Ok(Deleted::Gone) };
        let floor = self.shared.read().places.floors.get(&delete.id.partition()).copied().unwrap_or_default();
        if place.put_epoch >= delete.epoch || floor >= delete.epoch {
            return Ok(Deleted::Kept);
        }
        self.append(Record::delete(delete.id, delete.epoch, place.at), Bytes::new());
        self.after.insert(delete.id, None);
        Ok(Deleted::Gone)
    }

    /// A floor. It counts for deletes of later groups only: its caller waits for its sync.
    pub fn floor(&mut self, partition: u16, epoch: Epoch) {
        self.append(Record::floor(partition, epoch), Bytes::new());
    }

    /// A copy of a block, if it still lies where it was read.
    pub fn copy(&mut self, copied: Copied) -> Result<()> {
        let id = copied.record.id;
        let Some(place) = self.place(&id)?.filter(|place| place.at == copied.from) else { return Ok(()) };
        let record = Record { epoch: place.put_epoch, ..copied.record };
        let received = Received { id, kind: place.kind, sum: record.sum, len: record.len };
        let at = self.append(record, copied.body);
        self.after.insert(id, Some((Place { at, ..place }, received)));
        Ok(())
    }

    /// A record without a body that stood at `from` and is needed on: only as far as it still says something.
    pub fn repeat(&mut self, note: &Record, from: At) -> Result<()> {
        let needed = match note.what {
            What::Touch => self.place(&note.id)?.is_some_and(|p| p.put_epoch == note.epoch && p.at < from),
            What::Delete => self.place(&note.id)?.map(|place| place.at) != note.target(),
            What::Floor => {
                let partition = note.partition().expect("floors have a partition");
                self.shared.read().places.floors.get(&partition) == Some(&note.epoch)
            }
            What::Block | What::End => false,
        };
        if needed {
            self.append(*note, Bytes::new());
        }
        Ok(())
    }

    /// The end mark.
    pub fn end_mark(&mut self) {
        self.append(Record::note(What::End, BlockId::ZERO, Epoch::ZERO), Bytes::new());
    }

    fn place(&self, id: &BlockId) -> Result<Option<Place>> {
        match self.after.get(id) {
            Some(after) => Ok(after.map(|(place, _)| place)),
            None => self.shared.read().places.get(id),
        }
    }

    /// What a receipt says of a block that is here; nothing if its record is known to be wrong, or is.
    fn received(&self, id: &BlockId, place: &Place) -> Result<Option<Received>> {
        if let Some(Some((_, received))) = self.after.get(id) {
            return Ok(Some(*received));
        }
        if self.shared.read().is_damaged(id, place.at) {
            return Ok(None);
        }
        self.shared.files.received_if_good(id, place)
    }

    fn touch(&mut self, id: &BlockId, place: Place, received: Received, epoch: Epoch) {
        if place.put_epoch < epoch {
            self.append(Record::note(What::Touch, *id, epoch), Bytes::new());
            self.after.insert(*id, Some((Place { put_epoch: epoch, ..place }, received)));
        }
    }

    fn append_block(&mut self, epoch: Epoch, block: PutBlock) -> Received {
        let len = u32::try_from(block.bytes.len()).expect("blocks were checked for their length");
        let record = Record {
            what: What::Block,
            kind: Some(block.kind),
            len,
            group: 0,
            epoch,
            domain: block.domain,
            id: block.id,
            sum: block.sum,
        };
        let received = Received { id: block.id, kind: block.kind, sum: block.sum, len };
        let at = self.append(record, block.bytes);
        let place = Place { at, len, put_epoch: epoch, kind: block.kind };
        self.after.insert(block.id, Some((place, received)));
        received
    }

    fn append(&mut self, record: Record, body: Bytes) -> At {
        let (at, record) = (self.at, Record { group: self.number, ..record });
        let end = u64::from(at.offset) + record.total_len();
        self.at.offset = u32::try_from(end).expect("a segment is begun with room for the largest group");
        self.written.push(Written { at, record, header: record.encode(self.salt), body });
        at
    }
}
