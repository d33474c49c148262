//! Scripted stories of a few replicas: one behaviour each, named by what it shows.
//!
//! The network is a pool of messages that the script delivers, duplicates or loses; time is what the script says it is.

use paxos_model::kv::{Answer, Command as KvCommand, Kv, Put, Query, Reply, Written};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{
    Act, Done, Entry, Message, MessageOf, Operation, OperationId, Outcome, OutcomeOf, Refusal, Request, SessionId,
    Uncertainty, Vote,
};
use paxos_model::replica::{Options, Replica, Role, State, Timer};
use paxos_model::trace::{Input, step};
use stateright::actor::{Command, Id};
use std::collections::BTreeSet;
use std::sync::Arc;

type Msg = MessageOf<Kv>;

/// Every client is this one; its requests are told apart by number.
const CLIENT: usize = 100;

#[derive(Clone, Debug)]
struct Envelope {
    src: usize,
    dst: usize,
    msg: Msg,
}

/// What one step put out, but for timers.
#[derive(Default)]
struct Outputs {
    sent: Vec<Envelope>,
    saves: usize,
}

struct Cluster {
    replica: Replica<Kv>,
    nodes: Vec<State<Kv>>,
    disks: Vec<Option<Arc<Durable<KvCommand>>>>,
    timers: Vec<BTreeSet<Timer>>,
    pool: Vec<Envelope>,
    replies: Vec<(u64, OutcomeOf<Kv>)>,
    /// Nodes that nothing reaches and that reach nobody.
    cut: BTreeSet<usize>,
}

impl Cluster {
    fn new(count: usize, options: Options) -> Self {
        Cluster::of(Configuration::of_voters(count), options)
    }

    fn of(configuration: Configuration, options: Options) -> Self {
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

    fn run(&mut self, node: usize, input: Input<Msg, Timer>) -> Outputs {
        let done = step(&self.replica, node.into(), Some(&self.nodes[node]), &self.disks[node], &input);
        if let Some(state) = done.state {
            self.nodes[node] = state;
        }
        self.take_outputs(node, done.outputs)
    }

    fn take_outputs(
        &mut self,
        node: usize,
        commands: Vec<Command<Msg, Timer, (), Arc<Durable<KvCommand>>>>,
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

    fn deliver(&mut self, src: usize, dst: usize, msg: Msg) -> Outputs {
        self.run(dst, Input::Deliver { src: src.into(), msg })
    }

    fn timeout(&mut self, node: usize, timer: Timer) -> Outputs {
        assert!(self.timers[node].remove(&timer), "{timer:?} of node {node} is not set");
        self.run(node, Input::Timeout(timer))
    }

    /// A crash, and a start from what is saved.
    fn restart(&mut self, node: usize) {
        self.timers[node].clear();
        let started = step(&self.replica, node.into(), None, &self.disks[node], &Input::Start);
        self.nodes[node] = started.state.expect("a start gives a state");
        self.take_outputs(node, started.outputs);
    }

    /// Takes messages off the network: to keep them for later, or to lose them.
    fn take(&mut self, which: impl Fn(&Envelope) -> bool) -> Vec<Envelope> {
        let (taken, kept) = std::mem::take(&mut self.pool).into_iter().partition(which);
        self.pool = kept;
        taken
    }

    /// Delivers everything, in order, and lets zero-delay timers run out, until nothing is left to do.
    /// What a node that is cut off sends or should get is lost.
    fn settle(&mut self) -> Vec<Envelope> {
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
    fn elect(&mut self, node: usize) {
        for _ in 0..5 {
            self.timeout(node, Timer::Election);
            self.settle();
            if self.leads(node) {
                return;
            }
        }
        panic!("node {node} is not elected");
    }

    fn leads(&self, node: usize) -> bool {
        matches!(self.nodes[node].role, Role::Leading(_))
    }

    fn request(&mut self, node: usize, number: u64, request: Request<KvCommand, Query>) -> Outputs {
        self.deliver(CLIENT, node, Message::Request { number, timeout_ms: 1000, request })
    }

    fn reply(&self, number: u64) -> Option<&OutcomeOf<Kv>> {
        let mut replies = self.replies.iter().filter(|(n, _)| *n == number).map(|(_, outcome)| outcome);
        let reply = replies.next();
        assert!(replies.next().is_none(), "request {number} is answered twice");
        reply
    }

    fn entry(&self, node: usize, slot: Slot) -> Option<&Entry<KvCommand>> {
        let durable = &self.nodes[node].durable;
        durable.log.get(&slot).filter(|_| slot < durable.decided)
    }

    fn value(&self, node: usize, key: &str) -> String {
        self.nodes[node].executor.machine.get(&key.into()).val.to_string()
    }

    fn deadline(&self, node: usize) -> Timer {
        let mut deadlines = self.timers[node].iter().filter(|timer| matches!(timer, Timer::Deadline(_)));
        let deadline = deadlines.next().expect("a request waits").clone();
        assert!(deadlines.next().is_none(), "several requests wait");
        deadline
    }
}

/// Without pre-votes, where a story is not about them.
fn options() -> Options {
    Options { pre_vote: false, ..Options::default() }
}

fn ballot(round: u64, node: usize) -> Ballot {
    Ballot { round, node: node.into() }
}

fn put(key: &str, val: &str) -> Act<KvCommand> {
    Act::Apply(KvCommand::Write { puts: vec![Put { key: key.into(), val: val.into(), ver: None }], atomic: false })
}

fn write(key: &str, val: &str) -> Request<KvCommand, Query> {
    Request::Write { session: None, act: put(key, val) }
}

fn write_in(session: SessionId, sequence: u64, key: &str, val: &str) -> Request<KvCommand, Query> {
    Request::Write { session: Some((OperationId { session, sequence }, 1)), act: put(key, val) }
}

fn operation(key: &str) -> Operation<KvCommand> {
    let id = OperationId { session: SessionId { slot: 99, position: 0 }, sequence: 1 };
    Operation::InSession { id, by_node: false, acknowledged_below: 1, act: put(key, key) }
}

fn entry(key: &str) -> Entry<KvCommand> {
    Entry::Batch(Arc::from([operation(key)]))
}

fn read(key: &str) -> Request<KvCommand, Query> {
    Request::Read(Query::Get(key.into()))
}

fn accept(ballot: Ballot, slot: Slot, key: &str) -> Msg {
    Message::Accept { ballot, slot, entry: entry(key) }
}

fn messages(outputs: &Outputs) -> Vec<&Msg> {
    outputs.sent.iter().map(|envelope| &envelope.msg).collect()
}

fn applied(outcome: Option<&OutcomeOf<Kv>>) -> bool {
    let Some(Outcome::Done(Done::Applied(Reply::Written(written)))) = outcome else {
        return false;
    };
    written.iter().all(|written| matches!(written, Written::Applied(_)))
}

fn opened(outcome: Option<&OutcomeOf<Kv>>) -> SessionId {
    match outcome {
        Some(Outcome::Done(Done::Opened(session))) => *session,
        other => panic!("no session: {other:?}"),
    }
}

fn deliver_where(cluster: &mut Cluster, which: impl Fn(&Envelope) -> bool) -> usize {
    let taken = cluster.take(which);
    let count = taken.len();
    for e in taken {
        cluster.deliver(e.src, e.dst, e.msg);
    }
    count
}

#[test]
fn phase_1_recovers_the_highest_vote() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(1, 0, accept(ballot(1, 1), 0, "low"));
    cluster.deliver(2, 2, accept(ballot(2, 2), 0, "high"));
    cluster.pool.clear();
    cluster.cut.insert(1);
    cluster.elect(0);
    for node in [0, 2] {
        assert_eq!(cluster.entry(node, 0), Some(&entry("high")), "node {node}");
    }
}

#[test]
fn a_hole_is_filled_with_a_no_op() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(1, 1, accept(ballot(1, 1), 1, "later"));
    cluster.pool.clear();
    cluster.cut.insert(2);
    cluster.elect(0);
    for node in [0, 1] {
        assert_eq!(cluster.entry(node, 0), Some(&Entry::Noop), "node {node}");
        assert_eq!(cluster.entry(node, 1), Some(&entry("later")), "node {node}");
    }
}

#[test]
fn a_stale_accept_is_ignored() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(2, 1, Message::Prepare { ballot: ballot(2, 2) });
    let before = cluster.nodes[1].clone();
    let outputs = cluster.deliver(0, 1, accept(ballot(1, 0), 0, "stale"));
    assert!(outputs.sent.is_empty() && outputs.saves == 0);
    assert_eq!(cluster.nodes[1], before);
}

#[test]
fn a_duplicate_is_answered_identically_without_a_save() {
    let mut cluster = Cluster::new(3, options());
    for msg in [Message::Prepare { ballot: ballot(1, 0) }, accept(ballot(1, 0), 0, "a")] {
        let first = cluster.deliver(0, 1, msg.clone());
        let again = cluster.deliver(0, 1, msg.clone());
        assert_eq!(messages(&first), messages(&again), "{msg:?}");
        assert_eq!((first.saves, again.saves), (1, 0), "{msg:?}");
    }
}

#[test]
fn a_restart_keeps_promise_and_votes() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(0, 1, Message::Prepare { ballot: ballot(1, 0) });
    cluster.deliver(2, 1, accept(ballot(2, 2), 0, "a"));
    cluster.restart(1);
    assert!(cluster.deliver(0, 1, accept(ballot(1, 0), 1, "stale")).sent.is_empty());
    let outputs = cluster.deliver(0, 1, Message::Prepare { ballot: ballot(3, 0) });
    let votes = vec![Vote { slot: 0, ballot: ballot(2, 2), entry: entry("a") }];
    assert_eq!(messages(&outputs), [&Message::Promise { ballot: ballot(3, 0), first: 0, votes }]);
}

#[test]
fn a_lagging_replica_catches_up_in_chunks() {
    let mut cluster = Cluster::new(3, Options { fetch_max: 2, ..options() });
    cluster.elect(0);
    cluster.cut.insert(2);
    for number in 1..=5 {
        cluster.request(0, number, write("k", &number.to_string()));
        cluster.settle();
        assert!(applied(cluster.reply(number)));
    }
    let decided = cluster.nodes[0].durable.decided;
    assert_eq!(cluster.nodes[2].durable.decided, 0);
    cluster.cut.clear();
    cluster.timeout(0, Timer::Resend);
    let chunks =
        cluster.settle().into_iter().filter(|e| e.dst == 2 && matches!(e.msg, Message::Decided { .. })).count();
    assert_eq!(chunks as u64, decided.div_ceil(2));
    assert_eq!(cluster.nodes[2].executor, cluster.nodes[0].executor);
}

#[test]
fn a_forward_is_relayed_once() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    let operations: Arc<[_]> = Arc::from([operation("a")]);
    let first = cluster.deliver(2, 1, Message::Forward { operations: operations.clone(), relayed: false });
    assert_eq!(first.sent.len(), 1);
    assert_eq!(first.sent[0].dst, 0);
    assert_eq!(first.sent[0].msg, Message::Forward { operations: operations.clone(), relayed: true });
    assert!(cluster.deliver(2, 1, Message::Forward { operations, relayed: true }).sent.is_empty());
}

#[test]
fn a_read_waits_for_a_quorum_round_sent_after_it_arrived() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.timeout(0, Timer::Resend);
    let heartbeats = cluster.take(|e| matches!(e.msg, Message::Heartbeat { .. }));
    cluster.request(0, 1, read("k"));
    for heartbeat in heartbeats {
        cluster.deliver(heartbeat.src, heartbeat.dst, heartbeat.msg);
    }
    let early = cluster.take(|e| matches!(e.msg, Message::HeartbeatAck { .. }));
    cluster.timeout(0, Timer::Flush);
    assert_eq!(early.len(), 2);
    for ack in early {
        cluster.deliver(ack.src, ack.dst, ack.msg);
    }
    assert_eq!(cluster.reply(1), None, "confirmed by a round from before it arrived");
    cluster.settle();
    assert!(matches!(cluster.reply(1), Some(Outcome::Answer { .. })));
}

#[test]
fn a_deposed_leaders_read_is_never_served() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.cut.insert(0);
    cluster.elect(1);
    cluster.request(1, 1, write("k", "new"));
    cluster.settle();
    assert!(applied(cluster.reply(1)));
    assert!(cluster.leads(0), "it does not know yet");
    cluster.request(0, 2, read("k"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.cut.clear();
    for heartbeat in cluster.take(|e| e.src == 0) {
        cluster.deliver(0, heartbeat.dst, heartbeat.msg);
    }
    assert_eq!(cluster.reply(2), None, "an old value would be read");
    cluster.settle();
    cluster.timeout(1, Timer::Resend);
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    match cluster.reply(2) {
        Some(Outcome::Answer { answer: Answer::Entry(entry), .. }) => assert_eq!(&*entry.val, "new"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_retry_through_another_node_is_answered_from_the_session() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    let session = opened(cluster.reply(1));
    cluster.request(1, 2, write_in(session, 1, "k", "once"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert!(applied(cluster.reply(2)));
    let log = cluster.nodes[2].durable.log.clone();
    cluster.request(2, 3, write_in(session, 1, "k", "once"));
    assert_eq!(cluster.reply(3), cluster.reply(2));
    assert_eq!(cluster.nodes[2].durable.log, log);
}

#[test]
fn an_operation_that_is_in_the_log_twice_is_applied_once() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    let session = opened(cluster.reply(1));
    let id = OperationId { session, sequence: 1 };
    let operation = Operation::InSession { id, by_node: false, acknowledged_below: 1, act: put("k", "once") };
    let twice = Entry::Batch(Arc::from([operation.clone(), operation]));
    let from = cluster.nodes[2].durable.decided;
    cluster.deliver(0, 2, Message::Decided { from, entries: vec![twice] });
    assert_eq!(cluster.nodes[2].executor.machine.get(&"k".into()).ver, 1);
}

#[test]
fn a_deadline_before_it_is_handed_on_refuses_and_it_is_never_applied() {
    let mut cluster = Cluster::new(3, options());
    cluster.request(1, 1, write("k", "v"));
    cluster.settle();
    cluster.timeout(1, cluster.deadline(1));
    assert_eq!(cluster.reply(1), Some(&Outcome::Refused(Refusal::Deadline)));
    cluster.elect(0);
    for node in [0, 1, 2, 0, 1, 2] {
        cluster.timeout(node, Timer::Resend);
        cluster.settle();
    }
    assert_eq!(cluster.value(0, "k"), "");
}

#[test]
fn a_deadline_after_it_is_handed_on_is_unknown() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, write("k", "v"));
    cluster.settle();
    assert!(applied(cluster.reply(1)));
    cluster.request(1, 2, write("k", "w"));
    cluster.timeout(1, Timer::Flush);
    let on_its_way = cluster.take(|e| matches!(e.msg, Message::Forward { .. }));
    assert_eq!(on_its_way.len(), 1);
    cluster.timeout(1, cluster.deadline(1));
    assert_eq!(cluster.reply(2), Some(&Outcome::Unknown(Uncertainty::Deadline)));
    cluster.pool.extend(on_its_way);
    cluster.settle();
    assert_eq!(cluster.value(0, "k"), "w", "unknown may still mean done");
}

#[test]
fn one_request_too_many_is_refused_as_busy() {
    let mut cluster = Cluster::new(3, Options { requests_max: 1, ..options() });
    cluster.request(0, 1, write("a", "1"));
    cluster.request(0, 2, write("b", "2"));
    assert_eq!(cluster.reply(1), None);
    assert_eq!(cluster.reply(2), Some(&Outcome::Refused(Refusal::Busy)));
    cluster.elect(0);
    assert!(applied(cluster.reply(1)));
    assert_eq!(cluster.value(0, "b"), "");
}

#[test]
fn what_an_evicted_session_sends_is_unknown_and_not_applied() {
    let mut cluster = Cluster::of(Configuration { sessions_max: 2, ..Configuration::of_voters(3) }, options());
    cluster.elect(0);
    let mut sessions = Vec::new();
    for number in 1..=2 {
        cluster.request(0, number, Request::Write { session: None, act: Act::OpenSession });
        cluster.settle();
        sessions.push(opened(cluster.reply(number)));
    }
    cluster.request(0, 3, write_in(sessions[0], 1, "evicted", "v"));
    cluster.request(0, 4, write_in(sessions[1], 1, "kept", "v"));
    cluster.settle();
    assert_eq!(cluster.reply(3), Some(&Outcome::Unknown(Uncertainty::SessionExpired)));
    assert!(applied(cluster.reply(4)));
    assert_eq!((cluster.value(0, "evicted"), cluster.value(0, "kept")), (String::new(), "v".into()));
}

#[test]
fn a_pre_vote_does_not_depose() {
    let mut cluster = Cluster::new(3, Options::default());
    cluster.elect(0);
    let before: Vec<Ballot> = cluster.nodes.iter().map(|node| node.durable.promised).collect();
    cluster.cut.insert(2);
    for _ in 0..3 {
        cluster.timeout(2, Timer::Election);
        cluster.settle();
    }
    cluster.cut.clear();
    cluster.timeout(2, Timer::Resend);
    cluster.settle();
    assert!(cluster.leads(0) && !cluster.leads(2));
    assert_eq!(cluster.nodes.iter().map(|node| node.durable.promised).collect::<Vec<_>>(), before);
}

#[test]
fn a_leader_that_lost_its_quorum_steps_down() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    cluster.timeout(0, Timer::Election);
    assert!(cluster.leads(0), "it was in contact");
    cluster.cut.insert(0);
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    cluster.timeout(0, Timer::Election);
    assert!(!cluster.leads(0));
}

#[test]
fn a_write_costs_one_save_a_replica() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(0, 1, write("k", "1"));
    cluster.settle();
    assert_eq!(cluster.request(0, 2, write("k", "2")).saves, 0, "taking a request saves but once a life");
    let flush = cluster.timeout(0, Timer::Flush);
    assert_eq!(flush.saves, 0, "proposing saves nothing");
    for envelope in cluster.take(|e| matches!(e.msg, Message::Accept { .. })) {
        assert_eq!(cluster.deliver(envelope.src, envelope.dst, envelope.msg).saves, 1, "a vote is saved");
    }
    for envelope in cluster.take(|e| matches!(e.msg, Message::Accepted { .. })) {
        assert_eq!(cluster.deliver(envelope.src, envelope.dst, envelope.msg).saves, 0, "deciding saves nothing");
    }
    assert!(applied(cluster.reply(2)));
}

#[test]
fn requests_that_gather_are_proposed_as_one_entry() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(0, 1, write("k", "1"));
    cluster.settle();
    let slot = cluster.nodes[0].durable.decided;
    for number in 2..=4 {
        cluster.request(0, number, write("k", &number.to_string()));
    }
    cluster.settle();
    assert!((2..=4).all(|number| applied(cluster.reply(number))));
    assert_eq!(cluster.entry(0, slot).map(|entry| entry.operations().len()), Some(3));
    assert_eq!(cluster.nodes[0].durable.decided, slot + 1);
}

/// Its followers take its decided mark for what it proposed itself.
#[test]
fn a_deposed_leader_does_not_vouch_for_its_own_proposal() {
    let (l, f, m, c) = (0, 1, 2, 3);
    let mut cluster = Cluster::new(5, options());
    // 1. A client's write at L, which follows nobody: it fetches from everybody; the copy to C is late.
    cluster.request(l, 1, write("k", "p"));
    cluster.timeout(l, Timer::Resend);
    let late = cluster.take(|e| e.dst == c && matches!(e.msg, Message::Fetch { .. }));
    assert_eq!(late.len(), 1);
    cluster.pool.clear();
    // 2. L prepares 1.0, F and C promise; L leads.
    cluster.timeout(l, Timer::Election);
    deliver_where(&mut cluster, |e| [f, c].contains(&e.dst) && matches!(e.msg, Message::Prepare { .. }));
    deliver_where(&mut cluster, |e| matches!(e.msg, Message::Promise { .. }));
    assert!(cluster.leads(l));
    cluster.pool.clear();
    cluster.timeout(l, Timer::Flush);
    // L and F vote; nothing else arrives.
    deliver_where(&mut cluster, |e| [l, f].contains(&e.dst) && matches!(e.msg, Message::Accept { .. }));
    cluster.pool.clear();
    // 3. M prepares above, C and D promise (no votes there), and decides an entry of its own.
    cluster.cut.extend([l, f]);
    cluster.request(m, 2, write("k", "v"));
    cluster.elect(m);
    cluster.timeout(m, Timer::Resend);
    cluster.settle();
    assert_eq!(cluster.nodes[c].durable.promised.node, Id::from(m));
    assert!(cluster.nodes[c].durable.decided >= 1);
    // 4. The late Fetch reaches C, its answer L.
    cluster.pool.clear();
    cluster.cut.clear();
    for e in late {
        cluster.deliver(e.src, e.dst, e.msg);
    }
    deliver_where(&mut cluster, |e| e.dst == l && matches!(e.msg, Message::Decided { .. }));
    assert!(cluster.nodes[l].durable.decided >= 1);
    // 5. L's heartbeat reaches F.
    cluster.pool.clear();
    cluster.timeout(l, Timer::Resend);
    deliver_where(&mut cluster, |e| e.dst == f && matches!(e.msg, Message::Heartbeat { .. }));
    assert!(
        cluster.entry(f, 0).is_none_or(|decided| Some(decided) == cluster.entry(c, 0)),
        "F and C disagree on slot 0"
    );
}

/// An operation of an older session expires after a new session is open.
#[test]
fn an_older_sessions_expiry_does_not_end_the_new_one() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, write("a", "1"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert!(applied(cluster.reply(1)));
    let session = *cluster.nodes[1].executor.sessions.keys().next().expect("open");
    // w2 is handed on, and late.
    cluster.request(1, 2, write("a", "2"));
    cluster.timeout(1, Timer::Flush);
    let late = cluster.take(|e| matches!(e.msg, Message::Forward { .. }));
    assert_eq!(late.len(), 1);
    // An operator ends node 1's session.
    cluster.request(0, 3, Request::Write { session: None, act: Act::ExpireSession(session) });
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    // w3 finds out, w4 opens a new session and is done.
    cluster.request(1, 4, write("a", "3"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert_eq!(cluster.reply(4), Some(&Outcome::Refused(Refusal::SessionExpired)));
    cluster.request(1, 5, write("a", "4"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert!(applied(cluster.reply(5)), "{:?}", cluster.reply(5));
    // Now w2 arrives.
    cluster.pool.extend(late);
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert_eq!(cluster.reply(2), Some(&Outcome::Refused(Refusal::SessionExpired)));
    // And w6 must be done.
    cluster.request(1, 6, write("a", "5"));
    for _ in 0..20 {
        for node in 0..3 {
            cluster.timeout(node, Timer::Resend);
            cluster.settle();
        }
    }
    assert!(applied(cluster.reply(6)), "stuck: {:?} {:?}", cluster.reply(6), cluster.nodes[1].gateway.session);
}

/// A duplicate opening after the session ended.
#[test]
fn a_duplicate_opening_does_not_stop_the_node() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, write("a", "1"));
    cluster.timeout(1, Timer::Flush);
    let opening: Vec<Envelope> =
        cluster.pool.iter().filter(|e| matches!(e.msg, Message::Forward { .. })).cloned().collect();
    assert_eq!(opening.len(), 1);
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert!(applied(cluster.reply(1)));
    let session = *cluster.nodes[1].executor.sessions.keys().next().expect("open");
    cluster.request(0, 2, Request::Write { session: None, act: Act::ExpireSession(session) });
    cluster.settle();
    cluster.pool.extend(opening);
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    cluster.request(1, 3, write("a", "2"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    assert_eq!(cluster.reply(3), Some(&Outcome::Refused(Refusal::SessionExpired)));
    cluster.request(1, 4, write("a", "3"));
    for _ in 0..20 {
        for node in 0..3 {
            cluster.timeout(node, Timer::Resend);
            cluster.settle();
        }
    }
    assert!(applied(cluster.reply(4)), "stuck: {:?} {:?}", cluster.reply(4), cluster.nodes[1].gateway.session);
}

/// A client that names a node's session swallows another client's write.
#[test]
fn a_client_cannot_use_a_nodes_session() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, write("a", "1"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    let session = *cluster.nodes[1].executor.sessions.keys().next().expect("open");
    // The client X names node 1's session, at node 0; node 1 does not hear of it yet.
    cluster.request(0, 2, write_in(session, 2, "x", "x"));
    cluster.timeout(0, Timer::Flush);
    cluster.cut.insert(1);
    cluster.settle();
    cluster.cut.clear();
    cluster.request(1, 3, write("y", "y"));
    cluster.settle();
    for _ in 0..3 {
        for node in [1, 0] {
            cluster.timeout(node, Timer::Resend);
            cluster.settle();
        }
    }
    assert!(
        !applied(cluster.reply(3)) || cluster.value(0, "y") == "y",
        "told done, not applied: {:?}",
        cluster.reply(3)
    );
}

/// A confirmed read waits for a slot that nobody fills.
#[test]
fn a_confirmed_read_outlives_its_leader() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(0, 1, write("a", "1"));
    cluster.settle();
    cluster.request(0, 2, write("a", "2"));
    cluster.timeout(0, Timer::Flush);
    cluster.take(|e| matches!(e.msg, Message::Accept { .. }));
    cluster.request(1, 3, read("a"));
    cluster.settle();
    cluster.cut.insert(0);
    cluster.elect(2);
    for _ in 0..20 {
        for node in [1, 2] {
            cluster.timeout(node, Timer::Resend);
            cluster.settle();
        }
    }
    assert!(cluster.reply(3).is_some(), "stuck: {:?}", cluster.nodes[1].gateway.reads);
}

/// A refusal of an operation that is on its way.
#[test]
fn a_retry_at_the_same_node_is_not_refused_while_the_first_attempt_is_on_its_way() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    let session = opened(cluster.reply(1));
    cluster.request(1, 2, write_in(session, 1, "k", "v"));
    cluster.timeout(1, Timer::Flush);
    cluster.request(1, 3, write_in(session, 1, "k", "v"));
    let deadline = cluster.deadline(1);
    cluster.timeout(1, deadline);
    cluster.settle();
    assert!(
        !matches!(cluster.reply(3), Some(Outcome::Refused(_))) || cluster.value(0, "k").is_empty(),
        "{:?}",
        cluster.reply(3)
    );
}

#[test]
fn no_ballot_from_the_network_panics() {
    let mut cluster = Cluster::new(3, Options::default());
    cluster.deliver(1, 0, Message::PreVote { ballot: ballot(1, 1), promised: ballot(u64::MAX, 1) });
    cluster.timeout(0, Timer::Election);
}

#[test]
fn no_slot_from_the_network_panics() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(1, 0, accept(ballot(1, 1), u64::MAX, "a"));
    cluster.timeout(0, Timer::Election);
}

#[test]
fn every_message_round_trips_through_json() {
    let session = SessionId { slot: 3, position: 1 };
    let id = OperationId { session, sequence: 7 };
    let entry = Entry::Batch(Arc::from([
        Operation::Open { node: Id::from(2), incarnation: 5 },
        Operation::InSession { id, by_node: false, acknowledged_below: 4, act: put("k", "v") },
        Operation::InSession { id, by_node: false, acknowledged_below: 4, act: Act::OpenSession },
        Operation::InSession { id, by_node: false, acknowledged_below: 4, act: Act::ExpireSession(session) },
        Operation::InSession {
            id,
            by_node: false,
            acknowledged_below: 4,
            act: Act::Apply(KvCommand::Collect { keep: 9 }),
        },
    ]));
    let written = paxos_model::kv::Entry { key: "k".into(), val: "v".into(), ver: 1 };
    let keys = Query::Keys { prefix: "p".into(), start: "s".into(), limit: 10 };
    let read = paxos_model::replica::message::ReadId { origin: Id::from(1), incarnation: 2, number: 3 };
    let (b, slot) = (ballot(u64::MAX, 6), 8);
    let request = |request| Message::Request { number: 1, timeout_ms: 500, request };
    let reply = |outcome| Message::Reply { number: 1, outcome };
    let mut messages: Vec<Msg> = vec![
        request(Request::Write { session: Some((id, 4)), act: Act::OpenSession }),
        request(write("k", "")),
        request(Request::Read(keys)),
        request(Request::LocalRead(Query::Get("k".into()))),
        reply(Outcome::Done(Done::Opened(session))),
        reply(Outcome::Done(Done::Expired)),
        reply(Outcome::Done(Done::Applied(Reply::Written(vec![
            Written::Applied(written.clone()),
            Written::Conflict(written.clone()),
        ])))),
        reply(Outcome::Done(Done::Applied(Reply::Collected(2)))),
        reply(Outcome::Answer { applied: 1, answer: Answer::Entry(written) }),
        reply(Outcome::Answer { applied: 1, answer: Answer::Keys(vec!["a".into(), "\u{1f600}\"".into()]) }),
        Message::Forward { operations: entry.operations().into(), relayed: true },
        Message::ReadIndex { read, relayed: false },
        Message::ReadSlot { read, slot },
        Message::PreVote { ballot: b, promised: Ballot::default() },
        Message::PreVoted { ballot: b },
        Message::Prepare { ballot: b },
        Message::Promise { ballot: b, first: 2, votes: vec![Vote { slot, ballot: b, entry: entry.clone() }] },
        Message::Accept { ballot: b, slot, entry: entry.clone() },
        Message::Accepted { ballot: b, slot },
        Message::Heartbeat { ballot: b, decided: 3, round: 4 },
        Message::HeartbeatAck { ballot: b, round: 4 },
        Message::Fetch { from: 5 },
        Message::Decided { from: 5, entries: vec![Entry::Noop, entry] },
    ];
    messages
        .extend([Refusal::Busy, Refusal::Deadline, Refusal::SessionExpired].map(|why| reply(Outcome::Refused(why))));
    let uncertainties = [
        Uncertainty::Deadline,
        Uncertainty::SessionExpired,
        Uncertainty::Acknowledged,
        Uncertainty::BeyondWindow,
        Uncertainty::Superseded,
    ];
    messages.extend(uncertainties.map(|why| reply(Outcome::Unknown(why))));
    for message in messages {
        let text = serde_json::to_string(&message).expect("it is written");
        let back: Msg = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(back, message);
    }
}
