//! What cannot be read as HTTP, and what is at its edge, byte by byte at a real node: every answer says what was wrong, and those before it
//! on the same connection stay as they are.

#![allow(clippy::disallowed_types, reason = "requests are sent byte by byte")]

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use support::{Answer, Cluster, PATIENCE, until};

const HEAD_MAX: usize = 128 << 10;
const TARGET_MAX: usize = 65_534;
const HEADERS_MAX: usize = 100;

fn one() -> Cluster {
    let cluster = Cluster::started(1, &[]);
    until("a leader", || cluster.ask(0, "GET", "/readyz", None).filter(|answer| answer.status == 200));
    cluster
}

fn connect(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect(&cluster.stores[0]).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can wait");
    stream
}

/// Reads answers to the end of the connection, each as long as its head says.
fn answers(mut stream: impl Read) -> Vec<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it is closed and not broken off");
    let mut rest = String::from_utf8(bytes).expect("text");
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, body) = rest.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let (body, left) = body.split_at(length.unwrap_or(0));
        answers.push(Answer { status, body: serde_json::from_str(body).unwrap_or(Value::String(body.into())) });
        rest = left.to_owned();
    }
    answers
}

/// Sends bytes, and no more if `ends`.
fn sent(cluster: &Cluster, bytes: &[u8], ends: bool) -> Vec<Answer> {
    let mut stream = connect(cluster);
    // Who is answered before the end of what it sends may find the connection closed.
    let _ = stream.write_all(bytes);
    if ends {
        stream.shutdown(Shutdown::Write).expect("it is open");
    }
    answers(stream)
}

/// Asserts that the only answer is an error with all of `words`.
fn refused(answers: &[Answer], status: u16, words: &[&str]) {
    let [answer] = answers else { panic!("one answer, not {answers:?}") };
    let why = answer.body["error"].as_str().unwrap_or_else(|| panic!("an error says what was wrong: {answer:?}"));
    assert_eq!(answer.status, status, "{why}");
    for word in words {
        assert!(why.contains(word), "{why:?} does not say {word:?}");
    }
}

fn get(headers: &str) -> String {
    format!("GET /kvstore/k HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

fn put(key: &str, headers: &str, body: &str) -> String {
    format!("PUT /kvstore/{key} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}")
}

#[test]
fn what_is_no_request_is_said() {
    let cluster = one();
    for (bytes, words) in [
        ("nonsense\r\n\r\n", &["HTTP/1.1"][..]),
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", &["method"]),
        ("G\u{e9}T / HTTP/1.1\r\n\r\n", &["method"]),
        ("GET / x HTTP/1.1\r\n\r\n", &["HTTP/1.1"]),
        ("GET /kvstore/a b HTTP/1.1\r\n\r\n", &["HTTP/1.1"]),
        ("GET / HTTP/3.0\r\n\r\n", &["version"]),
        ("GET /\r\n\r\n", &["HTTP/1.1"]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["HTTP2"]),
        (&get("no colon\r\n"), &["header"]),
        (&get("a: b\0c\r\n"), &["header"]),
        (&put("k", "content-length: many\r\n", ""), &["content-length"]),
        (&put("k", "content-length: -1\r\n", ""), &["content-length"]),
        (&put("k", "content-length: 1\r\ncontent-length: 2\r\n", "xx"), &["content-length"]),
        (&put("k", "content-length: 99999999999999999999\r\n", ""), &["content-length"]),
        (&put("k", "transfer-encoding: gzip\r\n", ""), &["transfer-encoding"]),
        (&put("k", "transfer-encoding: chunked, gzip\r\n", ""), &["transfer-encoding"]),
        ("PUT /kvstore/k HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &["transfer-encoding"]),
    ] {
        refused(&sent(&cluster, bytes.as_bytes(), false), 400, words);
    }
    // More than any body may have, also where that is beyond what a length can be here.
    for length in [u64::MAX, u64::MAX - 1] {
        for body in [r#"{"val": "v"}"#, "", &"a: b\r\n".repeat(HEADERS_MAX + 1)] {
            let request = put("k", &format!("content-length: {length}\r\n"), body);
            refused(&sent(&cluster, request.as_bytes(), false), 413, &["content-length"]);
        }
    }
    // In whatever pieces it comes.
    let mut stream = connect(&cluster);
    stream.set_nodelay(true).expect("it can be set");
    for byte in b"GET /kvstore/k HTTP/1.1\r\nno colon\r\n\r\n" {
        stream.write_all(&[*byte]).expect("it is taken");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    refused(&answers(stream), 400, &["header"]);
    for half in ["G", "GET /kvstore/k HTTP/1.1\r\nhost:"] {
        refused(&sent(&cluster, half.as_bytes(), true), 400, &["head", "broke off"]);
    }
    assert_eq!(sent(&cluster, b"", true), [], "who asks nothing is told nothing");
    let metrics = cluster.ask(0, "GET", "/metrics", None).expect("an answer").body;
    let counted = "paxos_http_requests_total{kind=\"other\",outcome=\"malformed\"}";
    assert!(metrics.as_str().expect("text").contains(counted), "{metrics}");
}

#[test]
fn heads_are_bounded_and_the_bound_is_said() {
    let cluster = one();
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nconnection: close\r\n\r\n", "x".repeat(length - 1));
    refused(&sent(&cluster, target(TARGET_MAX).as_bytes(), false), 404, &[]);
    refused(&sent(&cluster, target(TARGET_MAX + 1).as_bytes(), false), 414, &["target", &TARGET_MAX.to_string()]);
    let headers = |count: usize| get(&("connection: close\r\n".to_owned() + &"a: b\r\n".repeat(count - 2)));
    assert_eq!(sent(&cluster, headers(HEADERS_MAX).as_bytes(), false)[0].status, 200);
    refused(&sent(&cluster, headers(HEADERS_MAX + 1).as_bytes(), false), 431, &[&HEADERS_MAX.to_string()]);
    refused(&sent(&cluster, get(&format!("{}: b\r\n", "a".repeat(1 << 16))).as_bytes(), false), 431, &["head"]);
    let long = |length: usize| {
        let without = get("connection: close\r\na: \r\n").len();
        get(&format!("connection: close\r\na: {}\r\n", "b".repeat(length - without)))
    };
    assert_eq!(sent(&cluster, long(HEAD_MAX).as_bytes(), false)[0].status, 200);
    let bound = HEAD_MAX.to_string();
    refused(&sent(&cluster, long(HEAD_MAX + 1).as_bytes(), false), 431, &["head", &bound]);
    refused(&sent(&cluster, &long(8 << 20).as_bytes()[..4 << 20], false), 431, &["head", &bound]);
}

#[test]
fn bodies_that_are_not_as_their_heads_say_are_said() {
    let cluster = one();
    let json = r#"{"val": "v"}"#;
    for chunks in ["zz\r\n{}\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "3\r\n{}}x\r\n0\r\n\r\n"] {
        let request = put("k", "transfer-encoding: chunked\r\n", chunks);
        refused(&sent(&cluster, request.as_bytes(), false), 400, &["body", "broke off"]);
    }
    refused(&sent(&cluster, put("k", "content-length: 99\r\n", json).as_bytes(), true), 400, &["body", "broke off"]);
    refused(
        &sent(&cluster, put("k", "transfer-encoding: chunked\r\n", "f\r\n{").as_bytes(), true),
        400,
        &["broke off"],
    );
    // What is beyond a body is the next request.
    let told =
        sent(&cluster, put("k", "content-length: 12\r\n", &(json.to_owned() + "more\r\n\r\n")).as_bytes(), false);
    assert_eq!((told.len(), told[0].status), (2, 200), "{told:?}");
    refused(&told[1..], 400, &["HTTP/1.1"]);
    // With both lengths the chunks count, and the connection ends.
    let both = put("k", "content-length: 5\r\ntransfer-encoding: chunked\r\n", &format!("c\r\n{json}\r\n0\r\n\r\n"));
    let told = sent(&cluster, (both + &get("")).as_bytes(), false);
    assert_eq!((told.len(), told[0].status, &told[0].body["ver"]), (1, 200, &json!(2)), "{told:?}");
    // Who waits to be told to go on is told so; other expectations are passed over.
    let mut stream = connect(&cluster);
    stream
        .write_all(put("k", "connection: close\r\nexpect: 100-continue\r\ncontent-length: 12\r\n", "").as_bytes())
        .expect("sent");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).expect("an answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(json.as_bytes()).expect("it is taken");
    assert_eq!(answers(stream)[0].body["ver"], 3);
    let cake = put("k", "connection: close\r\nexpect: cake\r\ncontent-length: 12\r\n", json);
    assert_eq!(sent(&cluster, cake.as_bytes(), false)[0].body["ver"], 4);
}

#[test]
fn methods_and_versions_that_are_not_used_here_are_said() {
    let cluster = one();
    let line = |line: &str| sent(&cluster, format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(), false);
    refused(&line("BREW /kvstore/x HTTP/1.1"), 405, &["GET, PUT, POST, DELETE"]);
    refused(&line("OPTIONS /kvstore/x HTTP/1.1"), 405, &["GET, PUT, POST, DELETE"]);
    refused(&line("get /kvstore/x HTTP/1.1"), 405, &["GET, PUT, POST, DELETE"]);
    refused(&line("TRACE /status HTTP/1.1"), 405, &["GET"]);
    refused(&line("OPTIONS * HTTP/1.1"), 404, &["*"]);
    refused(&line("CONNECT host:80 HTTP/1.1"), 404, &[]);
    assert_eq!(line("GET http://elsewhere/kvstore/x HTTP/1.1")[0].status, 200);
    // What answers to HEAD is without a body, whatever its head says.
    let mut stream = connect(&cluster);
    stream.write_all(b"HEAD /kvstore/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it is taken");
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("an answer");
    let (head, body) = told.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 405 ") && head.contains("allow: GET, PUT, POST, DELETE") && body.is_empty(), "{told}");
    let old = sent(&cluster, b"GET /kvstore/x HTTP/1.0\r\n\r\n", false);
    assert_eq!(
        (old.len(), old[0].status, old[0].body["ver"].as_u64()),
        (1, 200, Some(0)),
        "the old version is spoken, too"
    );
    let mixed = sent(&cluster, b"GET /kvstore/x HTTP/1.0\r\nconnection: keep-alive\r\n\r\nx\r\n\r\n", false);
    assert_eq!((mixed.len(), mixed[0].status), (2, 200), "{mixed:?}");
    refused(&mixed[1..], 400, &["HTTP/1.1"]);
}

#[test]
fn what_is_answered_before_stays_as_it_is() {
    let cluster = one();
    // Large answers, which are written in several parts, and one that looks like what it is not.
    let large = "v".repeat(1 << 20);
    let tricky = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    for (key, val) in [("large", large.as_str()), ("tricky", tricky)] {
        assert_eq!(cluster.put(0, key, val, None).expect("an answer").status, 200);
    }
    let read = |key: &str| format!("GET /kvstore/{key} HTTP/1.1\r\nhost: x\r\n\r\n");
    let keys = ["large", "tricky", "large", "tricky", "large"];
    let good: String = keys.iter().map(|key| read(key)).collect();
    let mut stream = connect(&cluster);
    stream.write_all((good + &get("no colon\r\n") + &read("tricky")).as_bytes()).expect("it is taken");
    // The buffers are full before anything is read.
    std::thread::park_timeout(Duration::from_millis(300));
    let told = answers(stream);
    assert_eq!(told.len(), keys.len() + 1, "what follows is not answered");
    for (answer, key) in told.iter().zip(keys) {
        let val = if key == "large" { &large } else { tricky };
        assert!(answer.status == 200 && answer.body["val"] == *val, "{key}");
    }
    refused(&told[keys.len()..], 400, &["header"]);
}

/// As `nc -N` sends it. Whether the request was carried out is what the answer is for.
#[test]
fn who_sends_no_more_after_its_request_is_answered() {
    let cluster = one();
    let json = r#"{"val": "v"}"#;
    let length = format!("content-length: {}\r\n", json.len());
    let told = sent(&cluster, put("k", &length, json).as_bytes(), true);
    assert_eq!((told.len(), told[0].status, &told[0].body["ver"]), (1, 200, &json!(1)), "{told:?}");
    let told = sent(&cluster, get("").as_bytes(), true);
    assert_eq!((told.len(), &told[0].body), (1, &json!({"key": "k", "val": "v", "ver": 1})), "{told:?}");
    let told = sent(&cluster, (get("") + &put("k", &length, json) + &get("")).as_bytes(), true);
    let versions: Vec<_> = told.iter().map(|answer| answer.body["ver"].as_u64()).collect();
    assert_eq!(versions, [Some(1), Some(2), Some(2)], "{told:?}");
    // One that waits, until there is something or its time is up.
    let mut waiting = connect(&cluster);
    waiting.write_all(b"GET /kvstore/k?wait_ver_gt=2 HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is taken");
    waiting.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(cluster.put(0, "k", "w", Some(3)).expect("an answer").status, 200);
    let told = answers(waiting);
    assert_eq!((told.len(), &told[0].body), (1, &json!({"key": "k", "val": "w", "ver": 3})), "{told:?}");
    let late = b"GET /kvstore/k?wait_ver_gt=3&timeout_ms=200 HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(sent(&cluster, late, true)[0].body["ver"], 3);
    // What is broken is still said, after what was whole.
    let told = sent(&cluster, (get("") + "GET /kvstore/k HTTP/1.1\r\nhost:").as_bytes(), true);
    assert_eq!((told.len(), told[0].status), (2, 200), "{told:?}");
    refused(&told[1..], 400, &["head", "broke off"]);
    refused(&sent(&cluster, get("no colon\r\n").as_bytes(), true), 400, &["header"]);
    // Whoever is gone gives its place back once its time is up.
    let mut gone = connect(&cluster);
    gone.write_all(late).expect("it is taken");
    drop(gone);
    let open = "\npaxos_http_connections 1\n";
    until("only the asking connection to be there", || {
        let metrics = cluster.ask(0, "GET", "/metrics", None)?.body;
        metrics.as_str()?.contains(open).then_some(())
    });
}
