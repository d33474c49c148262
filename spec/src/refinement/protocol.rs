//! The state of `MultiPaxos.tla` and what may happen in it, guard by guard.

use paxos_model::replica::ballot::{Ballot, Slot};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A vote: the ballot, and the value.
pub type Vote<V> = (Ballot, V);

/// What never changes.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The smallest sets of nodes that decide together.
    pub quorums: Vec<BTreeSet<Id>>,
    /// The ballots that the invariant speaks of.
    pub ballots: Vec<Ballot>,
    /// The slots that are looked at.
    pub slots: Range<Slot>,
}

impl Domain {
    /// Of so many nodes that decide by majority.
    pub fn of_majorities(nodes: usize, ballots: Vec<Ballot>, slots: Range<Slot>) -> Self {
        let sets = (0u32..1 << nodes).filter(|set| set.count_ones() as usize == nodes / 2 + 1);
        let members = |set: u32| (0..nodes).filter(|node| set & 1 << node != 0).map(Id::from).collect();
        Domain { quorums: sets.map(members).collect(), ballots, slots }
    }
}

/// What acceptors have stored, and every message that was ever sent. The names are those of the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol<V: Ord> {
    /// The highest ballot that a node promised or voted in; the default before.
    pub promised: BTreeMap<Id, Ballot>,
    /// A node's latest vote for a slot that it has not stored as decided.
    pub accepted: BTreeMap<(Id, Slot), Vote<V>>,
    /// What is below is stored as decided by all, and is not looked at.
    pub first: Slot,
    /// What a node has stored as decided in the slots from `first` on.
    pub log: BTreeMap<Id, Vec<V>>,
    /// For every slot that the promise of a node speaks of, the vote there.
    pub reports: BTreeMap<(Id, Ballot, Slot), Option<Vote<V>>>,
    /// What the leader of a ballot proposed.
    pub proposals: BTreeSet<(Ballot, Slot, V)>,
    /// Who voted for it.
    pub votes: BTreeSet<(Ballot, Slot, V, Id)>,
    /// The leader of a ballot says that every slot below is decided.
    pub marks: BTreeMap<Ballot, Slot>,
    /// What some replica took for decided.
    pub decided: BTreeSet<(Slot, V)>,
}

/// What may happen.
#[allow(missing_docs, reason = "the fields are the parameters that the actions have in the module")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<V> {
    /// Phase 1b.
    Promise { node: Id, ballot: Ballot },
    /// Phase 2a.
    Propose { ballot: Ballot, slot: Slot, value: V },
    /// Phase 2b.
    CastVote { node: Id, ballot: Ballot, slot: Slot, value: V },
    /// A leader decides what a quorum voted for.
    Decide { ballot: Ballot, slot: Slot, value: V },
    /// A leader says that one slot more is decided.
    Mark { ballot: Ballot, slot: Slot, value: V },
    /// A node takes its vote for decided, since the leader says that the slot is.
    DecideMarked { node: Id, ballot: Ballot, slot: Slot, value: V },
    /// A node stores that one slot more is decided.
    Store { node: Id, slot: Slot, value: V },
}

impl<V: Clone + Ord> Default for Protocol<V> {
    fn default() -> Self {
        Protocol {
            first: 0,
            promised: BTreeMap::new(),
            accepted: BTreeMap::new(),
            log: BTreeMap::new(),
            reports: BTreeMap::new(),
            proposals: BTreeSet::new(),
            votes: BTreeSet::new(),
            marks: BTreeMap::new(),
            decided: BTreeSet::new(),
        }
    }
}

/// An error that says which guard does not hold.
fn guard(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl<V: Ord> Protocol<V> {
    /// The same with other values.
    pub fn map<W: Ord>(self, of: impl Fn(V) -> W) -> Protocol<W> {
        let vote = |(ballot, value): Vote<V>| (ballot, of(value));
        Protocol {
            promised: self.promised,
            accepted: self.accepted.into_iter().map(|(place, accepted)| (place, vote(accepted))).collect(),
            first: self.first,
            log: self.log.into_iter().map(|(node, log)| (node, log.into_iter().map(&of).collect())).collect(),
            reports: self.reports.into_iter().map(|(place, reported)| (place, reported.map(vote))).collect(),
            proposals: self.proposals.into_iter().map(|(ballot, slot, value)| (ballot, slot, of(value))).collect(),
            votes: self.votes.into_iter().map(|(ballot, slot, value, node)| (ballot, slot, of(value), node)).collect(),
            marks: self.marks,
            decided: self.decided.into_iter().map(|(slot, value)| (slot, of(value))).collect(),
        }
    }
}

impl<V: Clone + Ord> Protocol<V> {
    /// What a node promised.
    pub fn promised(&self, node: Id) -> Ballot {
        self.promised.get(&node).copied().unwrap_or_default()
    }

    /// How many slots a node has stored as decided.
    pub fn stored(&self, node: Id) -> Slot {
        self.first + self.log.get(&node).map_or(0, |log| log.len() as Slot)
    }

    /// How far a leader said that slots are decided.
    pub fn marked(&self, ballot: Ballot) -> Slot {
        self.marks.get(&ballot).copied().unwrap_or(self.first)
    }

    /// What was proposed in a slot of a ballot.
    pub fn proposed(&self, ballot: Ballot, slot: Slot) -> impl Iterator<Item = &V> {
        self.proposals.iter().filter(move |(b, s, _)| (*b, *s) == (ballot, slot)).map(|(.., value)| value)
    }

    /// Whether a node voted so.
    pub fn voted(&self, node: Id, ballot: Ballot, slot: Slot, value: &V) -> bool {
        self.votes.contains(&(ballot, slot, value.clone(), node))
    }

    /// Whether a quorum voted so in one ballot.
    pub fn is_chosen_in(&self, domain: &Domain, ballot: Ballot, slot: Slot, value: &V) -> bool {
        domain.quorums.iter().any(|quorum| quorum.iter().all(|node| self.voted(*node, ballot, slot, value)))
    }

    /// Carries an action out. An error says which of its guards does not hold; then nothing has changed.
    pub fn take(&mut self, domain: &Domain, action: &Action<V>) -> Result<(), &'static str> {
        match action {
            Action::Promise { node, ballot } => {
                guard(*ballot > self.promised(*node), "the promise is above what is promised")?;
                self.promised.insert(*node, *ballot);
                let stored = self.stored(*node);
                for slot in domain.slots.clone().filter(|slot| *slot >= stored) {
                    let vote = self.accepted.get(&(*node, slot)).cloned();
                    self.reports.insert((*node, *ballot, slot), vote);
                }
            }
            Action::Propose { ballot, slot, value } => {
                guard(self.proposed(*ballot, *slot).next().is_none(), "nothing is proposed there in the ballot")?;
                guard(*slot >= self.marked(*ballot), "its leader has not said that the slot is decided")?;
                let heard = |quorum: &&BTreeSet<Id>| self.speaks(quorum, *ballot, *slot);
                guard(domain.quorums.iter().any(|quorum| heard(&quorum)), "a quorum promised, and speaks of the slot")?;
                let heeded =
                    domain.quorums.iter().filter(heard).any(|quorum| self.heeds(quorum, (*ballot, *slot), value));
                guard(heeded, "it is what is reported in the highest ballot")?;
                self.proposals.insert((*ballot, *slot, value.clone()));
            }
            Action::CastVote { node, ballot, slot, value } => {
                guard(*ballot >= self.promised(*node), "nothing higher is promised")?;
                guard(*slot >= self.stored(*node), "the slot is not stored as decided")?;
                guard(self.proposals.contains(&(*ballot, *slot, value.clone())), "it is proposed")?;
                self.promised.insert(*node, *ballot);
                self.accepted.insert((*node, *slot), (*ballot, value.clone()));
                self.votes.insert((*ballot, *slot, value.clone(), *node));
            }
            Action::Decide { ballot, slot, value } => {
                guard(self.is_chosen_in(domain, *ballot, *slot, value), "a quorum voted for it in the ballot")?;
                self.decided.insert((*slot, value.clone()));
            }
            Action::Mark { ballot, slot, value } => {
                guard(*slot == self.marked(*ballot), "every slot before is said to be decided")?;
                guard(self.decided.contains(&(*slot, value.clone())), "it is decided")?;
                let own = self.proposed(*ballot, *slot).all(|own| own == value);
                guard(own, "it is what the leader proposed, if it did")?;
                self.marks.insert(*ballot, slot + 1);
            }
            Action::DecideMarked { node, ballot, slot, value } => {
                guard(*slot < self.marked(*ballot), "the leader of the ballot says that the slot is decided")?;
                let vote = self.accepted.get(&(*node, *slot));
                guard(vote == Some(&(*ballot, value.clone())), "the vote there is one in that ballot")?;
                self.decided.insert((*slot, value.clone()));
            }
            Action::Store { node, slot, value } => {
                guard(*slot == self.stored(*node), "every slot before is stored")?;
                guard(self.decided.contains(&(*slot, value.clone())), "it is decided")?;
                self.log.entry(*node).or_default().push(value.clone());
                self.accepted.remove(&(*node, *slot));
            }
        }
        Ok(())
    }

    /// Whether all of a quorum have promised a ballot and speak of a slot.
    fn speaks(&self, quorum: &BTreeSet<Id>, ballot: Ballot, slot: Slot) -> bool {
        quorum.iter().all(|node| self.reports.contains_key(&(*node, ballot, slot)))
    }

    /// Whether a value is reported in as high a ballot as any that the quorum reports, or the quorum reports none.
    fn heeds(&self, quorum: &BTreeSet<Id>, (ballot, slot): (Ballot, Slot), value: &V) -> bool {
        let reported = self.reports.iter().filter(|((_, b, s), _)| (*b, *s) == (ballot, slot));
        let reported = reported.filter_map(|((node, ..), vote)| Some((node, vote.as_ref()?)));
        let highest = reported.clone().filter(|(node, _)| quorum.contains(node)).map(|(_, vote)| vote.0).max();
        highest.is_none_or(|highest| reported.clone().any(|(_, (top, val))| *top >= highest && val == value))
    }
}
