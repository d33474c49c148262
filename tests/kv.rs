//! The operator's client: what it prints, how it ends, and that it sends a write again without its being done twice.

#![allow(clippy::disallowed_types, reason = "a node that loses its answers is played over sockets")]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
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
    // The address that a node prints will do; one that would lead to other keys does not.
    let printed = [format!("{}/kvstore/", all[1])];
    assert_eq!(kv(&printed, &["get", "a key"]), (0, entry("v", 1), String::new()));
    assert_eq!(kv(&printed, &["keys"]), (0, "a key\n".into(), String::new()));
    for rest in ["kvstore", "kvstore/x/", "?x", "#x"] {
        let (status, _, err) = kv(&[format!("{}/{rest}", all[1])], &["put", "k", "v"]);
        assert!(status == 2 && err.contains("http://HOST:PORT"), "{rest}: {status} {err}");
    }

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
    let help = text(&help.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("Exit status: 0 done; 1 refused"), "{help}");
    assert!(help.contains("2 wrong usage or a malformed request; 3"), "{help}");
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

/// What becomes of a request on its way to a node.
enum Way {
    /// It is done and answered.
    Through,
    /// The node does it, and the client does not hear of it.
    Loses,
    /// The node does not hear of it, and the client hears this.
    Answers(String),
}

/// A way to `node`, on which it depends on the request what becomes of it.
fn way(node: &str, becomes: impl Fn(&[u8]) -> Way + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (node, becomes) = (node.to_owned(), Arc::new(becomes));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, node, becomes) = (client.expect("a connection"), node.clone(), becomes.clone());
            std::thread::spawn(move || {
                let mut node = TcpStream::connect(node).expect("the node listens");
                while let Some(request) = message(&mut client) {
                    let way = becomes(&request);
                    let answer = if let Way::Answers(answer) = &way {
                        answer.clone().into_bytes()
                    } else {
                        node.write_all(&request).expect("it is taken");
                        let Some(answer) = message(&mut node) else { return };
                        answer
                    };
                    if matches!(way, Way::Loses) || client.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn is_write(request: &[u8]) -> bool {
    [&b"PUT"[..], b"POST /restore"].iter().any(|write| request.starts_with(write))
}

/// A way to `node` that loses the answers to writes.
fn lossy(node: &str) -> String {
    way(node, |request| if is_write(request) { Way::Loses } else { Way::Through })
}

/// The names that the client gave to its writes, as they pass.
type Names = Arc<Mutex<Vec<Vec<String>>>>;

/// Notes what a write is named by: the headers of its session.
fn note(names: &Names, request: &[u8]) {
    if is_write(request) {
        let head = text(request).to_lowercase();
        let mut name: Vec<String> =
            head.lines().filter(|line| line.starts_with("paxos-s")).map(str::to_owned).collect();
        name.sort_unstable();
        names.lock().expect("no test failed").push(name);
    }
}

#[test]
fn a_write_at_a_node_that_hangs_is_sent_to_the_next_under_the_same_name_and_done_once() {
    let cluster = Cluster::started(3, &[]);
    until("a leader", || cluster.get(0, "k").filter(|answer| answer.status == 200));
    let names = Names::default();
    let (hanging, pid) = (names.clone(), cluster.pid(0).to_string());
    // It opens the session, and is stopped before it hears of the write.
    let first = way(&cluster.stores[0], move |request| {
        if is_write(request) {
            assert!(Command::new("kill").args(["-STOP", &pid]).status().expect("it runs").success());
        }
        note(&hanging, request);
        Way::Through
    });
    let second = way(&cluster.stores[1], {
        let names = names.clone();
        move |request| {
            note(&names, request);
            Way::Through
        }
    });
    let (status, out, err) = kv(&[first, second.clone()], &["--timeout-ms=2000", "put", "k", "v"]);
    let entry = json!({"key": "k", "val": "v", "ver": 1}).to_string() + "\n";
    assert_eq!((status, out), (0, entry.clone()), "{err}");
    let written = names.lock().expect("no test failed").clone();
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(written[0] == written[1] && written[0].len() == 2 && written[0][0] == "paxos-sequence: 1", "{written:?}");
    // Nor does a node that is stopped from the beginning keep anybody.
    let begin = kv(&[cluster.stores[0].clone(), second], &["--timeout-ms=2000", "get", "k"]);
    assert_eq!(begin, (0, entry, String::new()));
    // When it goes on it finds the write, and that it is done.
    cluster.signal(0, "CONT");
    let ready = || cluster.ask(0, "GET", "/readyz", None).filter(|answer| answer.status == 200);
    until("it to be back", ready);
    assert_eq!(cluster.put(0, "k", "w", None).expect("an answer").body["ver"], 2, "done once");
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

#[test]
fn a_restore_that_is_refused_for_good_is_not_to_be_gone_on_with() {
    let from = Cluster::started(1, &[]);
    for key in ["a", "b"] {
        until("a write", || from.put(0, key, "v", Some(7)).filter(|told| matches!(told.status, 200 | 409)));
    }
    let file = from.directory.path().join("backup");
    let file = file.to_str().expect("text");
    let (status, _, err) = kv(&from.stores, &["backup", file]);
    assert_eq!((status, err.as_str()), (0, ""));

    let to = Cluster::started(1, &[]);
    until("a leader", || to.get(0, "k").filter(|answer| answer.status == 200));
    let answering = |status: &'static str, times: usize| {
        let (told, body) = (AtomicUsize::new(0), r#"{"error": "so it is"}"#);
        let length = body.len();
        way(&to.stores[0], move |request| {
            if is_write(request) && told.fetch_add(1, Ordering::Relaxed) < times {
                Way::Answers(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"))
            } else {
                Way::Through
            }
        })
    };
    let (status, out, err) = kv(&[answering("413 Content Too Large", 1)], &["restore", "--resume", file]);
    assert_eq!((status, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("0 entries") && err.contains("for good: so it is") && !err.contains("--resume"), "{err}");
    // That it came too late may be better the next time.
    let (status, out, err) = kv(&[answering("408 Request Timeout", 2)], &["restore", "--resume", file]);
    assert_eq!((status, err.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["restored"], 2, "{told}");
}
