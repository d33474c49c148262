//! `progress`: whatever state the replicas are in, once faults end a leader emerges, answers every request, and stays.
//!
//! From the replicas' states alone: all messages in flight are lost, and then a fair schedule runs over the links that are
//! up. Time goes in rounds of one `Resend` interval: within a round messages are delivered until none is left; between rounds
//! the timers that are due run out. The election timeouts are several rounds and differ by node, and who is first rotates.
//!
//! Whoever hears the leader, and is heard by it, must follow it. First what waits already must be answered, by itself: further requests could help it on. Then each node is given a write
//! and a read. A request that is refused is sent again, as a client would.

mod links;
#[cfg(test)]
mod tests;

pub use links::Links;

use super::audit::{Audit, Tagged};
use super::party::Msg;
use paxos_model::kv::{Command, Put, Query};
use paxos_model::mark;
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::message::{Act, Message, Outcome, Request};
use paxos_model::replica::{Replica, Role, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Election timeouts, of the longest, within which every request must be answered, and a leader be there that stays.
const ANSWER_TIMEOUTS: u64 = 3;
/// Rounds for which the leader must then stay: longer than every election timeout.
const STABLE_ROUNDS: u64 = 20;
/// The shortest election timeout, in rounds.
const ELECTION_ROUNDS: u64 = 4;
/// By how much the timeouts of two nodes differ at least.
const ELECTION_SPREAD: u64 = 3;
/// Steps in one round after which it is taken for endless.
const STEPS_MAX: usize = 20_000;
/// The requests that each node is given, by number.
const PROBES: [u64; 2] = [0, 1];

/// A replica at the moment when faults end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frozen {
    /// Its state.
    pub state: State<Audit>,
    /// The timers that are set.
    pub timers: Vec<Timer>,
}

/// A step that was taken: in which round, by whom, and what it took in.
type Taken = (u64, Id, Input<Msg, Timer>);

struct Running<'a> {
    replicas: &'a [Replica<Audit>],
    links: &'a Links,
    nodes: BTreeMap<Id, Cow<'a, State<Audit>>>,
    due: BTreeMap<(Id, Timer), u64>,
    round: u64,
    first: usize,
    network: VecDeque<(Id, Id, Msg)>,
    /// Requests that waited when faults ended, by node, client and number, and have no reply yet.
    earlier: BTreeSet<(Id, Id, u64)>,
    unanswered: BTreeSet<(Id, u64)>,
    unsent: BTreeSet<(Id, u64)>,
    taken: Option<Vec<Taken>>,
}

/// When a leader was first seen with everything served, and how everybody was then.
struct Stable<'a> {
    since: u64,
    leader: Id,
    ballot: Ballot,
    nodes: BTreeMap<Id, Cow<'a, State<Audit>>>,
    timers: Vec<(Id, Timer, u64)>,
}

/// Runs the fair schedule from `frozen`. `first` says whose election timeout is the shortest. An error says what failed.
pub fn check(
    replicas: &[Replica<Audit>],
    frozen: &BTreeMap<Id, Frozen>,
    links: &Links,
    first: usize,
) -> Result<(), String> {
    let mut run = Running::new(replicas, frozen, links, first);
    // Only what the other rules judge, too, counts as reached.
    mark::unseen(|| run.guarded(|_| ()))
}

/// The same, told: how the schedule fails, what each node did in which round, and how it ended. None if it does not fail.
pub fn tell(replicas: &[Replica<Audit>], frozen: &BTreeMap<Id, Frozen>, links: &Links, first: usize) -> Option<String> {
    let mut run = Running::new(replicas, frozen, links, first);
    let mut told = Vec::new();
    let mut known: BTreeMap<Id, String> = BTreeMap::new();
    let why = run.guarded(|run| {
        for (id, node) in &run.nodes {
            let doing = doing(node);
            if known.get(id) != Some(&doing) {
                told.push(format!("  round {}: node {} {doing}", run.round, usize::from(*id)));
                known.insert(*id, doing);
            }
        }
    });
    let why = why.err()?;
    let mut text = format!("Links that are up: {links:?}; node {first} times out first: {why}.\n");
    text += "All messages are lost, and then:\n";
    text += &told.join("\n");
    text += &format!("\nAt the end, after round {}:\n", run.round);
    for (id, node) in &run.nodes {
        text += &format!("  node {} {}{}\n", usize::from(*id), doing(node), run.waiting(*id));
    }
    Some(text)
}

/// What a node is doing, in a few words.
fn doing(state: &State<Audit>) -> String {
    let State { durable, role, following, outbid, .. } = state;
    let role = match role {
        Role::Following => "wants nothing".into(),
        Role::Polling { ballot, granted } => format!("asks for {ballot}, granted by {granted:?}"),
        Role::Preparing(proposer) => format!("prepares {}, promised by {:?}", proposer.ballot, proposer.promised),
        Role::Leading(leader) => format!("leads in {}", leader.ballot),
    };
    let following = following.map_or("nobody".into(), |ballot| ballot.to_string());
    let outbid = if *outbid > durable.promised { format!(", heard of {outbid}") } else { String::new() };
    format!("{role}; follows {following}, promised {}{outbid}, decided {}", durable.promised, durable.decided)
}

/// The election timeout of the node that comes after `rank` others.
fn election_rounds(rank: usize) -> u64 {
    ELECTION_ROUNDS + ELECTION_SPREAD * rank as u64
}

fn client(of: Id) -> Id {
    Id::from(100 + usize::from(of))
}

fn probe(number: u64) -> Msg {
    let puts = vec![Put { key: "probe".into(), val: "x".into(), ver: None }];
    let request = if number == 0 {
        let act = Act::Apply(Tagged { tag: 0, command: Command::Write { puts, atomic: false } });
        Request::Write { session: None, act }
    } else {
        Request::Read(Query::Get("probe".into()))
    };
    Message::Request { number, timeout_ms: 1000, request }
}

impl<'a> Running<'a> {
    fn new(
        replicas: &'a [Replica<Audit>],
        frozen: &'a BTreeMap<Id, Frozen>,
        links: &'a Links,
        first: usize,
    ) -> Running<'a> {
        let mut run = Running {
            replicas,
            links,
            nodes: frozen.iter().map(|(id, node)| (*id, Cow::Borrowed(&node.state))).collect(),
            due: BTreeMap::new(),
            round: 0,
            first,
            network: VecDeque::new(),
            earlier: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            unsent: BTreeSet::new(),
            taken: None,
        };
        for (id, node) in frozen {
            for timer in &node.timers {
                run.set(*id, timer.clone());
            }
        }
        run
    }

    /// Runs the schedule and shows each round to `watch`; a panic is a failure as well.
    fn guarded(&mut self, mut watch: impl FnMut(&Self)) -> Result<(), String> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.run(&mut watch)));
        ran.unwrap_or_else(|said| {
            let text = said.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| said.downcast_ref::<&str>().copied()).unwrap_or("for no stated reason");
            Err(format!("a handler panicked: {text}"))
        })
    }

    fn run(&mut self, watch: &mut impl FnMut(&Self)) -> Result<(), String> {
        watch(self);
        let waiting = self.nodes.iter().flat_map(|(id, node)| {
            let writes = node.gateway.writes.values().map(|write| write.client);
            let reads = node.gateway.reads.values().map(|read| read.client);
            writes.chain(reads).map(|client| (*id, client.id, client.number))
        });
        self.earlier = waiting.collect();
        if !self.earlier.is_empty() {
            self.settle(watch)?;
        }
        for id in self.nodes.keys() {
            self.unsent.extend(PROBES.map(|number| (*id, number)));
            self.unanswered.extend(PROBES.map(|number| (*id, number)));
        }
        self.settle(watch)
    }

    /// A leader that is followed by a quorum, with everything served, must stay for long enough. Where the nodes are as they
    /// were some rounds before, and as far from their timeouts, they will be so for ever.
    fn settle(&mut self, watch: &mut impl FnMut(&Self)) -> Result<(), String> {
        let answered_by = self.round + ANSWER_TIMEOUTS * election_rounds(self.replicas.len() - 1);
        let mut first_to_serve: Option<(Id, Ballot)> = None;
        let mut stable: Option<Stable<'a>> = None;
        while self.round < answered_by + STABLE_ROUNDS {
            self.round()?;
            watch(self);
            if let Some(leader) = self.leader().filter(|leader| self.unserved(*leader).is_none()) {
                let now = (leader, self.ballot(leader));
                match first_to_serve {
                    Some(before) if before != now => {
                        return Err(format!("{} serves everything and is deposed by {}", usize::from(before.0), now.1));
                    }
                    None if self.reaches_quorum(leader) && !self.promised_above(leader) => first_to_serve = Some(now),
                    _ => {}
                }
            }
            let settled = |leader: &Id| self.unserved(*leader).is_none() && self.astray(*leader).is_none();
            let served = self.leader().filter(settled);
            let Some(leader) = served else {
                stable = None;
                continue;
            };
            match &stable {
                Some(stable) if (stable.leader, stable.ballot) == (leader, self.ballot(leader)) => {
                    if self.round >= stable.since + STABLE_ROUNDS || self.is_as(stable) {
                        return Ok(());
                    }
                }
                _ if self.round > answered_by => break,
                _ => stable = Some(self.stable(leader)),
            }
        }
        let Some(leader) = self.leader() else {
            return Err(format!("there is no leader after {} rounds", self.round));
        };
        let leads = usize::from(leader);
        Err(match (self.unserved(leader), self.astray(leader)) {
            (Some(node), _) => {
                let node = usize::from(node);
                format!("a request at node {node} is not answered after {} rounds, leader {leads}", self.round)
            }
            (None, Some(node)) => {
                format!("node {} hears leader {leads} and is heard, and does not follow it", usize::from(node))
            }
            (None, None) => {
                format!("no leader stays for {STABLE_ROUNDS} rounds, though all is served; in the end {leads} leads")
            }
        })
    }

    fn stable(&self, leader: Id) -> Stable<'a> {
        let (nodes, timers) = (self.nodes.clone(), self.timers_left());
        Stable { since: self.round, leader, ballot: self.ballot(leader), nodes, timers }
    }

    fn is_as(&self, stable: &Stable<'_>) -> bool {
        self.nodes == stable.nodes && self.timers_left() == stable.timers
    }

    /// In how many rounds each timer is due.
    fn timers_left(&self) -> Vec<(Id, Timer, u64)> {
        self.due.iter().map(|((id, timer), at)| (*id, timer.clone(), at - self.round)).collect()
    }

    fn round(&mut self) -> Result<(), String> {
        self.round += 1;
        for (id, number) in std::mem::take(&mut self.unsent) {
            self.step(id, Input::Deliver { src: client(id), msg: probe(number) })?;
        }
        let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= self.round).map(|(key, _)| key.clone()).collect();
        for (id, timer) in due {
            if self.due.get(&(id, timer.clone())).is_some_and(|at| *at <= self.round) {
                self.due.remove(&(id, timer.clone()));
                self.step(id, Input::Timeout(timer))?;
            }
        }
        let mut steps = 0;
        loop {
            if let Some((src, dst, msg)) = self.network.pop_front() {
                self.step(dst, Input::Deliver { src, msg })?;
            } else if let Some((id, timer)) = self.due.keys().find(|(_, timer)| *timer == Timer::Flush).cloned() {
                self.due.remove(&(id, timer.clone()));
                self.step(id, Input::Timeout(timer))?;
            } else {
                return Ok(());
            }
            steps += 1;
            if steps > STEPS_MAX {
                return Err(format!("messages without end in round {}", self.round));
            }
        }
    }

    fn set(&mut self, id: Id, timer: Timer) {
        let count = self.replicas.len();
        let rank = (usize::from(id) + count - self.first % count) % count;
        let at = match timer {
            Timer::Flush => self.round,
            Timer::Resend => self.round + 1,
            Timer::Election => self.round + election_rounds(rank),
            // Deadlines are long compared with everything here.
            Timer::Deadline(_) => return,
        };
        self.due.insert((id, timer), at);
    }

    /// Runs a handler. The state is the schedule's own, so that it is changed in place.
    fn step(&mut self, id: Id, input: Input<Msg, Timer>) -> Result<(), String> {
        if let Some(taken) = &mut self.taken {
            taken.push((self.round, id, input.clone()));
        }
        let (replica, mut outputs) = (&self.replicas[usize::from(id)], Out::new());
        let state = self.nodes.get_mut(&id).expect("only who takes part takes a step");
        match input {
            Input::Start => return Err("nobody crashes any more".into()),
            Input::Deliver { src, msg } => replica.on_msg(id, state, src, msg, &mut outputs),
            Input::Timeout(timer) => replica.on_timeout(id, state, &timer, &mut outputs),
        }
        for output in outputs {
            match output {
                Output::SetTimer(timer, _) => self.set(id, timer),
                Output::CancelTimer(timer) => {
                    self.due.remove(&(id, timer));
                }
                // What is saved matters to who crashes.
                Output::Save(_) => {}
                Output::Send(dst, Message::Reply { number, outcome }) if dst == client(id) => match outcome {
                    Outcome::Done(_) | Outcome::Answer { .. } => {
                        self.unanswered.remove(&(id, number));
                    }
                    Outcome::Refused(_) => {
                        self.unsent.insert((id, number));
                    }
                    Outcome::Unknown(_) => {
                        return Err(format!("node {} answers its probe with {outcome:?}", usize::from(id)));
                    }
                },
                Output::Send(dst, Message::Reply { number, .. }) => {
                    self.earlier.remove(&(id, dst, number));
                }
                Output::Send(dst, msg) => {
                    if self.nodes.contains_key(&dst) && self.links.up(id, dst) {
                        self.network.push_back((id, dst, msg));
                    }
                }
                Output::ChooseRandom(..) => return Err("a replica makes no random choice".into()),
            }
        }
        Ok(())
    }

    /// The one that leads in the highest ballot, if a quorum follows it.
    fn leader(&self) -> Option<Id> {
        let leading = self.nodes.iter().filter(|(_, node)| matches!(node.role, Role::Leading(_)));
        let (id, node) = leading.max_by_key(|(_, node)| node.durable.promised)?;
        let ballot = node.durable.promised;
        let follows = self.nodes.iter().filter(|(_, node)| node.following == Some(ballot));
        let followers: BTreeSet<Id> = follows.map(|(id, _)| *id).collect();
        self.replicas[0].configurations.at(0).is_quorum(&followers).then_some(*id)
    }

    fn ballot(&self, id: Id) -> Ballot {
        self.nodes[&id].durable.promised
    }

    /// A node with an unanswered request that the leader and it can serve: they hear each other, directly or through one
    /// other node.
    fn unserved(&self, leader: Id) -> Option<Id> {
        let near = |id: Id| {
            self.links.both(id, leader)
                || self.nodes.keys().any(|via| self.links.both(id, *via) && self.links.both(*via, leader))
        };
        let waits = |id: &Id| {
            let gateway = &self.nodes[id].gateway;
            !gateway.writes.is_empty()
                || !gateway.reads.is_empty()
                || self.earlier.iter().any(|(node, ..)| node == id)
                || PROBES.iter().any(|number| self.unanswered.contains(&(*id, *number)))
        };
        self.nodes.keys().copied().find(|id| near(*id) && waits(id))
    }

    /// Whether `leader` and a quorum hear each other: another one loses its followers.
    fn reaches_quorum(&self, leader: Id) -> bool {
        let near = self.nodes.keys().copied().filter(|id| self.links.both(*id, leader)).collect();
        self.replicas[0].configurations.at(0).is_quorum(&near)
    }

    /// Whether somebody who does not want to lead, or not yet, has promised more than `leader`: then it will, and depose it once.
    fn promised_above(&self, leader: Id) -> bool {
        let waits = |node: &State<Audit>| matches!(node.role, Role::Following);
        self.nodes.values().any(|node| waits(node) && node.durable.promised > self.ballot(leader))
    }

    /// A node that the leader reaches in both directions and that does not follow it: its vote is missing.
    fn astray(&self, leader: Id) -> Option<Id> {
        let follows = |id: &Id| self.nodes[id].following == Some(self.ballot(leader));
        self.nodes.keys().copied().find(|id| self.links.both(*id, leader) && !follows(id))
    }

    /// What a node has not answered, in words.
    fn waiting(&self, id: Id) -> String {
        let gateway = &self.nodes[&id].gateway;
        match (gateway.writes.len(), gateway.reads.len()) {
            (0, 0) => String::new(),
            (writes, reads) => format!(", {writes} writes and {reads} reads wait"),
        }
    }
}
