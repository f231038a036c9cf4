//! Progress of a long operation: a bar with an ETA on a terminal, status lines with --json, nothing in a pipe.
//!
//! As long as the whole is still being counted, "at least" stands before it, and no ETA is made up.

use crate::escape;
use crate::printer::{Printer, bytes};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const DRAW: Duration = Duration::from_millis(100);
const STATUS: Duration = Duration::from_secs(1);
/// An ETA says nothing before so much time has passed.
const ETA_AFTER: Duration = Duration::from_secs(2);

/// How much there is to do, files and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Nobody knows.
    None,
    /// Counted so far; there will be more.
    AtLeast(u64, u64),
    /// All of it, or about that.
    Known(u64, u64),
}

/// How far it is.
#[derive(Debug, Clone)]
pub struct Now {
    /// What is counted.
    pub things: &'static str,
    /// How many of them are done.
    pub files: u64,
    /// Bytes done.
    pub bytes: u64,
    /// What went wrong.
    pub problems: u64,
    /// How much there is.
    pub total: Total,
    /// What is being worked on.
    pub current: Vec<Vec<u8>>,
    /// What else is said with --json.
    pub more: Vec<(&'static str, u64)>,
}

impl Now {
    /// The beginning.
    pub fn of(things: &'static str) -> Self {
        Self { things, files: 0, bytes: 0, problems: 0, total: Total::None, current: Vec::new(), more: Vec::new() }
    }

    /// From 0 to 1; by files where there are no bytes.
    fn share(&self) -> Option<f64> {
        let Total::Known(files, all) = self.total else { return None };
        let (done, all) = if all > 0 { (self.bytes, all) } else { (self.files, files) };
        Some(if all == 0 { 1.0 } else { (done as f64 / all as f64).min(1.0) })
    }

    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let share = self.share().filter(|share| *share > 0.0 && elapsed >= ETA_AFTER)?;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 - share) / share).ok()
    }
}

/// Shows an operation while it runs.
pub struct Bar {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Begins. `now` answers how far it is.
    pub fn start(printer: Printer, now: impl Fn() -> Now + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !printer.shows_progress() {
            return Self { done, thread: None };
        }
        let flag = done.clone();
        let show = move || {
            if printer.draws() {
                draw(&now, &flag);
            } else {
                print_status(printer, &now, &flag);
            }
        };
        Self { done, thread: Some(std::thread::spawn(show)) }
    }

    /// Ends, and clears the line.
    pub fn finish(mut self) {
        self.done.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("showing progress does not panic");
        }
    }
}

fn draw(now: &dyn Fn() -> Now, done: &AtomicBool) {
    let began = Instant::now();
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(10));
    let style = |template| ProgressStyle::with_template(template).expect("the template is right");
    let (known, unknown) = (style("{bar:24} {wide_msg}"), style("{spinner} {wide_msg}"));
    while !done.load(Relaxed) {
        let now = now();
        bar.set_style(if now.share().is_some() { known.clone() } else { unknown.clone() });
        match now.share() {
            Some(share) => bar.set_position((share * 1000.0) as u64),
            None => bar.tick(),
        }
        bar.set_message(line(&now, began.elapsed()));
        std::thread::park_timeout(DRAW);
    }
    bar.finish_and_clear();
}

/// One line, the most important first: it is cut where the terminal ends.
fn line(now: &Now, elapsed: Duration) -> String {
    let mut parts = Vec::new();
    parts.extend(now.share().map(|share| format!("{:.0} %", (share * 100.0).floor())));
    parts.push(match now.total {
        Total::None => bytes(now.bytes),
        Total::AtLeast(_, all) => format!("{} of at least {}", bytes(now.bytes), bytes(all.max(now.bytes))),
        Total::Known(_, all) => format!("{} of {}", bytes(now.bytes), bytes(all.max(now.bytes))),
    });
    parts.push(match now.left(elapsed) {
        Some(left) => format!("ETA {}", clock(left)),
        None => clock(elapsed),
    });
    let speed = now.bytes as f64 / elapsed.as_secs_f64().max(0.1);
    parts.push(format!("{}/s", bytes(speed as u64)));
    parts.push(format!("{} {}", now.files, now.things));
    if now.problems > 0 {
        parts.push(format!("{} problems", now.problems));
    }
    parts.extend(now.current.first().map(|path| escape::text(path)));
    parts.join("  ")
}

fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..3600 => format!("{}:{:02}", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
    }
}

fn print_status(printer: Printer, now: &dyn Fn() -> Now, done: &AtomicBool) {
    let began = Instant::now();
    let mut next = began + STATUS;
    while !done.load(Relaxed) {
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        if Instant::now() < next || done.load(Relaxed) {
            continue;
        }
        next += STATUS;
        printer.object(&status(&now(), began.elapsed()));
    }
}

/// The fields of restic; `total_*` is what was counted so far until `percent_done` rises above 0.
fn status(now: &Now, elapsed: Duration) -> serde_json::Value {
    let (files, all) = match now.total {
        Total::None => (now.files, now.bytes),
        Total::AtLeast(files, all) | Total::Known(files, all) => (files.max(now.files), all.max(now.bytes)),
    };
    let mut value = json!({
        "message_type": "status",
        "seconds_elapsed": elapsed.as_secs(),
        "percent_done": now.share().unwrap_or(0.0),
        "total_files": files,
        "files_done": now.files,
        "total_bytes": all,
        "bytes_done": now.bytes,
        "error_count": now.problems,
    });
    if let Some(left) = now.left(elapsed) {
        value["seconds_remaining"] = left.as_secs().into();
    }
    for (name, number) in &now.more {
        value[*name] = (*number).into();
    }
    if !now.current.is_empty() {
        value["current_files"] = now.current.iter().map(|path| String::from_utf8_lossy(path)).collect();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn no_end_is_promised_before_everything_is_counted() {
        let counting = Now { files: 5, bytes: 1024, total: Total::AtLeast(7, 2048), ..Now::of("files") };
        assert_eq!(line(&counting, TEN), "1.00 KiB of at least 2.00 KiB  0:10  102 B/s  5 files");
        let counted = Now { total: Total::Known(7, 4096), problems: 1, ..counting };
        assert_eq!(line(&counted, TEN), "25 %  1.00 KiB of 4.00 KiB  ETA 0:30  102 B/s  5 files  1 problems");
        assert!(!line(&counted, Duration::from_secs(1)).contains("ETA"), "too early to tell");
        assert_eq!(line(&Now::of("files"), TEN), "0 B  0:10  0 B/s  0 files");
    }

    #[test]
    fn status_lines_have_the_fields_of_restic() {
        let current = vec![b"/a\xff".to_vec()];
        let now = Now { files: 5, bytes: 1024, total: Total::Known(7, 4096), current, ..Now::of("files") };
        let wanted = json!({
            "message_type": "status", "seconds_elapsed": 10, "seconds_remaining": 30, "percent_done": 0.25, "total_files": 7,
            "files_done": 5, "total_bytes": 4096, "bytes_done": 1024, "error_count": 0, "current_files": ["/a\u{fffd}"],
        });
        assert_eq!(status(&now, TEN), wanted);
        let counting = status(&Now { total: Total::AtLeast(7, 4096), ..now }, TEN);
        assert_eq!((&counting["percent_done"], &counting["total_files"]), (&json!(0.0), &json!(7)));
        assert!(counting.get("seconds_remaining").is_none());
        let restoring = status(&Now { more: vec![("files_restored", 3)], ..Now::of("files") }, TEN);
        assert_eq!(restoring["files_restored"], 3);
    }
}
