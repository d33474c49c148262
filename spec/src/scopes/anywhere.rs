//! One step from anywhere: every state of a replica that the proved invariant allows, within bounds and reachable or not, takes
//! every step that elections, votes and decisions may ask of it; each must be a few steps of the abstract protocol, or none, and lead to
//! what the invariant allows of the replica again, by itself.
//!
//! Such steps keep the invariant, whatever the bounds (`spec/proof/`): so a step that breaks it would be found here, however deep the state lies
//! in which it is taken. Of the slot after the one there is what may be proposed, promised and told there, and no vote that the replica
//! itself has stored: a step may lead out of these states, by a vote there. Nor are there snapshots but one that is taken over.
//! What makes it live is as at a start: whom it heard (but that a leader may have heard nobody), which promises it was told of, whom it
//! fetches from; there are no requests, reads and deadlines.

use super::alone::{Alone, Found};
use crate::properties::audit::{Audit, Tagged};
use crate::properties::effect::digest;
use crate::properties::party::{Msg, Stored};
use crate::properties::refines;
use crate::properties::step::{Looks, Seen};
use crate::properties::transition::{self, ReplicaStep, stored_or_empty};
use crate::refinement::invariant::clauses;
use paxos_model::kv::{Command, Put};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::leader::{Leader, Proposal};
use paxos_model::replica::message::{Act, Entry, Message, Operation, OperationId, SessionId, Vote};
use paxos_model::replica::proposer::Proposer;
use paxos_model::replica::{Options, Replica, Role, State, Timer};
use paxos_model::trace::{self, Input};
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

/// The scope.
pub const SCOPE: Alone = Alone {
    name: "one-step-from-anywhere",
    description: "every step from every state of one slot that the proved invariant allows, reachable or not",
    bounds: "each of 3 replicas, 1 slot and what is told of the next, 3 ballots, one a replica, 2 values, no requests or reads, no snapshot but one that is taken over",
    default: true,
    property: "refines-spec",
    explore: || explore(&[[(1, 0), (1, 1), (1, 2)]]),
};

/// The same where a replica owns more than one of the ballots, which follow each other in every order that there is up to names. Ballots of
/// two owners are in one round, and in different ones.
pub const SCOPE_OF_OWNERS: Alone = Alone {
    name: "one-step-from-anywhere-owners",
    description: "every step from every state of one slot that the proved invariant allows, where a replica owns two or all of the ballots",
    bounds: "as in one-step-from-anywhere, but with the ballots of one replica, or of two in each of the three orders",
    default: false,
    property: "refines-spec",
    explore: || {
        explore(&[
            [(1, 0), (2, 0), (3, 0)],
            [(1, 0), (2, 0), (2, 1)],
            [(1, 0), (1, 1), (2, 0)],
            [(1, 0), (2, 1), (3, 1)],
        ])
    },
};

/// The ballots in their order: the round and the owner of each.
type Ballots = [(u64, usize); 3];

const NODES: usize = 3;

/// A state of one replica, with what it has stored.
type Local = (State<Audit>, Durable<Audit>);

fn ballots_of(ballots: &Ballots) -> Vec<Ballot> {
    ballots.iter().map(|(round, node)| Ballot { round: *round, node: (*node).into() }).collect()
}

fn operation(sequence: u64) -> Operation<Tagged> {
    let puts = vec![Put { key: "k".into(), val: "v".into(), ver: None }];
    let act = Act::Apply(Tagged { tag: 1, command: Command::Write { puts, atomic: false } });
    let id = OperationId { session: SessionId { slot: 1000, position: 0 }, sequence };
    Operation::InSession { id, by_node: false, acknowledged_below: 1, act }
}

fn values() -> [Entry<Tagged>; 2] {
    [Entry::Noop, Entry::Batch([operation(1)].into())]
}

/// No vote, and every vote in one of the ballots that `is_so`.
fn votes(ballots: &[Ballot], is_so: impl Fn(&Ballot) -> bool) -> Vec<Option<(Ballot, Entry<Tagged>)>> {
    let cast = |ballot: Ballot| values().map(|entry| Some((ballot, entry)));
    [None].into_iter().chain(ballots.iter().copied().filter(is_so).flat_map(cast)).collect()
}

fn sets() -> impl Iterator<Item = BTreeSet<Id>> {
    let members = |set: u32| (0..NODES).filter(|node| set & 1 << node != 0).map(Id::from).collect();
    (0u32..1 << NODES).map(members)
}

/// What a replica may have stored, and what of it, with later decisions, it may have in memory.
fn durables(ballots: &[Ballot]) -> Vec<(Durable<Audit>, Durable<Audit>)> {
    let mut all = Vec::new();
    let promises = [Ballot::default()].into_iter().chain(ballots.iter().copied());
    for (promised, vote) in promises
        .flat_map(|promised| votes(ballots, |ballot| *ballot <= promised).into_iter().map(move |vote| (promised, vote)))
    {
        let mut stored = Durable { promised, ..Durable::default() };
        if let Some((ballot, entry)) = &vote {
            stored.accepted.insert(0, *ballot);
            stored.log.insert(0, entry.clone());
        }
        all.push((stored.clone(), stored.clone()));
        for entry in values() {
            let mut memory = stored.clone();
            memory.accepted.clear();
            memory.log.insert(0, entry);
            memory.decided = 1;
            all.push((stored.clone(), memory.clone()));
            if vote.is_none() {
                for promised_at in 0..=1 {
                    memory.promised_at = promised_at;
                    all.push((memory.clone(), memory.clone()));
                }
            }
        }
    }
    all
}

/// The candidacies that a replica may be in, with the promise that it has stored.
fn candidacies(ballots: &[Ballot], node: Id, stored: &Durable<Audit>) -> Vec<Proposer<Tagged>> {
    let own = stored.accepted.get(&0).map(|ballot| (*ballot, stored.log[&0].clone()));
    if own.as_ref().is_some_and(|(ballot, _)| *ballot == stored.promised) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for promised in sets().filter(|set| set.contains(&node)) {
        for first in stored.promised_at..=1 {
            let source = promised.iter().copied().find(|other| *other != node && first > stored.promised_at);
            for top in votes(ballots, |ballot| *ballot < stored.promised) {
                // Its own vote is among those reported, if it had one.
                if top.as_ref().map(|(ballot, _)| *ballot) < own.as_ref().map(|(ballot, _)| *ballot) {
                    continue;
                }
                for next in votes(ballots, |ballot| *ballot < stored.promised) {
                    let votes = [(0, top.clone()), (1, next)];
                    let votes = votes.into_iter().filter_map(|(slot, vote)| Some((slot, vote?)));
                    all.push(Proposer {
                        ballot: stored.promised,
                        promised: promised.clone(),
                        votes: votes.collect(),
                        first,
                        source: source.unwrap_or(node),
                    });
                }
            }
        }
    }
    all
}

/// The ways in which a replica may lead in the ballot that it promised.
fn leaderships(node: Id, stored: &Durable<Audit>, decided: Slot) -> Vec<Leader<Tagged>> {
    let mut all = Vec::new();
    let empty = Leader {
        ballot: stored.promised,
        next: decided,
        proposals: BTreeMap::new(),
        queue: VecDeque::new(),
        known: BTreeSet::new(),
        contacts: (0..NODES).map(Id::from).collect(),
        round: 0,
        acknowledged: BTreeMap::new(),
        reads: Vec::new(),
        rounds: BTreeMap::new(),
    };
    all.push(empty.clone());
    for entry in values() {
        for votes in sets() {
            // Its own vote it has stored, and for what it proposed.
            let own = stored.accepted.get(&decided).is_some_and(|ballot| *ballot == stored.promised);
            if votes.contains(&node) && !(own && stored.log.get(&decided) == Some(&entry)) {
                continue;
            }
            let known = entry.operations().iter().map(Operation::key).collect();
            let proposals = BTreeMap::from([(decided, Proposal { entry: entry.clone(), bytes: 0, votes })]);
            all.push(Leader { next: decided + 1, proposals, known, ..empty.clone() });
        }
    }
    // Who hears nobody steps down.
    let unheard = all.clone().into_iter().map(|leader| Leader { contacts: BTreeSet::new(), ..leader });
    let unheard = unheard.collect::<Vec<_>>();
    // And with something to propose next.
    let waiting = operation(2);
    let queued = all.clone().into_iter().map(|mut leader| {
        leader.known.insert(waiting.key());
        leader.queue.push_back(waiting.clone());
        leader
    });
    all.extend(queued.collect::<Vec<_>>());
    all.extend(unheard);
    all
}

fn locals(replica: &Replica<Audit>, ballots: &[Ballot], node: Id) -> Vec<Local> {
    let mut all = Vec::new();
    for (stored, memory) in durables(ballots) {
        let mut out = Out::new();
        let started = replica.on_start(node, &Some(Arc::new(memory)), &mut out);
        let heard = ballots.iter().filter(|ballot| **ballot >= stored.promised).copied().map(Some);
        for following in [None].into_iter().chain(heard) {
            all.push((State { following, ..started.clone() }, stored.clone()));
        }
        let ballot = stored.promised.next(node);
        for granted in sets().filter(|set| set.contains(&node)) {
            all.push((State { role: Role::Polling { ballot, granted }, ..started.clone() }, stored.clone()));
        }
        if stored.promised.node != node || stored.promised == Ballot::default() {
            continue;
        }
        for proposer in candidacies(ballots, node, &stored) {
            all.push((State { role: Role::Preparing(proposer), ..started.clone() }, stored.clone()));
        }
        for leader in leaderships(node, &stored, started.durable.decided) {
            let following = Some(leader.ballot);
            all.push((State { role: Role::Leading(leader), following, ..started.clone() }, stored.clone()));
        }
    }
    all
}

/// What may come from `src`.
fn messages(ballots: &[Ballot], src: Id) -> Vec<Msg> {
    let mut all = Vec::new();
    for ballot in ballots.iter().copied() {
        if ballot.node == src {
            all.push(Message::Prepare { ballot });
            all.extend((0..=2).map(|decided| Message::Heartbeat { ballot, decided, round: 0 }));
            for (slot, entry) in (0..=1).flat_map(|slot| values().map(|entry| (slot, entry))) {
                all.push(Message::Accept { ballot, slot, entry });
            }
            all.push(Message::PreVote { ballot, promised: ballot });
        }
        all.push(Message::PreVoted { ballot });
        all.push(Message::HeartbeatAck { ballot, round: 0 });
        all.extend((0..=1).map(|slot| Message::Accepted { ballot, slot }));
        all.push(Message::Promise { ballot, first: 2, votes: Vec::new() });
        let below = || votes(ballots, |lower| *lower < ballot);
        for next in below() {
            let vote =
                |slot, vote: Option<(Ballot, Entry<Tagged>)>| vote.map(|(ballot, entry)| Vote { slot, ballot, entry });
            all.push(Message::Promise { ballot, first: 1, votes: vote(1, next.clone()).into_iter().collect() });
            for first in below() {
                let votes = vote(0, first).into_iter().chain(vote(1, next.clone())).collect();
                all.push(Message::Promise { ballot, first: 0, votes });
            }
        }
    }
    for entry in values() {
        all.extend((0..=1).map(|from| Message::Decided { from, entries: vec![entry.clone()] }));
        all.extend(values().map(|next| Message::Decided { from: 0, entries: vec![entry.clone(), next] }));
    }
    all.extend((0..=1).map(|from| Message::Fetch { from, arriving: None }));
    for last in [false, true] {
        all.extend((1..=2).map(|slot| Message::Part { slot, after: None, pieces: Vec::new(), last }));
    }
    all.push(Message::Forward { operations: [operation(2)].into(), relayed: true });
    all
}

/// Whether what a step rests on can all be true.
fn is_allowed(configuration: &Configuration, seen: &Seen<'_>) -> bool {
    // Nobody tells itself what it leads in.
    if matches!(seen.delivered(), Some((src, Message::Heartbeat { .. } | Message::Prepare { .. })) if src == seen.node)
    {
        return false;
    }
    let (domain, mut known) = refines::premises(configuration, seen, Looks::Everywhere);
    if refines::remembers(&known, seen.before).is_err() {
        return false;
    }
    // Votes of others say nothing of what they have stored, and what is reported was proposed.
    known.votes.retain(|(.., node)| *node == seen.node);
    let reported = known.reports.iter().filter_map(|((_, _, slot), vote)| Some((*slot, vote.clone()?)));
    known.proposals.extend(reported.map(|(slot, (ballot, value))| (ballot, slot, value)));
    // The other clauses speak of what others have stored, and of what this one does not know.
    const LOCAL: [&str; 5] = ["OneProposal", "VoteIsProposed", "AcceptedIsVote", "AcceptedIsOpen", "AcceptedIsLatest"];
    let holds = clauses().iter().filter(|(name, _)| LOCAL.contains(name)).all(|(_, holds)| holds(&known, &domain));
    let mut values = BTreeMap::new();
    let agree = known.decided.iter().filter(|(_, value)| value.is_some());
    holds && agree.into_iter().all(|(slot, value)| *values.entry(slot).or_insert(value) == value)
}

fn explore(all: &[Ballots]) -> Found {
    let mut found = Found { depth: 1, ..Found::default() };
    // Some lie in the bounds of several.
    let mut states = BTreeSet::new();
    for ballots in all {
        let ballots = &ballots_of(ballots);
        let parts = thread::scope(|scope| {
            let nodes = (0..NODES).map(Id::from);
            let threads = nodes.map(|node| scope.spawn(move || explore_at(ballots, node))).collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        for (part, of_part) in parts {
            states.extend(of_part);
            found.generated += part.generated;
            found.broken = found.broken.or(part.broken);
        }
        if found.broken.is_some() {
            break;
        }
    }
    Found { unique: states.len(), ..found }
}

/// All of one node, without a pre-vote, and with one and with the next slot beyond the horizon; and the fingerprints of its states.
fn explore_at(ballots: &[Ballot], node: Id) -> (Found, BTreeSet<u64>) {
    let configuration = Configuration::of_voters(NODES);
    let (mut found, mut states) = (Found::default(), BTreeSet::new());
    let sent = (0..NODES).map(Id::from).flat_map(|src| messages(ballots, src).into_iter().map(move |msg| (src, msg)));
    let timers = [Timer::Election, Timer::Resend, Timer::Flush].map(Input::Timeout);
    let inputs = sent.map(|(src, msg)| Input::Deliver { src, msg }).chain(timers).chain([Input::Start]);
    let inputs: Vec<Input<Msg, Timer>> = inputs.collect();
    let wide = Options { snapshot_every: 0, pre_vote: false, ..Options::default() };
    for options in [wide.clone(), Options { pre_vote: true, window: 1, horizon: 1, ..wide }] {
        let replica = Replica::<Audit>::new(configuration.clone(), options);
        for (state, stored) in locals(&replica, ballots, node) {
            let stored = Some(Arc::new(stored));
            if !is_allowed(&configuration, &resting(node, (&state, &stored), &AT_REST)) {
                continue;
            }
            // A state is one, whatever the options.
            states.insert(digest(&(node, &state, &stored)));
            for input in &inputs {
                if let Some(why) = take(&replica, &configuration, node, (&state, &stored), input, &mut found.generated)
                {
                    let step = format!("{node:?} is {state:?}, has stored {stored:?}, and takes {input:?}");
                    found.broken = Some((vec![step], why));
                    return (found, states);
                }
            }
        }
    }
    (found, states)
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

/// Takes a step, if what it rests on can be true. Says what is wrong with it.
fn take(
    replica: &Replica<Audit>,
    configuration: &Configuration,
    node: Id,
    (state, stored): (&State<Audit>, &Option<Stored>),
    input: &Input<Msg, Timer>,
    steps: &mut usize,
) -> Option<String> {
    let offered = resting(node, (state, stored), input);
    if !is_allowed(configuration, &offered) {
        return None;
    }
    *steps += 1;
    let run = || trace::step(replica, node, Some(state), stored, input);
    let Ok(step) = catch_unwind(AssertUnwindSafe(run)) else { return Some("it panics".into()) };
    let (mut stored_now, mut sends) = (stored.clone(), Vec::new());
    for output in step.outputs {
        match output {
            Output::Save(value) => stored_now = Some(value),
            Output::Send(dst, msg) => sends.push((dst, msg)),
            _ => {}
        }
    }
    let after = step.state.as_ref().unwrap_or(state);
    let seen = Seen { after, stored_after: &stored_now, sends: &sends, ..offered };
    let (stored_before, stored_after) = (stored_or_empty(stored), stored_or_empty(&stored_now));
    let kept = ReplicaStep { node, before: &stored_before, after: &stored_after, state: after, sends: &sends };
    let broken = refines::broken(configuration, &seen, Looks::Everywhere)
        .or_else(|| transition::broken(&kept))
        .or_else(|| transition::heeds_another_ballot(&seen, state));
    broken.or_else(|| {
        // What the step left as it was is allowed: else it would not have been taken.
        let is_other = after != state || stored_now != *stored;
        let rests = resting(node, (after, &stored_now), &AT_REST);
        (is_other && !is_allowed(configuration, &rests)).then(|| "the invariant does not allow what is after it".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is allowed that node 0 has `stored`, has `memory`, and leads, if it does, with these proposals in slot 0.
    fn allowed(stored: &Durable<Audit>, memory: &Durable<Audit>, leads: Option<&[Entry<Tagged>]>) -> bool {
        let (node, configuration) = (Id::from(0), Configuration::of_voters(NODES));
        let replica = Replica::<Audit>::new(configuration.clone(), Options { snapshot_every: 0, ..Options::default() });
        let mut state = replica.on_start(node, &Some(Arc::new(memory.clone())), &mut Out::new());
        if let Some(proposed) = leads {
            let mut leader = leaderships(node, stored, 0).swap_remove(0);
            let proposal = |entry: &Entry<Tagged>| Proposal { entry: entry.clone(), bytes: 0, votes: BTreeSet::new() };
            leader.proposals = proposed.iter().map(|entry| (0, proposal(entry))).collect();
            state.role = Role::Leading(leader);
        }
        let stored = Some(Arc::new(stored.clone()));
        is_allowed(&configuration, &resting(node, (&state, &stored), &AT_REST))
    }

    #[test]
    fn what_a_replica_shows_by_itself_must_be_allowed() {
        let [noop, batch] = values();
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
