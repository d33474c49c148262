//! Real nodes under fire, briefly; and the tests of those who judge it. `tests/fire/soak` runs for longer.

#![allow(dead_code, reason = "the example uses the rest")]

#[path = "../support/check.rs"]
mod check;
mod harness;
mod judgement;
mod naive;

use harness::Settings;
use harness::network::Network;
use harness::nodes::Nodes;
use harness::request::{Attempt, Sender};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Tries again until there is something, for twenty seconds at most.
#[allow(clippy::disallowed_methods, reason = "what runs for real has a clock")]
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "no {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Also where a page is written in its place there may be no room, as where blocks are shared or not yet there. LMDB refuses everything from
/// then on; but the store is as it was, and nobody is to replace the node.
#[test]
fn a_node_whose_meta_page_finds_no_room_stops_and_has_everything_when_it_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let network = Network::new(1, false, 1).unwrap();
    let node = Path::new(env!("CARGO_BIN_EXE_node"));
    let mut nodes = Nodes::new(directory.path(), node, &network, &[], &["tcp"], None).unwrap();
    let (sender, store) = (Sender::new(), network.stores()[0]);
    let put = |val: String| {
        let body = format!("{{\"val\": \"{val}\"}}");
        sender.send(store, ("PUT", "/kvstore/k", &body), &[], 500)
    };
    nodes.start(0).unwrap();
    until("write", || matches!(put("a".into()), Attempt::Answer(200, _)).then_some(()));
    nodes.shim(0).meta_full().unwrap();
    nodes.may_end(0, true);
    // Larger than the journal, so that it goes to LMDB.
    assert!(!matches!(put("b".repeat(1 << 20)), Attempt::Answer(200 | 503, _)), "it is not done, and nobody can know");
    until("end", || (nodes.look() == Ok(1)).then_some(()));
    let told = nodes.told(0);
    assert!(told.contains("full") && told.contains("start") && !told.contains("node replace"), "{told}");
    nodes.shim(0).full(false).unwrap();
    nodes.start(0).unwrap();
    let read = until("read", || sender.get(store, "/kvstore/k", 500));
    assert!(nodes.told(0).contains("is completed"), "LMDB wrote the page again: {}", nodes.told(0));
    let value = read["val"].as_str().expect("a value");
    assert!(value == "a" || value.len() == 1 << 20, "{value:.9}");
}

/// What is on the disk is not known then; and where the journal is read and not synced, it is not at a start either.
#[test]
fn a_node_whose_journal_cannot_be_synced_stops_and_does_not_start_until_it_can() {
    let errors =
        [(5, "Input/output error", "cannot use the data directory"), (28, "No space left", "no room for a store")];
    for (error, words, at_start) in errors {
        let directory = tempfile::tempdir().unwrap();
        let network = Network::new(1, false, 1).unwrap();
        let node = Path::new(env!("CARGO_BIN_EXE_node"));
        let mut nodes = Nodes::new(directory.path(), node, &network, &[], &["tcp"], None).unwrap();
        let (sender, store) = (Sender::new(), network.stores()[0]);
        let put = |val: &str| sender.send(store, ("PUT", "/kvstore/k", &format!("{{\"val\": \"{val}\"}}")), &[], 500);
        nodes.start(0).unwrap();
        until("write", || matches!(put("a"), Attempt::Answer(200, _)).then_some(()));
        nodes.shim(0).journal_syncs_fail(error).unwrap();
        nodes.may_end(0, true);
        assert!(!matches!(put("b"), Attempt::Answer(200 | 503, _)), "it is not done, and nobody can know");
        until("end", || (nodes.look() == Ok(1)).then_some(()));
        let stopped = nodes.told(0);
        assert!(["journal", words, "start the node again"].iter().all(|word| stopped.contains(word)), "{stopped}");
        nodes.start(0).unwrap();
        until("end at the start", || (nodes.look() == Ok(1)).then_some(()));
        // Before it saves anything.
        let refused = nodes.told(0);
        assert!(refused.contains(at_start) && !refused.contains("node replace"), "{refused}");
        nodes.shim(0).syncs_fail(false).unwrap();
        nodes.start(0).unwrap();
        let read = until("read", || sender.get(store, "/kvstore/k", 500));
        assert!(read["val"] == "a" || read["val"] == "b", "{read}");
    }
}

/// Twenty seconds of faults among three nodes.
#[test]
fn three_nodes_under_fire_keep_their_promises() {
    let settings = Settings {
        seed: 1,
        seconds: 20,
        nodes: 3,
        clients: 6,
        node: env!("CARGO_BIN_EXE_node").into(),
        logcat: env!("CARGO_BIN_EXE_logcat").into(),
        check: Some(check::check()),
        namespaces: false,
        only: String::new(),
        tell: false,
    };
    let report = harness::run(&settings).expect("it runs");
    println!("{report}");
    assert!(report.failures().is_empty(), "{report}\nagain: tests/fire/soak --seconds 20 --seed 1 --clients 6");
    assert!(report.operations() > 1000 && report.kinds() > 5, "{report}");
}

/// Or `tests/fire/must_fail` would find nothing.
#[test]
fn each_mutant_is_one_of_these_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches: Vec<_> =
        std::fs::read_dir(root.join("tests/fire/mutants")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(patches.len() > 5);
    for patch in patches {
        let mut git = Command::new("git");
        // Whoever owns the sources.
        git.args(["-c", "safe.directory=*", "apply", "--check"]).arg(&patch).current_dir(root);
        let Ok(applies) = git.output() else {
            println!("SKIPPED: there is no git");
            return;
        };
        assert!(applies.status.success(), "{}: {}", patch.display(), String::from_utf8_lossy(&applies.stderr));
    }
}
