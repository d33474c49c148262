//! One replica: acceptor, proposer, leader, learner, executor and gateway in one actor. This file only dispatches.
//!
//! What is durable is one value, [`durable::Durable`]; everything else in [`State`] is lost in a crash and begins anew in
//! `on_start`. A handler saves at most once, and no message of it may be seen before that save is synced.

pub mod acceptor;
pub mod ballot;
pub mod configuration;
pub mod durable;
pub mod election;
pub mod executor;
pub mod gateway;
pub mod handing;
pub mod leader;
pub mod learner;
pub mod message;
pub mod pieces;
pub mod proposer;
pub mod snapshot;

use crate::machine::{StateMachine, Value};
use crate::mark::Mark;
use ballot::{Ballot, Slot};
use configuration::{Configuration, Configurations};
use durable::Durable;
use executor::Executor;
use gateway::{Client, Gateway};
use leader::Leader;
use message::{Message, MessageOf};
use proposer::Proposer;
use serde::{Deserialize, Serialize};
use snapshot::Serving;
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How a replica waits, and its bounds. The protocol is safe whatever they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The range that the election timeout is drawn from. Several times `resend`.
    pub election: Range<Duration>,
    /// How often a leader sends heartbeats, and everybody sends again what is unanswered.
    pub resend: Duration,
    /// Slots that may be proposed and undecided at a time; at least 1.
    pub window: u64,
    /// Slots that may be proposed and undecided at a time, the new one with them, for an entry that is not full to be proposed; at
    /// least 1. More than one where the network takes longer than the disk.
    pub pipeline: u64,
    /// How many slots above what is decided here a vote is cast in: at least `window`, and the same at every node. Who is further
    /// behind catches up first, so no promise reports more votes than that. Twice the window lets accepts overtake decisions.
    pub horizon: u64,
    /// Operations in one entry; at least 1.
    pub batch_max: usize,
    /// Bytes of operations in one entry, one `Forward` or one `Decided`, unless a single one takes more; at least 1.
    pub bytes_max: usize,
    /// Bytes that are proposed and undecided, beyond which nothing more is; at least 1.
    pub window_bytes_max: usize,
    /// Requests that wait at one node, and operations that wait at a leader.
    pub requests_max: usize,
    /// Entries in one `Decided`; at least 1.
    pub fetch_max: u64,
    /// Whether a quorum is asked before a ballot is begun.
    pub pre_vote: bool,
    /// A snapshot is taken, and the log before it truncated, every so many slots; never if 0. The same at every node, or a transfer
    /// cannot go on from another one.
    pub snapshot_every: u64,
    /// Decided slots before the snapshot that are kept for those who are a little behind.
    pub tail: u64,
    /// Bytes of operations in those slots, at most.
    pub tail_bytes: usize,
    /// Bytes of operations before the snapshot that are kept for somebody who is sent something, at most: beside as many as it was
    /// given of a snapshot.
    pub kept_bytes: usize,
    /// How many times things are sent again to a member that makes no progress before nothing is kept for it any more; at least 1.
    pub patience: u32,
    /// How many times things are sent again without a part from whoever sends a snapshot before another's may take its place; at
    /// least 1. A replica that receives one votes in no slot, so this is as long as a system may stand that needs its vote.
    pub source_patience: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            election: Duration::from_millis(300)..Duration::from_millis(600),
            resend: Duration::from_millis(50),
            window: 32,
            pipeline: 1,
            horizon: 64,
            batch_max: 256,
            bytes_max: 1 << 20,
            window_bytes_max: 16 << 20,
            requests_max: 4096,
            fetch_max: 256,
            pre_vote: true,
            snapshot_every: 256,
            tail: 1024,
            tail_bytes: 64 << 20,
            kept_bytes: 512 << 20,
            patience: 40,
            source_patience: 20,
        }
    }
}

impl Options {
    /// Whether a replica can work with these. An error names the field and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        let at_least_one = [
            ("window", self.window),
            ("pipeline", self.pipeline),
            ("batch_max", self.batch_max as u64),
            ("bytes_max", self.bytes_max as u64),
            ("window_bytes_max", self.window_bytes_max as u64),
            ("requests_max", self.requests_max as u64),
            ("fetch_max", self.fetch_max),
            ("patience", self.patience.into()),
            ("source_patience", self.source_patience.into()),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        if self.horizon < self.window {
            return Err("horizon must be at least window".into());
        }
        if self.election.is_empty() || self.election.start < 2 * self.resend {
            return Err("election must be a range that begins at twice resend or later".into());
        }
        Ok(())
    }
}

/// Rounds and slots from here on are not believed: no honest node gets there, and they could not be counted on from.
pub const NUMBER_MAX: u64 = 1 << 62;

/// With no delay: as soon as what is at hand was taken in.
const IMMEDIATELY: Range<Duration> = Duration::ZERO..Duration::ZERO;

/// The replica, as a value: what is the same in every state.
#[derive(Clone, Debug)]
pub struct Replica<S: StateMachine> {
    /// Who the members are.
    pub configurations: Configurations,
    /// How it waits, and its bounds.
    pub options: Options,
    machine: PhantomData<S>,
}

impl<S: StateMachine> Replica<S> {
    /// A replica of a system that begins with `configuration`.
    pub fn new(configuration: Configuration, options: Options) -> Self {
        Replica { configurations: Configurations::new(configuration), options, machine: PhantomData }
    }

    fn is_voter(&self, node: Id) -> bool {
        self.configurations.at(0).is_voter(node)
    }
}

/// What a replica is doing about leading.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "C: Value")]
pub enum Role<C: Value> {
    /// Nothing.
    Following,
    /// It asks who would promise `ballot`.
    Polling {
        /// The ballot it would begin.
        ballot: Ballot,
        /// Who would promise it.
        granted: BTreeSet<Id>,
    },
    /// Phase 1.
    Preparing(Proposer<C>),
    /// Phase 2.
    Leading(Leader<C>),
}

/// A replica's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct State<S: StateMachine> {
    /// What survives a crash, as soon as it is saved.
    pub durable: Arc<Durable<S>>,
    /// What it is doing about leading.
    pub role: Role<S::Command>,
    /// The ballot of the leader that was heard since the election timer last ran out.
    pub following: Option<Ballot>,
    /// The highest ballot above its own promise that a peer said it promised.
    pub outbid: Ballot,
    /// Whether it asked for what it lacks since things were last sent again.
    pub fetching: bool,
    /// How often things were sent again since anything of a snapshot arrived, as far as that matters.
    pub stalled: u32,
    /// Who sent the last part of the snapshot that is arriving, in this life.
    pub source: Option<Id>,
    /// The members that are sent a snapshot, or what follows on one.
    pub serving: BTreeMap<Id, Serving<S>>,
    /// What is applied.
    pub executor: Executor<S>,
    /// The requests of its clients.
    pub gateway: Gateway<S>,
}

/// A replica's timers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// No leader heard; or, for a leader, time to count whom it heard.
    Election,
    /// Time to send again what may be lost.
    Resend,
    /// What is at hand was taken in: hand it on. Set only while something waits.
    Flush,
    /// The time of a request is up.
    Deadline(u64),
}

/// One call of a handler: what it reads and where its outputs go.
pub(crate) struct Handler<'a, 's, S: StateMachine> {
    replica: &'a Replica<S>,
    id: Id,
    state: &'a mut Cow<'s, State<S>>,
    out: &'a mut Out<Replica<S>>,
    save: bool,
}

impl<S: StateMachine> Handler<'_, '_, S> {
    fn durable_mut(&mut self) -> &mut Durable<S> {
        Arc::make_mut(&mut self.state.to_mut().durable)
    }

    /// What is durable is saved at the end of this step.
    fn save(&mut self) {
        self.save = true;
    }

    /// The slots that are open as far as this replica knows: they may be proposed in, and their configurations rule.
    fn open_slots(&self) -> Range<Slot> {
        let durable = &self.state.durable;
        let end = durable.accepted.get_max().map_or(durable.decided, |(slot, _)| slot + 1);
        durable.decided..end.max(durable.decided + self.replica.options.window)
    }

    fn send_to_other_voters(&mut self, message: MessageOf<S>) {
        for voter in self.replica.configurations.at(self.state.durable.decided).voters() {
            if voter != self.id {
                self.out.send(voter, message.clone());
            }
        }
    }

    fn arm_resend(&mut self) {
        let resend = self.replica.options.resend;
        self.out.set_timer(Timer::Resend, resend..resend);
    }

    /// Sends again, from the state alone, whatever may have been lost.
    fn on_resend(&mut self) {
        self.arm_resend();
        self.age_transfers();
        match &self.state.role {
            Role::Following => {}
            Role::Polling { .. } => self.send_pre_votes(),
            Role::Preparing(_) => {
                self.send_prepares();
                self.lead_if_promised();
            }
            Role::Leading(_) => self.resend_leader(),
        }
        self.resend_gateway();
    }

    /// Whether a message from a peer can be taken seriously: it comes from a member, and its numbers can be counted on from.
    ///
    /// A `Forward` is not asked: it brings what clients want, which is judged where it is applied. That no stranger sends one is for
    /// the transport to see to.
    fn is_credible(&self, src: Id, message: &MessageOf<S>) -> bool {
        let configuration = self.replica.configurations.at(self.state.durable.decided);
        let ballot = |ballot: &Ballot| ballot.round < NUMBER_MAX;
        let own = |b: &Ballot| ballot(b) && b.node == src;
        match message {
            Message::Request { .. } | Message::Forward { .. } => true,
            _ if !configuration.members.contains_key(&src) => {
                Mark::NotAMember.hit();
                false
            }
            Message::PreVote { ballot: b, promised } => configuration.is_voter(src) && own(b) && ballot(promised),
            Message::Prepare { ballot: b } => configuration.is_voter(src) && own(b),
            Message::Accept { ballot: b, .. } => configuration.is_voter(src) && own(b),
            Message::Promise { .. } | Message::Accepted { .. } | Message::PreVoted { .. } => {
                configuration.is_voter(src)
            }
            Message::Heartbeat { ballot: b, .. } => own(b),
            Message::Part { slot, .. } => *slot < NUMBER_MAX,
            _ => true,
        }
    }

    /// Whether a slot is so near to what is decided here that a vote in it can be kept.
    fn is_near(&self, slot: Slot) -> bool {
        slot < self.state.durable.decided.saturating_add(self.replica.options.horizon)
    }

    fn on_message(&mut self, src: Id, message: MessageOf<S>) {
        if !self.is_credible(src, &message) {
            return;
        }
        match message {
            Message::Request { number, timeout_ms, request } => {
                let timeout = Duration::from_millis(timeout_ms.into());
                self.on_request(Client { id: src, number }, timeout, request);
            }
            Message::Reply { .. } => {}
            Message::Forward { operations, relayed } => self.on_forward(src, operations, relayed),
            Message::ReadIndex { read, relayed } => self.on_read_index(src, read, relayed),
            Message::ReadSlot { read, slot } => self.on_read_slot(read, slot),
            Message::PreVote { ballot, promised } => self.on_pre_vote(src, ballot, promised),
            Message::PreVoted { ballot } => self.on_pre_voted(src, ballot),
            Message::Prepare { ballot } => self.on_prepare(src, ballot),
            Message::Promise { ballot, first, votes } => self.on_promise(src, ballot, first, votes),
            Message::Accept { ballot, slot, entry } => self.on_accept(src, ballot, slot, entry),
            Message::Accepted { ballot, slot } => self.on_accepted(src, ballot, slot),
            Message::Heartbeat { ballot, decided, round } => self.on_heartbeat(src, ballot, decided, round),
            Message::HeartbeatAck { ballot, round } => self.on_heartbeat_ack(src, ballot, round),
            Message::Fetch { from, arriving } => self.on_fetch(src, from, arriving),
            Message::Decided { from, entries } => self.on_decided(src, from, entries),
            Message::Part { slot, after, pieces, last } => self.on_part(src, slot, after, pieces, last),
        }
    }

    fn on_timer(&mut self, timer: &Timer) {
        match timer {
            Timer::Election => self.on_election_timeout(),
            Timer::Resend => self.on_resend(),
            Timer::Flush => {
                self.flush_gateway();
                self.flush_leader();
            }
            Timer::Deadline(number) => self.on_deadline(*number),
        }
    }
}

impl<S: StateMachine> Replica<S> {
    fn handle<'s>(
        &self,
        id: Id,
        state: &mut Cow<'s, State<S>>,
        out: &mut Out<Self>,
        run: impl FnOnce(&mut Handler<'_, 's, S>),
    ) {
        let mut handler = Handler { replica: self, id, state, out, save: false };
        run(&mut handler);
        if handler.save {
            out.save(state.durable.clone());
        }
    }
}

impl<S: StateMachine> Actor for Replica<S> {
    type Msg = MessageOf<S>;
    type Timer = Timer;
    type State = State<S>;
    type Storage = Arc<Durable<S>>;
    type Random = ();

    /// Begins from what was saved, or from nothing: what is decided since the snapshot is applied again, in order.
    fn on_start(&self, id: Id, storage: &Option<Self::Storage>, out: &mut Out<Self>) -> State<S> {
        let durable = storage.clone().unwrap_or_default();
        let mut executor = durable.snapshot.clone();
        for slot in executor.applied..durable.decided {
            let entry = durable.log.get(&slot).expect("the log holds every slot from the snapshot to the decided mark");
            executor.apply(slot, entry, self.configurations.at(slot));
        }
        let state = State {
            durable,
            role: Role::Following,
            following: None,
            outbid: Ballot::default(),
            fetching: false,
            stalled: 0,
            source: None,
            serving: BTreeMap::new(),
            executor,
            gateway: Gateway::default(),
        };
        let mut state = Cow::Owned(state);
        self.handle(id, &mut state, out, |handler| {
            handler.arm_election();
            handler.arm_resend();
        });
        state.into_owned()
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State<S>>, src: Id, message: Self::Msg, out: &mut Out<Self>) {
        self.handle(id, state, out, |handler| handler.on_message(src, message));
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State<S>>, timer: &Timer, out: &mut Out<Self>) {
        self.handle(id, state, out, |handler| handler.on_timer(timer));
    }

    fn name(&self) -> String {
        "Replica".into()
    }
}
