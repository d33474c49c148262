//! What is there after a step, which must have come about: what is stored, sent and known.

use super::premises::reports;
use super::{Known, Value, is_decided, leader, left, reads};
use crate::properties::step::{Judged, Seen};
use crate::properties::transition::stored_or_empty;
use crate::refinement::protocol::Domain;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Message, MessageOf};
use paxos_model::replica::{Role, State};
use stateright::actor::Id;

/// Whether everything that is stored, sent and known after a step is true of what is `known` then; the error says what is not.
pub(crate) fn has_come_about<S: Judged>(
    configuration: &Configuration,
    domain: &Domain,
    known: &Known<S>,
    seen: &Seen<'_, S>,
) -> Result<(), String> {
    let (node, before, after) = (seen.node, left(seen), seen.after);
    let (stored_before, stored) = (stored_or_empty(seen.stored_before), stored_or_empty(seen.stored_after));
    is_stored::<S>(domain, known, node, &stored)
        .and_then(|()| seen.sends.iter().try_for_each(|(dst, message)| is_sent(domain, known, seen, *dst, message)))
        .and_then(|()| is_known::<S>(domain, known, node, after))
        .and_then(|()| is_begun_once(node, (before, &stored_before), (after, &stored)))
        .and_then(|()| remembers::<S>(known, after))
        .and_then(|()| may_report::<S>(domain, known, node, &stored))
        .and_then(|()| reads::keeps(configuration, &domain.quorums, seen))
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
        // Nobody tells itself what it leads in, or asks itself by a message.
        Message::Prepare { .. } | Message::ReadIndex { .. } => dst != node,
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
        Message::Heartbeat { ballot, decided, round } => {
            let leaders = [left(seen), Some(seen.after)].into_iter().flatten().filter_map(leader);
            let is_begun = leaders.into_iter().any(|leader| leader.ballot == *ballot && *round <= leader.round);
            dst != node && leads_in(seen, *ballot) && known.marked(*ballot) >= *decided && is_begun
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

/// Whether the replica leads in a ballot, or wants to, before the step or after it.
pub(super) fn leads_in<S: Judged>(seen: &Seen<'_, S>, ballot: Ballot) -> bool {
    left(seen).and_then(begun) == Some(ballot) || begun(seen.after) == Some(ballot)
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

#[cfg(test)]
mod tests {
    use super::super::quorums;
    use super::*;
    use paxos_model::kv::Kv;
    use paxos_model::replica::message::{Entry, Vote};
    use paxos_model::replica::{Options, Replica, Timer};
    use paxos_model::trace::Input;
    use stateright::actor::{Actor, Out};

    /// A promise speaks of each slot once, and of none that it does not speak of.
    #[test]
    fn a_promise_reports_what_was_voted_for_and_nothing_beside() {
        let (node, configuration) = (Id::from(0), Configuration::of_voters(3));
        let [low, lower, high] = [(2, 0), (1, 0), (3, 1)].map(|(round, node)| Ballot { round, node: node.into() });
        let domain = Domain { quorums: quorums(&configuration), ballots: Vec::new(), slots: 0..4 };
        let mut known = Known::<Kv>::default();
        for slot in [1, 2, 3] {
            let vote = (slot == 2).then_some((low, Some(Entry::Noop)));
            known.reports.insert((node, high, slot), vote);
        }
        let state = Replica::<Kv>::new(configuration, Options::default()).on_start(node, &None, &mut Out::new());
        let seen = Seen {
            node,
            input: &Input::Timeout(Timer::Resend),
            before: &state,
            stored_before: &None,
            after: &state,
            stored_after: &None,
            sends: &[],
        };
        let is_sent = |first, votes: &[(Slot, Ballot)]| {
            let vote = |(slot, ballot): &(Slot, Ballot)| Vote { slot: *slot, ballot: *ballot, entry: Entry::Noop };
            let message = Message::Promise { ballot: high, first, votes: votes.iter().map(vote).collect() };
            is_sent(&domain, &known, &seen, Id::from(1), &message).is_ok()
        };
        assert!(is_sent(1, &[(2, low)]));
        assert!(!is_sent(1, &[]), "the vote is left out");
        assert!(!is_sent(1, &[(2, lower)]), "another vote");
        assert!(!is_sent(1, &[(2, low), (2, lower)]), "and another one in the slot");
        assert!(!is_sent(1, &[(1, low), (2, low)]), "a vote where none was cast");
        assert!(!is_sent(1, &[(0, low), (2, low)]), "a vote in a slot of which nothing is said");
        assert!(!is_sent(1, &[(2, low), (1 << 40, low)]), "a vote in a slot that is far ahead");
        assert!(!is_sent(0, &[(2, low)]), "it begins with a slot of which nothing was reported");
    }
}
