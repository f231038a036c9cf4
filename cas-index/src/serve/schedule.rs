//! What an index does by itself, and when. Pure: times are arguments, seconds since 1970, UTC.
//!
//! Promise: a slot is run once, also across restarts: slots that passed while nobody ran are made up for by one run,
//! and jitter is a function of the slot, so that a restart does not draw it again.

use super::cron::Cron;
use cas_core::kdf;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What can be done by schedule. The order is that of numbers on disk: variants are only ever added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Task {
    /// Empties the trash by age, then condemns what nobody references; the nodes delete it.
    Gc,
    /// Has every node verify all sums.
    Scrub,
    /// Forgets what the rules of vaults do not keep, and empties the trash by age.
    Retention,
    /// Writes an export of the index itself.
    Backup,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gc, Self::Scrub, Self::Retention, Self::Backup];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Scrub => "scrub",
            Self::Retention => "retention",
            Self::Backup => "backup",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of gc, scrub, retention, backup")]
pub struct UnknownTask(pub String);

impl FromStr for Task {
    type Err = UnknownTask;

    fn from_str(word: &str) -> Result<Self, UnknownTask> {
        Self::ALL.into_iter().find(|task| task.name() == word).ok_or_else(|| UnknownTask(word.to_owned()))
    }
}

/// When a task is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What.
    pub task: Task,
    /// The slots.
    pub cron: Cron,
    /// A run begins up to so many seconds after its slot, so that not all indexes of a house begin at once.
    pub jitter_s: u32,
}

impl Schedule {
    /// Forget by rules and collect every night, scrub every week, export every six hours where a place for exports is named.
    pub fn defaults() -> Vec<Self> {
        let made = |task, text: &str, jitter_s| Self { task, cron: text.parse().expect("it is one"), jitter_s };
        vec![
            made(Task::Retention, "0 1 * * *", 1800),
            made(Task::Gc, "0 2 * * *", 1800),
            made(Task::Scrub, "0 4 * * sun", 3600),
            made(Task::Backup, "30 */6 * * *", 600),
        ]
    }

    /// The slot that is run next, and when, if the last one that was run or passed over is `last_s`. `seed` is the index's.
    pub fn next(&self, last_s: i64, seed: &[u8; 32]) -> Planned {
        let slot_s = self.cron.next(last_s);
        Planned { task: self.task, slot_s, at_s: slot_s + self.jitter(slot_s, seed) }
    }

    fn jitter(&self, slot_s: i64, seed: &[u8; 32]) -> i64 {
        let drawn = kdf::derive("schedule jitter", &[&seed[..], &slot_s.to_le_bytes(), &[self.task as u8]].concat());
        let drawn = u64::from_le_bytes(drawn[..8].try_into().expect("eight bytes"));
        (drawn % (u64::from(self.jitter_s) + 1)) as i64
    }
}

/// A run that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub task: Task,
    /// The slot.
    pub slot_s: i64,
    /// When it begins.
    pub at_s: i64,
}

/// What is known of runs so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// The task.
    pub task: Task,
    /// When its last run began.
    pub began_s: i64,
}

/// The run that comes first. `since_s`: when the index first had schedules; nothing is made up for from before.
/// What is overdue comes at once, in the order of the schedules.
pub fn next(schedules: &[Schedule], past: &[Past], since_s: i64, seed: &[u8; 32]) -> Option<Planned> {
    let planned = schedules.iter().map(|schedule| {
        let last = past.iter().filter(|past| past.task == schedule.task).map(|past| past.began_s).max();
        schedule.next(last.unwrap_or(since_s), seed)
    });
    planned.min_by_key(|planned| planned.at_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];
    const HOUR: i64 = 3600;

    fn schedule(task: Task, cron: &str, jitter_s: u32) -> Schedule {
        Schedule { task, cron: cron.parse().unwrap(), jitter_s }
    }

    #[test]
    fn every_slot_is_run_once_and_missed_ones_together() {
        let hourly = [schedule(Task::Gc, "@hourly", 0)];
        let run = |began_s| [Past { task: Task::Gc, began_s }];
        let slot = |past: &[Past], since| next(&hourly, past, since, &SEED).unwrap().slot_s;
        assert_eq!(slot(&[], 10), HOUR, "a new index waits for its first slot");
        assert_eq!(slot(&run(HOUR), 10), 2 * HOUR);
        assert_eq!(slot(&run(HOUR + 5), 10), 2 * HOUR, "late by jitter");
        assert_eq!(slot(&run(HOUR), 10), 2 * HOUR, "after a week off, the slot that was missed first is overdue …");
        assert_eq!(slot(&run(170 * HOUR + 1), 10), 171 * HOUR, "… and its run made up for all");
    }

    #[test]
    fn jitter_is_bounded_and_the_same_after_a_restart() {
        let spread = schedule(Task::Gc, "@hourly", 600);
        let mut seen = std::collections::BTreeSet::new();
        for slot in 0..200 {
            let planned = spread.next(slot * HOUR, &SEED);
            assert_eq!(planned, spread.next(slot * HOUR, &SEED));
            assert!((0..=600).contains(&(planned.at_s - planned.slot_s)));
            seen.insert(planned.at_s - planned.slot_s);
        }
        assert!(seen.len() > 100, "it spreads");
        assert_ne!(spread.next(0, &SEED).at_s, spread.next(0, &[8; 32]).at_s, "each index has its own");
    }

    #[test]
    fn the_earliest_of_all_schedules_comes_first() {
        let all = [schedule(Task::Scrub, "0 5 * * *", 0), schedule(Task::Gc, "0 2 * * *", 0)];
        assert_eq!(next(&all, &[], 0, &SEED).unwrap().task, Task::Gc);
        let past = [Past { task: Task::Gc, began_s: 2 * HOUR }];
        assert_eq!(next(&all, &past, 0, &SEED).unwrap().task, Task::Scrub);
        assert_eq!(next(&[], &past, 0, &SEED), None);
    }

    #[test]
    fn the_defaults_are_schedules() {
        assert!(Schedule::defaults().iter().all(|schedule| schedule.next(0, &SEED).slot_s > 0));
        assert!(Task::ALL.iter().all(|task| task.name().parse::<Task>() == Ok(*task)));
        assert!("all".parse::<Task>().is_err());
    }
}
