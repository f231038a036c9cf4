//! How often keys that nobody knows may try to join: each try is a command in the log.

use cas_net::{Result, ServiceError};
use std::sync::{Mutex, PoisonError};

const MINUTE_NS: i64 = 60_000_000_000;
/// Tries to join of all strangers together, in a minute.
pub(super) const MAX_JOINS: u32 = 120;

/// Counts them.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Minute>);

#[derive(Default, Clone, Copy)]
struct Minute {
    number: i64,
    tries: u32,
}

impl Strangers {
    /// Leave for one more try.
    pub(super) fn admit(&self, now_ns: i64) -> Result<()> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now_ns.div_euclid(MINUTE_NS);
        if minute.number != number {
            *minute = Minute { number, tries: 0 };
        }
        if minute.tries >= MAX_JOINS {
            return Err(ServiceError::Busy("many nodes try to join".into()));
        }
        minute.tries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_that_try_without_end_are_told_to_wait() {
        let strangers = Strangers::default();
        assert_eq!((0..1000).filter(|_| strangers.admit(5).is_ok()).count(), MAX_JOINS as usize);
        assert!(strangers.admit(MINUTE_NS).is_ok(), "a minute later they may again");
    }
}
