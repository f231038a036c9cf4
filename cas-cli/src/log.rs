//! What is logged, to standard error: lines for people, or one JSON object a line for programs.

use crate::time;
use cas_client::store::now_ns;
use serde_json::{Map, Value};
use std::fmt;
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How much is logged, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// The least important that is logged.
    pub level: Level,
    /// As JSON.
    pub json: bool,
}

impl Log {
    /// For a command of a person: errors, and more with each `-v`. A server also tells what it does, unless it is quiet.
    pub fn new(verbose: u8, quiet: bool, server: Option<Form>) -> Self {
        let steps = verbose + if server.is_some() && !quiet { 2 } else { 0 };
        let level = match steps {
            0 => Level::ERROR,
            1 => Level::WARN,
            2 => Level::INFO,
            3 => Level::DEBUG,
            _ => Level::TRACE,
        };
        Self { level, json: server.is_some_and(|form| form == Form::Json) }
    }

    /// Starts it, once for a process.
    pub fn start(self) {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let log = tracing_subscriber::fmt().with_max_level(self.level).with_writer(std::io::stderr).with_ansi(colour);
        match self.json {
            true => log.event_format(Lines).init(),
            false => log.with_target(false).init(),
        }
    }
}

/// The form of a server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Text,
    /// Objects for programs.
    Json,
}

/// One object a line: `time`, `level`, `target`, `message`, and what else the event says.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        let mut line = Map::new();
        line.insert("time".to_owned(), time::rfc3339(now_ns()).into());
        line.insert("level".to_owned(), meta.level().as_str().into());
        line.insert("target".to_owned(), meta.target().into());
        event.record(&mut Fields(&mut line));
        writeln!(out, "{}", Value::Object(line))
    }
}

/// Puts what an event says into an object; what it has itself is not replaced.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.entry(field.name()).or_insert(value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_object_on_a_line_whatever_it_says() {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = tracing_subscriber::fmt().event_format(Lines).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!(node = "a\nb", blocks = 7u64, late = true, level = "not this", "it \"happened\"");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["message"], &line["node"]), (&"it \"happened\"".into(), &"a\nb".into()));
        assert_eq!((&line["blocks"], &line["late"], &line["level"]), (&7.into(), &true.into(), &"INFO".into()));
    }

    #[test]
    fn a_server_tells_what_it_does_and_a_command_only_what_goes_wrong() {
        let level = |verbose, quiet, server| Log::new(verbose, quiet, server).level;
        assert_eq!(level(0, false, None), Level::ERROR);
        assert_eq!(level(2, false, None), Level::INFO);
        assert_eq!(level(0, false, Some(Form::Text)), Level::INFO);
        assert_eq!(level(0, true, Some(Form::Json)), Level::ERROR);
    }
}
