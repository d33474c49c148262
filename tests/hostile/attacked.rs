//! A cluster that is attacked, as its operator sees it, and the ways to its ports.

use crate::support::{Cluster, PATIENCE, raw, until};
use paxos::storage::identity::StoreId;
use paxos::transport::Rejection;
use paxos::transport::codec::{self, HEADER, Hello, PROTOCOL, Seal};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

/// How long the log says nothing more of a reason.
const QUIET_SECONDS: u64 = 10;

/// Real nodes, and who they are.
pub(crate) struct Attacked {
    pub(crate) cluster: Cluster,
    /// Where each takes its peers.
    pub(crate) rpc: Vec<SocketAddr>,
    begun: Instant,
}

impl Attacked {
    /// Three nodes, of which those in `started` run.
    pub(crate) fn new(started: &[usize], fields: &[(&str, Value)]) -> Attacked {
        let mut cluster = Cluster::new(3, fields);
        let text = std::fs::read_to_string(&cluster.config).expect("a configuration");
        let config: Value = serde_json::from_str(&text).expect("JSON");
        let address = |node: &Value| node["rpc"].as_str().and_then(|rpc| rpc.parse().ok()).expect("an address");
        let rpc = config["nodes"].as_array().expect("nodes").iter().map(address).collect();
        started.iter().for_each(|node| cluster.start(*node));
        Attacked { cluster, rpc, begun: Instant::now() }
    }

    /// Three nodes that know each other and have a leader, and who that is.
    pub(crate) fn served(fields: &[(&str, Value)]) -> (Attacked, usize) {
        let attacked = Attacked::new(&[0, 1, 2], fields);
        attacked.serves("begin");
        let leader = attacked.cluster.leader(0);
        until("all to be in contact", || {
            (0..3).all(|node| attacked.received(node, "paxos_peer_received_bytes_total") > 0).then_some(())
        });
        (attacked, leader)
    }

    /// How `from` introduces itself to `to`, with the store that it has.
    pub(crate) fn hello(&self, from: usize, to: usize) -> Hello {
        let status = until("the store's number", || self.cluster.status(from));
        let store = status["store"].as_str().and_then(|store| u128::from_str_radix(store, 16).ok());
        hello(from as u64, to as u64, store.expect("a number"))
    }

    /// A sample of a node's metrics; 0 if there is none.
    pub(crate) fn received(&self, node: usize, name: &str) -> u64 {
        let text = until("metrics", || self.cluster.ask(node, "GET", "/metrics", None)).body;
        let text = text.as_str().expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        value.unwrap_or(0.0) as u64
    }

    /// What a node dropped for `reason`.
    pub(crate) fn dropped(&self, node: usize, reason: &str) -> u64 {
        self.received(node, &format!("paxos_dropped_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until a node has dropped `count` things for `reason`.
    pub(crate) fn drops(&self, node: usize, reason: &str, count: u64) {
        until(&format!("{count} dropped for {reason:?}"), || (self.dropped(node, reason) >= count).then_some(()));
    }

    fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.cluster.log(node)).expect("a log")
    }

    /// The lines of a node's log with `words`.
    pub(crate) fn lines(&self, node: usize, words: &str) -> u64 {
        self.log(node).lines().filter(|line| line.contains(words)).count() as u64
    }

    /// Asserts that what was dropped for `reason` was logged, and once in an interval.
    pub(crate) fn said_once(&self, node: usize, reason: &str) {
        let lines = self.lines(node, &format!("reason=\"{reason}\""));
        let most = 1 + self.begun.elapsed().as_secs() / QUIET_SECONDS;
        assert!((1..=most).contains(&lines), "{reason:?} was logged {lines} times:\n{}", self.log(node));
    }

    /// Sockets and files that a node has open.
    pub(crate) fn files(&self, node: usize) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.cluster.pid(node))).expect("it runs").count()
    }

    /// Every node that runs answers a write.
    pub(crate) fn serves(&self, val: &str) {
        for node in (0..3).filter(|node| self.cluster.runs(*node)) {
            let key = format!("served{node}");
            until("a write", || self.cluster.put(node, &key, val, None).filter(|answer| answer.status == 200));
            let entry = until("a read", || self.cluster.get(node, &key).filter(|answer| answer.status == 200));
            assert_eq!(entry.body["val"], val);
        }
    }

    /// All that run serve, never had more than `mib_max` of memory, stop well, and none panicked or was told much about in its log.
    pub(crate) fn ends_well(mut self, mib_max: u64) {
        self.serves("end");
        self.stops_well(mib_max);
    }

    /// As [`Attacked::ends_well`], where what was let in may keep a node from serving.
    pub(crate) fn stops_well(&mut self, mib_max: u64) {
        for node in (0..3).filter(|node| self.cluster.runs(*node)).collect::<Vec<_>>() {
            let kib = self.cluster.memory_kib(node, "VmHWM");
            assert!(kib < mib_max << 10, "node {node} had {} MiB of memory", kib >> 10);
            assert!(self.cluster.terminate(node).success(), "node {node} stops as it is asked to");
            let log = self.log(node);
            assert!(!log.contains("panicked"), "node {node} panicked:\n{log}");
            assert!(log.lines().count() < 60, "node {node} says too much:\n{log}");
        }
    }
}

pub(crate) fn hello(from: u64, to: u64, store: u128) -> Hello {
    Hello { protocol: PROTOCOL, cluster: "paxos".into(), nodes: 3, from, to, store: StoreId(store) }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can wait");
    stream.set_nodelay(true).expect("it can be set");
    stream
}

pub(crate) fn framed(seal: Seal, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::frame(&mut bytes, seal, body);
    bytes
}

pub(crate) fn introduction(hello: &Hello) -> Vec<u8> {
    framed(Seal::NONE, &postcard::to_stdvec(hello).expect("it has a form in bytes"))
}

pub(crate) fn datagram(hello: &Hello, message: &[u8]) -> Vec<u8> {
    framed(Seal::NONE, &[postcard::to_stdvec(hello).expect("it has a form in bytes").as_slice(), message].concat())
}

pub(crate) fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a port")
}

/// A connection that said `hello`, and the answer to it.
pub(crate) fn introduce(address: SocketAddr, hello: &Hello) -> (TcpStream, Result<Hello, Rejection>) {
    let mut stream = connect(address);
    stream.write_all(&introduction(hello)).expect("it is taken");
    let answer = postcard::from_bytes(&read_frame(&mut stream, Seal::NONE)).expect("an answer");
    (stream, answer)
}

/// The body of the next frame.
pub(crate) fn read_frame(stream: &mut TcpStream, seal: Seal) -> Vec<u8> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).expect("a frame");
    let (length, _) = codec::header(seal, head).expect("the length is as it was");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a frame");
    body
}

/// Sends bytes and no more, and waits until the other side closes.
pub(crate) fn offer(mut stream: TcpStream, bytes: &[u8]) {
    // It may be closed before all is taken.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    assert!(closes(&mut stream), "the connection is not given up");
}

/// Whether the other side closes within the patience of the stream.
pub(crate) fn closes(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }
}

/// Whether a node answers a client that asks nothing of the cluster.
pub(crate) fn is_alive(store: &str) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    raw(store, request).is_some_and(|answer| answer.status == 200)
}
