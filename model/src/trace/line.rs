//! What a node writes down of itself as it runs, so that the same steps can be taken again and judged (`check replay`).
//!
//! A trace is a sequence of lines, each a JSON object of one field. A file of it begins with [`Line::Begin`], which holds all that its first
//! step depends on; so each file can be replayed alone, and whether one goes on from the one before is itself asked. What is put out
//! follows from what came in, and is written as a digest, which the replay must come to again.

use super::{Input, OutputOf};
use crate::machine::{StateMachine, Value};
use crate::replica::configuration::Configuration;
use crate::replica::durable::Durable;
use crate::replica::message::{Message, MessageOf};
use crate::replica::{Options, Replica, State, Timer};
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};
use stateright::actor::{Command, Id};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The form of traces. It changes with that of any line, message or state.
pub const FORMAT: u32 = 1;

/// A digest, for comparing: of sources that were built by the same compiler. It keeps nobody from forging.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub u64);

impl Digest {
    /// Of anything that has a hash.
    pub fn of(value: &impl Hash) -> Digest {
        // With fixed keys, so it is the same in every process.
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Digest(hasher.finish())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        format!("{digest:?}")
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        u64::from_str_radix(&text, 16).map(Digest).map_err(|error| format!("no digest: {error}"))
    }
}

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine", rename_all = "snake_case")]
pub enum Line<S: StateMachine> {
    /// The first of a file.
    Begin(Box<Begin<S>>),
    /// The replica took a step.
    Step(Taken<S>),
    /// A commit returned.
    Committed {
        /// Everything that was saved up to and with this step is durable.
        step: u64,
        /// When, in microseconds since the node began its trace.
        us: u64,
    },
    /// Messages are about to leave.
    Released {
        /// So many of those that the replica has put out in this life may be seen from now on, in the order in which it put them out.
        messages: u64,
        /// When.
        us: u64,
    },
}

/// What a file of a trace goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct Begin<S: StateMachine> {
    /// [`FORMAT`].
    pub format: u32,
    /// The digest of the protocol that the node was built from.
    pub protocol: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Its number.
    pub node: Id,
    /// Its lives since its trace was begun, from 0. A crash, and going on from what is stored in a full store, begin a new one.
    pub life: u64,
    /// The files of this life, from 0.
    pub file: u64,
    /// The life and the file that the node wrote before this one; none if this is the first of its trace.
    pub after: Option<(u64, u64)>,
    /// The members that rule the first slot, and the limits on sessions.
    pub configuration: Configuration,
    /// The replica's options.
    pub options: Options,
    /// What the replica is at.
    pub at: At<S>,
}

/// Where a file of a trace begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine", rename_all = "snake_case")]
pub enum At<S: StateMachine> {
    /// A life begins, from what is stored. Its first step follows.
    Start(Option<Arc<Durable<S>>>),
    /// The life goes on.
    Middle {
        /// The number of the next step.
        step: u64,
        /// How many messages were put out.
        sent: u64,
        /// What was saved last.
        saved: Option<Arc<Durable<S>>>,
        /// The replica's state.
        state: Box<State<S>>,
    },
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct Taken<S: StateMachine> {
    /// Its number in this life, from 0.
    pub n: u64,
    /// When it was taken, in microseconds since the node began its trace.
    pub us: u64,
    /// What came in.
    pub input: Input<MessageOf<S>, Timer>,
    /// What was put out.
    pub out: Outputs,
}

/// What a step put out, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// The messages, in their order: to whom, the kind, a digest of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sends: Vec<(Id, String, Digest)>,
    /// Of the timers that were set and cancelled, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Digest>,
    /// Of what was saved, beside what was saved before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Digest>,
}

impl Outputs {
    /// Of the outputs of a step before which `saved` was saved last.
    pub fn of<S: StateMachine>(outputs: &[OutputOf<Replica<S>>], saved: Option<&Durable<S>>) -> Outputs {
        let mut short = Outputs::default();
        let mut timers = DefaultHasher::new();
        for output in outputs {
            match output {
                Command::Send(dst, message) => {
                    short.sends.push((*dst, kind(message).to_owned(), Digest::of(message)));
                }
                Command::Save(value) => short.saved = Some(change(saved, value)),
                Command::SetTimer(timer, range) => {
                    (timer, range.start, range.end).hash(&mut timers);
                    short.timers = Some(Digest(timers.finish()));
                }
                Command::CancelTimer(timer) => {
                    timer.hash(&mut timers);
                    short.timers = Some(Digest(timers.finish()));
                }
                Command::ChooseRandom(..) => unreachable!("a replica makes no random choice"),
            }
        }
        short
    }
}

/// The name of a message's kind.
pub fn kind<C, R, Q, A, P, I>(message: &Message<C, R, Q, A, P, I>) -> &'static str
where
    C: Value,
    R: Value,
    Q: Value,
    A: Value,
    P: Value,
    I: Value,
{
    match message {
        Message::Request { .. } => "Request",
        Message::Reply { .. } => "Reply",
        Message::Forward { .. } => "Forward",
        Message::ReadIndex { .. } => "ReadIndex",
        Message::ReadSlot { .. } => "ReadSlot",
        Message::PreVote { .. } => "PreVote",
        Message::PreVoted { .. } => "PreVoted",
        Message::Prepare { .. } => "Prepare",
        Message::Promise { .. } => "Promise",
        Message::Accept { .. } => "Accept",
        Message::Accepted { .. } => "Accepted",
        Message::Heartbeat { .. } => "Heartbeat",
        Message::HeartbeatAck { .. } => "HeartbeatAck",
        Message::Fetch { .. } => "Fetch",
        Message::Decided { .. } => "Decided",
        Message::Part { .. } => "Part",
    }
}

/// A digest of what differs in two saved values: as quick to take as little differs. Of snapshots it has the slot, and how much has arrived
/// of another's; what they hold is compared where a file begins.
fn change<S: StateMachine>(before: Option<&Durable<S>>, after: &Durable<S>) -> Digest {
    let empty = Durable::default();
    let before = before.unwrap_or(&empty);
    let mut hasher = DefaultHasher::new();
    (after.promised, after.promised_at, after.decided, after.incarnation, after.snapshot.applied).hash(&mut hasher);
    after.arriving.as_ref().map(|arriving| (arriving.executor.applied, &arriving.after)).hash(&mut hasher);
    for item in before.accepted.diff(&after.accepted) {
        differs(item).hash(&mut hasher);
    }
    for item in before.log.diff(&after.log) {
        differs(item).hash(&mut hasher);
    }
    Digest(hasher.finish())
}

/// A difference, with the key and what is there now.
fn differs<'a, K, V>(item: DiffItem<'a, 'a, K, V>) -> (&'a K, Option<&'a V>) {
    match item {
        DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => (key, Some(value)),
        DiffItem::Remove(key, _) => (key, None),
    }
}
