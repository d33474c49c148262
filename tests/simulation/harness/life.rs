//! One life: nodes, what is on its way between them, and what happens when.

use super::ON_DISK;
use super::Time;
use super::clients::Client;
use super::disk::{Disk, Outputs};
use super::faults::{self, Fault};
use super::judge::{self, history::History};
use super::network::{self, Network};
use super::plan::{MS, Plan};
use super::random::Random;
use super::record::Record;
use super::watch::Watch;
use crate::peers::Gathered;
use paxos::Msg;
use paxos::node::{Ask, Core, Order, Outlet, Report, Settings};
use paxos::storage::Store;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::message::Message;
use stateright::actor::Id;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long clients go on after all faults.
const CALM: Time = 300 * MS;
/// How long after all faults every node must have done a write, and all be the same. A full store is looked at again after 5 s.
const RECOVERY: Time = 30_000 * MS;
/// How long a node's loop takes to come to what is at hand.
const TURN: std::ops::Range<Time> = 1..50;
/// How long a node is down at most.
pub(super) const DOWN: Time = 300 * MS;
/// How often a node's loop looks whether more requests go in.
const LOOK: Time = 50 * MS;

/// One life of a node.
pub(super) struct Up {
    pub(super) core: Core,
    pub(super) outlet: Arc<Outlet>,
    gathered: Arc<Gathered>,
    /// What waits for its loop: messages of others, and requests.
    messages: VecDeque<(Id, Msg)>,
    pub(super) asks: VecDeque<Ask>,
    /// What its disk is at.
    pub(super) order: Option<Order>,
    report: Option<Report>,
    /// When its loop goes on.
    turn: Option<Time>,
}

impl Up {
    /// Takes in what is at hand, as the actor thread does. True if a snapshot was installed by it.
    fn drain(&mut self, now: Instant) -> bool {
        let mut installed = false;
        while self.core.take_own(now) {}
        while !self.core.is_stalled() {
            let message = self.messages.pop_front();
            let ask = if self.core.admits() { self.asks.pop_front() } else { None };
            if message.is_none() && ask.is_none() {
                break;
            }
            if let Some((src, message)) = message {
                let part = matches!(message, Message::Part { .. });
                let had = self.core.status().snapshot;
                self.core.take_message(src, message, now);
                installed |= part && self.core.status().snapshot != had;
            }
            if let Some(ask) = ask {
                self.core.take_ask(ask, now);
            }
        }
        installed
    }
}

/// A node over its lives.
pub(super) struct Node {
    pub(super) disk: Disk,
    pub(super) lives: u64,
    pub(super) up: Option<Up>,
    /// Until when it does nothing.
    pub(super) paused: Time,
    /// Its commits take so many times as long.
    pub(super) slow: Time,
    /// The slot that its local reads have shown.
    pub(super) shown: Slot,
}

/// What happens at a moment.
pub(super) enum Event {
    Start(usize),
    /// A frame arrives.
    Arrive(usize, usize, Vec<u8>),
    Turn(usize),
    /// The disk of a node, in that life of it, is done.
    Disk(usize, u64),
    /// Its loop hears of it.
    Report(usize, u64),
    Client(usize),
    Fault(Fault),
}

/// A life as it goes on.
pub(crate) struct Life {
    pub(super) plan: Plan,
    began: Instant,
    pub(super) now: Time,
    queue: BTreeMap<(Time, u64), Event>,
    queued: u64,
    pub(super) random: Random,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) clients: Vec<Client>,
    pub(super) watch: Watch,
    /// The highest ballot that one led in.
    led: Option<Ballot>,
    pub(super) record: Record,
    pub(super) ended: bool,
    directory: Option<tempfile::TempDir>,
}

impl Life {
    #[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
    pub(crate) fn new(seed: u64, plan: Plan, random: Random, record: Record) -> Life {
        let directory = plan.on_disk.then(|| tempfile::tempdir().expect("there is room for a temporary directory"));
        let path = directory.as_ref().map(tempfile::TempDir::path);
        let node = |id| Node { disk: Disk::new(path, id), lives: 0, up: None, paused: 0, slow: 1, shown: 0 };
        Life {
            began: Instant::now(),
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            nodes: (0..plan.nodes as u64).map(node).collect(),
            network: Network::new(plan.nodes, plan.weather.clone()),
            clients: (0..plan.clients).map(|number| Client::new(number, seed)).collect(),
            watch: Watch::new(plan.nodes),
            led: None,
            ended: false,
            plan,
            random,
            record,
            directory,
        }
    }

    /// Lives it to its end, and judges it.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        self.plan.options.validate()?;
        if self.plan.on_disk {
            self.record.count(ON_DISK);
        }
        for node in 0..self.nodes.len() {
            let at = self.random.below(20 * MS);
            self.push(at, Event::Start(node));
        }
        for (at, fault) in faults::schedule(&self.plan, &mut self.random) {
            self.push(at, Event::Fault(fault));
        }
        for client in 0..self.clients.len() {
            let at = self.random.below(50 * MS);
            self.call(client, at);
        }
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.happen(event)?;
            if self.ended && self.is_over() {
                return self.judge();
            }
            if self.now > self.plan.faults_until + RECOVERY {
                return Err(format!("progress: {}", self.why_not_over()));
            }
        }
        Err("progress: nothing more happens".into())
    }

    /// What is left of it: how long it took, the number of operations, and what happened.
    pub(crate) fn end(self) -> (Time, u64, Record) {
        let operations = self.clients.iter().map(|client| client.history.operations() as u64).sum();
        (self.now, operations, self.record)
    }

    fn judge(&mut self) -> Result<(), String> {
        let mut history = History::default();
        for client in &self.clients {
            history.merge(client.history.clone());
        }
        for (name, verdict) in judge::judge(&history, true) {
            verdict.map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, at: Time, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    /// Client `client` goes on at `at`.
    pub(super) fn call(&mut self, client: usize, at: Time) {
        self.clients[client].next = Some(at);
        self.push(at, Event::Client(client));
    }

    pub(super) fn instant(&self) -> Instant {
        self.began + Duration::from_micros(self.now)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Start(node) => self.start(node),
            Event::Arrive(src, dst, frame) => {
                self.arrive(src, dst, &frame);
                Ok(())
            }
            Event::Turn(node) => self.turn(node),
            Event::Disk(node, life) => self.disk(node, life),
            Event::Report(node, life) => self.report(node, life),
            Event::Client(client) if self.clients[client].next == Some(self.now) => self.client(client),
            Event::Client(_) => Ok(()),
            Event::Fault(fault) => self.fault(&fault),
        }
    }

    /// A node starts from what is stored.
    fn start(&mut self, id: usize) -> Result<(), String> {
        let (seed, now) = (self.random.next(), self.instant());
        let node = &mut self.nodes[id];
        if node.up.is_some() {
            return Ok(());
        }
        node.disk.open()?;
        let stored = node.disk.load().map_err(|error| format!("what is stored can be read: {error}"))?;
        if stored != node.disk.committed {
            return Err(format!("what was committed is stored: {:?}, and not {stored:?}", node.disk.committed));
        }
        let gathered = Arc::new(Gathered::default());
        let outlet = Arc::new(Outlet::new(Id::from(id), gathered.clone(), None));
        let settings = Settings {
            id: Id::from(id),
            configuration: self.plan.configuration.clone(),
            options: self.plan.options.clone(),
            inputs_max: self.plan.inputs_max,
        };
        let core = Core::new(&settings, stored, node.disk.usage(), outlet.clone(), seed, now);
        let (messages, asks) = Default::default();
        node.lives += 1;
        node.up = Some(Up { core, outlet, gathered, messages, asks, order: None, report: None, turn: None });
        self.record.event(self.now, ("start", id), || format!("node {id} starts"));
        self.settle(id)?;
        self.wake(id);
        Ok(())
    }

    fn arrive(&mut self, src: usize, dst: usize, frame: &[u8]) {
        if self.network.is_cut(src, dst) {
            return self.record.count("messages cut off");
        }
        let Some(message) = network::open(frame) else { return self.record.count("altered messages") };
        self.record.event(self.now, ("arrive", src, dst, frame), || format!("{src} → {dst}: {message:?}"));
        if let Some(up) = &mut self.nodes[dst].up {
            if up.messages.len() >= self.plan.inputs_max {
                return self.record.count("messages too many");
            }
            up.messages.push_back((Id::from(src), message));
            self.wake(dst);
        }
    }

    /// The loop of a node goes on soon.
    pub(super) fn wake(&mut self, id: usize) {
        let at = self.now + self.random.within(TURN);
        self.wake_at(id, at);
    }

    fn wake_at(&mut self, id: usize, at: Time) {
        let node = &mut self.nodes[id];
        let at = at.max(node.paused);
        if let Some(up) = &mut node.up
            && up.turn.is_none_or(|turn| at < turn)
        {
            up.turn = Some(at);
            self.push(at, Event::Turn(id));
        }
    }

    /// What the actor thread does between two waits.
    fn turn(&mut self, id: usize) -> Result<(), String> {
        let (time, now) = (self.now, self.instant());
        let node = &mut self.nodes[id];
        let Some(up) = node.up.as_mut().filter(|up| up.turn == Some(time)) else { return Ok(()) };
        up.turn = None;
        if node.paused > time {
            let until = node.paused;
            self.record.count("turns put off by a pause");
            self.wake_at(id, until);
            return Ok(());
        }
        let had = up.core.status().snapshot;
        let installed = up.drain(now);
        up.core.run_timers(now);
        let order = up.core.next_order(now);
        if installed {
            self.record.count("snapshots installed");
        } else if up.core.status().snapshot != had {
            self.record.count("snapshots taken");
        }
        let busy = up.core.has_own() && !up.core.is_stalled();
        let wake = up.core.next_wake().map(|at| at.saturating_duration_since(self.began));
        let wake = wake.map(|at| at.as_nanos().div_ceil(1000) as Time);
        // What does not go in now does not wake it.
        let look = (!up.asks.is_empty()).then_some(time + LOOK);
        let next = [wake, look].into_iter().flatten().min();
        let (life, slow) = (node.lives, node.slow);
        if let Some(order) = order {
            up.order = Some(order);
            let at = time + self.random.within(self.plan.commit.clone()) * slow;
            self.push(at, Event::Disk(id, life));
        }
        self.record.event(time, ("turn", id), || format!("node {id} goes on"));
        self.settle(id)?;
        if busy {
            self.wake(id);
        } else if let Some(next) = next {
            self.wake_at(id, next.max(time + 1));
        }
        Ok(())
    }

    /// The node's life, if it is that one and does anything; else the event comes again once it does.
    fn awake(&mut self, id: usize, life: u64, event: fn(usize, u64) -> Event) -> Option<&mut Node> {
        if self.nodes[id].lives != life || self.nodes[id].up.is_none() {
            return None;
        }
        if self.nodes[id].paused > self.now {
            let until = self.nodes[id].paused;
            self.push(until, event(id, life));
            return None;
        }
        Some(&mut self.nodes[id])
    }

    /// What the disk thread does.
    fn disk(&mut self, id: usize, life: u64) -> Result<(), String> {
        let Some(Node { disk, up: Some(up), .. }) = self.awake(id, life, Event::Disk) else { return Ok(()) };
        let order = up.order.take().expect("the disk is done with what it was asked");
        let to_save = order.saves().cloned();
        disk.outputs = Some(Outputs::new(up.gathered.clone(), up.outlet.clone()));
        let report = order.carry_out(disk, &up.outlet);
        disk.outputs = None;
        if disk.seen_before {
            return Err(format!("durable before visible: node {id} sends or answers before it has stored {to_save:?}"));
        }
        let (kind, committed) = match &report {
            Report::Committed(_, value, _) => ("commits", Some(value.clone())),
            Report::Full { .. } => ("commits without room", None),
            Report::Failed(_) => ("failed commits", disk.committed.clone()),
            Report::Room(..) => ("looks for room", None),
        };
        if let Report::Committed(_, value, _) = &report
            && disk.committed.as_ref() != Some(value)
        {
            return Err(format!("what was committed is stored: {value:?}, and not {:?}", disk.committed));
        }
        up.report = Some(report);
        self.record.count(kind);
        self.record.event(self.now, (kind, id), || format!("disk of node {id}: {kind}"));
        if let Some(value) = committed {
            self.watch.committed(id, &value)?;
        }
        self.settle(id)?;
        let at = self.now + self.random.within(TURN);
        self.push(at, Event::Report(id, life));
        Ok(())
    }

    /// The loop hears what came of its order.
    fn report(&mut self, id: usize, life: u64) -> Result<(), String> {
        let now = self.instant();
        let Some(Node { up: Some(up), .. }) = self.awake(id, life, Event::Report) else { return Ok(()) };
        let report = up.report.take().expect("the disk reports each order once");
        let stops = up.core.take_report(report, now);
        self.record.event(self.now, ("report", id), || format!("node {id} hears of its disk"));
        if stops.is_err() {
            up_close(&mut self.nodes[id]);
            self.settle(id)?;
            return self.go_down(id);
        }
        self.settle(id)?;
        self.wake(id);
        Ok(())
    }

    /// Whatever a node put out goes its way: messages onto the network, answers to clients.
    pub(super) fn settle(&mut self, id: usize) -> Result<(), String> {
        let Some(up) = &self.nodes[id].up else { return Ok(()) };
        let sent = up.gathered.take();
        let status = up.core.status();
        if status.role == "leader" && self.led < Some(status.ballot) {
            self.led = Some(status.ballot);
            self.record.count("leaders");
        }
        self.watch.applied(id, up.core.applied())?;
        for (dst, message) in sent {
            self.watch.sent(id, &message)?;
            match message {
                Message::Part { .. } => self.record.count("parts of snapshots"),
                Message::Decided { .. } => self.record.count("answers to a fetch"),
                Message::Prepare { .. } => self.record.count("prepares"),
                Message::Forward { .. } => self.record.count("forwards"),
                _ => {}
            }
            let dst = usize::from(dst);
            if dst < self.nodes.len() {
                for (at, frame) in self.network.carry((id, dst), &message, self.now, &mut self.random, &mut self.record)
                {
                    self.push(at, Event::Arrive(id, dst, frame));
                }
            }
        }
        self.hear(id)
    }

    /// Whether clients begin nothing more.
    pub(super) fn is_calm(&self) -> bool {
        self.now > self.plan.faults_until + CALM
    }

    fn is_over(&self) -> bool {
        let idle = |client: &Client| client.task.is_none() && client.probes.is_none_or(|node| node >= self.nodes.len());
        self.is_calm() && self.clients.iter().all(idle) && self.agree().is_ok()
    }

    /// Whether all nodes are up, and have applied the same.
    fn agree(&self) -> Result<(), String> {
        let mut first: Option<Slot> = None;
        for (id, node) in self.nodes.iter().enumerate() {
            let up = node.up.as_ref().ok_or_else(|| format!("node {id} is down"))?;
            let status = up.core.status();
            if status.applied != status.decided || first.is_some_and(|first| first != status.applied) {
                return Err(format!("node {id} is at {status:?}, and another has applied {first:?}"));
            }
            first = Some(status.applied);
        }
        Ok(())
    }

    fn why_not_over(&self) -> String {
        let told = |client: &Client| {
            client.task.as_ref().map(|task| format!("client {} is at {:?}", client.number, task.doing))
        };
        let probes =
            self.clients.iter().filter_map(|client| client.probes).map(|node| format!("{node} nodes did a write"));
        let clients = self.clients.iter().filter_map(told);
        let statuses = self.nodes.iter().map(|node| format!("{:?}", node.up.as_ref().map(|up| up.core.status())));
        let told: Vec<String> = probes.chain(clients).chain(self.agree().err()).chain(statuses).collect();
        format!("{} s after the last fault {}", RECOVERY / MS / 1000, told.join("; "))
    }
}

/// What a node does when it ends by itself: nobody waits any more.
fn up_close(node: &mut Node) {
    if let Some(up) = &node.up {
        up.outlet.clients().close();
    }
}
