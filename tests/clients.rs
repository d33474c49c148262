//! The clients: those of the Go original as they are, and ours.

mod support;

use paxos::config::Config;
use serde_json::{Value, json};
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
