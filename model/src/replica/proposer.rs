//! Phase 1: one `Prepare` covers every open slot, and its promises tell which values a new leader must take.
//!
//! *Paxos Made Simple*, section 2.2, P2c: for a slot in which somebody of a quorum voted, the value of the highest ballot
//! voted in; for one in which nobody did, any value: a no-op if something later is taken, so that nothing waits.

use super::ballot::{Ballot, Slot};
use super::message::{Entry, Message, Vote};
use super::{Handler, Role};
use crate::machine::{StateMachine, Value};
use crate::mark::Mark;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};

/// A candidacy: what the promises of one ballot have reported so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub struct Proposer<C: Value> {
    /// The ballot to be promised.
    pub ballot: Ballot,
    /// Who promised it.
    pub promised: BTreeSet<Id>,
    /// For every slot the reported vote of the highest ballot.
    pub votes: BTreeMap<Slot, (Ballot, Entry<C>)>,
    /// Somebody reported nothing below this slot, since all of it is decided.
    pub first: Slot,
    /// Who that was.
    pub source: Id,
}

impl<C: Value> Proposer<C> {
    /// A candidacy with the candidate's own promise.
    pub fn new(ballot: Ballot, node: Id, decided: Slot, votes: Vec<Vote<C>>) -> Self {
        let mut this = Proposer { ballot, promised: BTreeSet::new(), votes: BTreeMap::new(), first: 0, source: node };
        this.take(node, decided, votes);
        this
    }

    fn take(&mut self, src: Id, first: Slot, votes: Vec<Vote<C>>) {
        self.promised.insert(src);
        if first > self.first {
            self.first = first;
            self.source = src;
        }
        for Vote { slot, ballot, entry } in votes {
            match self.votes.get(&slot) {
                Some((known, _)) if *known >= ballot => {
                    if *known > ballot {
                        Mark::PromiseLowerVote.hit();
                    }
                    continue;
                }
                Some(_) => Mark::PromiseHigherVote.hit(),
                None => {}
            }
            self.votes.insert(slot, (ballot, entry));
        }
    }
}

impl<S: StateMachine> Handler<'_, '_, S> {
    pub(super) fn send_prepares(&mut self) {
        if let Role::Preparing(proposer) = &self.state.role {
            let message = Message::Prepare { ballot: proposer.ballot };
            self.send_to_other_voters(message);
        }
    }

    /// Counts a promise, once. One with a vote beyond the horizon is not counted: if its sender is that far ahead, what was
    /// decided comes first, and the promise again after it.
    pub(super) fn on_promise(&mut self, src: Id, ballot: Ballot, first: Slot, votes: Vec<Vote<S::Command>>) {
        match &self.state.role {
            Role::Preparing(proposer) if proposer.ballot == ballot && !proposer.promised.contains(&src) => {}
            _ => {
                Mark::PromiseOutdated.hit();
                return;
            }
        }
        let decided = self.state.durable.decided;
        if !votes.iter().all(|vote| self.is_near(vote.slot)) {
            Mark::PromiseBeyondHorizon.hit();
            if first > decided {
                self.fetch(src);
            }
            return;
        }
        if let Role::Preparing(proposer) = &mut self.state.to_mut().role {
            proposer.take(src, first, votes);
        }
        self.lead_if_promised();
    }

    /// Leads once a quorum promised, in every configuration of the open slots, and all that they left out is known here.
    pub(super) fn lead_if_promised(&mut self) {
        let Role::Preparing(proposer) = &self.state.role else {
            return;
        };
        if !self.replica.configurations.is_quorum_over(self.open_slots(), &proposer.promised) {
            return;
        }
        let decided = self.state.durable.decided;
        if proposer.first > decided {
            Mark::CandidateBehind.hit();
            let source = proposer.source;
            self.fetch(source);
            return;
        }
        let (ballot, mut votes) = (proposer.ballot, proposer.votes.clone());
        let end = votes.keys().next_back().map_or(decided, |last| (last + 1).max(decided));
        self.lead(ballot, decided);
        for slot in decided..end {
            let entry = match votes.remove(&slot) {
                Some((_, entry)) => {
                    Mark::ValueRecovered.hit();
                    entry
                }
                None => {
                    Mark::HoleFilled.hit();
                    Entry::Noop
                }
            };
            self.propose(entry);
        }
        self.send_heartbeats();
        self.arm_flush_if_waiting();
    }
}
