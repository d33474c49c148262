//! The rules of a history refuse what no node does; that traces are read and compared is tested with real ones, in `tests/trace.rs`.

use super::history::History;
use super::life::{Life, Stored};
use super::verdicts::Broken;
use paxos_model::kv::{Command, Kv, Put};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Act, Entry, Message, Operation, OperationId, Request, SessionId};
use paxos_model::replica::{Options, Replica};
use paxos_model::trace::line::{At, Begin, Digest, FORMAT};
use stateright::actor::{Actor, Id, Out};
use std::sync::Arc;

fn act(val: &str) -> Act<Command> {
    let puts = vec![Put { key: "k".into(), val: val.into(), ver: None }];
    Act::Apply(Command::Write { puts, atomic: false })
}

pub(super) fn entry(val: &str) -> Entry<Command> {
    let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: 1 };
    Entry::Batch(Arc::new([Operation::InSession { id, by_node: false, acknowledged_below: 1, act: act(val) }]))
}

pub(super) fn ballot(round: u64, node: usize) -> Ballot {
    Ballot { round, node: node.into() }
}

/// What a node has stored that voted so.
fn voted(votes: &[(Slot, Ballot, &str)]) -> Durable<Kv> {
    let mut durable = Durable::default();
    for (slot, ballot, val) in votes {
        durable.accepted.insert(*slot, *ballot);
        durable.log.insert(*slot, entry(val));
    }
    durable
}

/// A history of three voters, of which clients asked for `a` and `b`.
pub(super) fn history() -> History {
    let mut history = History::new(Configuration::of_voters(3));
    for val in ["a", "b"] {
        let request = Request::Write { session: None, act: act(val) };
        history.ask(&Message::Request { number: 0, timeout_ms: 1, request });
    }
    history
}

/// The rules that these votes break, stored one after the other, each by a node that had stored nothing.
fn broken(history: &mut History, votes: &[(usize, Slot, Ballot, &str)]) -> Vec<&'static str> {
    let mut broken = Broken::default();
    for (node, slot, ballot, val) in votes {
        history.stored((*node).into(), &Durable::default(), &voted(&[(*slot, *ballot, val)]), &mut broken);
    }
    broken.0.into_iter().map(|(rule, _)| rule).collect()
}

fn decided(history: &mut History, slot: Slot, entry: Option<&Entry<Command>>) -> Vec<&'static str> {
    let mut broken = Broken::default();
    history.decide(slot, entry, &mut broken);
    broken.0.into_iter().map(|(rule, _)| rule).collect()
}

#[test]
fn two_values_that_are_chosen_are_refused() {
    let mut history = history();
    let (low, high) = (ballot(1, 0), ballot(2, 1));
    assert!(
        broken(&mut history, &[(0, 0, low, "a"), (1, 0, low, "a"), (2, 0, high, "a"), (1, 0, high, "a")]).is_empty()
    );
    let higher = ballot(3, 2);
    assert_eq!(broken(&mut history, &[(1, 0, higher, "b"), (2, 0, higher, "b")]), ["agreement"]);
}

#[test]
fn two_values_in_a_ballot_are_refused_before_and_after_one_is_chosen() {
    let first = ballot(1, 0);
    assert_eq!(broken(&mut history(), &[(0, 0, first, "a"), (1, 0, first, "b")]), ["one-value-a-ballot"]);
    let chosen_first = [(0, 0, first, "a"), (1, 0, first, "a"), (2, 0, first, "b")];
    assert_eq!(broken(&mut history(), &chosen_first), ["one-value-a-ballot"]);
    // In another ballot than the one it is chosen in, before that and after it.
    let (second, chosen) = (ballot(2, 1), [(0, 0, first, "a"), (1, 0, first, "a")]);
    for votes in [[&[(2, 0, second, "a")], &chosen[..]].concat(), [&chosen[..], &[(2, 0, second, "a")]].concat()] {
        assert_eq!(broken(&mut history(), &[&votes[..], &[(1, 0, second, "b")]].concat()), ["one-value-a-ballot"]);
    }
}

#[test]
fn what_no_quorum_voted_for_in_one_ballot_is_not_decided() {
    let mut history = history();
    assert!(broken(&mut history, &[(0, 0, ballot(1, 0), "a"), (1, 0, ballot(2, 1), "a")]).is_empty());
    assert_eq!(decided(&mut history, 0, Some(&entry("a"))), ["decided-is-chosen"]);
    assert_eq!(decided(&mut history, 0, None), ["decided-is-chosen"], "nor passed over");
    assert!(broken(&mut history, &[(2, 0, ballot(2, 1), "a")]).is_empty());
    assert!(decided(&mut history, 0, Some(&entry("a"))).is_empty() && decided(&mut history, 0, None).is_empty());
    assert_eq!(decided(&mut history, 0, Some(&entry("b"))), ["decided-is-chosen"]);
    history.unseen_below = 2;
    assert!(decided(&mut history, 1, Some(&entry("a"))).is_empty(), "its votes may not be in the traces");
    assert!(decided(&mut history, 0, Some(&entry("a"))).is_empty() && decided(&mut history, 0, None).is_empty());
    assert_eq!(
        decided(&mut history, 0, Some(&entry("b"))),
        ["decided-is-chosen"],
        "another value is chosen all the same"
    );
    assert_eq!(decided(&mut history, 1, Some(&entry("b"))), ["decided-is-chosen"], "another one was decided there");
    assert_eq!(broken(&mut history, &[(0, 1, ballot(1, 0), "b"), (1, 1, ballot(1, 0), "b")]), ["decided-is-chosen"]);
    let mut found = Broken::default();
    let begun = Durable { decided: 2, ..voted(&[(0, ballot(1, 0), "b"), (1, ballot(1, 0), "b")]) };
    history.decided_before(&begun, &mut found);
    assert_eq!(found.0.len(), 2, "a file begins with other decisions");
}

#[test]
fn what_nobody_asked_for_is_refused_where_all_requests_are_known() {
    let mut history = history();
    assert!(broken(&mut history, &[(0, 0, ballot(1, 0), "c"), (1, 0, ballot(1, 0), "c")]).is_empty());
    assert_eq!(decided(&mut history, 0, Some(&entry("c"))), ["validity"]);
    history.whole.clear();
    assert!(decided(&mut history, 0, Some(&entry("c"))).is_empty());
}

#[test]
fn one_slot_with_two_states_is_refused() {
    let (mut history, mut broken) = (history(), Broken::default());
    let mut stored = Durable::<Kv>::default();
    stored.snapshot.applied = 4;
    history.stored(0.into(), &Durable::default(), &stored, &mut broken);
    history.stored(1.into(), &Durable::default(), &stored, &mut broken);
    assert!(broken.0.is_empty());
    stored.snapshot.sessions.insert(
        SessionId { slot: 1, position: 0 },
        paxos_model::replica::executor::Session {
            owner: None,
            used: 1,
            acknowledged_below: 1,
            done: Default::default(),
        },
    );
    history.stored(2.into(), &Durable::default(), &stored, &mut broken);
    assert_eq!(broken.0[0].0, "prefix");
}

/// How a file of node 0 begins.
pub(super) fn begins(at: At<Kv>) -> Begin<Kv> {
    Begin {
        format: FORMAT,
        protocol: String::new(),
        cluster: String::new(),
        node: 0.into(),
        life: 0,
        file: 0,
        after: None,
        configuration: Configuration::of_voters(3),
        options: Options::default(),
        at,
    }
}

/// In the middle of a life, in which this was saved.
fn middle(saved: Option<Stored>) -> At<Kv> {
    let replica = Replica::<Kv>::new(Configuration::of_voters(3), Options::default());
    At::Middle { step: 3, sent: 0, saved, state: Box::new(replica.on_start(0.into(), &None, &mut Out::new())) }
}

/// A life that saved these, one a step, and sent a message after each.
pub(super) fn life(saves: &[Durable<Kv>]) -> Life {
    let mut life = Life::begin(&begins(At::Start(None)));
    for value in saves {
        life.put_out(Some(Arc::new(value.clone())), [(Id::from(1), Digest(7))].into_iter());
    }
    life
}

#[test]
fn nothing_leaves_before_what_it_rests_on_is_durable() {
    let saves = [voted(&[(0, ballot(1, 0), "a")]), voted(&[(0, ballot(1, 0), "a"), (1, ballot(1, 0), "b")])];
    let (mut history, mut broken) = (history(), Broken::default());
    let mut life = life(&saves);
    assert!(!history.was_sent((0.into(), 1.into(), Digest(7))));
    life.commit(0, &mut history, &mut broken);
    life.release(1, &mut history, &mut broken);
    assert!(broken.0.is_empty() && history.was_sent((0.into(), 1.into(), Digest(7))));
    life.release(2, &mut history, &mut broken);
    assert_eq!(broken.0.remove(0).0, "released-after-commit");
    life.release(3, &mut history, &mut broken);
    assert_eq!(broken.0.remove(0).0, "released-after-commit", "there are but two");
    life.commit(9, &mut history, &mut broken);
    assert_eq!(broken.0.remove(0).0, "released-after-commit", "that step was not taken");
}

#[test]
fn a_node_starts_from_what_was_durable_or_about_to_be() {
    let saves = [voted(&[(0, ballot(1, 0), "a")]), voted(&[(0, ballot(1, 0), "a"), (1, ballot(1, 0), "b")])];
    let start = |stored: Option<Stored>, committed: bool| {
        let (mut history, mut broken) = (history(), Broken::default());
        let mut life = life(&saves);
        if committed {
            life.commit(0, &mut history, &mut broken);
        }
        life.ends_with(&stored, &mut history, &mut broken);
        broken.0.first().map(|(rule, _)| *rule)
    };
    let stored = |index: usize| Some(Arc::new(saves[index].clone()));
    for ok in [stored(0), stored(1)] {
        assert_eq!(start(ok, true), None);
    }
    assert_eq!(start(None, false), None, "nothing was durable");
    assert_eq!(start(None, true), Some("starts-from-what-it-saved"));
    assert_eq!(start(Some(Arc::new(voted(&[(0, ballot(1, 0), "b")]))), true), Some("starts-from-what-it-saved"));
}

/// Of a life of which the beginning is missing nothing is known to be durable; what the next one starts from is.
#[test]
fn what_the_next_life_starts_from_was_voted_for() {
    let (mut history, mut found) = (history(), Broken::default());
    let stored = voted(&[(0, ballot(1, 0), "a")]);
    Life::begin(&begins(middle(None))).ends_with(&Some(Arc::new(stored)), &mut history, &mut found);
    assert!(found.0.is_empty());
    assert_eq!(broken(&mut history, &[(1, 0, ballot(1, 0), "b")]), ["one-value-a-ballot"]);
}

/// What leaves rests on what was saved before, also before the file begins.
#[test]
fn what_was_saved_before_a_file_is_durable_once_a_message_leaves() {
    let stored = Arc::new(voted(&[(0, ballot(1, 0), "a")]));
    let starts_anew = |leaves: u64| {
        let (mut history, mut broken) = (history(), Broken::default());
        let mut life = Life::begin(&begins(middle(Some(stored.clone()))));
        life.put_out(None, [(Id::from(1), Digest(7))].into_iter());
        life.release(leaves, &mut history, &mut broken);
        life.ends_with(&None, &mut history, &mut broken);
        broken.0.first().map(|(rule, _)| *rule)
    };
    assert_eq!(starts_anew(0), None, "it may not have been durable");
    assert_eq!(starts_anew(1), Some("starts-from-what-it-saved"));
}

#[test]
fn what_was_durable_is_not_lost_where_something_is_missing() {
    let voted = |votes: &[(Slot, Ballot, &str)]| {
        let promised = votes.iter().map(|(_, ballot, _)| *ballot).max().unwrap_or_default();
        Durable { promised, ..voted(votes) }
    };
    let durable = voted(&[(0, ballot(2, 0), "a")]);
    let leads_to = |stored: Option<Durable<Kv>>| {
        let (mut history, mut broken) = (history(), Broken::default());
        let mut life = life(std::slice::from_ref(&durable));
        life.commit(0, &mut history, &mut broken);
        life.leads_to(&stored.map(Arc::new), &mut broken);
        broken.0.first().map(|(rule, _)| *rule)
    };
    let refuted = Some("starts-from-what-it-saved");
    assert_eq!(leads_to(Some(durable.clone())), None);
    assert_eq!(leads_to(Some(voted(&[(0, ballot(3, 1), "b"), (1, ballot(3, 1), "c")]))), None, "it may have gone on");
    assert_eq!(leads_to(None), refuted);
    let lower = Durable { promised: ballot(2, 0), ..voted(&[(0, ballot(1, 0), "a")]) };
    assert_eq!(leads_to(Some(lower)), refuted, "a lower vote");
    assert_eq!(leads_to(Some(voted(&[(0, ballot(2, 0), "b")]))), refuted, "another vote in the ballot");
    assert_eq!(leads_to(Some(Durable { promised: ballot(9, 0), ..Durable::default() })), refuted, "no vote");
}
