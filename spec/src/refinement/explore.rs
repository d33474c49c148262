//! Every state of the abstract protocol within bounds.

#![allow(clippy::disallowed_types, reason = "the order of a set of states is not looked at")]

use super::invariant::{Clause, clauses};
use super::protocol::{Action, Domain, Protocol};
use paxos_model::replica::ballot::Ballot;
use stateright::actor::Id;
use std::collections::HashSet;

/// How large the abstract protocol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Acceptors, which decide by majority.
    pub nodes: usize,
    /// Ballots; who leads in one does not matter to what may happen in it.
    pub ballots: u64,
    /// Slots.
    pub slots: u64,
    /// Values.
    pub values: u8,
    /// Whether anything is decided, and stored; else there are phases 1 and 2 alone.
    pub decides: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Distinct states.
    pub states: usize,
    /// The first clause of the invariant that does not hold in one of them.
    pub broken: Option<&'static str>,
}

impl Bounds {
    /// What never changes.
    pub fn domain(&self) -> Domain {
        let ballots = (1..=self.ballots).map(|round| Ballot { round, node: Id::from(0) }).collect();
        Domain::of_majorities(self.nodes, ballots, 0..self.slots)
    }

    /// Everything that might happen in some state.
    fn actions(&self, domain: &Domain) -> Vec<Action<u8>> {
        let nodes = || (0..self.nodes).map(Id::from);
        let mut all = Vec::new();
        for slot in domain.slots.clone() {
            for value in 0..self.values {
                for ballot in domain.ballots.iter().copied() {
                    all.push(Action::Propose { ballot, slot, value });
                    all.extend(nodes().map(|node| Action::CastVote { node, ballot, slot, value }));
                    if self.decides {
                        all.push(Action::Decide { ballot, slot, value });
                        all.push(Action::Mark { ballot, slot, value });
                        all.extend(nodes().map(|node| Action::DecideMarked { node, ballot, slot, value }));
                    }
                }
                if self.decides {
                    all.extend(nodes().map(|node| Action::Store { node, slot, value }));
                }
            }
        }
        let promises =
            |ballot: &Ballot| nodes().map(|node| Action::Promise { node, ballot: *ballot }).collect::<Vec<_>>();
        all.extend(domain.ballots.iter().flat_map(promises));
        all
    }

    /// Every state that at most so many steps lead to.
    pub fn within(&self, steps: usize) -> HashSet<Protocol<u8>> {
        let domain = self.domain();
        let actions = self.actions(&domain);
        let mut known = HashSet::from([Protocol::default()]);
        let mut last: Vec<Protocol<u8>> = known.iter().cloned().collect();
        for _ in 0..steps {
            let mut reached = Vec::new();
            for (state, action) in last.iter().flat_map(|state| actions.iter().map(move |action| (state, action))) {
                let mut next = state.clone();
                if next.take(&domain, action).is_ok() && next != *state && known.insert(next.clone()) {
                    reached.push(next);
                }
            }
            if reached.is_empty() {
                break;
            }
            last = reached;
        }
        known
    }

    /// Visits every state. There is no other bound.
    pub fn exhaust(&self) -> Found {
        let (domain, states) = (self.domain(), self.within(usize::MAX));
        let is_broken = |holds: &Clause<u8>| states.iter().any(|state| !holds(state, &domain));
        let broken = clauses::<u8>().into_iter().find(|(_, holds)| is_broken(holds)).map(|(name, _)| name);
        Found { states: states.len(), broken }
    }
}
