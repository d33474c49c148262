//! Three real nodes, killed and started again.

mod support;

use serde_json::json;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Cluster, until};

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
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        let stop = AtomicBool::new(false);
        let applied = |cluster: &Cluster| cluster.status(others[0]).and_then(|status| status["applied"].as_u64());
        let before = until("a status", || applied(&cluster));
        let acknowledged = std::thread::scope(|scope| {
            let (cluster_ref, stop) = (&cluster, &stop);
            let writers: Vec<_> = others
                .iter()
                .map(|node| {
                    scope.spawn(move || {
                        let mut acknowledged = Vec::new();
                        for number in 0..100_000u64 {
                            let key = format!("r{round}n{node}k{number}");
                            if cluster_ref.put(*node, &key, "v", Some(1)).is_some_and(|answer| answer.status == 200) {
                                acknowledged.push(key);
                            }
                            if stop.load(Ordering::Relaxed) {
                                break;
                            }
                        }
                        acknowledged
                    })
                })
                .collect();
            until("writes", || applied(cluster_ref).filter(|now| *now > before + 40));
            let pid_killed = Instant::now();
            cluster_ref.kill_by_signal(leader);
            until("a write after the leader's end", || {
                cluster_ref.put(others[0], "after", "x", None).filter(|answer| answer.status == 200)
            });
            let gap = pid_killed.elapsed();
            assert!(gap < Duration::from_secs(10), "no writes for {gap:?}");
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        cluster.reap(leader);
        assert!(acknowledged.len() > 10);
        cluster.start(leader);
        for key in &acknowledged {
            let entry = cluster.get(leader, key).unwrap();
            assert_eq!((entry.status, entry.body["ver"].as_u64()), (200, Some(1)), "{key} is lost");
        }
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
fn two_of_three_serve_and_one_does_not() {
    let mut cluster = Cluster::started(3, &[]);
    cluster.put(0, "k", "a", None).unwrap();
    cluster.kill(2);
    assert_eq!(cluster.put(0, "k", "b", None).unwrap().status, 200);
    cluster.kill(1);
    let late = cluster.ask(0, "PUT", "/kvstore/k?timeout_ms=700", Some(json!({"val": "c"}))).unwrap();
    assert!(matches!(late.status, 503 | 504), "{late:?}");
    let late = cluster.ask(0, "GET", "/kvstore/k?timeout_ms=700", None).unwrap();
    assert!(matches!(late.status, 503 | 504), "{late:?}");
    assert_eq!(cluster.ask(0, "GET", "/readyz", None).unwrap().status, 503);
    cluster.start(1);
    until("a write after recovery", || cluster.put(0, "k", "d", None).filter(|answer| answer.status == 200));
    assert_eq!(cluster.get(1, "k").unwrap().body["val"], "d");
}

#[test]
fn a_node_stops_when_it_is_asked_to() {
    let mut cluster = Cluster::started(1, &[]);
    cluster.put(0, "k", "a", None).unwrap();
    let log = Command::new(env!("CARGO_BIN_EXE_logcat")).arg(cluster.data(0)).output().unwrap();
    assert!(log.status.success() && String::from_utf8_lossy(&log.stdout).contains("voted in"), "{log:?}");
    assert!(cluster.terminate(0).success());
    cluster.start(0);
    assert_eq!(cluster.get(0, "k").unwrap().body["val"], "a");
}
