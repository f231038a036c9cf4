//! So many at once; a few others wait a moment, and all others are told to come again.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So many wait: each holds a handler of the server meanwhile, and others need those.
pub const MAX_WAITING: usize = 8;

/// So many at once.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Turns>);

impl Turns {
    /// So many.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: count, waiting: 0 }), more: Condvar::new() })
    }

    /// Waits at most so long for one; not at all if enough others wait.
    pub fn take(self: &Arc<Self>, wait: Duration) -> Option<Turn> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.free == 0 && state.waiting < MAX_WAITING {
            state.waiting += 1;
            let waited = self.more.wait_timeout_while(state, wait, |state| state.free == 0);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        state.free = state.free.checked_sub(1)?;
        Some(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).free += 1;
        self.0.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_turns_and_each_comes_back() {
        let turns = Turns::new(2);
        let wait = Duration::from_millis(5);
        let first = turns.take(wait).unwrap();
        let _second = turns.take(wait).unwrap();
        assert!(turns.take(wait).is_none());
        drop(first);
        assert!(turns.take(wait).is_some());
    }

    #[test]
    fn a_few_wait_and_the_others_are_told_at_once() {
        let turns = Turns::new(1);
        let taken = turns.take(Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..MAX_WAITING).map(|_| scope.spawn(|| turns.take(Duration::from_secs(60)).is_some())).collect();
            while turns.state.lock().unwrap().waiting < MAX_WAITING {
                std::thread::yield_now();
            }
            assert!(turns.take(Duration::from_secs(3600)).is_none(), "it would wait for an hour");
            drop(taken);
            assert!(waiting.into_iter().all(|waits| waits.join().unwrap()), "each had its turn");
        });
    }
}
