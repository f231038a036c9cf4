//! What wakes the threads of a served index: work that somebody asks for, and the end.

use super::schedule::Task;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bell {
    inside: Mutex<Inside>,
    rings: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    closing: bool,
    /// Each task once: asking again while it waits changes nothing.
    asked: BTreeSet<Task>,
}

impl Bell {
    /// Somebody wants this done.
    pub fn ask(&self, task: Task) {
        self.lock().asked.insert(task);
        self.rings.notify_all();
    }

    /// Everybody is to stop.
    pub fn close(&self) {
        self.lock().closing = true;
        self.rings.notify_all();
    }

    /// Whether it is the end.
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Sleeps so long, or until the end. Answers whether it is the end.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut inside = self.lock();
        while !inside.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inside = self.rings.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inside.closing
    }

    /// What somebody asks for within this time, if anybody does. Returns early at the end.
    pub fn wait(&self, time: Duration) -> Option<Task> {
        let inside = self.lock();
        let idle = |inside: &mut Inside| !inside.closing && inside.asked.is_empty();
        let (mut inside, _) = self.rings.wait_timeout_while(inside, time, idle).unwrap_or_else(PoisonError::into_inner);
        inside.asked.pop_first()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
