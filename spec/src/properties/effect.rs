//! What of a step bears on the record: most steps of a scope come to a few effects, so what a record makes of each is worked
//! out a few times only.

use super::audit::{Audit, Tagged};
use super::party::{Msg, Stored};
use super::step::Seen;
use super::transition::stored_or_empty;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Entry, Message};
use paxos_model::replica::{State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// All that the record is told of a step: who judges by the record sees nothing else of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// Who took the step.
    pub node: Id,
    /// The votes that were cast: slot, ballot, and the entry in the log.
    pub votes: Vec<(Slot, Ballot, Option<Entry<Tagged>>)>,
    /// The slots that were decided, or begin to count after a restart, with what the log holds.
    pub decided: Vec<(Slot, Option<Entry<Tagged>>)>,
    /// The applied state and that of the snapshot, each with its digest, where anything is applied and it is new.
    pub applied: Vec<(u64, Executor<Audit>)>,
    /// How often each tag was applied, where the applied state is new.
    pub counts: BTreeMap<u8, u8>,
    /// What was proposed, or proposed again: slot, ballot, entry.
    pub proposed: BTreeSet<(Slot, Ballot, Entry<Tagged>)>,
    /// The request that arrived: client, and its number for the attempt.
    pub asked: Option<(Id, u64)>,
    /// The step that answered clients.
    pub answering: Option<Box<Answering>>,
}

/// A whole step: what an answer should be depends on much.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answering {
    node: Id,
    input: Input<Msg, Timer>,
    before: State<Audit>,
    stored_before: Option<Stored>,
    after: State<Audit>,
    stored_after: Option<Stored>,
    sends: Vec<(Id, Msg)>,
}

impl Effect {
    /// The effect of a step.
    pub fn of(seen: &Seen<'_>) -> Self {
        let (stored_before, stored_after) = (stored_or_empty(seen.stored_before), stored_or_empty(seen.stored_after));
        let (before, after) = (seen.before, seen.after);
        let is_new = |(slot, ballot): &(&Slot, &Ballot)| stored_before.accepted.get(*slot) != Some(*ballot);
        let newly = stored_after.accepted.iter().filter(is_new);
        let from = if seen.is_restart() { 0 } else { before.durable.decided };
        let asked = match seen.delivered() {
            Some((client, Message::Request { number, .. })) => Some((client, *number)),
            _ => None,
        };
        let proposed = seen.sends.iter().filter_map(|(_, message)| match message {
            Message::Accept { ballot, slot, entry } => Some((*slot, *ballot, entry.clone())),
            _ => None,
        });
        // What was there before a step is on record since the step that led there; a restart is judged by all that comes of it.
        let is_other = |now: &Executor<Audit>, then: &Executor<Audit>| seen.is_restart() || now != then;
        let applies = is_other(&after.executor, &before.executor);
        let keeps = is_other(&after.durable.snapshot, &before.durable.snapshot);
        let answers = seen.sends.iter().any(|(_, message)| matches!(message, Message::Reply { .. }));
        Effect {
            node: seen.node,
            votes: newly.map(|(slot, ballot)| (*slot, *ballot, stored_after.log.get(slot).cloned())).collect(),
            decided: (from..after.durable.decided).map(|slot| (slot, after.durable.log.get(&slot).cloned())).collect(),
            applied: [(applies, &after.executor), (keeps, &after.durable.snapshot)]
                .into_iter()
                .filter(|(is_new, executor)| *is_new && executor.applied > 0)
                .map(|(_, executor)| (digest(executor), executor.clone()))
                .collect(),
            counts: if applies { after.executor.machine.counts.clone() } else { BTreeMap::new() },
            proposed: proposed.collect(),
            asked,
            answering: answers.then(|| Box::new(Answering::new(seen))),
        }
    }

    /// Whether no record has anything to say about it. What a record breaks by itself was told of the step that wrote it down.
    pub fn is_nothing(&self) -> bool {
        let Effect { node: _, votes, decided, applied, counts, proposed, asked, answering } = self;
        let voted = !votes.is_empty() || !proposed.is_empty() || !decided.is_empty();
        !voted && applied.is_empty() && counts.is_empty() && asked.is_none() && answering.is_none()
    }
}

impl Answering {
    fn new(seen: &Seen<'_>) -> Self {
        Answering {
            node: seen.node,
            input: seen.input.clone(),
            before: seen.before.clone(),
            stored_before: seen.stored_before.clone(),
            after: seen.after.clone(),
            stored_after: seen.stored_after.clone(),
            sends: seen.sends.to_vec(),
        }
    }

    /// As rules see a step.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            node: self.node,
            input: &self.input,
            before: &self.before,
            stored_before: &self.stored_before,
            after: &self.after,
            stored_after: &self.stored_after,
            sends: &self.sends,
        }
    }
}

/// A hash that is the same in every process.
pub(crate) fn digest(item: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    hasher.finish()
}
