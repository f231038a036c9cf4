//! Whether scheduled work goes on now or gives way to pushes. Pure: what is known comes as arguments.

use std::time::Duration;

/// When work gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// While sessions live and at least so many requests are under way, work waits.
    pub requests: usize,
    /// A run waits at most so long altogether; then it goes on in small steps, so that the disk cannot fill up behind it.
    pub patience: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 4, patience: Duration::from_secs(30 * 60), pause: Duration::from_millis(200) }
    }
}

/// How busy the index is with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Busy {
    /// Push sessions that live.
    pub sessions: usize,
    /// Requests under way.
    pub requests: usize,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A whole step.
    Full,
    /// A small step: somebody pushes, or it has waited long enough.
    Small,
    /// Nothing, for a [`Limits::pause`].
    Wait,
}

/// What to do now, having waited so long in this run.
pub fn pace(limits: &Limits, busy: Busy, waited: Duration) -> Pace {
    match busy {
        Busy { sessions: 0, .. } => Pace::Full,
        Busy { requests, .. } if requests < limits.requests => Pace::Small,
        _ if waited < limits.patience => Pace::Wait,
        _ => Pace::Small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_gives_way_to_pushes_and_not_for_ever() {
        let limits = Limits::default();
        let (none, long) = (Duration::ZERO, limits.patience);
        let busy = |sessions, requests| Busy { sessions, requests };
        for (sessions, requests, waited, expected) in [
            (0, 0, none, Pace::Full),
            (0, 100, none, Pace::Full), // Readers are not kept waiting by the collector.
            (1, 0, none, Pace::Small),
            (1, limits.requests, none, Pace::Wait),
            (3, 100, none, Pace::Wait),
            (3, 100, long, Pace::Small),
            (0, 100, long, Pace::Full),
        ] {
            assert_eq!(pace(&limits, busy(sessions, requests), waited), expected, "{sessions} {requests} {waited:?}");
        }
    }
}
