//! Trying again: what passes by itself, and how long to wait for that.

use cas_net::ServiceError;
use std::time::{Duration, Instant};

/// How long a push waits for nodes to come back while too few are there.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// Pauses that grow, until the patience is at its end.
pub struct Again {
    until: Instant,
    next: Duration,
}

impl Again {
    /// So long from now.
    pub fn within(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, next: FIRST_PAUSE }
    }

    /// Waits a little; answers whether there is time for another try.
    pub fn pause(&mut self) -> bool {
        if Instant::now() + self.next > self.until {
            return false;
        }
        std::thread::sleep(self.next);
        self.next = LAST_PAUSE.min(self.next * 2);
        true
    }
}

/// Whether a fault may be gone in a moment, without anybody doing something.
pub fn is_passing(why: &ServiceError) -> bool {
    use ServiceError::{Busy, Conflict, Stopped, Unreachable};
    matches!(why, Busy(_) | Conflict { .. } | Stopped(_) | Unreachable { .. })
}
