//! Who says that it is somebody else, and who says again what others said.

use crate::attacked::{Attacked, datagram, hello, introduce, is_alive, socket};
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::message::Message;
use paxos::storage::identity::StoreId;
use paxos::transport::codec::{self, Hello, PROTOCOL};
use serde_json::json;
use std::net::UdpSocket;
use std::time::Duration;

const MIB_MAX: u64 = 64;

/// Deposes every leader, if it is let in.
fn prepare(node: usize) -> Vec<u8> {
    let ballot = Ballot { round: 1 << 40, node: node.into() };
    codec::encode(&Message::Prepare { ballot }).expect("it is small")
}

/// A node's round, by its metrics.
fn round(attacked: &Attacked, node: usize) -> u64 {
    attacked.received(node, &format!("paxos_ballot_round{{node=\"{node}\"}}"))
}

#[test]
fn another_cluster_another_number_another_store() {
    let (attacked, leader) = Attacked::served(&[]);
    let peer = (leader + 1) % 3;
    let (peer_number, number) = (peer as u64, leader as u64);
    let real = attacked.hello(peer, leader);
    let wrong = [
        ("cluster", Hello { cluster: "another".into(), ..real.clone() }),
        ("cluster", Hello { cluster: "x\n\u{1b}[2J".repeat(40), ..real.clone() }),
        ("cluster", Hello { cluster: String::new(), ..real.clone() }),
        ("protocol", Hello { protocol: PROTOCOL - 1, ..real.clone() }),
        ("protocol", Hello { protocol: u16::MAX, ..real.clone() }),
        ("members", Hello { nodes: u64::MAX, ..real.clone() }),
        ("recipient", Hello { to: peer_number, ..real.clone() }),
        ("sender", Hello { from: number, ..real.clone() }),
        ("sender", Hello { from: 3, ..real.clone() }),
        ("sender", Hello { from: u64::MAX, ..real.clone() }),
        ("store", Hello { store: StoreId(real.store.0 ^ 1), ..real.clone() }),
        ("store", Hello { store: attacked.hello(leader, leader).store, ..real.clone() }),
    ];
    let socket = socket();
    for _ in 0..40 {
        for (reason, wrong) in &wrong {
            let (_, answer) = introduce(attacked.rpc[leader], wrong);
            assert_eq!(answer.expect_err("it is not let in").name(), *reason);
            socket.send_to(&datagram(wrong, &prepare(peer)), attacked.rpc[leader]).expect("it is sent");
        }
    }
    for (reason, kinds) in
        [("cluster", 3), ("protocol", 2), ("members", 1), ("recipient", 1), ("sender", 3), ("store", 2)]
    {
        // What came as datagrams may be lost in part.
        attacked.drops(leader, reason, kinds * 40 + 1);
        attacked.said_once(leader, reason);
    }
    assert!(round(&attacked, leader) < 1 << 40, "nothing of it was let in");
    attacked.ends_well(MIB_MAX);
}

#[test]
fn an_introduction_that_is_said_again_and_again() {
    let (attacked, leader) = Attacked::served(&[]);
    let peers = [(leader + 1) % 3, (leader + 2) % 3];
    let hellos = peers.map(|peer| attacked.hello(peer, leader));
    let before = attacked.files(leader);
    let mut held = Vec::new();
    for _ in 0..200 {
        for hello in &hellos {
            let (stream, answer) = introduce(attacked.rpc[leader], hello);
            assert!(answer.is_ok(), "it is as the peer's own");
            held.push(stream);
        }
    }
    assert!(attacked.files(leader) < before + 8, "one connection for each peer");
    attacked.drops(leader, "replaced", 390);
    attacked.said_once(leader, "replaced");
    attacked.serves("beside those that are held");
    drop(held);
    attacked.ends_well(MIB_MAX);
}

#[test]
fn datagrams_that_are_sent_again_and_again() {
    // What the other two say to a node before it is there.
    let mut attacked = Attacked::new(&[], &[("transport", json!("udp"))]);
    let absent = UdpSocket::bind(attacked.rpc[2]).expect("the port is free");
    absent.set_read_timeout(Some(Duration::from_secs(20))).expect("it can wait");
    attacked.cluster.start(0);
    attacked.cluster.start(1);
    (0..5).for_each(|turn| attacked.serves(&format!("heard {turn}")));
    let mut buffer = vec![0; 1 << 16];
    let mut record = |heard: &mut Vec<Vec<u8>>| {
        let length = absent.recv(&mut buffer).expect("a datagram");
        heard.push(buffer[..length].to_vec());
    };
    let mut heard = Vec::new();
    (0..50).for_each(|_| record(&mut heard));
    drop(absent);
    attacked.cluster.start(2);
    attacked.serves("newer");
    let socket = socket();
    for turn in 0..60 {
        // Forwards, and backwards.
        for at in 0..heard.len() {
            let at = if turn % 2 == 0 { at } else { heard.len() - 1 - at };
            socket.send_to(&heard[at], attacked.rpc[2]).expect("it is sent");
        }
        std::thread::park_timeout(Duration::from_millis(10));
        assert!(is_alive(&attacked.cluster.stores[2]));
    }
    let entry = attacked.cluster.get(2, "served0").expect("an answer").body;
    assert_eq!(entry["val"], "newer");
    attacked.ends_well(MIB_MAX);
}

/// Whoever comes first under a number keeps it; where that cannot be written down nobody does, which is said once.
#[test]
fn a_store_that_cannot_be_pinned_is_refused_and_said_once() {
    let mut attacked = Attacked::new(&[0], &[]);
    let moved = attacked.cluster.data(0).with_extension("moved");
    std::fs::rename(attacked.cluster.data(0), &moved).expect("it can be moved");
    let socket = socket();
    for store in 0..100 {
        let claimed = hello(1, 0, store);
        let (_, answer) = introduce(attacked.rpc[0], &claimed);
        assert_eq!(answer.expect_err("it is not let in").name(), "store");
        socket.send_to(&datagram(&claimed, &prepare(1)), attacked.rpc[0]).expect("it is sent");
    }
    attacked.drops(0, "store", 101);
    attacked.said_once(0, "store");
    assert_eq!(attacked.lines(0, "cannot pin"), 1, "of the same interval");
    std::fs::rename(moved, attacked.cluster.data(0)).expect("it can be moved");
    assert!(introduce(attacked.rpc[0], &hello(1, 0, 7)).1.is_ok());
    attacked.stops_well(MIB_MAX);
}
