//! Gives the room of dead records back: copies what lives out of the deadest segments, then removes them.
//!
//! Promise: a live record is verified and copied durably before its old file goes; one that does not verify keeps its
//! file; damage of which nobody knows what it was goes to the folder `quarantine`. A delete is kept as long as the record it names is
//! there. Every step can be the last one: nothing that is left makes a block come back or go.

use crate::group::Copied;
use crate::index::{Place, Region, Usage};
use crate::record::{At, Record, What};
use crate::segment::{Found, SEGMENT_HEADER, Scan};
use crate::store::Store;
use crate::writer::Order;
use cas_core::id::BlockId;
use cas_net::{Result, ServiceError};
use std::collections::BTreeMap;

/// Copied in one group, about, in bytes.
const COPY_BYTES: usize = 4 << 20;
/// Damaged bytes copied at once.
const QUARANTINE_STEP: usize = 4096;
/// Notes repeated in one group.
const COPY_NOTES: usize = 16_384;

/// Rewrites the deadest segments until dead bytes are at most `dead_share` of the live ones. Answers the bytes freed.
pub fn compact(store: &Store, dead_share: f64) -> Result<u64> {
    let _alone = store.compacting.lock().expect("no thread panics with this lock");
    let victims = choose(&store.shared.read().places.usage, dead_share);
    if victims.is_empty() {
        return Ok(0);
    }
    let start = store.ask(|answer| Order::StartCompaction { emptying: victims.clone(), answer })?;
    let mut freed = 0;
    for number in victims.into_iter().filter(|n| *n < start.active) {
        freed += compact_one(store, number, start.saved)?;
    }
    Ok(freed)
}

/// The segments to rewrite, in the order in which to do it: what costs no copies first, what may only hold deletes last.
fn choose(usage: &BTreeMap<u32, Usage>, dead_share: f64) -> Vec<u32> {
    let dead = |u: &Usage| u.total.saturating_sub(u.live + SEGMENT_HEADER);
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
fn compact_one(store: &Store, number: u32, saved: Option<At>) -> Result<u64> {
    let before = store.shared.read().places.usage.get(&number).copied().unwrap_or_default();
    let moved = if before.live == 0 && before.notes == 0 { Vec::new() } else { copy_out(store, number, saved)? };
    let live = store.shared.read().places.usage.get(&number).map_or(0, |u| u.live);
    if live > 0 {
        tracing::warn!("{} holds damaged records and is kept", store.shared.files.path(number).display());
        let dead = moved.into_iter().map(|(id, at)| (Record::delete(id, cas_core::id::Epoch::ZERO, at), at)).collect();
        store.ask(|answer| Order::Move { copies: Vec::new(), notes: dead, answer })?;
        return Ok(0);
    }
    quarantine(store, number)?;
    remove(store, number)?;
    let copied: u64 = moved.len() as u64 * crate::HEADER_LEN as u64 + before.live;
    Ok(before.total.saturating_sub(copied.min(before.total)))
}

/// Copies what lives in a segment, and notes that are still needed, to the end of the log. Answers what was copied.
fn copy_out(store: &Store, number: u32, saved: Option<At>) -> Result<Vec<(BlockId, At)>> {
    let path = store.shared.files.path(number);
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = store.shared.files.file(number).map_err(failed)?;
    let mut scan = Scan::new(&*file, false, 0).map_err(failed)?;
    let mut moved = Vec::new();
    let mut batch = Batch::default();
    while let Some(found) = scan.step().map_err(failed)? {
        let Found::Record(offset, record) = found else { continue };
        let at = At { segment: number, offset: offset as u32 };
        match record.what {
            What::Block => {
                let place = store.shared.read().places.get(&record.id)?.filter(|place| place.at == at);
                let Some(place) = place else { continue };
                let Some(copied) = read(store, &record.id, &place) else { continue };
                moved.push((record.id, at));
                batch.bytes += copied.body.len();
                batch.copies.push(copied);
            }
            What::Delete if !is_needed(store, &record, at, saved) => {}
            What::Delete | What::Touch | What::Floor => batch.notes.push((record, at)),
            What::End => {}
        }
        if batch.bytes >= COPY_BYTES || batch.notes.len() >= COPY_NOTES {
            std::mem::take(&mut batch).append(store)?;
        }
    }
    batch.append(store)?;
    Ok(moved)
}

/// A record to copy; nothing if its bytes are wrong, which is noted.
fn read(store: &Store, id: &BlockId, place: &Place) -> Option<Copied> {
    match store.shared.files.read(id, place) {
        Ok((record, body)) => Some(Copied { record, body, from: place.at }),
        Err(e) => {
            store.shared.write().mark_damaged(*id, place.at, e.to_string());
            None
        }
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
    fn append(self, store: &Store) -> Result<()> {
        if self.copies.is_empty() && self.notes.is_empty() {
            return Ok(());
        }
        store.ask(|answer| Order::Move { copies: self.copies, notes: self.notes, answer })
    }
}

/// Keeps bytes of which nobody knows what they were.
fn quarantine(store: &Store, number: u32) -> Result<()> {
    let mut regions = store.shared.read().places.regions.clone();
    regions.retain(|region| region.segment == number && region.from > 0);
    let (files, mut kept) = (&store.shared.files, false);
    let folder = files.folder().with_file_name("quarantine");
    for Region { from, to, .. } in regions {
        let path = folder.join(format!("{number:010}-{from:010}"));
        let keep = || {
            let source = files.file(number)?;
            let end = to.min(source.byte_len()?);
            files.disk().create_dir(&folder)?;
            let file = files.disk().create(&path)?;
            let mut buffer = vec![0; QUARANTINE_STEP];
            for at in (from..end).step_by(QUARANTINE_STEP) {
                let part = &mut buffer[..(end - at).min(QUARANTINE_STEP as u64) as usize];
                // What cannot be read is kept as zeros.
                if source.read_at(at, part).is_err() {
                    part.fill(0);
                }
                file.write_at(at - from, &[part])?;
            }
            file.sync_data()
        };
        keep().map_err(|e| ServiceError::io(format!("write {}", path.display()), e))?;
        kept = true;
    }
    let synced = if kept { files.disk().sync_dir(&folder) } else { Ok(()) };
    synced.map_err(|e| ServiceError::io(format!("sync {}", folder.display()), e))
}

fn remove(store: &Store, number: u32) -> Result<()> {
    let files = &store.shared.files;
    let path = files.path(number);
    files.disk().remove(&path).map_err(|e| ServiceError::io(format!("remove {}", path.display()), e))?;
    files.close(number);
    // Deletes of records in it may be dropped from now on, so it must not come back.
    let synced = files.disk().sync_dir(files.folder());
    synced.map_err(|e| store.shared.stop(format!("syncing {} failed: {e}", files.folder().display())))?;
    let mut state = store.shared.write();
    state.places.usage.remove(&number);
    state.places.regions.retain(|region| region.segment != number);
    Ok(())
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
