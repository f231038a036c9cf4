//! Numbers about a served index: counters and histograms that are kept here, and the text that Prometheus reads.
//!
//! Bounded: a family of numbers has at most [`MAX_CHILDREN`] sets of labels; what comes later counts as `other`.
//! Gauges are not kept: they are looked at when somebody asks (`gauges`).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Sets of labels of one family.
pub const MAX_CHILDREN: usize = 512;
/// The upper borders of the buckets of a histogram of latencies, in microseconds.
const BORDERS_US: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 2_500_000, 10_000_000];

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BORDERS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BORDERS_US.partition_point(|border| *border < us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

/// A family of numbers, by the values of its labels.
#[derive(Debug)]
pub struct Labelled<T, const N: usize> {
    names: [&'static str; N],
    children: RwLock<BTreeMap<[&'static str; N], Arc<T>>>,
}

impl<T: Default, const N: usize> Labelled<T, N> {
    /// With labels of these names.
    pub fn new(names: [&'static str; N]) -> Self {
        Self { names, children: RwLock::default() }
    }

    /// The number with these values.
    pub fn of(&self, values: [&'static str; N]) -> Arc<T> {
        if let Some(child) = self.children.read().unwrap_or_else(PoisonError::into_inner).get(&values) {
            return child.clone();
        }
        let mut children = self.children.write().unwrap_or_else(PoisonError::into_inner);
        let values = if children.len() >= MAX_CHILDREN { ["other"; N] } else { values };
        children.entry(values).or_default().clone()
    }

    fn each(&self, mut visit: impl FnMut(&[(&str, &str)], &T)) {
        for (values, child) in self.children.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels: Vec<(&str, &str)> = self.names.iter().copied().zip(values.iter().copied()).collect();
            visit(&labels, child);
        }
    }
}

/// What a served index counts.
#[derive(Debug)]
pub struct Metrics {
    /// Requests by family, request and how they ended.
    pub requests: Labelled<Counter, 3>,
    /// Bytes of their arguments by family and request.
    pub request_bytes: Labelled<Counter, 2>,
    /// How long they took, by family and request.
    pub seconds: Labelled<Histogram, 2>,
    /// Runs by task and how they ended.
    pub runs: Labelled<Counter, 2>,
    /// What runs worked on, by task.
    pub run_items: Labelled<Counter, 1>,
    /// Its bytes, by task.
    pub run_bytes: Labelled<Counter, 1>,
    /// How long runs took, by task.
    pub run_seconds: Labelled<Histogram, 1>,
    /// Sessions that expired.
    pub expired: Counter,
    /// Times that something done once a tick went wrong, by what.
    pub faults: Labelled<Counter, 1>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Labelled::new(["family", "request", "end"]),
            request_bytes: Labelled::new(["family", "request"]),
            seconds: Labelled::new(["family", "request"]),
            runs: Labelled::new(["task", "end"]),
            run_items: Labelled::new(["task"]),
            run_bytes: Labelled::new(["task"]),
            run_seconds: Labelled::new(["task"]),
            expired: Counter::default(),
            faults: Labelled::new(["what"]),
        }
    }
}

impl Metrics {
    /// Writes all of them.
    pub fn write(&self, page: &mut Page) {
        page.counters("cas_requests_total", "Requests answered, by how they ended.", &self.requests);
        page.counters("cas_request_bytes_total", "Bytes of requests.", &self.request_bytes);
        page.histograms("cas_request_seconds", "How long requests took.", &self.seconds);
        page.counters("cas_runs_total", "Runs of gc, scrub, retention and backup, by how they ended.", &self.runs);
        page.counters("cas_run_items_total", "What runs worked on: blocks, versions or rows.", &self.run_items);
        page.counters("cas_run_bytes_total", "Bytes that runs worked on.", &self.run_bytes);
        page.histograms("cas_run_seconds", "How long runs took.", &self.run_seconds);
        page.head("cas_sessions_expired_total", "counter", "Push sessions that were silent for too long.");
        page.value("cas_sessions_expired_total", &[], self.expired.get());
        page.counters("cas_background_faults_total", "Times that background work went wrong.", &self.faults);
    }
}

/// Text in Prometheus' exposition format.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }

    /// Begins a family.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.value(name, &[], value);
    }

    /// One number.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn counters<const N: usize>(&mut self, name: &str, help: &str, all: &Labelled<Counter, N>) {
        self.head(name, "counter", help);
        all.each(|labels, counter| self.value(name, labels, counter.get()));
    }

    fn histograms<const N: usize>(&mut self, name: &str, help: &str, all: &Labelled<Histogram, N>) {
        self.head(name, "histogram", help);
        all.each(|labels, histogram| self.histogram(name, labels, histogram));
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let borders = BORDERS_US.iter().map(|us| seconds(*us)).chain(["+Inf".to_owned()]);
        let mut total = 0;
        for (border, bucket) in borders.zip(&histogram.buckets) {
            total += bucket.load(Ordering::Relaxed);
            self.value(&format!("{name}_bucket"), &[labels, &[("le", &border)]].concat(), total);
        }
        self.value(&format!("{name}_sum"), labels, seconds(histogram.sum_us.load(Ordering::Relaxed)));
        self.value(&format!("{name}_count"), labels, total);
    }
}

fn seconds(us: u64) -> String {
    (us as f64 / 1e6).to_string()
}

/// A value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.gauge("cas_up", "Whether.", 1);
        page.value("cas_node_bytes", &[("rack", "a\"b\\c\nd"), ("node", "n")], 5);
        let all = Labelled::new(["what"]);
        let histogram: Arc<Histogram> = all.of(["x"]);
        [100, 101, 20_000_000].into_iter().for_each(|us| histogram.observe(Duration::from_micros(us)));
        page.histograms("cas_seconds", "Long.", &all);
        let text = page.into_text();
        for line in [
            "# HELP cas_up Whether.",
            "# TYPE cas_up gauge",
            "cas_up 1",
            r#"cas_node_bytes{rack="a\"b\\c\nd",node="n"} 5"#,
            r#"cas_seconds_bucket{what="x",le="0.0001"} 1"#,
            r#"cas_seconds_bucket{what="x",le="0.00025"} 2"#,
            r#"cas_seconds_bucket{what="x",le="10"} 2"#,
            r#"cas_seconds_bucket{what="x",le="+Inf"} 3"#,
            r#"cas_seconds_sum{what="x"} 20.000201"#,
            r#"cas_seconds_count{what="x"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn labels_without_end_are_counted_as_others() {
        let all: Labelled<Counter, 1> = Labelled::new(["what"]);
        for n in 0..2 * MAX_CHILDREN {
            all.of([Box::leak(n.to_string().into_boxed_str())]).add(1);
        }
        let (mut children, mut total) = (0, 0);
        all.each(|_, counter| (children, total) = (children + 1, total + counter.get()));
        assert_eq!((children, total), (MAX_CHILDREN + 1, 2 * MAX_CHILDREN as u64));
    }
}
