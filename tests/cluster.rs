//! Three real nodes, killed and started again.

mod support;

use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::load::Load;
use support::{Cluster, until};

/// How long the cluster may be without an acknowledged write after its leader was killed.
const GAP_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_cluster_serves_at_every_node() {
    let cluster = Cluster::started(3, &[]);
    let put = cluster.put(1, "k", "a", Some(1)).unwrap();
    assert_eq!((put.status, put.body), (200, json!({"key": "k", "val": "a", "ver": 1})));
    for node in 0..3 {
        assert_eq!(cluster.get(node, "k").unwrap().body, json!({"key": "k", "val": "a", "ver": 1}));
    }
    let conflict = cluster.put(2, "k", "b", Some(1)).unwrap();
    assert_eq!((conflict.status, conflict.body["val"].as_str()), (409, Some("a")));
    assert_eq!(cluster.ask(0, "GET", "/kvstore/", None).unwrap().body, json!(["k"]));
    assert_eq!(cluster.ask(0, "DELETE", "/kvstore/k", None).unwrap().body["ver"], 2);
    assert_eq!(cluster.ask(2, "GET", "/kvstore/", None).unwrap().body, json!([]));
    assert_eq!(cluster.get(1, "k").unwrap().body, json!({"key": "k", "val": "", "ver": 2}));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long the cluster is without a leader is what is tested")]
fn the_leader_is_killed_while_writes_are_in_flight_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::started(3, &[]);
    cluster.put(0, "warm", "up", None).unwrap();
    for round in 0..3u64 {
        let leader = cluster.leader(0);
        let load = Load::new(&format!("round{round}"));
        std::thread::scope(|scope| {
            load.begin(scope, &cluster, 4);
            until("writes", || (load.acknowledged() > 40).then_some(()));
            let killed = Instant::now();
            cluster.kill_by_signal(leader);
            // What was in flight may still be answered, so the gap ends with a write that began after the kill.
            let others = (0..3).filter(|node| *node != leader).collect::<Vec<_>>();
            let path = "/kvstore/after?timeout_ms=500";
            until("a write after the leader's end", || {
                others.iter().find_map(|node| {
                    let answer = cluster.ask(*node, "PUT", path, Some(json!({"val": "x"})))?;
                    (answer.status == 200).then_some(())
                })
            });
            let gap = killed.elapsed();
            println!("round {round}: {gap:?} from the kill to the next acknowledged write");
            assert!(gap < GAP_MAX, "no writes for {gap:?}");
            load.end();
        });
        cluster.reap(leader);
        cluster.start(leader);
        load.judge(&cluster, leader);
    }
}

#[test]
fn all_are_killed_and_started_again() {
    let mut cluster = Cluster::started(3, &[]);
    for number in 0..50 {
        assert_eq!(cluster.put(number % 3, &format!("k{number}"), "v", Some(1)).unwrap().status, 200);
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start(node));
    let keys = until("the keys", || cluster.ask(1, "GET", "/kvstore/", None).filter(|answer| answer.status == 200));
    assert_eq!(keys.body.as_array().unwrap().len(), 50);
    assert_eq!(cluster.put(0, "k7", "again", Some(1)).unwrap().status, 409, "applied once, not again");
}

#[test]
fn a_restart_replays_nothing_twice() {
    let mut cluster = Cluster::started(3, &[]);
    // Without versions each write is the next one, so a second application would show.
    for number in 1..=30u64 {
        let put = cluster.put((number % 3) as usize, "counted", &number.to_string(), None).unwrap();
        assert_eq!((put.status, put.body["ver"].as_u64()), (200, Some(number)));
    }
    for _ in 0..2 {
        for node in 0..3 {
            cluster.kill(node);
            cluster.start(node);
            let read =
                until("the node to catch up", || cluster.get(node, "counted").filter(|answer| answer.status == 200));
            assert_eq!((read.body["ver"].as_u64(), read.body["val"].as_str()), (Some(30), Some("30")), "node {node}");
        }
    }
    assert_eq!(cluster.put(0, "counted", "31", None).unwrap().body["ver"], 31);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that requests end in time is what is tested")]
fn two_of_three_serve_and_one_does_not() {
    let mut cluster = Cluster::started(3, &[]);
    cluster.put(0, "k", "a", None).unwrap();
    cluster.kill(2);
    assert_eq!(cluster.put(0, "k", "b", None).unwrap().status, 200);
    cluster.kill(1);
    for (method, body) in [("PUT", Some(json!({"val": "c", "ver": 3}))), ("GET", None), ("DELETE", None)] {
        let path = if method == "DELETE" { "/kvstore/other?timeout_ms=700" } else { "/kvstore/k?timeout_ms=700" };
        let begin = Instant::now();
        let late = cluster.ask(0, method, path, body).unwrap();
        assert!(matches!(late.status, 503 | 504) && late.body["error"].is_string(), "{method}: {late:?}");
        assert!(begin.elapsed() < Duration::from_millis(2000), "{method}: {:?}", begin.elapsed());
    }
    assert_eq!(cluster.ask(0, "GET", "/readyz?timeout_ms=700", None).unwrap().status, 503);
    assert_eq!(cluster.ask(0, "GET", "/healthz", None).unwrap().status, 200);
    cluster.start(1);
    until("a write after recovery", || cluster.put(0, "k", "d", None).filter(|answer| answer.status == 200));
    assert_eq!(cluster.get(1, "k").unwrap().body["val"], "d");
    until("readiness", || cluster.ask(0, "GET", "/readyz", None).filter(|answer| answer.status == 200));
}

/// Nodes that hang keep their connections, and answer nothing.
#[test]
#[allow(clippy::disallowed_methods, reason = "that requests end in time is what is tested")]
fn requests_end_in_time_also_when_the_others_hang() {
    let cluster = Cluster::started(3, &[]);
    cluster.put(0, "k", "a", Some(1)).unwrap();
    assert_eq!(cluster.ask(0, "GET", "/readyz", None).unwrap().status, 200);
    cluster.hang(1);
    cluster.hang(2);
    for (method, path) in [("GET", "/readyz"), ("GET", "/kvstore/k"), ("PUT", "/kvstore/k"), ("DELETE", "/kvstore/k")] {
        let body = (method == "PUT").then(|| json!({"val": "b", "ver": 2}));
        let begin = Instant::now();
        let late = cluster.ask(0, method, &format!("{path}?timeout_ms=600"), body).unwrap();
        assert!(matches!(late.status, 503 | 504) && late.body["error"].is_string(), "{method} {path}: {late:?}");
        assert!(begin.elapsed() < Duration::from_millis(1600), "{method} {path}: {:?}", begin.elapsed());
    }
    let local = cluster.ask(0, "GET", "/kvstore/k?consistency=local", None).unwrap();
    assert_eq!((local.status, local.body["val"].as_str()), (200, Some("a")));
    cluster.signal(1, "CONT");
    until("a write after recovery", || cluster.put(0, "k", "d", None).filter(|answer| answer.status == 200));
    cluster.signal(2, "CONT");
    until("the last one", || cluster.ask(2, "GET", "/readyz", None).filter(|answer| answer.status == 200));
    assert_eq!(cluster.get(2, "k").unwrap().body["val"], "d");
}

#[test]
fn a_node_stops_when_it_is_asked_to() {
    let mut cluster = Cluster::started(1, &[]);
    cluster.put(0, "k", "a", None).unwrap();
    assert!(cluster.terminate(0).success());
    cluster.start(0);
    assert_eq!(cluster.get(0, "k").unwrap().body["val"], "a");
}

/// Nodes are killed at random moments, one or all at once, while clients write; then everything that was acknowledged is there, once.
#[test]
fn nodes_are_killed_at_random_under_load() {
    const KILLS: usize = 24;
    let mut random = support::random::Random::new(0x5eed_0003, 0);
    let mut below = |bound: u64| random.below(bound) as usize;
    let mut cluster = Cluster::started(3, &[]);
    cluster.put(0, "warm", "up", None).unwrap();
    let load = Load::new("random");
    let mut kills = 0;
    while kills < KILLS {
        let victims: BTreeSet<usize> = match below(4) {
            0 => (0..3).collect(),
            1 => [below(3), below(3)].into(),
            _ => [below(3)].into(),
        };
        std::thread::scope(|scope| {
            load.begin(scope, &cluster, 3);
            let before = load.acknowledged();
            let wanted = before + below(60);
            until("writes", || (load.acknowledged() > wanted).then_some(()));
            victims.iter().for_each(|node| cluster.kill_by_signal(*node));
            load.end();
        });
        for node in &victims {
            cluster.reap(*node);
        }
        for node in victims {
            cluster.start(node);
            kills += 1;
        }
    }
    for node in 0..3 {
        load.judge(&cluster, node);
    }
    println!("{kills} kills, {} writes acknowledged", load.acknowledged());
}

#[test]
fn a_wiped_or_swapped_node_is_refused_until_it_is_replaced() {
    let mut cluster = Cluster::started(3, &[]);
    until("a write", || cluster.put(0, "k", "a", None).filter(|answer| answer.status == 200));
    for node in 0..3 {
        until("each node to be known to all", || cluster.get(node, "k").filter(|answer| answer.status == 200));
    }
    assert!(cluster.terminate(2).success());
    std::fs::remove_dir_all(cluster.data(2)).unwrap();
    cluster.start(2);
    until("the refusal to be told", || {
        let log = std::fs::read_to_string(cluster.log(0)).ok()?;
        (log.contains("another store than before") && log.contains("node replace")).then_some(())
    });
    let refused = cluster.ask(2, "GET", "/kvstore/k?timeout_ms=500", None).unwrap();
    assert!(matches!(refused.status, 503 | 504), "it hears nobody: {refused:?}");
    // It does not count: with one of the others down there is no quorum.
    assert!(cluster.terminate(1).success());
    let alone = cluster.ask(0, "PUT", "/kvstore/k?timeout_ms=700", Some(json!({"val": "b", "ver": 9}))).unwrap();
    assert!(matches!(alone.status, 503 | 504), "a wiped node voted: {alone:?}");
    let replaced = |cluster: &Cluster, node: usize| {
        let told = cluster.node(&["replace", cluster.config.to_str().unwrap(), &node.to_string(), "2"]);
        assert!(told.status.success(), "{told:?}");
    };
    replaced(&cluster, 1);
    cluster.start(1);
    assert!(cluster.terminate(0).success());
    replaced(&cluster, 0);
    cluster.start(0);
    let read = until("the new node to catch up", || cluster.get(2, "k").filter(|answer| answer.status == 200));
    assert!(matches!(read.body["val"].as_str(), Some("a" | "b")), "{read:?}");

    // Two nodes whose disks were swapped notice it themselves.
    (0..3).for_each(|node| assert!(cluster.terminate(node).success()));
    let aside = cluster.directory.path().join("aside");
    std::fs::rename(cluster.data(0), &aside).unwrap();
    std::fs::rename(cluster.data(1), cluster.data(0)).unwrap();
    std::fs::rename(&aside, cluster.data(1)).unwrap();
    for node in 0..2 {
        let output = cluster.command(node).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("another node's"), "node {node}: {said}");
    }
}
