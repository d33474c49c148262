//! What the nodes of a cluster came to together: every vote that became durable, what was chosen by it, what left for whom.

use super::verdicts::Broken;
use crate::properties::judge::Rule;
use imbl::ordmap::DiffItem;
use paxos_model::kv::{Command, Kv};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{self, Act, Message, MessageOf, Operation, Request};
use paxos_model::trace::line::Digest;
use rustc_hash::FxHashSet;
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};

/// The history so far.
pub(super) struct History {
    configuration: Configuration,
    /// Messages that left: from whom, for whom, what.
    sent: FxHashSet<(Id, Id, Digest)>,
    /// Durable votes for values that are not known to be chosen.
    votes: BTreeMap<(Slot, Ballot), BTreeMap<Digest, BTreeSet<Id>>>,
    /// What a quorum voted for, and in which ballots anybody did.
    chosen: BTreeMap<Slot, BTreeMap<Digest, BTreeSet<Ballot>>>,
    /// What nodes took for decided, where votes may be unseen.
    decided: BTreeMap<Slot, Digest>,
    /// What was applied, where a snapshot was taken of it.
    snapshots: BTreeMap<Slot, Digest>,
    /// What clients asked for.
    asked: FxHashSet<Digest>,
    /// Votes in slots below this may have been cast before the traces begin.
    pub(super) unseen_below: Slot,
    /// The members of which all that they did is in the traces, from the beginning.
    pub(super) whole: BTreeSet<Id>,
}

impl History {
    pub(super) fn new(configuration: Configuration) -> Self {
        History {
            whole: configuration.members.keys().copied().collect(),
            configuration,
            sent: FxHashSet::default(),
            votes: BTreeMap::new(),
            chosen: BTreeMap::new(),
            decided: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            asked: FxHashSet::default(),
            unseen_below: 0,
        }
    }

    /// How many slots are chosen.
    pub(super) fn chosen(&self) -> usize {
        self.chosen.len()
    }

    /// A message left.
    pub(super) fn send(&mut self, src: Id, dst: Id, message: Digest) {
        self.sent.insert((src, dst, message));
    }

    /// Whether a message left: from whom, for whom, what.
    pub(super) fn was_sent(&self, message: (Id, Id, Digest)) -> bool {
        self.sent.contains(&message)
    }

    /// Whether all that the members did is in the traces.
    pub(super) fn is_complete(&self) -> bool {
        self.configuration.members.keys().all(|node| self.whole.contains(node))
    }

    /// Whether it is a voter's or a learner's message; clients' come from outside.
    pub(super) fn is_member(&self, node: Id) -> bool {
        self.configuration.members.contains_key(&node)
    }

    /// A client asks.
    pub(super) fn ask(&mut self, message: &MessageOf<Kv>) {
        if let Message::Request { request: Request::Write { act, .. }, .. } = message {
            self.asked.insert(Digest::of(act));
        }
    }

    /// What a node saved became durable.
    pub(super) fn stored(&mut self, node: Id, before: &Durable<Kv>, after: &Durable<Kv>, broken: &mut Broken) {
        // Of what is the same in both nothing is looked at.
        for item in before.accepted.diff(&after.accepted) {
            let (slot, ballot) = match item {
                DiffItem::Add(slot, ballot) | DiffItem::Update { new: (slot, ballot), .. } => (*slot, *ballot),
                DiffItem::Remove(..) => continue,
            };
            if let Some(entry) = after.log.get(&slot) {
                self.vote(node, slot, ballot, Digest::of(entry), broken);
            }
        }
        if after.snapshot.applied != before.snapshot.applied {
            let (applied, digest) = (after.snapshot.applied, Digest::of(&after.snapshot));
            if *self.snapshots.entry(applied).or_insert(digest) != digest {
                broken.add(Rule::Prefix, format!("{applied} slots gave another state on another replica"));
            }
        }
    }

    fn vote(&mut self, node: Id, slot: Slot, ballot: Ballot, value: Digest, broken: &mut Broken) {
        let majority = self.configuration.voters().count() / 2 + 1;
        let chosen = self.chosen.entry(slot).or_default();
        let values = self.votes.entry((slot, ballot)).or_default();
        let in_ballot = chosen.iter().filter(|(_, ballots)| ballots.contains(&ballot)).map(|(value, _)| value);
        if values.keys().chain(in_ballot).any(|other| *other != value) {
            broken.add(Rule::OneValueABallot, format!("slot {slot}, ballot {ballot}: {value:?} is a second value"));
        }
        if let Some(ballots) = chosen.get_mut(&value) {
            ballots.insert(ballot);
        } else {
            let voters = values.entry(value).or_default();
            voters.insert(node);
            if voters.iter().filter(|node| self.configuration.is_voter(**node)).count() >= majority {
                let others = self.votes.range((slot, Ballot::default())..).take_while(|((s, _), _)| *s == slot);
                let ballots = others.filter(|(_, values)| values.contains_key(&value)).map(|((_, ballot), _)| *ballot);
                chosen.insert(value, ballots.collect());
                if self.decided.get(&slot).is_some_and(|decided| *decided != value) {
                    let why = format!("in slot {slot} {value:?} is chosen, and something else was decided");
                    broken.add(Rule::DecidedIsChosen, why);
                }
            }
        }
        if chosen.len() > 1 {
            broken.add(Rule::Agreement, format!("in slot {slot} two values are chosen: {chosen:?}"));
        }
        // Votes for what is chosen tell nothing new.
        for (_, values) in self.votes.range_mut((slot, Ballot::default())..).take_while(|((s, _), _)| *s == slot) {
            values.retain(|value, _| !chosen.contains_key(value));
        }
        if chosen.is_empty() {
            self.chosen.remove(&slot);
        }
        let of_slot = self.votes.range((slot, Ballot::default())..).take_while(|((s, _), _)| *s == slot);
        let told: Vec<_> = of_slot.filter(|(_, values)| values.is_empty()).map(|(place, _)| *place).collect();
        for place in told {
            self.votes.remove(&place);
        }
    }

    /// A file begins with these decisions, of which something may be unseen.
    pub(super) fn decided_before(&mut self, durable: &Durable<Kv>, broken: &mut Broken) {
        for (slot, entry) in durable.log.range(..durable.decided.min(self.unseen_below)) {
            self.decide(*slot, Some(entry), broken);
        }
    }

    /// A node takes a slot for decided, with this entry, if it has one.
    pub(super) fn decide(&mut self, slot: Slot, entry: Option<&message::Entry<Command>>, broken: &mut Broken) {
        if slot < self.unseen_below {
            // Of what is chosen something may be unseen, but not that something else is, or was decided.
            let Some(entry) = entry else { return };
            let value = Digest::of(entry);
            let is_other = self.chosen.get(&slot).is_some_and(|values| !values.contains_key(&value));
            if is_other || *self.decided.entry(slot).or_insert(value) != value {
                let why = format!("decides {entry:?} in slot {slot}, where another is chosen or decided");
                broken.add(Rule::DecidedIsChosen, why);
            }
            return;
        }
        let Some(entry) = entry else {
            if !self.chosen.contains_key(&slot) {
                broken.add(Rule::DecidedIsChosen, format!("passes over slot {slot}, where nothing is chosen"));
            }
            return;
        };
        if !self.chosen.get(&slot).is_some_and(|values| values.contains_key(&Digest::of(entry))) {
            broken.add(Rule::DecidedIsChosen, format!("decides {entry:?} in slot {slot}, which no quorum voted for"));
        }
        let unasked = |operation: &&Operation<_>| match operation {
            Operation::Open { node, .. } => !self.is_member(*node),
            Operation::InSession { act, .. } => self.is_unasked(act),
        };
        if let Some(operation) = entry.operations().iter().find(|operation| self.is_complete() && unasked(operation)) {
            broken.add(Rule::Validity, format!("slot {slot} holds {operation:?}, which nobody asked for"));
        }
    }

    fn is_unasked(&self, act: &Act<Command>) -> bool {
        !self.asked.contains(&Digest::of(act))
    }
}
