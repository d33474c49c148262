//! Every message, and what travels in it.
//!
//! Who sends which, when, what answers it and what must be saved before it leaves is one table, in `spec/README.md`; a test
//! compares it with [`Message`].
//!
//! No refusal is sent among nodes: who is not answered asks again, from its state, by timer. Every message may be lost, repeated,
//! delayed and reordered, but for `Request` and `Reply`, which come over a connection and so arrive once or not at all.

use super::ballot::{Ballot, Slot};
use super::pieces::{Piece, Place};
use crate::machine::{StateMachine, Value};
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::fmt;
use std::sync::Arc;

/// What a slot of the log holds.
#[derive(Clone, Debug, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(clippy::derived_hash_with_manual_eq, reason = "they are equal where they would be by derivation")]
#[serde(bound = "C: Value")]
pub enum Entry<C: Value> {
    /// Fills a hole; changes nothing.
    Noop,
    /// Operations, carried out in order.
    Batch(Arc<[Operation<C>]>),
}

impl<C: Value> PartialEq for Entry<C> {
    /// A clone is equal by where it lies: entries are long, and each save compares the log with a clone of it.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Entry::Noop, Entry::Noop) => true,
            (Entry::Batch(own), Entry::Batch(others)) => Arc::ptr_eq(own, others) || own == others,
            _ => false,
        }
    }
}

impl<C: Value> Entry<C> {
    /// The operations, in order; none for a no-op.
    pub fn operations(&self) -> &[Operation<C>] {
        match self {
            Entry::Noop => &[],
            Entry::Batch(operations) => operations,
        }
    }
}

/// A session, named by where it was opened in the log, so that no name is ever used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// The slot of the entry that opened it.
    pub slot: Slot,
    /// Which of the entry's operations opened it.
    pub position: u32,
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}.{}", self.slot, self.position)
    }
}

/// Names one operation, however often it is sent, forwarded or proposed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId {
    /// The session that numbers it.
    pub session: SessionId,
    /// Its number in the session, from 1.
    pub sequence: u64,
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.session, self.sequence)
    }
}

/// What tells two operations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationKey {
    /// The opening of the session of one life of a node.
    Open {
        /// The node.
        node: Id,
        /// Its life, or what follows a lost session in it.
        incarnation: u64,
    },
    /// An operation of a session, and whether a node sends it in its own.
    InSession(OperationId, bool),
}

/// What the log carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub enum Operation<C: Value> {
    /// Opens the session of one life of a node; those of its earlier lives end.
    Open {
        /// The node.
        node: Id,
        /// Its life, from [`super::durable::Durable::incarnation`].
        incarnation: u64,
    },
    /// Anything else is done in a session, at most once.
    InSession {
        /// Its name.
        id: OperationId,
        /// Whether a node sends it in its own session: a client that names such a session is not let in.
        by_node: bool,
        /// The client will never ask again about operations of the session below this number.
        acknowledged_below: u64,
        /// What to do.
        act: Act<C>,
    },
}

impl<C: Value> Operation<C> {
    /// What tells it from others.
    pub fn key(&self) -> OperationKey {
        match self {
            Operation::Open { node, incarnation } => OperationKey::Open { node: *node, incarnation: *incarnation },
            Operation::InSession { id, by_node, .. } => OperationKey::InSession(*id, *by_node),
        }
    }
}

/// What an operation takes beside its command, in bytes.
const OPERATION_BYTES: usize = 64;

/// About how many bytes an operation takes in the log or in a message.
pub fn operation_bytes<S: StateMachine>(operation: &Operation<S::Command>) -> usize {
    match operation {
        Operation::InSession { act: Act::Apply(command), .. } => OPERATION_BYTES.saturating_add(S::size(command)),
        Operation::InSession { .. } | Operation::Open { .. } => OPERATION_BYTES,
    }
}

/// About how many bytes an entry takes in the log or in a message.
pub fn entry_bytes<S: StateMachine>(entry: &Entry<S::Command>) -> usize {
    entry.operations().iter().map(operation_bytes::<S>).fold(0, usize::saturating_add)
}

/// How many of the first things of these sizes go together: at least one, and as many as take no more than `bytes_max`.
pub(super) fn fitting(sizes: impl Iterator<Item = usize>, bytes_max: usize) -> usize {
    let mut bytes = 0usize;
    let fits = |(index, size): &(usize, usize)| {
        bytes = bytes.saturating_add(*size);
        *index == 0 || bytes <= bytes_max
    };
    sizes.enumerate().take_while(fits).count()
}

/// What can be done in a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub enum Act<C: Value> {
    /// Opens a session for a client that brings its own.
    OpenSession,
    /// Ends a client's session: what it still sends is not applied. Done as well if there is none of that name.
    ExpireSession(SessionId),
    /// Ends the clients' sessions that were last used before this slot.
    ExpireUnused(Slot),
    /// Applies a command to the state machine.
    Apply(C),
}

/// What an act in a session came to. Kept until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "R: Value")]
pub enum Done<R: Value> {
    /// The new session.
    Opened(SessionId),
    /// The session is gone now, or those that were not used.
    Expired,
    /// What the state machine replied.
    Applied(R),
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value, Q: Value")]
pub enum Request<C: Value, Q: Value> {
    /// An act, once.
    Write {
        /// The client's own session with the number of this operation, and below which it has all answers. With it the same
        /// operation may be sent again, here or elsewhere. Without it the node's own session is used.
        session: Option<(OperationId, u64)>,
        /// What to do.
        act: Act<C>,
    },
    /// A linearizable read.
    Read(Q),
    /// A read of what this node has applied: a prefix of the log, and never an earlier one than this node answered before.
    LocalRead(Q),
}

/// Why a request was certainly not carried out by this submission, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// As many requests wait at this node as it takes.
    Busy,
    /// The deadline passed before it was handed on.
    Deadline,
    /// The node's own session ended before the operation was reached in the log.
    SessionExpired,
}

/// Why it is not known whether a request was, or will be, carried out. It will not be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Uncertainty {
    /// The deadline passed after it was handed on.
    Deadline,
    /// The client's session is not known, or no longer.
    SessionExpired,
    /// The client acknowledged this operation before.
    Acknowledged,
    /// The number is further ahead of the acknowledged ones than replies are kept.
    BeyondWindow,
    /// The same operation was sent again to this node, which will answer that attempt.
    Superseded,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "R: Value, A: Value")]
pub enum Outcome<R: Value, A: Value> {
    /// Carried out, once.
    Done(Done<R>),
    /// Read.
    Answer {
        /// Everything below this slot was applied.
        applied: Slot,
        /// The answer of the state machine.
        answer: A,
    },
    /// Certainly not carried out by this submission.
    Refused(Refusal),
    /// Carried out once or not at all.
    Unknown(Uncertainty),
}

/// A vote, as a promise reports it: accepted ballot and value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub struct Vote<C: Value> {
    /// The slot voted in.
    pub slot: Slot,
    /// The ballot voted in.
    pub ballot: Ballot,
    /// The entry voted for.
    pub entry: Entry<C>,
}

/// Names a read at its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadId {
    /// The node that will answer the client.
    pub origin: Id,
    /// Its life, or what follows a lost session in it: an answer to an earlier life's read answers none of this one's.
    pub incarnation: u64,
    /// Counts the rounds of reads that the origin asked for in this life.
    pub number: u64,
}

/// How much of a snapshot a replica has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "P: Value")]
pub struct Arrived<P: Value> {
    /// The slot of the snapshot.
    pub slot: Slot,
    /// Everything up to this place; nothing if there is none.
    pub after: Option<Place<P>>,
}

/// A message; the table is in `spec/README.md`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value, R: Value, Q: Value, A: Value, P: Value, I: Value")]
#[allow(missing_docs, reason = "each line tells its fields")]
pub enum Message<C: Value, R: Value, Q: Value, A: Value, P: Value, I: Value> {
    /// A client asks; answered by one `Reply`.
    Request { number: u64, timeout_ms: u32, request: Request<C, Q> },
    /// How a request ended.
    Reply { number: u64, outcome: Outcome<R, A> },
    /// Please propose these; `relayed` if it came through another node already.
    Forward { operations: Arc<[Operation<C>]>, relayed: bool },
    /// From which slot on may this read be served?
    ReadIndex { read: ReadId, relayed: bool },
    /// Once everything below `slot` is applied.
    ReadSlot { read: ReadId, slot: Slot },
    /// Would you promise `ballot`? I have promised `promised`.
    PreVote { ballot: Ballot, promised: Ballot },
    /// I would.
    PreVoted { ballot: Ballot },
    /// 1a: promise `ballot`.
    Prepare { ballot: Ballot },
    /// 1b: promised, **saved before**; my votes from slot `first` on, all below it being decided.
    Promise { ballot: Ballot, first: Slot, votes: Vec<Vote<C>> },
    /// 2a: vote for `entry` in `slot`.
    Accept { ballot: Ballot, slot: Slot, entry: Entry<C> },
    /// 2b: voted, **saved before**.
    Accepted { ballot: Ballot, slot: Slot },
    /// I lead; everything below `decided` is decided; confirm `round`.
    Heartbeat { ballot: Ballot, decided: Slot, round: u64 },
    /// I have promised nothing above `ballot`.
    HeartbeatAck { ballot: Ballot, round: u64 },
    /// What is decided from slot `from` on? If that is truncated: so much of a snapshot has arrived.
    Fetch { from: Slot, arriving: Option<Arrived<P>> },
    /// These are, one slot each.
    Decided { from: Slot, entries: Vec<Entry<C>> },
    /// A part of the snapshot at `slot`: the pieces that follow the place `after`.
    Part { slot: Slot, after: Option<Place<P>>, pieces: Vec<(Place<P>, Piece<I, R>)>, last: bool },
}

/// The messages of replicas of `S`.
pub type MessageOf<S> = Message<
    <S as StateMachine>::Command,
    <S as StateMachine>::Reply,
    <S as StateMachine>::Query,
    <S as StateMachine>::Answer,
    <S as StateMachine>::Place,
    <S as StateMachine>::Item,
>;

/// How a request to a replica of `S` ended.
pub type OutcomeOf<S> = Outcome<<S as StateMachine>::Reply, <S as StateMachine>::Answer>;
