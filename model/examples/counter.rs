//! How to embed the replicated log with a state machine of your own: named counters, on three replicas in one process.
//!
//! Run it with `cargo run -p paxos-model --example counter`. It ends by itself; no clock, no sockets, no disk: what a
//! runtime has to do is all in [`Cluster`], in about fifty lines.

use paxos_model::machine::StateMachine;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Act, Message, MessageOf, OutcomeOf, Request};
use paxos_model::replica::{Options, Replica, State, Timer};
use paxos_model::trace::{Input, step};
use serde::{Deserialize, Serialize};
use stateright::actor::{Command, Id};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::process::ExitCode;
use std::sync::Arc;

/// The state machine: counters by name. A large one would keep them in a structurally shared map, so that a clone is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Counters(BTreeMap<String, u64>);

/// The only command: add `by` to a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Add {
    name: String,
    by: u64,
}

/// The only query: the value of a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Value {
    of: String,
}

impl StateMachine for Counters {
    type Command = Add;
    type Reply = u64;
    type Query = Value;
    type Answer = u64;
    type Place = String;
    type Item = u64;

    fn size(add: &Add) -> usize {
        add.name.len() + 16
    }

    /// Total: a counter that is full stays full. Deterministic: equal logs give equal counters everywhere.
    fn apply(&mut self, add: &Add) -> u64 {
        let counter = self.0.entry(add.name.clone()).or_default();
        *counter = counter.saturating_add(add.by);
        *counter
    }

    fn query(&self, query: &Value) -> u64 {
        self.0.get(&query.of).copied().unwrap_or(0)
    }

    fn items(&self, after: Option<&String>) -> impl Iterator<Item = (String, u64)> {
        let from = after.map_or(Unbounded, Excluded);
        self.0.range::<String, _>((from, Unbounded)).map(|(name, count)| (name.clone(), *count))
    }

    fn put(&mut self, name: String, count: u64) {
        self.0.insert(name, count);
    }

    fn reply_size(_: &u64) -> usize {
        8
    }

    fn item_size(name: &String, _: &u64) -> usize {
        name.len() + 16
    }
}

const REPLICAS: usize = 3;

/// Any number that is not a replica's.
const CLIENT: usize = 100;

/// The runtime: it feeds inputs to the replicas, one at a time, and carries out what they put out.
struct Cluster {
    replica: Replica<Counters>,
    states: Vec<State<Counters>>,
    disks: Vec<Option<Arc<Durable<Counters>>>>,
    timers: Vec<BTreeSet<Timer>>,
    network: VecDeque<(Id, Id, MessageOf<Counters>)>,
    replies: BTreeMap<u64, OutcomeOf<Counters>>,
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Cluster {
            replica: Replica::new(Configuration::of_voters(REPLICAS), Options::default()),
            states: Vec::new(),
            disks: vec![None; REPLICAS],
            timers: vec![BTreeSet::new(); REPLICAS],
            network: VecDeque::new(),
            replies: BTreeMap::new(),
        };
        for node in 0..REPLICAS {
            cluster.input(node, Input::Start);
        }
        cluster
    }

    /// One step of one replica.
    fn input(&mut self, node: usize, input: Input<MessageOf<Counters>, Timer>) {
        let id = Id::from(node);
        let done = step(&self.replica, id, self.states.get(node), &self.disks[node], &input);
        match done.state {
            Some(state) if node == self.states.len() => self.states.push(state),
            Some(state) => self.states[node] = state,
            None => {}
        }
        // First what is to be saved. A real runtime syncs it to the disk HERE, before it releases a single message of this
        // step or of a later one: a promise or a vote that somebody saw must survive a crash.
        for output in &done.outputs {
            if let Command::Save(durable) = output {
                self.disks[node] = Some(durable.clone());
            }
        }
        for output in done.outputs {
            match output {
                Command::Send(_, Message::Reply { number, outcome }) => {
                    self.replies.insert(number, outcome);
                }
                Command::Send(to, message) => self.network.push_back((id, to, message)),
                // A real runtime draws a delay from the range and starts a clock.
                Command::SetTimer(timer, _) => {
                    self.timers[node].insert(timer);
                }
                Command::CancelTimer(timer) => {
                    self.timers[node].remove(&timer);
                }
                Command::Save(_) => {}
                Command::ChooseRandom(..) => unreachable!("a replica draws nothing"),
            }
        }
    }

    /// Lets a timer run out, if it is set.
    fn time_out(&mut self, node: usize, timer: Timer) {
        if self.timers[node].remove(&timer) {
            self.input(node, Input::Timeout(timer));
        }
    }

    /// Delivers every message, first sent first, and runs what was asked for "immediately", until all is quiet.
    fn run(&mut self) {
        loop {
            while let Some((src, dst, msg)) = self.network.pop_front() {
                self.input(dst.into(), Input::Deliver { src, msg });
            }
            match (0..REPLICAS).find(|node| self.timers[*node].contains(&Timer::Flush)) {
                Some(node) => self.time_out(node, Timer::Flush),
                None => return,
            }
        }
    }

    /// Hands a client's request to a node, and waits for its answer.
    fn ask(&mut self, node: usize, number: u64, request: Request<Add, Value>) -> Option<OutcomeOf<Counters>> {
        let msg = Message::Request { number, timeout_ms: 1000, request };
        self.input(node, Input::Deliver { src: CLIENT.into(), msg });
        self.run();
        self.replies.remove(&number)
    }
}

fn main() -> ExitCode {
    let mut cluster = Cluster::start();

    // Nobody leads yet. The first node whose election timer runs out asks the others, and leads.
    cluster.time_out(0, Timer::Election);
    cluster.run();

    // Any node takes any request, and passes it to the leader.
    let adds = [("apples", 3), ("pears", 1), ("apples", 4), ("plums", 7), ("pears", 2), ("apples", 5)];
    for (number, (name, by)) in (1..).zip(adds) {
        let node = number as usize % REPLICAS;
        let act = Act::Apply(Add { name: name.into(), by });
        let outcome = cluster.ask(node, number, Request::Write { session: None, act });
        println!("node {node}: add {by} to {name:6} -> {outcome:?}");
    }

    // A linearizable read, through a node that does not lead.
    let outcome = cluster.ask(2, 100, Request::Read(Value { of: "apples".into() }));
    println!("node 2: how many apples? -> {outcome:?}");

    // The leader's next heartbeat tells the others how far the log is decided.
    cluster.time_out(0, Timer::Resend);
    cluster.run();

    let expected = BTreeMap::from([("apples".into(), 12), ("pears".into(), 3), ("plums".into(), 7)]);
    for (node, state) in cluster.states.iter().enumerate() {
        println!("node {node}: {} slots applied, {:?}", state.executor.applied, state.executor.machine.0);
    }
    if cluster.states.iter().all(|state| state.executor.machine.0 == expected) {
        println!("all three agree");
        ExitCode::SUCCESS
    } else {
        println!("they do not agree");
        ExitCode::FAILURE
    }
}
