//! The words that the stories are told in.

use crate::cluster::{Cluster, Envelope, Msg, Outputs};
use paxos_model::kv::{Command as KvCommand, Kv, Put, Query, Reply, Written};
use paxos_model::replica::Options;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::message::{
    Act, Done, Entry, Message, Operation, OperationId, Outcome, OutcomeOf, Request, SessionId,
};
use std::sync::Arc;

/// Without pre-votes, where a story is not about them.
pub(crate) fn options() -> Options {
    Options { pre_vote: false, ..Options::default() }
}

pub(crate) fn ballot(round: u64, node: usize) -> Ballot {
    Ballot { round, node: node.into() }
}

pub(crate) fn fetch(from: Slot) -> Msg {
    Message::Fetch { from, arriving: None }
}

pub(crate) fn put(key: &str, val: &str) -> Act<KvCommand> {
    Act::Apply(KvCommand::Write { puts: vec![Put { key: key.into(), val: val.into(), ver: None }], atomic: false })
}

pub(crate) fn write(key: &str, val: &str) -> Request<KvCommand, Query> {
    Request::Write { session: None, act: put(key, val) }
}

pub(crate) fn write_in(session: SessionId, sequence: u64, key: &str, val: &str) -> Request<KvCommand, Query> {
    Request::Write { session: Some((OperationId { session, sequence }, 1)), act: put(key, val) }
}

pub(crate) fn operation(key: &str) -> Operation<KvCommand> {
    let id = OperationId { session: SessionId { slot: 99, position: 0 }, sequence: 1 };
    Operation::InSession { id, by_node: false, acknowledged_below: 1, act: put(key, key) }
}

pub(crate) fn entry(key: &str) -> Entry<KvCommand> {
    Entry::Batch(Arc::from([operation(key)]))
}

pub(crate) fn read(key: &str) -> Request<KvCommand, Query> {
    Request::Read(Query::Get(key.into()))
}

pub(crate) fn accept(ballot: Ballot, slot: Slot, key: &str) -> Msg {
    Message::Accept { ballot, slot, entry: entry(key) }
}

pub(crate) fn messages(outputs: &Outputs) -> Vec<&Msg> {
    outputs.sent.iter().map(|envelope| &envelope.msg).collect()
}

pub(crate) fn applied(outcome: Option<&OutcomeOf<Kv>>) -> bool {
    let Some(Outcome::Done(Done::Applied(Reply::Written(written)))) = outcome else {
        return false;
    };
    written.iter().all(|written| matches!(written, Written::Applied(_)))
}

pub(crate) fn opened(outcome: Option<&OutcomeOf<Kv>>) -> SessionId {
    match outcome {
        Some(Outcome::Done(Done::Opened(session))) => *session,
        other => panic!("no session: {other:?}"),
    }
}

pub(crate) fn deliver_where(cluster: &mut Cluster, which: impl Fn(&Envelope) -> bool) -> usize {
    let taken = cluster.take(which);
    let count = taken.len();
    for e in taken {
        cluster.deliver(e.src, e.dst, e.msg);
    }
    count
}
