//! `progress`: whatever state the replicas are in, once faults end a leader emerges, answers every request, and stays.
//!
//! From the replicas' states alone: all messages in flight are lost, and then a fair schedule runs over the links that are
//! up. Time goes in rounds of one `Resend` interval: within a round messages are delivered until none is left; between rounds
//! the timers that are due run out. The election timeouts are several rounds and differ by node, and who is first rotates.
//!
//! Whoever hears the leader, and is heard by it, must follow it. First what waits already must be answered, by itself: further requests could help it on. Then each node is given a write
//! and a read. A request that is refused is sent again, as a client would.

mod links;
mod memo;
#[cfg(test)]
mod tests;

pub use links::Links;
pub use memo::Memo;

use super::audit::{Audit, Tagged};
use super::party::Msg;
use memo::{Output, Situation};
use paxos_model::kv::{self, Put, Query};
use paxos_model::mark;
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::message::{Act, Message, Outcome, Request};
use paxos_model::replica::{Replica, Role, State, Timer};
use paxos_model::trace::{Input, OutputOf};
use stateright::actor::{Command, Id};
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
#[derive(Clone, Debug)]
pub struct Frozen {
    /// The number of its state.
    state: u32,
    /// The timers that are set.
    timers: Vec<Timer>,
}

impl Frozen {
    /// In `state`, with `timers` set.
    pub fn new(memo: &Memo, state: State<Audit>, timers: Vec<Timer>) -> Self {
        Frozen { state: memo.number_of(state), timers }
    }
}

/// A step that was taken: in which round, by whom, and what it took in.
type Taken = (u64, Id, Input<Msg, Timer>);

struct Running<'a> {
    memo: &'a Memo,
    links: &'a Links,
    /// The number of each node's state.
    nodes: BTreeMap<Id, u32>,
    due: BTreeMap<(Id, Timer), u64>,
    round: u64,
    first: usize,
    /// Messages under way: to whom, and the number of the input that they are there.
    network: VecDeque<(Id, u32)>,
    /// Requests that waited when faults ended, by node, client and number, and have no reply yet.
    earlier: BTreeSet<(Id, Id, u64)>,
    unanswered: BTreeSet<(Id, u64)>,
    unsent: BTreeSet<(Id, u64)>,
    /// Whether the nodes were given their requests.
    probed: bool,
    taken: Option<Vec<Taken>>,
    /// The situations passed before somebody served everything, each with the rounds that were left.
    trail: Vec<(Situation, u64)>,
}

/// How it is known that a leader serves everything and stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// This schedule has shown it.
    Anew,
    /// Another one came to the same situation, and ended well, whatever came after.
    AsBefore,
}

/// When a leader was first seen with everything served, and how everybody was then.
struct Stable {
    since: u64,
    leader: Id,
    ballot: Ballot,
    nodes: BTreeMap<Id, u32>,
    timers: Vec<(Id, Timer, u64)>,
    unsent: BTreeSet<(Id, u64)>,
}

/// Runs the fair schedule from `frozen`, of whom those take part that `links` name. `first` says whose election timeout is the
/// shortest. An error says what failed.
pub fn check(memo: &Memo, frozen: &BTreeMap<Id, Frozen>, links: &Links, first: usize) -> Result<(), String> {
    let mut run = Running::new(memo, frozen, links, first);
    // Only what the other rules judge, too, counts as reached.
    let ran = mark::unseen(|| run.guarded(|_| ()));
    if ran.is_ok() {
        memo.pass(run.trail);
    }
    ran
}

/// The same, told: how the schedule fails, what each node did in which round, and how it ended. None if it does not fail.
pub fn tell(memo: &Memo, frozen: &BTreeMap<Id, Frozen>, links: &Links, first: usize) -> Option<String> {
    let mut run = Running::new(memo, frozen, links, first);
    let mut told = Vec::new();
    let mut known: BTreeMap<Id, String> = BTreeMap::new();
    let why = run.guarded(|run| {
        for (id, node) in run.nodes() {
            let doing = doing(node);
            if known.get(&id) != Some(&doing) {
                told.push(format!("  round {}: node {} {doing}", run.round, usize::from(id)));
                known.insert(id, doing);
            }
        }
    });
    let why = why.err()?;
    let mut text = format!("Links that are up: {links:?}; node {first} times out first: {why}.\n");
    text += "All messages are lost, and then:\n";
    text += &told.join("\n");
    text += &format!("\nAt the end, after round {}:\n", run.round);
    for (id, node) in run.nodes() {
        text += &format!("  node {} {}{}\n", usize::from(id), doing(node), run.waiting(id));
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
        let act = Act::Apply(Tagged { tag: 0, command: kv::Command::Write { puts, atomic: false } });
        Request::Write { session: None, act }
    } else {
        Request::Read(Query::Get("probe".into()))
    };
    Message::Request { number, timeout_ms: 1000, request }
}

impl<'a> Running<'a> {
    fn new(memo: &'a Memo, frozen: &BTreeMap<Id, Frozen>, links: &'a Links, first: usize) -> Running<'a> {
        let frozen = || frozen.iter().filter(|(id, _)| links.takes_part(**id));
        let mut run = Running {
            memo,
            links,
            nodes: frozen().map(|(id, node)| (*id, node.state)).collect(),
            due: BTreeMap::new(),
            round: 0,
            first,
            network: VecDeque::new(),
            earlier: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            unsent: BTreeSet::new(),
            probed: false,
            taken: None,
            trail: Vec::new(),
        };
        for (id, node) in frozen() {
            for timer in &node.timers {
                run.set(*id, timer.clone());
            }
        }
        run
    }

    /// The nodes, each with its state.
    fn nodes(&self) -> impl Iterator<Item = (Id, &'a State<Audit>)> {
        self.nodes.keys().map(|id| (*id, self.node(*id)))
    }

    fn node(&self, id: Id) -> &'a State<Audit> {
        self.memo.state(self.nodes[&id])
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
        let waiting = self.nodes().flat_map(|(id, node)| {
            let writes = node.gateway.writes.values().map(|write| write.client);
            let reads = node.gateway.reads.values().map(|read| read.client);
            writes.chain(reads).map(move |client| (id, client.id, client.number))
        });
        self.earlier = waiting.collect();
        if !self.earlier.is_empty() && self.settle(watch)? == Settled::AsBefore {
            return Ok(());
        }
        self.probed = true;
        for id in self.nodes.keys() {
            self.unsent.extend(PROBES.map(|number| (*id, number)));
            self.unanswered.extend(PROBES.map(|number| (*id, number)));
        }
        self.settle(watch).map(|_| ())
    }

    /// A leader that is followed by a quorum, with everything served, must stay for long enough. Where the nodes are as they
    /// were some rounds before, and as far from their timeouts, they will be so for ever.
    fn settle(&mut self, watch: &mut impl FnMut(&Self)) -> Result<Settled, String> {
        let answered_by = self.round + ANSWER_TIMEOUTS * election_rounds(self.memo.replicas().len() - 1);
        let mut first_to_serve: Option<(Id, Ballot)> = None;
        let mut stable: Option<Stable> = None;
        while self.round < answered_by + STABLE_ROUNDS {
            if self.round <= answered_by && first_to_serve.is_none() && stable.is_none() {
                let (situation, left) = (self.situation(), answered_by - self.round);
                if self.memo.passes(&situation, left) {
                    return Ok(Settled::AsBefore);
                }
                self.trail.push((situation, left));
            }
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
                        return Ok(Settled::Anew);
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

    fn situation(&self) -> Situation {
        Situation {
            links: *self.links,
            first: self.first,
            probed: self.probed,
            nodes: self.nodes.iter().map(|(id, state)| (*id, *state)).collect(),
            due: self.timers_left(),
            earlier: self.earlier.iter().copied().collect(),
            unanswered: self.unanswered.iter().copied().collect(),
            unsent: self.unsent.iter().copied().collect(),
        }
    }

    fn stable(&self, leader: Id) -> Stable {
        Stable {
            since: self.round,
            leader,
            ballot: self.ballot(leader),
            nodes: self.nodes.clone(),
            timers: self.timers_left(),
            unsent: self.unsent.clone(),
        }
    }

    fn is_as(&self, stable: &Stable) -> bool {
        self.nodes == stable.nodes && self.timers_left() == stable.timers && self.unsent == stable.unsent
    }

    /// In how many rounds each timer is due.
    fn timers_left(&self) -> Vec<(Id, Timer, u64)> {
        self.due.iter().map(|((id, timer), at)| (*id, timer.clone(), at - self.round)).collect()
    }

    fn round(&mut self) -> Result<(), String> {
        self.round += 1;
        for (id, number) in std::mem::take(&mut self.unsent) {
            let probe = Input::Deliver { src: client(id), msg: probe(number) };
            self.step(id, self.memo.number_of_input(probe))?;
        }
        let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= self.round).map(|(key, _)| key.clone()).collect();
        for (id, timer) in due {
            if self.due.get(&(id, timer.clone())).is_some_and(|at| *at <= self.round) {
                self.run_out(id, timer)?;
            }
        }
        let mut steps = 0;
        loop {
            if let Some((dst, message)) = self.network.pop_front() {
                self.step(dst, message)?;
            } else if let Some((id, timer)) = self.due.keys().find(|(_, timer)| *timer == Timer::Flush).cloned() {
                self.run_out(id, timer)?;
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
        let count = self.memo.replicas().len();
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

    fn run_out(&mut self, id: Id, timer: Timer) -> Result<(), String> {
        let input = self.memo.number_of_input(Input::Timeout(timer.clone()));
        self.due.remove(&(id, timer));
        self.step(id, input)
    }

    /// Takes the step of a handler on an input, by its number.
    fn step(&mut self, id: Id, input: u32) -> Result<(), String> {
        if let Some(taken) = &mut self.taken {
            taken.push((self.round, id, self.memo.input(input).clone()));
        }
        let state = self.nodes.get_mut(&id).expect("only who takes part takes a step");
        let step = self.memo.step(id, *state, input);
        *state = step.next;
        for output in &step.outputs {
            match output {
                Output::Send(dst, message) => {
                    if self.nodes.contains_key(dst) && self.links.up(id, *dst) {
                        self.network.push_back((*dst, *message));
                    }
                }
                Output::Other(output) => self.take(id, output)?,
            }
        }
        Ok(())
    }

    /// Takes an output of a node that is no message to another one.
    fn take(&mut self, id: Id, output: &OutputOf<Replica<Audit>>) -> Result<(), String> {
        match output {
            Command::SetTimer(timer, _) => self.set(id, timer.clone()),
            Command::CancelTimer(timer) => {
                self.due.remove(&(id, timer.clone()));
            }
            // What is saved matters to who crashes.
            Command::Save(_) => {}
            Command::Send(dst, Message::Reply { number, outcome }) if *dst == client(id) => match outcome {
                Outcome::Done(_) | Outcome::Answer { .. } => {
                    self.unanswered.remove(&(id, *number));
                }
                Outcome::Refused(_) => {
                    self.unsent.insert((id, *number));
                }
                Outcome::Unknown(_) => {
                    return Err(format!("node {} answers its probe with {outcome:?}", usize::from(id)));
                }
            },
            Command::Send(dst, Message::Reply { number, .. }) => {
                self.earlier.remove(&(id, *dst, *number));
            }
            Command::Send(..) => unreachable!("a message to another one has a number"),
            Command::ChooseRandom(..) => return Err("a replica makes no random choice".into()),
        }
        Ok(())
    }

    /// The one that leads in the highest ballot, if a quorum follows it.
    fn leader(&self) -> Option<Id> {
        let leading = self.nodes().filter(|(_, node)| matches!(node.role, Role::Leading(_)));
        let (id, node) = leading.max_by_key(|(_, node)| node.durable.promised)?;
        let ballot = node.durable.promised;
        let follows = self.nodes().filter(|(_, node)| node.following == Some(ballot));
        let followers: BTreeSet<Id> = follows.map(|(id, _)| id).collect();
        self.is_quorum(&followers).then_some(id)
    }

    fn ballot(&self, id: Id) -> Ballot {
        self.node(id).durable.promised
    }

    fn is_quorum(&self, nodes: &BTreeSet<Id>) -> bool {
        self.memo.replicas()[0].configurations.at(0).is_quorum(nodes)
    }

    /// A node with an unanswered request that the leader and it can serve: they hear each other, directly or through one
    /// other node.
    fn unserved(&self, leader: Id) -> Option<Id> {
        let near = |id: Id| {
            self.links.both(id, leader)
                || self.nodes.keys().any(|via| self.links.both(id, *via) && self.links.both(*via, leader))
        };
        let waits = |id: &Id| {
            let gateway = &self.node(*id).gateway;
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
        self.is_quorum(&near)
    }

    /// Whether somebody who does not want to lead, or not yet, has promised more than `leader`: then it will, and depose it once.
    fn promised_above(&self, leader: Id) -> bool {
        let waits = |node: &State<Audit>| matches!(node.role, Role::Following);
        self.nodes().any(|(_, node)| waits(node) && node.durable.promised > self.ballot(leader))
    }

    /// A node that the leader reaches in both directions and that does not follow it: its vote is missing.
    fn astray(&self, leader: Id) -> Option<Id> {
        let follows = |id: &Id| self.node(*id).following == Some(self.ballot(leader));
        self.nodes.keys().copied().find(|id| self.links.both(*id, leader) && !follows(id))
    }

    /// What a node has not answered, in words.
    fn waiting(&self, id: Id) -> String {
        let gateway = &self.node(id).gateway;
        match (gateway.writes.len(), gateway.reads.len()) {
            (0, 0) => String::new(),
            (writes, reads) => format!(", {writes} writes and {reads} reads wait"),
        }
    }
}
