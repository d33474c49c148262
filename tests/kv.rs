//! The operator's client: what it prints, how it ends, and that it sends a write again without its being done twice.

#![allow(clippy::disallowed_types, reason = "a node that loses its answers is played over sockets")]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use support::{Cluster, kv, text, until, wait};

#[test]
fn kv_tells_the_outcome_by_its_exit_status() {
    let mut cluster = Cluster::started(3, &[]);
    let all = cluster.stores.clone();
    let entry = |val: &str, ver: u64| json!({"key": "a key", "val": val, "ver": ver}).to_string() + "\n";
    assert_eq!(kv(&all, &["put", "a key", "v"]), (0, entry("v", 1), String::new()));
    assert_eq!(kv(&all, &["get", "a key"]), (0, entry("v", 1), String::new()));
    assert_eq!(kv(&all, &["get", "--local", "a key"]).0, 0);
    let (status, out, err) = kv(&all, &["put", "a key", "w", "--ver", "1"]);
    assert_eq!((status, out), (3, entry("v", 1)));
    assert!(err.contains("version"), "{err}");
    assert_eq!(kv(&all, &["put", "b", "w", "--ver", "7"]).0, 0);
    assert_eq!(kv(&all, &["keys"]), (0, "a key\nb\n".into(), String::new()));
    assert_eq!(kv(&all, &["keys", "--prefix", "a", "--limit", "1"]), (0, "a key\n".into(), String::new()));
    assert_eq!(kv(&all, &["delete", "b", "--ver", "7"]).0, 3);
    assert_eq!(kv(&all, &["delete", "b"]).0, 0);
    let (status, out, _) = kv(&all, &["status"]);
    assert_eq!((status, out.lines().count()), (0, 3), "{out}");

    for arguments in [
        &["get"][..],
        &["get", ""],
        &["put", "k"],
        &["colour"],
        &["put", "k", "v", "--ver", "x"],
        &["get", "k", "--timeout-ms=0"],
        &["get", "k", "--timeout-ms=600001"],
    ] {
        assert_eq!(kv(&all, arguments).0, 2, "{arguments:?}");
    }
    assert_eq!(kv(&all, &["put", "k", "v", "--ver", "9007199254740992"]).0, 2, "the node says that it is malformed");
    assert_eq!(kv(&all, &["get", &"k".repeat(512)]).0, 2);
    assert_eq!(kv(&["host with spaces".into()], &["get", "k"]).0, 2);

    // The first endpoint is not there: the next one is asked.
    cluster.kill(0);
    assert_eq!(kv(&all, &["put", "a key", "x"]).0, 0);
    assert_eq!(kv(&all, &["get", "a key"]).1, entry("x", 2));
    assert_eq!(kv(&all, &["status"]).0, 1, "one does not answer");
    assert_eq!(kv(&all[..1], &["get", "a key"]).0, 1);
    assert_eq!(kv(&all[..1], &["put", "a key", "y"]).0, 1);
    // No quorum: refused, since not even a session could be opened.
    cluster.kill(1);
    let (status, _, err) = kv(&all[2..], &["--timeout-ms=400", "put", "a key", "z"]);
    assert!(status == 1 && !err.is_empty(), "{status}: {err}");
    let (status, _, err) = kv(&all[2..], &["--timeout-ms=400", "get", "a key"]);
    assert!(status == 1 && !err.is_empty(), "{status}: {err}");
    let help = Command::new(env!("CARGO_BIN_EXE_kv")).arg("--help").output().expect("it runs");
    assert!(text(&help.stdout).contains("Exit status: 0 done; 1 refused"), "{help:?}");
}

#[test]
fn kv_watches_a_key() {
    let cluster = Cluster::started(3, &[]);
    cluster.put(0, "k", "1", Some(1)).expect("an answer");
    let endpoint = format!("--endpoint=http://{}", cluster.stores[1]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_kv"))
        .args([endpoint.as_str(), "watch", "k"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let lines = BufReader::new(child.stdout.take().expect("its output is taken")).lines();
    for (line, number) in lines.take(4).zip(1u64..) {
        let entry: Value = serde_json::from_str(&line.expect("a line")).expect("an entry");
        assert_eq!(entry, json!({"key": "k", "val": number.to_string(), "ver": number}));
        let put = cluster.put(2, "k", &(number + 1).to_string(), Some(number + 1)).expect("an answer");
        assert_eq!(put.status, 200);
    }
    child.kill().expect("it can be killed");
    wait(child);
}

/// One request or answer, to the end of its body.
fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = text(&bytes).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    bytes.extend(body);
    Some(bytes)
}

/// A way to `node` that loses the answers to writes: the node does them, and the client does not hear of it.
fn lossy(node: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let node = node.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, node) = (client.expect("a connection"), node.clone());
            std::thread::spawn(move || {
                let mut node = TcpStream::connect(node).expect("the node listens");
                while let Some(request) = message(&mut client) {
                    node.write_all(&request).expect("it is taken");
                    let answer = message(&mut node).expect("an answer");
                    let write = [&b"PUT"[..], b"POST /restore"].iter().any(|write| request.starts_with(write));
                    if write || client.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_write_whose_answer_is_lost_is_sent_again_and_done_once() {
    let cluster = Cluster::started(3, &[]);
    until("a leader", || cluster.get(0, "k").filter(|answer| answer.status == 200));
    let lossy = lossy(&cluster.stores[0]);
    let (status, out, err) = kv(&[lossy.clone(), cluster.stores[1].clone()], &["put", "k", "v"]);
    assert_eq!((status, out), (0, json!({"key": "k", "val": "v", "ver": 1}).to_string() + "\n"), "{err}");
    assert_eq!(cluster.get(2, "k").expect("an answer").body["ver"], 1, "done once");
    // With no other node to ask, the outcome is not known; here it was done.
    let (status, out, err) = kv(&[lossy], &["put", "k", "w"]);
    assert_eq!((status, out.as_str()), (4, ""), "{err}");
    assert_eq!(cluster.get(2, "k").expect("an answer").body["val"], "w");
}

#[test]
fn a_restore_whose_answers_are_lost_is_done_once() {
    let from = Cluster::started(1, &[]);
    for key in ["a", "b", "c"] {
        until("a write", || from.put(0, key, "v", Some(7)).filter(|told| matches!(told.status, 200 | 409)));
    }
    let file = from.directory.path().join("backup");
    let file = file.to_str().expect("text");
    let (status, _, err) = kv(&from.stores, &["backup", file]);
    assert_eq!((status, err.as_str()), (0, ""));

    let to = Cluster::started(3, &[]);
    until("a leader", || to.get(0, "k").filter(|answer| answer.status == 200));
    // That nothing is there is not asked: it would be told as a stream, which the lossy one does not pass on.
    let (status, out, err) = kv(&[lossy(&to.stores[0]), to.stores[1].clone()], &["restore", "--resume", file]);
    assert_eq!((status, err.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&told["restored"], &told["present"]), (&json!(3), &json!(0)), "sent again, and answered as it was");
    assert_eq!(to.get(2, "b").expect("an answer").body, json!({"key": "b", "val": "v", "ver": 7}));
}
