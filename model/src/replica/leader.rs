//! Phase 2, and what only a leader does: batches, the window, read rounds, retransmission.
//!
//! Reads (D. Ongaro's thesis, section 6.4, without its clock): a read round is confirmed once a quorum acknowledged a
//! heartbeat that was first sent after the read arrived. Nobody of that quorum had then promised a higher ballot, so nothing
//! was chosen that this leader has neither inherited nor proposed: all of that lies below `next`.

use super::ballot::{Ballot, Slot};
use super::configuration::Configurations;
use super::message::{Entry, Message, Operation, OperationKey, ReadId, entry_bytes, fitting, operation_bytes};
use super::{Handler, Role, Timer};
use crate::machine::{StateMachine, Value};
use crate::mark::Mark;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A proposed slot that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub struct Proposal<C: Value> {
    /// What is proposed.
    pub entry: Entry<C>,
    /// About how many bytes it takes.
    pub bytes: usize,
    /// Who voted for it in this ballot.
    pub votes: BTreeSet<Id>,
}

/// What a leader knows; it is lost with the leadership.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub struct Leader<C: Value> {
    /// The ballot that a quorum promised.
    pub ballot: Ballot,
    /// The next slot to propose in.
    pub next: Slot,
    /// Slots proposed in and not decided.
    pub proposals: BTreeMap<Slot, Proposal<C>>,
    /// Operations that wait to be proposed.
    pub queue: VecDeque<Operation<C>>,
    /// The operations that are queued or proposed.
    pub known: BTreeSet<OperationKey>,
    /// Who was heard since contact was last judged.
    pub contacts: BTreeSet<Id>,
    /// The latest read round.
    pub round: u64,
    /// The latest round that each member acknowledged.
    pub acknowledged: BTreeMap<Id, u64>,
    /// Reads that wait for the next round, which begins when the present one is confirmed.
    pub reads: Vec<(Id, ReadId)>,
    /// The round on its way, if any: from which slot on its reads may be served, and who asked.
    pub rounds: BTreeMap<u64, (Slot, Vec<(Id, ReadId)>)>,
}

impl<C: Value> Leader<C> {
    /// Whether this leader, `id`, heard from a quorum of the configurations in use since that was last judged.
    pub fn heard_quorum(&self, id: Id, configurations: &Configurations) -> bool {
        let mut heard = self.contacts.clone();
        heard.insert(id);
        configurations.is_quorum_over(self.next..self.next, &heard)
    }
}

impl<S: StateMachine> Handler<'_, '_, S> {
    /// Begins to lead in `ballot`, with everything below `decided` known. A new leader counts as having heard everybody: it
    /// is judged by what it hears from now on.
    pub(super) fn lead(&mut self, ballot: Ballot, decided: Slot) {
        assert_eq!(self.state.durable.promised, ballot, "a leader has promised its own ballot");
        let leader = Leader {
            ballot,
            next: decided,
            proposals: BTreeMap::new(),
            queue: VecDeque::new(),
            known: BTreeSet::new(),
            contacts: self.replica.configurations.at(decided).voters().collect(),
            round: 0,
            acknowledged: BTreeMap::new(),
            reads: Vec::new(),
            rounds: BTreeMap::new(),
        };
        let state = self.state.to_mut();
        state.role = Role::Leading(leader);
        state.following = Some(ballot);
        self.arm_election();
    }

    /// Phase 2a for the next slot. Saves nothing: the leader's own vote is a message to itself.
    pub(super) fn propose(&mut self, entry: Entry<S::Command>) {
        let leader = self.leader_mut();
        let (ballot, slot) = (leader.ballot, leader.next);
        leader.next += 1;
        leader.known.extend(entry.operations().iter().map(Operation::key));
        let bytes = entry_bytes::<S>(&entry);
        leader.proposals.insert(slot, Proposal { entry: entry.clone(), bytes, votes: BTreeSet::new() });
        for voter in self.replica.configurations.at(slot).voters() {
            self.out.send(voter, Message::Accept { ballot, slot, entry: entry.clone() });
        }
    }

    /// Takes an operation into the queue, unless it is there, proposed, or applied already, or the queue is full: whoever
    /// waits for it hands it on again.
    pub(super) fn enqueue(&mut self, operation: Operation<S::Command>) {
        let key = operation.key();
        let Role::Leading(leader) = &self.state.role else {
            return;
        };
        if leader.known.contains(&key) {
            Mark::ForwardKnown.hit();
        } else if self.state.executor.has_answer(&key) {
            Mark::ForwardApplied.hit();
        } else if leader.queue.len() >= self.replica.options.requests_max {
            Mark::QueueFull.hit();
        } else {
            let leader = self.leader_mut();
            leader.known.insert(key);
            leader.queue.push_back(operation);
            self.out.set_timer(Timer::Flush, super::IMMEDIATELY);
        }
    }

    /// Takes a read into the next round.
    pub(super) fn enqueue_read(&mut self, src: Id, read: ReadId) {
        let Role::Leading(leader) = &self.state.role else {
            return;
        };
        let mut known = leader.reads.iter().chain(leader.rounds.values().flat_map(|(_, reads)| reads));
        if known.any(|other| *other == (src, read)) {
            Mark::ReadKnown.hit();
            return;
        }
        if leader.reads.len() >= self.replica.options.requests_max {
            Mark::ReadsFull.hit();
            return;
        }
        self.leader_mut().reads.push((src, read));
        self.out.set_timer(Timer::Flush, super::IMMEDIATELY);
    }

    /// Proposes what has gathered, as far as the window allows, and sends a round for the reads that wait.
    ///
    /// An entry that is not full waits while [`super::Options::pipeline`] others are on their way (J. Nagle, RFC 896, for segments):
    /// few large entries cost less than many small ones.
    pub(super) fn flush_leader(&mut self) {
        while let Role::Leading(leader) = &self.state.role {
            if leader.queue.is_empty() {
                break;
            }
            if leader.next >= self.state.durable.decided + self.replica.options.window {
                Mark::WindowFull.hit();
                break;
            }
            let undecided = leader.proposals.values().map(|proposal| proposal.bytes).fold(0, usize::saturating_add);
            if undecided > self.replica.options.window_bytes_max {
                Mark::WindowFullOfBytes.hit();
                break;
            }
            let (waiting, most) = (leader.queue.len(), self.replica.options.batch_max);
            let gathered = waiting.min(most);
            let sizes = leader.queue.iter().take(gathered).map(operation_bytes::<S>);
            let count = fitting(sizes, self.replica.options.bytes_max);
            let is_full = count == most || count < waiting;
            if !is_full && leader.proposals.len() as u64 >= self.replica.options.pipeline {
                Mark::BatchWaits.hit();
                break;
            }
            if count < gathered {
                Mark::BatchFullOfBytes.hit();
            }
            if count > 1 {
                Mark::BatchOfSeveral.hit();
            }
            let batch: Arc<[_]> = self.leader_mut().queue.drain(..count).collect();
            self.propose(Entry::Batch(batch));
        }
        if let Role::Leading(leader) = &self.state.role
            && !leader.reads.is_empty()
            && leader.rounds.is_empty()
        {
            let leader = self.leader_mut();
            leader.round += 1;
            let reads = std::mem::take(&mut leader.reads);
            leader.rounds.insert(leader.round, (leader.next, reads));
            self.send_heartbeats();
            self.answer_confirmed_reads();
        }
    }

    /// Counts a vote, once, and decides what is chosen.
    pub(super) fn on_accepted(&mut self, src: Id, ballot: Ballot, slot: Slot) {
        let Role::Leading(leader) = &self.state.role else {
            return;
        };
        if leader.ballot != ballot {
            Mark::VoteOutdated.hit();
            return;
        }
        let counts = leader.proposals.get(&slot).is_some_and(|proposal| !proposal.votes.contains(&src));
        if counts || !leader.contacts.contains(&src) {
            let leader = self.leader_mut();
            leader.contacts.insert(src);
            if counts && let Some(proposal) = leader.proposals.get_mut(&slot) {
                proposal.votes.insert(src);
            }
        }
        if counts && self.decide_chosen() {
            self.send_heartbeats();
        }
    }

    /// Decides, in slot order, what a quorum voted for in this ballot. True if anything was decided.
    pub(super) fn decide_chosen(&mut self) -> bool {
        let mut any = false;
        while let Role::Leading(leader) = &self.state.role {
            let chosen =
                |slot: Slot, proposal: &Proposal<_>| self.replica.configurations.at(slot).is_quorum(&proposal.votes);
            let slot = self.state.durable.decided;
            match leader.proposals.get(&slot) {
                Some(proposal) if chosen(slot, proposal) => {
                    let entry = proposal.entry.clone();
                    self.learn(slot, entry);
                    any = true;
                }
                _ => {
                    if leader.proposals.iter().any(|(slot, proposal)| chosen(*slot, proposal)) {
                        Mark::DecidedOutOfOrder.hit();
                    }
                    break;
                }
            }
        }
        any
    }

    /// The slot is decided: what was proposed for it is no longer on its way. A leader that has not proposed it stopped before.
    pub(super) fn forget_proposal(&mut self, slot: Slot) {
        if !matches!(self.state.role, Role::Leading(_)) {
            return;
        }
        let leader = self.leader_mut();
        let proposal = leader.proposals.remove(&slot).expect("a leader decides only what it proposed");
        for operation in proposal.entry.operations() {
            leader.known.remove(&operation.key());
        }
        if !leader.queue.is_empty() {
            self.out.set_timer(Timer::Flush, super::IMMEDIATELY);
        }
    }

    pub(super) fn send_heartbeats(&mut self) {
        if let Role::Leading(leader) = &self.state.role {
            let (ballot, decided, round) = (leader.ballot, self.state.durable.decided, leader.round);
            for member in self.replica.configurations.at(leader.next).members.keys() {
                if *member != self.id {
                    self.out.send(*member, Message::Heartbeat { ballot, decided, round });
                }
            }
        }
    }

    /// A member heard this leader and had promised nothing higher.
    pub(super) fn on_heartbeat_ack(&mut self, src: Id, ballot: Ballot, round: u64) {
        let Role::Leading(leader) = &self.state.role else {
            return;
        };
        if leader.ballot != ballot {
            Mark::AckOutdated.hit();
            return;
        }
        let newer = round > leader.acknowledged.get(&src).copied().unwrap_or(0);
        if newer || !leader.contacts.contains(&src) {
            let leader = self.leader_mut();
            leader.contacts.insert(src);
            if newer {
                leader.acknowledged.insert(src, round);
                self.answer_confirmed_reads();
            }
        }
    }

    /// Tells the origins of the reads of every confirmed round from which slot on they may be served.
    fn answer_confirmed_reads(&mut self) {
        while let Role::Leading(leader) = &self.state.role
            && let Some((round, (slot, reads))) = leader.rounds.first_key_value()
        {
            let mut confirmed: BTreeSet<Id> = leader
                .acknowledged
                .iter()
                .filter(|(_, acknowledged)| *acknowledged >= round)
                .map(|(node, _)| *node)
                .collect();
            confirmed.insert(self.id);
            if !self.replica.configurations.is_quorum_over(leader.next..leader.next, &confirmed) {
                return;
            }
            Mark::ReadConfirmed.hit();
            let (round, slot, reads) = (*round, *slot, reads.clone());
            let waiting = !leader.reads.is_empty();
            self.leader_mut().rounds.remove(&round);
            if waiting {
                self.out.set_timer(Timer::Flush, super::IMMEDIATELY);
            }
            for (src, read) in reads {
                if src == self.id {
                    self.on_read_slot(read, slot);
                } else {
                    self.out.send(src, Message::ReadSlot { read, slot });
                }
            }
        }
    }

    /// Sends again what may have been lost: the heartbeat, and accepts to those who have not voted, from the first undecided slot on
    /// as many as go together. Slots are decided in order, so the others' turn comes; all of a window at each time would bury a
    /// voter that is slow, or that must first receive what it lacks.
    pub(super) fn resend_leader(&mut self) {
        self.send_heartbeats();
        if let Role::Leading(leader) = &self.state.role {
            let ballot = leader.ballot;
            let count =
                fitting(leader.proposals.values().map(|proposal| proposal.bytes), self.replica.options.bytes_max);
            if count < leader.proposals.len() {
                Mark::AcceptsAgainFullOfBytes.hit();
            }
            for (slot, proposal) in leader.proposals.iter().take(count) {
                for voter in self.replica.configurations.at(*slot).voters() {
                    if !proposal.votes.contains(&voter) {
                        let message = Message::Accept { ballot, slot: *slot, entry: proposal.entry.clone() };
                        self.out.send(voter, message);
                    }
                }
            }
        }
    }

    pub(super) fn leader_mut(&mut self) -> &mut Leader<S::Command> {
        match &mut self.state.to_mut().role {
            Role::Leading(leader) => leader,
            _ => unreachable!("asked of a leader only"),
        }
    }
}
