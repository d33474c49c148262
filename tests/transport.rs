//! Both transports over real sockets: what is let in, what is not, and that nobody holds up anybody else.

#![allow(clippy::disallowed_types, reason = "sockets are what is tested")]

mod support;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use paxos::model::replica::Options;
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::configuration::Configuration;
use paxos::model::replica::message::{Entry, Message};
use paxos::node::{self, NodeHandle, Peers, Settings};
use paxos::storage::Store;
use paxos::storage::identity::StoreId;
use paxos::storage::memory::MemoryStore;
use paxos::transport::codec::{self, HEADER, Hello, MESSAGE_MAX, PROTOCOL, Seal};
use paxos::transport::pins::Pins;
use paxos::transport::{Book, Kind, Network, Rejection, tcp, udp};
use paxos::{Command, Msg};
use serde_json::{Value, json};
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use support::{Cluster, PATIENCE, until};
use tokio::runtime::Runtime;

/// What was dropped so far, by reason, in this process.
fn dropped(reason: &str) -> u64 {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    let metrics = METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("it is the only one"));
    let name = format!("paxos_dropped_total{{reason=\"{reason}\"}} ");
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
}

/// Does something that must be dropped for `reason`, and waits until it is.
fn drops(reason: &str, what: impl FnOnce()) {
    let before = dropped(reason);
    what();
    until(&format!("something dropped for {reason:?}"), || (dropped(reason) > before).then_some(()));
}

/// What a node sent, as its loop hands it to its transport.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<(Id, Msg)>>>);

impl Peers for Sent {
    fn send(&self, dst: Id, message: Msg) {
        self.0.lock().unwrap().push((dst, message));
    }
}

impl Sent {
    fn count(&self, found: impl Fn(&Id, &Msg) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|(dst, message)| found(dst, message)).count()
    }
}

/// Node 0 of three with its listeners; nobody else is there but what a test makes up.
struct Listener {
    runtime: Runtime,
    address: SocketAddr,
    node: NodeHandle,
    sent: Sent,
    store: StoreId,
}

fn hello(from: u64, to: u64, store: u128) -> Hello {
    Hello { protocol: PROTOCOL, cluster: "c".into(), nodes: 3, from, to, store: StoreId(store) }
}

fn runtime() -> Runtime {
    // Two threads: a task that blocked one of them would show.
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn book(me: Hello, addresses: BTreeMap<u64, String>) -> Arc<Book> {
    Arc::new(Book { me, addresses })
}

impl Listener {
    fn new() -> Listener {
        Listener::pinned(Pins::open(None, 3, false).unwrap())
    }

    fn pinned(pins: Pins) -> Listener {
        dropped("nothing");
        let store = MemoryStore::new("c", 0);
        let number = store.identity().store;
        let sent = Sent::default();
        // It does not become a candidate by itself while a test runs.
        let hour = Duration::from_secs(3600);
        let options = Options { election: hour..2 * hour, ..Options::default() };
        let settings = Settings { id: 0.into(), configuration: Configuration::of_voters(3), options, inputs_max: 1024 };
        let (node, _) = node::start(settings, store, Arc::new(sent.clone()), None).unwrap();
        let runtime = runtime();
        let addresses = BTreeMap::from([(1, "127.0.0.1:1".to_owned()), (2, "127.0.0.1:1".to_owned())]);
        let (book, pins) = (book(Hello { store: number, ..hello(0, 0, 0) }, addresses), Arc::new(pins));
        let address = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let datagrams = Arc::new(tokio::net::UdpSocket::bind(address).await.unwrap());
            tokio::spawn(tcp::listen(listener, book.clone(), pins.clone(), node.clone()));
            tokio::spawn(udp::listen(datagrams, book, pins, node.clone()));
            address
        });
        Listener { runtime, address, node, sent, store: number }
    }

    /// A connection that said `hello`, and the answer to it.
    fn introduce(&self, hello: &Hello) -> (TcpStream, Result<Hello, Rejection>) {
        let mut stream = connect(self.address);
        stream.write_all(&framed(Seal::NONE, &postcard::to_stdvec(hello).unwrap())).unwrap();
        let answer = postcard::from_bytes(&read_frame(&mut stream, Seal::NONE).expect("an answer")).unwrap();
        (stream, answer)
    }

    /// A connection of node `from` whose messages are let in.
    fn peer(&self, from: u64) -> (TcpStream, Seal) {
        let hello = hello(from, 0, from.into());
        let (stream, answer) = self.introduce(&hello);
        assert_eq!(answer, Ok(Hello { store: self.store, ..self::hello(0, from, 0) }));
        (stream, Seal::of(&hello))
    }

    /// Whether the node promises `ballot`, which shows that the prepare was let in.
    fn promises(&self, ballot: Ballot) {
        let promise = |message: &Msg| matches!(message, Message::Promise { ballot: b, .. } if *b == ballot);
        until("a promise", || {
            (self.sent.count(|dst, message| *dst == ballot.node && promise(message)) > 0).then_some(())
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.node.stop();
        let _guard = self.runtime.enter();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn framed(seal: Seal, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::frame(&mut bytes, seal, body);
    bytes
}

fn read_frame(stream: &mut impl Read, seal: Seal) -> std::io::Result<Vec<u8>> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head)?;
    let (length, checksum) = codec::header(seal, head).expect("the length is as it was");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    assert_eq!(seal.checksum(&body), checksum, "the frame is whole");
    Ok(body)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

fn ballot(round: u64, node: usize) -> Ballot {
    Ballot { round, node: node.into() }
}

fn prepare(round: u64, node: usize) -> Vec<u8> {
    codec::encode(&Message::Prepare { ballot: ballot(round, node) }).unwrap()
}

#[test]
fn a_peer_is_let_in_and_its_next_connection_takes_the_place_of_the_first() {
    let listener = Listener::new();
    let (mut first, seal) = listener.peer(1);
    first.write_all(&framed(seal, &prepare(1, 1))).unwrap();
    listener.promises(ballot(1, 1));
    let (mut second, seal) = listener.peer(1);
    assert!(is_closed(&mut first), "one connection for each peer");
    second.write_all(&framed(seal, &prepare(2, 1))).unwrap();
    listener.promises(ballot(2, 1));
}

#[test]
fn who_is_not_a_peer_is_told_why() {
    let listener = Listener::new();
    listener.peer(1);
    for (wrong, rejection) in [
        (Hello { protocol: PROTOCOL + 1, ..hello(1, 0, 1) }, Rejection::Protocol(PROTOCOL + 1)),
        (Hello { cluster: "d".into(), ..hello(1, 0, 1) }, Rejection::Cluster("d".into())),
        (Hello { nodes: 5, ..hello(1, 0, 1) }, Rejection::Members(5, 3)),
        (hello(1, 2, 1), Rejection::Recipient(2)),
        (hello(7, 0, 7), Rejection::Sender(7)),
        (hello(0, 0, 1), Rejection::Sender(0)),
        (hello(1, 0, 99), Rejection::Store(1)),
    ] {
        drops(rejection.name(), || {
            let (mut stream, answer) = listener.introduce(&wrong);
            assert_eq!(answer, Err(rejection.clone()));
            assert!(is_closed(&mut stream), "{rejection}");
        });
    }
}

#[test]
fn who_claims_anothers_number_does_not_disturb_it() {
    let listener = Listener::new();
    let (mut peer, seal) = listener.peer(1);
    for store in 100..120 {
        assert_eq!(listener.introduce(&hello(1, 0, store)).1, Err(Rejection::Store(1)));
    }
    peer.write_all(&framed(seal, &prepare(1, 1))).unwrap();
    listener.promises(ballot(1, 1));
    // A frame is of the node that the connection was introduced as, whatever is inside.
    let (mut other, _) = listener.peer(2);
    drops("frame", || other.write_all(&framed(seal, &prepare(2, 1))).unwrap());
    assert!(is_closed(&mut other));
}

#[test]
fn another_store_is_refused_until_the_node_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let pins = || Pins::open(Some(directory.path()), 3, false).unwrap();
    let listener = Listener::pinned(pins());
    listener.peer(1);
    drop(listener);
    let listener = Listener::pinned(pins());
    assert_eq!(listener.introduce(&hello(1, 0, 2)).1, Err(Rejection::Store(1)), "it is remembered");
    drop(listener);
    let other = Pins::open(Some(directory.path()), 5, true).unwrap_err();
    assert!(other.contains("a cluster of 3 nodes, and the configuration has 5"), "{other}");
    assert!(pins().forget(1).unwrap());
    let listener = Listener::pinned(pins());
    assert!(listener.introduce(&hello(1, 0, 2)).1.is_ok());
    assert_eq!(listener.introduce(&hello(1, 0, 1)).1, Err(Rejection::Store(1)));
}

#[test]
fn what_is_no_frame_ends_the_connection_and_nothing_else() {
    let listener = Listener::new();
    let (mut other, other_seal) = listener.peer(2);
    let oversize = |seal: Seal| {
        let length = (MESSAGE_MAX as u32 + 1).to_le_bytes();
        [&length[..], &seal.checksum(&length).to_le_bytes(), &[0; 40]].concat()
    };
    // Or it would wait for much that does not come, and take what does for its rest.
    let longer = |seal| {
        let mut bytes = framed(seal, &prepare(1, 1));
        bytes[2] ^= 0x80;
        bytes
    };
    let altered = |seal| {
        let mut bytes = framed(seal, &prepare(1, 1));
        bytes[HEADER] ^= 1;
        bytes
    };
    let undecodable = |seal| framed(seal, &[0xff; 30]);
    let request = |seal| {
        let request = paxos::Request::Read(paxos::model::kv::Query::Get("k".into()));
        framed(seal, &codec::encode(&Message::Request { number: 1, timeout_ms: 1, request }).unwrap())
    };
    type Bytes<'a> = &'a dyn Fn(Seal) -> Vec<u8>;
    let cases: [(&str, Bytes<'_>); 5] = [
        ("frame", &oversize),
        ("frame", &longer),
        ("frame", &altered),
        ("undecodable", &undecodable),
        ("undecodable", &request),
    ];
    for (round, (reason, bytes)) in (1..).zip(cases) {
        let (mut stream, seal) = listener.peer(1);
        drops(reason, || stream.write_all(&bytes(seal)).unwrap());
        assert!(is_closed(&mut stream));
        other.write_all(&framed(other_seal, &prepare(round, 2))).unwrap();
        listener.promises(ballot(round, 2));
    }
}

#[test]
fn rubbish_instead_of_an_introduction_is_dropped() {
    let listener = Listener::new();
    let noise: Vec<u8> = (0..5000u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let hello = postcard::to_stdvec(&hello(1, 0, 1)).unwrap();
    for bytes in [noise, framed(Seal::NONE, b"hello"), framed(Seal::NONE, &hello[..hello.len() - 1]), vec![0; 8]] {
        drops("introduction", || {
            let mut stream = connect(listener.address);
            let _ = stream.write_all(&bytes);
            assert!(is_closed(&mut stream));
        });
    }
    listener.peer(1);
}

#[test]
fn connections_that_say_nothing_are_bounded_and_keep_nobody_out() {
    let listener = Listener::new();
    let mut silent: Vec<TcpStream> = Vec::new();
    drops("strangers", || silent.extend((0..tcp::STRANGERS_MAX * 3).map(|_| connect(listener.address))));
    let (mut peer, seal) = listener.peer(1);
    peer.write_all(&framed(seal, &prepare(1, 1))).unwrap();
    listener.promises(ballot(1, 1));
    assert!(is_closed(&mut silent[0]), "the oldest is given up");
}

#[test]
fn datagrams_are_let_in_by_the_same_rules() {
    let listener = Listener::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = |hello: &Hello, message: &[u8]| {
        framed(Seal::NONE, &[postcard::to_stdvec(hello).unwrap().as_slice(), message].concat())
    };
    let send = |bytes: &[u8]| {
        socket.send_to(bytes, listener.address).unwrap();
    };
    send(&datagram(&hello(1, 0, 1), &prepare(1, 1)));
    listener.promises(ballot(1, 1));
    let mut altered = datagram(&hello(1, 0, 1), &prepare(2, 1));
    altered[HEADER + 3] ^= 4;
    for (reason, bytes) in [
        ("frame", altered),
        ("frame", vec![1, 2, 3]),
        ("frame", Vec::new()),
        ("introduction", framed(Seal::NONE, &[0xff; 7])),
        ("protocol", datagram(&Hello { protocol: 0, ..hello(1, 0, 1) }, &prepare(2, 1))),
        ("cluster", datagram(&Hello { cluster: "d".into(), ..hello(1, 0, 1) }, &prepare(2, 1))),
        ("recipient", datagram(&hello(1, 1, 1), &prepare(2, 1))),
        ("sender", datagram(&hello(3, 0, 3), &prepare(2, 3))),
        ("store", datagram(&hello(1, 0, 9), &prepare(2, 1))),
        ("undecodable", datagram(&hello(1, 0, 1), &[0xff; 30])),
    ] {
        drops(reason, || send(&bytes));
    }
    send(&datagram(&hello(2, 0, 2), &prepare(3, 2)));
    listener.promises(ballot(3, 2));
    assert_eq!(listener.sent.count(|_, message| matches!(message, Message::Promise { .. })), 2);
}

/// The sending side of node 0, whose peers a test plays.
struct Sender {
    runtime: Runtime,
    network: Network,
}

impl Sender {
    fn new(kind: Kind, peers: &[(u64, SocketAddr)]) -> Sender {
        dropped("nothing");
        let runtime = runtime();
        let addresses = peers.iter().map(|(node, address)| (*node, address.to_string())).collect();
        let (book, pins) = (book(hello(0, 0, 0), addresses), Arc::new(Pins::open(None, 3, false).unwrap()));
        let network = runtime.block_on(async {
            let datagrams = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
            Network::new(kind, tcp::connect(&book, &pins), udp::connect(&book, &datagrams))
        });
        Sender { runtime, network }
    }

    fn send(&self, dst: usize, message: &Msg) {
        let _guard = self.runtime.enter();
        self.network.send(dst.into(), message.clone());
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Takes node 0's connection as node `number`. Returns also the seal of its frames.
fn accept(listener: &TcpListener, number: u64) -> (TcpStream, Seal) {
    accept_as(listener, &hello(number, 0, number.into()))
}

fn accept_as(listener: &TcpListener, me: &Hello) -> (TcpStream, Seal) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let theirs: Hello = postcard::from_bytes(&read_frame(&mut stream, Seal::NONE).unwrap()).unwrap();
    let answer: Result<Hello, Rejection> = Ok(me.clone());
    stream.write_all(&framed(Seal::NONE, &postcard::to_stdvec(&answer).unwrap())).unwrap();
    (stream, Seal::of(&theirs))
}

/// The next message that is not only a sign of life.
fn next(stream: &mut TcpStream, seal: Seal) -> Msg {
    loop {
        let body = read_frame(stream, seal).expect("a frame");
        if !body.is_empty() {
            return codec::decode(&body).expect("a message");
        }
    }
}

fn heartbeat(round: u64) -> Msg {
    Message::Heartbeat { ballot: ballot(1, 0), decided: 0, round }
}

/// A message of about so many bytes, which differs from those for other slots.
fn large(bytes: usize, slot: u64) -> Msg {
    let put = paxos::model::kv::Put { key: "k".into(), val: "v".repeat(bytes).into(), ver: None };
    let act = paxos::model::replica::message::Act::Apply(Command::Write { puts: vec![put], atomic: false });
    let session = paxos::model::replica::message::SessionId { slot: 0, position: 0 };
    let id = paxos::model::replica::message::OperationId { session, sequence: 1 };
    let operation =
        paxos::model::replica::message::Operation::InSession { id, by_node: true, acknowledged_below: 1, act };
    Message::Accept { ballot: ballot(1, 0), slot, entry: Entry::Batch([operation].into()) }
}

#[test]
fn a_peer_that_starts_again_is_connected_to_again() {
    let (listener, address) = listen();
    let sender = Sender::new(Kind::Tcp, &[(1, address)]);
    for life in 0..3 {
        let (mut stream, seal) = accept(&listener, 1);
        for round in 0..100 {
            sender.send(1, &heartbeat(life * 100 + round));
        }
        for round in 0..100 {
            assert_eq!(next(&mut stream, seal), heartbeat(life * 100 + round), "in order");
        }
    }
    // While nobody listens, it tries again.
    drop(listener);
    sender.send(1, &heartbeat(900));
    let again = until("the address", || TcpListener::bind(address).ok());
    let (mut stream, seal) = accept(&again, 1);
    sender.send(1, &heartbeat(1000));
    while next(&mut stream, seal) != heartbeat(1000) {}
}

#[test]
fn who_answers_as_another_is_not_talked_to() {
    let (listener, address) = listen();
    let sender = Sender::new(Kind::Tcp, &[(1, address), (2, "127.0.0.1:1".parse().unwrap())]);
    sender.send(1, &heartbeat(1));
    for wrong in [
        hello(2, 0, 2),
        hello(1, 1, 1),
        Hello { protocol: PROTOCOL + 1, ..hello(1, 0, 1) },
        Hello { cluster: "d".into(), ..hello(1, 0, 1) },
    ] {
        assert!(is_closed(&mut accept_as(&listener, &wrong).0), "{wrong:?}");
    }
    let (mut stream, seal) = accept(&listener, 1);
    sender.send(1, &heartbeat(2));
    assert_eq!(next(&mut stream, seal), heartbeat(2), "what waited in vain is old");
    drop(stream);
    assert!(is_closed(&mut accept_as(&listener, &hello(1, 0, 99)).0), "its store is pinned");
}

#[test]
fn a_peer_that_reads_nothing_and_one_that_is_dead_hold_up_nobody() {
    let ((deaf, deaf_address), (good, good_address)) = (listen(), listen());
    let sender = Sender::new(Kind::Tcp, &[(1, deaf_address), (2, good_address), (3, "127.0.0.1:1".parse().unwrap())]);
    let (_kept_open, _) = accept(&deaf, 1);
    let (mut stream, seal) = accept(&good, 2);
    let mut send = |round, slot| {
        sender.send(1, &large(1 << 20, slot));
        sender.send(3, &large(1 << 20, slot));
        sender.send(2, &heartbeat(round));
        assert_eq!(next(&mut stream, seal), heartbeat(round));
    };
    // What is sent again waits once.
    let before = dropped("queue_full");
    (0..160).for_each(|round| send(round, 0));
    assert_eq!(dropped("queue_full"), before);
    drops("not_connected", || drops("queue_full", || (160..320).for_each(|round| send(round, round))));
}

#[test]
fn a_message_that_is_too_large_is_dropped() {
    let (listener, address) = listen();
    let sender = Sender::new(Kind::Tcp, &[(1, address)]);
    let (mut stream, seal) = accept(&listener, 1);
    drops("too_large", || sender.send(1, &large(MESSAGE_MAX, 0)));
    drops("unknown_peer", || sender.send(5, &heartbeat(1)));
    sender.send(1, &heartbeat(2));
    assert_eq!(next(&mut stream, seal), heartbeat(2));
}

#[test]
fn datagrams_carry_what_fits_and_tcp_the_rest() {
    let (listener, address) = listen();
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = Sender::new(Kind::Udp, &[(1, address)]);
    let (mut stream, seal) = accept(&listener, 1);
    let mut buffer = vec![0; 1 << 16];
    for message in [heartbeat(1), large(60_000, 0)] {
        sender.send(1, &message);
        let length = socket.recv(&mut buffer).unwrap();
        let body = read_frame(&mut &buffer[..length], Seal::NONE).unwrap();
        let (theirs, rest) = postcard::take_from_bytes::<Hello>(&body).unwrap();
        assert_eq!((theirs, codec::decode(rest)), (hello(0, 1, 0), Some(message)));
    }
    for message in [large(65_000, 0), large(1 << 20, 0)] {
        sender.send(1, &message);
        assert_eq!(next(&mut stream, seal), message);
    }
}

fn serves(cluster: &mut Cluster) {
    let long = "x".repeat(200_000);
    for node in 0..3 {
        let key = format!("k{node}");
        assert_eq!(cluster.put(node, &key, &long, Some(1)).unwrap().status, 200);
        assert_eq!(cluster.put(node, &key, "short", Some(2)).unwrap().status, 200);
    }
    let leader = cluster.leader(0);
    cluster.kill(leader);
    let other = (leader + 1) % 3;
    let put = || cluster.put(other, "after", &long, Some(1)).filter(|answer| matches!(answer.status, 200 | 409));
    until("a write without the first leader", put);
    cluster.start(leader);
    let entry = until("a read", || cluster.get(leader, "after").filter(|answer| answer.status == 200)).body;
    assert_eq!((entry["val"].as_str().map(str::len), entry["ver"].as_u64()), (Some(200_000), Some(1)));
    for node in 0..3 {
        assert_eq!(cluster.get(leader, &format!("k{node}")).unwrap().body["val"], "short");
    }
}

#[test]
fn a_cluster_works_over_udp() {
    serves(&mut Cluster::started(3, &[("transport", json!("udp"))]));
}

#[test]
fn a_cluster_works_over_both_transports_at_once() {
    let mut cluster = Cluster::new(3, &[]);
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&cluster.config).unwrap()).unwrap();
    for (node, transport) in ["udp", "tcp", "udp"].into_iter().enumerate() {
        config["nodes"][node]["transport"] = transport.into();
    }
    std::fs::write(&cluster.config, config.to_string()).unwrap();
    (0..3).for_each(|node| cluster.start(node));
    serves(&mut cluster);
}
