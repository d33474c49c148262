//! `refines-spec`: each step of a replica is a few steps of the abstract protocol (`spec/tla/MultiPaxos.tla`), or none.
//!
//! The abstract state holds what is stored and every message that was ever sent, by anybody. A step of one replica is judged by
//! what it *rests on*: what the replica had stored, what it knew, and the message that came. From these it takes one
//! action after the other, each under the guards that are proved; then everything that is stored, sent and known after the step must
//! have come about. So whatever a replica knows is true of the history, by induction over its steps: what it knew before was, what
//! came was sent, and nothing else is known after. That is why the history itself need not be a part of any state.
//!
//! That nothing else is in the history than what a replica knows of its own ballot, which the guards of a leader ask, holds since a
//! ballot is its node's and is begun once, by the very step that promises it, and since whoever leads in it remembers what was proposed, and
//! whoever wants to has proposed nothing.
//!
//! Reads are in no action, but in a theorem of what the actions lead to; that its premises hold of each read is asked in the same way (`reads`).
//!
//! What a slot held that is truncated is not known any more, and stands as `None`. What snapshots and their parts hold is for `prefix` and
//! `snapshots` to judge, and that nothing is stored otherwise than it is in memory for `promises-kept`.

mod outcome;
mod premises;
mod reads;

use super::step::{Judged, Looks, Seen};
use super::transition::stored_or_empty;
use crate::refinement::protocol::{Action, Domain, Protocol};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::leader::Leader;
use paxos_model::replica::message::{Entry, Message};
use paxos_model::replica::{Role, State};
use stateright::actor::Id;
use std::collections::BTreeSet;

use outcome::leads_in;
pub(crate) use outcome::{has_come_about, remembers};
pub(crate) use premises::{end_of_message, premises};
pub(super) use premises::{stores, tells};

/// What a slot holds, as far as it is known.
pub(crate) type Value<S> = Option<Entry<<S as StateMachine>::Command>>;
/// What is known of the abstract state.
pub(crate) type Known<S> = Protocol<Value<S>>;
/// Why a step is none of the abstract protocol's, if it is not.
pub fn broken<S: Judged>(configuration: &Configuration, seen: &Seen<'_, S>, looks: Looks) -> Option<String> {
    let (domain, known) = premises(configuration, seen, looks);
    broken_from(configuration, &domain, known, seen)
}

/// The same, from what is `known` before the step.
pub(crate) fn broken_from<S: Judged>(
    configuration: &Configuration,
    domain: &Domain,
    mut known: Known<S>,
    seen: &Seen<'_, S>,
) -> Option<String> {
    take_actions(domain, &mut known, seen).and_then(|_| has_come_about(configuration, domain, &known, seen)).err()
}

/// The actions that a step is, in their order.
#[cfg(test)]
pub(crate) fn actions<S: Judged>(
    configuration: &Configuration,
    seen: &Seen<'_, S>,
) -> Result<Vec<Action<Value<S>>>, String> {
    let (domain, mut known) = premises(configuration, seen, Looks::Everywhere);
    take_actions(&domain, &mut known, seen)
}

/// What is left of the state before a step: a crash leaves what is stored.
fn left<'a, S: Judged>(seen: &Seen<'a, S>) -> Option<&'a State<S>> {
    (!seen.is_restart()).then_some(seen.before)
}

/// The leader that a replica is.
fn leader<S: Judged>(state: &State<S>) -> Option<&Leader<S::Command>> {
    match &state.role {
        Role::Leading(leader) => Some(leader),
        Role::Following | Role::Polling { .. } | Role::Preparing(_) => None,
    }
}

/// The voters' smallest quorums. Not asked of the replica's own code, which might count otherwise.
pub(crate) fn quorums(configuration: &Configuration) -> Vec<BTreeSet<Id>> {
    let voters: Vec<Id> = configuration.voters().collect();
    let sets = (0u32..1 << voters.len()).filter(|set| set.count_ones() as usize == voters.len() / 2 + 1);
    let members = |set: u32| {
        let members = voters.iter().enumerate().filter(move |(index, _)| set & 1 << index != 0);
        members.map(|(_, node)| *node).collect::<BTreeSet<Id>>()
    };
    sets.map(members).collect()
}

/// What is known to be decided in a slot, with its value if that is known.
fn decision<S: Judged>(known: &Known<S>, slot: Slot) -> Result<Value<S>, String> {
    let found = known.decided.range((slot, None)..(slot + 1, None)).next_back();
    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("nobody told that slot {slot} is decided"))
}

/// Whether a slot is known to be decided, with this value if there is one.
fn is_decided<S: Judged>(known: &Known<S>, slot: Slot, value: Option<&Entry<S::Command>>) -> bool {
    let mut told = known.decided.range((slot, None)..(slot + 1, None)).map(|(_, value)| value.as_ref());
    match value {
        Some(value) => told.any(|told| told == Some(value)),
        None => told.next().is_some(),
    }
}

/// Takes the actions that the step consists of, and returns them in their order.
fn take_actions<S: Judged>(
    domain: &Domain,
    known: &mut Known<S>,
    seen: &Seen<'_, S>,
) -> Result<Vec<Action<Value<S>>>, String> {
    let (node, before, after) = (seen.node, left(seen), seen.after);
    let (stored_before, stored) = (stored_or_empty(seen.stored_before), stored_or_empty(seen.stored_after));
    let mut taken = Vec::new();
    let mut take = |known: &mut Known<S>, action: Action<Value<S>>| {
        known.take(domain, &action).map_err(|guard| format!("{action:?} lacks its guard: {guard}"))?;
        taken.push(action);
        Ok::<(), String>(())
    };
    let (led, leads) = (before.and_then(leader), leader(after));
    let decided = before.map_or(stored_before.decided, |state| state.durable.decided);
    for slot in decided..after.durable.decided {
        let value = after.durable.log.get(&slot);
        if !is_decided::<S>(known, slot, value) {
            let proposal = led.and_then(|leader| Some((leader.ballot, leader.proposals.get(&slot)?)));
            let marked = match seen.delivered() {
                Some((_, Message::Heartbeat { ballot, .. })) => known.accepted.get(&(node, slot)).zip(Some(*ballot)),
                _ => None,
            };
            let action = match (proposal, marked) {
                (Some((ballot, proposal)), _) => Action::Decide { ballot, slot, value: Some(proposal.entry.clone()) },
                (None, Some(((_, value), ballot))) => Action::DecideMarked { node, ballot, slot, value: value.clone() },
                (None, None) => return Err(format!("takes slot {slot} for decided, and nothing tells so")),
            };
            take(known, action)?;
        }
        if let (Some(led), Some(leads)) = (led, leads)
            && led.ballot == leads.ballot
        {
            let value = decision::<S>(known, slot)?;
            take(known, Action::Mark { ballot: led.ballot, slot, value })?;
        }
    }
    for slot in stored_before.decided..stored.decided {
        let value = decision::<S>(known, slot)?;
        take(known, Action::Store { node, slot, value })?;
    }
    let is_new = |(slot, ballot): &(&Slot, &Ballot)| {
        known.accepted.get(&(node, **slot)).is_none_or(|(accepted, _)| accepted != *ballot)
    };
    let votes: Vec<(Slot, Ballot)> = stored.accepted.iter().filter(is_new).map(|(s, b)| (*s, *b)).collect();
    // A vote in a higher ballot raises the promise with it.
    if stored.promised > known.promised(node) && !votes.iter().any(|(_, ballot)| *ballot == stored.promised) {
        take(known, Action::Promise { node, ballot: stored.promised })?;
    }
    let proposed = leads.into_iter().flat_map(|leader| {
        leader.proposals.iter().map(|(slot, proposal)| (leader.ballot, *slot, proposal.entry.clone()))
    });
    let sent = seen.sends.iter().filter_map(|(_, message)| match message {
        Message::Accept { ballot, slot, entry } => Some((*ballot, *slot, entry.clone())),
        _ => None,
    });
    for (ballot, slot, entry) in proposed.chain(sent) {
        let proposal = (ballot, slot, Some(entry));
        if !known.proposals.contains(&proposal) {
            // That nothing else was proposed, and what is marked, is known to nobody else.
            if !leads_in(seen, ballot) {
                return Err(format!("proposes in {ballot}, in which it does not lead"));
            }
            take(known, Action::Propose { ballot, slot, value: proposal.2 })?;
        }
    }
    for (slot, ballot) in votes {
        let value = stored.log.get(&slot).cloned();
        take(known, Action::CastVote { node, ballot, slot, value })?;
    }
    if let Some(leader) = leads {
        for slot in known.marked(leader.ballot)..after.durable.decided {
            let value = decision::<S>(known, slot)?;
            take(known, Action::Mark { ballot: leader.ballot, slot, value })?;
        }
    }
    Ok(taken)
}
