//! Opening: reads what the cache does not know from the segments, tells a torn tail from damage. FORMAT §8.
//!
//! Promise: what was acknowledged is applied, or named as damaged; only a torn tail is cut off. What a process left unsynced
//! when it died is synced and read from the medium before it is believed.

use crate::disk::DiskFile;
use crate::files::Files;
use crate::index::{Place, Position, Region};
use crate::record::{At, HEADER_LEN, Record, What};
use crate::segment::{self, Beginning, Found, SEGMENT_HEADER, Scan};
use crate::state::State;
use cas_core::id::BlockId;
use cas_net::{Result, ServiceError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Places looked through at once when some of them are lost.
const STEP: usize = 16_384;

/// What was read.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Where the next record goes; `None` if a new segment must be begun first.
    pub position: Option<Position>,
    /// The highest number of a segment that there ever was, as far as is known.
    pub highest: Option<u32>,
    /// The first record that the cache on the disk does not know; nothing if there is no cache.
    pub saved: Option<At>,
    /// Records that were read.
    pub records: u64,
    /// Block records that are dead though no delete says so.
    pub dead: Vec<(BlockId, At)>,
}

/// Reads the segments from `known` on into `state`. Cuts a torn tail off, unless `read_only`.
pub fn replay(files: &Files, known: Option<Position>, state: &mut State, read_only: bool) -> Result<Replayed> {
    let folder = files.folder();
    let listed = files.disk().list(folder).map_err(|e| ServiceError::io(format!("list {}", folder.display()), e))?;
    let numbers = segment::numbers(&listed);
    let from = known.unwrap_or_default();
    if let Some(foreign) = numbers.iter().find(|n| **n < from.segment && !state.places.usage.contains_key(n)) {
        let detail = format!("it does not know segment {foreign}");
        return Err(ServiceError::Damaged { what: "the node's index".to_owned(), detail });
    }
    let mut reading =
        Reading { files, state, known: from, read_only, superseded: BTreeMap::new(), out: Replayed::default() };
    let newest = numbers.last().copied();
    for number in numbers.iter().copied().filter(|n| *n >= from.segment) {
        reading.segment(number, newest == Some(number))?;
    }
    reading.note_losses(&numbers.iter().copied().collect(), known)?;
    let Reading { superseded, mut out, .. } = reading;
    out.saved = known.map(|position| position.at());
    out.highest = newest.max(known.map(|position| position.segment));
    let there = |at: &At| numbers.binary_search(&at.segment).is_ok();
    out.dead.extend(superseded.into_iter().filter(|(at, _)| there(at)).map(|(at, id)| (id, at)));
    Ok(out)
}

struct Reading<'a> {
    files: &'a Files,
    state: &'a mut State,
    known: Position,
    read_only: bool,
    /// Block records behind which another one of the same block stands, until a delete names them.
    superseded: BTreeMap<At, BlockId>,
    out: Replayed,
}

impl Reading<'_> {
    fn segment(&mut self, number: u32, newest: bool) -> Result<()> {
        let path = self.files.path(number);
        let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
        let writing = newest && !self.read_only;
        let opened = if writing { self.files.disk().open(&path) } else { self.files.disk().open_read(&path) };
        let file = opened.map_err(failed)?;
        let beginning = segment::begin(&*file, &path, Some(number))?;
        let at_known = number == self.known.segment;
        let from = if at_known { self.known.offset } else { 0 };
        let mut len = file.byte_len().map_err(failed)?;
        if writing && beginning != Beginning::Good {
            // Its bytes follow from its number.
            let wrote = file.write_at(0, &[&segment::header(number)]).and_then(|()| self.sync(&*file, 0));
            wrote.map_err(failed)?;
            len = len.max(SEGMENT_HEADER);
        } else if beginning == Beginning::Damaged || (beginning == Beginning::Short && !newest) {
            self.state.mark_region(Region { segment: number, from: 0, to: SEGMENT_HEADER });
        }
        if writing && !ends_with_end(&*file, len) {
            self.sync(&*file, from).map_err(failed)?;
        }
        let mut scan = Scan::new(&*file, newest, from).map_err(failed)?;
        let mut group: Vec<(u64, Record)> = Vec::new();
        let mut end = from.max(SEGMENT_HEADER);
        while let Some(found) = scan.step().map_err(failed)? {
            match found {
                Found::Record(at, record) => {
                    if group.last().is_some_and(|(_, before)| before.group != record.group) {
                        self.apply_all(number, &mut group)?;
                    }
                    group.push((at, record));
                }
                Found::Damage { from, to } => self.state.mark_region(Region { segment: number, from, to }),
                Found::End(at) => end = at.max(end),
            }
        }
        let last = group.last().map(|(_, record)| *record);
        let ended = last.map_or(at_known && self.known.ended, |last| last.what == What::End);
        if newest && !ended {
            end = end.min(self.judge(&file, number, &mut group).map_err(failed)?);
        }
        self.apply_all(number, &mut group)?;
        self.state.places.usage.entry(number).or_default().total = end.min(len);
        if newest {
            let before = if at_known { self.known.group } else { 0 };
            let next = last.map_or(before, |last| last.group + 1);
            // Nothing is appended behind bytes that were lost: their places must stay what they are.
            let whole = len >= from;
            self.out.position = whole.then_some(Position { segment: number, offset: end, group: next, ended });
            if writing && whole && len != end {
                let cut = file.set_len(end).and_then(|()| self.sync(&*file, end));
                cut.map_err(|e| ServiceError::io(format!("cut the torn tail of {}", path.display()), e))?;
            }
        }
        Ok(())
    }

    /// Makes sure that what is read is on the medium.
    fn sync(&self, file: &dyn DiskFile, from: u64) -> std::io::Result<()> {
        file.sync_data()?;
        self.files.disk().sync_dir(self.files.folder())?;
        file.drop_cached(from);
        Ok(())
    }

    /// Judges the last group of a log without an end: what of it was not written whole. Answers where the log ends.
    fn judge(&mut self, file: &Arc<dyn DiskFile>, number: u32, group: &mut Vec<(u64, Record)>) -> std::io::Result<u64> {
        let mut end = u64::MAX;
        while let Some((at, record)) = group.last() {
            if segment::body_is_good(&**file, *at, record)? {
                break;
            }
            end = *at;
            group.pop();
        }
        let mut good = Vec::with_capacity(group.len());
        for (at, record) in group.drain(..) {
            if segment::body_is_good(&**file, at, &record)? {
                good.push((at, record));
            } else {
                let place = At { segment: number, offset: at as u32 };
                let why = format!(
                    "segment {}, byte {at}: its bytes are not those of its sum",
                    self.files.path(number).display()
                );
                self.state.mark_damaged(record.id, place, why);
                self.out.dead.push((record.id, place));
            }
        }
        *group = good;
        Ok(end)
    }

    fn apply_all(&mut self, number: u32, group: &mut Vec<(u64, Record)>) -> Result<()> {
        for (offset, record) in group.drain(..) {
            let at = At { segment: number, offset: offset as u32 };
            if let Some(target) = record.target() {
                self.superseded.remove(&target);
            }
            if let Some(dead) = self.state.apply(at, &record)? {
                self.superseded.insert(dead, record.id);
            }
            self.out.records += 1;
        }
        Ok(())
    }

    /// Takes places out that lie in files which are not there any more, or not as far, and names their blocks.
    fn note_losses(&mut self, numbers: &BTreeSet<u32>, known: Option<Position>) -> Result<()> {
        let usage = &mut self.state.places.usage;
        let gone: BTreeSet<u32> = usage.keys().filter(|n| !numbers.contains(n)).copied().collect();
        let lost: BTreeSet<u32> = gone.iter().filter(|n| usage[n].live > 0).copied().collect();
        let short = known.and_then(|known| {
            let total = usage.get(&known.segment).filter(|_| numbers.contains(&known.segment))?.total;
            (total < known.offset).then_some((known.segment, total))
        });
        if let Some((segment, from)) = short {
            let to = self.known.offset;
            self.state.mark_region(Region { segment, from, to });
        }
        let is_lost = |place: &Place| {
            let end = u64::from(place.at.offset) + place.record_len();
            lost.contains(&place.at.segment) || short.is_some_and(|(n, len)| n == place.at.segment && end > len)
        };
        let mut after = None;
        while !lost.is_empty() || short.is_some() {
            let step = self.state.places.list(after, STEP)?;
            let Some((last, _)) = step.last() else { break };
            after = Some(*last);
            for (id, place) in step.into_iter().filter(|(_, place)| is_lost(place)) {
                let path = self.files.path(place.at.segment);
                let why =
                    format!("segment {}, byte {}: the file is not there, or shorter", path.display(), place.at.offset);
                self.state.places.set(id, None)?;
                self.state.mark_damaged(id, place.at, why);
                self.out.records += 1;
            }
        }
        let places = &mut self.state.places;
        places.usage.retain(|number, _| !gone.contains(number));
        places.regions.retain(|region| numbers.contains(&region.segment));
        Ok(())
    }
}

/// Whether the last bytes of a segment are an end mark.
fn ends_with_end(file: &dyn DiskFile, len: u64) -> bool {
    let mut bytes = [0; HEADER_LEN];
    let Some(offset) = len.checked_sub(HEADER_LEN as u64) else { return false };
    file.read_at(offset, &mut bytes).is_ok() && Record::parse(&bytes).is_some_and(|r| r.what == What::End)
}
