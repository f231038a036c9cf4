//! One word for all threads of a member: stop. Whoever sleeps wakes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether to go on.
#[derive(Debug, Default)]
pub struct Stop {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    is_said: bool,
    is_woken: bool,
}

impl Stop {
    /// Stops everybody.
    pub fn say(&self) {
        self.open().is_said = true;
        self.changed.notify_all();
    }

    /// Whether it was said.
    pub fn is_said(&self) -> bool {
        self.open().is_said
    }

    /// Sleeps. Answers at once, and true, when it is said.
    pub fn sleep(&self, time: Duration) -> bool {
        self.rest(time, |_| false)
    }

    /// Sleeps until the time is over or somebody wakes it, be it before it fell asleep. For one thread.
    pub fn sleep_lightly(&self, time: Duration) -> bool {
        self.rest(time, |inside| std::mem::take(&mut inside.is_woken))
    }

    /// Wakes who sleeps lightly.
    pub fn wake(&self) {
        self.open().is_woken = true;
        self.changed.notify_all();
    }

    fn rest(&self, time: Duration, is_over: impl Fn(&mut Inside) -> bool) -> bool {
        let until = Instant::now() + time;
        let mut inside = self.open();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if inside.is_said || is_over(&mut inside) || left.is_zero() {
                return inside.is_said;
            }
            inside = self.changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn open(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
