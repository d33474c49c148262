//! What the network may bring, and what travels in it.

use crate::cluster::{Cluster, Msg};
use crate::phrases::{accept, applied, ballot, fetch, messages, options, put, write};
use paxos_model::kv::{Answer, Command as KvCommand, Query, Reply, Written};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::configuration::{Configuration, Role};
use paxos_model::replica::message::{
    Act, Done, Entry, Message, Operation, OperationId, Outcome, Refusal, Request, SessionId, Uncertainty, Vote,
};
use paxos_model::replica::{NUMBER_MAX, Options, Timer};
use stateright::actor::Id;
use std::sync::Arc;

#[test]
fn no_ballot_from_the_network_panics() {
    let mut cluster = Cluster::new(3, Options::default());
    cluster.deliver(1, 0, Message::PreVote { ballot: ballot(1, 1), promised: ballot(u64::MAX, 1) });
    cluster.timeout(0, Timer::Election);
}

#[test]
fn no_slot_from_the_network_panics() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(1, 0, accept(ballot(1, 1), u64::MAX, "a"));
    cluster.timeout(0, Timer::Election);
}

/// Whether node 0, fresh, is left as it was and says nothing.
fn ignores(src: usize, message: Msg) -> bool {
    let mut cluster = Cluster::new(3, options());
    let before = cluster.nodes[0].clone();
    let outputs = cluster.deliver(src, 0, message);
    cluster.nodes[0] == before && outputs.sent.is_empty() && outputs.saves == 0
}

#[test]
fn a_ballot_is_taken_from_its_owner_only() {
    let ours = ballot(1, 1);
    let of_a_leader: [fn(Ballot) -> Msg; 4] = [
        |ballot| Message::Prepare { ballot },
        |ballot| accept(ballot, 0, "a"),
        |ballot| Message::Heartbeat { ballot, decided: 0, round: 0 },
        |ballot| Message::PreVote { ballot, promised: Ballot::default() },
    ];
    for message in of_a_leader {
        assert!(!ignores(1, message(ours)), "{:?}", message(ours));
        assert!(ignores(2, message(ours)), "{:?} of another", message(ours));
        assert!(ignores(9, message(ballot(1, 9))), "{:?} of a stranger", message(ours));
    }
}

#[test]
fn numbers_that_cannot_be_counted_on_from_are_not_taken() {
    let highest = ballot(NUMBER_MAX - 1, 1);
    let beyond = ballot(NUMBER_MAX, 1);
    assert!(!ignores(1, Message::Prepare { ballot: highest }));
    assert!(ignores(1, Message::Prepare { ballot: beyond }));
    assert!(ignores(1, Message::Heartbeat { ballot: beyond, decided: 0, round: 0 }));
    assert!(ignores(1, Message::PreVote { ballot: beyond, promised: Ballot::default() }));
    assert!(ignores(1, Message::PreVote { ballot: ballot(1, 1), promised: beyond }));
    let horizon = options().horizon;
    assert!(!ignores(1, accept(ballot(1, 1), horizon - 1, "a")));
    assert!(ignores(1, accept(ballot(1, 1), horizon, "a")));
}

#[test]
fn a_promise_with_a_vote_beyond_the_horizon_is_not_counted_and_shows_who_is_ahead() {
    let horizon = options().horizon;
    for (first, slot, counts, asks) in
        [(0, 0, true, false), (0, horizon, false, false), (horizon, horizon, false, true)]
    {
        let mut cluster = Cluster::new(3, options());
        cluster.timeout(0, Timer::Election);
        let vote = Vote { slot, ballot: ballot(0, 2), entry: Entry::Noop };
        let outputs = cluster.deliver(1, 0, Message::Promise { ballot: ballot(1, 0), first, votes: vec![vote] });
        assert_eq!(cluster.leads(0), counts, "slot {slot}");
        assert_eq!(messages(&outputs).contains(&&fetch(0)), asks, "first {first}");
    }
}

/// What ships is what the README says: a change of it is a decision, and no slip.
#[test]
fn the_options_that_ship() {
    let Options {
        election,
        resend,
        window,
        pipeline,
        horizon,
        batch_max,
        bytes_max,
        window_bytes_max,
        requests_max,
        fetch_max,
        pre_vote,
        snapshot_every,
        tail,
        tail_bytes,
        kept_bytes,
        patience,
        source_patience,
    } = Options::default();
    assert_eq!((election.start.as_millis(), election.end.as_millis(), resend.as_millis()), (300, 600, 50));
    assert_eq!(
        (window, pipeline, horizon, batch_max, bytes_max, window_bytes_max),
        (32, 1, 64, 256, 1 << 20, 16 << 20)
    );
    assert_eq!((requests_max, fetch_max, pre_vote), (4096, 256, true));
    assert_eq!((snapshot_every, tail, tail_bytes, kept_bytes), (256, 1024, 64 << 20, 512 << 20));
    assert_eq!((patience, source_patience), (40, 20));
    let Configuration { members, sessions_max, replies_max } = Configuration::of_voters(3);
    assert_eq!((members.len(), sessions_max, replies_max), (3, 4096, 1024));
}

#[test]
fn a_learner_is_heard_and_does_not_count() {
    let mut configuration = Configuration::of_voters(3);
    configuration.members.insert(Id::from(2), Role::Learner);
    let mut cluster = Cluster::of(configuration, options());
    let before = cluster.nodes[0].clone();
    for message in [
        Message::PreVote { ballot: ballot(1, 2), promised: Ballot::default() },
        Message::Prepare { ballot: ballot(1, 2) },
        accept(ballot(1, 2), 0, "a"),
    ] {
        assert!(cluster.deliver(2, 0, message).sent.is_empty());
        assert!(cluster.nodes[0] == before);
    }
    cluster.timeout(2, Timer::Election);
    assert!(cluster.pool.is_empty(), "a learner does not want to lead");
    cluster.timeout(0, Timer::Election);
    cluster.deliver(2, 0, Message::Promise { ballot: ballot(1, 0), first: 0, votes: vec![] });
    assert!(!cluster.leads(0), "a learner's promise does not count");
    cluster.settle();
    assert!(cluster.leads(0));
    cluster.request(2, 1, write("k", "v"));
    cluster.settle_after_resend();
    cluster.settle();
    assert!(applied(cluster.reply(1)), "a learner takes requests: {:?}", cluster.reply(1));
    assert_eq!(cluster.value(2, "k"), "v");
}

#[test]
fn every_message_round_trips_through_json() {
    let session = SessionId { slot: 3, position: 1 };
    let id = OperationId { session, sequence: 7 };
    let entry = Entry::Batch(Arc::from([
        Operation::Open { node: Id::from(2), incarnation: 5 },
        Operation::InSession { id, by_node: false, acknowledged_below: 4, act: put("k", "v") },
        Operation::InSession { id, by_node: false, acknowledged_below: 4, act: Act::OpenSession },
        Operation::InSession { id, by_node: false, acknowledged_below: 4, act: Act::ExpireSession(session) },
        Operation::InSession {
            id,
            by_node: false,
            acknowledged_below: 4,
            act: Act::Apply(KvCommand::Collect { keep: 9 }),
        },
    ]));
    let written = paxos_model::kv::Entry { key: "k".into(), val: "v".into(), ver: 1 };
    let keys = Query::Keys { prefix: "p".into(), start: "s".into(), limit: 10 };
    let read = paxos_model::replica::message::ReadId { origin: Id::from(1), incarnation: 2, number: 3 };
    let (b, slot) = (ballot(u64::MAX, 6), 8);
    let request = |request| Message::Request { number: 1, timeout_ms: 500, request };
    let reply = |outcome| Message::Reply { number: 1, outcome };
    let mut messages: Vec<Msg> = vec![
        request(Request::Write { session: Some((id, 4)), act: Act::OpenSession }),
        request(write("k", "")),
        request(Request::Read(keys)),
        request(Request::LocalRead(Query::Get("k".into()))),
        reply(Outcome::Done(Done::Opened(session))),
        reply(Outcome::Done(Done::Expired)),
        reply(Outcome::Done(Done::Applied(Reply::Written(vec![
            Written::Applied(written.clone()),
            Written::Conflict(written.clone()),
        ])))),
        reply(Outcome::Done(Done::Applied(Reply::Collected(2)))),
        reply(Outcome::Answer { applied: 1, answer: Answer::Entry(written) }),
        reply(Outcome::Answer { applied: 1, answer: Answer::Keys(vec!["a".into(), "\u{1f600}\"".into()]) }),
        Message::Forward { operations: entry.operations().into(), relayed: true },
        Message::ReadIndex { read, relayed: false },
        Message::ReadSlot { read, slot },
        Message::PreVote { ballot: b, promised: Ballot::default() },
        Message::PreVoted { ballot: b },
        Message::Prepare { ballot: b },
        Message::Promise { ballot: b, first: 2, votes: vec![Vote { slot, ballot: b, entry: entry.clone() }] },
        Message::Accept { ballot: b, slot, entry: entry.clone() },
        Message::Accepted { ballot: b, slot },
        Message::Heartbeat { ballot: b, decided: 3, round: 4 },
        Message::HeartbeatAck { ballot: b, round: 4 },
        fetch(5),
        Message::Decided { from: 5, entries: vec![Entry::Noop, entry] },
    ];
    messages
        .extend([Refusal::Busy, Refusal::Deadline, Refusal::SessionExpired].map(|why| reply(Outcome::Refused(why))));
    let uncertainties = [
        Uncertainty::Deadline,
        Uncertainty::SessionExpired,
        Uncertainty::Acknowledged,
        Uncertainty::BeyondWindow,
        Uncertainty::Superseded,
    ];
    messages.extend(uncertainties.map(|why| reply(Outcome::Unknown(why))));
    for message in messages {
        let text = serde_json::to_string(&message).expect("it is written");
        let back: Msg = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(back, message);
    }
}
