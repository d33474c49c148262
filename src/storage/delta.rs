//! What a save changes of a durable value where it changes no snapshot: what the acceptor and the learner have to say. It is what a
//! record of the journal holds.

use crate::{Command, Machine};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::Entry;
use serde::{Deserialize, Serialize};

/// The difference between two values whose snapshots, and what has arrived of another, are the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delta {
    promised: Ballot,
    promised_at: Slot,
    decided: Slot,
    incarnation: u64,
    log: Vec<(Slot, Option<Entry<Command>>)>,
    votes: Vec<(Slot, Option<Ballot>)>,
}

impl Delta {
    /// What makes `after` of `before`; none if they differ in what this cannot say.
    pub(super) fn of(before: &Durable<Machine>, after: &Durable<Machine>) -> Option<Delta> {
        if changes_snapshots(before, after) {
            return None;
        }
        let Durable { promised, promised_at, decided, incarnation, .. } = *after;
        let log = changes(&before.log, &after.log);
        let votes = changes(&before.accepted, &after.accepted);
        Some(Delta { promised, promised_at, decided, incarnation, log, votes })
    }

    /// Makes it of `value`.
    pub(super) fn apply(self, value: &mut Durable<Machine>) {
        let Delta { promised, promised_at, decided, incarnation, log, votes } = self;
        (value.promised, value.promised_at, value.decided, value.incarnation) =
            (promised, promised_at, decided, incarnation);
        change(&mut value.log, log);
        change(&mut value.accepted, votes);
    }

    /// Whether it brings something into the log.
    pub(super) fn brings_entries(&self) -> bool {
        self.log.iter().any(|(_, entry)| entry.is_some())
    }

    /// As a record.
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("every saved value has a form in bytes")
    }

    /// Of a record. An error says what is wrong with it.
    pub(super) fn decode(record: &[u8]) -> Result<Delta, String> {
        match postcard::take_from_bytes(record) {
            Ok((delta, [])) => Ok(delta),
            Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
            Err(error) => Err(format!("cannot be decoded: {error}")),
        }
    }
}

/// Whether they have different snapshots, or different parts of another that arrives.
pub(super) fn changes_snapshots(before: &Durable<Machine>, after: &Durable<Machine>) -> bool {
    let arriving = |value: &Durable<Machine>| {
        value.arriving.as_ref().map(|arriving| (arriving.executor.applied, arriving.after.clone()))
    };
    before.snapshot.applied != after.snapshot.applied || arriving(before) != arriving(after)
}

/// What was added or replaced, and what was removed.
fn changes<V: Clone + PartialEq>(before: &OrdMap<Slot, V>, after: &OrdMap<Slot, V>) -> Vec<(Slot, Option<V>)> {
    let told = |change| match change {
        DiffItem::Add(slot, value) | DiffItem::Update { new: (slot, value), .. } => (*slot, Some(Clone::clone(value))),
        DiffItem::Remove(slot, _) => (*slot, None),
    };
    before.diff(after).map(told).collect()
}

fn change<V: Clone>(values: &mut OrdMap<Slot, V>, changes: Vec<(Slot, Option<V>)>) {
    for (slot, value) in changes {
        match value {
            Some(value) => drop(values.insert(slot, value)),
            None => drop(values.remove(&slot)),
        }
    }
}
