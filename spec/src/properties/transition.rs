//! `promises-kept`: judged on each step of a replica from what was stored before it, what is stored after it, and what it
//! sends. No acceptor goes back on a promise or a vote, and nothing is announced that is not stored.

use super::party::Stored;
use super::step::{Judged, Seen};
use paxos_model::machine::StateMachine;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Message, MessageOf, Operation};
use paxos_model::replica::{Role, State};
use stateright::actor::Id;

/// One step of a replica, as far as this rule looks at it.
pub struct ReplicaStep<'a, S: StateMachine> {
    /// The replica.
    pub node: Id,
    /// What was stored before.
    pub before: &'a Durable<S>,
    /// What is stored after.
    pub after: &'a Durable<S>,
    /// Its state after.
    pub state: &'a State<S>,
    /// What it sends.
    pub sends: &'a [(Id, MessageOf<S>)],
}

/// What is stored, or what a replica that stored nothing begins with.
pub fn stored_or_empty<S: Judged>(stored: &Option<Stored<S>>) -> Stored<S> {
    stored.clone().unwrap_or_default()
}

/// The first rule that the step breaks, in words; none if it keeps all.
pub fn broken<S: Judged>(step: &ReplicaStep<'_, S>) -> Option<String> {
    storage_goes_back(step.before, step.after)
        .or_else(|| not_stored(step))
        .or_else(|| step.sends.iter().find_map(|(_, m)| announced(step, m)))
}

/// Only an answer to what the replica wants now counts for it: one to another ballot, as it may still come, changes nothing.
pub fn heeds_another_ballot<S: Judged>(seen: &Seen<'_, S>, before: &State<S>) -> Option<String> {
    let (_, message) = seen.delivered()?;
    let wanted = match (&before.role, message) {
        (Role::Polling { ballot, .. }, Message::PreVoted { ballot: answered }) => ballot == answered,
        (Role::Preparing(proposer), Message::Promise { ballot: answered, .. }) => proposer.ballot == *answered,
        (
            Role::Leading(leader),
            Message::Accepted { ballot: answered, .. } | Message::HeartbeatAck { ballot: answered, .. },
        ) => leader.ballot == *answered,
        (
            _,
            Message::PreVoted { .. }
            | Message::Promise { .. }
            | Message::Accepted { .. }
            | Message::HeartbeatAck { .. },
        ) => false,
        _ => true,
    };
    let heeded = !seen.sends.is_empty() || seen.before != seen.after;
    (!wanted && heeded).then(|| format!("heeds {message:?}, which answers nothing that it wants"))
}

/// What of that which was stored is stored no longer, though it must be, however many steps lie between.
pub(crate) fn storage_goes_back<S: Judged>(before: &Durable<S>, after: &Durable<S>) -> Option<String> {
    if after.promised < before.promised {
        return Some(format!("the stored promise falls from {} to {}", before.promised, after.promised));
    }
    if after.decided < before.decided {
        return Some(format!("the stored decided mark falls from {} to {}", before.decided, after.decided));
    }
    if after.incarnation < before.incarnation {
        return Some("the stored incarnation falls".into());
    }
    for (slot, entry) in before.log.range(..before.decided) {
        if after.log.get(slot).is_some_and(|now| now != entry) {
            return Some(format!("the stored decision of slot {slot} changes"));
        }
    }
    if after.snapshot.applied < before.snapshot.applied {
        return Some(format!(
            "the stored snapshot falls from {} to {}",
            before.snapshot.applied, after.snapshot.applied
        ));
    }
    if after.snapshot.applied == before.snapshot.applied && after.snapshot != before.snapshot {
        return Some("the stored snapshot changes in its slot".into());
    }
    for (slot, ballot) in &before.accepted {
        match after.accepted.get(slot) {
            None if after.decided > *slot => {}
            None => return Some(format!("the stored vote in slot {slot} is gone")),
            Some(now) if now < ballot => {
                return Some(format!("the stored vote in slot {slot} falls from {ballot} to {now}"));
            }
            Some(now) if now == ballot && before.log.get(slot) != after.log.get(slot) => {
                return Some(format!("the vote in slot {slot}, ballot {ballot}, changes its value"));
            }
            Some(_) => {}
        }
    }
    for (slot, ballot) in &after.accepted {
        let is_new = before.accepted.get(slot) != Some(ballot);
        if is_new && *ballot < before.promised {
            return Some(format!("votes in slot {slot} in ballot {ballot}, below its promise {}", before.promised));
        }
        if *ballot > after.promised {
            return Some(format!("a vote in ballot {ballot} is stored above the stored promise {}", after.promised));
        }
        if !after.log.contains_key(slot) {
            return Some(format!("a vote in slot {slot} is stored without its value"));
        }
        if *slot < after.decided {
            return Some(format!("a vote is kept for the decided slot {slot}"));
        }
    }
    if after.snapshot.applied > after.decided {
        return Some(format!("a snapshot of slot {} is stored, and less is decided", after.snapshot.applied));
    }
    (after.first().min(after.snapshot.applied)..after.decided)
        .find(|slot| !after.log.contains_key(slot))
        .map(|slot| format!("decided slot {slot} has no stored entry, and no stored snapshot tells what it came to"))
}

/// In memory a replica may know more decisions than are stored, and nothing else that is durable.
fn not_stored<S: Judged>(step: &ReplicaStep<'_, S>) -> Option<String> {
    let (memory, stored) = (&step.state.durable, step.after);
    if memory.promised != stored.promised {
        return Some(format!("promised {} in memory, {} in store", memory.promised, stored.promised));
    }
    if memory.incarnation != stored.incarnation {
        return Some("the incarnation in memory is not the stored one".into());
    }
    if memory.decided < stored.decided || step.state.executor.applied != memory.decided {
        return Some("what is applied is not what is known to be decided".into());
    }
    let overtaken = |slot| memory.decided >= slot;
    if memory.arriving != stored.arriving
        && !(memory.arriving.is_none() && stored.arriving.as_ref().is_some_and(|a| overtaken(a.executor.applied)))
    {
        return Some("what has arrived of a snapshot is not what is stored of it".into());
    }
    for (slot, ballot) in &memory.accepted {
        if stored.accepted.get(slot) != Some(ballot) || stored.log.get(slot) != memory.log.get(slot) {
            return Some(format!("the vote in slot {slot} in memory is not the stored one"));
        }
    }
    stored
        .accepted
        .keys()
        .find(|slot| **slot >= memory.decided && !memory.accepted.contains_key(*slot))
        .map(|slot| format!("the stored vote in slot {slot} is forgotten in memory"))
}

fn announced<S: Judged>(step: &ReplicaStep<'_, S>, message: &MessageOf<S>) -> Option<String> {
    let (stored, memory) = (step.after, &step.state.durable);
    let own = |ballot: &paxos_model::replica::ballot::Ballot| ballot.node == step.node;
    match message {
        Message::Promise { ballot, first, votes } => {
            if stored.promised != *ballot {
                return Some(format!("announces the promise {ballot}, but {} is stored", stored.promised));
            }
            if *first > memory.decided {
                return Some(format!(
                    "reports votes from slot {first} on, but has decided only below {}",
                    memory.decided
                ));
            }
            for vote in votes {
                let kept = stored.accepted.get(&vote.slot) == Some(&vote.ballot)
                    && stored.log.get(&vote.slot) == Some(&vote.entry);
                if !kept {
                    return Some(format!("reports a vote in slot {} that is not stored", vote.slot));
                }
            }
            let missing = |slot: &&u64| **slot >= *first && !votes.iter().any(|vote| vote.slot == **slot);
            stored
                .accepted
                .keys()
                .find(missing)
                .map(|slot| format!("leaves its vote in slot {slot} out of its promise"))
        }
        Message::Accepted { ballot, slot } => {
            let voted = stored.accepted.get(slot) == Some(ballot);
            (!voted).then(|| format!("announces a vote in slot {slot}, ballot {ballot}, that is not stored"))
        }
        Message::Prepare { ballot } if !own(ballot) || stored.promised != *ballot => {
            Some(format!("begins ballot {ballot}, which is not its own stored promise"))
        }
        Message::Accept { ballot, .. } | Message::Heartbeat { ballot, .. }
            if !own(ballot) || stored.promised != *ballot =>
        {
            Some(format!("leads in ballot {ballot}, which is not its own stored promise"))
        }
        Message::HeartbeatAck { ballot, .. } if stored.promised > *ballot => {
            Some(format!("acknowledges ballot {ballot} after promising {}", stored.promised))
        }
        Message::ReadIndex { read, .. } if read.origin == step.node && read.incarnation != stored.incarnation => {
            Some("a read carries an incarnation that is not stored".into())
        }
        Message::Forward { operations, .. } => {
            let unstored = operations.iter().any(|operation| match operation {
                Operation::Open { node, incarnation } => *node == step.node && *incarnation > stored.incarnation,
                Operation::InSession { .. } => false,
            });
            unstored.then(|| "an opening carries an incarnation that is not stored".into())
        }
        _ => None,
    }
}
