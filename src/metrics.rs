//! What a node counts and measures, for Prometheus. The table in `README.md` is this one; a test compares them.

use crate::node::Status;
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts what was measured, by size.
    Histogram,
}

/// A metric, as Prometheus and the README know it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static str,
    /// What it tells.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// All of them.
pub const METRICS: &[Metric] = &[
    metric("paxos_http_requests_total", Kind::Counter, "kind, outcome", "requests of clients that were answered"),
    metric("paxos_http_request_seconds", Kind::Histogram, "kind", "time from a request's headers to its answer"),
    metric("paxos_http_received_bytes_total", Kind::Counter, "", "bytes of the bodies of requests"),
    metric("paxos_http_sent_bytes_total", Kind::Counter, "", "bytes of the bodies of answers"),
    metric("paxos_http_connections", Kind::Gauge, "", "open connections of clients"),
    metric("paxos_http_connections_refused_total", Kind::Counter, "", "connections over `connections_max`"),
    metric("paxos_ballot_round", Kind::Gauge, "node", "round of the highest ballot promised"),
    metric("paxos_ballot_node", Kind::Gauge, "node", "node of the highest ballot promised"),
    metric("paxos_leader", Kind::Gauge, "node", "the node that is followed; -1 if none"),
    metric("paxos_leading", Kind::Gauge, "node", "1 if this node leads"),
    metric("paxos_slots_decided", Kind::Gauge, "node", "every slot below is decided here"),
    metric("paxos_slots_applied", Kind::Gauge, "node", "every slot below is applied here"),
    metric("paxos_snapshot_slot", Kind::Gauge, "node", "the slot of the snapshot, which holds what is applied below"),
    metric("paxos_log_slots", Kind::Gauge, "node", "slots that the log holds"),
    metric("paxos_sessions", Kind::Gauge, "node", "open sessions"),
    metric("paxos_tombstones", Kind::Gauge, "node", "deleted keys that are remembered with their versions"),
    metric("paxos_requests_waiting", Kind::Gauge, "node", "requests of clients that are under way"),
    metric(
        "paxos_queue_length",
        Kind::Gauge,
        "node, queue",
        "inputs that wait for the loop, of `peers` and of `clients`",
    ),
    metric(
        "paxos_store_full",
        Kind::Gauge,
        "node",
        "1 if there is no room for values: from nine tenths of `store_max_mib` on",
    ),
    metric("paxos_commit_seconds", Kind::Histogram, "", "time of a commit to the store, synced"),
    metric("paxos_peer_queue_bytes", Kind::Gauge, "node, peer", "bytes of messages that wait to be sent to a peer"),
    metric("paxos_peer_sent_bytes_total", Kind::Counter, "", "bytes sent to peers"),
    metric("paxos_peer_received_bytes_total", Kind::Counter, "", "bytes of messages from peers"),
    metric("paxos_dropped_total", Kind::Counter, "reason", "messages and connections of peers that were dropped"),
];

/// The bounds of the histograms, in seconds.
const BUCKETS: [f64; 14] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// How often what was measured is sorted into the histograms, where it takes no more room.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to record for this process. Must be called in a runtime.
pub fn install() -> Result<PrometheusHandle, String> {
    let failed = |error| format!("cannot record metrics: {error}");
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(failed)?;
    let handle = builder.install_recorder().map_err(failed)?;
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, *help),
        }
    }
    let kept = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(handle)
}

/// The gauge of what waits at a node to be sent to a peer.
pub(crate) fn peer_queue_bytes(node: u64, peer: u64) -> metrics::Gauge {
    metrics::gauge!("paxos_peer_queue_bytes", "node" => node.to_string(), "peer" => peer.to_string())
}

/// Sets the gauges of a node to what it says of itself.
pub(crate) fn tell_node(node: u64, status: &Status, queued: [(&'static str, usize); 2]) {
    let leader = status.leader.map_or(-1.0, |leader| usize::from(leader) as f64);
    for (name, value) in [
        ("paxos_ballot_round", status.ballot.round as f64),
        ("paxos_ballot_node", usize::from(status.ballot.node) as f64),
        ("paxos_leader", leader),
        ("paxos_leading", f64::from(u8::from(status.role == "leader"))),
        ("paxos_slots_decided", status.decided as f64),
        ("paxos_slots_applied", status.applied as f64),
        ("paxos_snapshot_slot", status.snapshot as f64),
        ("paxos_sessions", status.sessions as f64),
        ("paxos_tombstones", status.tombstones as f64),
        ("paxos_log_slots", status.log_slots as f64),
        ("paxos_requests_waiting", status.requests as f64),
        ("paxos_store_full", f64::from(u8::from(status.full))),
    ] {
        metrics::gauge!(name, "node" => node.to_string()).set(value);
    }
    for (queue, length) in queued {
        metrics::gauge!("paxos_queue_length", "node" => node.to_string(), "queue" => queue).set(length as f64);
    }
}
