//! The metrics of a running cluster, and the tables of the README that must be those of the programs.

#![allow(clippy::disallowed_types, reason = "some connections are only held")]

mod support;

use paxos::config::Config;
use paxos::metrics::{Kind, METRICS};
use serde_json::{Value, json};
use std::net::TcpStream;
use support::{Cluster, raw, until};

const README: &str = include_str!("../README.md");

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn metrics(cluster: &Cluster, node: usize) -> String {
    let answer = until("metrics", || cluster.ask(node, "GET", "/metrics", None).filter(|answer| answer.status == 200));
    answer.body.as_str().expect("text").to_owned()
}

/// The value of a sample.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn every_metric_of_the_table_is_there_and_none_else() {
    let cluster = Cluster::started(3, &[("connections_max", json!(16))]);
    cluster.put(0, "k", "a", Some(1)).expect("an answer");
    cluster.put(0, "k", "a", Some(1)).expect("an answer");
    cluster.get(0, "k").expect("an answer");
    cluster.ask(0, "GET", "/kvstore/?limit=x", None).expect("an answer");
    // Something that is no peer, and more clients than are taken.
    let config: Value = serde_json::from_str(&std::fs::read_to_string(&cluster.config).expect("a file")).expect("JSON");
    let rpc = config["nodes"][0]["rpc"].as_str().expect("an address");
    assert_eq!(raw(rpc, b"GET / HTTP/1.1\r\n\r\n"), None);
    let held: Vec<_> = (0..16).map(|_| TcpStream::connect(&cluster.stores[0]).expect("it listens")).collect();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    until("a refusal", || raw(&cluster.stores[0], request).filter(|answer| answer.status == 503));
    drop(held);

    let text = until("all metrics", || {
        let text = metrics(&cluster, 0);
        METRICS
            .iter()
            .all(|metric| text.contains(&format!("# TYPE {} {}\n", metric.name, kind(metric.kind))))
            .then_some(text)
    });
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let metric = METRICS.iter().find(|metric| metric.name == name || metric.name == base);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').expect("labels end").0);
        let labels: Vec<_> =
            labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).filter(|l| *l != "le").collect();
        let expected: Vec<_> = metric.labels.split(", ").filter(|label| !label.is_empty()).collect();
        assert_eq!(labels, expected, "{line}");
        assert!(line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok()), "{line}");
    }
    assert_eq!(sample(&text, r#"paxos_http_requests_total{kind="put",outcome="done"}"#), Some(1.0));
    assert_eq!(sample(&text, r#"paxos_http_requests_total{kind="put",outcome="conflict"}"#), Some(1.0));
    assert_eq!(sample(&text, r#"paxos_http_requests_total{kind="get",outcome="done"}"#), Some(1.0));
    assert_eq!(sample(&text, r#"paxos_http_requests_total{kind="keys",outcome="malformed"}"#), Some(1.0));
    assert_eq!(sample(&text, r#"paxos_http_request_seconds_count{kind="put"}"#), Some(2.0));
    assert!(sample(&text, r#"paxos_slots_applied{node="0"}"#) > Some(0.0));
    assert!(sample(&text, "paxos_commit_seconds_count") > Some(0.0));
    assert!(sample(&text, "paxos_peer_received_bytes_total") > Some(0.0));
    let leading: f64 = (0..3)
        .map(|node| sample(&metrics(&cluster, node), &format!("paxos_leading{{node=\"{node}\"}}")).expect("a gauge"))
        .sum();
    assert_eq!(leading, 1.0, "one node leads");
}

/// The rows of the table below `heading` of the README.
fn rows(heading: &str) -> Vec<&'static str> {
    let (_, section) =
        README.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("the README has no {heading:?}"));
    section
        .lines()
        .skip_while(|line| !line.starts_with("|--"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect()
}

#[test]
fn the_table_of_metrics_in_the_readme_is_that_of_the_node() {
    let rows = rows("### Metrics");
    let expected: Vec<String> = METRICS
        .iter()
        .map(|metric| format!("| `{}` | {} | {} | {} |", metric.name, kind(metric.kind), metric.labels, metric.help))
        .collect();
    assert_eq!(rows, expected, "the table must be:\n{}\n", expected.join("\n"));
}

#[test]
fn the_table_of_the_configuration_in_the_readme_is_that_of_the_node() {
    let Value::Object(fields) = serde_json::to_value(Config::default()).expect("it has a form in JSON") else {
        panic!("a configuration is an object")
    };
    let rows = rows("### Configuration");
    let documented: Vec<&str> = rows.iter().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, names);
    for (row, name) in rows.iter().zip(documented) {
        let default = if name == "nodes" { "none".to_owned() } else { format!("`{}`", fields[name]) };
        assert!(row.starts_with(&format!("| `{name}` | {default} | ")), "the default of {name} is {default}: {row}");
    }
}
