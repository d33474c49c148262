//! About how large things are: what queues are bounded by.

use crate::model::kv::Command;
use crate::{Machine, Msg, Request, storage};
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Act, Message, Operation};

/// What anything takes beside keys and values.
const BESIDE: usize = 128;

/// About how many bytes a request keeps.
pub(super) fn of_request(request: &Request) -> usize {
    match request {
        Request::Write { act, .. } => act_bytes(act),
        Request::Read(_) | Request::LocalRead(_) => BESIDE,
    }
}

fn act_bytes(act: &Act<Command>) -> usize {
    match act {
        Act::Apply(Command::Write { puts, .. }) => {
            BESIDE + puts.iter().map(|put| put.key.len() + put.val.len() + BESIDE).sum::<usize>()
        }
        _ => BESIDE,
    }
}

fn operations_bytes(operations: &[Operation<Command>]) -> usize {
    let bytes = |operation: &_| match operation {
        Operation::InSession { act, .. } => act_bytes(act),
        Operation::Open { .. } => BESIDE,
    };
    BESIDE + operations.iter().map(bytes).sum::<usize>()
}

/// About how many bytes a message keeps.
pub(super) fn of_message(message: &Msg) -> usize {
    match message {
        Message::Forward { operations, .. } => operations_bytes(operations),
        Message::Accept { entry, .. } => operations_bytes(entry.operations()),
        Message::Promise { votes, .. } => {
            BESIDE + votes.iter().map(|vote| operations_bytes(vote.entry.operations())).sum::<usize>()
        }
        Message::Decided { entries, .. } => entries.iter().map(|entry| operations_bytes(entry.operations())).sum(),
        Message::Part { pieces, .. } => {
            BESIDE + pieces.iter().map(|(place, piece)| Executor::<Machine>::piece_bytes(place, piece)).sum::<usize>()
        }
        _ => BESIDE,
    }
}

/// Whether a request brings values. A store that has no room for them still takes deletes.
pub(super) fn brings_values(request: &Request) -> bool {
    matches!(request, Request::Write { act, .. } if storage::brings_values(act))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::kv::Put;
    use paxos_model::replica::message::{OperationId, SessionId};

    /// An operation with a value of 1 MiB.
    pub(in crate::node) fn large() -> Operation<Command> {
        let put = Put { key: "k".into(), val: "v".repeat(1 << 20).into(), ver: None };
        let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
        let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: 1 };
        Operation::InSession { id, by_node: true, acknowledged_below: 1, act }
    }
}
