//! So many at once; the others wait a moment, and are told to come again.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So many at once.
#[derive(Debug)]
pub struct Turns {
    free: Mutex<usize>,
    more: Condvar,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Turns>);

impl Turns {
    /// So many.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(count), more: Condvar::new() })
    }

    /// Waits at most so long for one.
    pub fn take(self: &Arc<Self>, wait: Duration) -> Option<Turn> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(free, wait, |free| *free == 0);
        let (mut free, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
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
}
