//! Opening: reads what the cache does not know from the segments, tells a torn tail from damage.

use crate::places::{Place, Position};
use crate::record::{Record, What};
use crate::segment::{self, Found};
use crate::store::{Region, State};
use crate::writer::Change;
use cas_net::{Result, ServiceError};
use std::fs::{File, OpenOptions};
use std::path::Path;

/// The last segment, ready to be appended to.
pub struct Tail {
    pub segment: u32,
    pub len: u64,
    pub group: u32,
    /// Records that were read again.
    pub replayed: u64,
    /// Whether the segment ends without an end mark.
    pub open_end: bool,
}

/// Reads all segments from `position` on into `state`. Cuts a torn tail off unless `read_only`.
pub fn replay(folder: &Path, position: Position, state: &mut State, read_only: bool) -> Result<Option<Tail>> {
    let numbers = segment::list(folder).map_err(|e| ServiceError::io(format!("list {}", folder.display()), e))?;
    let Some(last) = numbers.last().copied() else { return Ok(None) };
    let mut tail = Tail { segment: last, len: 0, group: 0, replayed: 0, open_end: false };
    for number in numbers {
        if number < position.segment {
            continue;
        }
        let from = if number == position.segment { position.offset } else { 0 };
        replay_segment(folder, number, from, number == last, state, &mut tail)?;
    }
    if !read_only {
        cut_tail(folder, &mut tail)?;
    }
    Ok(Some(tail))
}

fn replay_segment(folder: &Path, number: u32, from: u64, last: bool, state: &mut State, tail: &mut Tail) -> Result<()> {
    let path = segment::path(folder, number);
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = File::open(&path).map_err(failed)?;
    if let Some(found) = segment::version_of(&file).map_err(failed)?.filter(|v| *v != 1) {
        return Err(ServiceError::Version { what: path.display().to_string(), found: found.into(), known: 1 });
    }
    let limit = if last { good_end(&file, from).map_err(failed)? } else { u64::MAX };
    let mut applied = Ok(());
    let mut end = 0;
    segment::scan(&file, from, last, |found| match found {
        Found::Record(at, record) if at < limit => {
            end = at + record.total_len();
            if last {
                tail.group = record.group + 1;
                tail.open_end = record.what != What::End;
            }
            tail.replayed += 1;
            let place = Place {
                segment: number,
                offset: at as u32,
                len: record.len,
                put_epoch: record.epoch,
                kind: record.kind.unwrap_or(cas_core::id::Kind::Data),
            };
            let change = Change::of(&record, place);
            if applied.is_ok() {
                applied = state.apply(record.id, change);
            }
        }
        Found::Damage { from, to } => state.damaged.push(Region { segment: number, from, to }),
        Found::Record(..) => {}
        Found::End(at) => end = end.max(at.min(limit)),
    })
    .map_err(failed)?;
    applied?;
    if last {
        tail.len = end.max(from);
    }
    state.places.usage.entry(number).or_default().total = end;
    Ok(())
}

/// Where the newest segment really ends. A body at the end of the last group that was not written whole was never
/// acknowledged; a bad body with something good behind it is damage, and stays to be found by its sum.
fn good_end(file: &File, from: u64) -> std::io::Result<u64> {
    let mut group: Vec<(u64, Record)> = Vec::new();
    segment::scan(file, from, true, |found| {
        if let Found::Record(at, record) = found {
            if group.last().is_some_and(|(_, before)| before.group != record.group) {
                group.clear();
            }
            group.push((at, record));
        }
    })?;
    let mut end = u64::MAX;
    for (at, record) in group.iter().rev() {
        if segment::body_is_good(file, *at, record)? {
            break;
        }
        end = *at;
    }
    Ok(end)
}

fn cut_tail(folder: &Path, tail: &mut Tail) -> Result<()> {
    let path = segment::path(folder, tail.segment);
    let failed = |e| ServiceError::io(format!("cut the torn tail of {}", path.display()), e);
    let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
    if tail.len < segment::SEGMENT_HEADER {
        use std::os::unix::fs::FileExt;
        file.write_all_at(&segment::header(tail.segment), 0).map_err(failed)?;
        tail.len = segment::SEGMENT_HEADER;
    }
    if file.metadata().map_err(failed)?.len() != tail.len {
        file.set_len(tail.len).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
    Ok(())
}
