//! Opening: the tables of the last checkpoint, and the replay of what was logged since.

use super::cluster::Desk;
use super::writer::Writer;
use super::{Index, Shared};
use crate::command::Command;
use crate::log::{Log, find};
use crate::options::Options;
use crate::state::{self, Meta, Stamp};
use crate::tables::{Layered, TablesFile};
use cas_core::id::Epoch;
use cas_core::signing::SigningKey;
use cas_net::server::StateLock;
use cas_net::{Result, ServiceError};
use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, mpsc};

/// Commands that wait for the writer; more callers block.
const QUEUE: usize = 256;

pub(super) fn open(dir: &Path, options: Options) -> Result<Index> {
    if !options.read_only && !options.must_exist {
        std::fs::create_dir_all(dir).map_err(|e| ServiceError::io(format!("create {}", dir.display()), e))?;
    }
    let lock = if options.read_only { None } else { Some(lock(dir)?) };
    crate::rebuild::refuse_interrupted(dir)?;
    let file = TablesFile::open(dir, options.disk.clone(), options.cache_bytes, options.read_only)?;
    let (mut tables, at) = {
        let tables = Layered::over(file);
        let at = Meta::load(&tables)?.epoch;
        (tables, at)
    };
    let found = find(dir, &*options.disk, at)?;
    if options.must_exist && !tables.file().exists() && found.is_none() {
        return Err(ServiceError::NotFound { what: "index", name: dir.display().to_string() });
    }
    if found.torn > 0 {
        tracing::warn!(dir = %dir.display(), bytes = found.torn, "dropped a torn tail of the index log");
    }
    let last = replay(&mut tables, dir, &found.records)?.unwrap_or(at);
    refuse_lost_end(dir, last, options.reached)?;

    let key = SigningKey::from_seed(&options.key_seed);
    let log = if options.read_only { None } else { Some(Log::resume(dir, options.disk.clone(), &found, last)?) };
    drop(found);
    let durable = log.as_ref().map_or(Epoch::ZERO, Log::durable);
    let shared =
        Shared { tables: StateLock::new(tables), durable: AtomicU64::new(durable.0), stopped: OnceLock::new() };
    let shared = Arc::new(shared);
    let (mut jobs, mut writer) = (None, None);
    if let Some(log) = log {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let running = Writer::new(shared.clone(), log, options.clone())?;
        let owner = shared.clone();
        let thread = std::thread::Builder::new().name("cas-index".into()).spawn(move || {
            // A broken promise of the state machine must not leave callers waiting, nor anything be written after it.
            if catch_unwind(AssertUnwindSafe(|| running.run(&receiver))).is_err() {
                owner.stop(&ServiceError::Stopped("the state machine broke a promise; see the panic".into()));
            }
        });
        writer = Some(thread.map_err(|e| ServiceError::io("start the writer of the index", e))?);
        jobs = Some(sender);
    }
    let (doors, cluster_clock) = (Default::default(), OnceLock::new());
    let (desk, memory) = (Desk::new(options.liveness, options.throttle), Mutex::default());
    Ok(Index { shared, key, options, memory, jobs, desk, doors, cluster_clock, writer, _lock: lock })
}

/// Before anything is cut or written: what seems a torn tail may be what was lost.
fn refuse_lost_end(dir: &Path, last: Epoch, reached: Epoch) -> Result<()> {
    if last >= reached {
        return Ok(());
    }
    let detail = format!("it ends at epoch {last}, and {reached} was reached: what came between is lost from it");
    Err(ServiceError::Damaged { what: format!("the index in {}", dir.display()), detail })
}

/// Keeps others from writing to the index in `dir`, as long as the file is open.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let io = |e| ServiceError::io(format!("lock {}", dir.display()), e);
    let file = File::open(dir).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServiceError::Busy(format!("the index in {} is open", dir.display()))),
        // A file system without locks: whoever opens the store keeps others out by other means.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(io(e)),
    }
}

/// Applies what was logged. Refused commands are refused again.
fn replay(tables: &mut Layered, dir: &Path, records: &[crate::log::Record]) -> Result<Option<Epoch>> {
    for record in records {
        let command = Command::decode(&record.command).map_err(|e| ServiceError::Damaged {
            what: format!("log of {}", dir.display()),
            detail: format!("epoch {}: {e}", record.epoch),
        })?;
        let _ = state::apply(tables, Stamp { epoch: record.epoch, time_ns: record.time_ns }, &command)?;
    }
    Ok(records.last().map(|record| record.epoch))
}
