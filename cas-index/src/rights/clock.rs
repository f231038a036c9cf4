//! Cluster time: what locks, trash, tokens and tickets go by. DESIGN §10.
//!
//! Promise: it never goes back, and advances at most as far as a clock that cannot be set (time since the machine was
//! started, sleep included) plus an hour. If the machine's clock says more, cluster time goes on at the steady clock's
//! pace, an hour ahead at most, until somebody accepts the step. So no set clock makes a lock end before its time.
//! After a stop of more than an hour the step waits too: while nobody looked, nobody knows which clock was right. While
//! the machine's clock is behind, time passes at half the pace, so that tickets still end and the two meet again.
//! Not promised: anything against whoever owns the machine and starts the index again and again, an hour a time.

use crate::options::Options;
use cas_net::rights::ClockState;
use std::sync::{Arc, Mutex, PoisonError};

/// What is believed without asking, in nanoseconds: an hour.
pub const BELIEVED_NS: i64 = 3600 * 1_000_000_000;

/// The rule, without clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The last time that was given out.
    last_ns: i64,
    /// How far it may go, at this steady time.
    bound_ns: i64,
    steady_ns: i64,
    /// The machine's clock, if it is beyond.
    waiting_ns: Option<i64>,
}

impl Rule {
    /// Begins at the time of the last command; at that of the machine if there was none.
    pub fn new(last: Option<i64>, machine_ns: i64, steady_ns: i64) -> Self {
        let last_ns = last.unwrap_or(machine_ns);
        Self { last_ns, bound_ns: last_ns.saturating_add(BELIEVED_NS), steady_ns, waiting_ns: None }
    }

    /// Cluster time now.
    pub fn read(&mut self, machine_ns: i64, steady_ns: i64) -> i64 {
        let passed = steady_ns.saturating_sub(self.steady_ns).max(0);
        self.steady_ns = self.steady_ns.max(steady_ns);
        self.bound_ns = self.bound_ns.saturating_add(passed);
        self.waiting_ns = (machine_ns > self.bound_ns).then_some(machine_ns);
        let steadily = self.last_ns.saturating_add(passed);
        let now = match self.waiting_ns {
            Some(_) => steadily,
            None => machine_ns.max(self.last_ns.saturating_add(passed / 2)),
        };
        self.last_ns = now.min(self.bound_ns);
        self.last_ns
    }

    /// Believes the machine's clock up to a time that somebody looked at.
    pub fn accept(&mut self, to_ns: i64) {
        self.bound_ns = self.bound_ns.max(to_ns.saturating_add(BELIEVED_NS));
    }

    /// How it stands.
    pub fn state(&self) -> ClockState {
        ClockState { now_ns: self.last_ns, waiting_ns: self.waiting_ns }
    }
}

/// A clock that reads the machine's, by the rule.
#[derive(Clone)]
pub struct ClusterClock {
    rule: Arc<Mutex<Option<Rule>>>,
    machine: Arc<dyn Fn() -> i64 + Send + Sync>,
    steady: Arc<dyn Fn() -> i64 + Send + Sync>,
}

/// Puts the rule in front of the clock of an index that is to be opened; then [`ClusterClock::start`] it with the time of
/// the last command. Until then it says nothing later than that.
pub fn govern(options: &mut Options) -> ClusterClock {
    govern_with(options, Arc::new(steady_clock))
}

/// [`govern`] with another steady clock, in nanoseconds.
pub fn govern_with(options: &mut Options, steady: Arc<dyn Fn() -> i64 + Send + Sync>) -> ClusterClock {
    let clock = ClusterClock { rule: Arc::default(), machine: options.clock.clone(), steady };
    let governed = clock.clone();
    options.clock = Arc::new(move || governed.now());
    clock
}

impl ClusterClock {
    /// Begins at the time of the last command, if there was one.
    pub fn start(&self, last_ns: Option<i64>) {
        *self.lock() = Some(Rule::new(last_ns, (self.machine)(), (self.steady)()));
    }

    /// Cluster time.
    pub fn now(&self) -> i64 {
        let (machine, steady) = ((self.machine)(), (self.steady)());
        self.lock().as_mut().map_or(i64::MIN, |rule| rule.read(machine, steady))
    }

    /// How it stands now.
    pub fn state(&self) -> ClockState {
        let now_ns = self.now();
        self.lock().as_ref().map_or(ClockState { now_ns, waiting_ns: None }, Rule::state)
    }

    /// Believes the machine's clock up to a time that somebody looked at.
    pub fn accept(&self, to_ns: i64) {
        if let Some(rule) = self.lock().as_mut() {
            rule.accept(to_ns);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Rule>> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ClusterClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterClock({:?})", self.lock())
    }
}

/// Time since the machine was started, sleep included.
#[cfg(target_os = "linux")]
fn steady_clock() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// Time since the machine was started.
#[cfg(not(target_os = "linux"))]
fn steady_clock() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;
    const DAY: i64 = 86_400 * SECOND;

    #[test]
    fn a_clock_that_goes_right_is_believed() {
        let mut rule = Rule::new(Some(DAY), DAY, 0);
        for seconds in [1, 60, 86_400, 864_000] {
            assert_eq!(rule.read(DAY + seconds * SECOND, seconds * SECOND), DAY + seconds * SECOND);
            assert_eq!(rule.state().waiting_ns, None);
        }
    }

    #[test]
    fn a_jump_ahead_waits_until_it_is_accepted() {
        let mut rule = Rule::new(Some(0), 0, 0);
        let jumped = 30 * DAY;
        for seconds in 1..=7200 {
            assert_eq!(rule.read(jumped + seconds * SECOND, seconds * SECOND), seconds * SECOND, "steadily");
        }
        assert_eq!(rule.state().waiting_ns, Some(jumped + 7200 * SECOND));
        rule.accept(jumped + 7200 * SECOND);
        assert_eq!(rule.read(jumped + 7201 * SECOND, 7201 * SECOND), jumped + 7201 * SECOND);
        assert_eq!(rule.state().waiting_ns, None);
    }

    #[test]
    fn many_small_jumps_gain_no_more_than_an_hour() {
        let mut rule = Rule::new(Some(0), 0, 0);
        let mut machine = 0;
        for second in 1..=10_000 {
            machine += 50 * 60 * SECOND;
            let now = rule.read(machine, second * SECOND);
            assert!(now <= second * SECOND + BELIEVED_NS);
        }
    }

    #[test]
    fn a_jump_back_is_not_followed_and_the_two_clocks_meet_again() {
        let mut rule = Rule::new(Some(DAY), DAY, 0);
        for seconds in 1..=20 {
            assert_eq!(rule.read(DAY - 10 * SECOND + seconds * SECOND, seconds * SECOND), DAY + seconds * SECOND / 2);
        }
        assert_eq!(rule.read(DAY + 11 * SECOND, 21 * SECOND), DAY + 11 * SECOND, "as the machine says");
    }

    #[test]
    fn a_new_index_believes_the_machine_and_a_restarted_one_its_last_command() {
        assert_eq!(Rule::new(None, 5 * DAY, 0).read(5 * DAY, 1), 5 * DAY);
        let mut restarted = Rule::new(Some(DAY), 9 * DAY, 0);
        assert_eq!(restarted.read(9 * DAY, 0), DAY);
        assert_eq!(restarted.state().waiting_ns, Some(9 * DAY));
        let mut soon = Rule::new(Some(DAY), DAY + 600 * SECOND, 0);
        assert_eq!(soon.read(DAY + 600 * SECOND, 0), DAY + 600 * SECOND, "ten minutes are nothing");
    }

    proptest! {
        #[test]
        fn cluster_time_never_falls_and_never_outruns_the_steady_clock_by_more_than_an_hour(
            steps in prop::collection::vec((-40 * DAY..40 * DAY, 0..DAY), 1..60),
        ) {
            let (mut machine, mut steady, mut last) = (0i64, 0i64, 0i64);
            let mut rule = Rule::new(Some(0), 0, 0);
            for (jump, passed) in steps {
                (machine, steady) = (machine + jump, steady + passed);
                let now = rule.read(machine, steady);
                prop_assert!(now >= last, "back");
                prop_assert!(now <= steady + BELIEVED_NS, "ahead");
                last = now;
            }
        }
    }
}
