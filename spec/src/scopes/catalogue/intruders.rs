//! What a node is sent by somebody who is no member.

use super::{base, elect, for_leader, item, put, read};
use crate::properties::party::{Client, Msg, Want};
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::message::{Entry, Message, ReadId, Vote};
use stateright::actor::Id;

/// The client that intrudes: its number, since it comes after three replicas and two clients.
const INTRUDER: usize = 5;

/// Everything that peers say, as it would do harm to nodes 0 and 1, but for `Forward`: that is taken from anybody, since what it
/// brings is judged where it is applied, and the sources of many other scopes send it.
fn lies() -> Vec<(Id, Msg)> {
    let high = Ballot { round: 9, node: INTRUDER.into() };
    let (first, second) = (Ballot { round: 1, node: 0.into() }, Ballot { round: 2, node: 1.into() });
    let lie = match for_leader(0, &[9]).1 {
        Message::Forward { operations, .. } => Entry::Batch(operations),
        _ => Entry::Noop,
    };
    let vote = Vote { slot: 2, ballot: first, entry: lie.clone() };
    let read = ReadId { origin: 1.into(), incarnation: 1, number: 1 };
    vec![
        (0.into(), Message::Prepare { ballot: high }),
        (0.into(), Message::Accept { ballot: high, slot: 2, entry: lie.clone() }),
        (0.into(), Message::Accepted { ballot: first, slot: 2 }),
        (0.into(), Message::HeartbeatAck { ballot: first, round: 1 }),
        (0.into(), Message::PreVote { ballot: high, promised: high }),
        (1.into(), Message::PreVoted { ballot: second }),
        (1.into(), Message::Promise { ballot: second, first: 2, votes: vec![vote] }),
        (1.into(), Message::Heartbeat { ballot: high, decided: 2, round: 0 }),
        (1.into(), Message::Decided { from: 1, entries: vec![lie] }),
        (1.into(), Message::ReadSlot { read, slot: 0 }),
        (1.into(), Message::ReadIndex { read: ReadId { number: 2, ..read }, relayed: false }),
        (1.into(), Message::Fetch { from: 0, arriving: None }),
    ]
}

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    vec![Scope {
        elections: vec![0, 1, 0],
        restarts: Some(1),
        restarting: vec![0, 1],
        slots: 6,
        rounds: 1,
        prefix: vec![elect(), Play::Admit(3)],
        clients: vec![
            Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", None)), &[0])]),
            Client::Script(vec![item(read("k"), &[1])]),
            Client::Source(lies()),
        ],
        losses: Losses::Third,
        witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
        ..base("intruders", "somebody who is no member sends whatever is taken from members only")
    }]
}
