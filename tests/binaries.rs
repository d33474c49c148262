//! The programs as an operator runs them: errors in one line, exit statuses, logs.

#![allow(clippy::disallowed_types, reason = "a port is taken to be in use")]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use support::{Cluster, request, send_signal, until, wait};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn each_error_of_a_configuration_is_one_line_that_names_the_field() {
    let cluster = Cluster::new(3, &[]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let file = cluster.directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let good: Value = serde_json::from_str(&std::fs::read_to_string(&cluster.config).expect("a file")).expect("JSON");
    let changed = |pointer: &str, value: Value| {
        let mut object = good.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("it is there")[name] = value;
        object.to_string()
    };
    let rpc = good["nodes"][0]["rpc"].clone();
    let _held = TcpListener::bind(&*taken);
    for (text, index, words) in [
        (changed("/colour", json!("red")), "0", &["unknown field `colour`"][..]),
        (changed("/nodes/1/colour", json!("red")), "0", &["nodes[1]", "unknown field `colour`"]),
        (changed("/nodes/1/rpc", rpc), "0", &["nodes[1].rpc", "also nodes[0].rpc"]),
        (changed("/nodes/1/store", json!("nowhere")), "0", &["nodes[1].store", "host:port"]),
        (changed("/nodes", json!([])), "0", &["nodes", "there are 0"]),
        ("[]".into(), "0", &["nodes", "there are 0"]),
        ("{}".into(), "0", &["nodes", "there are 0"]),
        ("{".into(), "0", &["EOF"]),
        (String::new(), "0", &["EOF"]),
        (changed("/window", json!("many")), "0", &["window", "many"]),
        (changed("/batch_max", json!(-1)), "0", &["batch_max", "-1"]),
        (changed("/resend_ms", json!(1.5)), "0", &["resend_ms", "1.5"]),
        (changed("/store_max_mib", json!(0)), "0", &["store_max_mib"]),
        (good.to_string(), "3", &["there is no node 3"]),
        (changed("/nodes/0/data", json!(file)), "0", &["nodes[0].data", "file"]),
        (changed("/nodes/0/data", json!(file.join("below"))), "0", &["nodes[0].data", "below"]),
        (changed("/nodes/0/store", json!("256.0.0.1:1")), "0", &["nodes[0].store", "256.0.0.1:1"]),
    ] {
        let config = cluster.directory.path().join("bad.json");
        std::fs::write(&config, &text).expect("a file");
        let output = cluster.node(&["--log-level=error", "bad.json", index]);
        let said = self::text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
        assert_eq!(said.lines().count(), 1, "{text}: {said}");
        for word in words {
            assert!(said.contains(word), "{text}: {said:?} does not say {word:?}");
        }
    }
    let missing = cluster.node(&["missing.json", "0"]);
    assert!(
        missing.status.code() == Some(1) && text(&missing.stderr).contains("cannot read missing.json"),
        "{missing:?}"
    );
    for arguments in [
        &["config.json"][..],
        &["config.json", "one"],
        &["config.json", "-1"],
        &["config.json", "dev"],
        &["--colour"],
        &[],
    ] {
        assert_eq!(cluster.node(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let level = cluster.node(&["--log-level=a=b=c", "config.json", "0"]);
    assert!(level.status.code() == Some(1) && text(&level.stderr).contains("a=b=c"), "{level:?}");
}

#[test]
fn a_port_or_directory_in_use_is_named() {
    let mut cluster = Cluster::started(1, &[]);
    let good: Value = serde_json::from_str(&std::fs::read_to_string(&cluster.config).expect("a file")).expect("JSON");
    for field in ["rpc", "store"] {
        let mut object = good.clone();
        // The other address is free.
        let other = if field == "rpc" { "store" } else { "rpc" };
        object["nodes"][0][other] = json!("127.0.0.1:0");
        std::fs::write(cluster.directory.path().join("again.json"), object.to_string()).expect("a file");
        let output = cluster.node(&["--log-level=error", "again.json", "0"]);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(&format!("nodes[0].{field}")) && said.contains("in use"),
            "{said}"
        );
    }
    let mut object = good.clone();
    object["nodes"][0]["rpc"] = json!("127.0.0.1:0");
    object["nodes"][0]["store"] = json!("127.0.0.2:0");
    std::fs::write(cluster.directory.path().join("again.json"), object.to_string()).expect("a file");
    let output = cluster.node(&["--log-level=error", "again.json", "0"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("nodes[0].data") && said.contains("in use"), "{said}");
    assert!(cluster.terminate(0).success());
}

#[test]
fn replacing_is_refused_where_it_would_do_nothing() {
    let mut cluster = Cluster::new(3, &[]);
    let replace = |cluster: &Cluster, index: &str, peer: &str| {
        let output = cluster.node(&["--log-level=error", "replace", "config.json", index, peer]);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (status, said) = replace(&cluster, "0", "1");
    assert!(status == Some(1) && said.contains("nodes[0].data"), "{said}");
    cluster.start(0);
    let (status, said) = replace(&cluster, "0", "1");
    assert!(status == Some(1) && said.contains("in use"), "a node that runs would not notice: {said}");
    assert!(cluster.terminate(0).success());
    assert_eq!(replace(&cluster, "0", "1"), (Some(0), "node 0 knew no store of node 1\n".into()));
    let (status, said) = replace(&cluster, "0", "3");
    assert!(status == Some(1) && said.contains("no node 3"), "{said}");
    let (status, said) = replace(&cluster, "0", "0");
    assert!(status == Some(1) && said.contains("itself"), "{said}");
}

#[test]
fn logs_are_text_or_json_at_the_wanted_level() {
    let cluster = Cluster::new(3, &[]);
    let log = |arguments: &[&str], rust_log: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.current_dir(cluster.directory.path()).args(arguments).args(["config.json", "0"]);
        command.env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directives) = rust_log {
            command.env("RUST_LOG", directives);
        }
        let mut child = command.spawn().expect("it runs");
        let line = support::first_line(&mut child);
        assert!(line.contains("serves"), "{line}");
        send_signal(&child, "TERM");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        text(&output.stderr)
    };
    let plain = log(&[], None);
    assert!(plain.contains("INFO") && plain.contains("stopping") && !plain.contains('\u{1b}'), "{plain}");
    let json = log(&["--log-json"], None);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert!(lines.iter().any(|line| line["level"] == "INFO" && line["fields"]["message"] == "stopping"), "{json}");
    assert_eq!(log(&["--log-level=off"], None), "");
    assert!(!log(&["--log-level=error"], None).contains("INFO"));
    assert!(log(&["--log-level=error"], Some("info")).contains("INFO"), "RUST_LOG goes before");
}

#[test]
fn logcat_prints_a_line_a_slot() {
    let mut cluster = Cluster::started(1, &[]);
    for number in 0..3 {
        cluster.put(0, "k", &format!("value{number}"), None).expect("an answer");
    }
    let logcat = |directory: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_logcat")).arg(directory).output().expect("it runs")
    };
    let running = logcat(&cluster.data(0));
    assert!(running.status.success(), "{running:?}");
    assert!(cluster.terminate(0).success());
    let output = logcat(&cluster.data(0));
    let printed = text(&output.stdout);
    assert!(output.status.success() && printed.starts_with("# node 0 of cluster"), "{output:?}");
    assert!((0..3).all(|number| printed.lines().any(|line| line.contains(&format!("value{number}")))), "{printed}");
    assert!(printed.contains("# snapshot of slot 0: 0 keys, 0 deleted, 0 sessions; entries from 0 on"), "{printed}");
    let missing = logcat(&cluster.directory.path().join("missing"));
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).lines().count() == 1, "{missing:?}");
    let help = Command::new(env!("CARGO_BIN_EXE_logcat")).arg("--help").output().expect("it runs");
    assert!(text(&help.stdout).contains("Exit status: 0 printed; 1 could not be read; 2 wrong usage"), "{help:?}");
    let usage = Command::new(env!("CARGO_BIN_EXE_logcat")).output().expect("it runs");
    assert_eq!(usage.status.code(), Some(2));
}

fn dev(arguments: &[&str]) -> (Child, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["--log-level=error", "dev"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let count = if arguments.contains(&"--nodes=1") { 1 } else { 3 };
    let lines = BufReader::new(child.stdout.take().expect("its output is taken")).lines();
    let urls = lines.take(count).map(|line| {
        let line = line.expect("a line");
        line.split_once("http://").unwrap_or_else(|| panic!("no address in {line:?}")).1.to_owned()
    });
    (child, urls.map(|url| format!("http://{url}")).collect())
}

#[test]
fn a_whole_cluster_runs_in_one_process() {
    let (child, urls) = dev(&[]);
    assert_eq!(urls.len(), 3);
    let put = until("a write", || {
        request(&format!("{}k", urls[0]), "PUT", Some(json!({"val": "v"}))).filter(|answer| answer.status == 200)
    });
    assert_eq!(put.body["ver"], 1);
    assert_eq!(request(&format!("{}k", urls[2]), "GET", None).expect("an answer").body["val"], "v");
    send_signal(&child, "INT");
    assert!(wait(child).success());

    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = format!("--data={}", directory.path().join("dev").display());
    for ver in 1..=2 {
        let (child, urls) = dev(&[&data, "--nodes=1"]);
        let put = until("a write", || {
            request(&format!("{}k", urls[0]), "PUT", Some(json!({"val": "v"}))).filter(|answer| answer.status == 200)
        });
        assert_eq!(put.body["ver"], ver, "a given directory is kept");
        send_signal(&child, "TERM");
        assert!(wait(child).success());
    }
    let four = Command::new(env!("CARGO_BIN_EXE_node")).args(["dev", "--nodes=4"]).output().expect("it runs");
    assert!(four.status.code() == Some(2) && text(&four.stderr).contains("1, 2, 3, 5 or 7"), "{four:?}");
}

#[test]
fn the_members_cannot_be_changed_by_editing_the_configuration() {
    let mut cluster = Cluster::started(3, &[]);
    cluster.put(0, "k", "a", Some(1)).expect("an answer");
    cluster.kill(0);
    let mut alone: Value =
        serde_json::from_str(&std::fs::read_to_string(&cluster.config).expect("a file")).expect("JSON");
    alone["nodes"].as_array_mut().expect("an array").truncate(1);
    std::fs::write(cluster.directory.path().join("alone.json"), alone.to_string()).expect("a file");
    let output = cluster.node(&["--log-level=error", "alone.json", "0"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("nodes[0].data"), "{said}");
    assert!(said.contains("a cluster of 3 nodes, and the configuration has 1"), "{said}");
}

#[test]
fn a_mistyped_level_is_refused_and_a_log_that_cannot_be_written_ends_nothing() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_node")).args(arguments).env_remove("RUST_LOG").output().expect("it runs")
    };
    let mistyped = run(&["dev", "--log-level=wran"]);
    assert!(mistyped.status.code() == Some(1) && text(&mistyped.stderr).contains("\"wran\""), "{mistyped:?}");

    let mut cluster = Cluster::started(1, &[]);
    cluster.kill(0);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
    let mut node = Command::new(env!("CARGO_BIN_EXE_node"));
    node.current_dir(cluster.directory.path()).arg(&cluster.config).arg("0").stdout(full()).stderr(full());
    let child = node.spawn().expect("it starts");
    until("a write", || cluster.put(0, "k", "a", None).filter(|answer| answer.status == 200));
    send_signal(&child, "TERM");
    assert!(wait(child).success());
}
