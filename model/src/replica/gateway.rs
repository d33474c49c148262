//! A client's request, from its arrival at this node, its origin, to its one answer.
//!
//! An act without a session of the client's own is numbered in this node's session, which is opened through the log before
//! the first one. Acts are handed to the leader, reads ask it from which slot on they may be served ([`super::handing`]); the
//! origin applies the log itself and answers from there. Until something is handed on it can be refused; after that only the
//! log can tell.

use super::ballot::Slot;
use super::executor::Verdict;
use super::message::{
    Act, Done, Message, OperationId, OperationKey, Outcome, OutcomeOf, ReadId, Refusal, Request, SessionId, Uncertainty,
};
use super::{Handler, Timer};
use crate::machine::StateMachine;
use crate::mark::Mark;
use crate::trace::pairs;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::time::Duration;

/// The session through which this node does what clients without one ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeSession {
    /// Not needed yet, or ended.
    #[default]
    None,
    /// Its opening is on its way.
    Opening,
    /// Open, and the sequence number of its next operation.
    Open(SessionId, u64),
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Client {
    /// The client.
    pub id: Id,
    /// Its number for the request.
    pub number: u64,
}

/// An act that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct PendingWrite<S: StateMachine> {
    /// Who waits.
    pub client: Client,
    /// What to do.
    pub act: Act<S::Command>,
    /// Its name, once it has one, and below which number its session is acknowledged.
    pub id: Option<(OperationId, u64)>,
    /// Whether it is done in this node's session, so that only this node gives its name out.
    pub by_node: bool,
    /// Whether it was handed on.
    pub handed_on: bool,
}

/// How far a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReadStage {
    /// Not asked for.
    Waiting,
    /// Asked for, under this number.
    Asked(u64),
    /// Confirmed, under this number: to be served once everything below this slot is applied.
    From(u64, Slot),
}

/// A read that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct PendingRead<S: StateMachine> {
    /// Who waits.
    pub client: Client,
    /// What to read.
    pub query: S::Query,
    /// How far it is.
    pub stage: ReadStage,
}

/// What a node knows about the requests of its clients; lost in a crash, as their connections are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct Gateway<S: StateMachine> {
    /// The number under which this life opens its session and asks for reads; a new one for each session.
    pub incarnation: Option<u64>,
    /// The node's session.
    pub session: NodeSession,
    /// Requests so far in this life: each one's own number here, which its deadline carries.
    pub requests: u64,
    /// Acts not answered yet.
    pub writes: BTreeMap<u64, PendingWrite<S>>,
    /// The same by name; a node's own operations and those of clients do not meet.
    #[serde(with = "pairs")]
    pub named: BTreeMap<(OperationId, bool), u64>,
    /// Reads not answered yet.
    pub reads: BTreeMap<u64, PendingRead<S>>,
    /// Rounds of reads asked for in this life.
    pub read_rounds: u64,
    /// Whether a confirmed read was served in this life: what is applied here is then no earlier than what an earlier life
    /// answered.
    pub current: bool,
}

impl<S: StateMachine> Default for Gateway<S> {
    fn default() -> Self {
        Gateway {
            incarnation: None,
            session: NodeSession::None,
            requests: 0,
            writes: BTreeMap::new(),
            named: BTreeMap::new(),
            reads: BTreeMap::new(),
            read_rounds: 0,
            current: false,
        }
    }
}

impl<S: StateMachine> Gateway<S> {
    pub(super) fn waiting(&self) -> bool {
        self.writes.values().any(|write| !write.handed_on)
            || self.reads.values().any(|read| read.stage == ReadStage::Waiting)
    }

    pub(super) fn idle(&self) -> bool {
        self.writes.is_empty() && self.reads.is_empty()
    }
}

impl<S: StateMachine> Handler<'_, '_, S> {
    /// A request arrives. It is answered at once, or it waits until it is done or its deadline passes.
    pub(super) fn on_request(&mut self, client: Client, timeout: Duration, request: Request<S::Command, S::Query>) {
        match request {
            Request::LocalRead(query) if self.state.gateway.current => {
                Mark::LocalRead.hit();
                self.answer(client, &query);
            }
            Request::Read(query) => self.take_read(client, timeout, query),
            Request::LocalRead(query) => {
                Mark::LocalReadConfirmed.hit();
                self.take_read(client, timeout, query);
            }
            Request::Write { session, act } => self.take_write(client, timeout, session, act),
        }
    }

    fn take_write(
        &mut self,
        client: Client,
        timeout: Duration,
        session: Option<(OperationId, u64)>,
        act: Act<S::Command>,
    ) {
        let mut handed_on = false;
        if let Some((id, _)) = session {
            if let Some(done) = self.state.executor.answer(&id, false) {
                Mark::RetryAnsweredAtOnce.hit();
                let done = done.clone();
                self.reply(client, Outcome::Done(done));
                return;
            }
            if let Some(earlier) = self.state.gateway.named.get(&(id, false)).copied() {
                Mark::AttemptSuperseded.hit();
                handed_on = self.state.gateway.writes[&earlier].handed_on;
                self.finish_write(earlier, Outcome::Unknown(Uncertainty::Superseded));
            }
        }
        if self.refuse_if_busy(client) {
            return;
        }
        let number = self.take_request(timeout);
        let gateway = &mut self.state.to_mut().gateway;
        let by_node = session.is_none();
        if let Some((id, _)) = session {
            gateway.named.insert((id, by_node), number);
        }
        gateway.writes.insert(number, PendingWrite { client, act, id: session, by_node, handed_on });
    }

    fn refuse_if_busy(&mut self, client: Client) -> bool {
        let gateway = &self.state.gateway;
        let busy = gateway.writes.len() + gateway.reads.len() >= self.replica.options.requests_max;
        if busy {
            Mark::RequestRefusedBusy.hit();
            self.reply(client, Outcome::Refused(Refusal::Busy));
        }
        busy
    }

    fn take_read(&mut self, client: Client, timeout: Duration, query: S::Query) {
        if self.refuse_if_busy(client) {
            return;
        }
        let number = self.take_request(timeout);
        let read = PendingRead { client, query, stage: ReadStage::Waiting };
        self.state.to_mut().gateway.reads.insert(number, read);
    }

    /// Takes a number that no other life of this node, and no other session of this one, has used or will use.
    pub(super) fn claim_incarnation(&mut self) {
        if self.state.gateway.incarnation.is_none() {
            self.durable_mut().incarnation += 1;
            self.save();
            self.state.to_mut().gateway.incarnation = Some(self.state.durable.incarnation);
        }
    }

    /// Numbers a request and sets its deadline.
    fn take_request(&mut self, timeout: Duration) -> u64 {
        self.claim_incarnation();
        let gateway = &mut self.state.to_mut().gateway;
        gateway.requests += 1;
        let number = gateway.requests;
        self.out.set_timer(Timer::Deadline(number), timeout..timeout);
        self.out.set_timer(Timer::Flush, super::IMMEDIATELY);
        number
    }

    pub(super) fn arm_flush_if_waiting(&mut self) {
        if self.state.gateway.waiting() {
            self.out.set_timer(Timer::Flush, super::IMMEDIATELY);
        }
    }

    /// The leader confirmed a round of reads.
    pub(super) fn on_read_slot(&mut self, read: ReadId, slot: Slot) {
        if read.origin != self.id {
            Mark::ReadSlotRelayed.hit();
            self.out.send(read.origin, Message::ReadSlot { read, slot });
            return;
        }
        let gateway = &self.state.gateway;
        let asked = |pending: &PendingRead<S>| match pending.stage {
            ReadStage::Waiting => false,
            ReadStage::Asked(number) => number == read.number,
            ReadStage::From(number, later) => number == read.number && slot < later,
        };
        if gateway.incarnation != Some(read.incarnation) || !gateway.reads.values().any(asked) {
            Mark::ReadSlotOutdated.hit();
            return;
        }
        for pending in self.state.to_mut().gateway.reads.values_mut() {
            if asked(pending) {
                pending.stage = ReadStage::From(read.number, slot);
            }
        }
        if self.state.executor.applied < slot {
            Mark::ReadWaitsForApply.hit();
        }
        self.serve_reads();
    }

    /// Answers the confirmed reads whose slot is reached.
    pub(super) fn serve_reads(&mut self) {
        let applied = self.state.executor.applied;
        let ready = |read: &PendingRead<S>| matches!(read.stage, ReadStage::From(_, slot) if slot <= applied);
        let numbers: Vec<u64> = self.state.gateway.reads.iter().filter(|(_, r)| ready(r)).map(|(n, _)| *n).collect();
        for number in numbers {
            let gateway = &mut self.state.to_mut().gateway;
            gateway.current = true;
            if let Some(read) = gateway.reads.remove(&number) {
                self.out.cancel_timer(Timer::Deadline(number));
                self.answer(read.client, &read.query);
            }
        }
    }

    /// What came of an operation in the log, if somebody here waits for it.
    pub(super) fn complete(&mut self, key: OperationKey, verdict: Verdict<S>) {
        match key {
            OperationKey::Open { node, incarnation } => {
                let gateway = &self.state.gateway;
                if node == self.id
                    && gateway.incarnation == Some(incarnation)
                    && gateway.session == NodeSession::Opening
                    && let Verdict::Done(Done::Opened(session)) = verdict
                {
                    self.state.to_mut().gateway.session = NodeSession::Open(session, 1);
                    self.arm_flush_if_waiting();
                }
            }
            OperationKey::InSession(id, by_node) => {
                let Some(number) = self.state.gateway.named.get(&(id, by_node)).copied() else { return };
                let outcome = match verdict {
                    Verdict::Done(done) => Outcome::Done(done),
                    Verdict::Expired if by_node => {
                        Mark::NodeSessionExpired.hit();
                        if matches!(self.state.gateway.session, NodeSession::Open(session, _) if session == id.session)
                        {
                            let gateway = &mut self.state.to_mut().gateway;
                            gateway.session = NodeSession::None;
                            gateway.incarnation = None;
                        }
                        Outcome::Refused(Refusal::SessionExpired)
                    }
                    Verdict::Expired => Outcome::Unknown(Uncertainty::SessionExpired),
                    Verdict::Stale => Outcome::Unknown(Uncertainty::Acknowledged),
                    Verdict::BeyondWindow => Outcome::Unknown(Uncertainty::BeyondWindow),
                };
                self.finish_write(number, outcome);
            }
        }
    }

    /// The time of a request is up: it is refused if it certainly was not and never will be done, and unknown otherwise.
    pub(super) fn on_deadline(&mut self, number: u64) {
        if let Some(read) = self.state.gateway.reads.get(&number) {
            Mark::DeadlineOfRead.hit();
            let client = read.client;
            self.state.to_mut().gateway.reads.remove(&number);
            self.reply(client, Outcome::Refused(Refusal::Deadline));
            return;
        }
        let Some(write) = self.state.gateway.writes.get(&number) else {
            return;
        };
        let outcome = if !write.handed_on {
            Mark::DeadlineRefused.hit();
            Outcome::Refused(Refusal::Deadline)
        } else {
            Mark::DeadlineUnknown.hit();
            Outcome::Unknown(Uncertainty::Deadline)
        };
        self.finish_write(number, outcome);
    }

    pub(super) fn finish_write(&mut self, number: u64, outcome: OutcomeOf<S>) {
        let gateway = &mut self.state.to_mut().gateway;
        if let Some(write) = gateway.writes.remove(&number) {
            if let Some((id, _)) = write.id {
                gateway.named.remove(&(id, write.by_node));
            }
            self.out.cancel_timer(Timer::Deadline(number));
            self.reply(write.client, outcome);
        }
        self.arm_flush_if_waiting();
    }

    fn answer(&mut self, client: Client, query: &S::Query) {
        let (applied, answer) = (self.state.executor.applied, self.state.executor.machine.query(query));
        self.reply(client, Outcome::Answer { applied, answer });
    }

    fn reply(&mut self, client: Client, outcome: OutcomeOf<S>) {
        self.out.send(client.id, Message::Reply { number: client.number, outcome });
    }
}
