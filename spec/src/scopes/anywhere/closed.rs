//! That what is enumerated is closed: as far as the clauses speak of a state, a step leads to another that is enumerated, and sends what may come to
//! another replica, or leaves the bounds in one of the ways that are named here. So no sort of vote, promise, decision or proposal is left out
//! unseen. What no clause speaks of may be otherwise, and handlers look at it: see `work`.

use super::messages::messages;
use super::states::{Bounds, Local};
use crate::properties::audit::{Audit, Tagged};
use crate::properties::effect::digest;
use crate::properties::party::Msg;
use crate::properties::refines::end_of_message;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::durable::Durable;
use paxos_model::replica::leader::{Leader, Proposal};
use paxos_model::replica::message::{Entry, Message};
use paxos_model::replica::{Replica, Role, State};
use stateright::actor::{Actor, Id, Out};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Where the bounds end: one slot with decisions, and proposals and votes as far as [`Bounds`] says, and one more that is told of.
const SLOTS: Slot = 1;

/// What is enumerated of one node, by what of it the abstract protocol asks about.
pub(super) struct Closed<'a> {
    bounds: &'a Bounds,
    replica: &'a Replica<Audit>,
    node: Id,
    /// The state at a first start.
    begun: State<Audit>,
    states: BTreeSet<u64>,
    messages: BTreeSet<u64>,
}

impl<'a> Closed<'a> {
    pub(super) fn new(bounds: &'a Bounds, replica: &'a Replica<Audit>, node: Id, states: &[Local]) -> Self {
        let begun = replica.on_start(node, &None, &mut Out::new());
        let empty = Closed { bounds, replica, node, begun, states: BTreeSet::new(), messages: BTreeSet::new() };
        let states = states.iter().map(|(state, stored)| empty.state(state, stored)).collect();
        let messages = messages(bounds, node).iter().map(|message| digest(&plain(message))).collect();
        Closed { states, messages, ..empty }
    }

    /// Whether a state after a step is neither enumerated nor beyond the bounds, in words.
    pub(super) fn leaves_out(&self, state: &State<Audit>, stored: &Durable<Audit>) -> Option<String> {
        let is_there = self.is_beyond(state, stored) || self.states.contains(&self.state(state, stored));
        (!is_there).then(|| format!("{state:?}, with {stored:?} stored, is within the bounds, and not enumerated"))
    }

    /// Whether a message is neither among those that may come nor beyond the bounds, in words.
    pub(super) fn leaves_out_sent(&self, sends: &[(Id, Msg)]) -> Option<String> {
        let is_there = |message: &Msg| self.is_told_beyond(message) || self.messages.contains(&digest(&plain(message)));
        let (_, message) = sends.iter().find(|(_, message)| !is_there(message))?;
        Some(format!("{message:?} is within the bounds, and not among the messages that may come"))
    }

    /// A state without what no clause speaks of: what a replica applies, does for clients, fetches and serves, what it was outbid by, whom it heard,
    /// and what is to be proposed later. Of those heard it counts whether they are a quorum, with the replica itself.
    fn state(&self, state: &State<Audit>, stored: &Durable<Audit>) -> u64 {
        let mut role = state.role.clone();
        match &mut role {
            Role::Following | Role::Polling { .. } => {}
            Role::Preparing(proposer) => proposer.source = self.node,
            Role::Leading(leader) => {
                let hears = leader.heard_quorum(self.node, &self.replica.configurations);
                let proposals =
                    leader.proposals.iter().map(|(slot, proposal)| (*slot, Proposal { bytes: 0, ..proposal.clone() }));
                *leader = Leader {
                    ballot: leader.ballot,
                    next: leader.next,
                    proposals: proposals.collect(),
                    queue: VecDeque::new(),
                    known: BTreeSet::new(),
                    contacts: if hears {
                        self.replica.configurations.at(0).voters().collect()
                    } else {
                        BTreeSet::new()
                    },
                    round: 0,
                    acknowledged: Default::default(),
                    reads: Vec::new(),
                    rounds: Default::default(),
                };
            }
        }
        let durable = Arc::new(lasting(&state.durable));
        digest(&(State { durable, role, following: state.following, ..self.begun.clone() }, lasting(stored)))
    }

    /// Whether a state lies beyond the bounds: in another ballot, with another value, by a decision after the first slot or its own vote after those
    /// that it may have, or by its proposals after the one that follows on what is decided; or where who hears nobody has two of them.
    fn is_beyond(&self, state: &State<Audit>, stored: &Durable<Audit>) -> bool {
        let durables = [stored, &state.durable];
        let mut logged = durables.iter().flat_map(|durable| durable.log.iter());
        let votes = if matches!(state.role, Role::Leading(_)) { SLOTS } else { self.bounds.votes };
        let is_far = |leader: &Leader<Tagged>| {
            let unheard = !leader.heard_quorum(self.node, &self.replica.configurations);
            leader.proposals.len() > if unheard { 1 } else { 2 }
                || leader.proposals.values().any(|proposal| self.is_other(&proposal.entry))
                || leader.proposals.range(state.durable.decided + 1..).any(|(_, p)| p.votes.contains(&self.node))
        };
        durables.iter().any(|durable| self.is_another(durable.promised) || durable.decided > SLOTS)
            || logged.any(|(slot, entry)| *slot >= votes || self.is_other(entry))
            || matches!(&state.role, Role::Leading(leader) if is_far(leader))
    }

    fn is_told_beyond(&self, message: &Msg) -> bool {
        let beyond = end_of_message::<Audit>(message) > SLOTS + 1;
        beyond
            || match message {
                // What asks for no promise and no vote, and decides nothing.
                Message::Request { .. }
                | Message::Reply { .. }
                | Message::Forward { .. }
                | Message::ReadIndex { .. }
                | Message::ReadSlot { .. }
                | Message::Fetch { .. } => true,
                Message::PreVote { promised, .. } => self.is_another(*promised),
                // Whoever asked promised what this one heard of.
                Message::PreVoted { .. } => false,
                Message::Prepare { ballot }
                | Message::Accepted { ballot, .. }
                | Message::Heartbeat { ballot, .. }
                | Message::HeartbeatAck { ballot, .. } => self.is_another(*ballot),
                Message::Promise { ballot, votes, .. } => {
                    self.is_another(*ballot) || votes.iter().any(|vote| self.is_other(&vote.entry))
                }
                Message::Accept { ballot, entry, .. } => self.is_another(*ballot) || self.is_other(entry),
                Message::Decided { entries, .. } => entries.iter().any(|entry| self.is_other(entry)),
                Message::Part { .. } => false,
            }
    }

    fn is_another(&self, ballot: Ballot) -> bool {
        ballot != Ballot::default() && !self.bounds.ballots.contains(&ballot)
    }

    fn is_other(&self, entry: &Entry<Tagged>) -> bool {
        !self.bounds.values.contains(entry)
    }
}

/// What is stored of votes and decisions.
fn lasting(durable: &Durable<Audit>) -> Durable<Audit> {
    Durable {
        promised: durable.promised,
        promised_at: durable.promised_at,
        accepted: durable.accepted.clone(),
        log: durable.log.clone(),
        decided: durable.decided,
        ..Durable::default()
    }
}

/// A message without the number of a round of reads, and without the pieces of a snapshot.
fn plain(message: &Msg) -> Msg {
    match message.clone() {
        Message::Heartbeat { ballot, decided, .. } => Message::Heartbeat { ballot, decided, round: 0 },
        Message::HeartbeatAck { ballot, .. } => Message::HeartbeatAck { ballot, round: 0 },
        Message::Part { slot, last, .. } => Message::Part { slot, after: None, pieces: Vec::new(), last },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{NODES, locals};
    use super::super::take;
    use super::*;
    use paxos_model::replica::Options;
    use paxos_model::replica::configuration::Configuration;
    use paxos_model::trace::Input;

    /// What is not enumerated, though a step leads there or sends it within the bounds, is missed.
    #[test]
    fn what_is_left_out_is_missed() {
        let options = Options { snapshot_every: 0, pre_vote: false, ..Options::default() };
        let replica = Replica::<Audit>::new(Configuration::of_voters(NODES), options);
        let (node, bounds) = (Id::from(0), Bounds::of(&[(1, 0), (1, 1), (1, 2)]));
        let all = locals(&replica, &bounds, node);
        let (state, stored) = all.first().cloned().expect("it begins with nothing");
        let prepare = Message::Prepare { ballot: bounds.ballots[1] };
        let judged = |closed: &Closed<'_>| {
            let input = Input::Deliver { src: Id::from(1), msg: prepare.clone() };
            take(&replica, closed, node, (&state, &Some(Arc::new(stored.clone()))), &input)
        };
        let mut closed = Closed::new(&bounds, &replica, node, &all);
        assert_eq!(judged(&closed), Ok(true));
        closed.messages.clear();
        assert!(judged(&closed).is_err_and(|why| why.contains("not among the messages that may come")));
        let promised_nothing = |(state, _): &&Local| state.durable.promised == Ballot::default();
        let some: Vec<Local> = all.iter().filter(promised_nothing).cloned().collect();
        let closed = Closed::new(&bounds, &replica, node, &some);
        assert!(judged(&closed).is_err_and(|why| why.contains("not enumerated")));
        // What lies beyond the bounds is not: a later ballot.
        let one = Bounds { ballots: bounds.ballots[..1].to_vec(), ..bounds.clone() };
        let closed = Closed::new(&one, &replica, node, &some);
        assert_eq!(judged(&closed), Ok(true));
    }
}
