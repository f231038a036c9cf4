//! What all connections to an index share at its doors: guesses, refusals that are counted, hashes being computed.
//!
//! Promise: a device that asks again and again for what it may not have costs one command a minute, not one a question.
//! Nothing here outlives the process; counts that were not written down yet are lost with it, as are waits.

use super::throttle::Throttle;
use crate::audit::REFUSALS_NS;
use cas_core::id::PublicKey;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Devices whose refusals are counted apart.
const MAX_COUNTED: usize = 4096;
/// Hashes of passwords that are computed at once: each takes 64 MiB.
pub(super) const MAX_HASHES: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
pub(super) struct Inside {
    pub throttle: Throttle,
    /// Per device since when, and how many there were that are not written down.
    refused: HashMap<PublicKey, (i64, u64)>,
    seen: HashMap<PublicKey, i64>,
    hashing: usize,
}

impl Doors {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to compute a hash.
    pub(super) fn hash_slot(&self) -> Option<HashSlot<'_>> {
        let mut inside = self.lock();
        (inside.hashing < MAX_HASHES).then(|| {
            inside.hashing += 1;
            HashSlot(self)
        })
    }
}

impl Inside {
    /// Counts a refusal. Answers how many are to be written down now, if any.
    pub(super) fn refused(&mut self, device: &PublicKey, now_ns: i64) -> Option<u64> {
        if self.refused.len() >= MAX_COUNTED && !self.refused.contains_key(device) {
            self.refused.retain(|_, (since, count)| *count > 0 || now_ns.saturating_sub(*since) < REFUSALS_NS);
            if self.refused.len() >= MAX_COUNTED {
                return None;
            }
        }
        let (since, count) = self.refused.entry(*device).or_insert((i64::MIN, 0));
        *count += 1;
        if now_ns.saturating_sub(*since) < REFUSALS_NS {
            return None;
        }
        *since = now_ns;
        Some(std::mem::take(count))
    }

    /// Counts whose minute is over.
    pub(super) fn take_due(&mut self, now_ns: i64) -> Vec<(PublicKey, u64)> {
        let mut due = Vec::new();
        self.refused.retain(|device, (since, count)| {
            let is_over = now_ns.saturating_sub(*since) >= REFUSALS_NS;
            if is_over && *count > 0 {
                due.push((*device, *count));
            }
            !is_over
        });
        due
    }

    /// Whether it is to be written down that a device is here: once an hour.
    pub(super) fn is_news(&mut self, device: &PublicKey, now_ns: i64, hour_ns: i64) -> bool {
        if self.seen.len() >= MAX_COUNTED {
            self.seen.retain(|_, seen| now_ns.saturating_sub(*seen) < hour_ns);
        }
        let last = self.seen.get(device).copied();
        let news = last.is_none_or(|last| now_ns.saturating_sub(last) >= hour_ns);
        if news && self.seen.len() < MAX_COUNTED {
            self.seen.insert(*device, now_ns);
        }
        news
    }
}

/// A place among those who compute a hash.
pub(super) struct HashSlot<'a>(&'a Doors);

impl Drop for HashSlot<'_> {
    fn drop(&mut self) {
        self.0.lock().hashing -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_device_costs_one_command_a_minute_and_nothing_goes_uncounted() {
        let mut inside = Inside::default();
        let device = PublicKey([1; 32]);
        let mut written = Vec::new();
        for n in 0..6000 {
            written.extend(inside.refused(&device, n * REFUSALS_NS / 600));
        }
        assert_eq!(written.len(), 10);
        let rest: u64 = inside.take_due(11 * REFUSALS_NS).iter().map(|(_, count)| count).sum();
        assert_eq!(written.iter().sum::<u64>() + rest, 6000);
        assert!(inside.take_due(20 * REFUSALS_NS).is_empty());
    }

    #[test]
    fn only_so_many_hashes_are_computed_at_once() {
        let doors = Doors::default();
        let slots: Vec<_> = (0..MAX_HASHES).map(|_| doors.hash_slot().unwrap()).collect();
        assert!(doors.hash_slot().is_none());
        drop(slots);
        assert!(doors.hash_slot().is_some());
    }
}
