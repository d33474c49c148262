//! The actor thread.

use super::Peers;
use super::batch::Batch;
use super::clients::{Answered, Clients};
use super::disk::{self, Order, Report};
use super::handle::{Ask, Copy, Delivered, NodeHandle, Status};
use super::outlet::Outlet;
use super::room::Room;
use super::sizes;
use super::timers::{Timers, now};
use crate::notices::dropped;
use crate::storage::Store;
use crate::{Machine, Msg, Request, Stored};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};
use paxos_model::kv::Query;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Options, Replica, Role, State, Timer};
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;

/// The source of every client's request, which is no node's number.
const CLIENT: usize = u32::MAX as usize;
/// Inputs that are taken between two looks at the timers.
const DRAIN_MAX: usize = 1024;
/// Messages that wait for the disk; then nothing more is stepped until it is done.
const WAITING_MAX: usize = 16 * 1024;
/// Copies of what is applied that are asked for at a time.
const COPIES_MAX: usize = 64;
/// How long a timer is put off whose step would have saved where there is no room.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// How often the loop looks at deadlines at least: those of requests that it cannot take in yet do not wake it.
const LOOK: Duration = Duration::from_millis(50);
/// How long the disk may take for what is left when the node stops.
const STOP_TIME: Duration = Duration::from_secs(5);

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

/// How a node ended.
pub type Ended = Result<(), String>;

/// Starts a node on `store`. It runs on two threads until it is stopped or fails; the handle to join tells how it ended.
pub fn start<S: Store>(
    settings: Settings,
    mut store: S,
    peers: Arc<dyn Peers>,
) -> Result<(NodeHandle, JoinHandle<Ended>), String> {
    settings.options.validate()?;
    let stored = store.load().map_err(|error| error.to_string())?;
    let room = Room::new(store.usage());
    let clients = Arc::new(Clients::default());
    let outlet = Arc::new(Outlet { id: settings.id, peers, clients: clients.clone() });
    let (orders, for_disk) = bounded(1);
    let (done, reports) = bounded(1);
    let disk_outlet = outlet.clone();
    let disk = thread::Builder::new().name("disk".into());
    let disk = disk.spawn(move || disk::work(store, &disk_outlet, &for_disk, &done));
    let disk = disk.map_err(|error| format!("cannot start the disk thread: {error}"))?;
    let (peer_sender, peers) = bounded(settings.inputs_max);
    let (ask_sender, asks) = bounded(settings.inputs_max);
    let (copy_sender, copies) = bounded(COPIES_MAX);
    let (stop, stopping) = bounded(1);
    let (publish, status) = watch::channel(Status::default());
    let inbox_bytes = Arc::new(AtomicUsize::new(0));
    let handle = NodeHandle {
        peers: peer_sender,
        inbox_bytes: inbox_bytes.clone(),
        asks: ask_sender,
        copies: copy_sender,
        stop,
        clients: clients.clone(),
        status,
    };
    let replica = Replica::new(settings.configuration, settings.options);
    let actor = thread::Builder::new().name("actor".into());
    let actor = actor.spawn(move || {
        let _closing = Closing(clients.clone());
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
            room,
            outlet,
            clients,
            orders,
            reports,
            peers,
            inbox_bytes,
            asks,
            copies,
            stopping,
            publish,
        };
        let ended = running.run();
        let hangs = running.disk == Disk::Busy && ended.is_err();
        drop(running);
        if !hangs {
            let _ = disk.join();
        }
        ended
    });
    let actor = actor.map_err(|error| format!("cannot start the actor thread: {error}"))?;
    Ok((handle, actor))
}

/// Answers every client when the actor thread ends, however it does.
struct Closing(Arc<Clients>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
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
    room: Room,
    outlet: Arc<Outlet>,
    clients: Arc<Clients>,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    peers: Receiver<Delivered>,
    inbox_bytes: Arc<AtomicUsize>,
    asks: Receiver<Ask>,
    copies: Receiver<Copy>,
    stopping: Receiver<()>,
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
            if self.stopping.try_recv().is_ok() {
                return self.finish();
            }
            while let Ok(copy) = self.copies.try_recv() {
                self.hand_out(copy);
            }
            self.drain();
            self.run_timers();
            self.hand_over();
            self.tell();
            if (self.mine.is_empty() || self.is_stalled()) && !self.wait()? {
                return self.finish();
            }
        }
    }

    /// Whether so much waits for the disk that nothing more is stepped.
    fn is_stalled(&self) -> bool {
        self.batch.len() >= WAITING_MAX
    }

    /// Takes in what is at hand.
    fn drain(&mut self) {
        while !self.is_stalled()
            && let Some(message) = self.mine.pop_front()
        {
            self.step(Step::Message(self.id, message));
        }
        for _ in 0..DRAIN_MAX {
            if self.is_stalled() {
                return;
            }
            let peer = self.peers.try_recv();
            let ask = if self.clients.admits() { self.asks.try_recv().ok() } else { None };
            if peer.is_err() && ask.is_none() {
                return;
            }
            if let Ok(delivered) = peer {
                self.take_delivered(delivered);
            }
            if let Some(ask) = ask {
                self.take_ask(ask);
            }
        }
    }

    fn take_delivered(&mut self, (src, message, bytes): Delivered) {
        self.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.step(Step::Message(src, message));
    }

    fn take_ask(&mut self, (number, request): Ask) {
        let Some(left) = self.clients.admit(number, now()) else { return };
        if self.room.refuses_values() && sizes::brings_values(&request) {
            self.clients.answer(number, Answered::Full);
            return;
        }
        // Rounded up: no deadline before its time.
        let timeout_ms = u32::try_from(left.as_millis() + 1).unwrap_or(u32::MAX);
        let message = Message::Request { number, timeout_ms, request };
        if !self.step(Step::Message(Id::from(CLIENT), message)) {
            self.clients.answer(number, Answered::Full);
        }
    }

    /// What is applied is decided, whatever this node has saved of it, and so may be seen at once.
    fn hand_out(&self, copy: Copy) {
        if let Some(state) = &self.state {
            let _ = copy.send(state.executor.clone());
        }
    }

    fn run_timers(&mut self) {
        let now = now();
        while !self.is_stalled()
            && let Some(timer) = self.timers.pop(now)
        {
            if !self.step(Step::Timer(timer.clone())) {
                self.timers.set(timer, FULL_PAUSE..FULL_PAUSE, now);
            }
        }
        self.clients.end_overdue(now);
    }

    fn order(&mut self, order: Order) {
        assert_eq!(self.disk, Disk::Idle, "the disk does one thing at a time");
        self.disk = Disk::Busy;
        self.orders.send(order).expect("the disk thread lives as long as this one");
    }

    /// Releases what may be released, and gives the disk its next batch.
    fn hand_over(&mut self) {
        if self.disk == Disk::Busy {
            return;
        }
        let before = std::mem::take(&mut self.batch.before);
        self.mine.extend(self.outlet.release(before));
        // First, or it would never be its turn under a load that needs little room.
        if self.room.next_look().is_some_and(|at| at <= now()) {
            self.order(Order::Probe);
        } else if self.batch.save.is_some() {
            let batch = std::mem::take(&mut self.batch);
            self.order(Order::Commit(batch));
        }
    }

    fn take_report(&mut self, report: Report) -> Result<(), String> {
        self.disk = Disk::Idle;
        match report {
            Report::Committed(mine, stored, usage) => {
                self.mine.extend(mine);
                self.room.committed(stored, usage);
            }
            Report::Full { why, failed, stored } => {
                self.room.found_full(stored.as_ref(), &failed, now());
                self.begin_anew(stored, &why);
            }
            Report::Room(room, usage) => self.room.looked(room, usage, now()),
            Report::Failed(why) => return Err(why),
        }
        Ok(())
    }

    /// Goes on from `stored`, as after a crash: nothing that was stepped since is seen.
    fn begin_anew(&mut self, stored: Option<Stored>, why: &str) {
        tracing::warn!(
            why,
            "the store is full: this node goes on from what is stored, and drops what needs so much room"
        );
        self.batch = Batch::default();
        self.mine.clear();
        self.state = Some(recover(&self.replica, self.id, stored, &mut self.timers, &mut self.batch));
        self.clients.interrupt_admitted();
        // What a life saves before its first answer it saves now, while that is all there is to save: once it has learned what
        // is not stored either, there may be no room for both, and reads would not go on. Nobody waits for number 0.
        let request = Request::Read(Query::Get("".into()));
        self.step(Step::Message(Id::from(CLIENT), Message::Request { number: 0, timeout_ms: 1, request }));
    }

    /// Steps the replica. False if the input was dropped, since it would have saved where there is no room.
    fn step(&mut self, step: Step) -> bool {
        let state = self.state.take().expect("the state is back after every step");
        let before = self.room.is_full().then(|| state.clone());
        let mut cow = Cow::Owned(state);
        let mut out = Out::new();
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
        self.state = Some(cow.into_owned());
        carry_out(out, &mut self.timers, &mut self.batch);
        true
    }

    /// Waits for something to do. False when the node is asked to stop.
    fn wait(&mut self) -> Result<bool, String> {
        let stalled = self.is_stalled();
        let timer = if stalled { None } else { self.timers.next() };
        let look = if self.disk == Disk::Idle { self.room.next_look() } else { None };
        let next = [timer, look, self.clients.next_due()].into_iter().flatten().min();
        let pause = next.map_or(LOOK, |at| at.saturating_duration_since(now()).min(LOOK));
        let (no_peers, no_asks) = (never(), never());
        let peers = if stalled { &no_peers } else { &self.peers };
        let asks = if stalled || !self.clients.admits() { &no_asks } else { &self.asks };
        select! {
            recv(self.reports) -> report => match report {
                Ok(report) => self.take_report(report)?,
                Err(_) => return Err("the disk thread ended".into()),
            },
            recv(peers) -> delivered => if let Ok(delivered) = delivered {
                self.take_delivered(delivered);
            },
            recv(asks) -> ask => if let Ok(ask) = ask {
                self.take_ask(ask);
            },
            recv(self.copies) -> copy => if let Ok(copy) = copy {
                self.hand_out(copy);
            },
            recv(self.stopping) -> _ => return Ok(false),
            default(pause) => {}
        }
        Ok(true)
    }

    /// Releases and commits what was stepped, and ends.
    fn finish(&mut self) -> Ended {
        let end = now() + STOP_TIME;
        loop {
            self.hand_over();
            self.mine.clear();
            if self.disk == Disk::Idle {
                return Ok(());
            }
            let next = self.clients.next_due().map_or(end, |at| at.min(end));
            match self.reports.recv_deadline(next) {
                Ok(Report::Failed(why)) => return Err(why),
                Ok(Report::Full { .. }) => {
                    self.disk = Disk::Idle;
                    return Ok(());
                }
                Ok(_) => self.disk = Disk::Idle,
                Err(RecvTimeoutError::Disconnected) => return Err("the disk thread ended".into()),
                Err(RecvTimeoutError::Timeout) if now() >= end => {
                    return Err(format!("the disk did not answer for {STOP_TIME:?}"));
                }
                Err(RecvTimeoutError::Timeout) => self.clients.end_overdue(now()),
            }
        }
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
            snapshot: state.durable.snapshot.applied,
            first: state.durable.first(),
            log_slots: state.durable.log.len(),
            sessions: state.executor.sessions.len(),
            tombstones: state.executor.machine.tombstones(),
            requests: state.gateway.writes.len() + state.gateway.reads.len(),
            full: self.room.refuses_values(),
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
