//! Reads stored bytes on every core, in the order in which they lie on the disk.
//!
//! What a snapshot reaches is opened with its key, down to the plaintext; the rest is compared with its sum and its name.

use super::fault::Fault;
use super::part::{Part, Sample};
use super::reached::{Needed, Reached};
use super::{CheckProgress, in_one_line};
use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::frame::{Header, Opener};
use cas_core::id::BlockId;
use cas_net::{RowState, ServiceError, StoredRow};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Blocks that a thread takes at once.
const TAKE: usize = 64;
/// Rows listed at once.
const STEP: usize = 16_384;

/// Reads blocks.
pub(super) struct Reading<'a> {
    pub store: &'a Store,
    pub vault: Option<&'a Vault>,
    /// Which blocks.
    pub part: Part,
    /// Threads; 0 for one per core.
    pub jobs: usize,
    pub progress: &'a CheckProgress,
    pub stop: &'a AtomicBool,
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub blocks: u64,
    pub bytes: u64,
    pub damaged: Vec<(BlockId, String)>,
    /// Blocks that nobody gave now, and why: that says nothing about them.
    pub unread: Vec<(BlockId, String)>,
}

/// Which blocks a sample means. `position`: where the last one ended.
pub(super) fn part_of(store: &Store, sample: &Sample, position: u64, stop: &AtomicBool) -> Result<Part> {
    let bytes = match *sample {
        Sample::All => return Ok(Part::WHOLE),
        Sample::Share(share) => return Ok(Part::share(position, share)),
        Sample::Nth(n, of) => return Ok(Part::nth(n - 1, of)),
        Sample::Bytes(bytes) => bytes,
    };
    let mut left = bytes;
    let mut end = None;
    each_row(store, Part::share(position, 1.0), stop, |id, len| {
        if left > 0 {
            end = Some(id);
        }
        left = left.saturating_sub(len);
        left > 0
    })?;
    let whole = if left > 0 { Some(Part::WHOLE) } else { None };
    Ok(whole.or_else(|| end.map(|last| Part::up_to(position, &last))).unwrap_or(Part::WHOLE))
}

impl Reading<'_> {
    /// How many blocks and stored bytes there are to read.
    pub fn announce(&self) -> Result<()> {
        let (mut blocks, mut bytes) = (0, 0);
        each_row(self.store, self.part, self.stop, |_, len| {
            (blocks, bytes) = (blocks + 1, bytes + len);
            true
        })?;
        self.progress.total_blocks.store(blocks, Relaxed);
        self.progress.total_bytes.store(bytes, Relaxed);
        Ok(())
    }

    /// Reads what is in the part of `reached`, too.
    pub fn read(&self, reached: &Reached) -> Result<Read> {
        let ids = self.in_disk_order(reached.part())?;
        let threads = match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (damaged, unread) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let note = |list: &Mutex<Vec<_>>, id: &BlockId, why| {
            list.lock().expect("no thread panics with this lock").push((*id, why));
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut opener = Opener::new();
                    while !self.stop.load(Relaxed) {
                        let from = next.fetch_add(TAKE, Relaxed);
                        let Some(some) = ids.get(from..ids.len().min(from + TAKE)).filter(|some| !some.is_empty())
                        else {
                            break;
                        };
                        for id in some {
                            match self.verify(reached.get(id), &mut opener, id) {
                                Ok(len) => {
                                    bytes.fetch_add(len, Relaxed);
                                    self.progress.bytes.fetch_add(len, Relaxed);
                                }
                                Err(Fault::Damage(why)) => note(&damaged, id, why),
                                Err(Fault::Unread(why)) => note(&unread, id, why),
                            }
                            self.progress.blocks.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        if self.stop.load(Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let damaged = damaged.into_inner().expect("no thread panics with this lock");
        let damaged = self.still_there(reached, damaged)?;
        let unread = unread.into_inner().expect("no thread panics with this lock");
        Ok(Read { blocks: (ids.len() - unread.len()) as u64, bytes: bytes.into_inner(), damaged, unread })
    }

    /// Without what nothing reached and the collector has taken since it was listed.
    fn still_there(&self, reached: &Reached, found: Vec<(BlockId, String)>) -> Result<Vec<(BlockId, String)>> {
        let (mut needed, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(id, _)| reached.get(id).is_some());
        for some in others.chunks(STEP) {
            let ids: Vec<BlockId> = some.iter().map(|(id, _)| *id).collect();
            let rows = self.store.index().rows(&ids)?;
            let there = some.iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(is_kept));
            needed.extend(there.map(|(fault, _)| fault.clone()));
        }
        Ok(needed)
    }

    /// Reads one block and verifies it as far as there are keys. Answers how many bytes are stored.
    fn verify(&self, needed: Option<Needed>, opener: &mut Opener, id: &BlockId) -> std::result::Result<u64, Fault> {
        let frame = self.store.nodes().get(id).map_err(|e| match e {
            ServiceError::Damaged { detail, .. } => Fault::Damage(detail),
            other => Fault::of(other.into()),
        })?;
        self.verify_frame(needed, opener, id, &frame).map_err(Fault::Damage)?;
        Ok(frame.len() as u64)
    }

    fn verify_frame(
        &self,
        needed: Option<Needed>,
        opener: &mut Opener,
        id: &BlockId,
        frame: &[u8],
    ) -> std::result::Result<(), String> {
        let Some(Needed { kind, key }) = needed else { return Ok(()) };
        let header = match key.zip(self.vault) {
            Some((key, vault)) => opener.open(vault.keys(), id, &key, frame).map_err(|e| in_one_line(&e))?.0,
            None => Header::parse(frame).map_err(|e| in_one_line(&e))?.0,
        };
        if header.id() != *id {
            return Err("its header is that of another block".to_owned());
        }
        if header.kind != kind {
            return Err(format!("it is a {}, not a {}", header.kind.name(), kind.name()));
        }
        Ok(())
    }

    /// What has no place on a disk of ours is not there, and was said before. Where blocks of a cluster lie, their nodes know:
    /// there all of them are read, in the order of their ids.
    fn in_disk_order(&self, within: Part) -> Result<Vec<BlockId>> {
        let is_cluster = self.store.cluster().is_some();
        let mut placed = Vec::new();
        let mut ids = Vec::with_capacity(STEP);
        let mut place = |ids: &mut Vec<BlockId>| -> Result<()> {
            let places = self.store.nodes().locality(ids)?;
            let there = places.into_iter().zip(ids.drain(..)).filter(|(place, _)| is_cluster || place.is_some());
            placed.extend(there);
            Ok(())
        };
        let mut placing = Ok(());
        each_row(self.store, self.part, self.stop, |id, _| {
            if within.holds(&id) {
                ids.push(id);
            }
            if ids.len() == STEP {
                placing = place(&mut ids);
            }
            placing.is_ok()
        })?;
        placing?;
        place(&mut ids)?;
        placed.sort_unstable();
        Ok(placed.into_iter().map(|(_, id)| id).collect())
    }
}

/// Whether nodes have to have it: what is condemned they are deleting.
fn is_kept(row: &StoredRow) -> bool {
    !matches!(row.state, RowState::Condemned(_))
}

/// Calls `each` with the id and stored length of every row of a part that nodes have to have, until it answers false.
fn each_row(store: &Store, part: Part, stop: &AtomicBool, mut each: impl FnMut(BlockId, u64) -> bool) -> Result<()> {
    for piece in part.pieces() {
        let mut after = piece.after();
        'piece: loop {
            if stop.load(Relaxed) {
                return Err(ClientError::Interrupted);
            }
            let rows = store.index().list_rows(after, STEP)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            for row in &rows {
                if !piece.holds(&row.id) {
                    break 'piece;
                }
                if is_kept(row) && !each(row.id, row.len.into()) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
