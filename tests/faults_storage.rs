//! Stores that were damaged, as the built programs find them: each ends with a clear error and no signal, and changes nothing.

mod support;

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
    let file = cluster.data(0).join("data.mdb");
    let whole = std::fs::read(&file).expect("a store");
    let mut altered = whole.clone();
    let value = whole.windows(64).position(|bytes| bytes.iter().all(|byte| *byte == b'v')).expect("the value");
    altered[value + 10] = b'w';
    std::fs::write(&file, altered).expect("it can be written");
    assert!(refused(&cluster).contains("checksum"));
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

#[test]
fn a_second_process_is_refused_and_the_log_of_a_running_node_can_be_looked_at() {
    let cluster = Cluster::started(1, &[]);
    let second = cluster.command(0).output().expect("it is built");
    assert!(!second.status.success());
    let data = cluster.data(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..150 {
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
