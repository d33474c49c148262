//! A few replicas, the messages between them, their disks and their timers.

use paxos_model::kv::{Command as KvCommand, Kv, Query};
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Entry, Message, MessageOf, OutcomeOf, Request};
use paxos_model::replica::{Options, Replica, Role, State, Timer};
use paxos_model::trace::{Input, step};
use stateright::actor::Command;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) type Msg = MessageOf<Kv>;

/// Every client is this one; its requests are told apart by number.
pub(crate) const CLIENT: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) src: usize,
    pub(crate) dst: usize,
    pub(crate) msg: Msg,
}

/// What one step put out, but for timers.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) sent: Vec<Envelope>,
    pub(crate) saves: usize,
}

pub(crate) struct Cluster {
    pub(crate) replica: Replica<Kv>,
    pub(crate) nodes: Vec<State<Kv>>,
    pub(crate) disks: Vec<Option<Arc<Durable<Kv>>>>,
    pub(crate) timers: Vec<BTreeSet<Timer>>,
    pub(crate) pool: Vec<Envelope>,
    pub(crate) replies: Vec<(u64, OutcomeOf<Kv>)>,
    /// Nodes that nothing reaches and that reach nobody.
    pub(crate) cut: BTreeSet<usize>,
}

impl Cluster {
    pub(crate) fn new(count: usize, options: Options) -> Self {
        Cluster::of(Configuration::of_voters(count), options)
    }

    pub(crate) fn of(configuration: Configuration, options: Options) -> Self {
        let count = configuration.members.len();
        let replica = Replica::new(configuration, options);
        let mut this = Cluster {
            nodes: Vec::new(),
            disks: vec![None; count],
            timers: vec![BTreeSet::new(); count],
            pool: Vec::new(),
            replies: Vec::new(),
            cut: BTreeSet::new(),
            replica,
        };
        for node in 0..count {
            let started = step(&this.replica, node.into(), None, &None, &Input::Start);
            this.nodes.push(started.state.expect("a start gives a state"));
            this.take_outputs(node, started.outputs);
        }
        this
    }

    pub(crate) fn run(&mut self, node: usize, input: Input<Msg, Timer>) -> Outputs {
        let done = step(&self.replica, node.into(), Some(&self.nodes[node]), &self.disks[node], &input);
        if let Some(state) = done.state {
            self.nodes[node] = state;
        }
        self.take_outputs(node, done.outputs)
    }

    pub(crate) fn take_outputs(
        &mut self,
        node: usize,
        commands: Vec<Command<Msg, Timer, (), Arc<Durable<Kv>>>>,
    ) -> Outputs {
        let mut outputs = Outputs::default();
        for command in commands {
            match command {
                Command::SetTimer(timer, _) => {
                    self.timers[node].insert(timer);
                }
                Command::CancelTimer(timer) => {
                    self.timers[node].remove(&timer);
                }
                Command::Save(durable) => {
                    self.disks[node] = Some(durable);
                    outputs.saves += 1;
                }
                Command::Send(dst, msg) => outputs.sent.push(Envelope { src: node, dst: dst.into(), msg }),
                Command::ChooseRandom(..) => unreachable!("a replica draws nothing"),
            }
        }
        assert!(outputs.saves <= 1, "a step saves at most once");
        for envelope in &outputs.sent {
            match &envelope.msg {
                Message::Reply { number, outcome } => self.replies.push((*number, outcome.clone())),
                _ => self.pool.push(envelope.clone()),
            }
        }
        outputs
    }

    pub(crate) fn deliver(&mut self, src: usize, dst: usize, msg: Msg) -> Outputs {
        self.run(dst, Input::Deliver { src: src.into(), msg })
    }

    pub(crate) fn timeout(&mut self, node: usize, timer: Timer) -> Outputs {
        assert!(self.timers[node].remove(&timer), "{timer:?} of node {node} is not set");
        self.run(node, Input::Timeout(timer))
    }

    /// A crash, and a start from what is saved.
    pub(crate) fn restart(&mut self, node: usize) {
        self.timers[node].clear();
        let started = step(&self.replica, node.into(), None, &self.disks[node], &Input::Start);
        self.nodes[node] = started.state.expect("a start gives a state");
        self.take_outputs(node, started.outputs);
    }

    /// Takes messages off the network: to keep them for later, or to lose them.
    pub(crate) fn take(&mut self, which: impl Fn(&Envelope) -> bool) -> Vec<Envelope> {
        let (taken, kept) = std::mem::take(&mut self.pool).into_iter().partition(which);
        self.pool = kept;
        taken
    }

    /// Settles, and once more after the resend timer of node 0 ran out.
    pub(crate) fn settle_after_resend(&mut self) {
        self.settle();
        self.timeout(0, Timer::Resend);
        self.settle();
    }

    /// Lets every resend timer run out many times.
    pub(crate) fn resend_for_long(&mut self) {
        for _ in 0..20 {
            for node in 0..self.nodes.len() {
                self.timeout(node, Timer::Resend);
                self.settle();
            }
        }
    }

    /// Delivers everything, in order, and lets zero-delay timers run out, until nothing is left to do.
    /// What a node that is cut off sends or should get is lost.
    pub(crate) fn settle(&mut self) -> Vec<Envelope> {
        let mut delivered = Vec::new();
        loop {
            assert!(delivered.len() < 10_000, "it never settles");
            if !self.pool.is_empty() {
                let envelope = self.pool.remove(0);
                let lost = envelope.src != envelope.dst
                    && (self.cut.contains(&envelope.src) || self.cut.contains(&envelope.dst));
                if !lost {
                    self.deliver(envelope.src, envelope.dst, envelope.msg.clone());
                    delivered.push(envelope);
                }
            } else if let Some(node) = (0..self.nodes.len()).find(|node| self.timers[*node].contains(&Timer::Flush)) {
                self.timeout(node, Timer::Flush);
            } else {
                return delivered;
            }
        }
    }

    /// `node` stands for election, and everybody it reaches follows it.
    pub(crate) fn elect(&mut self, node: usize) {
        for _ in 0..5 {
            self.timeout(node, Timer::Election);
            self.settle();
            if self.leads(node) {
                return;
            }
        }
        panic!("node {node} is not elected");
    }

    pub(crate) fn leads(&self, node: usize) -> bool {
        matches!(self.nodes[node].role, Role::Leading(_))
    }

    pub(crate) fn request(&mut self, node: usize, number: u64, request: Request<KvCommand, Query>) -> Outputs {
        self.deliver(CLIENT, node, Message::Request { number, timeout_ms: 1000, request })
    }

    pub(crate) fn reply(&self, number: u64) -> Option<&OutcomeOf<Kv>> {
        let mut replies = self.replies.iter().filter(|(n, _)| *n == number).map(|(_, outcome)| outcome);
        let reply = replies.next();
        assert!(replies.next().is_none(), "request {number} is answered twice");
        reply
    }

    pub(crate) fn entry(&self, node: usize, slot: Slot) -> Option<&Entry<KvCommand>> {
        let durable = &self.nodes[node].durable;
        durable.log.get(&slot).filter(|_| slot < durable.decided)
    }

    pub(crate) fn value(&self, node: usize, key: &str) -> String {
        self.nodes[node].executor.machine.get(&key.into()).val.to_string()
    }

    pub(crate) fn deadline(&self, node: usize) -> Timer {
        let mut deadlines = self.timers[node].iter().filter(|timer| matches!(timer, Timer::Deadline(_)));
        let deadline = deadlines.next().expect("a request waits").clone();
        assert!(deadlines.next().is_none(), "several requests wait");
        deadline
    }
}
