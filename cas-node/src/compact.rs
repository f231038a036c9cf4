//! Gives the room of dead records back: copies what lives out of the deadest segments, then removes them.
//!
//! Promise: a live record is verified and copied durably before its old file goes; one that does not verify keeps its
//! file; damage of which nobody knows what it was goes to the folder `quarantine`. A delete is kept as long as the record it names is
//! there. Every step can be the last one: nothing that is left makes a block come back or go.
//!
//! On a disk without room for copies it takes what needs none first: it gives the bodies of dead records back to the file system
//! where they lie ([`give_back`]), then empties the segments with the least to copy, and gives back what was copied after each
//! group. The headers stay, so that the log reads on.

use crate::disk::{DiskFile, PAGE};
use crate::group::Copied;
use crate::index::{Place, Usage};
use crate::order::{Order, Start};
use crate::record::{At, HEADER_LEN, Record, What};
use crate::retire::retire;
use crate::scan::{Found, Scan};
use crate::segment::SEGMENT_HEADER;
use crate::store::Store;
use cas_core::id::{BlockId, Epoch};
use cas_net::{Result, ServiceError};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Copied in one group, about, in bytes.
const COPY_BYTES: usize = 4 << 20;
/// Notes repeated in one group.
const COPY_NOTES: usize = 16_384;
/// Free beside what is to be copied out of one segment, or the disk counts as full. Bytes.
const MARGIN: u64 = 2 * COPY_BYTES as u64;

/// Rewrites the deadest segments until dead bytes are at most `dead_share` of the live ones. Answers the bytes freed. `Full` if
/// there is no room to copy even the little that lives in one of them; what could be freed is free then, too.
pub fn compact(store: &Store, dead_share: f64) -> Result<u64> {
    let _alone = alone(store);
    let usage = store.shared.read().places.usage.clone();
    let victims = choose(&usage, dead_share);
    if victims.is_empty() {
        return Ok(0);
    }
    let start = start(store, &victims)?;
    let sealed = victims.into_iter().filter(|number| *number < start.active);
    let mut victims: Vec<Victim> = sealed.map(|number| Victim::new(store, number, &usage[&number])).collect();
    let tight = is_tight(store, &victims);
    if tight {
        store.shared.reserve.release();
        victims.iter().try_for_each(|victim| give_back(store, victim.number))?;
        victims.sort_by_key(|victim| victim.live);
    }
    let mut freed = 0;
    for victim in victims {
        freed += compact_one(store, &victim, start, tight)?;
    }
    Ok(freed)
}

/// Does what makes room later; if there is none for doing it, gives back what is dead and tries again.
pub fn with_room<T>(store: &Store, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    match work() {
        Err(ServiceError::Full { .. }) => {}
        done => return done,
    }
    let _alone = alone(store);
    let dead: Vec<u32> =
        store.shared.read().places.usage.iter().filter(|(_, u)| dead(u) >= PAGE).map(|(n, _)| *n).collect();
    let start = start(store, &dead)?;
    dead.into_iter().filter(|number| *number < start.active).try_for_each(|number| give_back(store, number))?;
    work()
}

/// Closes the segment that is being written if it is to be emptied. If there is no room for another, it is not emptied.
fn start(store: &Store, emptying: &[u32]) -> Result<Start> {
    match store.ask(|answer| Order::StartCompaction { emptying: emptying.to_vec(), answer }) {
        Err(ServiceError::Full { .. }) => {
            let active = store.shared.read().places.usage.keys().last().copied().unwrap_or_default();
            // As if the cache knew nothing.
            Ok(Start { active, saved: Some(At { segment: 0, offset: 0 }) })
        }
        started => started,
    }
}

/// What a segment takes of the disk, in bytes: its length, less what was given back.
pub fn bytes_on_disk(store: &Store, number: u32, usage: &Usage) -> u64 {
    if dead(usage) < PAGE {
        return usage.total;
    }
    let allocated = store.shared.files.file(number).and_then(|file| file.allocated());
    allocated.map_or(usage.total, |bytes| bytes.min(usage.total))
}

/// A segment that is to be emptied.
struct Victim {
    number: u32,
    live: u64,
    on_disk: u64,
}

impl Victim {
    fn new(store: &Store, number: u32, usage: &Usage) -> Self {
        Self { number, live: usage.live, on_disk: bytes_on_disk(store, number, usage) }
    }
}

/// One at a time changes segments.
fn alone(store: &Store) -> MutexGuard<'_, ()> {
    store.compacting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_tight(store: &Store, victims: &[Victim]) -> bool {
    let most = victims.iter().map(|victim| victim.live).max().unwrap_or_default();
    let files = &store.shared.files;
    files.disk().free_bytes(files.folder()).is_ok_and(|free| free < most.saturating_add(MARGIN))
}

fn dead(usage: &Usage) -> u64 {
    usage.total.saturating_sub(usage.live + SEGMENT_HEADER)
}

/// Gives the bodies of dead records of a closed segment back to the file system. Where it takes nothing back, nothing happens.
fn give_back(store: &Store, number: u32) -> Result<()> {
    let (file, _, salt) = store.shared.files.begin(number)?;
    let path = store.shared.files.path(number);
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let emptied = Emptied::open(store, number)?;
    let mut scan = Scan::new(&*file, salt, false, 0).map_err(failed)?;
    while let Some(found) = scan.step().map_err(failed)? {
        let Found::Record(offset, record) = found else { continue };
        let at = At { segment: number, offset: offset as u32 };
        let is_dead = |place: Option<Place>| place.is_none_or(|place| place.at != at);
        if record.what == What::Block
            && u64::from(record.len) >= PAGE
            && is_dead(store.shared.read().places.get(&record.id)?)
        {
            emptied.give_back(offset, &record)?;
        }
    }
    emptied.sync()
}

/// A segment of which dead bodies are given back.
struct Emptied {
    file: Arc<dyn DiskFile>,
    what: String,
}

impl Emptied {
    fn open(store: &Store, number: u32) -> Result<Self> {
        let path = store.shared.files.path(number);
        let what = format!("give back room of {}", path.display());
        let file = store.shared.files.disk().open(&path).map_err(|e| ServiceError::io(what.clone(), e))?;
        Ok(Self { file, what })
    }

    fn give_back(&self, offset: u64, record: &Record) -> Result<()> {
        match self.file.give_back(offset + HEADER_LEN as u64, offset + record.total_len()) {
            Err(e) if e.kind() != ErrorKind::Unsupported => Err(ServiceError::io(self.what.clone(), e)),
            _ => Ok(()),
        }
    }

    /// Some file systems let others have the room only then.
    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| ServiceError::io(self.what.clone(), e))
    }
}

/// The segments to rewrite, in the order in which to do it: what costs no copies first, what may only hold deletes last.
fn choose(usage: &BTreeMap<u32, Usage>, dead_share: f64) -> Vec<u32> {
    let live: u64 = usage.values().map(|u| u.live).sum();
    let mut left: u64 = usage.values().map(dead).sum();
    let mut deadest: Vec<(u32, Usage)> = usage.iter().map(|(n, u)| (*n, *u)).collect();
    let share = |u: &Usage| dead(u) as f64 / u.total.max(1) as f64;
    deadest.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
    let mut chosen = Vec::new();
    for (number, usage) in deadest {
        if left as f64 <= dead_share * live as f64 || dead(&usage) == 0 {
            break;
        }
        left -= dead(&usage);
        chosen.push((2 * usage.notes > dead(&usage), usage.live > 0, number));
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|(_, _, number)| number).collect()
}

/// Empties one segment and removes it. Answers the bytes freed; none if it must stay.
fn compact_one(store: &Store, victim: &Victim, start: Start, tight: bool) -> Result<u64> {
    let number = victim.number;
    let moved = copy_out(store, number, start.saved, tight)?;
    let live = store.shared.read().places.usage.get(&number).map_or(0, |u| u.live);
    if live > 0 {
        tracing::warn!("{} holds damaged records and is kept", store.shared.files.path(number).display());
        let dead = moved.into_iter().map(|(id, at)| (Record::delete(id, Epoch::ZERO, at), at)).collect();
        store.ask(|answer| Order::Move { copies: Vec::new(), notes: dead, answer })?;
        return Ok(0);
    }
    retire(store, number)?;
    Ok(victim.on_disk.saturating_sub(victim.live))
}

/// Copies what lives in a segment, and notes that are still needed, to the end of the log. Answers what was copied.
fn copy_out(store: &Store, number: u32, saved: Option<At>, tight: bool) -> Result<Vec<(BlockId, At)>> {
    let (file, _, salt) = store.shared.files.begin(number)?;
    let before = store.shared.read().places.usage.get(&number).copied().unwrap_or_default();
    if before.live == 0 && before.notes == 0 {
        return Ok(Vec::new());
    }
    let path = store.shared.files.path(number);
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let emptied = if tight { Some(Emptied::open(store, number)?) } else { None };
    let mut scan = Scan::new(&*file, salt, false, 0).map_err(failed)?;
    let mut moved = Vec::new();
    let mut batch = Batch::default();
    while let Some(found) = scan.step().map_err(failed)? {
        let Found::Record(offset, record) = found else { continue };
        let at = At { segment: number, offset: offset as u32 };
        match record.what {
            What::Block => {
                let place = store.shared.read().places.get(&record.id)?.filter(|place| place.at == at);
                let Some(place) = place else { continue };
                let Some(copied) = read(store, &record.id, &place)? else { continue };
                moved.push((record.id, at));
                batch.bytes += copied.body.len();
                batch.copies.push(copied);
            }
            What::Delete if !is_needed(store, &record, at, saved) => {}
            What::Delete | What::Touch | What::Floor => batch.notes.push((record, at)),
            What::End => {}
        }
        if batch.bytes >= COPY_BYTES || batch.notes.len() >= COPY_NOTES {
            std::mem::take(&mut batch).append(store, emptied.as_ref())?;
        }
    }
    batch.append(store, emptied.as_ref())?;
    Ok(moved)
}

/// A record to copy; nothing if its bytes are wrong, which is noted.
fn read(store: &Store, id: &BlockId, place: &Place) -> Result<Option<Copied>> {
    match store.shared.files.read(id, place) {
        Ok((record, body)) => Ok(Some(Copied { record, body: body.into(), from: place.at })),
        Err(e @ ServiceError::Damaged { .. }) => {
            store.shared.write().mark_damaged(*id, place.at, e.to_string());
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Whether a delete is still needed: the record it names is there, or the cache has not heard of it.
fn is_needed(store: &Store, delete: &Record, at: At, saved: Option<At>) -> bool {
    let is_there = |target: At| store.shared.read().places.usage.contains_key(&target.segment);
    delete.target().is_some_and(is_there) || saved.is_some_and(|saved| at >= saved)
}

/// What will be appended together.
#[derive(Default)]
struct Batch {
    copies: Vec<Copied>,
    notes: Vec<(Record, At)>,
    bytes: usize,
}

impl Batch {
    /// Appends it, durably; then the bodies that were copied may go.
    fn append(self, store: &Store, emptied: Option<&Emptied>) -> Result<()> {
        if self.copies.is_empty() && self.notes.is_empty() {
            return Ok(());
        }
        let copied: Vec<(u64, Record)> =
            self.copies.iter().map(|copied| (copied.from.offset.into(), copied.record)).collect();
        store.ask(|answer| Order::Move { copies: self.copies, notes: self.notes, answer })?;
        if let Some(emptied) = emptied {
            copied.iter().try_for_each(|(offset, record)| emptied.give_back(*offset, record))?;
            emptied.sync()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(live: u64, notes: u64, dead: u64) -> Usage {
        Usage { live, notes, total: SEGMENT_HEADER + live + dead }
    }

    #[test]
    fn the_deadest_are_chosen_until_few_enough_dead_bytes_are_left() {
        let segments = BTreeMap::from([
            (1, usage(1000, 0, 10)),
            (2, usage(0, 0, 500)),
            (3, usage(100, 0, 400)),
            (4, usage(0, 300, 300)),
            (5, usage(1000, 0, 0)),
        ]);
        assert_eq!(choose(&segments, 0.05), [2, 3, 4]);
        assert_eq!(choose(&segments, 0.0), [2, 1, 3, 4]);
        assert_eq!(choose(&segments, 1.0), [] as [u32; 0]);
    }
}
