//! What a cluster does by itself: sessions that are not used end, and deleted keys are forgotten, without harm to who writes.

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{Answer, Cluster, raw, until};

fn size(cluster: &Cluster, node: usize, name: &str) -> u64 {
    until("a status", || cluster.status(node)?["sizes"][name].as_u64())
}

fn opened(cluster: &Cluster) -> String {
    let told = until("a session", || cluster.ask(0, "POST", "/session", None).filter(|told| told.status == 200));
    told.body["session"].as_str().expect("its name").to_owned()
}

fn put_in(cluster: &Cluster, session: &str, sequence: u64, key: &str) -> Answer {
    let request = format!(
        "PUT /kvstore/{key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\npaxos-session: {session}\r\npaxos-sequence: {sequence}\r\n\
         content-length: 12\r\n\r\n{{\"val\": \"v\"}}"
    );
    raw(&cluster.stores[1], request.as_bytes()).expect("an answer")
}

#[test]
fn a_session_that_is_not_used_ends_and_one_in_use_stays() {
    let cluster = Cluster::started(3, &[("session_timeout_ms", json!(1500))]);
    // Each node has a session, so that only those of clients come and go.
    for node in 0..3 {
        until("a write", || cluster.put(node, "beside", "x", None).filter(|told| told.status == 200));
    }
    let (unused, used) = (opened(&cluster), opened(&cluster));
    assert_eq!(put_in(&cluster, &unused, 1, "u").status, 200);
    let mut sequence = 0;
    let mut use_it = || {
        sequence += 1;
        let told = put_in(&cluster, &used, sequence, "k");
        assert_eq!((told.status, told.body["ver"].as_u64()), (200, Some(sequence)));
    };
    use_it();
    let before = size(&cluster, 0, "sessions");
    until("a session to end", || {
        use_it();
        (size(&cluster, 0, "sessions") < before).then_some(())
    });
    // The one in use outlives its time several times over.
    for _ in 0..150 {
        use_it();
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let told = put_in(&cluster, &unused, 2, "u");
    let why = told.body["error"].as_str().unwrap_or_default();
    assert!(told.status == 504 && why.contains("not open") && why.contains("unknown"), "{told:?}");
    assert_eq!(cluster.get(2, "u").expect("an answer").body["ver"], 1, "it was not done");
}

/// Sets or deletes a key at the version read, and one more; returns that. Where the key is absent the floor may rise in between: then the
/// answer shows it, still without a value, and it is done anew.
fn rewrite(cluster: &Cluster, node: usize, key: &str, val: &str) -> u64 {
    let read = until("a read", || cluster.get(node, key).filter(|told| told.status == 200)).body;
    let ver = read["ver"].as_u64().expect("a version") + 1;
    let told = cluster.put(node, key, val, Some(ver)).expect("an answer");
    if told.status == 409 && read["val"] == "" && told.body["val"] == "" {
        return rewrite(cluster, node, key, val);
    }
    assert_eq!(told.status, 200, "{key} at {ver}: {told:?}");
    ver
}

#[test]
fn deleted_keys_are_forgotten_and_no_old_write_comes_back() {
    const MOST: u64 = 20;
    let mut cluster = Cluster::started(3, &[("tombstones_max", json!(MOST))]);
    let mut alive = vec![0, 1, 2];
    for round in 0..2 {
        for number in 0..150 {
            let (key, node) = (format!("{round}-{number}"), alive[number % alive.len()]);
            let ver = rewrite(&cluster, node, &key, "v");
            assert_eq!(rewrite(&cluster, node, &key, ""), ver + 1);
        }
        for node in &alive {
            until("few deleted keys", || (size(&cluster, *node, "tombstones") <= MOST).then_some(()));
        }
        for number in 0..150 {
            let told = cluster.put(alive[0], &format!("{round}-{number}"), "old", Some(1)).expect("an answer");
            assert!(told.status == 409 && told.body["val"] == "", "{told:?}");
        }
        if round == 0 {
            // The one that leads next goes on with it.
            let leader = cluster.leader(0);
            cluster.kill(leader);
            alive.retain(|node| *node != leader);
            let first = alive[0];
            until("another leader", || cluster.put(first, "beside", "x", None).filter(|told| told.status == 200));
        }
    }
    let node = alive[0];
    assert!(cluster.get(node, "never").expect("an answer").body["ver"].as_u64() > Some(0), "the floor rose");
    let metrics = cluster.ask(node, "GET", "/metrics", None).expect("an answer");
    let Value::String(text) = metrics.body else { panic!("text") };
    assert!(text.lines().any(|line| line.starts_with(&format!("paxos_tombstones{{node=\"{node}\"}} "))), "{text}");
}

#[test]
fn nothing_is_asked_for_where_nothing_can_be_done() {
    const LAST: u64 = (1 << 53) - 1;
    let cluster = Cluster::started(3, &[("tombstones_max", json!(5)), ("session_timeout_ms", json!(500))]);
    for number in 0..20 {
        let key = format!("{number}");
        until("a write", || cluster.put(0, &key, "", Some(LAST)).filter(|told| matches!(told.status, 200 | 409)));
    }
    assert_eq!(size(&cluster, 0, "tombstones"), 20, "a floor so high would leave no version above it");
    // After a try or two no slot is used any more.
    let decided = || until("a status", || cluster.status(0)?["decided"].as_u64());
    let mut before = decided();
    until("quiet", || {
        std::thread::park_timeout(Duration::from_millis(2500));
        let now = decided();
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    assert_eq!(cluster.get(0, "never").expect("an answer").body["ver"], 0);
}

#[test]
fn deleted_keys_that_take_the_place_of_others_are_forgotten_too() {
    /// Above half of the highest version, so that the floor cannot rise to it.
    const HIGH: u64 = 1 << 52;
    let cluster = Cluster::started(3, &[("tombstones_max", json!(5))]);
    let restore = |entries: &[(&str, &str, u64)]| {
        let entries: Vec<Value> =
            entries.iter().map(|(key, val, ver)| json!({"key": key, "val": val, "ver": ver})).collect();
        let body = json!({"entries": entries});
        let told = until("a write", || {
            cluster.ask(0, "POST", "/restore", Some(body.clone())).filter(|told| told.status == 200)
        });
        assert_eq!(told.body["restored"], entries.len(), "{told:?}");
    };
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    restore(&names.iter().map(|name| (name.as_str(), "", HIGH)).collect::<Vec<_>>());
    let decided = || until("a status", || cluster.status(0)?["decided"].as_u64());
    let mut before = decided();
    until("quiet", || {
        std::thread::park_timeout(Duration::from_millis(2500));
        let now = decided();
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    assert_eq!(size(&cluster, 0, "tombstones"), 20, "none of them can be forgotten");
    // As many as before at once, two of them others.
    restore(&[("0", "v", HIGH + 1), ("1", "v", HIGH + 1), ("low", "", 1), ("lower", "", 2)]);
    until("them to be forgotten", || (size(&cluster, 0, "tombstones") == 18).then_some(()));
    assert_eq!(cluster.get(0, "never").expect("an answer").body["ver"], 2, "the floor");
}
