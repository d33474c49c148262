//! Who begins and does not go on, who is slow, and who takes nothing of what it asked for.

use crate::attacked::{Attacked, closes, connect, framed, hello, introduce, introduction, is_alive, read_frame};
use crate::support::until;
use paxos::transport::Rejection;
use paxos::transport::codec::{self, Hello, MESSAGE_MAX, Seal};
use serde_json::json;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const MIB_MAX: u64 = 64;

/// Longer than an introduction may take.
const LATE: Duration = Duration::from_secs(7);

#[test]
fn introductions_that_do_not_come_to_an_end() {
    let (mut attacked, leader) = Attacked::served(&[]);
    let peer = (leader + 1) % 3;
    let bytes = introduction(&attacked.hello(peer, leader));
    let mut slow: Vec<TcpStream> = (0..20).map(|_| connect(attacked.rpc[leader])).collect();
    let begun = Instant::now();
    // The peer itself comes anew meanwhile.
    attacked.cluster.kill(peer);
    attacked.cluster.start(peer);
    for byte in &bytes[..bytes.len() - 1] {
        for stream in &mut slow {
            let _ = stream.write_all(&[*byte]);
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    attacked.serves("beside those that are slow");
    assert!(slow.iter_mut().all(closes) && begun.elapsed() < LATE, "{:?}", begun.elapsed());
    attacked.drops(leader, "introduction", 20);
    attacked.said_once(leader, "introduction");
    attacked.ends_well(MIB_MAX);
}

#[test]
fn frames_that_are_announced_and_do_not_come() {
    let (attacked, leader) = Attacked::served(&[]);
    let peers = [(leader + 1) % 3, (leader + 2) % 3];
    let announce = |seal: Seal, length: usize| {
        let length = u32::try_from(length).expect("a length").to_le_bytes();
        [&length[..], &seal.checksum(&length).to_le_bytes(), &[0; 44]].concat()
    };
    let before = attacked.cluster.memory_kib(leader, "VmRSS");
    let mut held = Vec::new();
    for _ in 0..50 {
        for peer in peers {
            // The largest that is taken, and what is not.
            let hello = attacked.hello(peer, leader);
            let seal = Seal::of(&hello);
            let (mut stream, _) = introduce(attacked.rpc[leader], &hello);
            stream.write_all(&announce(seal, MESSAGE_MAX)).expect("it is taken");
            held.push(stream);
            let (mut stream, _) = introduce(attacked.rpc[leader], &hello);
            let _ = stream.write_all(&announce(seal, [MESSAGE_MAX + 1, u32::MAX as usize][peer % 2]));
            assert!(closes(&mut stream));
        }
        let mut stranger = connect(attacked.rpc[leader]);
        let _ = stranger.write_all(&announce(Seal::NONE, 4097));
        assert!(closes(&mut stranger), "an introduction is smaller");
    }
    attacked.drops(leader, "frame", 90);
    attacked.drops(leader, "introduction", 50);
    let grown = attacked.cluster.memory_kib(leader, "VmRSS").saturating_sub(before) >> 10;
    assert!(grown < 48, "{grown} MiB for what only was announced");
    attacked.said_once(leader, "frame");
    attacked.serves("beside what was announced");
    drop(held);
    attacked.ends_well(MIB_MAX);
}

#[test]
fn requests_that_do_not_come_to_an_end() {
    let (attacked, leader) = Attacked::served(&[("connections_max", json!(300))]);
    let at = attacked.cluster.stores[leader].parse().expect("an address");
    let head = b"PUT /kvstore/k?timeout_ms=700 HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n";
    let mut heads: Vec<TcpStream> = (0..100).map(|_| connect(at)).collect();
    let mut bodies: Vec<TcpStream> = (0..100).map(|_| connect(at)).collect();
    for stream in &mut bodies {
        stream.write_all(head).expect("it is taken");
    }
    let begun = Instant::now();
    for piece in head.iter().take(head.len() - 4) {
        for stream in &mut heads {
            stream.write_all(&[*piece]).expect("it is taken");
        }
        for stream in &mut bodies {
            let _ = stream.write_all(b" ");
        }
        assert!(is_alive(&attacked.cluster.stores[leader]));
    }
    attacked.serves("beside those that are slow");
    assert!(bodies.iter_mut().all(closes) && begun.elapsed() < LATE, "a body has a time");
    // Over the limit they are told so, and their places are given back.
    let more: Vec<TcpStream> = (0..300).map(|_| connect(at)).collect();
    until("a refusal", || (!is_alive(&attacked.cluster.stores[leader])).then_some(()));
    assert!(attacked.cluster.put((leader + 1) % 3, "k", "v", None).expect("an answer").status == 200);
    drop((more, heads));
    until("a place", || is_alive(&attacked.cluster.stores[leader]).then_some(()));
    assert!(attacked.received(leader, "paxos_http_connections_refused_total") > 0);
    attacked.ends_well(MIB_MAX);
}

#[test]
fn answers_that_nobody_takes() {
    let (attacked, leader) = Attacked::served(&[]);
    let put = attacked.cluster.put(leader, "large", &"v".repeat(1 << 20), None);
    assert_eq!(put.expect("an answer").status, 200);
    let at = attacked.cluster.stores[leader].parse().expect("an address");
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut stream = connect(at);
        stream.write_all(&b"GET /kvstore/large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200)).expect("it is taken");
        held.push(stream);
    }
    attacked.serves("beside those that take nothing");
    // A stop would wait for them, as long as it may.
    drop(held);
    // One answer of each, and what is about to be written of it.
    attacked.ends_well(MIB_MAX + 60 * 4);
}

/// In JSON each character of these takes six: what nobody takes is bounded for all connections together, and who asks for little is served.
#[test]
fn answers_that_nobody_takes_are_bounded_together() {
    let (attacked, leader) = Attacked::served(&[]);
    let put = attacked.cluster.put(leader, "large", &"\u{1}".repeat(1 << 20), None);
    assert_eq!(put.expect("an answer").status, 200);
    let at = attacked.cluster.stores[leader].parse().expect("an address");
    let asks = || {
        let mut stream = connect(at);
        stream.write_all(b"GET /kvstore/large HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is taken");
        stream
    };
    let mut held: Vec<_> = (0..120).map(|_| asks()).collect();
    let large = || attacked.cluster.get(leader, "large");
    let refused = until("a refusal", || {
        let answer = large().filter(|answer| answer.status == 503);
        // Who is answered had the last of the room itself, and left it again: somebody else takes it.
        held.extend(answer.is_none().then(asks));
        answer
    });
    assert!(refused.body["error"].as_str().is_some_and(|why| why.contains("answers")), "{refused:?}");
    attacked.serves("beside those that take nothing");
    drop(held);
    until("room", || large().filter(|answer| answer.status == 200));
    attacked.ends_well(MIB_MAX + 320);
}

/// An introduction that was cut off on its way is answered by nobody, and is not told from a slow answer but by its time.
#[test]
fn a_link_is_tried_again_soon_and_then_more_patiently() {
    let mut attacked = Attacked::new(&[], &[]);
    // Node 1 is one that takes connections and says nothing at first.
    let listener = TcpListener::bind(attacked.rpc[1]).expect("the port is free");
    attacked.cluster.start(0);
    let (_unanswered, _) = listener.accept().expect("a connection");
    let begun = Instant::now();
    let (mut second, _) = listener.accept().expect("a connection");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let theirs: Hello = postcard::from_bytes(&read_frame(&mut second, Seal::NONE)).expect("an introduction");
    // Longer than the first answer was awaited.
    std::thread::park_timeout(Duration::from_millis(700));
    let answer: Result<Hello, Rejection> = Ok(hello(1, 0, 1));
    let answer = postcard::to_stdvec(&answer).expect("it has a form in bytes");
    second.write_all(&framed(Seal::NONE, &answer)).expect("it is taken");
    assert!(codec::decode(&read_frame(&mut second, Seal::of(&theirs))).is_some(), "messages follow");
    attacked.stops_well(MIB_MAX);
}
