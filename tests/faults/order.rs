//! Durable before visible: every order of commit, send and reply, with a store that the test holds at will.

use crate::network::{Network, Node, Sent, answered, put, quick, still, until, version, write};
use crate::store::GateStore;
use paxos::{Command, Machine, Msg, Stored};
use paxos_model::kv::{self, Versioned};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Entry, Message, Operation, OperationId, SessionId};
use paxos_model::replica::pieces::{Piece, Place};
use paxos_model::replica::{Replica, State};
use paxos_model::trace::{self, Input};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stateright::actor::{Command as Output, Id};

pub(crate) fn ballot(round: u64, node: usize) -> Ballot {
    Ballot { round, node: node.into() }
}

pub(crate) fn entry(number: u64) -> Entry<Command> {
    let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: number };
    let act = write(&format!("k{number}"), "v");
    Entry::Batch([Operation::InSession { id, by_node: false, acknowledged_below: 1, act }].into())
}

/// What one input makes a replica send, and the latest save up to then, by its place among all saves.
struct Expected {
    messages: Vec<(Id, Msg)>,
    needs: Option<usize>,
}

/// What the replica itself, without a runtime around it, does on `inputs`: the actor is a function.
fn expected(inputs: &[(usize, Msg)]) -> (Vec<Expected>, Vec<Stored>) {
    let replica = Replica::<Machine>::new(Configuration::of_voters(3), still());
    let mut state: State<Machine> =
        trace::step(&replica, Id::from(0), None, &None, &Input::Start).state.expect("it starts");
    let mut saves = Vec::new();
    let steps = inputs.iter().map(|(src, msg)| {
        let input = Input::Deliver { src: Id::from(*src), msg: msg.clone() };
        let step = trace::step(&replica, Id::from(0), Some(&state), &None, &input);
        if let Some(after) = step.state {
            state = after;
        }
        let mut messages = Vec::new();
        for output in step.outputs {
            match output {
                Output::Save(value) => saves.push(value),
                Output::Send(dst, message) => messages.push((dst, message)),
                _ => {}
            }
        }
        Expected { messages, needs: saves.len().checked_sub(1) }
    });
    (steps.collect(), saves)
}

/// Whether what was seen is what may be: the same messages in the same order, none before what it needs was on the disk.
fn judge(seen: &[Sent], steps: &[Expected], saves: &[Stored]) -> Result<(), String> {
    let may: Vec<_> = steps.iter().flat_map(|step| step.messages.iter().map(|message| (message, step.needs))).collect();
    if seen.len() != may.len() {
        return Err(format!("{} messages instead of {}", seen.len(), may.len()));
    }
    for (place, (sent, ((dst, message), needs))) in seen.iter().zip(may).enumerate() {
        if (sent.dst, &sent.message) != (*dst, message) {
            return Err(format!("message {place} is {:?} and not {message:?}", sent.message));
        }
        let durable = sent.committed.as_ref().and_then(|value| saves.iter().rposition(|save| save == value));
        if durable < needs {
            return Err(format!("{message:?} left after save {durable:?} and needs {needs:?}"));
        }
    }
    Ok(())
}

/// An input that an acceptor may get from a peer.
fn random_input(random: &mut StdRng) -> (usize, Msg) {
    let src = random.random_range(1..3);
    let ballot = ballot(random.random_range(1..4), src);
    let slot = random.random_range(0..6);
    let message = match random.random_range(0..9) {
        0 => Message::Prepare { ballot },
        1..=4 => Message::Accept { ballot, slot, entry: entry(slot * 10 + ballot.round) },
        5 => Message::Heartbeat { ballot, decided: slot, round: random.random_range(0..9) },
        6 => Message::Fetch { from: slot, arriving: None },
        7 => {
            // The first part of one of two snapshots, or what follows on it.
            let place = |key: &str| Place::Item(kv::Place::Key(key.into()));
            let (after, key) = if random.random() { (None, "a") } else { (Some(place("a")), "b") };
            let pieces = vec![(place(key), Piece::Item(Versioned { val: "v".into(), ver: 1 }))];
            Message::Part { slot: slot / 3 * 3 + 3, after, pieces, last: random.random_bool(0.3) }
        }
        _ => Message::PreVote { ballot, promised: ballot },
    };
    (src, message)
}

fn run_script(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let inputs: Vec<_> = (0..30).map(|_| random_input(&mut random)).collect();
    let (steps, saves) = expected(&inputs);
    let store = GateStore::new(0);
    store.control.allow(0);
    let node = Network::default().start(0, 3, still(), store);
    for (src, message) in inputs {
        node.take(src, message);
        match random.random_range(0..6) {
            0 => node.control.allow_one(),
            // Whatever is under way arrives at the disk, so that what follows is of a later batch.
            1 => node.control.begun(node.control.begun_now()),
            2 => std::thread::yield_now(),
            _ => {}
        }
    }
    node.control.allow_all();
    let count = steps.iter().map(|step| step.messages.len()).sum::<usize>();
    let seen = until("all messages", || Some(node.sent()).filter(|sent| sent.len() >= count));
    judge(&seen, &steps, &saves).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    let committed = node.control.committed();
    node.stop().expect("it ends well");
    // What was decided since the last save need not be saved.
    assert_eq!(committed.as_ref(), saves.last());
}

#[test]
fn in_no_order_of_commits_does_a_message_leave_before_what_it_needs() {
    (0..150).for_each(run_script);
}

/// Node 0 of three with votes for slots 0 and 1 and a heartbeat between them, held at its first commit.
fn held_at_its_first_vote() -> Node {
    let store = GateStore::new(0);
    store.control.allow(0);
    let node = Network::default().start(0, 3, still(), store);
    let ballot = ballot(1, 1);
    node.take(1, Message::Accept { ballot, slot: 0, entry: entry(1) });
    node.control.begun(1);
    node.take(1, Message::Heartbeat { ballot, decided: 0, round: 7 });
    node.take(1, Message::Accept { ballot, slot: 1, entry: entry(2) });
    node.take(1, Message::Heartbeat { ballot, decided: 0, round: 8 });
    node
}

#[test]
fn what_precedes_a_save_leaves_as_soon_as_the_batch_before_is_durable() {
    let node = held_at_its_first_vote();
    assert!(node.sent().is_empty(), "{:?}", node.sent());
    node.control.allow(1);
    node.control.begun(2);
    // The second batch is at the disk and held there.
    let acknowledged =
        |round| move |sent: &Sent| matches!(sent.message, Message::HeartbeatAck { round: r, .. } if r == round);
    let sent = node.sends("the first acknowledgement", acknowledged(7));
    assert!(matches!(sent[0].message, Message::Accepted { slot: 0, .. }), "{sent:?}");
    assert_eq!(sent.len(), 2, "{sent:?}");
    node.control.allow(2);
    let sent = node.sends("the second acknowledgement", acknowledged(8));
    assert!(matches!(sent[2].message, Message::Accepted { slot: 1, .. }), "{sent:?}");
    node.stop().expect("it ends well");
}

#[test]
fn a_vote_that_leaves_too_early_is_seen() {
    // The must-fail twin of the tests above: the same judge, and a store that says "done" too early.
    let store = GateStore::new(0);
    store.control.allow(0);
    store.control.report_early();
    let control = store.control.clone();
    let node = Network::default().start(0, 3, still(), store);
    let inputs = vec![(1, Message::Accept { ballot: ballot(1, 1), slot: 0, entry: entry(1) })];
    let (steps, saves) = expected(&inputs);
    node.take(1, inputs[0].1.clone());
    let seen = node.sends("the vote", |sent| matches!(sent.message, Message::Accepted { .. }));
    let why = judge(&seen, &steps, &saves).expect_err("the judge sees it");
    assert!(why.contains("Accepted"), "{why}");
    control.allow_all();
    node.stop().expect("it ends well");
}

/// A leader among three whose peers the test plays, and its ballot.
fn leader() -> (Node, Ballot) {
    let node = Network::default().start(0, 3, quick(), GateStore::new(0));
    let polled = node.sends("a pre-vote", |sent| matches!(sent.message, Message::PreVote { .. }));
    let ballot = polled.iter().find_map(|sent| match sent.message {
        Message::PreVote { ballot, .. } => Some(ballot),
        _ => None,
    });
    let ballot = ballot.expect("there is one");
    let led = until("to lead", || {
        node.take(1, Message::PreVoted { ballot });
        let prepared = node.sent().into_iter().rev().find_map(|sent| match sent.message {
            Message::Prepare { ballot } => Some(ballot),
            _ => None,
        })?;
        node.take(1, Message::Promise { ballot: prepared, first: 0, votes: Vec::new() });
        (node.handle.status().borrow().role == "leader").then_some(prepared)
    });
    (node, led)
}

fn accepts(sent: &[Sent]) -> Vec<(u64, bool)> {
    let accept = |sent: &Sent| match &sent.message {
        Message::Accept { slot, entry, .. } => {
            let log = sent.committed.as_ref().map(|committed| committed.log.clone()).unwrap_or_default();
            Some((*slot, log.get(slot) == Some(entry)))
        }
        _ => None,
    };
    sent.iter().filter_map(accept).collect()
}

#[test]
fn a_leaders_proposal_leaves_while_its_own_vote_is_still_on_its_way_to_the_disk() {
    let (node, ballot) = leader();
    // The node's session is opened by a first write; its commits are let through.
    let mut write = node.ask(put("k", "v"), 10_000);
    node.sends("the opening", |sent| matches!(sent.message, Message::Accept { slot: 0, .. }));
    node.take(1, Message::Accepted { ballot, slot: 0 });
    node.sends("the write", |sent| matches!(sent.message, Message::Accept { slot: 1, .. }));
    until("both votes", || node.control.committed().filter(|value| value.log.contains_key(&1)));
    node.take(1, Message::Accepted { ballot, slot: 1 });
    assert!(until("the answer", || write.try_recv().ok().map(|answer| version(&answer))).is_some());
    let done = node.control.done_now();
    node.control.allow(done);
    let mut next = node.ask(put("k", "w"), 10_000);
    let sent = node.sends("the next write", |sent| matches!(sent.message, Message::Accept { slot: 2, .. }));
    assert!(accepts(&sent).contains(&(2, false)), "its own vote is not durable yet: {:?}", accepts(&sent));
    node.control.begun(done + 1);
    // Chosen by the other two: it is decided and applied, and yet the reply follows the leader's own save.
    node.take(1, Message::Accepted { ballot, slot: 2 });
    node.take(2, Message::Accepted { ballot, slot: 2 });
    until("the decision", || (node.handle.status().borrow().applied == 3).then_some(()));
    assert!(next.try_recv().is_err(), "a reply left before the save of an earlier step");
    node.control.allow_all();
    assert_eq!(version(&answered(next)), Some(2));
    node.stop().expect("it ends well");
}

/// Whether a write of `key` is in what is on the disk.
fn holds(committed: Option<&Stored>, key: &str) -> bool {
    let log = committed.map(|committed| Durable::clone(committed).log).unwrap_or_default();
    log.values().any(|entry| format!("{entry:?}").contains(&format!("{key:?}")))
}

/// Releases commit after commit of a node that is a cluster of its own, until a write is answered. Returns whether the write was on
/// the disk by then.
fn answered_after_its_save(early: bool) -> bool {
    let store = GateStore::new(0);
    store.control.allow(0);
    if early {
        store.control.report_early();
    }
    let node = Network::default().start(0, 1, quick(), store);
    let mut answer = node.ask(put("the key", "v"), 20_000);
    let mut allowed = 0;
    let durable = until("the answer", || {
        // The disk is held here, so what is on it does not change between the two looks.
        if let Ok(answer) = answer.try_recv() {
            assert_eq!(version(&answer), Some(1));
            return Some(holds(node.control.committed().as_ref(), "the key"));
        }
        if !early && node.control.begun_now() > allowed {
            allowed += 1;
            node.control.allow(allowed);
        }
        None
    });
    node.control.allow_all();
    node.stop().expect("it ends well");
    durable
}

#[test]
fn a_reply_follows_the_save_of_the_write_and_one_that_does_not_is_seen() {
    assert!(answered_after_its_save(false));
    assert!(!answered_after_its_save(true), "the must-fail twin");
}
