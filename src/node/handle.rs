//! What reaches a running node from outside: bounded queues, none of which blocks.

use super::clients::{Answered, Clients, Overloaded};
use super::sizes;
use super::timers::now;
use crate::{Machine, Msg, Request};
use crossbeam_channel::Sender;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::executor::Executor;
use stateright::actor::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// The slot of the snapshot.
    pub snapshot: Slot,
    /// The first decided slot whose entry is kept; `decided` if none is.
    pub first: Slot,
    /// Slots that the log holds.
    pub log_slots: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Deleted keys that are remembered.
    pub tombstones: usize,
    /// Requests of clients that are under way.
    pub requests: usize,
    /// Whether clients' values are refused, since the store is full or nearly so.
    pub full: bool,
}

/// A message of a peer, and how many bytes it was.
pub(super) type Delivered = (Id, Msg, usize);
/// A client's request under its number.
pub type Ask = (u64, Request);
/// Where what is applied goes.
pub(super) type Copy = oneshot::Sender<Executor<Machine>>;

/// What reaches a running node from outside.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) peers: Sender<Delivered>,
    pub(super) inbox_bytes: Arc<AtomicUsize>,
    pub(super) asks: Sender<Ask>,
    /// Wakes the loop for the asks; a full one has done so.
    pub(super) bell: Sender<()>,
    pub(super) copies: Sender<Copy>,
    pub(super) stop: Sender<()>,
    pub(super) clients: Arc<Clients>,
    pub(super) status: watch::Receiver<Status>,
}

impl NodeHandle {
    /// A message from node `src` arrived, one of those that are exchanged between nodes. False if the queue is full, and the message
    /// dropped.
    pub fn deliver(&self, src: Id, message: Msg) -> bool {
        let bytes = sizes::of_message(&message);
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
        let answer = self.queue(request, timeout_ms)?;
        self.ring();
        Ok(answer)
    }

    /// As [`NodeHandle::request`], but the loop may sleep on until [`NodeHandle::ring`].
    pub fn queue(&self, request: Request, timeout_ms: u32) -> Result<oneshot::Receiver<Answered>, Overloaded> {
        let (number, answer) = self.clients.begin(&request, timeout_ms, now())?;
        if self.asks.try_send((number, request)).is_err() {
            self.clients.forget(number);
            return Err(Overloaded);
        }
        Ok(answer)
    }

    /// Wakes the loop for what is queued.
    pub fn ring(&self) {
        // One that is not heard yet is enough.
        let _ = self.bell.try_send(());
    }

    /// What is applied at this node: a clone, which shares all but what changes later. It is a prefix of what is decided, and may lag.
    pub async fn applied(&self) -> Result<Executor<Machine>, Overloaded> {
        let (copy, applied) = oneshot::channel();
        self.copies.try_send(copy).map_err(|_| Overloaded)?;
        applied.await.map_err(|_| Overloaded)
    }

    /// How many inputs wait for the loop, by where they come from.
    pub fn queued(&self) -> [(&'static str, usize); 2] {
        [("peers", self.peers.len()), ("clients", self.asks.len())]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::sizes::tests::large;
    use crossbeam_channel::{Receiver, bounded};
    use paxos_model::kv::Query;
    use paxos_model::replica::message::Message;

    /// A handle, and where what it is given arrives.
    struct Loop {
        handle: NodeHandle,
        inbox: Receiver<Delivered>,
        asked: Receiver<Ask>,
        rung: Receiver<()>,
    }

    fn a_loop() -> Loop {
        let (peers, inbox) = bounded(10);
        let (asks, asked) = bounded(10);
        let (bell, rung) = bounded(1);
        let (copies, _) = bounded(1);
        let (stop, _) = bounded(1);
        let (_, status) = watch::channel(Status::default());
        let (inbox_bytes, clients) = Default::default();
        Loop {
            handle: NodeHandle { peers, inbox_bytes, asks, bell, copies, stop, clients, status },
            inbox,
            asked,
            rung,
        }
    }

    #[test]
    fn the_loop_is_woken_once_for_many_requests() {
        let Loop { handle, asked, rung, .. } = a_loop();
        let read = || Request::Read(Query::Get("k".into()));
        let quiet = handle.queue(read(), 1000).expect("there is room");
        assert!(rung.is_empty());
        let others = [handle.request(read(), 1000), handle.request(read(), 1000)];
        assert_eq!((asked.len(), rung.len()), (3, 1));
        drop((quiet, others));
    }

    #[test]
    fn what_waits_for_the_loop_is_bounded_in_bytes_and_in_number() {
        let Loop { handle, inbox, .. } = a_loop();
        let from = Id::from(1);
        let fetch = |from| Message::Fetch { from, arriving: None };
        assert!(
            handle.deliver(from, Message::Forward { operations: vec![large(); 300].into(), relayed: false }),
            "one may be as large as it is"
        );
        assert!(!handle.deliver(from, fetch(0)));
        let (_, _, bytes) = inbox.recv().unwrap();
        assert!(bytes > 300 << 20);
        handle.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!((0..10).all(|slot| handle.deliver(from, fetch(slot))));
        assert!(!handle.deliver(from, fetch(10)), "nor more than so many");
        assert!(handle.inbox_bytes.load(Ordering::Relaxed) < 10_000);
    }
}
