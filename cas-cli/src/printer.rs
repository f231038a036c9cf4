//! The one place that prints. Results go to standard output, everything else to standard error.
//!
//! Quiet in a pipe: progress is drawn only on a terminal; colours end where NO_COLOR begins.

use crate::cli::Global;
use crate::exit::{Exit, hint};
use cas_client::ClientError;
use serde_json::Value;
use std::error::Error;
use std::io::{IsTerminal, Write};

/// Prints for one command.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    json: bool,
    quiet: bool,
    verbose: u8,
    colour: bool,
    terminal: bool,
    dumb: bool,
}

impl Printer {
    /// As the options and the terminal ask.
    pub fn new(global: &Global) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            colour: terminal && !no_colour && !dumb,
            terminal,
            dumb,
        }
    }

    /// Whether results are JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether progress may be drawn: on a terminal that can move its cursor.
    pub fn draws(&self) -> bool {
        self.terminal && !self.dumb && !self.quiet && !self.json
    }

    /// Whether progress is shown at all, drawn or as lines of JSON.
    pub fn shows_progress(&self) -> bool {
        self.draws() || (self.json && !self.quiet)
    }

    /// A line of result. A reader that went away is no error of ours: the process ends quietly, as with SIGPIPE.
    pub fn line(&self, text: impl AsRef<str>) {
        let mut out = std::io::stdout().lock();
        if let Err(e) = writeln!(out, "{}", text.as_ref()) {
            let went_away = e.kind() == std::io::ErrorKind::BrokenPipe;
            if !went_away {
                eprintln!("error: write to standard output: {e}");
            }
            std::process::exit(if went_away { Exit::Ok as i32 } else { Exit::Failed as i32 });
        }
    }

    /// One JSON object on a line of its own.
    pub fn object(&self, value: &Value) {
        self.line(value.to_string());
    }

    /// What happened, for a person: not with --quiet or --json.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            eprintln!("{}", text.as_ref());
        }
    }

    /// What a person must not miss, whatever the options.
    pub fn must_say(&self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
    }

    /// What is done and why, with -v.
    pub fn explain(&self, text: impl AsRef<str>) {
        if self.verbose > 0 {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Something that deserves attention and stops nothing.
    pub fn warn(&self, text: impl AsRef<str>) {
        let word = self.paint("33;1", "warning:");
        eprintln!("{word} {}", text.as_ref());
    }

    /// An error with its causes and what to do.
    pub fn error(&self, error: &ClientError) {
        if self.json {
            let causes: Vec<String> = causes(error).collect();
            let value = serde_json::json!({
                "message_type": "exit_error",
                "code": Exit::of(error) as u8,
                "message": error.to_string(),
                "causes": causes,
                "help": hint(error),
            });
            eprintln!("{value}");
            return;
        }
        eprintln!("{} {error}", self.paint("31;1", "error:"));
        for cause in causes(error) {
            eprintln!("  cause: {cause}");
        }
        if let Some(hint) = hint(error) {
            eprintln!("  help:  {hint}");
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The causes below an error, each once.
fn causes(error: &dyn Error) -> impl Iterator<Item = String> {
    let mut said = error.to_string();
    let mut next = error.source();
    std::iter::from_fn(move || {
        while let Some(cause) = next {
            next = cause.source();
            let text = cause.to_string();
            if text != said {
                said.clone_from(&text);
                return Some(text);
            }
        }
        None
    })
}

/// A number of bytes for people: powers of 1024, three digits.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{n} B"),
        (_, v) if v < 9.995 => format!("{v:.2} {}", UNITS[unit]),
        (_, v) if v < 99.95 => format!("{v:.1} {}", UNITS[unit]),
        (_, v) => format!("{v:.0} {}", UNITS[unit]),
    }
}

/// A duration for people.
pub fn duration(d: std::time::Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{:.1} s", d.as_secs_f64()),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02} h", s / 3600, s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let shown = [0, 999, 1000, 1024, 10_240, 1 << 20, 1_500_000_000, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "0.98 KiB", "1.00 KiB", "10.0 KiB", "1.00 MiB", "1.40 GiB", "16.0 EiB"]);
    }
}
