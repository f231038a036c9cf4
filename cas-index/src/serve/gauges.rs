//! What can be looked at when somebody asks: the index, its nodes, its server.

use super::metrics::Page;
use crate::Index;
use cas_net::cluster::{Cluster, ClusterStatus, Health, NodeInfo, NodeWant};
use cas_net::server::Load;
use cas_net::{Index as _, IndexStatus, Result};

/// Writes all of them.
pub(super) fn write(page: &mut Page, index: &Index, load: Load) -> Result<()> {
    of_index(page, &index.status()?);
    page.gauge("cas_durable_epoch", "Commands up to this one are durable.", index.durable_epoch().0);
    page.gauge("cas_time_seconds", "Cluster time, since 1970.", index.cluster_time_ns() as f64 / 1e9);
    page.gauge("cas_connections", "Connections.", load.connections);
    page.gauge("cas_requests_under_way", "Requests taken and not yet answered.", load.requests);
    page.gauge("cas_request_memory_bytes", "Bytes of requests and answers that are held.", load.bytes);
    of_cluster(page, &index.cluster_status()?);
    of_nodes(page, &index.nodes()?);
    Ok(())
}

fn of_index(page: &mut Page, status: &IndexStatus) {
    let IndexStatus { epoch, live, bad, condemned, unreferenced, bytes, sessions } = status;
    page.gauge("cas_epoch", "Commands applied; its rate is that of changes.", epoch.0);
    page.head("cas_blocks", "gauge", "Blocks, by state.");
    for (state, count) in [("live", live), ("bad", bad), ("condemned", condemned)] {
        page.value("cas_blocks", &[("state", state)], count);
    }
    page.gauge("cas_unreferenced_blocks", "Blocks nobody references, which wait for the collector.", unreferenced);
    page.gauge("cas_stored_bytes", "Stored bytes of all blocks, each once.", bytes);
    page.gauge("cas_sessions", "Push sessions that live.", sessions.len());
    let oldest = sessions.iter().map(|session| session.started_ns).min();
    page.gauge(
        "cas_oldest_session_start_seconds",
        "When the oldest push session began, since 1970; 0 if there is none. The collector waits for it.",
        oldest.map_or(0.0, |ns| ns as f64 / 1e9),
    );
}

fn of_cluster(page: &mut Page, status: &ClusterStatus) {
    page.gauge("cas_healthy", "1 if everything is where it should be.", u8::from(status.is_healthy()));
    page.gauge("cas_layout_version", "Version of the layout; 0 while there is none.", status.layout);
    page.head("cas_partitions", "gauge", "Partitions that are not at rest, by why.");
    for (why, count) in [
        ("to_move", status.to_move),
        ("moving", status.moving),
        ("uncounted", status.uncounted),
        ("unreachable", status.unreachable),
    ] {
        page.value("cas_partitions", &[("why", why)], count);
    }
    page.gauge("cas_short_blocks", "Blocks with fewer copies than they should have.", status.short);
    page.gauge("cas_lost_blocks", "Blocks without any copy that counts.", status.lost);
    page.gauge("cas_heal_suspended", "1 while too many nodes vanished at once.", u8::from(status.suspended));
    page.head("cas_healed_blocks_total", "counter", "Blocks copied by healing and moving since the start.");
    page.value("cas_healed_blocks_total", &[], status.copied);
    page.head("cas_healed_bytes_total", "counter", "Their bytes.");
    page.value("cas_healed_bytes_total", &[], status.copied_bytes);
}

fn of_nodes(page: &mut Page, nodes: &[NodeInfo]) {
    let keys: Vec<String> = nodes.iter().map(|node| node.node.0.to_string()).collect();
    let mut family = |name: &str, help: &str, value: &dyn Fn(&NodeInfo) -> Option<f64>| {
        page.head(name, "gauge", help);
        for (node, key) in nodes.iter().zip(&keys) {
            if let Some(value) = value(node) {
                page.value(name, &[("node", key), ("rack", &node.rack)], value);
            }
        }
    };
    let health = |node: &NodeInfo| match node.health {
        Health::Up => 2.0,
        Health::Suspect => 1.0,
        Health::Down => 0.0,
    };
    let wanted = |node: &NodeInfo| u8::from(matches!(node.want, NodeWant::Member | NodeWant::New)).into();
    family("cas_node_health", "2 up, 1 suspect, 0 down.", &|node| Some(health(node)));
    family("cas_node_wanted", "1 unless it drains or is removed.", &|node| Some(wanted(node)));
    family("cas_node_silent_seconds", "Since it was heard.", &|node| node.silent_ms.map(|ms| ms as f64 / 1e3));
    family("cas_node_capacity_bytes", "What it may use.", &|node| Some(node.space.capacity as f64));
    family("cas_node_used_bytes", "Live and dead records.", &|node| Some(node.space.used as f64));
    family("cas_node_free_bytes", "What it can still take.", &|node| Some(node.space.free as f64));
    family("cas_node_requests", "Requests under way at it.", &|node| Some(node.load.requests.into()));
    family("cas_node_in_flight_bytes", "Bytes of bodies in flight at it.", &|node| Some(node.load.bytes as f64));
    family("cas_node_sync_seconds", "How long its disk takes to sync.", &|node| {
        Some(f64::from(node.load.sync_us) / 1e6)
    });
    family("cas_node_partitions", "Copies of partitions it holds.", &|node| Some(node.partitions.into()));
}
