//! The table of requests and answers, row by row and error by error, at a real node.

#![allow(clippy::disallowed_types, reason = "some requests are sent byte by byte")]
#![allow(clippy::disallowed_methods, reason = "how long an answer takes is tested")]

mod support;

use rlimit::Resource;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{Answer, Cluster, answer, raw, until};

const VERSION_MAX: u64 = (1 << 53) - 1;
const VALUE_MAX: usize = 1 << 20;

fn one() -> Cluster {
    let cluster = Cluster::started(1, &[]);
    until("a leader", || cluster.ask(0, "GET", "/readyz", None).filter(|answer| answer.status == 200));
    cluster
}

fn ask(cluster: &Cluster, method: &str, path: &str, body: Option<Value>) -> Answer {
    cluster.ask(0, method, path, body).unwrap_or_else(|| panic!("{method} {path} is not answered"))
}

/// The status and the reason of an answer that is an error.
fn error(answer: &Answer) -> (u16, &str) {
    let why = answer.body["error"].as_str();
    (answer.status, why.unwrap_or_else(|| panic!("an error says what was wrong: {answer:?}")))
}

/// Asserts that a request is answered with an error that has all of `words`.
fn refused(answer: &Answer, status: u16, words: &[&str]) {
    let (found, why) = error(answer);
    assert_eq!(found, status, "{why}");
    for word in words {
        assert!(why.contains(word), "{why:?} does not say {word:?}");
    }
}

#[test]
fn entries_are_written_read_deleted_and_conflict() {
    let cluster = one();
    assert_eq!(ask(&cluster, "GET", "/kvstore/k", None).body, json!({"key": "k", "val": "", "ver": 0}), "absent");
    for (method, body, expected) in [
        ("PUT", json!({"val": "a", "ver": 3}), (200, "a", 3)),
        ("PUT", json!({"val": "b", "ver": 3}), (409, "a", 3)),
        ("POST", json!({"val": "b", "ver": 4}), (200, "b", 4)),
        ("PUT", json!({"val": "c", "ver": 2}), (409, "b", 4)),
        ("PUT", json!({"val": "d"}), (200, "d", 5)),
        ("PUT", json!({"key": "k", "val": "", "ver": 6}), (200, "", 6)),
        ("PUT", json!({"val": "e", "ver": 6}), (409, "", 6)),
        ("POST", json!({"val": "e", "ver": 0}), (409, "", 6)),
        ("PUT", json!({"val": "e", "ver": VERSION_MAX}), (200, "e", VERSION_MAX)),
        ("PUT", json!({"val": "f"}), (409, "e", VERSION_MAX)),
        ("DELETE", json!(null), (200, "", VERSION_MAX)),
        ("PUT", json!({"val": "f"}), (409, "", VERSION_MAX)),
    ] {
        let (status, val, ver) = expected;
        let found = ask(&cluster, method, "/kvstore/k", Some(body.clone()));
        let expected = Answer { status, body: json!({"key": "k", "val": val, "ver": ver}) };
        assert_eq!(found, expected, "{method} {body}");
    }
    ask(&cluster, "PUT", "/kvstore/gone", Some(json!({"val": "x", "ver": 7})));
    assert_eq!(ask(&cluster, "DELETE", "/kvstore/gone?ver=7", None).status, 409);
    assert_eq!(ask(&cluster, "DELETE", "/kvstore/gone?ver=9", None).body["ver"], 9);
    assert_eq!(ask(&cluster, "DELETE", "/kvstore/gone", None).body, json!({"key": "gone", "val": "", "ver": 10}));
    ask(&cluster, "PUT", "/kvstore/there", Some(json!({"val": "x"})));
    assert_eq!(ask(&cluster, "GET", "/kvstore/", None).body, json!(["there"]), "what is deleted is not listed");
}

#[test]
fn keys_are_listed_in_order_from_a_start_with_a_prefix_and_up_to_a_limit() {
    let cluster = one();
    for key in ["b", "a%2F2", "a/1", "c", "a"] {
        assert_eq!(ask(&cluster, "PUT", &format!("/kvstore/{key}"), Some(json!({"val": "v"}))).status, 200);
    }
    for (query, expected) in [
        ("", json!(["a", "a/1", "a/2", "b", "c"])),
        ("?prefix=a/", json!(["a/1", "a/2"])),
        ("?prefix=a%2F&limit=1", json!(["a/1"])),
        ("?start=a%2F2", json!(["a/2", "b", "c"])),
        ("?prefix=a&start=a/1&limit=1&consistency=local", json!(["a/1"])),
        ("?limit=0", json!([])),
        ("?prefix=z", json!([])),
        ("?start=d", json!([])),
    ] {
        assert_eq!(ask(&cluster, "GET", &format!("/kvstore/{query}"), None).body, expected, "{query}");
    }
    assert_eq!(ask(&cluster, "GET", "/kvstore", None).body.as_array().map(Vec::len), Some(5));
    refused(&ask(&cluster, "GET", "/kvstore/?limit=many", None), 400, &["limit", "many"]);
    refused(&ask(&cluster, "GET", "/kvstore/?limit=-1", None), 400, &["limit", "-1"]);
    refused(&ask(&cluster, "GET", "/kvstore/?from=a", None), 400, &["from", "prefix, start, limit"]);
    refused(&ask(&cluster, "GET", "/kvstore/?start=%ff", None), 400, &["UTF-8"]);
}

#[test]
fn keys_are_percent_decoded_utf8_of_up_to_511_bytes() {
    let cluster = one();
    for (encoded, key) in [
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("dir/sub//x", "dir/sub//x"),
        ("/", "/"),
        ("..%2f.", "../."),
        ("%C3%A9%F0%9F%A6%80", "é🦀"),
        ("%25", "%"),
        ("%00", "\0"),
    ] {
        let put = ask(&cluster, "PUT", &format!("/kvstore/{encoded}"), Some(json!({"val": "v", "ver": 1})));
        assert_eq!((put.status, put.body["key"].as_str()), (200, Some(key)), "{encoded}");
        assert_eq!(ask(&cluster, "GET", &format!("/kvstore/{encoded}"), None).body["ver"], 1, "{encoded}");
    }
    let long = |bytes: usize| format!("/kvstore/{}", "%C3%A9".repeat(bytes / 2) + &"x".repeat(bytes % 2));
    assert_eq!(ask(&cluster, "PUT", &long(511), Some(json!({"val": "v"}))).status, 200);
    for method in ["GET", "PUT", "DELETE"] {
        let body = (method == "PUT").then(|| json!({"val": "v"}));
        refused(&ask(&cluster, method, &long(512), body), 400, &["key", "512", "511"]);
    }
    for bad in ["%ff", "a%C3", "%C0%80"] {
        refused(&ask(&cluster, "GET", &format!("/kvstore/{bad}"), None), 400, &["key", "UTF-8"]);
    }
    for bad in ["%", "%2", "a%zz"] {
        let request = format!("GET /kvstore/{bad} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        refused(&raw(&cluster.stores[0], request.as_bytes()).expect("an answer"), 400, &["key", "hexadecimal"]);
    }
}

#[test]
fn what_is_malformed_is_said() {
    let cluster = one();
    let put = |body: &str| {
        let length = body.len();
        let head =
            format!("PUT /kvstore/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        raw(&cluster.stores[0], (head + body).as_bytes()).expect("an answer")
    };
    for (body, words) in [
        ("", &["body", "val"][..]),
        ("nonsense", &["body", "val"]),
        ("[]", &["body", "an object"]),
        ("[\"x\", 9]", &["body", "an object"]),
        ("{\"val\": \"w\", \"key\": null}", &["null"]),
        ("\"v\"", &["body"]),
        ("{\"val\": \"v\", \"ver\": 1", &["body", "EOF"]),
        ("{\"val\": \"v\"} {}", &["trailing"]),
        ("{}", &["missing field `val`"]),
        ("{\"ver\": 1}", &["missing field `val`"]),
        ("{\"val\": 1, \"ver\": 1}", &["integer `1`", "string"]),
        ("{\"val\": null, \"ver\": 1}", &["null", "string"]),
        ("{\"val\": \"v\", \"version\": 1}", &["unknown field `version`"]),
        ("{\"val\": \"v\", \"val\": \"w\"}", &["duplicate field `val`"]),
        ("{\"val\": \"v\", \"ver\": \"1\"}", &["string \"1\"", "9007199254740991"]),
        ("{\"val\": \"v\", \"ver\": 1.0}", &["floating point `1.0`"]),
        ("{\"val\": \"v\", \"ver\": -1}", &["integer `-1`"]),
        ("{\"val\": \"v\", \"ver\": null}", &["null"]),
        ("{\"val\": \"v\", \"ver\": 9007199254740992}", &["ver", "at most 9007199254740991"]),
        ("{\"val\": \"v\", \"ver\": 1e400}", &["body", "9007199254740991"]),
        ("{\"val\": \"v\", \"ver\": 99999999999999999999}", &["body", "9007199254740991"]),
        ("{\"val\": \"\\ud800\", \"ver\": 1}", &["body"]),
        ("{\"key\": \"other\", \"val\": \"v\"}", &["key", "path"]),
    ] {
        refused(&put(body), 400, words);
    }
    let bytes =
        b"PUT /kvstore/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{\"val\":\"\xff\"}";
    refused(&raw(&cluster.stores[0], bytes).expect("an answer"), 400, &["unicode"]);
    refused(&ask(&cluster, "DELETE", "/kvstore/k?ver=x", None), 400, &["ver", "\"x\""]);
    refused(&ask(&cluster, "DELETE", "/kvstore/k?ver=9007199254740992", None), 400, &["ver", "9007199254740991"]);
    refused(&ask(&cluster, "DELETE", "/kvstore/k?ver=1&ver=2", None), 400, &["ver", "twice"]);
    refused(&ask(&cluster, "GET", "/kvstore/k?consistency=none", None), 400, &["consistency", "none", "local"]);
    refused(&ask(&cluster, "GET", "/kvstore/k?wait_ver_gt=-1", None), 400, &["wait_ver_gt", "-1"]);
    for bad in ["0", "-5", "1.5", "x", "600001"] {
        let answer = ask(&cluster, "GET", &format!("/kvstore/k?timeout_ms={bad}"), None);
        refused(&answer, 400, &["timeout_ms", bad, "600000"]);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        assert_eq!(ask(&cluster, "GET", &format!("{path}?timeout_ms=500"), None).status, 200, "{path}");
        refused(&ask(&cluster, "GET", &format!("{path}?verbose=1"), None), 400, &["\"verbose\"", "timeout_ms"]);
        refused(&ask(&cluster, "GET", &format!("{path}?timeout_ms=x"), None), 400, &["timeout_ms", "\"x\""]);
    }
    assert_eq!(ask(&cluster, "GET", "/kvstore/k", None).body["ver"], 0, "nothing of it was done");
}

#[test]
fn unknown_paths_and_methods_are_said() {
    let cluster = one();
    for path in ["/", "/kvstores", "/kv/k", "/status/", "/session/", "/metricsx"] {
        let expected = if path == "/session/" { 405 } else { 404 };
        assert_eq!(error(&ask(&cluster, "GET", path, None)).0, expected, "{path}");
    }
    refused(&ask(&cluster, "GET", "/nothing", None), 404, &["/nothing"]);
    for (method, path, allow) in [
        ("PATCH", "/kvstore/k", "GET, PUT, POST, DELETE"),
        ("OPTIONS", "/kvstore/k", "GET, PUT, POST, DELETE"),
        ("PUT", "/kvstore/", "GET"),
        ("POST", "/kvstore", "GET"),
        ("DELETE", "/kvstore/", "GET"),
        ("POST", "/status", "GET"),
        ("PUT", "/healthz", "GET"),
        ("POST", "/readyz", "GET"),
        ("DELETE", "/metrics", "GET"),
        ("GET", "/session", "POST"),
        ("POST", "/backup", "GET"),
        ("GET", "/restore", "POST"),
        ("PUT", "/session/1.0", "DELETE"),
    ] {
        refused(&ask(&cluster, method, path, None), 405, &[allow]);
    }
}

#[test]
fn the_content_type_is_ignored_as_curl_sends_a_forms() {
    let cluster = one();
    for (kind, val) in [("application/x-www-form-urlencoded", "a"), ("text/html; charset=latin1", "b"), ("", "c")] {
        let body = json!({"val": val}).to_string();
        let length = body.len();
        let request = format!(
            "PUT /kvstore/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let put = raw(&cluster.stores[0], request.as_bytes()).expect("an answer");
        assert_eq!((put.status, put.body["val"].as_str()), (200, Some(val)));
    }
}

#[test]
fn values_and_bodies_are_bounded_also_in_chunks() {
    let cluster = one();
    let value = "v".repeat(VALUE_MAX);
    assert_eq!(ask(&cluster, "PUT", "/kvstore/k", Some(json!({"val": value}))).status, 200);
    assert_eq!(ask(&cluster, "GET", "/kvstore/k", None).body["val"].as_str().map(str::len), Some(VALUE_MAX));
    let longer = ask(&cluster, "PUT", "/kvstore/k", Some(json!({"val": value.clone() + "v"})));
    refused(&longer, 413, &["value", "1048577", "1048576"]);
    // Every byte escaped: the longest form of the longest value.
    let escaped = format!("{{\"val\": \"{}\"}}", "\\u0041".repeat(VALUE_MAX));
    let chunked = |body: &str| {
        let mut bytes =
            b"PUT /kvstore/c HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.as_bytes().chunks(64 << 10) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        raw(&cluster.stores[0], &bytes).expect("an answer")
    };
    assert_eq!(chunked(&escaped).status, 200);
    let too_long = format!("{{\"val\": \"{}\"}}", "v".repeat(8 * VALUE_MAX));
    refused(&chunked(&too_long), 413, &["body", "6295552"]);
    refused(&ask(&cluster, "PUT", "/kvstore/k", Some(json!({"val": "v".repeat(8 * VALUE_MAX)}))), 413, &["6295552"]);
}

#[test]
fn a_wait_ends_when_the_version_is_greater_or_the_time_is_up() {
    let cluster = one();
    cluster.put(0, "k", "a", Some(1)).expect("an answer");
    assert_eq!(ask(&cluster, "GET", "/kvstore/k?wait_ver_gt=0", None).body["ver"], 1, "it is already");
    let begin = Instant::now();
    let late = ask(&cluster, "GET", "/kvstore/k?wait_ver_gt=1&timeout_ms=300", None);
    assert_eq!((late.status, late.body["ver"].as_u64()), (200, Some(1)), "the time is up");
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ask(&cluster, "GET", "/kvstore/k?wait_ver_gt=41&timeout_ms=15000", None)))
            .collect();
        for ver in 2..=42 {
            assert_eq!(cluster.put(0, "k", "b", Some(ver)).expect("an answer").status, 200);
        }
        for wait in waits {
            assert_eq!(wait.join().expect("it ends").body["ver"], 42);
        }
    });
}

#[test]
fn requests_end_by_their_deadline_whatever_is_lacking() {
    // One node of three: no leader, so nothing but local answers.
    let mut cluster = Cluster::new(3, &[("request_timeout_ms", json!(400))]);
    cluster.start(0);
    let in_time = |what: &str, answered: &mut dyn FnMut() -> Answer| {
        let begin = Instant::now();
        let answer = answered();
        assert!(begin.elapsed() < Duration::from_millis(1500), "{what}: {:?}", begin.elapsed());
        answer
    };
    for (method, path) in [
        ("GET", "/kvstore/k"),
        ("GET", "/kvstore/"),
        ("GET", "/kvstore/k?consistency=local"),
        ("GET", "/kvstore/k?wait_ver_gt=3"),
        ("PUT", "/kvstore/k"),
        ("DELETE", "/kvstore/k"),
        ("POST", "/session"),
        ("GET", "/readyz"),
        ("PUT", "/kvstore/k?timeout_ms=50"),
    ] {
        let body = (method == "PUT").then(|| json!({"val": "v"}));
        let answer = in_time(path, &mut || ask(&cluster, method, path, body.clone()));
        let status = error(&answer).0;
        assert!(status == 503 || status == 504, "{method} {path}: {answer:?}");
        if method == "PUT" {
            refused(&answer, 503, &["not carried out"]);
        }
    }
    assert_eq!(ask(&cluster, "GET", "/healthz", None), Answer { status: 200, body: json!({"alive": true}) });
    let status = ask(&cluster, "GET", "/status", None).body;
    assert_eq!((status["leader"].clone(), status["decided"].as_u64()), (Value::Null, Some(0)), "{status}");
    // A body that does not come.
    let stalled = in_time("a body that does not come", &mut || {
        let mut stream = TcpStream::connect(&cluster.stores[0]).expect("it listens");
        let head =
            b"PUT /kvstore/k?timeout_ms=300 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99\r\n\r\n{";
        stream.write_all(head).expect("it is taken");
        answer(stream).expect("an answer")
    });
    refused(&stalled, 408, &["body", "not carried out"]);
}

#[test]
fn connections_over_the_limit_are_told_so() {
    let cluster = Cluster::started(1, &[("connections_max", json!(4))]);
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let full = || raw(&cluster.stores[0], request).filter(|answer| answer.status == 503);
    let held: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(&cluster.stores[0]).expect("it listens")).collect();
    let answer = until("a refusal", full);
    refused(&answer, 503, &["4 connections", "not carried out"]);
    drop(held);
    until("a place", || raw(&cluster.stores[0], request).filter(|answer| answer.status == 200));
}

#[test]
fn connections_that_cannot_be_taken_are_logged_once_and_taken_later() {
    let cluster = one();
    let node = cluster.pid(0);
    let files = || std::fs::read_dir(format!("/proc/{node}/fd")).expect("it runs").count() as u64;
    let process = i32::try_from(node).expect("a process");
    let (mut soft, mut hard) = (0, 0);
    rlimit::prlimit(process, Resource::NOFILE, None, Some((&mut soft, &mut hard))).expect("it runs");
    let limit = |files| rlimit::prlimit(process, Resource::NOFILE, Some((files, hard)), None).expect("it is ours");
    limit(files());
    let held: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&cluster.stores[0]).expect("it listens")).collect();
    let logged = || {
        let log = std::fs::read_to_string(cluster.log(0)).expect("a log");
        log.lines().filter(|line| line.contains("cannot take a client's connection")).count()
    };
    until("a warning", || (logged() > 0).then_some(()));
    // Some ten times more it cannot.
    std::thread::park_timeout(Duration::from_millis(500));
    limit(soft);
    assert_eq!(ask(&cluster, "GET", "/healthz", None).status, 200);
    assert_eq!(logged(), 1);
    drop(held);
}

#[test]
fn a_connection_is_kept_and_carries_requests_one_after_the_other() {
    let cluster = one();
    let mut requests = Vec::new();
    for number in 0..20 {
        let body = json!({"val": number.to_string(), "ver": number + 1}).to_string();
        let close = if number == 19 { "connection: close\r\n" } else { "" };
        let length = body.len();
        requests.push(format!("PUT /kvstore/k HTTP/1.1\r\nhost: x\r\n{close}content-length: {length}\r\n\r\n{body}"));
    }
    raw(&cluster.stores[0], requests.concat().as_bytes()).expect("answers");
    assert_eq!(ask(&cluster, "GET", "/kvstore/k", None).body, json!({"key": "k", "val": "19", "ver": 20}));
}

#[test]
fn sessions_let_a_write_be_sent_again_and_be_done_once() {
    let mut cluster = Cluster::started(3, &[]);
    let opened = until("a session", || cluster.ask(1, "POST", "/session", None).filter(|answer| answer.status == 200));
    let session = opened.body["session"].as_str().expect("its name").to_owned();
    let send = |node: usize, sequence: &str, val: &str| {
        let body = json!({"val": val}).to_string();
        let length = body.len();
        let request = format!(
            "PUT /kvstore/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\npaxos-session: {session}\r\npaxos-sequence: {sequence}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        raw(&cluster.stores[node], request.as_bytes()).expect("an answer")
    };
    let first = send(0, "1", "a");
    assert_eq!((first.status, first.body["ver"].as_u64()), (200, Some(1)));
    assert_eq!(send(2, "1", "a"), first, "the same operation, at another node");
    assert_eq!(send(1, "2", "b").body["ver"], 2);
    assert_eq!(cluster.get(0, "k").expect("an answer").body["ver"], 2, "applied at node 0, too");
    refused(&send(0, "1", "a"), 504, &["acknowledged"]);
    for bad in ["0", "x", "-1"] {
        refused(&send(0, bad, "c"), 400, &["paxos-sequence", bad]);
    }
    for (twice, name) in [("3\r\npaxos-sequence: 4", "paxos-sequence"), ("3\r\npaxos-session: 1.0", "paxos-session")] {
        refused(&send(0, twice, "c"), 400, &[name, "twice"]);
    }
    assert_eq!(cluster.ask(2, "DELETE", &format!("/session/{session}"), None).expect("an answer").status, 200);
    refused(&send(0, "3", "c"), 504, &["not open"]);
    assert_eq!(cluster.get(0, "k").expect("an answer").body["ver"], 2);
    refused(&cluster.ask(0, "DELETE", "/session/x", None).expect("an answer"), 400, &["slot.position"]);
    let half = b"PUT /kvstore/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\npaxos-session: 1.0\r\ncontent-length: 13\r\n\r\n{\"val\": \"v\"}\n";
    refused(&raw(&cluster.stores[0], half).expect("an answer"), 400, &["go together"]);
    assert!(cluster.terminate(0).success());
}

#[test]
fn local_reads_are_served_without_a_quorum_once_a_read_was_confirmed() {
    let mut cluster = Cluster::started(3, &[]);
    cluster.put(0, "k", "a", Some(1)).expect("an answer");
    assert_eq!(cluster.get(0, "k").expect("an answer").body["val"], "a");
    cluster.kill(1);
    cluster.kill(2);
    let local = ask(&cluster, "GET", "/kvstore/k?consistency=local", None);
    assert_eq!((local.status, local.body["val"].as_str()), (200, Some("a")));
    assert_eq!(ask(&cluster, "GET", "/kvstore/?consistency=local", None).body, json!(["k"]));
    let linearizable = ask(&cluster, "GET", "/kvstore/k?consistency=linearizable&timeout_ms=300", None);
    assert!(matches!(error(&linearizable).0, 503 | 504));
}

#[test]
fn the_node_tells_its_state() {
    let cluster = one();
    cluster.put(0, "k", "a", None).expect("an answer");
    assert_eq!(ask(&cluster, "GET", "/readyz", None), Answer { status: 200, body: json!({"ready": true}) });
    let status = ask(&cluster, "GET", "/status", None).body;
    assert_eq!(
        (status["node"].as_u64(), status["role"].as_str(), status["leader"].as_u64()),
        (Some(0), Some("leader"), Some(0))
    );
    assert!(status["ballot"].is_string() && status["uptime_seconds"].is_u64(), "{status}");
    assert!(
        status["decided"].as_u64() >= status["applied"].as_u64() && status["applied"].as_u64() > Some(0),
        "{status}"
    );
    assert_eq!((status["snapshot"].as_u64(), status["first"].as_u64()), (Some(0), Some(0)), "{status}");
    assert!(status["sizes"]["sessions"].as_u64() > Some(0), "{status}");
    assert_eq!(status["members"][0]["store"].as_str(), Some(cluster.stores[0].as_str()));
    assert!(
        status["sizes"]["store_bytes"].as_u64() > Some(0) && status["sizes"]["log_slots"].as_u64() > Some(0),
        "{status}"
    );
}

#[test]
fn a_signal_stops_the_node_which_finishes_what_is_open() {
    for signal in ["TERM", "INT"] {
        let mut cluster = Cluster::started(1, &[]);
        cluster.put(0, "k", "a", Some(1)).expect("an answer");
        let address = cluster.stores[0].clone();
        let begin = Instant::now();
        let (waiting, kept) = std::thread::scope(|scope| {
            let wait = scope
                .spawn(|| raw(&address, b"GET /kvstore/k?wait_ver_gt=1&timeout_ms=60000 HTTP/1.1\r\nhost: x\r\n\r\n"));
            // A connection on which nothing is asked may not hold the node up.
            let kept = TcpStream::connect(&address).expect("it listens");
            until("the wait to begin", || {
                let metrics = cluster.ask(0, "GET", "/metrics", None)?;
                metrics.body.as_str()?.contains("paxos_http_connections 3").then_some(())
            });
            assert!(cluster.end(0, signal).success(), "{signal}");
            (wait.join().expect("it ends"), kept)
        });
        refused(&waiting.expect("an answer"), 503, &["stops"]);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert!(TcpStream::connect(&address).is_err(), "nobody listens");
        drop(kept);
        cluster.start(0);
        assert_eq!(ask(&cluster, "GET", "/kvstore/k", None).body["val"], "a");
    }
}

#[test]
fn what_is_open_at_a_stop_is_refused_if_it_is_a_read_and_unknown_if_it_is_a_write() {
    // One node of three: nothing is decided.
    let mut cluster = Cluster::new(3, &[]);
    cluster.start(0);
    let address = cluster.stores[0].clone();
    let asked = |method: &str, path: &str| {
        let body = if method == "PUT" { r#"{"val": "v"}"# } else { "" };
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all((head + body).as_bytes()).expect("it is taken");
        stream
    };
    let paths = [("GET", "/kvstore/k"), ("GET", "/kvstore/"), ("GET", "/kvstore/k?wait_ver_gt=3"), ("GET", "/backup")];
    let time = |path: &str| format!("{path}{}timeout_ms=60000", if path.contains('?') { "&" } else { "?" });
    let reads: Vec<TcpStream> = paths.iter().map(|(method, path)| asked(method, &time(path))).collect();
    let ready = asked("GET", "/readyz?timeout_ms=60000");
    let write = asked("PUT", "/kvstore/k?timeout_ms=60000");
    until("all to be under way", || {
        (cluster.status(0)?["sizes"]["requests"].as_u64()? >= paths.len() as u64 + 2).then_some(())
    });
    assert!(cluster.end(0, "TERM").success());
    for (read, (method, path)) in reads.into_iter().zip(paths) {
        let answer = answer(read).unwrap_or_else(|| panic!("{method} {path} is not answered"));
        refused(&answer, 503, &["interrupted", "nothing was changed"]);
    }
    refused(&answer(ready).expect("an answer"), 503, &["not ready", "interrupted"]);
    refused(&answer(write).expect("an answer"), 504, &["interrupted", "unknown"]);
}

#[test]
fn a_stop_has_a_deadline_whoever_is_slow() {
    let mut cluster = Cluster::started(1, &[]);
    let mut half = TcpStream::connect(&cluster.stores[0]).expect("it listens");
    let head = b"PUT /kvstore/k?timeout_ms=60000 HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{";
    half.write_all(head).expect("it is taken");
    until("the request to begin", || {
        let metrics = cluster.ask(0, "GET", "/metrics", None)?;
        metrics.body.as_str()?.contains("paxos_http_connections 2").then_some(())
    });
    let begin = Instant::now();
    assert!(cluster.end(0, "TERM").success());
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
}
