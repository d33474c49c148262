//! The clients: those of the Go original as they are, and ours.

#![allow(clippy::disallowed_types, reason = "nodes that break off are played over sockets")]

mod support;

use paxos::config::Config;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Cluster, until};

/// The configuration file of the Go original, as it stands.
const ORIGINAL: &str = include_str!("../conf/kvstore.json");

fn finished(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

fn python() -> Command {
    let mut command = Command::new("python3");
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    command.env("PYTHONPATH", clients).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn the_configuration_of_the_original_is_taken_as_it_stands() {
    let config = Config::parse(ORIGINAL).expect("it is a configuration");
    let found: Vec<_> = config.nodes.iter().map(|node| (node.rpc.as_str(), node.store.as_str())).collect();
    let expected = [
        ("localhost:3000", "localhost:4000"),
        ("localhost:3001", "localhost:4001"),
        ("localhost:3002", "localhost:4002"),
    ];
    assert_eq!(found, expected);
    assert_eq!(config.nodes[1].data, Path::new("data/acceptor1"));
}

#[test]
fn the_curl_lines_of_the_original_do_what_they_say() {
    let cluster = Cluster::of_original(ORIGINAL);
    let curl = |node: usize, path: &str, rest: &[&str]| -> Value {
        let url = format!("http://{}/kvstore/{path}", cluster.stores[node]);
        let output =
            Command::new("curl").args(["-sS", "--max-time", "20", &url]).args(rest).output().expect("there is curl");
        serde_json::from_str(&finished(&output)).expect("the answer is JSON")
    };
    assert_eq!(curl(0, "", &["-X", "GET"]), json!([]));
    assert_eq!(curl(0, "key", &["-X", "GET"]), json!({"key": "key", "val": "", "ver": 0}));
    curl(0, "key", &["-X", "PUT", "-d", r#"{"val": "value", "ver": 1}"#]);
    assert_eq!(curl(1, "key", &["-X", "GET"]), json!({"key": "key", "val": "value", "ver": 1}));
    assert_eq!(curl(2, "", &["-X", "GET"]), json!(["key"]));
    curl(1, "key", &["-X", "PUT", "-d", r#"{"val": "", "ver": 2}"#]);
    assert_eq!(curl(2, "key", &["-X", "GET"]), json!({"key": "key", "val": "", "ver": 2}));
    assert_eq!(curl(0, "", &["-X", "GET"]), json!([]));
}

#[test]
fn the_dictionary_of_the_original_works() {
    let cluster = Cluster::of_original(ORIGINAL);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/original.py");
    let output = python().arg(script).args(&cluster.stores).output().expect("there is python3");
    assert_eq!(finished(&output), "done\n");
}

fn urls(cluster: &Cluster) -> Vec<String> {
    cluster.stores.iter().map(|store| format!("http://{store}")).collect()
}

#[test]
fn our_dictionary_works() {
    const SCRIPT: &str = r##"
import sys
from paxos_kv import KVStoreDict
store = KVStoreDict(*sys.argv[1:])
other = KVStoreDict(*reversed(sys.argv[1:]))
assert store["a/b c"] is None and "a/b c" not in store
store["a/b c"] = {"x": [1, None, "é"]}
other["n"] = 1
assert other["a/b c"] == {"x": [1, None, "é"]} and "n" in store and len(store) == 2
assert store.keys() == list(other) == ["a/b c", "n"]
assert store.update("n", lambda n: n + 1) == 2 and other["n"] == 2
assert other.entry("n") == (2, 2)
assert not store.put("n", 9, 2) and store.put("n", 9, 3)
assert dict(other.items()) == {"a/b c": {"x": [1, None, "é"]}, "n": 9}
del store["n"]
assert other["n"] is None and list(store.values()) == [{"x": [1, None, "é"]}]
try:
    store["k" * 512] = 1
    raise AssertionError("too long a key was taken")
except ValueError as error:
    assert "511" in str(error), error
assert KVStoreDict(sys.argv[1] + "/kvstore/").keys() == KVStoreDict(sys.argv[1] + "/").keys() == ["a/b c"]
for wrong in ["kvstore", "kvstore/k", "//", "?", "?x=1", "#k", "kvstore/#k", ":x"]:
    try:
        KVStoreDict(sys.argv[1] + "/" + wrong)
        raise AssertionError(wrong + " was taken")
    except ValueError as error:
        assert "HOST:PORT" in str(error), error
for wrong in ["localhost:4000", "https://localhost:4000", "http://", "http://:1", "http://a:x", "http://a:99999"]:
    try:
        KVStoreDict(wrong)
        raise AssertionError(wrong + " was taken")
    except ValueError as error:
        assert "HOST:PORT" in str(error), error
print("done")
"##;
    let cluster = Cluster::started(3, &[]);
    let output = python().args(["-c", SCRIPT]).args(urls(&cluster)).output().expect("there is python3");
    assert_eq!(finished(&output), "done\n");
}

/// What answers to every request with these bytes, and closes.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = BufReader::new(client.expect("a connection"));
            let (mut length, mut line) = (0, String::new());
            while client.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                let told = line.to_lowercase();
                length = told.strip_prefix("content-length:").map_or(length, |told| told.trim().parse().expect("one"));
                line.clear();
            }
            let _ = client.read_exact(&mut vec![0; length]);
            let _ = client.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

/// The first address is that of a node which does everything; the second answers as the third argument says.
const BROKEN: &str = r#"
import sys
from paxos_kv import KVStoreDict, OutcomeUnknown
good, bad, outcome = sys.argv[1:]
store = KVStoreDict(bad, good)
def of(function):
    try:
        return function()
    except (OutcomeUnknown, ValueError, TimeoutError) as error:
        assert str(error), repr(error)
        return type(error).__name__
found = of(lambda: store.entry("k")), of(lambda: store.put("k", 1, 1))
alone = of(lambda: KVStoreDict(bad, timeout=0.2).entry("k"))
expected = {
    "unknown": (((1, 1), "OutcomeUnknown"), "TimeoutError"),
    "not done": (((1, 1), True), "TimeoutError"),
    "mistake": (("ValueError", "ValueError"), "ValueError"),
}
assert (found, alone) == expected[outcome], (found, alone)
print("done")
"#;

#[test]
fn our_dictionary_tells_what_came_of_a_request_whatever_is_answered() {
    let good = answering("HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"key\":\"k\",\"val\":\"1\",\"ver\":1}");
    for (answer, outcome) in [
        ("", "unknown"),
        ("HTTP/1.1 2", "unknown"),
        ("nonsense\r\n\r\n", "unknown"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"key\":", "unknown"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1d\r\n{\"key\":", "unknown"),
        ("HTTP/1.1 200 OK\r\n\r\n{\"key\":", "unknown"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>\u{e9}", "unknown"),
        ("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n", "unknown"),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n{\"error\": \"x\"}", "unknown"),
        ("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 99\r\n\r\n{", "unknown"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "unknown"),
        ("HTTP/1.1 504 Gateway Timeout\r\n\r\n{\"error\": \"x\"}", "unknown"),
        ("HTTP/1.1 408 Request Timeout\r\n\r\n{\"error\": \"x\"}", "not done"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"error\": \"x\"}", "not done"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nbusy", "not done"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n{\"error\": \"x\"}", "mistake"),
        ("HTTP/1.1 404 Not Found\r\n\r\n<html>", "mistake"),
    ] {
        let bad = answering(answer);
        let output = python().args(["-c", BROKEN, &good, &bad, outcome]).output().expect("there is python3");
        assert!(output.status.success(), "{answer:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Increments a counter so many times; prints how many were done, and of how many that is not known.
const COUNT: &str = r#"
import sys
from paxos_kv import KVStoreDict, OutcomeUnknown
store = KVStoreDict(*sys.argv[2:], timeout=20.0)
done = unknown = 0
for _ in range(int(sys.argv[1])):
    try:
        store.update("counter", lambda n: (n or 0) + 1)
        done += 1
    except OutcomeUnknown:
        unknown += 1
print(done, unknown)
"#;

/// Runs clients side by side, each with another node first, while `meanwhile` happens; returns what they counted.
fn count(cluster: &mut Cluster, clients: usize, each: usize, meanwhile: impl FnOnce(&mut Cluster)) -> (u64, u64) {
    let running: Vec<_> = (0..clients)
        .map(|client| {
            let mut urls = urls(cluster);
            urls.rotate_left(client % 3);
            let mut command = python();
            command.args(["-c", COUNT, &each.to_string()]).args(urls).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("there is python3")
        })
        .collect();
    meanwhile(cluster);
    let mut total = (0, 0);
    for child in running {
        let text = finished(&child.wait_with_output().expect("it ends"));
        let (done, unknown) = text.trim().split_once(' ').expect("two numbers");
        total.0 += done.parse::<u64>().expect("a number");
        total.1 += unknown.parse::<u64>().expect("a number");
    }
    total
}

fn counter(cluster: &Cluster) -> u64 {
    let read = until("a read", || cluster.get(0, "counter").filter(|answer| answer.status == 200));
    read.body["val"].as_str().and_then(|val| val.parse().ok()).unwrap_or(0)
}

/// Against the original 180 increments by three clients ended at 177.
#[test]
fn no_increment_is_lost() {
    let mut cluster = Cluster::started(3, &[]);
    let counted = count(&mut cluster, 3, 60, |_| ());
    assert_eq!((counted, counter(&cluster)), ((180, 0), 180));
}

#[test]
fn no_increment_is_lost_or_done_twice_when_the_leader_is_killed() {
    let mut cluster = Cluster::started(3, &[]);
    let (done, unknown) = count(&mut cluster, 3, 60, |cluster| {
        until("some increments", || (counter(cluster) > 20).then_some(()));
        let leader = cluster.leader(0);
        cluster.kill(leader);
        cluster.start(leader);
    });
    assert_eq!(done + unknown, 180);
    let counted = counter(&cluster);
    assert!((done..=180).contains(&counted), "{counted} of {done} done and {unknown} unknown");
}
