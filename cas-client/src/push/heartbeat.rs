//! Keeps the session of a push that reads for a long time without asking anything. DESIGN §7.1.
//!
//! Promise: as long as this lives and the index answers, the session does not expire for want of requests. An index that is away is
//! asked again at the next beat; whoever needs the session is told by his own request that it is gone.

use cas_net::{Index, ServiceError, SessionId};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two beats: a small part of the shortest lease that an index is given in earnest.
pub(super) const BEAT: Duration = Duration::from_secs(20);

/// A thread that renews a session until this is dropped.
pub(super) struct Heartbeat {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Renews this session every so often. Without a thread to do it the push goes on as it can.
    pub fn start(index: Arc<dyn Index>, session: SessionId, every: Duration) -> Self {
        let over = Arc::<(Mutex<bool>, Condvar)>::default();
        let waits = over.clone();
        let beat = move || {
            let is_over = |waited| {
                let over = waits.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (over, _) =
                    waits.1.wait_timeout_while(over, waited, |over| !*over).unwrap_or_else(PoisonError::into_inner);
                *over
            };
            while !is_over(every) {
                // To ask for nothing renews the lease.
                if let Err(ServiceError::SessionGone(_)) = index.have(session, &[]) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
        let thread = thread.inspect_err(|e| tracing::warn!("no thread for the heartbeat: {e}")).ok();
        Self { over, thread }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        *self.over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::id::{DomainId, PublicKey, VaultId};
    use cas_net::StartSession;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    const LEASE: i64 = 1_000_000;

    #[test]
    fn a_session_lives_as_long_as_it_beats_and_no_longer_than_its_lease_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (time, looks) = (Arc::new(AtomicI64::new(1)), Arc::new(AtomicI64::new(0)));
        let (now, looked) = (time.clone(), looks.clone());
        let clock = Arc::new(move || {
            looked.fetch_add(1, SeqCst);
            now.load(SeqCst)
        });
        let options = cas_index::Options { lease_ns: LEASE, clock, ..cas_index::Options::new([1; 32]) };
        let index = Arc::new(cas_index::Index::open(dir.path(), options).unwrap());
        let (vault, domain, device) = (VaultId([1; 16]), DomainId([2; 16]), PublicKey([3; 32]));
        let start = StartSession { vault, domain, device, label: "test".to_owned() };
        let session = index.start_session(&start).unwrap().session;
        let lives = || {
            index.condemn(1).unwrap();
            index.status().unwrap().sessions.iter().any(|live| live.session == session)
        };
        let heartbeat = Heartbeat::start(index.clone(), session, Duration::from_millis(1));
        for _ in 0..5 {
            time.fetch_add(LEASE * 2 / 3, SeqCst);
            // More looks than one beat takes: the last of these beats began after the clock went on.
            let before = looks.load(SeqCst);
            while looks.load(SeqCst) < before + 16 {
                std::thread::yield_now();
            }
            assert!(lives());
        }
        drop(heartbeat);
        time.fetch_add(LEASE + 1, SeqCst);
        assert!(!lives());
    }
}
