//! The ghost record: what an omniscient observer writes down and no replica can see.

use super::audit::Tagged;
use super::refines;
use super::sequential::{Op, Ret, Store};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::Entry;
use stateright::actor::Id;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use std::collections::{BTreeMap, BTreeSet};

/// Who voted for what, in a slot and a ballot.
pub type Votes = BTreeMap<(Slot, Ballot), BTreeMap<Entry<Tagged>, BTreeSet<Id>>>;

/// How far an operation of a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Attempts that reached a node and were not refused.
    pub open: BTreeSet<u64>,
    /// Attempts that were refused, or are answered together with a later one at the same node.
    pub refused: BTreeSet<u64>,
    /// Whether an attempt has reached a node.
    pub invoked: bool,
    /// Whether it has returned to the history.
    pub returned: bool,
    /// What it was told when it was done.
    pub done: Option<Ret>,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Every vote ever cast, for values not known to be chosen.
    pub votes: Votes,
    /// Every proposal ever made, by slot and ballot, of values not known to be chosen.
    pub proposals: BTreeSet<(Slot, Ballot, Entry<Tagged>)>,
    /// The values chosen in each slot.
    pub chosen: BTreeMap<Slot, BTreeSet<Entry<Tagged>>>,
    /// A digest of the applied state after the first so many slots.
    pub applied: BTreeMap<Slot, u64>,
    /// What clients asked and were told, as far as it bears on linearizability.
    pub history: LinearizabilityTester<u8, Store>,
    /// The operations of clients: client, item of its script.
    pub operations: BTreeMap<(Id, usize), Progress>,
    /// Tags of commands that were refused.
    pub refused: BTreeSet<u8>,
    /// Tags of commands that were applied anywhere.
    pub performed: BTreeSet<u8>,
    /// The latest prefix that each node showed in a local read.
    pub shown: BTreeMap<Id, Slot>,
    /// Whether votes for a chosen value, and proposals of it, are forgotten.
    pub collapse: bool,
}

impl Record {
    /// Nothing has happened.
    pub fn new(collapse: bool) -> Self {
        Record {
            votes: BTreeMap::new(),
            proposals: BTreeSet::new(),
            chosen: BTreeMap::new(),
            applied: BTreeMap::new(),
            history: LinearizabilityTester::new(Store::default()),
            operations: BTreeMap::new(),
            refused: BTreeSet::new(),
            performed: BTreeSet::new(),
            shown: BTreeMap::new(),
            collapse,
        }
    }

    /// Writes down a vote. False if a vote for another value is on record in the same ballot.
    ///
    /// Once a value is chosen, votes for it are forgotten (if `collapse`), and the ballots in which they were cast with them: `agreement`
    /// asks only whether *another* value has a quorum too, and a further quorum for the same value tells nothing new. Votes for other
    /// values are all kept, whatever their ballot: nothing is assumed of them.
    pub fn vote(
        &mut self,
        node: Id,
        slot: Slot,
        ballot: Ballot,
        entry: &Entry<Tagged>,
        configuration: &Configuration,
    ) -> bool {
        let known = self.chosen.get(&slot).is_some_and(|values| values.contains(entry));
        let values = self.votes.entry((slot, ballot)).or_default();
        let alone = values.keys().all(|other| other == entry);
        if !(known && self.collapse) {
            let voters = values.entry(entry.clone()).or_default();
            voters.insert(node);
            // Not counted as a replica counts, who might be wrong.
            if refines::quorums(configuration).iter().any(|quorum| quorum.is_subset(voters)) {
                self.chosen.entry(slot).or_default().insert(entry.clone());
            }
        }
        if self.collapse {
            self.forget_chosen(slot);
        }
        self.votes.retain(|_, values| !values.is_empty());
        alone
    }

    /// Writes down a proposal, unless its value is known to be chosen (if `collapse`).
    pub fn propose(&mut self, slot: Slot, ballot: Ballot, entry: &Entry<Tagged>) {
        let known = self.chosen.get(&slot).is_some_and(|values| values.contains(entry));
        if !(known && self.collapse) {
            self.proposals.insert((slot, ballot, entry.clone()));
        }
    }

    fn forget_chosen(&mut self, slot: Slot) {
        let Some(chosen) = self.chosen.get(&slot) else { return };
        for ((_, _), values) in self.votes.range_mut((slot, Ballot::default())..).take_while(|((s, _), _)| *s == slot) {
            values.retain(|entry, _| !chosen.contains(entry));
        }
        self.proposals.retain(|(other, _, entry)| *other != slot || !chosen.contains(entry));
    }

    /// What is decided in a slot, as far as votes tell.
    pub fn decided(&self, slot: Slot) -> Option<&Entry<Tagged>> {
        self.chosen.get(&slot)?.first()
    }

    /// Whether two values are chosen in one slot.
    pub fn disagrees(&self) -> bool {
        self.chosen.values().any(|values| values.len() > 1)
    }

    /// Writes down that an attempt at an operation reached a node: from then on it may take effect.
    pub fn invoke(&mut self, client: Id, item: usize, attempt: u64, op: Option<Op>) {
        let progress = self.operations.entry((client, item)).or_default();
        let first = !progress.invoked;
        progress.invoked = true;
        progress.open.insert(attempt);
        if first && let Some(op) = op {
            // An error marks the history as invalid, which `is_consistent` reports.
            let _ = self.history.on_invoke(thread(client), op);
        }
    }

    /// Writes down what a client was told. Only the first return of an operation counts.
    pub fn answer(&mut self, client: Id, item: usize, ret: Ret, in_history: bool) {
        let progress = self.operations.entry((client, item)).or_default();
        if !progress.returned {
            progress.returned = true;
            progress.done = Some(ret.clone());
            if in_history {
                let _ = self.history.on_return(thread(client), ret);
            }
        }
    }

    /// Whether some order of the operations explains all that clients were told.
    pub fn is_linearizable(&self) -> bool {
        self.history.is_consistent()
    }
}

fn thread(client: Id) -> u8 {
    u8::try_from(usize::from(client)).expect("a scope has few clients")
}
