//! Real nodes whose logs are short: they stay so, and a node that was away is brought up by a snapshot, also when it, or whoever sends
//! it, is killed meanwhile, and while others write more than is kept for it.

#![allow(clippy::disallowed_methods, reason = "how long it takes is a part of what is promised")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Cluster, until};

const SNAPSHOT_EVERY: u64 = 16;
const TAIL: u64 = 8;
/// What a log may hold: from one snapshot to the next, the tail, and votes up to the horizon.
const LOG_MAX: u64 = SNAPSHOT_EVERY + TAIL + 64;
const CLIENTS: usize = 8;
const KEYS: usize = 16;
/// How long a node may take to be brought up, and a cluster to go on.
const BROUGHT_UP: Duration = Duration::from_secs(10);

/// The last value of each key.
type Last = BTreeMap<String, String>;

fn number(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {status}"))
}

fn status(cluster: &Cluster, node: usize, pointer: &str) -> u64 {
    number(&until("a status", || cluster.status(node)), pointer)
}

/// Writes until it is acknowledged, by node 0 or 1.
fn write(cluster: &Cluster, first: usize, key: &str, val: &str) {
    let mut node = first;
    until("a write", || {
        node += 1;
        cluster.put(node % 2, key, val, None).filter(|answer| answer.status == 200)
    });
}

/// Clients that write keys of their own over and over.
fn write_much(cluster: &Cluster, rounds: Range<usize>, last: &mut Last) {
    let written = std::thread::scope(|scope| {
        let client = |client| {
            let rounds = rounds.clone();
            let rounds = rounds.flat_map(|round| (0..KEYS).map(move |number| (round, number)));
            scope.spawn(move || {
                let mut last = Last::new();
                for (round, number) in rounds {
                    let (key, val) = (format!("key-{client}-{number}"), format!("{round}-{number}"));
                    write(cluster, client, &key, &val);
                    last.insert(key, val);
                }
                last
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect::<Vec<Last>>()
    });
    last.extend(written.into_iter().flatten());
}

/// The logs of nodes 0 and 1 are short. A node that is sent a snapshot is waited for, so that may take a moment, and another slot.
fn logs_are_short(cluster: &Cluster) {
    until("short logs", || {
        write(cluster, 0, "beside", "x");
        let short = |node| status(cluster, node, "/sizes/log_slots") <= LOG_MAX;
        (short(0) && short(1)).then_some(())
    });
}

/// How many bytes nodes 0 and 1 take in memory, and on the disk.
fn takes(cluster: &Cluster) -> [(u64, u64); 2] {
    [0, 1].map(|node| {
        let file = std::fs::metadata(cluster.data(node).join("data.mdb")).expect("a store");
        (cluster.memory_kib(node, "VmRSS") << 10, file.len())
    })
}

/// Waits until `node` has taken over a snapshot: it keeps no entry of those that it lacked, from slot `had` on.
fn caught_up(cluster: &Cluster, node: usize, had: u64) {
    let decided = status(cluster, 0, "/decided");
    let begin = Instant::now();
    until("it to catch up", || {
        let status = cluster.status(node)?;
        (number(&status, "/applied") >= decided).then_some(())
    });
    assert!(begin.elapsed() < BROUGHT_UP, "caught up after {:?}", begin.elapsed());
    let (snapshot, first) = (status(cluster, node, "/snapshot"), status(cluster, node, "/first"));
    assert!(snapshot > had && first > had, "a snapshot of slot {snapshot}, entries from {first} on; it had {had}");
}

/// A linearizable read at `node` shows the last value of every key, and so does every node once it has applied as much.
fn agree(cluster: &Cluster, node: usize, last: &Last) {
    let read = |node: usize, path: String| {
        until("a read", || cluster.ask(node, "GET", &path, None).filter(|answer| answer.status == 200)).body
    };
    for (key, val) in last {
        assert!(read(node, format!("/kvstore/{key}"))["val"] == **val, "{key} at node {node}");
    }
    let keys: Vec<&String> = last.keys().collect();
    for other in 0..3 {
        assert_eq!(read(other, "/kvstore/".into()), json!(keys), "node {other} has applied as much");
        for key in &keys {
            let path = |consistency| format!("/kvstore/{key}{consistency}");
            assert!(read(other, path("?consistency=local")) == read(node, path("")), "{key} at node {other}");
        }
    }
}

/// What `logcat` says of an arriving snapshot in the store of `node`.
fn arriving(cluster: &Cluster, node: usize) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_logcat")).arg(cluster.data(node)).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.lines().find(|line| line.starts_with("# arriving")).map(str::to_owned)
}

#[test]
fn a_node_that_was_away_is_brought_up_by_a_snapshot_even_if_it_is_killed_meanwhile() {
    let mut cluster = Cluster::started(
        3,
        &[("snapshot_every", json!(SNAPSHOT_EVERY)), ("tail", json!(TAIL)), ("cluster", json!("short"))],
    );
    let mut last = Last::from([("beside".into(), "x".into())]);
    write_much(&cluster, 0..2, &mut last);
    let had = status(&cluster, 2, "/decided");
    assert!(cluster.terminate(2).success());
    write_much(&cluster, 2..5, &mut last);
    let early = takes(&cluster);
    write_much(&cluster, 5..25, &mut last);
    let late = takes(&cluster);
    println!("bytes in memory and on the disk: {early:?}, and five times the writes later {late:?}");
    for (early, late) in early.into_iter().zip(late) {
        assert!(late.0 < early.0 + (16 << 20) && late.1 < 2 * early.1, "{early:?}, then {late:?}");
    }
    assert!(status(&cluster, 0, "/decided") > had + 3 * LOG_MAX);
    logs_are_short(&cluster);
    cluster.start(2);
    caught_up(&cluster, 2, had);
    agree(&cluster, 2, &last);

    // Some tens of parts, so that there is a middle.
    cluster.kill(2);
    for number in 0..100 {
        let (key, val) = (format!("large-{number:03}"), format!("{number}").repeat(200_000));
        write(&cluster, number, &key, &val);
        last.insert(key, val);
    }
    let mut had = 0;
    let told = until("a kill in the middle of a transfer", || {
        had = status(&cluster, 0, "/decided");
        write_much(&cluster, 30..33, &mut last);
        cluster.start(2);
        let seen = until("it to receive or to have caught up", || {
            let arrives = arriving(&cluster, 2).is_some();
            (arrives || status(&cluster, 2, "/applied") >= had).then_some(arrives)
        });
        cluster.kill(2);
        if seen { arriving(&cluster, 2) } else { None }
    });
    println!("killed with {told}");
    write_much(&cluster, 33..36, &mut last);
    cluster.start(2);
    caught_up(&cluster, 2, had);
    assert_eq!(arriving(&cluster, 2), None);
    agree(&cluster, 2, &last);
    logs_are_short(&cluster);
    // And what it has is on its disk.
    cluster.kill(2);
    cluster.start(2);
    agree(&cluster, 2, &last);
}

/// Three nodes with short logs and 130 MB of values.
fn with_much_to_send() -> Cluster {
    let fields = [("snapshot_every", json!(SNAPSHOT_EVERY)), ("tail", json!(TAIL)), ("cluster", json!("middle"))];
    let cluster = Cluster::started(3, &fields);
    cluster.leader(0);
    cluster
}

/// Brings node 2 behind, starts it, and kills whom `victim` names in the middle of what it receives. Returns the slot of that.
fn killed_in_the_middle(cluster: &mut Cluster, victim: impl Fn(&Cluster) -> usize) -> u64 {
    for _ in 0..5 {
        cluster.kill(2);
        for number in 0..220 {
            write(cluster, number, &format!("large-{number:03}"), &format!("{number:03}").repeat(200_000));
        }
        let had = status(cluster, 0, "/decided");
        cluster.start(2);
        let seen = until("it to receive or to have caught up", || {
            let arrives = arriving(cluster, 2).is_some();
            (arrives || status(cluster, 2, "/applied") >= had).then_some(arrives)
        });
        let victim = victim(cluster);
        if seen {
            cluster.kill(victim);
            if let Some(told) = arriving(cluster, 2) {
                println!("node {victim} is killed with {told}");
                let slot = told.strip_prefix("# arriving of slot ").and_then(|told| told.split(':').next());
                return slot.and_then(|slot| slot.parse().ok()).expect("a slot");
            }
            cluster.start(victim);
        }
    }
    panic!("node 2 was never found in the middle");
}

/// How long it takes until `node` has a write acknowledged.
fn writes_again(cluster: &Cluster, node: usize) {
    let begin = Instant::now();
    until("a write", || cluster.put(node, "after", "x", None).filter(|answer| answer.status == 200));
    println!("a write after {:?}", begin.elapsed());
    assert!(begin.elapsed() < BROUGHT_UP, "a write after {:?}", begin.elapsed());
}

#[test]
fn a_leader_that_is_killed_while_it_sends_a_snapshot_leaves_a_cluster_that_goes_on() {
    let mut cluster = with_much_to_send();
    killed_in_the_middle(&mut cluster, |cluster| cluster.leader(0));
    let left = (0..2).find(|node| cluster.runs(*node)).expect("one of them was killed");
    writes_again(&cluster, left);
    cluster.start(1 - left);
    until("both to have it", || {
        let applied = |node| status(&cluster, node, "/applied");
        (applied(2) >= applied(left) && applied(1 - left) >= applied(left)).then_some(())
    });
}

#[test]
fn a_node_that_had_begun_to_receive_what_nobody_keeps_any_more_is_brought_up_when_it_is_needed() {
    let mut cluster = with_much_to_send();
    let slot = killed_in_the_middle(&mut cluster, |_| 2);
    // Who starts anew helps nobody, and what the other kept goes with its next snapshots.
    for node in 0..2 {
        cluster.kill(node);
        cluster.start(node);
    }
    until("another snapshot than the one that it was sent", || {
        write(&cluster, 0, "beside", "x");
        let past = |node| status(&cluster, node, "/first") > slot;
        (past(0) && past(1)).then_some(())
    });
    let other = 1 - cluster.leader(0);
    cluster.kill(other);
    cluster.start(2);
    writes_again(&cluster, 1 - other);
    assert_eq!(arriving(&cluster, 2), None, "it votes, so it has caught up");
}

/// A quarter of such a store may be kept of the log for a node that is behind, which is a fraction of a second's writes.
#[test]
fn a_node_is_brought_up_while_others_write_without_a_pause_more_than_is_kept_for_it() {
    let mut cluster = Cluster::started(
        3,
        &[("snapshot_every", json!(SNAPSHOT_EVERY)), ("tail", json!(TAIL)), ("store_max_mib", json!(96))],
    );
    let value = "v".repeat(100_000);
    for number in 0..300 {
        write(&cluster, number, &format!("large-{number}"), &value);
    }
    let mut had = status(&cluster, 2, "/decided");
    cluster.kill(2);
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let stores = cluster.stores.clone();
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (stop, written, value, stores) = (&stop, &written, &value, &stores);
            scope.spawn(move || {
                let mut number = client;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let url = format!("http://{}/kvstore/large-{}", stores[number % 2], number % 300);
                    let told = support::request(&url, "PUT", Some(json!({"val": value})));
                    written.fetch_add(usize::from(told.is_some_and(|told| told.status == 200)), Ordering::Relaxed);
                }
            });
        }
        let brought_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let kept = 96 << 20 >> 2;
            for _ in 0..6 {
                let before = written.load(Ordering::Relaxed);
                until("writes", || (written.load(Ordering::Relaxed) > before + 300).then_some(()));
                cluster.start(2);
                let before = written.load(Ordering::Relaxed);
                caught_up(&cluster, 2, had);
                let meanwhile = (written.load(Ordering::Relaxed) - before) * value.len();
                println!("{meanwhile} bytes were written meanwhile");
                if meanwhile > kept {
                    return;
                }
                had = status(&cluster, 2, "/decided");
                cluster.kill(2);
            }
            panic!("it was never away while others wrote more than is kept");
        }));
        stop.store(true, Ordering::Relaxed);
        brought_up
    })
    .unwrap_or_else(|failed| std::panic::resume_unwind(failed));
}
