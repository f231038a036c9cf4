//! Numbers that grow, and how long things took: kept in atomics, so that nobody ever waits to count.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets of [`Latency`], in microseconds; one more bucket holds what took longer.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 500_000, 2_000_000];

/// How long something took, as a histogram.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Counter; LATENCY_BOUNDS_US.len() + 1],
    sum_us: Counter,
    recent_us: AtomicU32,
}

impl Latency {
    /// Of the newest ones, this share counts in [`Self::recent_us`]: one in so many.
    const RECENT: u64 = 8;

    /// Something took so long.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BOUNDS_US.len());
        self.buckets[bucket].add(1);
        self.sum_us.add(us);
        let before = u64::from(self.recent_us.load(Relaxed));
        let recent = before - before / Self::RECENT + us.min(u32::MAX.into()) / Self::RECENT;
        self.recent_us.store(u32::try_from(recent).unwrap_or(u32::MAX), Relaxed);
    }

    /// How many took at most so many microseconds each, by bucket, not added up; the last has no bound.
    pub fn buckets(&self) -> [u64; LATENCY_BOUNDS_US.len() + 1] {
        std::array::from_fn(|i| self.buckets[i].get())
    }

    /// All together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }

    /// What it takes lately, in microseconds: a moving average.
    pub fn recent_us(&self) -> u32 {
        self.recent_us.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let latency = Latency::default();
        for us in [0, 250, 251, 2_000_000, 2_000_001] {
            latency.observe(Duration::from_micros(us));
        }
        let buckets = latency.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[11], buckets[12]), (2, 1, 1, 1));
        assert_eq!((buckets.iter().sum::<u64>(), latency.sum_us()), (5, 4_000_502));
        (0..200).for_each(|_| latency.observe(Duration::from_micros(800)));
        assert!((700..=900).contains(&latency.recent_us()), "{}", latency.recent_us());
    }
}
