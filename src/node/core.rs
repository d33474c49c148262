//! The loop of a node without its threads, its channels and its clock: it takes one input at a time, and whoever drives it says what time
//! it is, carries out its orders on a store, and hands the reports back. With the same seed, inputs, times and reports it does the same.

use super::batch::Batch;
use super::clients::Answered;
use super::disk::{Order, Report};
use super::handle::{Ask, Status};
use super::outlet::Outlet;
use super::room::Room;
use super::sizes;
use super::timers::Timers;
use crate::notices::dropped;
use crate::storage::Usage;
use crate::{Machine, Msg, Request, Stored};
use paxos_model::kv::Query;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Options, Replica, Role, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The source of every client's request, which is no node's number.
const CLIENT: usize = u32::MAX as usize;
/// Messages that wait for the disk; then nothing more is stepped until it is done.
const WAITING_MAX: usize = 16 * 1024;
/// How long a timer is put off whose step would have saved where there is no room.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its number.
    pub id: Id,
    /// The members that rule the first slot.
    pub configuration: Configuration,
    /// The replica's options.
    pub options: Options,
    /// Messages from peers, and requests from clients, that wait for the loop; each.
    pub inputs_max: usize,
}

/// What the disk is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Idle,
    Busy,
}

/// A replica with its timers, what of its outputs waits for the disk, and what is known of the room there.
///
/// Who drives it takes turns: own messages first, then what else is at hand, then the timers, then the next order for the disk.
pub struct Core {
    replica: Replica<Machine>,
    id: Id,
    /// Taken out while a handler runs, so that it changes the state in place.
    state: Option<State<Machine>>,
    timers: Timers,
    batch: Batch,
    /// Released messages of this node to itself.
    mine: VecDeque<Msg>,
    disk: Disk,
    room: Room,
    outlet: Arc<Outlet>,
}

enum Step {
    Message(Id, Msg),
    Timer(Timer),
}

impl Step {
    /// As it is written down.
    fn input(&self) -> Input<Msg, Timer> {
        match self {
            Step::Message(src, msg) => Input::Deliver { src: *src, msg: msg.clone() },
            Step::Timer(timer) => Input::Timeout(timer.clone()),
        }
    }
}

impl Core {
    /// Begins at `now` from what is `stored`, in a store of which `usage` is taken. The delays of timers are drawn from `seed`.
    pub fn new(
        settings: &Settings,
        stored: Option<Stored>,
        usage: Usage,
        outlet: Arc<Outlet>,
        seed: u64,
        now: Instant,
    ) -> Core {
        let mut core = Core {
            replica: Replica::new(settings.configuration.clone(), settings.options.clone()),
            id: settings.id,
            state: None,
            timers: Timers::new(seed),
            batch: Batch::default(),
            mine: VecDeque::new(),
            disk: Disk::Idle,
            room: Room::new(usage),
            outlet,
        };
        core.begin(&stored, now);
        core
    }

    /// Starts the replica from what is stored.
    fn begin(&mut self, stored: &Option<Stored>, now: Instant) {
        self.timers.clear();
        let mut out = Out::new();
        let state = self.replica.on_start(self.id, stored, &mut out);
        if let Some(trace) = self.outlet.trace() {
            trace.begin(self.id, &self.replica, stored);
            trace.step(Input::Start, &out, &state);
        }
        self.state = Some(state);
        self.carry_out(out, now);
    }

    /// Goes on from `stored`, as after a crash: nothing that was stepped since is seen.
    fn begin_anew(&mut self, stored: &Option<Stored>, why: &str, now: Instant) {
        tracing::warn!(
            why,
            "the store is full: this node goes on from what is stored, and drops what needs so much room"
        );
        self.batch = Batch::default();
        self.mine.clear();
        self.begin(stored, now);
        self.outlet.clients().interrupt_admitted();
        // What a life saves before its first answer it saves now, while that is all there is to save: once it has learned what
        // is not stored either, there may be no room for both, and reads would not go on. Nobody waits for number 0.
        let request = Request::Read(Query::Get("".into()));
        self.step(Step::Message(Id::from(CLIENT), Message::Request { number: 0, timeout_ms: 1, request }), now);
    }

    /// Steps the replica. False if the input was dropped, since it would have saved where there is no room.
    fn step(&mut self, step: Step, now: Instant) -> bool {
        let state = self.state.take().expect("the state is back after every step");
        let before = self.room.is_full().then(|| state.clone());
        let mut cow = Cow::Owned(state);
        let mut out = Out::new();
        let traced = self.outlet.trace().map(|trace| (trace, step.input()));
        match step {
            Step::Message(src, message) => self.replica.on_msg(self.id, &mut cow, src, message, &mut out),
            Step::Timer(timer) => self.replica.on_timeout(self.id, &mut cow, &timer, &mut out),
        }
        let lacks_room = |output: &_| matches!(output, Output::Save(value) if self.room.lacks_room_for(value));
        if let Some(before) = before
            && out.iter().any(lacks_room)
        {
            self.state = Some(before);
            dropped("store_full", "an input that would have had to be saved");
            return false;
        }
        let state = cow.into_owned();
        if let Some((trace, input)) = traced {
            trace.step(input, &out, &state);
        }
        self.state = Some(state);
        self.carry_out(out, now);
        true
    }

    /// Sets timers at once, and puts the rest into the batch: a step's save first, since none of its messages may precede it.
    fn carry_out(&mut self, out: Out<Replica<Machine>>, now: Instant) {
        let mut sends = Vec::new();
        for output in out {
            match output {
                Output::SetTimer(timer, range) => self.timers.set(timer, range, now),
                Output::CancelTimer(timer) => {
                    self.timers.cancel(&timer);
                }
                Output::Save(value) => self.batch.save(value),
                Output::Send(dst, message) => sends.push((dst, message)),
                Output::ChooseRandom(..) => unreachable!("a replica makes no random choice"),
            }
        }
        for (dst, message) in sends {
            self.batch.send(dst, message);
        }
    }

    /// Whether so much waits for the disk that nothing more is stepped. Then only reports are to be handed in.
    pub fn is_stalled(&self) -> bool {
        self.batch.len() >= WAITING_MAX
    }

    /// Whether another request of a client may be handed in.
    pub fn admits(&self) -> bool {
        self.outlet.clients().admits()
    }

    /// Steps for the next message of this node to itself. False if there is none, or it is stalled.
    pub fn take_own(&mut self, now: Instant) -> bool {
        if self.is_stalled() {
            return false;
        }
        let Some(message) = self.mine.pop_front() else { return false };
        self.step(Step::Message(self.id, message), now);
        true
    }

    /// Whether messages of this node to itself wait to be stepped for.
    pub fn has_own(&self) -> bool {
        !self.mine.is_empty()
    }

    /// These messages, in the order in which they are.
    pub fn own(&self) -> impl Iterator<Item = &Msg> {
        self.mine.iter()
    }

    /// Drops this node's messages to itself: it ends.
    pub(super) fn forget_own(&mut self) {
        self.mine.clear();
    }

    /// Steps for a message of node `src`.
    pub fn take_message(&mut self, src: Id, message: Msg, now: Instant) {
        self.step(Step::Message(src, message), now);
    }

    /// Steps for a client's request, if there is time left for it and room for what it brings.
    pub fn take_ask(&mut self, (number, request): Ask, now: Instant) {
        let Some(left) = self.outlet.clients().admit(number, now) else { return };
        if self.room.refuses_values() && sizes::brings_values(&request) {
            self.outlet.clients().answer(number, Answered::Full);
            return;
        }
        // Rounded up: no deadline before its time.
        let timeout_ms = u32::try_from(left.as_millis() + 1).unwrap_or(u32::MAX);
        let message = Message::Request { number, timeout_ms, request };
        if !self.step(Step::Message(Id::from(CLIENT), message), now) {
            self.outlet.clients().answer(number, Answered::Full);
        }
    }

    /// Steps for the timers that have run out by `now`, and answers the clients whose time is up. What these steps set waits for the next
    /// call, even if it has no delay.
    pub fn run_timers(&mut self, now: Instant) {
        for (at, timer) in self.timers.due(now) {
            if self.is_stalled() {
                break;
            }
            // A step before this one may have cancelled it, or set it anew.
            if self.timers.is_set(&timer, at) {
                self.run_out(&timer, now);
            }
        }
        self.outlet.clients().end_overdue(now);
    }

    /// The timers that are set, whenever they run out.
    pub fn timers(&self) -> impl Iterator<Item = &Timer> {
        self.timers.set_now()
    }

    /// Lets `timer` run out at `now`, whenever it is due. False if it is not set.
    pub fn run_out(&mut self, timer: &Timer, now: Instant) -> bool {
        if !self.timers.cancel(timer) {
            return false;
        }
        if !self.step(Step::Timer(timer.clone()), now) {
            self.timers.set(timer.clone(), FULL_PAUSE..FULL_PAUSE, now);
        }
        true
    }

    /// Releases what may be released, and returns what the disk is to do next, if it is idle and there is something.
    pub fn next_order(&mut self, now: Instant) -> Option<Order> {
        if self.disk == Disk::Busy {
            return None;
        }
        let before = std::mem::take(&mut self.batch.before);
        self.mine.extend(self.outlet.release(before));
        // First, or it would never be its turn under a load that needs little room.
        let order = if self.room.next_look().is_some_and(|at| at <= now) {
            Order::Probe
        } else if self.batch.save.is_some() {
            if let Some(trace) = self.outlet.trace() {
                trace.hands_over();
            }
            Order::Commit(std::mem::take(&mut self.batch))
        } else {
            return None;
        };
        self.disk = Disk::Busy;
        Some(order)
    }

    /// Whether an order is with the disk.
    pub fn awaits_disk(&self) -> bool {
        self.disk == Disk::Busy
    }

    /// What came of the order that is with the disk. The error says why the node must stop.
    pub fn take_report(&mut self, report: Report, now: Instant) -> Result<(), String> {
        assert_eq!(self.disk, Disk::Busy, "the disk does what it is asked, once");
        self.disk = Disk::Idle;
        match report {
            Report::Committed(mine, stored, usage) => {
                self.mine.extend(mine);
                self.room.committed(stored, usage);
            }
            Report::Full { why, failed, stored } => {
                self.room.found_full(stored.as_ref(), &failed, now);
                self.begin_anew(&stored, &why, now);
            }
            Report::Room(room, usage) => self.room.looked(room, usage, now),
            Report::Failed(why) => return Err(why),
        }
        Ok(())
    }

    /// When there is something to do, if nothing comes in before.
    pub fn next_wake(&self) -> Option<Instant> {
        let timer = if self.is_stalled() { None } else { self.timers.next() };
        let look = if self.disk == Disk::Idle { self.room.next_look() } else { None };
        [timer, look, self.outlet.clients().next_due()].into_iter().flatten().min()
    }

    fn state(&self) -> &State<Machine> {
        self.state.as_ref().expect("the state is back after every step")
    }

    /// What is applied. It is decided, whatever this node has saved of it, and so may be seen at once.
    pub fn applied(&self) -> &Executor<Machine> {
        &self.state().executor
    }

    /// What the node says of itself.
    pub fn status(&self) -> Status {
        let state = self.state();
        let role = match state.role {
            Role::Leading(_) => "leader",
            Role::Following => "follower",
            Role::Polling { .. } | Role::Preparing(_) => "candidate",
        };
        Status {
            role,
            leader: state.following.map(|ballot| ballot.node),
            ballot: state.durable.promised,
            decided: state.durable.decided,
            applied: state.executor.applied,
            snapshot: state.durable.snapshot.applied,
            first: state.durable.first(),
            log_slots: state.durable.log.len(),
            sessions: state.executor.sessions.len(),
            tombstones: state.executor.machine.tombstones(),
            requests: state.gateway.writes.len() + state.gateway.reads.len(),
            full: self.room.refuses_values(),
        }
    }
}
