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
//! What a slot held that is truncated is not known any more, and stands as `None`. What snapshots and their parts hold is for `prefix` and
//! `snapshots` to judge, and that nothing is stored otherwise than it is in memory for `promises-kept`.

use super::party::Stored;
use super::step::{Judged, Looks, Seen};
use super::transition::stored_or_empty;
use crate::refinement::protocol::{Action, Domain, Protocol};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Entry, Message, MessageOf};
use paxos_model::replica::{Role, State};
use stateright::actor::Id;
use std::collections::BTreeSet;

/// What a slot holds, as far as it is known.
pub(crate) type Value<S> = Option<Entry<<S as StateMachine>::Command>>;
/// What is known of the abstract state.
pub(crate) type Known<S> = Protocol<Value<S>>;

/// Why a step is none of the abstract protocol's, if it is not.
pub fn broken<S: Judged>(configuration: &Configuration, seen: &Seen<'_, S>, looks: Looks) -> Option<String> {
    let (domain, mut known) = premises(configuration, seen, looks);
    take_actions(&domain, &mut known, seen).and_then(|_| has_come_about(&domain, &known, seen)).err()
}

/// Whether everything that is stored, sent and known after a step is true of what is `known` then; the error says what is not.
pub(crate) fn has_come_about<S: Judged>(domain: &Domain, known: &Known<S>, seen: &Seen<'_, S>) -> Result<(), String> {
    let (node, before, after) = (seen.node, left(seen), seen.after);
    let (stored_before, stored) = (stored_or_empty(seen.stored_before), stored_or_empty(seen.stored_after));
    is_stored::<S>(domain, known, node, &stored)
        .and_then(|()| seen.sends.iter().try_for_each(|(dst, message)| is_sent(domain, known, seen, *dst, message)))
        .and_then(|()| is_known::<S>(domain, known, node, after))
        .and_then(|()| is_begun_once(node, (before, &stored_before), (after, &stored)))
        .and_then(|()| remembers::<S>(known, after))
        .and_then(|()| may_report::<S>(domain, known, node, &stored))
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

/// What is left of the state before a step: a crash leaves what is stored.
fn left<'a, S: Judged>(seen: &Seen<'a, S>) -> Option<&'a State<S>> {
    (!seen.is_restart()).then_some(seen.before)
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
fn reports<S: Judged>(stored: &Durable<S>) -> bool {
    let promised = stored.promised;
    let voted = stored.accepted.values().any(|ballot| *ballot == promised);
    promised > Ballot::default() && stored.promised_at == stored.decided && !voted
}

/// What a node has stored.
pub(super) fn stores<S: Judged>(known: &mut Known<S>, node: Id, stored: &Durable<S>) {
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
pub(super) fn tells<S: Judged>(
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
    let led = before.and_then(|state| match &state.role {
        Role::Leading(leader) => Some(leader),
        _ => None,
    });
    let leads = match &after.role {
        Role::Leading(leader) => Some(leader),
        _ => None,
    };
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

/// What is stored after the step came about by its actions.
fn is_stored<S: Judged>(domain: &Domain, known: &Known<S>, node: Id, stored: &Durable<S>) -> Result<(), String> {
    if known.promised(node) != stored.promised {
        return Err(format!("stores the promise {}, and made {}", stored.promised, known.promised(node)));
    }
    let accepted = |slot: &Slot, ballot: &Ballot| (*slot, (*ballot, stored.log.get(slot).cloned()));
    let accepted = stored.accepted.iter().map(|(slot, ballot)| accepted(slot, ballot));
    let own = known.accepted.iter().filter(|((voter, _), _)| *voter == node);
    let own = own.map(|((_, slot), vote)| (*slot, vote.clone()));
    if !own.eq(accepted) {
        return Err("stores other votes than it cast".into());
    }
    if known.stored(node) != stored.decided {
        return Err(format!("stores {} slots as decided, and knew {}", stored.decided, known.stored(node)));
    }
    match (domain.slots.start..stored.decided).find(|slot| !is_decided::<S>(known, *slot, stored.log.get(slot))) {
        Some(slot) => Err(format!("stores another value in slot {slot} than was decided there")),
        None => Ok(()),
    }
}

/// Whether the replica leads in a ballot, or wants to, before the step or after it.
fn leads_in<S: Judged>(seen: &Seen<'_, S>, ballot: Ballot) -> bool {
    left(seen).and_then(begun) == Some(ballot) || begun(seen.after) == Some(ballot)
}

/// What a message says came about.
fn is_sent<S: Judged>(
    domain: &Domain,
    known: &Known<S>,
    seen: &Seen<'_, S>,
    dst: Id,
    message: &MessageOf<S>,
) -> Result<(), String> {
    let node = seen.node;
    let told = match message {
        // Nobody tells itself what it leads in.
        Message::Prepare { .. } => dst != node,
        // One vote a slot, of the slots that it speaks of and that are looked at.
        Message::Promise { ballot, first, votes } => {
            let is_looked_at = |slot: &Slot| slot >= first && domain.slots.contains(slot);
            votes.is_sorted_by(|a, b| a.slot < b.slot)
                && votes.iter().all(|vote| is_looked_at(&vote.slot))
                && domain.slots.clone().filter(|slot| slot >= first).all(|slot| {
                    let vote = votes.iter().find(|vote| vote.slot == slot);
                    let vote = vote.map(|vote| (vote.ballot, Some(vote.entry.clone())));
                    known.reports.get(&(node, *ballot, slot)) == Some(&vote)
                })
        }
        Message::Accept { ballot, slot, entry } => {
            ballot.node == node && known.proposals.contains(&(*ballot, *slot, Some(entry.clone())))
        }
        Message::Accepted { ballot, slot } => {
            known.votes.iter().any(|(b, s, _, voter)| (b, s, voter) == (ballot, slot, &node))
        }
        Message::Heartbeat { ballot, decided, .. } => {
            dst != node && leads_in(seen, *ballot) && known.marked(*ballot) >= *decided
        }
        // A read that is confirmed by it misses nothing, since nothing higher was promised after the round began.
        Message::HeartbeatAck { ballot, round } => {
            let asked = matches!(seen.delivered(), Some((src, Message::Heartbeat { ballot: b, round: r, .. }))
                if (src, b, r) == (dst, ballot, round));
            asked && known.promised(node) <= *ballot
        }
        Message::Decided { from, entries } => {
            (*from..).zip(entries).all(|(slot, entry)| known.decided.contains(&(slot, Some(entry.clone()))))
        }
        Message::Part { slot, .. } => (domain.slots.start..*slot).all(|slot| is_decided::<S>(known, slot, None)),
        _ => true,
    };
    if told { Ok(()) } else { Err(format!("sends {message:?}, which has not come about")) }
}

/// A ballot is its node's, is begun by the step that promises it, and ends when more is promised.
fn is_begun_once<S: Judged>(
    node: Id,
    (before, stored_before): (Option<&State<S>>, &Durable<S>),
    (after, stored): (&State<S>, &Durable<S>),
) -> Result<(), String> {
    let Some(ballot) = begun(after) else { return Ok(()) };
    let goes_on = before.and_then(begun) == Some(ballot);
    let begins = stored_before.promised < ballot;
    if ballot.node != node || ballot != stored.promised || !(goes_on || begins) {
        return Err(format!("wants to lead in {ballot}, which it does not begin"));
    }
    match (before.map(|state| &state.role), &after.role) {
        (Some(Role::Leading(_)), Role::Preparing(_)) if goes_on => Err(format!("begins {ballot} again")),
        _ => Ok(()),
    }
}

/// The ballot in which a replica leads or wants to.
fn begun<S: Judged>(state: &State<S>) -> Option<Ballot> {
    match &state.role {
        Role::Preparing(proposer) => Some(proposer.ballot),
        Role::Leading(leader) => Some(leader.ballot),
        Role::Following | Role::Polling { .. } => None,
    }
}

/// Who leads remembers all that was ever proposed in the ballot, but for what is decided, which its marks tell of; who wants to has proposed
/// nothing. So it proposes once in a slot.
pub(crate) fn remembers<S: Judged>(known: &Known<S>, state: &State<S>) -> Result<(), String> {
    let Some(ballot) = begun(state) else { return Ok(()) };
    let is_remembered = |slot: &Slot, value: &Value<S>| match &state.role {
        Role::Leading(leader) => {
            *slot < state.durable.decided || leader.proposals.get(slot).map(|own| &own.entry) == value.as_ref()
        }
        _ => false,
    };
    let mut proposed = known.proposals.iter().filter(|(b, ..)| *b == ballot);
    match proposed.find(|(_, slot, value)| !is_remembered(slot, value)) {
        Some((_, slot, _)) => Err(format!("forgets what it proposed in slot {slot} of {ballot}")),
        None => Ok(()),
    }
}

/// What a node may report once more, it has reported.
fn may_report<S: Judged>(domain: &Domain, known: &Known<S>, node: Id, stored: &Durable<S>) -> Result<(), String> {
    let mut slots = domain.slots.clone().filter(|slot| reports(stored) && *slot >= stored.decided);
    match slots.find(|slot| !known.reports.contains_key(&(node, stored.promised, *slot))) {
        Some(slot) => Err(format!("may report slot {slot} in {}, and did not when it promised", stored.promised)),
        None => Ok(()),
    }
}

/// What the replica knows after the step came about.
fn is_known<S: Judged>(domain: &Domain, known: &Known<S>, node: Id, after: &State<S>) -> Result<(), String> {
    let durable = &after.durable;
    if let Some(slot) =
        (domain.slots.start..durable.decided).find(|slot| !is_decided::<S>(known, *slot, durable.log.get(slot)))
    {
        return Err(format!("knows another value in slot {slot} than was decided there"));
    }
    if matches!(&after.role, Role::Preparing(proposer) if !proposer.promised.contains(&node)) {
        return Err("wants to lead without its own promise".into());
    }
    match &after.role {
        Role::Following | Role::Polling { .. } => Ok(()),
        Role::Preparing(proposer) => {
            let report = |node: &Id, slot: Slot| known.reports.get(&(*node, proposer.ballot, slot));
            for slot in domain.slots.clone().filter(|slot| *slot >= proposer.first) {
                let mut top: Option<&(Ballot, Value<S>)> = None;
                for node in &proposer.promised {
                    let Some(vote) = report(node, slot) else {
                        return Err(format!("counts a promise of {node:?} that does not speak of slot {slot}"));
                    };
                    let higher = |vote: &&(Ballot, Value<S>)| top.is_none_or(|top| vote.0 > top.0);
                    top = vote.as_ref().filter(higher).or(top);
                }
                let remembered = proposer.votes.get(&slot).map(|(ballot, entry)| (*ballot, Some(entry.clone())));
                if remembered.as_ref() != top {
                    return Err(format!("remembers {remembered:?} of slot {slot}, and the highest vote is {top:?}"));
                }
            }
            Ok(())
        }
        Role::Leading(leader) => {
            if leader.next < durable.decided || !leader.proposals.keys().copied().eq(durable.decided..leader.next) {
                return Err(format!("leads on from slot {}, and did not propose in all before", leader.next));
            }
            for (slot, proposal) in &leader.proposals {
                let value = Some(proposal.entry.clone());
                let voted = |node: &Id| known.voted(*node, leader.ballot, *slot, &value);
                if let Some(node) = proposal.votes.iter().find(|node| !voted(node)) {
                    return Err(format!("counts a vote of {node:?} in slot {slot} that was not cast"));
                }
            }
            let silent = |node: &Id, slot| known.reports.get(&(*node, leader.ballot, slot)) == Some(&None);
            let free = |slot| domain.quorums.iter().any(|quorum| quorum.iter().all(|node| silent(node, slot)));
            match (leader.next..domain.slots.end).find(|slot| !free(*slot)) {
                Some(slot) => Err(format!("leads, and no quorum reported that there is no vote in slot {slot}")),
                None => Ok(()),
            }
        }
    }
}
