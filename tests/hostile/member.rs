//! A peer that is let in and says what no honest one says. What comes of the log is not promised then; that the node goes on is.

use crate::attacked::{Attacked, closes, datagram, framed, hello, introduce, is_alive, offer, socket};
use crate::mutation::altered;
use crate::seed;
use crate::support::random::Random;
use crate::support::until;
use paxos::model::kv::{self, Put, Versioned};
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::message::{
    Act, Arrived, Done, Entry, Message, Operation, OperationId, ReadId, SessionId, Vote,
};
use paxos::model::replica::pieces::{Piece, PieceOf, Place, PlaceOf};
use paxos::transport::codec::{self, MESSAGE_MAX, Seal};
use paxos::{Command, Machine, Msg};
use serde_json::json;
use stateright::actor::Id;
use std::io::Write;

const MIB_MAX: u64 = 64;

/// Draws messages: most numbers are small, so that they have to do with each other, and some are at the edge.
struct Wild {
    random: Random,
    from: usize,
    /// How many sorts of messages there are.
    kinds: u64,
}

impl Wild {
    fn number(&mut self) -> u64 {
        match self.random.below(20) {
            0 => u64::MAX - self.random.below(3),
            1 => (1 << 53) - self.random.below(3),
            2 => 1 << self.random.below(64),
            3..10 => self.random.below(3),
            _ => self.random.below(70),
        }
    }

    fn chance(&mut self) -> bool {
        self.random.percent(50)
    }

    fn id(&mut self) -> Id {
        match self.random.below(8) {
            0 => Id::from(self.number() as usize),
            other => Id::from(other as usize % 3),
        }
    }

    fn ballot(&mut self) -> Ballot {
        let node = if self.random.percent(80) { Id::from(self.from) } else { self.id() };
        Ballot { round: self.number(), node }
    }

    fn text(&mut self) -> std::sync::Arc<str> {
        "k".repeat(*self.random.pick(&[1, 1, 1, 1, 2, 3, 511, 511, 0, 512, 5000])).into()
    }

    fn several<T>(&mut self, mut one: impl FnMut(&mut Wild) -> T) -> Vec<T> {
        (0..self.random.below(4)).map(|_| one(self)).collect()
    }

    fn session(&mut self) -> SessionId {
        SessionId { slot: self.number(), position: self.number() as u32 }
    }

    fn operation_id(&mut self) -> OperationId {
        OperationId { session: self.session(), sequence: self.number() }
    }

    fn act(&mut self) -> Act<Command> {
        match self.random.below(7) {
            0 => Act::OpenSession,
            1 => Act::ExpireSession(self.session()),
            2 => Act::ExpireUnused(self.number()),
            3 => Act::Apply(Command::Collect { keep: self.number() }),
            4 => Act::Apply(Command::RaiseFloor { to: self.number() }),
            _ => {
                let put = |wild: &mut Wild| {
                    let ver = wild.chance().then(|| wild.number());
                    Put { key: wild.text(), val: wild.text(), ver }
                };
                Act::Apply(Command::Write { puts: self.several(put), atomic: self.chance() })
            }
        }
    }

    fn operation(&mut self) -> Operation<Command> {
        if self.random.percent(30) {
            return Operation::Open { node: self.id(), incarnation: self.number() };
        }
        let (id, by_node, acknowledged_below) = (self.operation_id(), self.chance(), self.number());
        Operation::InSession { id, by_node, acknowledged_below, act: self.act() }
    }

    fn entry(&mut self) -> Entry<Command> {
        if self.random.percent(20) { Entry::Noop } else { Entry::Batch(self.several(Wild::operation).into()) }
    }

    fn read(&mut self) -> ReadId {
        ReadId { origin: self.id(), incarnation: self.number(), number: self.number() }
    }

    fn place(&mut self) -> PlaceOf<Machine> {
        match self.random.below(4) {
            0 => Place::Item(kv::Place::Floor),
            1 => Place::Item(kv::Place::Key(self.text())),
            2 => Place::Session(self.session()),
            _ => Place::Done(self.operation_id()),
        }
    }

    fn maybe_place(&mut self) -> Option<PlaceOf<Machine>> {
        self.chance().then(|| self.place())
    }

    fn piece(&mut self) -> PieceOf<Machine> {
        match self.random.below(3) {
            0 => Piece::Item(Versioned { val: self.text(), ver: self.number() }),
            1 => {
                let owner = self.chance().then(|| (self.id(), self.number()));
                Piece::Session { owner, used: self.number(), acknowledged_below: self.number() }
            }
            _ => Piece::Done(Done::Opened(self.session())),
        }
    }

    fn message(&mut self) -> Msg {
        match self.random.below(self.kinds) {
            0 => Message::Forward { operations: self.several(Wild::operation).into(), relayed: self.chance() },
            1 => Message::ReadIndex { read: self.read(), relayed: self.chance() },
            2 => Message::ReadSlot { read: self.read(), slot: self.number() },
            3 => Message::PreVote { ballot: self.ballot(), promised: self.ballot() },
            4 => Message::PreVoted { ballot: self.ballot() },
            5 => Message::Prepare { ballot: self.ballot() },
            6 => {
                let vote = |wild: &mut Wild| Vote { slot: wild.number(), ballot: wild.ballot(), entry: wild.entry() };
                Message::Promise { ballot: self.ballot(), first: self.number(), votes: self.several(vote) }
            }
            7 => Message::Accept { ballot: self.ballot(), slot: self.number(), entry: self.entry() },
            8 => Message::Accepted { ballot: self.ballot(), slot: self.number() },
            9 => Message::Heartbeat { ballot: self.ballot(), decided: self.number(), round: self.number() },
            10 => Message::HeartbeatAck { ballot: self.ballot(), round: self.number() },
            11 => {
                let arriving = |wild: &mut Wild| Arrived { slot: wild.number(), after: wild.maybe_place() };
                Message::Fetch { from: self.number(), arriving: self.chance().then(|| arriving(self)) }
            }
            12 => Message::Decided { from: self.number(), entries: self.several(Wild::entry) },
            _ => {
                let pieces = self.several(|wild| (wild.place(), wild.piece()));
                Message::Part { slot: self.number(), after: self.maybe_place(), pieces, last: self.chance() }
            }
        }
    }
}

/// One life of a node among two peers that are made up: their numbers are given to who comes first.
fn life(wild: &mut Wild) {
    let mut attacked = Attacked::new(&[0], &[]);
    let socket = socket();
    for turn in 0..20 {
        wild.from = 1 + turn % 2;
        let hello = hello(wild.from as u64, 0, wild.from as u128);
        let seal = Seal::of(&hello);
        let (mut stream, answer) = introduce(attacked.rpc[0], &hello);
        assert!(answer.is_ok(), "it is let in");
        for _ in 0..60 {
            let bytes = codec::encode(&wild.message()).expect("it is small");
            // What is not let in would end the connection.
            if codec::decode(&bytes).is_some() {
                stream.write_all(&framed(seal, &bytes)).expect("it is taken");
            }
            let bytes = codec::encode(&wild.message()).expect("it is small");
            socket.send_to(&datagram(&hello, &bytes), attacked.rpc[0]).expect("it is sent");
        }
        // Bytes that are nearly a message, as a whole frame.
        let message = codec::encode(&wild.message()).expect("it is small");
        let nearly = framed(seal, &altered(&mut wild.random, &message));
        offer(stream, &nearly);
        assert!(is_alive(&attacked.cluster.stores[0]));
    }
    attacked.drops(0, "undecodable", 1);
    attacked.stops_well(MIB_MAX);
}

#[test]
fn messages_that_no_honest_peer_sends() {
    for stream in 0..6 {
        // Parts of a snapshot take the node far ahead, where the rest has nothing to do with it; so half do without.
        let kinds = if stream % 2 == 0 { 13 } else { 14 };
        let mut wild = Wild { random: Random::new(seed(), 20 + stream), from: 1, kinds };
        life(&mut wild);
    }
}

/// What is forwarded goes into the log of all.
#[test]
fn a_key_that_no_client_may_write_is_not_forwarded_either() {
    let (attacked, leader) = Attacked::served(&[("snapshot_every", json!(8))]);
    let opened = until("a session", || attacked.cluster.ask(leader, "POST", "/session", None));
    let name = opened.body["session"].as_str().expect("its name").to_owned();
    let (slot, position) = name.split_once('.').expect("two numbers");
    let number = |text: &str| text.parse().expect("a number");
    let session = SessionId { slot: number(slot), position: number(position) as u32 };
    let peer = (leader + 1) % 3;
    let hello = attacked.hello(peer, leader);
    let socket = socket();
    for (sequence, length) in (1..).zip([1, 511, 0, 512, 5000]) {
        let puts = vec![Put { key: "k".repeat(length).into(), val: "v".into(), ver: Some(1) }];
        let act = Act::Apply(Command::Write { puts, atomic: false });
        let id = OperationId { session, sequence };
        let operation = Operation::InSession { id, by_node: false, acknowledged_below: 1, act };
        let forward: Msg = Message::Forward { operations: [operation].into(), relayed: false };
        let bytes = datagram(&hello, &codec::encode(&forward).expect("it is small"));
        socket.send_to(&bytes, attacked.rpc[leader]).expect("it is sent");
    }
    until("the others to be written", || {
        let keys = attacked.cluster.ask(leader, "GET", "/kvstore/?prefix=k", None)?.body;
        (keys.as_array()?.len() >= 2).then_some(())
    });
    // Snapshots have no place for what the log has.
    (0..8).for_each(|turn| attacked.serves(&format!("turn {turn}")));
    attacked.drops(leader, "undecodable", 3);
    attacked.said_once(leader, "undecodable");
    attacked.ends_well(MIB_MAX);
}

#[test]
fn messages_that_would_unfold_are_given_up() {
    let mut attacked = Attacked::new(&[0], &[]);
    let hello = hello(1, 0, 1);
    let open: Operation<Command> = Operation::Open { node: 0.into(), incarnation: 0 };
    let none: Msg = Message::Forward { operations: [].into(), relayed: false };
    let nothing: Msg = Message::Decided { from: 0, entries: Vec::new() };
    // As many as a frame has room for, put together by hand: in memory they would take gigabytes here, too.
    let bytes = |value: &Msg| codec::encode(value).expect("it is small");
    let [tag, 0, relayed] = bytes(&none)[..] else { panic!("the form of messages is another one") };
    let [decided, from, 0] = bytes(&nothing)[..] else { panic!("the form of messages is another one") };
    let one = postcard::to_stdvec(&open).expect("it has a form in bytes");
    let count = |each: usize| (MESSAGE_MAX - 64) / each;
    let length = |each: usize| postcard::to_stdvec(&count(each)).expect("it has a form in bytes");
    let operations = [&[tag], &length(one.len())[..], &one.repeat(count(one.len())), &[relayed]].concat();
    let entries = [&[decided, from], &length(1)[..], &vec![0; count(1)]].concat();
    for (dropped, body) in (1..).zip([operations, entries]) {
        let (mut stream, _) = introduce(attacked.rpc[0], &hello);
        stream.write_all(&framed(Seal::of(&hello), &body)).expect("it is taken");
        attacked.drops(0, "undecodable", dropped);
        assert!(closes(&mut stream));
    }
    // The frame, which grows as it arrives, and as many elements as there may be.
    attacked.stops_well(MIB_MAX + 700);
}
