//! Progress of a long operation: a bar with an ETA on a terminal, status lines with --json, nothing in a pipe.

use crate::printer::Printer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const DRAW: Duration = Duration::from_millis(100);
const STATUS: Duration = Duration::from_secs(1);

/// Files, bytes and problems so far.
pub type Done = (u64, u64, u64);

/// Shows an operation while it runs.
pub struct Bar {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Begins. `total` is how many files and bytes there are to do, if that is known; `now` how far it is.
    pub fn start(printer: Printer, total: Option<(u64, u64)>, now: impl Fn() -> Done + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !printer.draws() && !printer.json() {
            return Self { done, thread: None };
        }
        let flag = done.clone();
        let show = move || {
            if printer.draws() {
                draw(total, &now, &flag);
            } else {
                print_status(printer, total, &now, &flag);
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

fn draw(total: Option<(u64, u64)>, now: &dyn Fn() -> Done, done: &AtomicBool) {
    let template = match total {
        Some(_) => "{bar:24} {percent:>3} %  {binary_bytes}  {binary_bytes_per_sec}  ETA {eta}  {msg}",
        None => "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}  {msg}",
    };
    let bar = ProgressBar::with_draw_target(total.map(|t| t.1.max(1)), ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
    while !done.load(Relaxed) {
        let (files, bytes, problems) = now();
        if bar.length().is_some_and(|l| l < bytes) {
            bar.set_length(bytes);
        }
        bar.set_position(bytes);
        let problems = if problems > 0 { format!(", {problems} problems") } else { String::new() };
        bar.set_message(format!("{files} files{problems}"));
        std::thread::park_timeout(DRAW);
    }
    bar.finish_and_clear();
}

fn print_status(printer: Printer, total: Option<(u64, u64)>, now: &dyn Fn() -> Done, done: &AtomicBool) {
    let began = Instant::now();
    let mut next = began + STATUS;
    while !done.load(Relaxed) {
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        if Instant::now() < next || done.load(Relaxed) {
            continue;
        }
        next += STATUS;
        let (files, bytes, problems) = now();
        let (all_files, all_bytes) = total.map_or((files, bytes), |t| (t.0.max(files), t.1.max(bytes)));
        let share = if total.is_none() || all_bytes == 0 { 0.0 } else { bytes as f64 / all_bytes as f64 };
        printer.object(&json!({
            "message_type": "status",
            "seconds_elapsed": began.elapsed().as_secs(),
            "percent_done": share,
            "total_files": all_files,
            "files_done": files,
            "total_bytes": all_bytes,
            "bytes_done": bytes,
            "error_count": problems,
        }));
    }
}
