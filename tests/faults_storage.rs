//! Stores that were damaged, as the built programs find them: each ends with a clear error and no signal, and changes nothing.

mod support;

use paxos::storage::disk::DiskStore;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use support::{Cluster, until};

/// Runs the node on its store, which it must refuse, and the log's printer. Returns what the node says.
fn refused(cluster: &Cluster) -> String {
    let log = Command::new(env!("CARGO_BIN_EXE_logcat")).arg(cluster.data(0)).output().expect("it is built");
    let node = cluster.command(0).output().expect("it is built");
    for output in [&log, &node] {
        assert_eq!(output.status.signal(), None, "{output:?}");
        assert!(!output.status.success(), "{output:?}");
    }
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text(&node).contains("panicked") && !text(&log).contains("panicked"), "{node:?} {log:?}");
    assert!(text(&node).contains(&cluster.data(0).display().to_string()), "{node:?}");
    text(&node)
}

fn with_a_key() -> Cluster {
    let mut cluster = Cluster::started(1, &[]);
    assert_eq!(cluster.put(0, "k", &"v".repeat(100_000), Some(1)).expect("an answer").status, 200);
    cluster.kill(0);
    cluster
}

#[test]
fn a_truncated_store_is_refused_and_goes_on_when_it_is_brought_back() {
    let mut cluster = with_a_key();
    let file = cluster.data(0).join("data.mdb");
    let whole = std::fs::read(&file).expect("a store");
    for length in [0, 100, 4096, 8192, whole.len() / 2, whole.len() - 4096] {
        std::fs::write(&file, &whole[..length]).expect("it can be written");
        assert!(refused(&cluster).contains("truncated"), "{length} of {} bytes", whole.len());
        assert_eq!(std::fs::read(&file).expect("it is there").len(), length, "it is left as it is");
    }
    std::fs::write(&file, &whole).expect("it can be written");
    cluster.start(0);
    assert_eq!(until("the key", || cluster.get(0, "k").filter(|answer| answer.status == 200)).body["ver"], 1);
}

#[test]
fn a_store_that_was_removed_or_altered_is_refused() {
    let cluster = with_a_key();
    // What was written last is in the journal.
    let file = cluster.data(0).join("journal");
    let whole = std::fs::read(&file).expect("a journal");
    let mut altered = whole.clone();
    let value = whole.windows(64).position(|bytes| bytes.iter().all(|byte| *byte == b'v')).expect("the value");
    altered[value + 10] = b'w';
    std::fs::write(&file, altered).expect("it can be written");
    assert!(refused(&cluster).contains("checksum"));
    std::fs::remove_file(&file).expect("it is there");
    assert!(refused(&cluster).contains("missing"));
    std::fs::write(&file, whole).expect("it can be written");
    let file = cluster.data(0).join("data.mdb");
    let whole = std::fs::read(&file).expect("a store");
    let mut meta = whole.clone();
    meta[..8192].rotate_left(4096);
    std::fs::write(&file, meta).expect("it can be written");
    assert!(refused(&cluster).contains("damaged"));
    std::fs::write(&file, whole).expect("it can be written");
    std::fs::write(cluster.data(0).join("peers.json"), "{}").expect("it can be written");
    std::fs::remove_file(&file).expect("it is there");
    assert!(refused(&cluster).contains("without the store"));
    assert!(!file.exists(), "it is not begun anew");
}

/// Runs the node, which must refuse to start. Returns what it says.
fn refused_by_node(cluster: &Cluster) -> String {
    let node = cluster.command(0).output().expect("it is built");
    assert_eq!(node.status.code(), Some(1), "{node:?}");
    String::from_utf8_lossy(&node.stderr).into_owned()
}

#[test]
fn what_is_known_of_the_cluster_is_missed_where_a_store_was_used() {
    let mut cluster = with_a_key();
    let file = cluster.data(0).join("peers.json");
    let whole = std::fs::read_to_string(&file).expect("it is there");
    std::fs::remove_file(&file).expect("it is there");
    let why = refused_by_node(&cluster);
    assert!(why.contains("nodes[0].data") && why.contains("peers.json is missing"), "{why}");
    assert!(!file.exists(), "it is not begun anew");
    std::fs::write(&file, whole.replace("\"nodes\": 1", "\"nodes\": 3")).expect("it can be written");
    let why = refused_by_node(&cluster);
    assert!(why.contains("peers.json is damaged") && why.contains("checksum"), "{why}");
    // As the error says.
    std::fs::write(&file, r#"{"nodes": 1, "stores": {}}"#).expect("it can be written");
    cluster.start(0);
    assert_eq!(until("the key", || cluster.get(0, "k").filter(|answer| answer.status == 200)).body["ver"], 1);
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), whole);
}

#[test]
fn a_peer_is_not_replaced_where_it_is_not_known_who_the_others_were() {
    let mut cluster = Cluster::started(3, &[]);
    // A node that is led need not have saved anything. One that was asked has.
    assert_eq!(cluster.put(0, "k", "v", Some(1)).expect("an answer").status, 200);
    cluster.kill(0);
    let file = cluster.data(0).join("peers.json");
    std::fs::remove_file(&file).expect("it is there");
    let replaced = cluster.node(&["replace", cluster.config.to_str().expect("text"), "0", "1"]);
    let why = String::from_utf8_lossy(&replaced.stderr);
    assert!(replaced.status.code() == Some(1) && why.contains("peers.json is missing"), "{why}");
    assert!(!file.exists());
}

#[test]
fn a_first_start_that_ended_before_anything_was_saved_is_begun_again() {
    let mut cluster = Cluster::new(1, &[]);
    drop(DiskStore::open(&cluster.data(0), "paxos", 0, 64 << 30).expect("it is made"));
    assert!(!cluster.data(0).join("peers.json").exists());
    cluster.start(0);
    assert!(cluster.data(0).join("peers.json").exists());
}

#[test]
fn a_second_process_is_refused_and_the_log_of_a_running_node_can_be_looked_at() {
    let cluster = Cluster::started(1, &[]);
    let second = cluster.command(0).output().expect("it is built");
    assert!(!second.status.success());
    let data = cluster.data(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..700 {
                let key = format!("k{number}");
                assert_eq!(cluster.put(0, &key, &"v".repeat(2000), None).expect("an answer").status, 200);
            }
        });
        while !writer.is_finished() {
            let log = Command::new(env!("CARGO_BIN_EXE_logcat")).arg(&data).output().expect("it is built");
            assert!(log.status.success(), "{log:?}");
        }
    });
}
