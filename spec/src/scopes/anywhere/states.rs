//! What is enumerated: the states of a replica.

use crate::properties::audit::{Audit, Tagged};
use imbl::OrdMap;
use paxos_model::kv::{Command, Put};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::durable::Durable;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::leader::{Leader, Proposal};
use paxos_model::replica::message::{Act, Entry, Operation, OperationId, SessionId, entry_bytes};
use paxos_model::replica::proposer::Proposer;
use paxos_model::replica::{Replica, Role, State};
use stateright::actor::{Actor, Id, Out};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The ballots in their order: the round and the owner of each.
pub(super) type Ballots = [(u64, usize); 3];

pub(super) const NODES: usize = 3;

/// What the states are made of.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// In their order.
    pub ballots: Vec<Ballot>,
    /// What a slot may hold.
    pub values: [Entry<Tagged>; 2],
    /// In so many slots, from 0, a replica that does not lead may have stored votes of its own.
    pub votes: Slot,
}

impl Bounds {
    /// A no-op and a batch, and own votes in the first slot.
    pub(super) fn of(ballots: &Ballots) -> Bounds {
        let ballots = ballots.iter().map(|(round, node)| Ballot { round: *round, node: (*node).into() }).collect();
        Bounds { ballots, values: [Entry::Noop, Entry::Batch([operation(1, 1)].into())], votes: 1 }
    }

    /// Two batches of operations that have the same names, and own votes in the next slot, too.
    pub(super) fn of_two_slots(ballots: &Ballots) -> Bounds {
        let values = [1, 2].map(|below| Entry::Batch([operation(2, below)].into()));
        Bounds { values, votes: 2, ..Bounds::of(ballots) }
    }

    /// No vote, and every vote in one of the ballots that `is_so`.
    pub(super) fn votes(&self, is_so: impl Fn(&Ballot) -> bool) -> Vec<Option<(Ballot, Entry<Tagged>)>> {
        let cast = |ballot: Ballot| self.values.clone().map(|entry| Some((ballot, entry)));
        [None].into_iter().chain(self.ballots.iter().copied().filter(is_so).flat_map(cast)).collect()
    }
}

/// A state of one replica, with what it has stored.
pub(super) type Local = (State<Audit>, Durable<Audit>);

/// An operation with this number, below which its client has the answers up to another.
pub(super) fn operation(sequence: u64, acknowledged_below: u64) -> Operation<Tagged> {
    let puts = vec![Put { key: "k".into(), val: "v".into(), ver: None }];
    let act = Act::Apply(Tagged { tag: 1, command: Command::Write { puts, atomic: false } });
    let id = OperationId { session: SessionId { slot: 1000, position: 0 }, sequence };
    Operation::InSession { id, by_node: false, acknowledged_below, act }
}

fn sets() -> impl Iterator<Item = BTreeSet<Id>> {
    let members = |set: u32| (0..NODES).filter(|node| set & 1 << node != 0).map(Id::from).collect();
    (0u32..1 << NODES).map(members)
}

/// What a replica may have stored, and what of it, with later decisions, it may have in memory.
fn durables(bounds: &Bounds) -> Vec<(Durable<Audit>, Durable<Audit>)> {
    let mut all = Vec::new();
    let promises = [Ballot::default()].into_iter().chain(bounds.ballots.iter().copied());
    for (promised, vote) in promises
        .flat_map(|promised| bounds.votes(|ballot| *ballot <= promised).into_iter().map(move |vote| (promised, vote)))
    {
        let mut stored = Durable { promised, ..Durable::default() };
        if let Some((ballot, entry)) = &vote {
            stored.accepted.insert(0, *ballot);
            stored.log.insert(0, entry.clone());
        }
        all.push((stored.clone(), stored.clone()));
        for entry in bounds.values.clone() {
            let mut memory = stored.clone();
            memory.accepted.clear();
            memory.log.insert(0, entry);
            memory.decided = 1;
            all.push((stored.clone(), memory));
        }
        // Decided in memory, and truncated there already.
        let snapshot = Executor { applied: 1, ..Executor::default() };
        all.push((stored.clone(), Durable { decided: 1, snapshot, promised, ..Durable::default() }));
        if vote.is_some() {
            continue;
        }
        // Stored as decided: with its value, or by a snapshot that was taken over.
        let snapshot = Executor { applied: 1, ..Executor::default() };
        let cut = Durable { decided: 1, snapshot, ..stored.clone() };
        let with = |entry| Durable { decided: 1, log: OrdMap::unit(0, entry), ..stored.clone() };
        for decided in bounds.values.clone().map(with).into_iter().chain([cut]) {
            // Before the promise, or after it.
            for promised_at in 0..=1 {
                let decided = Durable { promised_at, ..decided.clone() };
                all.push((decided.clone(), decided));
            }
        }
    }
    // And its votes in the next slot.
    let next = all.iter().flat_map(|(stored, memory)| {
        let votes = bounds.votes(|ballot| bounds.votes > 1 && *ballot <= stored.promised).into_iter().flatten();
        votes.map(move |(ballot, entry)| {
            [stored, memory].map(|durable| Durable {
                accepted: durable.accepted.update(1, ballot),
                log: durable.log.update(1, entry.clone()),
                ..durable.clone()
            })
        })
    });
    let next: Vec<_> = next.map(|[stored, memory]| (stored, memory)).collect();
    all.extend(next);
    all
}

/// The candidacies that a replica may be in, with the promise that it has stored.
fn candidacies(bounds: &Bounds, node: Id, stored: &Durable<Audit>) -> Vec<Proposer<Tagged>> {
    if stored.accepted.values().any(|ballot| *ballot == stored.promised) {
        return Vec::new();
    }
    // Its own vote is among those reported, if it had one.
    let reported = |slot: Slot| {
        let own = stored.accepted.get(&slot).copied();
        let votes = bounds.votes(|ballot| *ballot < stored.promised).into_iter();
        votes.filter(move |top| top.as_ref().map(|(ballot, _)| *ballot) >= own)
    };
    let mut all = Vec::new();
    for promised in sets().filter(|set| set.contains(&node)) {
        for first in stored.promised_at..=2 {
            let source = promised.iter().copied().find(|other| *other != node && first > stored.promised_at);
            for top in reported(0) {
                for next in reported(1) {
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
pub(super) fn leaderships(bounds: &Bounds, node: Id, stored: &Durable<Audit>, decided: Slot) -> Vec<Leader<Tagged>> {
    let values = &bounds.values;
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
    let proposal =
        |entry: &Entry<Tagged>, votes| Proposal { entry: entry.clone(), bytes: entry_bytes::<Audit>(entry), votes };
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
    for (entry, votes) in values.iter().flat_map(|entry| sets().map(move |votes| (entry, votes))) {
        if is_own(&votes) && !has_stored(entry) {
            continue;
        }
        let first = proposal(entry, votes);
        all.push(proposes(BTreeMap::from([(decided, first.clone())])));
        for (next, votes) in values.iter().flat_map(|next| sets().map(move |votes| (next, votes))) {
            if !is_own(&votes) {
                two.push(proposes(BTreeMap::from([(decided, first.clone()), (decided + 1, proposal(next, votes))])));
            }
        }
    }
    // Who hears nobody steps down.
    let unheard = all.clone().into_iter().map(|leader| Leader { contacts: BTreeSet::new(), ..leader });
    let unheard = unheard.collect::<Vec<_>>();
    let queued = all.clone().into_iter().map(with_queue);
    all.extend(queued.collect::<Vec<_>>());
    all.extend(unheard);
    all.extend(two);
    all
}

/// The same leader, with something to propose next.
pub(super) fn with_queue(mut leader: Leader<Tagged>) -> Leader<Tagged> {
    let waiting = operation(1, 1);
    leader.known.insert(waiting.key());
    leader.queue.push_back(waiting);
    leader
}

pub(super) fn locals(replica: &Replica<Audit>, bounds: &Bounds, node: Id) -> Vec<Local> {
    let mut all = Vec::new();
    let ballots = &bounds.ballots;
    for (stored, memory) in durables(bounds) {
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
        for proposer in candidacies(bounds, node, &stored) {
            all.push((State { role: Role::Preparing(proposer), ..started.clone() }, stored.clone()));
        }
        if stored.log.contains_key(&1) {
            continue;
        }
        for leader in leaderships(bounds, node, &stored, started.durable.decided) {
            let following = Some(leader.ballot);
            all.push((State { role: Role::Leading(leader), following, ..started.clone() }, stored.clone()));
        }
    }
    all
}
