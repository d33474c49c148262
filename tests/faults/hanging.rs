//! A disk that never returns, and a node that is stopped: every request is answered once and in time, and no queue grows for ever.

use crate::network::{Network, Node, answered, get, put, quick, still, until};
use crate::order::ballot;
use crate::store::{Full, GateStore};
use paxos::Outcome;
use paxos::node::{Answered, Overloaded};
use paxos_model::replica::message::{Message, Refusal};
use stateright::actor::Id;
use std::time::{Duration, Instant};

/// A node alone that has served, and whose disk hangs from now on.
fn hanging() -> Node {
    let node = Network::default().start(0, 1, quick(), GateStore::new(0));
    assert_eq!(node.put("k", "a"), 1);
    node.control.allow(0);
    node
}

fn unhang(node: Node) {
    node.control.allow_all();
    node.stop().expect("it ends well");
}

#[test]
fn a_request_is_answered_by_its_deadline_though_the_disk_hangs() {
    let node = hanging();
    let begin = Instant::now();
    let answers: Vec<_> = (0..50).map(|number| node.ask(put(&format!("k{number}"), "v"), 400)).collect();
    for answer in answers {
        assert_eq!(answered(answer), Answered::Interrupted, "it may be done");
    }
    let took = begin.elapsed();
    assert!((400..2000).contains(&took.as_millis()), "{took:?}");
    let late = answered(node.ask(get("k"), 100));
    assert!(matches!(late, Answered::Interrupted), "{late:?}");
    unhang(node);
}

#[test]
fn what_is_not_taken_in_while_the_disk_hangs_is_refused_at_its_deadline_and_never_done() {
    let node = hanging();
    let value = "v".repeat(1 << 20);
    let mut answers = Vec::new();
    let mut overloaded = 0;
    for number in 0..100 {
        match node.handle.request(put(&format!("large{number}"), &value), 500) {
            Ok(answer) => answers.push(answer),
            Err(Overloaded) => overloaded += 1,
        }
    }
    assert!(overloaded > 0, "what waits is bounded in bytes");
    let answers: Vec<Answered> = answers.into_iter().map(answered).collect();
    let refused = Answered::Outcome(Outcome::Refused(Refusal::Deadline));
    assert!(answers.iter().all(|answer| *answer == refused || *answer == Answered::Interrupted));
    let places: Vec<usize> = (0..answers.len()).filter(|place| answers[*place] == refused).collect();
    assert!(places.len() > 40, "{} of {}", places.len(), answers.len());
    node.control.allow_all();
    for place in [places[0], places[places.len() - 1]] {
        assert_eq!(node.read(&format!("large{place}")).1, 0, "it was refused");
    }
    node.stop().expect("it ends well");
}

#[test]
fn messages_that_come_while_the_disk_hangs_are_bounded() {
    let store = GateStore::new(0);
    store.control.allow(0);
    let node = Network::default().start(0, 3, still(), store);
    node.take(1, Message::Prepare { ballot: ballot(1, 1) });
    node.control.begun(1);
    let mut taken = 0u64;
    loop {
        let heartbeat = Message::Heartbeat { ballot: ballot(1, 1), decided: 0, round: taken };
        taken += 1;
        if taken >= 100_000 || !node.handle.deliver(Id::from(1), heartbeat) {
            break;
        }
    }
    assert!(taken < 100_000, "{taken}");
    assert!(node.sent().is_empty());
    node.control.allow_all();
    node.sends(
        "the last acknowledgement",
        |sent| matches!(sent.message, Message::HeartbeatAck { round, .. } if round + 2 == taken),
    );
    node.stop().expect("it ends well");
}

#[test]
fn a_node_whose_disk_hangs_can_be_stopped() {
    let node = hanging();
    let waiting = node.ask(put("k", "b"), 600_000);
    node.control.begun(node.control.done_now() + 1);
    let (control, begin) = (node.control.clone(), Instant::now());
    let why = node.stop().expect_err("it could not store what it had to");
    assert!(why.contains("disk"), "{why}");
    assert_eq!(answered(waiting), Answered::Interrupted);
    assert!(begin.elapsed() < Duration::from_secs(15));
    control.allow_all();
}

#[test]
fn more_large_writes_at_once_than_fit_into_a_message_are_all_done() {
    let network = Network::default();
    let start = |id| network.start(id, 3, paxos_model::replica::Options::default(), GateStore::new(id as u64));
    let nodes = [start(0), start(1), start(2)];
    // There is no leader yet: whatever is taken in by then is proposed as one entry.
    let value = "v".repeat(1 << 20);
    let write = |number: usize| nodes[number % 3].handle.request(put(&format!("k{number}"), &value), 60_000);
    let answers: Vec<_> = (0..100).map(|number| write(number).expect("the queue has room")).collect();
    for answer in answers {
        let answer = answered(answer);
        assert_eq!(crate::network::version(&answer), Some(1), "{answer:?}");
    }
    for node in nodes {
        node.stop().expect("it ends well");
    }
}

#[test]
fn all_are_answered_when_a_node_stops() {
    for round in 0..5 {
        let nodes = Network::default().cluster(3);
        nodes[0].put("k", "a");
        let answers: Vec<_> = (0..200).map(|number| nodes[number % 3].ask(put("k", "b"), 60_000)).collect();
        let handles: Vec<_> = nodes.iter().map(|node| node.handle.clone()).collect();
        for node in nodes {
            node.stop().expect("it ends well");
        }
        for answer in answers {
            answered(answer);
        }
        assert_eq!(handles[round % 3].request(get("k"), 1000).err(), Some(Overloaded), "it has stopped");
    }
}

#[test]
fn all_are_answered_when_a_node_begins_anew() {
    let node = Network::default().start(0, 1, quick(), GateStore::new(0));
    node.put("k", "a");
    node.control.set_full(Some(Full::Log));
    let answers: Vec<_> = (0..200).map(|number| node.ask(put(&format!("k{number}"), "b"), 60_000)).collect();
    for answer in answers {
        assert!(matches!(answered(answer), Answered::Interrupted | Answered::Full));
    }
    node.control.set_full(None);
    assert_eq!(until("room", || crate::network::version(&node.answer(put("k", "c"), 1000))), 2);
    node.stop().expect("it ends well");
}
