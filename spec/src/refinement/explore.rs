//! Every state of the abstract protocol within bounds.

#![allow(clippy::disallowed_types, reason = "the order of a set of states is not looked at")]

use super::invariant::clauses;
use super::protocol::{Action, Domain, Protocol};
use paxos_model::replica::ballot::Ballot;
use stateright::actor::Id;
use std::collections::{HashSet, VecDeque};

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
    fn domain(&self) -> Domain {
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

    /// Visits every state. There is no other bound.
    pub fn exhaust(&self) -> Found {
        let domain = self.domain();
        let (actions, clauses) = (self.actions(&domain), clauses::<u8>());
        let start = Protocol::default();
        let mut known = HashSet::from([start.clone()]);
        let mut queue = VecDeque::from([start]);
        let mut broken = None;
        while let Some(state) = queue.pop_front() {
            broken =
                broken.or_else(|| clauses.iter().find(|(_, holds)| !holds(&state, &domain)).map(|(name, _)| *name));
            for action in &actions {
                let mut next = state.clone();
                if next.take(&domain, action).is_ok() && next != state && known.insert(next.clone()) {
                    queue.push_back(next);
                }
            }
        }
        Found { states: known.len(), broken }
    }
}
