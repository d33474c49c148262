//! Whether a node knows if its protocol was checked: what its build script judges of a tree as it is, and of one that has changed.

#[allow(dead_code, reason = "the script's own entry is not used here")]
#[path = "../build.rs"]
mod build;

mod support;

use build::judge;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use support::{Cluster, until};

/// A workspace like this one: model, manifests and lock file as they are.
fn copy() -> tempfile::TempDir {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().expect("a temporary directory"));
    fs::create_dir(to.path().join("spec")).expect("a directory");
    copy_directory(&from.join("model"), &to.path().join("model"));
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(from.join(file), to.path().join(file)).expect("it can be copied");
    }
    to
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        let target = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            fs::copy(&path, target).expect("it can be copied");
        }
    }
}

fn record(root: &Path, digest: &str) {
    fs::write(root.join("spec/record.json"), json!({"protocol": digest}).to_string()).expect("it can be written");
}

#[test]
fn a_tree_is_checked_exactly_if_its_record_is_of_it() {
    let root = copy();
    let judged = || judge(root.path()).expect("it can be judged");
    let first = judged();
    assert!(!first.checked, "there is no record");
    record(root.path(), &first.digest);
    assert!(judged().checked);
    for (file, from, to) in [
        ("model/src/replica/acceptor.rs", "if ", "if  "),
        ("model/Cargo.toml", "[dependencies]", "[features]\nother = []\n[dependencies]"),
        ("Cargo.toml", "stateright = \"0.31\"", "stateright = { version = \"0.31\", features = [\"other\"] }"),
        ("Cargo.toml", "opt-level = 2", "opt-level = 1"),
        ("Cargo.lock", "name = \"stateright\"\nversion = \"0.", "name = \"stateright\"\nversion = \"9."),
    ] {
        let path = root.path().join(file);
        let before = fs::read_to_string(&path).expect("it can be read");
        assert!(before.contains(from), "{file} has no {from}");
        fs::write(&path, before.replacen(from, to, 1)).expect("it can be written");
        let changed = judged();
        assert!(!changed.checked && changed.digest != first.digest, "{file}: {from} to {to}");
        fs::write(&path, before).expect("it can be written");
        assert!(judged().checked, "{file} as it was");
    }
    fs::write(root.path().join("spec/record.json"), "{").expect("it can be written");
    assert!(!judged().checked, "a record that cannot be read");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_node")).args(arguments).output().expect("it runs")
}

#[test]
fn the_built_node_says_what_it_is() {
    let here = judge(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("it can be judged");
    let version = String::from_utf8(run(&["--version"]).stdout).expect("it is text");
    let said = if here.checked { ": checked" } else { "NOT checked" };
    assert!(version.contains(&here.digest[..16]) && version.contains(said), "{version}");

    let cluster = Cluster::started(1, &[]);
    let status = until("a status", || cluster.status(0));
    assert_eq!(status["protocol"], json!({"digest": here.digest, "checked": here.checked}));
    let log = fs::read_to_string(cluster.log(0)).expect("it has a log");
    assert!(here.checked || log.contains("NOT checked"), "one that is not checked warns: {log}");
}

#[test]
fn a_node_that_must_be_checked_starts_only_if_it_is() {
    let mut cluster = Cluster::new(1, &[]);
    let here = judge(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("it can be judged");
    if here.checked {
        cluster.start_with(0, &["--require-checked"]);
        assert_eq!(until("a status", || cluster.status(0))["protocol"]["checked"], Value::Bool(true));
    } else {
        let output = cluster.command(0).arg("--require-checked").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("NOT checked"), "{output:?}");
    }
}
