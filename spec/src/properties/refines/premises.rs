//! What a step rests on: what its replica had stored, what it knew, and what came, in the terms of the abstract protocol.

use super::{Known, left, quorums};
use crate::properties::party::Stored;
use crate::properties::step::{Judged, Looks, Seen};
use crate::properties::transition::stored_or_empty;
use crate::refinement::protocol::Domain;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Message, MessageOf};
use paxos_model::replica::{Role, State};
use stateright::actor::Id;

/// What a step rests on, in the terms of the abstract protocol.
pub(crate) fn premises<S: Judged>(
    configuration: &Configuration,
    seen: &Seen<'_, S>,
    looks: Looks,
) -> (Domain, Known<S>) {
    let before = left(seen);
    let domain = domain(configuration, seen, before, seen.after, looks);
    let known = rests_on(configuration, &domain, seen, before, &stored_or_empty(seen.stored_before));
    (domain, known)
}

/// What the step rests on.
fn rests_on<S: Judged>(
    configuration: &Configuration,
    domain: &Domain,
    seen: &Seen<'_, S>,
    before: Option<&State<S>>,
    stored: &Durable<S>,
) -> Known<S> {
    let (mut known, node) = (Known::<S>::default(), seen.node);
    known.first = domain.slots.start;
    stores(&mut known, node, stored);
    let memory = before.map_or(stored, |state| &state.durable);
    for durable in [stored, memory] {
        known.decided.extend((known.first..durable.decided).map(|slot| (slot, durable.log.get(&slot).cloned())));
    }
    if let Some(state) = before {
        knows(domain, &mut known, state);
    }
    if reports(stored) {
        for slot in domain.slots.clone().filter(|slot| *slot >= stored.decided) {
            let vote = known.accepted.get(&(node, slot)).cloned();
            known.reports.entry((node, stored.promised, slot)).or_insert(vote);
        }
    }
    if let Some((src, message)) = seen.delivered()
        && configuration.members.contains_key(&src)
    {
        tells(domain, &mut known, before, src, message);
    }
    known
}

/// Whether what a node has stored is still what it reported when it promised: nothing was decided since, and no vote cast in the ballot.
pub(super) fn reports<S: Judged>(stored: &Durable<S>) -> bool {
    let promised = stored.promised;
    let voted = stored.accepted.values().any(|ballot| *ballot == promised);
    promised > Ballot::default() && stored.promised_at == stored.decided && !voted
}

/// What a node has stored.
pub(in crate::properties) fn stores<S: Judged>(known: &mut Known<S>, node: Id, stored: &Durable<S>) {
    known.promised.insert(node, stored.promised);
    known.log.insert(node, (known.first..stored.decided).map(|slot| stored.log.get(&slot).cloned()).collect());
    for (slot, ballot) in &stored.accepted {
        let value = stored.log.get(slot).cloned();
        known.accepted.insert((node, *slot), (*ballot, value.clone()));
        known.proposals.insert((*ballot, *slot, value.clone()));
        known.votes.insert((*ballot, *slot, value, node));
    }
}

/// What a candidate or a leader knows beside what is stored.
fn knows<S: Judged>(domain: &Domain, known: &mut Known<S>, state: &State<S>) {
    match &state.role {
        Role::Following | Role::Polling { .. } => {}
        Role::Preparing(proposer) => {
            // Who reported the highest vote is not remembered: whoever may have done so is heeded.
            for node in &proposer.promised {
                for slot in domain.slots.clone().filter(|slot| *slot >= proposer.first) {
                    let vote = proposer.votes.get(&slot);
                    let vote = vote.map(|(ballot, entry)| (*ballot, Some(entry.clone())));
                    known.reports.insert((*node, proposer.ballot, slot), vote);
                }
            }
        }
        Role::Leading(leader) => {
            for (slot, proposal) in &leader.proposals {
                let value = Some(proposal.entry.clone());
                known.proposals.insert((leader.ballot, *slot, value.clone()));
                known.votes.extend(proposal.votes.iter().map(|node| (leader.ballot, *slot, value.clone(), *node)));
            }
            known.marks.insert(leader.ballot, state.durable.decided);
            // Some quorum promised, and reported no votes from there on.
            for node in domain.quorums.first().into_iter().flatten() {
                for slot in domain.slots.clone().filter(|slot| *slot >= leader.next) {
                    known.reports.insert((*node, leader.ballot, slot), None);
                }
            }
        }
    }
}

/// What a message of a member tells.
pub(in crate::properties) fn tells<S: Judged>(
    domain: &Domain,
    known: &mut Known<S>,
    before: Option<&State<S>>,
    src: Id,
    message: &MessageOf<S>,
) {
    match message {
        Message::Promise { ballot, first, votes } => {
            for slot in domain.slots.clone().filter(|slot| slot >= first) {
                let vote = votes.iter().find(|vote| vote.slot == slot);
                let vote = vote.map(|vote| (vote.ballot, Some(vote.entry.clone())));
                known.reports.entry((src, *ballot, slot)).or_insert(vote);
            }
        }
        Message::Accept { ballot, slot, entry } if ballot.node == src => {
            known.proposals.insert((*ballot, *slot, Some(entry.clone())));
        }
        Message::Accepted { ballot, slot } => {
            if let Some(Role::Leading(leader)) = before.map(|state| &state.role)
                && leader.ballot == *ballot
                && let Some(proposal) = leader.proposals.get(slot)
            {
                known.votes.insert((*ballot, *slot, Some(proposal.entry.clone()), src));
            }
        }
        Message::Heartbeat { ballot, decided, .. } if ballot.node == src => {
            let marked = known.marks.entry(*ballot).or_default();
            *marked = (*marked).max(*decided);
        }
        Message::Decided { from, entries } => {
            known.decided.extend((*from..).zip(entries.iter().cloned().map(Some)));
        }
        Message::Part { slot, .. } => {
            known.decided.extend(domain.slots.clone().filter(|at| at < slot).map(|at| (at, None)));
        }
        _ => {}
    }
}

/// Every slot that the step speaks of, with one more.
fn domain<S: Judged>(
    configuration: &Configuration,
    seen: &Seen<'_, S>,
    before: Option<&State<S>>,
    after: &State<S>,
    looks: Looks,
) -> Domain {
    /// Slots that are further ahead than that are in no log.
    const AHEAD: Slot = 256;
    let stored = [seen.stored_before, seen.stored_after];
    let stored = stored.iter().filter_map(|stored| stored.as_ref()?.log.get_max().map(|(slot, _)| slot + 1)).max();
    let end = before.map_or(0, end_of_state).max(end_of_state(after)).max(stored.unwrap_or(0));
    let delivered = seen.delivered().map(|(_, message)| message);
    let messages = delivered.into_iter().chain(seen.sends.iter().map(|(_, message)| message)).map(end_of_message::<S>);
    let end = messages.filter(|slot| *slot <= end + AHEAD).fold(end, Slot::max) + 1;
    let first = match looks {
        Looks::Everywhere => 0,
        Looks::AtWhatChanges => first_of(seen, before),
    };
    Domain { quorums: quorums(configuration), ballots: Vec::new(), slots: first..end }
}

/// The end of the slots that a replica speaks of.
fn end_of_state<S: Judged>(state: &State<S>) -> Slot {
    let log = state.durable.log.get_max().map_or(0, |(slot, _)| slot + 1);
    let role = match &state.role {
        Role::Leading(leader) => leader.next,
        Role::Preparing(proposer) => proposer.votes.keys().next_back().map_or(0, |slot| slot + 1).max(proposer.first),
        Role::Following | Role::Polling { .. } => 0,
    };
    log.max(role).max(state.durable.decided)
}

/// The end of the slots that a message speaks of.
pub(crate) fn end_of_message<S: Judged>(message: &MessageOf<S>) -> Slot {
    match message {
        Message::Promise { first, votes, .. } => votes.iter().map(|vote| vote.slot + 1).max().unwrap_or(0).max(*first),
        Message::Accept { slot, .. } | Message::Accepted { slot, .. } => slot + 1,
        Message::Heartbeat { decided, .. } => *decided,
        Message::Decided { from, entries } => from + entries.len() as Slot,
        Message::Part { slot, .. } => *slot,
        _ => 0,
    }
}

/// The first slot that a step speaks of: every replica has decided those below, and they stay as they are.
fn first_of<S: Judged>(seen: &Seen<'_, S>, before: Option<&State<S>>) -> Slot {
    let stored = |stored: &Option<Stored<S>>| stored.as_ref().map_or(0, |stored| stored.decided);
    let own = stored(seen.stored_before).min(stored(seen.stored_after)).min(seen.after.durable.decided);
    let own = before.map_or(own, |state| own.min(state.durable.decided));
    let messages = seen.delivered().into_iter().map(|(_, message)| message).chain(seen.sends.iter().map(|(_, m)| m));
    messages.filter_map(first_of_message::<S>).fold(own, Slot::min)
}

/// The first slot that a message shows, beside those that it says are all decided.
fn first_of_message<S: Judged>(message: &MessageOf<S>) -> Option<Slot> {
    match message {
        Message::Promise { first, .. } => Some(*first),
        Message::Accept { slot, .. } | Message::Accepted { slot, .. } => Some(*slot),
        Message::Heartbeat { decided, .. } => Some(*decided),
        Message::Decided { from, .. } => Some(*from),
        _ => None,
    }
}
