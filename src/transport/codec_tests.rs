//! The codec over arbitrary messages of every variant.

use super::codec::{self, ELEMENTS_MAX, HEADER, Hello, MESSAGE_MAX, PROTOCOL, Seal};
use crate::config::{Config, WINDOW_MAX};
use crate::storage::identity::StoreId;
use crate::{Command, KEY_MAX, Machine, Msg, VALUE_MAX};
use paxos_model::kv::{self, Kv, Put, Query, Reply, Versioned, Written};
use paxos_model::machine::StateMachine;
use paxos_model::replica::Options;
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::message::{
    Act, Arrived, Done, Entry, Message, Operation, OperationId, Outcome, ReadId, Refusal, Request, SessionId,
    Uncertainty, Vote, operation_bytes,
};
use paxos_model::replica::pieces::{Piece, PieceOf, Place, PlaceOf};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use stateright::actor::Id;

fn id() -> impl Strategy<Value = Id> {
    any::<u32>().prop_map(|number| Id::from(number as usize))
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (any::<u64>(), id()).prop_map(|(round, node)| Ballot { round, node })
}

fn session() -> impl Strategy<Value = SessionId> {
    (any::<u64>(), any::<u32>()).prop_map(|(slot, position)| SessionId { slot, position })
}

fn operation_id() -> impl Strategy<Value = OperationId> {
    (session(), any::<u64>()).prop_map(|(session, sequence)| OperationId { session, sequence })
}

fn text() -> impl Strategy<Value = std::sync::Arc<str>> {
    ".{0,20}".prop_map(Into::into)
}

fn key() -> impl Strategy<Value = std::sync::Arc<str>> {
    ".{1,20}".prop_map(Into::into)
}

fn command() -> impl Strategy<Value = Command> {
    let put = (key(), text(), option::of(any::<u64>())).prop_map(|(key, val, ver)| Put { key, val, ver });
    prop_oneof![
        (vec(put, 0..4), any::<bool>()).prop_map(|(puts, atomic)| Command::Write { puts, atomic }),
        any::<u64>().prop_map(|keep| Command::Collect { keep }),
        any::<u64>().prop_map(|to| Command::RaiseFloor { to }),
    ]
}

fn act() -> impl Strategy<Value = Act<Command>> {
    prop_oneof![
        Just(Act::OpenSession),
        session().prop_map(Act::ExpireSession),
        any::<u64>().prop_map(Act::ExpireUnused),
        command().prop_map(Act::Apply),
    ]
}

fn operation() -> impl Strategy<Value = Operation<Command>> {
    prop_oneof![
        (id(), any::<u64>()).prop_map(|(node, incarnation)| Operation::Open { node, incarnation }),
        (operation_id(), any::<bool>(), any::<u64>(), act()).prop_map(|(id, by_node, acknowledged_below, act)| {
            Operation::InSession { id, by_node, acknowledged_below, act }
        }),
    ]
}

fn entry() -> impl Strategy<Value = Entry<Command>> {
    prop_oneof![Just(Entry::Noop), vec(operation(), 0..4).prop_map(|operations| Entry::Batch(operations.into()))]
}

fn read() -> impl Strategy<Value = ReadId> {
    let parts = (id(), any::<u64>(), any::<u64>());
    parts.prop_map(|(origin, incarnation, number)| ReadId { origin, incarnation, number })
}

fn place() -> impl Strategy<Value = PlaceOf<Machine>> {
    prop_oneof![
        Just(Place::Item(kv::Place::Floor)),
        key().prop_map(|key| Place::Item(kv::Place::Key(key))),
        session().prop_map(Place::Session),
        operation_id().prop_map(Place::Done),
    ]
}

fn kept() -> impl Strategy<Value = kv::Entry> {
    (text(), text(), any::<u64>()).prop_map(|(key, val, ver)| kv::Entry { key, val, ver })
}

fn done() -> impl Strategy<Value = Done<Reply>> {
    let written = prop_oneof![kept().prop_map(Written::Applied), kept().prop_map(Written::Conflict)];
    prop_oneof![
        session().prop_map(Done::Opened),
        Just(Done::Expired),
        vec(written, 0..3).prop_map(|written| Done::Applied(Reply::Written(written))),
        any::<u64>().prop_map(|floor| Done::Applied(Reply::Collected(floor))),
    ]
}

fn piece() -> impl Strategy<Value = PieceOf<Machine>> {
    let item = (text(), any::<u64>()).prop_map(|(val, ver)| Piece::Item(Versioned { val, ver }));
    let session = (option::of((id(), any::<u64>())), any::<u64>(), any::<u64>());
    let session =
        session.prop_map(|(owner, used, acknowledged_below)| Piece::Session { owner, used, acknowledged_below });
    prop_oneof![item, session, done().prop_map(Piece::Done)]
}

/// Every variant that nodes exchange.
fn message() -> impl Strategy<Value = Msg> {
    let vote = (any::<u64>(), ballot(), entry()).prop_map(|(slot, ballot, entry)| Vote { slot, ballot, entry });
    let arrived = (any::<u64>(), option::of(place())).prop_map(|(slot, after)| Arrived { slot, after });
    prop_oneof![
        (vec(operation(), 0..4), any::<bool>())
            .prop_map(|(operations, relayed)| Message::Forward { operations: operations.into(), relayed }),
        (read(), any::<bool>()).prop_map(|(read, relayed)| Message::ReadIndex { read, relayed }),
        (read(), any::<u64>()).prop_map(|(read, slot)| Message::ReadSlot { read, slot }),
        (ballot(), ballot()).prop_map(|(ballot, promised)| Message::PreVote { ballot, promised }),
        ballot().prop_map(|ballot| Message::PreVoted { ballot }),
        ballot().prop_map(|ballot| Message::Prepare { ballot }),
        (ballot(), any::<u64>(), vec(vote, 0..4)).prop_map(|(ballot, first, votes)| Message::Promise {
            ballot,
            first,
            votes
        }),
        (ballot(), any::<u64>(), entry()).prop_map(|(ballot, slot, entry)| Message::Accept { ballot, slot, entry }),
        (ballot(), any::<u64>()).prop_map(|(ballot, slot)| Message::Accepted { ballot, slot }),
        (ballot(), any::<u64>(), any::<u64>()).prop_map(|(ballot, decided, round)| Message::Heartbeat {
            ballot,
            decided,
            round
        }),
        (ballot(), any::<u64>()).prop_map(|(ballot, round)| Message::HeartbeatAck { ballot, round }),
        (any::<u64>(), option::of(arrived)).prop_map(|(from, arriving)| Message::Fetch { from, arriving }),
        (any::<u64>(), vec(entry(), 0..4)).prop_map(|(from, entries)| Message::Decided { from, entries }),
        (any::<u64>(), option::of(place()), vec((place(), piece()), 0..4), any::<bool>())
            .prop_map(|(slot, after, pieces, last)| Message::Part { slot, after, pieces, last }),
    ]
}

/// The two that are not exchanged between nodes.
fn clients_message() -> impl Strategy<Value = Msg> {
    let query = prop_oneof![
        text().prop_map(Query::Get),
        (text(), text(), any::<u64>()).prop_map(|(prefix, start, limit)| Query::Keys { prefix, start, limit }),
    ];
    let request = prop_oneof![
        (option::of((operation_id(), any::<u64>())), act()).prop_map(|(session, act)| Request::Write { session, act }),
        query.clone().prop_map(Request::Read),
        query.prop_map(Request::LocalRead),
    ];
    let outcome = prop_oneof![
        done().prop_map(Outcome::Done),
        (any::<u64>(), kept())
            .prop_map(|(applied, entry)| Outcome::Answer { applied, answer: kv::Answer::Entry(entry) }),
        Just(Outcome::Refused(Refusal::Busy)),
        Just(Outcome::Unknown(Uncertainty::Superseded)),
    ];
    prop_oneof![
        (any::<u64>(), any::<u32>(), request).prop_map(|(number, timeout_ms, request)| Message::Request {
            number,
            timeout_ms,
            request
        }),
        (any::<u64>(), outcome).prop_map(|(number, outcome)| Message::Reply { number, outcome }),
    ]
}

fn hello(protocol: u16, from: u64) -> Hello {
    Hello { protocol, cluster: "c".into(), nodes: 3, from, to: 0, store: StoreId(7) }
}

proptest! {
    #[test]
    fn every_message_comes_back_and_nothing_longer_or_shorter_does(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = codec::encode(&message).expect("it is small");
        let decoded = codec::decode(&bytes);
        prop_assert_eq!(decoded.as_ref(), Some(&message));
        prop_assert_eq!(codec::decode(&[bytes.as_slice(), &[0]].concat()), None);
        prop_assert_ne!(codec::decode(&bytes[..cut.index(bytes.len())]), Some(message));
    }

    /// The limits in bytes are kept by this measure: it must not be less than what a message takes.
    #[test]
    fn an_operation_takes_no_more_bytes_than_it_is_reckoned_with(operation in operation()) {
        let bytes = postcard::to_stdvec(&operation).expect("it has a form in bytes");
        prop_assert!(bytes.len() <= operation_bytes::<Kv>(&operation), "{}", bytes.len());
    }

    /// As is a part of a snapshot.
    #[test]
    fn what_a_snapshot_holds_takes_no_more_bytes_than_it_is_reckoned_with(key in text(), val in text(), ver: u64, reply in done()) {
        let (place, item) = (kv::Place::Key(key), Versioned { val, ver });
        let reckoned = Kv::item_size(&place, &item);
        let (place, piece): (PlaceOf<Machine>, PieceOf<Machine>) = (Place::Item(place), Piece::Item(item));
        let bytes = postcard::to_stdvec(&(place, piece)).expect("it has a form in bytes");
        prop_assert!(bytes.len() <= reckoned, "{}", bytes.len());
        if let Done::Applied(reply) = &reply {
            let beside = 64;
            let reckoned = beside + Kv::reply_size(reply);
            let session = SessionId { slot: u64::MAX, position: u32::MAX };
            let place: PlaceOf<Machine> = Place::Done(OperationId { session, sequence: u64::MAX });
            let bytes = postcard::to_stdvec(&(place, PieceOf::<Machine>::Done(Done::Applied(reply.clone()))));
            prop_assert!(bytes.expect("it has a form in bytes").len() <= reckoned);
        }
    }

    #[test]
    fn requests_and_replies_are_not_let_in(message in clients_message()) {
        prop_assert_eq!(codec::decode(&codec::encode(&message).expect("it is small")), None);
    }

    #[test]
    fn any_bytes_are_a_message_or_none(bytes in vec(any::<u8>(), 0..300)) {
        if let Some(message) = codec::decode(&bytes) {
            prop_assert_eq!(codec::decode(&codec::encode(&message).expect("it is small")), Some(message));
        }
        let _ = postcard::from_bytes::<Hello>(&bytes);
    }

    #[test]
    fn an_altered_message_is_a_message_or_none(
        message in message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = codec::encode(&message).expect("it is small");
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        if let Some(message) = codec::decode(&bytes) {
            prop_assert_eq!(codec::decode(&codec::encode(&message).expect("it is small")), Some(message));
        }
    }

    #[test]
    fn an_altered_frame_is_not_taken_for_whole(message in message(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let seal = Seal::of(&hello(PROTOCOL, 1));
        let mut framed = Vec::new();
        codec::frame(&mut framed, seal, &codec::encode(&message).expect("it is small"));
        let at = at.index(framed.len());
        framed[at] ^= 1 << bit;
        let (head, body) = framed.split_first_chunk::<HEADER>().expect("it has a header");
        let header = codec::header(seal, *head);
        prop_assert!(header.is_none_or(|(length, checksum)| length != body.len() || seal.checksum(body) != checksum));
        prop_assert!(at >= 4 || header.is_none(), "an altered length is known by the header alone");
    }
}

#[test]
fn a_frame_belongs_to_one_introduction() {
    let seals = [hello(PROTOCOL, 1), hello(PROTOCOL + 1, 1), hello(PROTOCOL, 2)].map(|hello| Seal::of(&hello));
    let mut sums: Vec<u32> = seals.iter().chain([&Seal::NONE]).map(|seal| seal.checksum(b"body")).collect();
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums.len(), 4);
}

#[test]
fn the_promise_that_reports_most_fits_into_a_message() {
    let defaults = Options::default();
    let config = Config { window: WINDOW_MAX, ..Config::default() };
    let horizon = config.options().horizon;
    // An entry holds `bytes_max` of operations, or a single one that takes more.
    let key = "k".repeat(KEY_MAX).into();
    let put = |length: usize| Put { key: Clone::clone(&key), val: "v".repeat(length).into(), ver: Some(u64::MAX) };
    let id = OperationId { session: SessionId { slot: u64::MAX, position: u32::MAX }, sequence: u64::MAX };
    let operation = |length| Operation::InSession {
        id,
        by_node: true,
        acknowledged_below: u64::MAX,
        act: Act::Apply(Command::Write { puts: vec![put(length)], atomic: true }),
    };
    let largest = operation(VALUE_MAX);
    assert!(operation_bytes::<Kv>(&largest) > defaults.bytes_max, "a batch takes no more than the largest operation");
    let entry = Entry::Batch(vec![largest].into());
    let ballot = Ballot { round: u64::MAX, node: Id::from(usize::MAX) };
    let votes = (0..horizon).map(|slot| Vote { slot: u64::MAX - slot, ballot, entry: entry.clone() }).collect();
    assert!(codec::encode(&Message::Promise { ballot, first: u64::MAX, votes }).is_some());
}

#[test]
fn keys_and_values_that_no_client_may_write_are_not_let_in() {
    let accept = |key: usize, val: usize| {
        let puts = vec![Put { key: "k".repeat(key).into(), val: "v".repeat(val).into(), ver: None }];
        let act = Act::Apply(Command::Write { puts, atomic: false });
        let id = OperationId { session: SessionId { slot: 1, position: 0 }, sequence: 1 };
        let operation = Operation::InSession { id, by_node: true, acknowledged_below: 1, act };
        let batch = || Entry::Batch([operation.clone()].into());
        let ballot = Ballot { round: 1, node: Id::from(1) };
        let after = || Some(Place::Item(kv::Place::Key("k".repeat(key).into())));
        let item = Piece::Item(Versioned { val: "v".repeat(val).into(), ver: 1 });
        let pieces = vec![(after().expect("a place"), item)];
        let messages: [Msg; 5] = [
            Message::Forward { operations: [operation.clone()].into(), relayed: false },
            Message::Accept { ballot, slot: 1, entry: batch() },
            Message::Promise { ballot, first: 1, votes: vec![Vote { slot: 1, ballot, entry: batch() }] },
            Message::Decided { from: 1, entries: vec![Entry::Noop, batch()] },
            Message::Part { slot: 1, after: after(), pieces, last: true },
        ];
        messages.map(|message| codec::decode(&codec::encode(&message).expect("it is small")).is_some())
    };
    assert_eq!(accept(1, 0), [true; 5]);
    assert_eq!(accept(KEY_MAX, VALUE_MAX), [true; 5]);
    for (key, val) in [(0, 1), (KEY_MAX + 1, 1), (1, VALUE_MAX + 1)] {
        assert_eq!(accept(key, val), [false; 5], "{key} {val}");
    }
}

#[test]
fn as_many_elements_are_let_in_as_a_message_can_have_and_no_more() {
    let decided = |count: usize| -> Msg { Message::Decided { from: 1, entries: vec![Entry::Noop; count] } };
    for (count, expected) in [(ELEMENTS_MAX, true), (ELEMENTS_MAX + 1, false)] {
        let bytes = codec::encode(&decided(count)).expect("it is small");
        assert_eq!(codec::decode(&bytes).is_some(), expected, "{count}");
    }
    // Wherever they are: an entry's operations, and the writes of each.
    let put = Put { key: "k".into(), val: "".into(), ver: None };
    let operation = |count: usize| {
        let id = OperationId { session: SessionId { slot: 1, position: 0 }, sequence: 1 };
        let act = Act::Apply(Command::Write { puts: vec![put.clone(); count], atomic: false });
        Operation::InSession { id, by_node: true, acknowledged_below: 1, act }
    };
    let ballot = Ballot { round: 1, node: Id::from(1) };
    let half = ELEMENTS_MAX / 2;
    for (count, expected) in [(half, true), (half + 1, false)] {
        let operations: Vec<_> = [operation(half - 1), operation(count - 1)].into();
        let entry = Entry::Batch(operations.into());
        let bytes = codec::encode(&Message::Accept { ballot, slot: 1, entry }).expect("it is small");
        assert_eq!(codec::decode(&bytes).is_some(), expected, "{count}");
    }
    let write = operation_bytes::<Kv>(&operation(2)) - operation_bytes::<Kv>(&operation(1));
    assert!(ELEMENTS_MAX > MESSAGE_MAX / write + MESSAGE_MAX / operation_bytes::<Kv>(&operation(0)));
}
