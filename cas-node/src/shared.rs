//! What readers, callers and the writer share.

use crate::files::Files;
use crate::latency::Latency;
use crate::reserve::Reserve;
use crate::state::State;
use cas_net::server::{Changing, Reading, StateLock};
use cas_net::{Result, ServiceError};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// Bytes of bodies that may wait for the writer.
const MAX_WAITING: usize = 32 << 20;

/// After a panic: bytes are verified when they are read, so reading goes on; whatever is decided may be wrong.
const HALF_CHANGED: &str = "a thread failed while it changed what is known of the segments";

/// What readers, callers and the writer share.
pub struct Shared {
    /// The segments.
    pub files: Files,
    /// Room that is kept for a full disk.
    pub reserve: Reserve,
    /// Bytes on their way to the writer.
    pub waiting: Waiting,
    /// How long syncs of groups took.
    pub syncs: Latency,
    state: StateLock<State>,
    poison: OnceLock<String>,
}

impl Shared {
    /// Of a store that was just opened.
    pub fn new(files: Files, reserve: Reserve, state: State) -> Self {
        Self {
            files,
            reserve,
            waiting: Waiting::default(),
            syncs: Latency::default(),
            state: StateLock::new(state),
            poison: OnceLock::new(),
        }
    }

    /// The state, for reading. Never held across a write or a sync.
    pub fn read(&self) -> Reading<'_, State> {
        let state = self.state.read();
        self.look_at_health();
        state
    }

    /// The state, for changing.
    pub fn write(&self) -> Changing<'_, State> {
        let state = self.state.write();
        self.look_at_health();
        state
    }

    fn look_at_health(&self) {
        if self.state.is_half_changed() {
            self.stop(HALF_CHANGED.into());
        }
    }

    /// Stops all writing for good: what the disk holds is known again only after a restart.
    pub fn stop(&self, why: String) -> ServiceError {
        let said = self.poison.get_or_init(|| {
            tracing::error!("{why}");
            why
        });
        ServiceError::Stopped(said.clone())
    }

    /// An error once writing was stopped.
    pub fn check(&self) -> Result<()> {
        self.poison.get().map_or(Ok(()), |why| Err(ServiceError::Stopped(why.clone())))
    }
}

/// Bytes on their way to the writer, bounded.
#[derive(Default)]
pub struct Waiting {
    bytes: Mutex<Bytes>,
    fewer: Condvar,
}

#[derive(Default)]
struct Bytes {
    waiting: usize,
    closed: bool,
}

impl Waiting {
    /// Waits until there is room for `bytes` more; more than all room goes alone.
    pub fn take(&self, bytes: usize) {
        let state = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |b: &mut Bytes| !b.closed && b.waiting > 0 && b.waiting + bytes > MAX_WAITING;
        let mut state = self.fewer.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        state.waiting += bytes;
    }

    /// Gives room back.
    pub fn release(&self, bytes: usize) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).waiting -= bytes;
        self.fewer.notify_all();
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }

    /// Lets everybody through: there is no writer any more.
    pub fn close(&self) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.fewer.notify_all();
    }
}
