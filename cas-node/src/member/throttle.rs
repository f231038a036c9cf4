//! So many bytes a second and no more. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// Paces whoever asks it before each step.
#[derive(Debug)]
pub struct Throttle {
    /// 0: without a bound.
    bytes_per_second: u64,
    free_at: Option<Instant>,
}

impl Throttle {
    /// So many bytes a second; 0 for any number.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free_at: None }
    }

    /// How long to wait before these bytes may move: until those before them are paid for.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let begin = self.free_at.map_or(now, |free| free.max(now));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.free_at = Some(begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_move_at_the_rate_and_pauses_are_not_saved_up() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1000);
        assert_eq!(throttle.take(500, start), Duration::ZERO);
        assert_eq!(throttle.take(500, start), Duration::from_millis(500));
        assert_eq!(throttle.take(1, start), Duration::from_millis(1000));
        let later = start + Duration::from_secs(100);
        assert_eq!(throttle.take(2000, later), Duration::ZERO);
        assert_eq!(throttle.take(1, later), Duration::from_secs(2));
    }

    #[test]
    fn no_rate_is_no_bound() {
        let mut throttle = Throttle::new(0);
        let now = Instant::now();
        assert!((0..9).all(|_| throttle.take(u64::MAX, now) == Duration::ZERO));
    }
}
