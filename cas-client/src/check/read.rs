//! Reads stored bytes on every core, in the order in which they lie on the disk.
//!
//! What a snapshot reaches is opened with its key, down to the plaintext; the rest is compared with its sum.

use super::walk::Reached;
use super::{CheckProgress, in_one_line};
use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::frame::Opener;
use cas_core::id::BlockId;
use cas_core::kdf;
use cas_net::ServiceError;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Blocks that a thread takes at once.
const TAKE: usize = 64;
/// Rows listed at once.
const STEP: usize = 16_384;

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Everything.
    All,
    /// About this share of all blocks, from 0 to 1, another one for each seed.
    Share(f64, u64),
}

impl Sample {
    fn takes(&self, id: &BlockId) -> bool {
        match self {
            Self::All => true,
            Self::Share(share, seed) => {
                let hash = kdf::derive("check sample", &[&seed.to_le_bytes()[..], id.as_bytes()].concat());
                let number = u64::from_le_bytes(hash[..8].try_into().expect("8 of 32"));
                (number as f64) < share * u64::MAX as f64
            }
        }
    }
}

/// What was read.
pub(super) struct Read {
    pub blocks: u64,
    pub bytes: u64,
    pub damaged: Vec<(BlockId, String)>,
}

pub(super) fn read(
    store: &Store,
    vault: &Vault,
    reached: &Reached,
    sample: &Sample,
    jobs: usize,
    progress: &CheckProgress,
    stop: &AtomicBool,
) -> Result<Read> {
    let ids = in_disk_order(store, sample)?;
    progress.total_blocks.store(ids.len() as u64, Relaxed);
    let threads = if jobs == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { jobs };
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let damaged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut opener = Opener::new();
                while !stop.load(Relaxed) {
                    let from = next.fetch_add(TAKE, Relaxed);
                    let Some(some) = ids.get(from..ids.len().min(from + TAKE)).filter(|some| !some.is_empty()) else {
                        break;
                    };
                    for id in some {
                        match verify(store, vault, reached, &mut opener, id) {
                            Ok(len) => {
                                bytes.fetch_add(len, Relaxed);
                                progress.bytes.fetch_add(len, Relaxed);
                            }
                            Err(why) => damaged.lock().expect("no thread panics with this lock").push((*id, why)),
                        }
                        progress.blocks.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    if stop.load(Relaxed) {
        return Err(ClientError::Interrupted);
    }
    let damaged = damaged.into_inner().expect("no thread panics with this lock");
    Ok(Read { blocks: ids.len() as u64, bytes: bytes.into_inner(), damaged })
}

/// Reads one block and verifies it as far as there are keys. Answers how many bytes are stored.
fn verify(
    store: &Store,
    vault: &Vault,
    reached: &Reached,
    opener: &mut Opener,
    id: &BlockId,
) -> std::result::Result<u64, String> {
    let frame = store.node().get(id).map_err(|e| match e {
        ServiceError::Damaged { detail, .. } => detail,
        other => other.to_string(),
    })?;
    if let Some((kind, key)) = reached.blocks.get(id) {
        let (header, _) = opener.open(vault.keys(), id, key, &frame).map_err(|e| in_one_line(&e))?;
        if header.kind != *kind {
            return Err(format!("it is a {}, not a {}", header.kind.name(), kind.name()));
        }
    }
    Ok(frame.len() as u64)
}

fn in_disk_order(store: &Store, sample: &Sample) -> Result<Vec<BlockId>> {
    let mut placed = Vec::new();
    let mut after = None;
    loop {
        let rows = store.index().list_rows(after, STEP)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        let ids: Vec<BlockId> = rows.iter().map(|row| row.id).filter(|id| sample.takes(id)).collect();
        let places = store.node().locality(&ids)?;
        placed.extend(places.into_iter().zip(ids).filter_map(|(place, id)| Some((place?, id))));
    }
    placed.sort_unstable();
    Ok(placed.into_iter().map(|(_, id)| id).collect())
}
