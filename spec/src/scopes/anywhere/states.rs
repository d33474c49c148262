//! What is enumerated: the states of a replica, and what may come to it.

use crate::properties::audit::{Audit, Tagged};
use crate::properties::party::Msg;
use imbl::OrdMap;
use paxos_model::kv::{Command, Put};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::durable::Durable;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::leader::{Leader, Proposal};
use paxos_model::replica::message::{Act, Arrived, Entry, Message, Operation, OperationId, SessionId, Vote};
use paxos_model::replica::proposer::Proposer;
use paxos_model::replica::snapshot::Arriving;
use paxos_model::replica::{Replica, Role, State};
use stateright::actor::{Actor, Id, Out};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The ballots in their order: the round and the owner of each.
pub(super) type Ballots = [(u64, usize); 3];

pub(super) const NODES: usize = 3;

/// A state of one replica, with what it has stored.
pub(super) type Local = (State<Audit>, Durable<Audit>);

pub(super) fn ballots_of(ballots: &Ballots) -> Vec<Ballot> {
    ballots.iter().map(|(round, node)| Ballot { round: *round, node: (*node).into() }).collect()
}

fn operation(sequence: u64) -> Operation<Tagged> {
    let puts = vec![Put { key: "k".into(), val: "v".into(), ver: None }];
    let act = Act::Apply(Tagged { tag: 1, command: Command::Write { puts, atomic: false } });
    let id = OperationId { session: SessionId { slot: 1000, position: 0 }, sequence };
    Operation::InSession { id, by_node: false, acknowledged_below: 1, act }
}

pub(super) fn values() -> [Entry<Tagged>; 2] {
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
            all.push((stored.clone(), memory));
        }
        if vote.is_some() {
            continue;
        }
        // Stored as decided: with its value, or by a snapshot that was taken over.
        let snapshot = Executor { applied: 1, ..Executor::default() };
        let cut = Durable { decided: 1, snapshot, ..stored.clone() };
        let with = |entry| Durable { decided: 1, log: OrdMap::unit(0, entry), ..stored.clone() };
        for decided in values().map(with).into_iter().chain([cut]) {
            // Before the promise, or after it.
            for promised_at in 0..=1 {
                let decided = Durable { promised_at, ..decided.clone() };
                all.push((decided.clone(), decided));
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
        for first in stored.promised_at..=2 {
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
pub(super) fn leaderships(node: Id, stored: &Durable<Audit>, decided: Slot) -> Vec<Leader<Tagged>> {
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
    let proposal = |entry: &Entry<Tagged>, votes| Proposal { entry: entry.clone(), bytes: 0, votes };
    let proposes = |proposals: BTreeMap<Slot, Proposal<Tagged>>| {
        let operations = proposals.values().flat_map(|proposal| proposal.entry.operations());
        let known = operations.map(Operation::key).collect();
        Leader { next: decided + proposals.len() as Slot, proposals, known, ..empty.clone() }
    };
    // Its own vote it has stored, and for what it proposed; and none in a second slot.
    let is_own = |votes: &BTreeSet<Id>| votes.contains(&node);
    let has_stored = |entry: &Entry<Tagged>| {
        stored.accepted.get(&decided) == Some(&stored.promised) && stored.log.get(&decided) == Some(entry)
    };
    all.push(empty.clone());
    let mut two = Vec::new();
    for (entry, votes) in values().iter().flat_map(|entry| sets().map(move |votes| (entry, votes))) {
        if is_own(&votes) && !has_stored(entry) {
            continue;
        }
        let first = proposal(entry, votes);
        all.push(proposes(BTreeMap::from([(decided, first.clone())])));
        for (next, votes) in values().iter().flat_map(|next| sets().map(move |votes| (next, votes))) {
            if !is_own(&votes) {
                two.push(proposes(BTreeMap::from([(decided, first.clone()), (decided + 1, proposal(next, votes))])));
            }
        }
    }
    // Who hears nobody steps down.
    let unheard = all.clone().into_iter().map(|leader| Leader { contacts: BTreeSet::new(), ..leader });
    let unheard = unheard.collect::<Vec<_>>();
    // And with something to propose next.
    let waiting = operation(1);
    let queued = all.clone().into_iter().map(|mut leader| {
        leader.known.insert(waiting.key());
        leader.queue.push_back(waiting.clone());
        leader
    });
    all.extend(queued.collect::<Vec<_>>());
    all.extend(unheard);
    all.extend(two);
    all
}

pub(super) fn locals(replica: &Replica<Audit>, ballots: &[Ballot], node: Id) -> Vec<Local> {
    let mut all = Vec::new();
    for (stored, memory) in durables(ballots) {
        let mut out = Out::new();
        let started = replica.on_start(node, &Some(Arc::new(memory)), &mut out);
        let is_heard = |ballot: &&Ballot| **ballot >= stored.promised && ballot.node != node;
        let heard = ballots.iter().filter(is_heard).copied().map(Some);
        for following in [None].into_iter().chain(heard) {
            all.push((State { following, ..started.clone() }, stored.clone()));
        }
        // For the ballot after what it promised, or after what it was outbid by.
        let above = ballots.iter().filter(|ballot| **ballot > stored.promised);
        let polled: BTreeSet<Ballot> = [stored.promised].iter().chain(above).map(|ballot| ballot.next(node)).collect();
        for (ballot, granted) in polled.iter().flat_map(|ballot| sets().map(move |granted| (*ballot, granted))) {
            if granted.contains(&node) {
                all.push((State { role: Role::Polling { ballot, granted }, ..started.clone() }, stored.clone()));
            }
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

/// Of each of these, all that differ in one thing that no clause speaks of, and that handlers look at: whether it fetches, what it was outbid by,
/// what of a snapshot has arrived, whom a leader heard, and whether it has something to propose.
pub(super) fn at_work(ballots: &[Ballot], node: Id, at_rest: &[Local]) -> Vec<Local> {
    let other = (0..NODES).map(Id::from).find(|other| *other != node);
    let heard = [BTreeSet::new(), other.into_iter().collect(), (0..NODES).map(Id::from).collect()];
    let mut all = Vec::new();
    for (state, stored) in at_rest {
        let mut add = |state: State<Audit>| all.push((state, stored.clone()));
        add(State { fetching: true, ..state.clone() });
        ballots.iter().for_each(|outbid| add(State { outbid: *outbid, ..state.clone() }));
        if let Role::Leading(leader) = &state.role {
            let mut lead = |leader| add(State { role: Role::Leading(leader), ..state.clone() });
            for contacts in heard.iter().filter(|contacts| **contacts != leader.contacts) {
                lead(Leader { contacts: contacts.clone(), ..leader.clone() });
            }
            if leader.queue.is_empty() {
                let waiting = operation(1);
                let mut leader = leader.clone();
                leader.known.insert(waiting.key());
                leader.queue.push_back(waiting);
                lead(leader);
            }
        }
        for slot in state.durable.decided + 1..=2 {
            let executor = Executor { applied: slot, ..Executor::default() };
            let arriving = Some(Arriving { executor, after: None });
            let memory = Durable { arriving: arriving.clone(), ..(*state.durable).clone() };
            let state = State { durable: Arc::new(memory), ..state.clone() };
            all.push((state, Durable { arriving, ..stored.clone() }));
        }
    }
    all
}

/// What may come from `src`.
pub(super) fn messages(ballots: &[Ballot], src: Id) -> Vec<Msg> {
    let mut all = Vec::new();
    for ballot in ballots.iter().copied() {
        if ballot.node == src {
            all.push(Message::Prepare { ballot });
            all.extend((0..=2).map(|decided| Message::Heartbeat { ballot, decided, round: 0 }));
            for (slot, entry) in (0..=1).flat_map(|slot| values().map(|entry| (slot, entry))) {
                all.push(Message::Accept { ballot, slot, entry });
            }
        }
        all.extend((0..=1).map(|round| Message::HeartbeatAck { ballot, round }));
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
    // Asked for is the next ballot after what is promised, or after what it was outbid by.
    let promises = || [Ballot::default()].into_iter().chain(ballots.iter().copied());
    for outbid in promises() {
        let lower = promises().filter(|promised| *promised <= outbid);
        all.extend(lower.map(|promised| Message::PreVote { ballot: outbid.next(src), promised }));
    }
    let polled = |node| promises().map(move |promised| Message::PreVoted { ballot: promised.next(Id::from(node)) });
    all.extend((0..NODES).flat_map(polled));
    for entry in values() {
        all.extend((0..=1).map(|from| Message::Decided { from, entries: vec![entry.clone()] }));
        all.extend(values().map(|next| Message::Decided { from: 0, entries: vec![entry.clone(), next] }));
    }
    for (from, arriving) in (0..=2).flat_map(|from| [(from, None), (from, Some(Arrived { slot: 1, after: None }))]) {
        all.push(Message::Fetch { from, arriving });
    }
    for last in [false, true] {
        all.extend((1..=2).map(|slot| Message::Part { slot, after: None, pieces: Vec::new(), last }));
    }
    all.push(Message::Forward { operations: [operation(2)].into(), relayed: true });
    all
}
