//! Gives the space of dead records back: copies what lives out of the deadest segments, then removes them.
//!
//! Promise: a live record is copied durably before its old file goes; one that does not verify keeps its whole segment, so
//! that nothing is lost that could still be looked at. Every step can be the last one.

use crate::places::{Place, Usage};
use crate::record::{Record, What};
use crate::segment::{self, Found};
use crate::store::Store;
use crate::writer::{Append, Order};
use cas_net::{Result, ServiceError};
use std::sync::mpsc::sync_channel;

/// Copied in one group, about, in bytes.
const COPY_BYTES: usize = 4 << 20;

/// Rewrites the deadest segments until dead bytes are at most `dead_share` of the live ones. Answers the bytes freed.
pub fn compact(store: &Store, dead_share: f64) -> Result<u64> {
    let before = totals(store);
    let victims = choose(store, dead_share);
    if victims.is_empty() {
        return Ok(0);
    }
    let active = rotate(store)?;
    let mut removed = false;
    for number in victims.into_iter().filter(|n| *n < active) {
        if copy_out(store, number)? {
            remove(store, number)?;
            removed = true;
        }
    }
    if removed {
        sync_folder(store)?;
    }
    Ok(before.total.saturating_sub(totals(store).total))
}

fn totals(store: &Store) -> Usage {
    let state = store.state.read().expect("no thread panics with this lock");
    state
        .places
        .usage
        .values()
        .fold(Usage::default(), |sum, u| Usage { live: sum.live + u.live, total: sum.total + u.total })
}

/// The segments with the most dead bytes for what lives in them, until few enough dead bytes are left.
fn choose(store: &Store, dead_share: f64) -> Vec<u32> {
    let state = store.state.read().expect("no thread panics with this lock");
    let mut segments: Vec<(u32, Usage)> = state.places.usage.iter().map(|(n, u)| (*n, *u)).collect();
    let dead = |u: &Usage| u.total.saturating_sub(u.live + segment::SEGMENT_HEADER);
    let live: u64 = segments.iter().map(|(_, u)| u.live).sum();
    let mut left: u64 = segments.iter().map(|(_, u)| dead(u)).sum();
    segments.sort_by(|(_, a), (_, b)| (dead(b) * a.total.max(1)).cmp(&(dead(a) * b.total.max(1))));
    let mut chosen = Vec::new();
    for (number, usage) in segments {
        if left as f64 <= dead_share * live as f64 || dead(&usage) == 0 {
            break;
        }
        left -= dead(&usage);
        chosen.push(number);
    }
    chosen
}

fn rotate(store: &Store) -> Result<u32> {
    let (sender, receiver) = sync_channel(1);
    store.order(Order::Rotate(sender))?;
    receiver.recv().unwrap_or_else(|_| Err(ServiceError::Stopped("the writer ended".into())))
}

/// Copies what lives in a segment to the end of the log. Answers whether nothing is left in it.
fn copy_out(store: &Store, number: u32) -> Result<bool> {
    let path = segment::path(store.segments(), number);
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = store.file(number).map_err(failed)?;
    let mut records: Vec<(u64, Record)> = Vec::new();
    let mut whole = true;
    segment::scan(&file, 0, false, |found| match found {
        Found::Record(at, record) => records.push((at, record)),
        Found::Damage { .. } => whole = false,
        Found::End(_) => {}
    })
    .map_err(failed)?;
    let oldest = segment::list(store.segments()).map_err(failed)?.first() == Some(&number);
    let mut appends = Vec::new();
    let mut bytes = 0;
    for (at, record) in records {
        let place = store.place(&record.id)?;
        let append = match record.what {
            What::Block => match place.filter(|p| (p.segment, u64::from(p.offset)) == (number, at)) {
                None => continue,
                Some(place) => match store.read(&record.id, &place) {
                    Ok((record, body)) => Append::Copy { record, body, from: place },
                    Err(_) => {
                        whole = false;
                        continue;
                    }
                },
            },
            // They speak of records in older segments; without such, of nothing.
            What::Delete if place.is_none() && !oldest => Append::Note(What::Delete, record.id, record.epoch),
            What::Touch if elsewhere(place, number) => Append::Note(What::Touch, record.id, record.epoch),
            What::Floor => Append::Note(What::Floor, record.id, record.epoch),
            What::Delete | What::Touch | What::End => continue,
        };
        bytes += append.len();
        appends.push(append);
        if bytes >= COPY_BYTES {
            store.append_and_wait(std::mem::take(&mut appends))?;
            bytes = 0;
        }
    }
    if !appends.is_empty() {
        store.append_and_wait(appends)?;
    }
    Ok(whole)
}

fn elsewhere(place: Option<Place>, number: u32) -> bool {
    place.is_some_and(|p| p.segment < number)
}

fn remove(store: &Store, number: u32) -> Result<()> {
    store.forget_file(number);
    let path = segment::path(store.segments(), number);
    std::fs::remove_file(&path).map_err(|e| ServiceError::io(format!("remove {}", path.display()), e))?;
    store.state.write().expect("no thread panics with this lock").places.usage.remove(&number);
    Ok(())
}

fn sync_folder(store: &Store) -> Result<()> {
    let folder = store.segments();
    let synced = std::fs::File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| ServiceError::io(format!("sync {}", folder.display()), e))
}
