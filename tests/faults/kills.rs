//! A node dies at each of its commits, before, in and after it, and is started again on the same disk.

use crate::network::{Network, Node, get, quick, until, version, write};
use crate::store::{Death, GateStore};
use paxos::node::Answered;
use paxos::{Outcome, Request};
use paxos_model::kv::Answer;
use paxos_model::replica::message::{Act, Done, OperationId, SessionId, Uncertainty};

const WRITES: u64 = 6;

/// Sends `operation` of the client's session to one node after the other until it is done.
fn write_once(
    nodes: &mut [Option<Node>],
    session: SessionId,
    sequence: u64,
    mend: &mut dyn FnMut(&mut [Option<Node>]),
) -> u64 {
    let mut at = sequence as usize;
    until("a write", || {
        mend(nodes);
        at += 1;
        let node = nodes[at % nodes.len()].as_ref()?;
        let id = OperationId { session, sequence };
        let request = Request::Write { session: Some((id, sequence)), act: write("counter", &sequence.to_string()) };
        let answer = node.handle.request(request, 150).ok()?;
        let answer = crate::network::answered(answer);
        assert!(
            !matches!(
                answer,
                Answered::Outcome(Outcome::Unknown(Uncertainty::SessionExpired | Uncertainty::Acknowledged))
            ),
            "{answer:?}"
        );
        version(&answer)
    })
}

fn open_session(nodes: &mut [Option<Node>], mend: &mut dyn FnMut(&mut [Option<Node>])) -> SessionId {
    let mut at = 0;
    until("a session", || {
        mend(nodes);
        at += 1;
        let node = nodes[at % nodes.len()].as_ref()?;
        let request = Request::Write { session: None, act: Act::OpenSession };
        match crate::network::answered(node.handle.request(request, 300).ok()?) {
            Answered::Outcome(Outcome::Done(Done::Opened(session))) => Some(session),
            _ => None,
        }
    })
}

/// Kills node `victim` of three at its commit `number`. Returns whether it came to that.
fn killed_at(victim: usize, number: u64, death: Death) -> bool {
    let network = Network::default();
    let stores: Vec<GateStore> = (0..3).map(GateStore::new).collect();
    let control = stores[victim].control.clone();
    control.die_at(number, death);
    let mut nodes: Vec<Option<Node>> =
        (0..3).map(|id| Some(network.start(id, 3, quick(), stores[id].clone()))).collect();
    let mut mend = |nodes: &mut [Option<Node>]| {
        // The second life's store has another hand on it, which kills nobody.
        let first = |node: &Node| node.control.is_dead() && (death == Death::In || node.thread.is_finished());
        if nodes[victim].as_ref().is_some_and(first)
            && let Some(node) = nodes[victim].take()
        {
            node.unplug();
            control.bury();
            let why = node.thread.join().expect("it does not panic").expect_err("a failed commit ends the node");
            assert!(why.contains("commit failed"), "{why}");
            nodes[victim] = Some(network.start(victim, 3, quick(), stores[victim].reopened()));
        }
    };
    let session = open_session(&mut nodes, &mut mend);
    for sequence in 1..=WRITES {
        let ver = write_once(&mut nodes, session, sequence, &mut mend);
        assert_eq!(ver, sequence, "{victim} died {death:?} commit {number}: lost, or applied twice");
    }
    for node in nodes.iter().flatten() {
        if node.control.is_dead() {
            continue;
        }
        let read = until("a read", || {
            let answer = node.handle.request(get("counter"), 300).ok();
            match answer.map(crate::network::answered) {
                Some(Answered::Outcome(Outcome::Answer { answer: Answer::Entry(entry), .. })) => Some(entry),
                // It died now.
                _ if node.control.is_dead() => {
                    Some(paxos_model::kv::Entry { key: "counter".into(), val: WRITES.to_string().into(), ver: WRITES })
                }
                _ => None,
            }
        });
        assert_eq!((&*read.val, read.ver), (WRITES.to_string().as_str(), WRITES));
    }
    control.bury();
    for node in nodes.into_iter().flatten() {
        let _ = node.stop();
    }
    control.is_dead()
}

fn killed_at_every_commit(death: Death) {
    let mut deaths = 0;
    for victim in 0..3 {
        for number in 1..=9 {
            deaths += u32::from(killed_at(victim, number, death));
        }
    }
    assert!(deaths >= 20, "only {deaths} runs came to their end");
}

#[test]
fn nothing_is_lost_or_done_twice_when_a_node_dies_before_any_commit() {
    killed_at_every_commit(Death::Before);
}

#[test]
fn nothing_is_lost_or_done_twice_when_a_node_dies_in_any_commit() {
    killed_at_every_commit(Death::In);
}

#[test]
fn nothing_is_lost_or_done_twice_when_a_node_dies_after_any_commit() {
    killed_at_every_commit(Death::After);
}

#[test]
fn all_die_at_once_and_go_on() {
    for number in 1..=9 {
        let network = Network::default();
        let stores: Vec<GateStore> = (0..3).map(GateStore::new).collect();
        let mut nodes: Vec<Option<Node>> =
            (0..3).map(|id| Some(network.start(id, 3, quick(), stores[id].clone()))).collect();
        let session = open_session(&mut nodes, &mut |_| {});
        for sequence in 1..=number {
            assert_eq!(write_once(&mut nodes, session, sequence, &mut |_| {}), sequence);
        }
        for node in nodes.into_iter().flatten() {
            // As a power cut: what is not on the disk is gone.
            node.control.die_at(0, Death::Before);
            node.unplug();
            let _ = node.stop();
        }
        let mut nodes: Vec<Option<Node>> =
            (0..3).map(|id| Some(network.start(id, 3, quick(), stores[id].reopened()))).collect();
        for sequence in number..=number + 1 {
            assert_eq!(write_once(&mut nodes, session, sequence, &mut |_| {}), sequence, "lost, or applied twice");
        }
        for node in nodes.into_iter().flatten() {
            node.stop().expect("it ends well");
        }
    }
}

#[test]
fn a_node_that_missed_more_than_fits_into_a_message_catches_up() {
    let network = Network::default();
    let stores: Vec<GateStore> = (0..3).map(GateStore::new).collect();
    let start = |id: usize| network.start(id, 3, quick(), stores[id].reopened());
    let nodes = [start(0), start(1)];
    let value = "v".repeat(1 << 20);
    for number in 0..70 {
        assert_eq!(nodes[number % 2].put(&format!("k{number}"), &value), 1);
    }
    let behind = start(2);
    for number in [0, 69] {
        let (val, ver) = behind.read(&format!("k{number}"));
        assert_eq!((val.len(), ver), (1 << 20, 1));
    }
    for node in nodes.into_iter().chain([behind]) {
        node.stop().expect("it ends well");
    }
}
