//! Opening: reads what the cache does not know from the segments, tells a torn tail from damage. FORMAT §8.
//!
//! Promise: what was acknowledged is applied, or named as damaged; only a torn tail is cut off. A block record takes the place of an older
//! one only if its body is whole: half a copy, left by a crash, never hides what it was copied from. What a process left unsynced
//! when it died is synced and read from the medium before it is believed.

use crate::disk::{self, DiskFile};
use crate::files::Files;
use crate::index::{Place, Position, Region};
use crate::record::{At, HEADER_LEN, Record, Salt, What};
use crate::scan::{self, Found, Scan};
use crate::segment::{self, Beginning, SEGMENT_HEADER};
use crate::state::State;
use cas_core::id::{BlockId, Epoch};
use cas_net::{Result, ServiceError};
use std::collections::{BTreeMap, BTreeSet};

/// Records kept in memory until it is known whether they are the last ones.
const MAX_PENDING: usize = 100_000;
/// Places looked through at once when some of them are lost.
const STEP: usize = 16_384;

/// What was read.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Where the next record goes, and the salt of that segment; `None` if a new segment must be begun first.
    pub position: Option<(Position, Salt)>,
    /// The highest number of a segment that there ever was, as far as is known.
    pub highest: Option<u32>,
    /// Whether there are fewer segments than were begun.
    pub has_gaps: bool,
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
    let mut reading = Reading {
        files,
        state,
        known: from,
        read_only,
        superseded: BTreeMap::new(),
        doubtful: BTreeMap::new(),
        out: Replayed::default(),
    };
    let newest = numbers.last().copied();
    let numbers_read = numbers.iter().copied().filter(|n| *n >= from.segment);
    let last_written = last_written(files, numbers_read.clone())?;
    for number in numbers_read {
        reading.segment(number, newest == Some(number), last_written == Some(number))?;
    }
    reading.note_losses(&numbers.iter().copied().collect(), known)?;
    let Reading { superseded, doubtful, mut out, .. } = reading;
    out.has_gaps = newest.is_some_and(|newest| newest as usize + 1 != numbers.len());
    out.saved = known.map(|position| position.at());
    out.highest = newest.max(known.map(|position| position.segment));
    let there = |at: &At| numbers.binary_search(&at.segment).is_ok();
    out.dead.extend(superseded.into_iter().filter(|(at, _)| there(at)).map(|(at, id)| (id, at)));
    out.dead.extend(doubtful.into_iter().map(|(id, (at, _))| (id, at)));
    Ok(out)
}

/// The newest segment with anything in it: its last group is the last of the log.
fn last_written(files: &Files, numbers: impl DoubleEndedIterator<Item = u32>) -> Result<Option<u32>> {
    for number in numbers.rev() {
        let failed = |e| ServiceError::io(format!("read {}", files.path(number).display()), e);
        if files.file(number).and_then(|file| file.byte_len()).map_err(failed)? > SEGMENT_HEADER {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

struct Reading<'a> {
    files: &'a Files,
    state: &'a mut State,
    known: Position,
    read_only: bool,
    /// Block records behind which another one of the same block stands, until a delete names them.
    superseded: BTreeMap<At, BlockId>,
    /// Block records with a bad body, behind an older one of the same block, until a delete names one of the two.
    doubtful: BTreeMap<BlockId, (At, Record)>,
    out: Replayed,
}

impl Reading<'_> {
    /// Reads one segment. Only the newest can have a torn tail, and only if its header is good: that was synced before any
    /// record was written, so without it the medium lost something.
    fn segment(&mut self, number: u32, newest: bool, has_last_group: bool) -> Result<()> {
        let path = self.files.path(number);
        let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
        let writing = newest && !self.read_only;
        let opened = if writing { self.files.disk().open(&path) } else { self.files.disk().open_read(&path) };
        let file = opened.map_err(failed)?;
        let mut beginning = segment::begin(&*file, &path, Some(number))?;
        if writing && beginning == Beginning::Unmade {
            let salt = self.files.salt(number);
            let made = file.write_at(0, &[&segment::header(number, salt)]).and_then(|()| self.sync(&*file, 0));
            made.map_err(failed)?;
            beginning = Beginning::Good(salt);
        }
        let newest = newest && beginning != Beginning::Damaged;
        let writing = writing && newest;
        if !newest && !matches!(beginning, Beginning::Good(_)) {
            self.state.mark_region(Region { segment: number, from: 0, to: SEGMENT_HEADER });
        }
        let salt = beginning.salt(&*file, Some(self.files.salt(number))).map_err(failed)?;
        let at_known = number == self.known.segment;
        let from = if at_known { self.known.offset } else { 0 };
        let len = file.byte_len().map_err(failed)?;
        if writing && !ends_with_end(&*file, salt, len) {
            self.sync(&*file, from).map_err(failed)?;
        }
        let mut group: Vec<(u64, Record)> = Vec::new();
        let mut end =
            self.records(number, Scan::new(&*file, salt, newest, from).map_err(failed)?, &mut group)?.max(from);
        let (last, mut bad) = (group.last().map(|(_, record)| *record), Vec::new());
        let ended = last.map_or(at_known && self.known.ended, |last| last.what == What::End);
        if has_last_group && !ended {
            let (torn, others) = self.judge(&*file, number, newest, &mut group).map_err(failed)?;
            (end, bad) = (end.min(torn), others);
        }
        self.out.dead.extend(bad.iter().map(|(at, record)| (record.id, *at)));
        self.apply_all(number, &mut group)?;
        for (at, record) in bad {
            if self.state.places.get(&record.id)?.is_none() {
                self.name_damaged(&record, at);
            }
        }
        self.state.places.usage.entry(number).or_default().total = end.min(len);
        // Nothing is appended behind bytes that were lost: their places must stay what they are.
        if newest && len >= from {
            let before = if at_known { self.known.group } else { 0 };
            let next = last.map_or(before, |last| last.group + 1);
            self.out.position = Some((Position { segment: number, offset: end, group: next, ended }, salt));
            if writing && len != end {
                let cut = file.set_len(end).and_then(|()| self.sync(&*file, end));
                cut.map_err(|e| ServiceError::io(format!("cut the torn tail of {}", path.display()), e))?;
            }
        }
        Ok(())
    }

    /// Applies the records of a segment but for its last group with blocks and what follows it, which are left in `last`.
    /// Answers where they end.
    fn records(&mut self, number: u32, mut scan: Scan<'_>, last: &mut Vec<(u64, Record)>) -> Result<u64> {
        let failed = |e| ServiceError::io(format!("read {}", self.files.path(number).display()), e);
        let (mut end, mut blocks_of) = (SEGMENT_HEADER, None);
        while let Some(found) = scan.step().map_err(failed)? {
            match found {
                Found::Record(at, record) => {
                    let is_later = record.what == What::Block && blocks_of.replace(record.group) != Some(record.group);
                    if is_later || last.len() >= MAX_PENDING {
                        self.apply_all(number, last)?;
                    }
                    last.push((at, record));
                }
                Found::Damage { from, to } => self.state.mark_region(Region { segment: number, from, to }),
                Found::End(at) => end = at.max(end),
            }
        }
        Ok(end)
    }

    /// Makes sure that what is read is on the medium.
    fn sync(&self, file: &dyn DiskFile, from: u64) -> std::io::Result<()> {
        file.sync_data()?;
        self.files.disk().sync_dir(self.files.folder())?;
        file.drop_cached(from);
        Ok(())
    }

    /// Judges the last group with blocks of a log without an end, and what follows it: takes out what was not written whole.
    /// Answers where the log ends, if something was torn off, and what else is bad.
    fn judge(
        &self,
        file: &dyn DiskFile,
        number: u32,
        may_be_torn: bool,
        group: &mut Vec<(u64, Record)>,
    ) -> std::io::Result<(u64, Vec<(At, Record)>)> {
        let (mut end, mut bad) = (u64::MAX, Vec::new());
        while may_be_torn && let Some((at, record)) = group.last() {
            if scan::body_is_good(file, *at, record)? {
                break;
            }
            end = *at;
            group.pop();
        }
        let mut good = Vec::with_capacity(group.len());
        for (at, record) in group.drain(..) {
            if scan::body_is_good(file, at, &record)? {
                good.push((at, record));
            } else {
                bad.push((At { segment: number, offset: at as u32 }, record));
            }
        }
        *group = good;
        Ok((end, bad))
    }

    fn apply_all(&mut self, number: u32, group: &mut Vec<(u64, Record)>) -> Result<()> {
        for (offset, record) in group.drain(..) {
            self.apply(At { segment: number, offset: offset as u32 }, &record)?;
            self.out.records += 1;
        }
        Ok(())
    }

    fn apply(&mut self, at: At, record: &Record) -> Result<()> {
        let before = self.state.places.get(&record.id)?.map(|place| place.at);
        if record.what == What::Block {
            if before.is_some_and(|before| before != at) && !self.is_whole(at, record)? {
                self.doubtful.insert(record.id, (at, *record));
                return Ok(());
            }
            let doubtful = self.doubtful.remove(&record.id);
            self.superseded.extend(doubtful.map(|(at, record)| (at, record.id)));
        }
        if let Some(dead) = self.state.apply(at, record)? {
            self.superseded.insert(dead, record.id);
        }
        let Some(target) = record.target() else { return Ok(()) };
        self.superseded.remove(&target);
        self.out.dead.retain(|(_, dead)| *dead != target);
        match self.doubtful.get(&record.id).copied() {
            Some((doubtful, _)) if doubtful == target => drop(self.doubtful.remove(&record.id)),
            // The older one was dead because the newer one stood: that was whole then.
            Some((doubtful, lost)) if before == Some(target) && record.epoch == Epoch::ZERO => {
                self.doubtful.remove(&record.id);
                self.state.apply(doubtful, &lost)?;
                self.name_damaged(&lost, doubtful);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_whole(&self, at: At, record: &Record) -> Result<bool> {
        let good = self.files.file(at.segment).and_then(|file| scan::body_is_good(&*file, at.offset.into(), record));
        let good = if good.as_ref().is_err_and(disk::is_damage) { Ok(false) } else { good };
        good.map_err(|e| ServiceError::io(format!("read {}", self.files.path(at.segment).display()), e))
    }

    fn name_damaged(&mut self, record: &Record, at: At) {
        let path = self.files.path(at.segment);
        let why = format!("segment {}, byte {}: its bytes are not those of its sum", path.display(), at.offset);
        self.state.mark_damaged(record.id, at, why);
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
fn ends_with_end(file: &dyn DiskFile, salt: Salt, len: u64) -> bool {
    let mut bytes = [0; HEADER_LEN];
    let Some(offset) = len.checked_sub(HEADER_LEN as u64) else { return false };
    let is_end = |(its, record): (Salt, Record)| its == salt && record.what == What::End;
    file.read_at(offset, &mut bytes).is_ok() && Record::parse(&bytes).is_some_and(is_end)
}
