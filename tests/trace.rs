//! What nodes write down of themselves replays; and whatever is altered in it, as by a node that does something else, is refuted by the
//! rule that it breaks.

#![allow(clippy::disallowed_methods, reason = "what runs for real has files and a clock")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::{Cluster, text, until};
use tempfile::TempDir;

/// The traces of three nodes one of which was killed and came back.
fn recorded() -> &'static Path {
    static RECORDED: OnceLock<TempDir> = OnceLock::new();
    let record = || {
        let traces = tempfile::tempdir().expect("a temporary directory");
        let at = traces.path().to_str().expect("a path in letters").to_owned();
        // Files of a MiB, so that a life has several of them.
        let arguments = ["--trace", &at, "--trace-mib", "16"];
        let mut cluster = Cluster::new(3, &[("snapshot_every", json!(16)), ("tail", json!(4))]);
        (0..3).for_each(|node| cluster.start_with(node, &arguments));
        let write = |cluster: &Cluster, from: usize, count: usize| {
            for number in from..from + count {
                let (node, val) = (number % 2, "v".repeat(3000));
                until("a write", || {
                    let answer = cluster.put(node, &format!("k{}", number % 7), &val, None)?;
                    (answer.status == 200).then_some(())
                });
            }
        };
        write(&cluster, 0, 60);
        cluster.kill(2);
        write(&cluster, 60, 60);
        cluster.start_with(2, &arguments);
        until("node 2 to catch up", || {
            let decided = |node| cluster.status(node)?["decided"].as_u64();
            (decided(2)? >= decided(0)?).then_some(())
        });
        write(&cluster, 120, 300);
        (0..3).for_each(|node| assert!(cluster.terminate(node).success()));
        traces
    };
    RECORDED.get_or_init(record).path()
}

/// Replays traces; returns the exit status and what is said.
fn replay(arguments: &[&Path]) -> (i32, String) {
    let output = Command::new(support::check::check()).arg("replay").args(arguments).output().expect("it runs");
    (output.status.code().expect("it ends"), text(&output.stdout) + &text(&output.stderr))
}

/// A copy of the traces.
fn copied() -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for path in files(recorded()) {
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("it is copied");
    }
    copy
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Alters the first line of the file for which `alter` says that it did.
fn altered(path: &Path, mut alter: impl FnMut(&mut Value) -> bool) {
    let mut done = false;
    let lines = fs::read_to_string(path).expect("a file");
    let lines: Vec<String> = lines
        .lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).expect("a line is an object");
            if !done && alter(&mut value) {
                done = true;
                return value.to_string();
            }
            line.to_owned()
        })
        .collect();
    assert!(done, "{} has no such line", path.display());
    fs::write(path, lines.join("\n") + "\n").expect("it is written");
}

fn file_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(name)
}

/// The rules that the replay says are violated.
fn violated(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("VIOLATED"))
        .map(|rest| rest.trim().split(' ').next().unwrap_or_default())
        .collect()
}

#[test]
fn what_nodes_did_replays_and_keeps_every_rule() {
    let (status, said) = replay(&[recorded()]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("3 nodes, 4 lives") && !said.contains("judged"), "all of it is judged: {said}");
    let of_first = files(recorded()).iter().filter(|path| path.to_string_lossy().contains("node0-life000000")).count();
    assert!(of_first > 1, "its life has several files: {:?}", files(recorded()));
}

/// Replays what is left of the traces, which must be found right as far as it goes.
fn limited(directory: &Path) -> String {
    let (status, said) = replay(&[directory]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("judged of who has all its traces") && said.contains("not judged"), "{said}");
    said
}

#[test]
fn what_is_not_told_is_not_judged_and_said() {
    for node in 0..3 {
        let copy = copied();
        fs::remove_file(file_of(copy.path(), &format!("node{node}-life000000-file0000.ndjson"))).unwrap();
        let said = limited(copy.path());
        assert!(said.contains("sent by whom the traces do not tell of"), "{said}");
    }
    let node = |path: &&PathBuf| path.to_string_lossy().contains("node2");
    let alone: Vec<PathBuf> = files(recorded()).iter().filter(node).cloned().collect();
    let alone: Vec<&Path> = alone.iter().map(PathBuf::as_path).collect();
    let (status, said) = replay(&alone);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("1 nodes, 2 lives") && said.contains("sent by whom the traces do not tell of"), "{said}");
}

#[test]
fn a_trace_that_could_not_be_written_on_is_judged_as_far_as_it_goes() {
    for (name, before_end) in [("node0-life000000-file0001", 0), ("node2-life000000-file0000", 30)] {
        let copy = copied();
        let path = file_of(copy.path(), &format!("{name}.ndjson"));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let kept = if before_end == 0 { lines.len() / 2 } else { lines.len() - before_end };
        fs::write(path.with_file_name(format!("{name}-cut.ndjson")), lines[..kept].join("\n") + "\n").unwrap();
        fs::remove_file(&path).unwrap();
        limited(copy.path());
    }
}

#[test]
fn an_output_that_the_actor_does_not_make_is_refuted() {
    let copy = copied();
    altered(&file_of(copy.path(), "node0-life000000-file0000.ndjson"), |line| {
        let Some(digest) = line.pointer_mut("/step/out/sends/0/2") else { return false };
        *digest = json!("0123456789abcdef");
        true
    });
    let (status, said) = replay(&[copy.path()]);
    assert_eq!((status, violated(&said)), (1, vec!["same-outputs"]), "{said}");
    assert!(
        said.contains("the node sends") && said.contains("! BROKEN: same-outputs"),
        "it is told like a counterexample: {said}"
    );
}

#[test]
fn a_message_that_leaves_before_its_save_is_durable_is_refuted() {
    let copy = copied();
    let path = file_of(copy.path(), "node1-life000000-file0000.ndjson");
    let lines = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    let commit =
        lines.windows(2).position(|pair| pair[0].starts_with("{\"committed") && pair[1].starts_with("{\"released"));
    let commit = commit.expect("what waits for a commit leaves right after it");
    lines.swap(commit, commit + 1);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let (status, said) = replay(&[copy.path()]);
    assert_eq!((status, violated(&said)), (1, vec!["released-after-commit"]), "{said}");
    assert!(said.contains("node1-life000000-file0000.ndjson:"), "the place is told: {said}");
}

#[test]
fn a_message_that_nobody_sent_is_refuted() {
    let copy = copied();
    // Of a node that follows.
    let follower = files(copy.path())
        .into_iter()
        .find(|path| fs::read_to_string(path).expect("a file").contains("\"msg\":{\"Heartbeat\""));
    let follower = follower.expect("somebody follows");
    let mut leader = None;
    altered(&follower, |line| {
        leader = line.pointer("/step/input/Deliver/src").and_then(Value::as_u64);
        let Some(decided) = line.pointer_mut("/step/input/Deliver/msg/Heartbeat/decided") else { return false };
        *decided = json!(decided.as_u64().unwrap() + 1000);
        true
    });
    let refuted = || {
        let (status, said) = replay(&[copy.path()]);
        assert_eq!((status, violated(&said)), (1, vec!["sent-before-received"]), "{said}");
    };
    refuted();
    // All that the sender put out is known, even where a third node's traces are not.
    let is_of = |path: &Path, node: u64| path.to_string_lossy().contains(&format!("node{node}-"));
    let leader = leader.expect("it has a sender");
    let third = (0..3).find(|node| *node != leader && !is_of(&follower, *node)).expect("there are three");
    for path in files(copy.path()).iter().filter(|path| is_of(path, third)) {
        fs::remove_file(path).unwrap();
    }
    refuted();
}

#[test]
fn a_node_that_starts_from_something_else_than_it_saved_is_refuted() {
    let copy = copied();
    altered(&file_of(copy.path(), "node2-life000001-file0000.ndjson"), |line| {
        line["begin"]["at"]["start"]["promised"]["round"] = json!(1000);
        true
    });
    let refuted = || {
        let (status, said) = replay(&[copy.path()]);
        assert_eq!(status, 1, "{said}");
        assert!(violated(&said).contains(&"starts-from-what-it-saved"), "{said}");
    };
    refuted();
    // Where the end of the life before is missing, it may have promised more since, and never less.
    let before = file_of(copy.path(), "node2-life000000-file0000.ndjson");
    fs::rename(&before, file_of(copy.path(), "node2-life000000-file0000-cut.ndjson")).unwrap();
    altered(&file_of(copy.path(), "node2-life000001-file0000.ndjson"), |line| {
        line["begin"]["at"]["start"]["promised"]["round"] = json!(0);
        true
    });
    refuted();
}

#[test]
fn what_is_no_trace_is_said_with_its_place() {
    let copy = copied();
    let path = file_of(copy.path(), "node0-life000000-file0000.ndjson");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[7] = "{\"step\":7}";
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let (status, said) = replay(&[copy.path()]);
    assert!(status == 2 && said.contains("file0000.ndjson:8: no line of a trace"), "{status} {said}");
    // What was being written when a node was killed is left out.
    fs::write(&path, text.lines().take(40).collect::<Vec<_>>().join("\n")).unwrap();
    let (status, said) = replay(&[&path]);
    assert!(status == 0 && said.contains("1 nodes, 1 lives"), "{status} {said}");
    let (status, said) = replay(&[&copy.path().join("absent")]);
    assert!(status == 2 && said.contains("cannot read"), "{status} {said}");
}

#[test]
fn a_trace_is_bounded_and_goes_on_after_a_start() {
    let traces = tempfile::tempdir().unwrap();
    let at = traces.path().to_str().unwrap().to_owned();
    let arguments = ["--trace", &at, "--trace-mib", "1"];
    let mut cluster = Cluster::new(1, &[]);
    for life in 0..2 {
        cluster.start_with(0, &arguments);
        for number in 0..8 {
            let val = "v".repeat(200_000);
            until("a write", || {
                let answer = cluster.put(0, &format!("k{number}"), &val, None)?;
                (answer.status == 200).then_some(())
            });
        }
        cluster.kill(0);
        let (status, said) = replay(&[traces.path()]);
        assert_eq!(status, 0, "after life {life}: {said}");
    }
    let names = files(traces.path());
    assert!(names.iter().any(|path| path.to_string_lossy().contains("life000001")), "{names:?}");
    // A file may be as long again as the state that it begins with; two of them are kept at least.
    let bytes: u64 = names.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(names.len() <= 3 && bytes < 40 << 20, "{bytes} bytes in {names:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let cluster = Cluster::new(1, &[]);
    let file = cluster.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = cluster.command(0).arg("--trace").arg(file.join("traces")).output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("--trace: cannot use"), "{said}");
}
