//! What a member counts, as text for Prometheus.

use super::Inner;
use crate::latency::{Counter, LATENCY_BOUNDS_US};
use cas_net::{Node, Result};
use std::fmt::{Display, Write};

/// Writes all numbers.
pub fn write(inner: &Inner) -> Result<String> {
    let mut page = Page(String::new());
    let (stats, space, load) = (inner.store.stats()?, inner.space()?, inner.load());
    page.gauge("cas_node_up", "1 while it writes and the index hears it.", u8::from(inner.health().is_ok()));
    page.gauge("cas_node_blocks", "Blocks stored.", stats.blocks);
    page.gauge("cas_node_live_bytes", "Bytes of live records.", stats.live_bytes);
    page.gauge("cas_node_dead_bytes", "Bytes of dead records, until compaction.", stats.dead_bytes);
    page.gauge("cas_node_segments", "Segment files.", stats.segments);
    page.gauge("cas_node_capacity_bytes", "Bytes it may use.", space.capacity);
    page.gauge("cas_node_used_bytes", "Bytes of all segments.", space.used);
    page.gauge("cas_node_free_bytes", "Bytes it can still take.", space.free);
    page.gauge("cas_node_connections", "Connections.", inner.connections());
    page.gauge("cas_node_requests", "Requests under way.", load.requests);
    page.gauge("cas_node_request_bytes", "Bytes of requests and answers held.", load.bytes);
    page.gauge("cas_node_layout_version", "Version of the layout it goes by.", inner.standing.version());
    page.gauge("cas_node_partitions", "Partitions it is a member of.", inner.standing.partitions());
    page.gauge("cas_node_orders_under_way", "Things ordered and not yet done.", inner.desk.under_way());
    page.gauge("cas_node_losses_untold", "Lost blocks that the index does not know of yet.", inner.losses.waiting());
    let m = &inner.metrics;
    page.counter("cas_node_puts_total", "Blocks that were put.", &m.puts);
    page.counter("cas_node_put_bytes_total", "Bytes of blocks that were put.", &m.put_bytes);
    page.counter("cas_node_sent_on_total", "Blocks sent on to other nodes.", &m.sent_on);
    page.counter("cas_node_passed_over_total", "Blocks that a node on their way did not take.", &m.passed_over);
    page.counter("cas_node_gets_total", "Blocks that were got.", &m.gets);
    page.counter("cas_node_get_bytes_total", "Bytes of blocks that were got.", &m.get_bytes);
    page.counter("cas_node_refusals_total", "Requests refused for want of rights or membership.", &m.refusals);
    page.counter("cas_node_copies_total", "Blocks copied from peers.", &m.copies);
    page.counter("cas_node_copied_bytes_total", "Bytes of blocks copied from peers.", &m.copied_bytes);
    page.counter("cas_node_touched_total", "Blocks that were to be copied and were here.", &m.touched);
    page.counter("cas_node_copies_failed_total", "Copies that were not made.", &m.copies_failed);
    page.counter("cas_node_deletes_total", "Blocks deleted.", &m.deletes);
    page.counter("cas_node_scrubbed_bytes_total", "Bytes verified by scrubbing.", &m.scrubbed_bytes);
    page.counter("cas_node_damaged_total", "Blocks found damaged or lost.", &m.damaged);
    page.counter("cas_node_compacted_bytes_total", "Bytes freed by compaction.", &m.compacted_bytes);
    page.counter("cas_node_beats_total", "Beats that the index answered.", &m.beats);
    page.counter("cas_node_beats_failed_total", "Beats that it did not.", &m.beats_failed);
    page.counter("cas_node_orders_total", "Orders taken.", &m.orders);
    page.syncs(inner);
    Ok(page.0)
}

struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.number(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: &Counter) {
        self.number(name, "counter", help, value.get());
    }

    fn number(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"));
    }

    /// Buckets add up, as Prometheus wants them.
    fn syncs(&mut self, inner: &Inner) {
        let (name, syncs) = ("cas_node_sync_seconds", inner.store.syncs());
        self.line(format_args!("# HELP {name} How long groups took to become durable.\n# TYPE {name} histogram"));
        let mut sum = 0;
        let buckets = syncs.buckets();
        for (count, bound) in buckets.iter().zip(LATENCY_BOUNDS_US) {
            sum += count;
            self.line(format_args!("{name}_bucket{{le=\"{}\"}} {sum}", bound as f64 / 1e6));
        }
        let all: u64 = buckets.iter().sum();
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {}", syncs.sum_us() as f64 / 1e6));
        self.line(format_args!("{name}_count {all}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).and_then(|()| self.0.write_char('\n')).expect("a string takes everything");
    }
}
