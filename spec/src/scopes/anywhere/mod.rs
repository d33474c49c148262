//! One step from anywhere: every state of a replica that the proved invariant allows, within bounds and reachable or not, takes
//! every step that elections, votes and decisions may ask of it; each must be a few steps of the abstract protocol, or none, and lead to
//! what the invariant allows of the replica again, by itself.
//!
//! Such steps keep the invariant, whatever the bounds (`spec/proof/`): so a step that breaks it would be found here, however deep the state lies
//! in which it is taken. Of the slot after the one there is what may be proposed, promised and told there, and in [`SCOPE_OF_TWO_SLOTS`] a vote
//! that a replica which does not lead has stored. Of a snapshot there is what is left of one that was taken over, or taken there. A step may lead
//! out of these states, in the ways that `closed` names; as far as the clauses speak of it, it leads to none that is left out within the bounds.
//! What no clause speaks of is as at a start, but that a leader may have heard nobody, or have something to propose; or one thing more of it is
//! not ([`SCOPE_AT_WORK`]).

mod closed;
mod messages;
mod states;
mod work;

use super::alone::{Alone, Found};
use crate::properties::audit::Audit;
use crate::properties::effect::digest;
use crate::properties::party::{Msg, Stored};
use crate::properties::refines::{self, Known};
use crate::properties::step::{Looks, Seen, breaks_promises};
use crate::properties::transition::stored_or_empty;
use crate::refinement::invariant::clauses;
use crate::refinement::protocol::Domain;
use closed::Closed;
use messages::{CLIENT, messages, requests};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Options, Replica, State, Timer};
use paxos_model::trace::{self, Input};
use stateright::actor::{Command as Output, Id};
use states::{Ballots, Bounds, NODES, locals};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use work::at_work;

/// The scope.
pub const SCOPE: Alone = Alone {
    name: "one-step-from-anywhere",
    description: "every step from every state of one slot that the proved invariant allows, reachable or not",
    bounds: "each of 3 replicas, 1 slot and what is told of the next, 3 ballots, one a replica and two in one round, 2 values, no snapshot but one that was taken over",
    default: true,
    property: "refines-spec",
    explore: || explore(&[Bounds::of(&OF_ALL)], &at_rest()),
};

/// The same in the midst of something else.
pub const SCOPE_AT_WORK: Alone = Alone {
    name: "one-step-from-anywhere-at-work",
    description: "every step from every state of one slot that the proved invariant allows, where the replica fetches, was outbid, has part of a snapshot, heard some of the others only, has something to propose, or was asked by a client or a member",
    bounds: "as in one-step-from-anywhere, but with two ballots of one replica and one of another, and one of these at a time",
    default: false,
    property: "refines-spec",
    explore: || explore(&[Bounds::of(&OF_TWO)], &at_rest().map(|(options, _)| (options, true))),
};

/// The same with own votes in two slots, for what differs in less than the operations' names. Snapshots are taken.
pub const SCOPE_OF_TWO_SLOTS: Alone = Alone {
    name: "one-step-from-anywhere-two-slots",
    description: "the same where a replica that does not lead may have voted in the next slot, too, the values are two batches of operations with the same names, and snapshots are taken with the first set of options",
    bounds: "as in one-step-from-anywhere; and with two ballots of one replica and one of another",
    default: false,
    property: "refines-spec",
    explore: || {
        let [(wide, at_work), narrow] = at_rest();
        let snapshots = Options { snapshot_every: 1, tail: 0, ..wide };
        explore(&[OF_TWO, OF_ALL].map(|ballots| Bounds::of_two_slots(&ballots)), &[(snapshots, at_work), narrow])
    },
};

/// The same with all three ballots in one round, or where a replica owns more than one of them, which follow each other in every order that
/// there is up to names. Ballots of two owners are in one round, and in different ones.
pub const SCOPE_OF_OWNERS: Alone = Alone {
    name: "one-step-from-anywhere-owners",
    description: "every step from every state of one slot that the proved invariant allows, where all ballots are in one round, or a replica owns two or all of them",
    bounds: "as in one-step-from-anywhere, but with three ballots in one round, or of one replica, or of two in each of the three orders",
    default: false,
    property: "refines-spec",
    explore: || {
        let all = [
            [(1, 0), (1, 1), (1, 2)],
            [(1, 0), (2, 0), (3, 0)],
            OF_TWO,
            [(1, 0), (1, 1), (2, 0)],
            [(1, 0), (2, 1), (3, 1)],
        ];
        explore(&all.map(|ballots| Bounds::of(&ballots)), &at_rest())
    },
};

/// One of each replica: of one round, and of two.
const OF_ALL: Ballots = [(1, 1), (1, 2), (2, 0)];
/// Two of one replica, and one of another after them.
const OF_TWO: Ballots = [(1, 0), (2, 0), (2, 1)];

/// Options, and whether the replica is in the midst of something else.
type Way = (Options, bool);

/// As shipped but without a pre-vote, and with as few bytes at a time as there may be; and with a pre-vote, and the next slot beyond the horizon.
fn at_rest() -> [Way; 2] {
    let shipped = Options { snapshot_every: 0, ..Options::default() };
    let narrow = Options { window: 1, horizon: 1, ..shipped.clone() };
    let wide = Options { pre_vote: false, bytes_max: 1, window_bytes_max: 1, ..shipped };
    [(wide, false), (narrow, false)]
}

/// The clauses of which a replica shows something by itself: the others speak of what others have stored, and of what it does not know.
const LOCAL: [&str; 5] = ["OneProposal", "VoteIsProposed", "AcceptedIsVote", "AcceptedIsOpen", "AcceptedIsLatest"];

/// Whether what a step rests on can all be true.
fn is_allowed(configuration: &Configuration, seen: &Seen<'_>) -> bool {
    let (domain, known) = refines::premises(configuration, seen, Looks::Everywhere);
    allows(&domain, known, seen)
}

/// The same, of what it rests on in the terms of the abstract protocol.
fn allows(domain: &Domain, mut known: Known<Audit>, seen: &Seen<'_>) -> bool {
    // Nobody tells itself what it leads in, or asks itself by a message.
    let is_told = |message: &Msg| {
        matches!(message, Message::Heartbeat { .. } | Message::Prepare { .. } | Message::ReadIndex { .. })
    };
    if seen.delivered().is_some_and(|(src, message)| src == seen.node && is_told(message))
        || refines::remembers(&known, seen.before).is_err()
    {
        return false;
    }
    // Votes of others say nothing of what they have stored, and what is reported was proposed.
    known.votes.retain(|(.., node)| *node == seen.node);
    let reported = known.reports.iter().filter_map(|((_, _, slot), vote)| Some((*slot, vote.clone()?)));
    known.proposals.extend(reported.map(|(slot, (ballot, value))| (ballot, slot, value)));
    let holds = clauses().iter().filter(|(name, _)| LOCAL.contains(name)).all(|(_, holds)| holds(&known, domain));
    let mut values = BTreeMap::new();
    let agree = known.decided.iter().filter(|(_, value)| value.is_some());
    holds && agree.into_iter().all(|(slot, value)| *values.entry(slot).or_insert(value) == value)
}

/// The states of one node within some bounds, in one way.
struct Part<'a> {
    bounds: &'a Bounds,
    node: Id,
    way: &'a Way,
}

fn explore(all: &[Bounds], ways: &[Way]) -> Found {
    let mut parts = Vec::new();
    for (bounds, node) in all.iter().flat_map(|bounds| (0..NODES).map(move |node| (bounds, node.into()))) {
        parts.extend(ways.iter().map(|way| Part { bounds, node, way }));
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(number) else { break };
            let (found, states) = part.explore();
            if found.broken.is_some() {
                next.store(parts.len(), Ordering::Relaxed);
            }
            done.lock().expect("no worker panics").insert(number, (found, states));
        }
    };
    thread::scope(|scope| {
        (0..thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(work)));
    });
    // Some states lie in several parts. What was done beside the first part that is broken does not count: the figures are the same each time.
    let (mut found, mut states) = (Found { depth: 1, ..Found::default() }, BTreeSet::new());
    for (part, of_part) in done.into_inner().expect("no worker panics").into_values() {
        states.extend(of_part);
        found.generated += part.generated;
        found.broken = part.broken;
        if found.broken.is_some() {
            break;
        }
    }
    Found { unique: states.len(), ..found }
}

impl Part<'_> {
    /// Takes every step from every state; returns their fingerprints, too.
    fn explore(&self) -> (Found, BTreeSet<u64>) {
        let Part { bounds, node, way: (options, is_at_work) } = self;
        let configuration = Configuration::of_voters(NODES);
        let (mut found, mut states) = (Found::default(), BTreeSet::new());
        let sent =
            (0..NODES).map(Id::from).flat_map(|src| messages(bounds, src).into_iter().map(move |msg| (src, msg)));
        let sent = sent.chain(requests().map(|msg| (CLIENT.into(), msg)));
        let timers = [Timer::Election, Timer::Resend, Timer::Flush, Timer::Deadline(1)].map(Input::Timeout);
        let inputs = sent.map(|(src, msg)| Input::Deliver { src, msg }).chain(timers).chain([Input::Start]);
        let inputs: Vec<Input<Msg, Timer>> = inputs.collect();
        let replica = Replica::<Audit>::new(configuration.clone(), options.clone());
        let locals = locals(&replica, bounds, *node);
        let closed = Closed::new(bounds, &replica, *node, &locals);
        let all = if *is_at_work { at_work(&replica, bounds, *node, &locals) } else { locals };
        for (state, stored) in all {
            let stored = Some(Arc::new(stored));
            if !is_allowed(&configuration, &resting(*node, (&state, &stored), &AT_REST)) {
                continue;
            }
            // A state is one, whatever the options.
            states.insert(digest(&(node, &state, &stored)));
            for input in &inputs {
                match take(&replica, &closed, *node, (&state, &stored), input) {
                    Ok(is_step) => found.generated += usize::from(is_step),
                    Err(why) => {
                        let step = format!("{node:?} is {state:?}, has stored {stored:?}, and takes {input:?}");
                        found.broken = Some((vec![step], why));
                        return (found, states);
                    }
                }
            }
        }
        (found, states)
    }
}

/// An input that says nothing: what else a step rests on is the state.
const AT_REST: Input<Msg, Timer> = Input::Timeout(Timer::Flush);

/// A step that was not taken yet.
fn resting<'a>(
    node: Id,
    (state, stored): (&'a State<Audit>, &'a Option<Stored>),
    input: &'a Input<Msg, Timer>,
) -> Seen<'a> {
    Seen { node, input, before: state, stored_before: stored, after: state, stored_after: stored, sends: &[] }
}

/// Takes a step. Returns whether it is one: it does something, and what it rests on can be true. The error says what is wrong with it.
fn take(
    replica: &Replica<Audit>,
    closed: &Closed<'_>,
    node: Id,
    (state, stored): (&State<Audit>, &Option<Stored>),
    input: &Input<Msg, Timer>,
) -> Result<bool, String> {
    let configuration = replica.configurations.at(0);
    let offered = resting(node, (state, stored), input);
    let run = || trace::step(replica, node, Some(state), stored, input);
    let Ok(step) = catch_unwind(AssertUnwindSafe(run)) else {
        return if is_allowed(configuration, &offered) { Err("it panics".into()) } else { Ok(false) };
    };
    let (mut stored_now, mut sends) = (stored.clone(), Vec::new());
    for output in step.outputs {
        match output {
            Output::Save(value) => stored_now = Some(value),
            Output::Send(dst, msg) => sends.push((dst, msg)),
            _ => {}
        }
    }
    let after = step.state.as_ref().unwrap_or(state);
    let is_other = after != state || stored_now != *stored;
    if !is_other && sends.is_empty() {
        return Ok(false);
    }
    let seen = Seen { after, stored_after: &stored_now, sends: &sends, ..offered };
    let (domain, known) = refines::premises(configuration, &seen, Looks::Everywhere);
    if !allows(&domain, known.clone(), &seen) {
        return Ok(false);
    }
    let broken = refines::broken_from(configuration, &domain, known, &seen).or_else(|| breaks_promises(&seen));
    // What the step left as it was is allowed: else it would not have been taken.
    let rests = || is_allowed(configuration, &resting(node, (after, &stored_now), &AT_REST));
    let broken = broken
        .or_else(|| (is_other && !rests()).then(|| "the invariant does not allow what is after it".into()))
        .or_else(|| if is_other { closed.leaves_out(after, &stored_or_empty(&stored_now)) } else { None })
        .or_else(|| closed.leaves_out_sent(&sends));
    broken.map_or(Ok(true), Err)
}

#[cfg(test)]
mod tests {
    use super::states::leaderships;
    use super::*;
    use crate::properties::audit::Tagged;
    use paxos_model::replica::Role;
    use paxos_model::replica::ballot::Ballot;
    use paxos_model::replica::durable::Durable;
    use paxos_model::replica::leader::Proposal;
    use paxos_model::replica::message::Entry;
    use stateright::actor::{Actor, Out};

    /// Whether it is allowed that node 0 has `stored`, has `memory`, and leads, if it does, with these proposals in slot 0.
    fn allowed(stored: &Durable<Audit>, memory: &Durable<Audit>, leads: Option<&[Entry<Tagged>]>) -> bool {
        let (node, configuration) = (Id::from(0), Configuration::of_voters(NODES));
        let replica = Replica::<Audit>::new(configuration.clone(), Options { snapshot_every: 0, ..Options::default() });
        let mut state = replica.on_start(node, &Some(Arc::new(memory.clone())), &mut Out::new());
        if let Some(proposed) = leads {
            let mut leader = leaderships(&Bounds::of(&OF_ALL), node, stored, 0).swap_remove(0);
            let proposal = |entry: &Entry<Tagged>| Proposal { entry: entry.clone(), bytes: 0, votes: BTreeSet::new() };
            leader.proposals = proposed.iter().map(|entry| (0, proposal(entry))).collect();
            state.role = Role::Leading(leader);
        }
        let stored = Some(Arc::new(stored.clone()));
        is_allowed(&configuration, &resting(node, (&state, &stored), &AT_REST))
    }

    #[test]
    fn the_ledger_says_how_many_clauses_are_asked() {
        let told = format!("({} of its clauses)", LOCAL.len());
        assert!(include_str!("../../../README.md").contains(&told), "{told}");
        assert!(LOCAL.iter().all(|local| clauses::<u8>().iter().any(|(name, _)| name == local)));
    }

    #[test]
    fn what_a_replica_shows_by_itself_must_be_allowed() {
        let [noop, batch] = Bounds::of(&OF_ALL).values;
        let promised = Ballot { round: 1, node: 0.into() };
        let mut voted = Durable { promised, ..Durable::default() };
        voted.accepted.insert(0, promised);
        voted.log.insert(0, noop.clone());
        let mut decided = voted.clone();
        decided.accepted.clear();
        decided.decided = 1;

        assert!(allowed(&voted, &voted, None) && allowed(&decided, &decided, None));
        // It leads with what it voted for, and remembers that.
        assert!(allowed(&voted, &voted, Some(std::slice::from_ref(&noop))));
        assert!(!allowed(&voted, &voted, Some(&[])));
        assert!(!allowed(&voted, &voted, Some(std::slice::from_ref(&batch))));
        // A vote that is left in a slot that is stored as decided.
        let left = Durable { accepted: voted.accepted.clone(), ..decided.clone() };
        assert!(!allowed(&left, &decided, None));
        // What it knows of a slot, and what it has stored there.
        let mut otherwise = decided.clone();
        otherwise.log.insert(0, batch);
        assert!(!allowed(&decided, &otherwise, None));
    }
}
