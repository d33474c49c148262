//! What reaches a running node from outside: bounded queues, none of which blocks.

use super::clients::{Answered, Clients, Overloaded};
use super::run::now;
use crate::model::kv::Command;
use crate::{Msg, Request};
use crossbeam_channel::Sender;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::message::{Act, Entry, Message, Operation};
use stateright::actor::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Bytes of messages from peers that wait for the loop.
const INBOX_BYTES: usize = 256 << 20;

/// What a node says of itself, as of its latest step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `leader`, `candidate` or `follower`.
    pub role: &'static str,
    /// Who is followed, itself included.
    pub leader: Option<Id>,
    /// The highest ballot promised.
    pub ballot: Ballot,
    /// Every slot below is decided here.
    pub decided: Slot,
    /// Every slot below is applied here.
    pub applied: Slot,
    /// Requests of clients that are under way.
    pub requests: usize,
    /// Whether clients' values are refused, since the store is full or nearly so.
    pub full: bool,
}

/// A message of a peer, and how many bytes it was.
pub(super) type Delivered = (Id, Msg, usize);
/// A client's request under its number.
pub(super) type Ask = (u64, Request);

/// What reaches a running node from outside.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) peers: Sender<Delivered>,
    pub(super) inbox_bytes: Arc<AtomicUsize>,
    pub(super) asks: Sender<Ask>,
    pub(super) stop: Sender<()>,
    pub(super) clients: Arc<Clients>,
    pub(super) status: watch::Receiver<Status>,
}

impl NodeHandle {
    /// A message from node `src` arrived, one of those that are exchanged between nodes. False if the queue is full, and the message
    /// dropped.
    pub fn deliver(&self, src: Id, message: Msg) -> bool {
        let bytes = message_bytes(&message);
        let before = self.inbox_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before + bytes <= INBOX_BYTES;
        let taken = fits && self.peers.try_send((src, message, bytes)).is_ok();
        if !taken {
            self.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Begins a request, which is answered within `timeout_ms` or a moment after it.
    pub fn request(&self, request: Request, timeout_ms: u32) -> Result<oneshot::Receiver<Answered>, Overloaded> {
        let deadline = now() + Duration::from_millis(timeout_ms.into());
        let (number, answer) = self.clients.insert(deadline, bytes(&request))?;
        if self.asks.try_send((number, request)).is_err() {
            self.clients.forget(number);
            return Err(Overloaded);
        }
        Ok(answer)
    }

    /// What the node says of itself, and how to learn when that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Asks the node to stop. What its clients still wait for is answered with "unknown".
    pub fn stop(&self) {
        // A full queue holds the same already.
        let _ = self.stop.try_send(());
    }
}

/// What anything takes beside keys and values.
const BESIDE: usize = 128;

/// About how many bytes a request keeps.
fn bytes(request: &Request) -> usize {
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
fn message_bytes(message: &Msg) -> usize {
    let entries = |entries: &[Entry<Command>]| entries.iter().map(|entry| operations_bytes(entry.operations())).sum();
    match message {
        Message::Forward { operations, .. } => operations_bytes(operations),
        Message::Accept { entry, .. } => operations_bytes(entry.operations()),
        Message::Promise { votes, .. } => {
            BESIDE + votes.iter().map(|vote| operations_bytes(vote.entry.operations())).sum::<usize>()
        }
        Message::Decided { entries: decided, .. } => entries(decided),
        _ => BESIDE,
    }
}

/// Whether a request brings values. A store that has no room for them still takes deletes.
pub(super) fn brings_values(request: &Request) -> bool {
    match request {
        Request::Write { act: Act::Apply(Command::Write { puts, .. }), .. } => {
            puts.iter().any(|put| !put.val.is_empty())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kv::Put;
    use crossbeam_channel::bounded;
    use paxos_model::replica::message::{OperationId, SessionId};

    /// A message that carries `count` times the same value of 1 MiB.
    fn large(count: usize) -> Msg {
        let put = Put { key: "k".into(), val: "v".repeat(1 << 20).into(), ver: None };
        let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
        let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: 1 };
        let operation = Operation::InSession { id, by_node: true, acknowledged_below: 1, act };
        Message::Forward { operations: vec![operation; count].into(), relayed: false }
    }

    #[test]
    fn what_waits_for_the_loop_is_bounded_in_bytes_and_in_number() {
        let (peers, inbox) = bounded(10);
        let (asks, _asked) = bounded(10);
        let (stop, _stopping) = bounded(1);
        let (_publish, status) = watch::channel(Status::default());
        let (inbox_bytes, clients) = Default::default();
        let handle = NodeHandle { peers, inbox_bytes, asks, stop, clients, status };
        let from = Id::from(1);
        assert!(handle.deliver(from, large(300)), "one may be as large as it is");
        assert!(!handle.deliver(from, Message::Fetch { from: 0 }));
        let (_, _, bytes) = inbox.recv().unwrap();
        assert!(bytes > 300 << 20);
        handle.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!((0..10).all(|slot| handle.deliver(from, Message::Fetch { from: slot })));
        assert!(!handle.deliver(from, Message::Fetch { from: 10 }), "nor more than so many");
        assert_eq!(handle.inbox_bytes.load(Ordering::Relaxed), 10 * BESIDE);
    }
}
