//! `check explore` as a child process: what it serves is what a browser needs.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a browser has sockets and a clock")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The child, ended when the test is.
struct Explorer {
    child: Child,
    // Kept open, or the child's next line would have no reader.
    _out: BufReader<ChildStdout>,
    address: String,
}

impl Explorer {
    fn of(scope: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_check"))
            .args(["explore", scope, "--address", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.split("listening on http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("no address in `{line}`")).to_string();
        Explorer { child, _out: out, address }
    }

    fn get(&self, path: &str) -> String {
        let begun = Instant::now();
        // It says where it listens just before it does.
        let mut stream = loop {
            match TcpStream::connect(&self.address) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().next().unwrap().contains("200"), "{path}: {head}");
        body.to_string()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }
}

impl Drop for Explorer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[test]
fn states_actions_properties_and_diagrams_are_served() {
    let explorer = Explorer::of("two-slots-two-ballots");
    assert!(explorer.get("/").contains("<title>Stateright Explorer</title>"));

    let status = explorer.json("/.status");
    let properties = status["properties"].to_string();
    for expected in [r#"["Always","agreement""#, r#"["Always","dead-stays-dead""#, r#"["Sometimes","a hole is filled""#]
    {
        assert!(properties.contains(expected), "{expected} is not in {properties}");
    }

    let start = &explorer.json("/.states/")[0];
    assert!(text(start, "state").contains("node 0\n  promised: nothing\n  decided below: 0\n"), "{start}");
    assert!(text(start, "svg").contains(">node 2</text>"), "{start}");

    let choices = explorer.json("/.states/0");
    let choices = choices.as_array().unwrap();
    let election = choices.iter().find(|choice| choice["action"] == "node 0: election timer").unwrap();
    assert!(text(election, "outcome").contains("  role: follower → candidate in 1.0\n"), "{election}");
    assert!(text(election, "outcome").contains("  sends to node 1: prepare(1.0)\n"), "{election}");
    assert!(text(election, "state").contains("  node 0 → node 1: prepare(1.0)\n"), "{election}");
    assert!(text(election, "svg").contains("node 0: election timer<"), "{election}");

    let next = explorer.json(&format!("/.states/0/{}", election["actionIndex"]));
    let delivered = |choice: &&Value| choice["action"] == "node 0 → node 1: prepare(1.0)";
    let prepared = next.as_array().unwrap().iter().find(delivered).unwrap();
    assert!(text(prepared, "outcome").contains("promised: nothing → 1.0"), "{prepared}");
}

#[test]
fn a_scope_with_a_script_and_clients_is_served() {
    let explorer = Explorer::of("local-reads");
    let start = &explorer.json("/.states/")[0];
    let state = text(start, "state");
    for expected in ["  role: leader in 1.0\n", "  session s1.0: a client's", "client 3\n", "request(#0, local read k)"]
    {
        assert!(state.contains(expected), "{expected} is not in {state}");
    }
    assert!(state.lines().all(|line| line.chars().count() < 120), "{state}");
}

#[test]
fn a_port_in_use_is_one_line_and_status_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = ["explore", "one-replica", "--address", &address];
    let output = Command::new(env!("CARGO_BIN_EXE_check")).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), said.lines().count()), (Some(2), 0, 1), "{said}");
    assert!(said.contains(&address), "{said}");
}
