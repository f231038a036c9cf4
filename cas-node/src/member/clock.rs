//! Cluster time as a node knows it: what the index said last, and what has passed since. DESIGN §10.
//!
//! Promise: once the index has said a time, it never goes back. Before (a node that starts while the index is away) it is the
//! later one of the machine's clock and what was kept, so that no ticket lives longer by a restart.

use std::time::Instant;

/// Cluster time.
#[derive(Debug, Clone, Copy)]
pub struct ClusterClock {
    base_ns: i64,
    at: Instant,
    is_told: bool,
}

impl ClusterClock {
    /// A guess, in nanoseconds since 1970, until the index says what time it is.
    pub fn guessed(time_ns: i64, at: Instant) -> Self {
        Self { base_ns: time_ns, at, is_told: false }
    }

    /// The index said so.
    pub fn tell(&mut self, time_ns: i64, at: Instant) {
        let base_ns = if self.is_told { self.now_ns(at).max(time_ns) } else { time_ns };
        *self = Self { base_ns, at, is_told: true };
    }

    /// What time it is, nanoseconds since 1970.
    pub fn now_ns(&self, at: Instant) -> i64 {
        let passed = at.saturating_duration_since(self.at).as_nanos();
        self.base_ns.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_the_index_says_ends_the_guess_and_then_only_rises() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut clock = ClusterClock::guessed(9_000_000_000, start);
        assert_eq!(clock.now_ns(after(1)), 10_000_000_000);
        clock.tell(5_000_000_000, after(1));
        assert_eq!(clock.now_ns(after(2)), 6_000_000_000);
        clock.tell(1_000_000_000, after(3));
        assert_eq!(clock.now_ns(after(3)), 7_000_000_000);
        clock.tell(50_000_000_000, after(3));
        assert_eq!(clock.now_ns(after(4)), 51_000_000_000);
    }
}
