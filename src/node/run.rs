//! The actor thread.

use super::Peers;
use super::batch::Batch;
use super::clients::{Answered, Clients};
use super::disk::{self, Order, Report};
use super::timers::Timers;
use crate::storage::Store;
use crate::{Machine, Msg, Request, Stored};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Options, Replica, Role, State, Timer};
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The source of every client's request, which is no node's number.
const CLIENT: usize = u32::MAX as usize;
/// Inputs that are taken between two looks at the timers.
const DRAIN_MAX: usize = 1024;
/// Messages that wait for the disk; then no more inputs are taken until it is done.
const WAITING_MAX: usize = 16 * 1024;
/// How long inputs that would save are dropped after the disk was full, before it is tried again.
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

/// What a node says of itself, as of its latest step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `leader`, `candidate` or `follower`.
    pub role: &'static str,
    /// Who is followed, itself included.
    pub leader: Option<Id>,
    /// The highest ballot promised.
    pub ballot: Ballot,
    /// Every slot below is decided here.
    pub decided: Slot,
    /// Every slot below is applied here.
    pub applied: Slot,
    /// Slots that the log holds.
    pub log_slots: usize,
    /// Requests of clients that are under way.
    pub requests: usize,
    /// Whether the store is full: what would have to be saved is not done.
    pub full: bool,
}

/// How a node ended.
pub type Ended = Result<(), String>;

/// Something for the loop to take in.
enum Ask {
    Request { request: Request, timeout_ms: u32, client: oneshot::Sender<Answered> },
    Stop,
}

/// What reaches a running node from outside.
#[derive(Clone)]
pub struct NodeHandle {
    peers: Sender<(Id, Msg)>,
    asks: Sender<Ask>,
    status: watch::Receiver<Status>,
}

/// The loop has more to do than it can; nothing of the request was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

impl NodeHandle {
    /// A message from node `src` arrived, one of those that are exchanged between nodes. False if the queue is full: it is dropped.
    pub fn deliver(&self, src: Id, message: Msg) -> bool {
        self.peers.try_send((src, message)).is_ok()
    }

    /// Begins a request that is to be answered within `timeout_ms`.
    pub fn request(&self, request: Request, timeout_ms: u32) -> Result<oneshot::Receiver<Answered>, Overloaded> {
        let (client, answer) = oneshot::channel();
        match self.asks.try_send(Ask::Request { request, timeout_ms, client }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Overloaded),
        }
    }

    /// How many inputs wait for the loop, by where they come from.
    pub fn queued(&self) -> [(&'static str, usize); 2] {
        [("peers", self.peers.len()), ("clients", self.asks.len())]
    }

    /// What the node says of itself, and how to learn when that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Asks the node to stop. What its clients still wait for is answered with "unknown".
    pub fn stop(&self) {
        let _ = self.asks.send(Ask::Stop);
    }
}

/// Where a step's outputs go once they may be seen.
pub(super) struct Outlet {
    id: Id,
    peers: Arc<dyn Peers>,
    clients: Arc<Clients>,
}

impl Outlet {
    /// Releases messages in their order. Returns those to this node itself.
    pub(super) fn release(&self, messages: Vec<(Id, Msg)>) -> Vec<Msg> {
        let mut mine = Vec::new();
        for (dst, message) in messages {
            match message {
                Message::Reply { number, outcome } => self.clients.answer(number, outcome),
                message if dst == self.id => mine.push(message),
                message => self.peers.send(dst, message),
            }
        }
        mine
    }
}

/// Starts a node on `store`. It runs on two threads until it is stopped or fails; the handle to join tells how it ended.
pub fn start<S: Store>(
    settings: Settings,
    mut store: S,
    peers: Arc<dyn Peers>,
) -> Result<(NodeHandle, JoinHandle<Ended>), String> {
    settings.options.validate()?;
    let stored = store.load().map_err(|error| error.to_string())?;
    let clients = Arc::new(Clients::default());
    let outlet = Arc::new(Outlet { id: settings.id, peers, clients: clients.clone() });
    let (orders, for_disk) = bounded(1);
    let (done, reports) = bounded(1);
    let disk_outlet = outlet.clone();
    let disk = thread::Builder::new().name("disk".into());
    let disk = disk.spawn(move || disk::work(store, &disk_outlet, &for_disk, &done));
    let disk = disk.map_err(|error| format!("cannot start the disk thread: {error}"))?;
    let (peer_sender, peer_inputs) = bounded(settings.inputs_max);
    let (asks, ask_inputs) = bounded(settings.inputs_max);
    let (publish, status) = watch::channel(Status::default());
    let handle = NodeHandle { peers: peer_sender, asks, status };
    let replica = Replica::new(settings.configuration, settings.options);
    let actor = thread::Builder::new().name("actor".into());
    let actor = actor.spawn(move || {
        let mut timers = Timers::default();
        let mut batch = Batch::default();
        let state = recover(&replica, settings.id, stored, &mut timers, &mut batch);
        let mut running = Running {
            replica,
            id: settings.id,
            state: Some(state),
            timers,
            batch,
            mine: VecDeque::new(),
            disk: Disk::Idle,
            full_until: None,
            requests: 0,
            outlet,
            clients,
            orders,
            reports,
            peers: peer_inputs,
            asks: ask_inputs,
            publish,
        };
        let ended = running.run();
        running.clients.interrupt_below(u64::MAX);
        drop(running);
        let _ = disk.join();
        ended
    });
    let actor = actor.map_err(|error| format!("cannot start the actor thread: {error}"))?;
    Ok((handle, actor))
}

#[allow(clippy::disallowed_methods, reason = "the loop is where the clock enters")]
fn now() -> Instant {
    Instant::now()
}

/// What the disk thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Idle,
    Busy,
}

struct Running {
    replica: Replica<Machine>,
    id: Id,
    /// Taken out while a handler runs, so that it changes the state in place.
    state: Option<State<Machine>>,
    timers: Timers,
    batch: Batch,
    /// Released messages of this node to itself.
    mine: VecDeque<Msg>,
    disk: Disk,
    /// The store was full: until then, what would save is dropped.
    full_until: Option<Instant>,
    /// The number of the latest request.
    requests: u64,
    outlet: Arc<Outlet>,
    clients: Arc<Clients>,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    peers: Receiver<(Id, Msg)>,
    asks: Receiver<Ask>,
    publish: watch::Sender<Status>,
}

enum Step {
    Message(Id, Msg),
    Timer(Timer),
}

/// Starts the replica from what is stored.
fn recover(
    replica: &Replica<Machine>,
    id: Id,
    stored: Option<Stored>,
    timers: &mut Timers,
    batch: &mut Batch,
) -> State<Machine> {
    timers.clear();
    let mut out = Out::new();
    let state = replica.on_start(id, &stored, &mut out);
    carry_out(out, timers, batch);
    state
}

/// Sets timers at once, and puts the rest into the batch: a step's save first, since none of its messages may precede it.
fn carry_out(out: Out<Replica<Machine>>, timers: &mut Timers, batch: &mut Batch) {
    let mut sends = Vec::new();
    let now = now();
    for output in out {
        match output {
            Output::SetTimer(timer, range) => timers.set(timer, range, now),
            Output::CancelTimer(timer) => timers.cancel(&timer),
            Output::Save(value) => batch.save(value),
            Output::Send(dst, message) => sends.push((dst, message)),
            Output::ChooseRandom(..) => unreachable!("a replica makes no random choice"),
        }
    }
    for (dst, message) in sends {
        batch.send(dst, message);
    }
}

impl Running {
    fn run(&mut self) -> Ended {
        loop {
            while let Ok(report) = self.reports.try_recv() {
                self.take_report(report)?;
            }
            if !self.drain() {
                return self.finish();
            }
            self.run_timers();
            self.hand_over();
            self.tell();
            if self.mine.is_empty() && !self.wait()? {
                return self.finish();
            }
        }
    }

    /// Takes in what is at hand. False when the node is asked to stop.
    fn drain(&mut self) -> bool {
        while let Some(message) = self.mine.pop_front() {
            self.step(Step::Message(self.id, message));
        }
        for _ in 0..DRAIN_MAX {
            if self.batch.len() >= WAITING_MAX {
                break;
            }
            let peer = self.peers.try_recv();
            let ask = self.asks.try_recv();
            if peer.is_err() && ask.is_err() {
                break;
            }
            if let Ok((src, message)) = peer {
                self.step(Step::Message(src, message));
            }
            match ask {
                Ok(Ask::Stop) => return false,
                Ok(ask) => self.take_ask(ask),
                Err(_) => {}
            }
        }
        true
    }

    fn take_ask(&mut self, ask: Ask) {
        if let Ask::Request { request, timeout_ms, client } = ask {
            self.requests += 1;
            self.clients.insert(self.requests, client);
            let message = Message::Request { number: self.requests, timeout_ms, request };
            if !self.step(Step::Message(Id::from(CLIENT), message)) {
                self.clients.refuse_full(self.requests);
            }
        }
    }

    fn run_timers(&mut self) {
        let now = now();
        while let Some(timer) = self.timers.pop(now) {
            if !self.step(Step::Timer(timer.clone())) {
                self.timers.set(timer, FULL_PAUSE..FULL_PAUSE, now);
            }
        }
    }

    /// Releases what may be released, and gives the disk its next batch.
    fn hand_over(&mut self) {
        if self.disk == Disk::Busy {
            return;
        }
        let before = std::mem::take(&mut self.batch.before);
        self.mine.extend(self.outlet.release(before));
        if self.batch.save.is_some() {
            let batch = std::mem::take(&mut self.batch);
            self.disk = Disk::Busy;
            self.orders.send(Order::Commit(batch)).expect("the disk thread lives as long as this one");
        }
    }

    fn take_report(&mut self, report: Report) -> Result<(), String> {
        self.disk = Disk::Idle;
        match report {
            Report::Committed(mine) => {
                self.mine.extend(mine);
                if self.full_until.take().is_some() {
                    tracing::info!("the store has room again");
                }
            }
            Report::Full(why) => {
                tracing::warn!(%why, "the store is full: this node goes on from what is stored, and saves nothing for now");
                self.full_until = Some(now() + FULL_PAUSE);
                self.batch = Batch::default();
                self.mine.clear();
                self.disk = Disk::Busy;
                self.orders.send(Order::Load).expect("the disk thread lives as long as this one");
            }
            Report::Loaded(stored) => {
                self.batch = Batch::default();
                let state = recover(&self.replica, self.id, stored, &mut self.timers, &mut self.batch);
                self.state = Some(state);
                self.clients.interrupt_below(self.requests + 1);
            }
            Report::Failed(why) => return Err(why),
        }
        Ok(())
    }

    /// Steps the replica. False if the input was dropped, since it would have saved where there is no room.
    fn step(&mut self, step: Step) -> bool {
        let state = self.state.take().expect("the state is back after every step");
        let full = self.full_until.is_some_and(|until| now() < until);
        let before = full.then(|| state.clone());
        let mut cow = Cow::Owned(state);
        let mut out = Out::new();
        match step {
            Step::Message(src, message) => self.replica.on_msg(self.id, &mut cow, src, message, &mut out),
            Step::Timer(timer) => self.replica.on_timeout(self.id, &mut cow, &timer, &mut out),
        }
        let saves = out.iter().any(|output| matches!(output, Output::Save(_)));
        if let Some(before) = before
            && saves
        {
            self.state = Some(before);
            return false;
        }
        self.state = Some(cow.into_owned());
        carry_out(out, &mut self.timers, &mut self.batch);
        true
    }

    /// Waits for something to do. False when the node is asked to stop.
    fn wait(&mut self) -> Result<bool, String> {
        let pause = self.timers.next().map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now()));
        let stalled = self.batch.len() >= WAITING_MAX;
        let (no_peers, no_asks) = (never(), never());
        let (peers, asks) = if stalled { (&no_peers, &no_asks) } else { (&self.peers, &self.asks) };
        select! {
            recv(self.reports) -> report => match report {
                Ok(report) => self.take_report(report)?,
                Err(_) => return Err("the disk thread ended".into()),
            },
            recv(peers) -> input => if let Ok((src, message)) = input {
                self.step(Step::Message(src, message));
            },
            recv(asks) -> ask => match ask {
                Ok(Ask::Stop) | Err(_) => return Ok(false),
                Ok(ask) => self.take_ask(ask),
            },
            default(pause) => {}
        }
        Ok(true)
    }

    /// Releases and commits what was stepped, and ends.
    fn finish(&mut self) -> Ended {
        while self.disk == Disk::Busy || self.batch.len() > 0 || self.batch.save.is_some() {
            self.hand_over();
            self.mine.clear();
            if self.disk == Disk::Busy {
                let report = self.reports.recv().map_err(|_| "the disk thread ended".to_owned())?;
                self.take_report(report)?;
            }
        }
        Ok(())
    }

    /// Publishes what changed.
    fn tell(&self) {
        let Some(state) = &self.state else { return };
        let role = match state.role {
            Role::Leading(_) => "leader",
            Role::Following => "follower",
            Role::Polling { .. } | Role::Preparing(_) => "candidate",
        };
        let node = Status {
            role,
            leader: state.following.map(|ballot| ballot.node),
            ballot: state.durable.promised,
            decided: state.durable.decided,
            applied: state.executor.applied,
            log_slots: state.durable.log.len(),
            requests: state.gateway.writes.len() + state.gateway.reads.len(),
            full: self.full_until.is_some(),
        };
        self.publish.send_if_modified(|known| {
            let changed = *known != node;
            if changed {
                *known = node;
            }
            changed
        });
    }
}
