//! What may come to a replica.

use super::states::{Bounds, NODES, operation};
use crate::properties::audit::Tagged;
use crate::properties::party::Msg;
use paxos_model::kv::Query;
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::message::{Arrived, Entry, Message, Operation, ReadId, Request, Vote};
use stateright::actor::Id;

/// What may come from `src`.
pub(super) fn messages(bounds: &Bounds, src: Id) -> Vec<Msg> {
    let mut all = Vec::new();
    let Bounds { ballots, values, .. } = bounds;
    let values = || values.clone().into_iter();
    for ballot in ballots.iter().copied() {
        if ballot.node == src {
            all.push(Message::Prepare { ballot });
            all.extend((0..=2).map(|decided| Message::Heartbeat { ballot, decided, round: 0 }));
            for (slot, entry) in (0..=1).flat_map(|slot| values().map(move |entry| (slot, entry))) {
                all.push(Message::Accept { ballot, slot, entry });
            }
        }
        all.extend((0..=1).map(|round| Message::HeartbeatAck { ballot, round }));
        all.extend((0..=1).map(|slot| Message::Accepted { ballot, slot }));
        all.push(Message::Promise { ballot, first: 2, votes: Vec::new() });
        let below = || bounds.votes(|lower| *lower < ballot);
        for next in below() {
            let vote =
                |slot, vote: Option<(Ballot, Entry<Tagged>)>| vote.map(|(ballot, entry)| Vote { slot, ballot, entry });
            all.push(Message::Promise { ballot, first: 1, votes: vote(1, next.clone()).into_iter().collect() });
            for first in below() {
                let votes = vote(0, first).into_iter().chain(vote(1, next.clone())).collect();
                all.push(Message::Promise { ballot, first: 0, votes });
            }
        }
    }
    // Asked for is the next ballot after what is promised, or after what it was outbid by.
    let promises = || [Ballot::default()].into_iter().chain(ballots.iter().copied());
    for outbid in promises() {
        let lower = promises().filter(|promised| *promised <= outbid);
        all.extend(lower.map(|promised| Message::PreVote { ballot: outbid.next(src), promised }));
    }
    let polled = |node| promises().map(move |promised| Message::PreVoted { ballot: promised.next(Id::from(node)) });
    all.extend((0..NODES).flat_map(polled));
    for entry in values() {
        all.extend((0..=1).map(|from| Message::Decided { from, entries: vec![entry.clone()] }));
        all.extend(values().map(|next| Message::Decided { from: 0, entries: vec![entry.clone(), next] }));
    }
    for (from, arriving) in (0..=2).flat_map(|from| [(from, None), (from, Some(Arrived { slot: 1, after: None }))]) {
        all.push(Message::Fetch { from, arriving });
    }
    for last in [false, true] {
        all.extend((1..=2).map(|slot| Message::Part { slot, after: None, pieces: Vec::new(), last }));
    }
    for relayed in [false, true] {
        all.push(Message::Forward { operations: [operation(2, 1)].into(), relayed });
        all.push(Message::ReadIndex { read: round_of(src), relayed });
    }
    all.extend((0..NODES).map(|origin| Message::ReadSlot { read: round_of(origin.into()), slot: 1 }));
    all
}

/// A client's number: it is no member.
pub(super) const CLIENT: usize = NODES;

/// What a client may ask: for a write in a session of its own, or without one, and for a read.
pub(super) fn requests() -> [Msg; 3] {
    let Operation::InSession { id, acknowledged_below, act, .. } = operation(3, 1) else {
        unreachable!("it is done in a session")
    };
    let write = Request::Write { session: Some((id, acknowledged_below)), act: act.clone() };
    let without = Request::Write { session: None, act };
    let read = Request::Read(Query::Get("k".into()));
    [write, without, read].map(|request| Message::Request { number: 0, timeout_ms: 1, request })
}

/// The first round of reads that a node asks for.
pub(super) fn round_of(node: Id) -> ReadId {
    ReadId { origin: node, incarnation: 1, number: 1 }
}
