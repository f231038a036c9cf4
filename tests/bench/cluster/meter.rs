//! CPU time and memory of processes, as the kernel counts them.

use std::fs;
use std::time::{Duration, Instant};

/// What the kernel tells processes to be its clock, whatever it is (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// What something took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub wall: Duration,
    /// User and system time of all processes that were watched.
    pub cpu: Duration,
}

impl Cost {
    /// Nanoseconds of CPU for each of so many bytes.
    pub fn ns_per_byte(&self, bytes: usize) -> f64 {
        self.cpu.as_nanos() as f64 / bytes as f64
    }

    /// Millions of bytes a second.
    pub fn mb_per_second(&self, bytes: usize) -> f64 {
        bytes as f64 / 1e6 / self.wall.as_secs_f64()
    }
}

/// What work takes: of this process, of its children that end meanwhile, and of these others.
pub fn measure<T>(others: &[u32], work: impl FnOnce() -> T) -> (T, Cost) {
    let cpu = || own() + others.iter().map(|pid| of(*pid)).sum::<Duration>();
    let (before, began) = (cpu(), Instant::now());
    let made = work();
    let wall = began.elapsed();
    (made, Cost { wall, cpu: cpu() - before })
}

/// CPU time of another process.
pub fn of(pid: u32) -> Duration {
    let ticks = stat(&pid.to_string());
    time(ticks[0] + ticks[1])
}

/// Of this one and of its children that have ended.
fn own() -> Duration {
    time(stat("self").iter().sum())
}

/// utime, stime, cutime, cstime.
fn stat(process: &str) -> [u64; 4] {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = behind_name.split(' ').skip(11).map(|field| field.parse().unwrap_or(0));
    std::array::from_fn(|_| fields.next().unwrap_or(0))
}

fn time(ticks: u64) -> Duration {
    Duration::from_micros(ticks * 1_000_000 / TICKS_PER_SECOND)
}

/// The most memory a process has had since it began, in bytes.
pub fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
