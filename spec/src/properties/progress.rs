//! `progress`: whatever state the replicas are in, once faults end a leader emerges, answers every request, and stays.
//!
//! From the replicas' states alone: all messages in flight are lost, and then a fair schedule runs over the links that are
//! up. Time goes in rounds of one `Resend` interval: within a round messages are delivered until none is left; between rounds
//! the timers that are due run out. The election timeouts are several rounds and differ by node, and who is first rotates.

use super::audit::{Audit, Tagged};
use super::party::{Msg, Stored};
use paxos_model::kv::{Command, Put, Query};
use paxos_model::replica::message::{Act, Message, Outcome, Request};
use paxos_model::replica::{Replica, Role, State, Timer};
use paxos_model::trace::{Input, Step, step};
use stateright::actor::{Command as Output, Id};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rounds within which every request must be answered.
const ANSWER_ROUNDS: u64 = 60;
/// Rounds for which the leader must then stay.
const STABLE_ROUNDS: u64 = 20;
/// The shortest election timeout, in rounds.
const ELECTION_ROUNDS: u64 = 4;
/// By how much the timeouts of two nodes differ at least.
const ELECTION_SPREAD: u64 = 3;
/// Steps in one round after which it is taken for endless.
const STEPS_MAX: usize = 20_000;

/// A replica at the moment when faults end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frozen {
    /// Its state.
    pub state: State<Audit>,
    /// What it has stored.
    pub stored: Option<Stored>,
    /// The timers that are set.
    pub timers: Vec<Timer>,
}

/// Which directed links are up; a node hears itself always.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Links(pub BTreeSet<(Id, Id)>);

impl Links {
    /// Every link among `nodes`.
    pub fn among(nodes: &[usize]) -> Self {
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (Id::from(*a), Id::from(*b))));
        Links(pairs.filter(|(a, b)| a != b).collect())
    }

    /// These links, both ways.
    pub fn both_ways(pairs: &[(usize, usize)]) -> Self {
        Links(pairs.iter().flat_map(|(a, b)| [((*a).into(), (*b).into()), ((*b).into(), (*a).into())]).collect())
    }

    /// The nodes that take part: those with a link.
    pub fn nodes(&self) -> BTreeSet<Id> {
        self.0.iter().flat_map(|(a, b)| [*a, *b]).collect()
    }

    fn up(&self, src: Id, dst: Id) -> bool {
        src == dst || self.0.contains(&(src, dst))
    }

    fn both(&self, a: Id, b: Id) -> bool {
        self.up(a, b) && self.up(b, a)
    }
}

struct Running<'a> {
    replicas: &'a [Replica<Audit>],
    links: &'a Links,
    nodes: BTreeMap<Id, Frozen>,
    due: BTreeMap<(Id, Timer), u64>,
    round: u64,
    first: usize,
    network: VecDeque<(Id, Id, Msg)>,
    answered: BTreeSet<(Id, u64)>,
}

/// Runs the fair schedule from `frozen`. `first` says whose election timeout is the shortest. An error says what failed.
pub fn check(
    replicas: &[Replica<Audit>],
    frozen: &BTreeMap<Id, Frozen>,
    links: &Links,
    first: usize,
) -> Result<(), String> {
    let due = frozen.iter().flat_map(|(id, node)| node.timers.iter().map(|timer| (*id, timer.clone())));
    let mut run = Running {
        replicas,
        links,
        nodes: frozen.clone(),
        due: BTreeMap::new(),
        round: 0,
        first,
        network: VecDeque::new(),
        answered: BTreeSet::new(),
    };
    for (id, timer) in due {
        run.set(id, timer);
    }
    let ids: Vec<Id> = frozen.keys().copied().collect();
    for id in &ids {
        for (number, request) in [(0, write()), (1, Request::Read(Query::Get("probe".into())))] {
            let request = Message::Request { number, timeout_ms: 1000, request };
            run.step(*id, Input::Deliver { src: client(*id), msg: request })?;
        }
    }
    let mut served = false;
    while run.round < ANSWER_ROUNDS && !served {
        run.round()?;
        served = run.leader().is_some_and(|leader| run.unserved(leader).is_none());
    }
    let Some(leader) = run.leader() else {
        return Err(format!("no leader after {ANSWER_ROUNDS} rounds"));
    };
    if let Some(node) = run.unserved(leader) {
        return Err(format!(
            "{node:?} has a request that is not answered after {ANSWER_ROUNDS} rounds, leader {leader:?}"
        ));
    }
    let ballot = run.ballot(leader);
    for _ in 0..STABLE_ROUNDS {
        run.round()?;
    }
    if run.leader() != Some(leader) || run.ballot(leader) != ballot {
        return Err(format!("the leader {leader:?} does not stay"));
    }
    Ok(())
}

fn client(of: Id) -> Id {
    Id::from(100 + usize::from(of))
}

fn write() -> Request<Tagged, Query> {
    let puts = vec![Put { key: "probe".into(), val: "x".into(), ver: None }];
    Request::Write {
        session: None,
        act: Act::Apply(Tagged { tag: 0, command: Command::Write { puts, atomic: false } }),
    }
}

impl Running<'_> {
    fn round(&mut self) -> Result<(), String> {
        self.round += 1;
        let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= self.round).map(|(key, _)| key.clone()).collect();
        for (id, timer) in due {
            if self.due.get(&(id, timer.clone())).is_some_and(|at| *at <= self.round) {
                self.due.remove(&(id, timer.clone()));
                self.step(id, Input::Timeout(timer))?;
            }
        }
        let mut steps = 0;
        loop {
            let flush = self.due.keys().find(|(_, timer)| *timer == Timer::Flush).cloned();
            if let Some((src, dst, msg)) = self.network.pop_front() {
                self.step(dst, Input::Deliver { src, msg })?;
            } else if let Some((id, timer)) = flush {
                self.due.remove(&(id, timer.clone()));
                self.step(id, Input::Timeout(timer))?;
            } else {
                return Ok(());
            }
            steps += 1;
            if steps > STEPS_MAX {
                return Err("messages without end".into());
            }
        }
    }

    fn set(&mut self, id: Id, timer: Timer) {
        let count = self.replicas.len();
        let rank = (usize::from(id) + count - self.first % count) % count;
        let at = match timer {
            Timer::Flush => self.round,
            Timer::Resend => self.round + 1,
            Timer::Election => self.round + ELECTION_ROUNDS + ELECTION_SPREAD * rank as u64,
            // Deadlines are long compared with everything here.
            Timer::Deadline(_) => return,
        };
        self.due.insert((id, timer), at);
    }

    fn step(&mut self, id: Id, input: Input<Msg, Timer>) -> Result<(), String> {
        let node = &self.nodes[&id];
        let Step { state, outputs } =
            step(&self.replicas[usize::from(id)], id, Some(&node.state), &node.stored, &input);
        if let Some(state) = state
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.state = state;
        }
        for output in outputs {
            match output {
                Output::SetTimer(timer, _) => self.set(id, timer),
                Output::CancelTimer(timer) => {
                    self.due.remove(&(id, timer));
                }
                Output::Save(stored) => {
                    if let Some(node) = self.nodes.get_mut(&id) {
                        node.stored = Some(stored);
                    }
                }
                Output::Send(dst, Message::Reply { number, outcome }) => {
                    if matches!(outcome, Outcome::Done(_) | Outcome::Answer { .. }) && dst == client(id) {
                        self.answered.insert((id, number));
                    } else if dst == client(id) && !matches!(outcome, Outcome::Refused(_)) {
                        return Err(format!("{id:?} answers its probe with {outcome:?}"));
                    }
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
        let leads = |node: &Frozen| matches!(node.state.role, Role::Leading(_));
        let leading = self.nodes.iter().filter(|(_, node)| leads(node));
        let (id, node) = leading.max_by_key(|(_, node)| node.state.durable.promised)?;
        let ballot = node.state.durable.promised;
        let follows = self.nodes.iter().filter(|(_, node)| node.state.following == Some(ballot));
        let followers: BTreeSet<Id> = follows.map(|(id, _)| *id).collect();
        self.replicas[0].configurations.at(0).is_quorum(&followers).then_some(*id)
    }

    fn ballot(&self, id: Id) -> paxos_model::replica::ballot::Ballot {
        self.nodes[&id].state.durable.promised
    }

    /// A node with an unanswered request that the leader and it can serve: they hear each other, directly or through one
    /// other node.
    fn unserved(&self, leader: Id) -> Option<Id> {
        let near = |id: Id| {
            self.links.both(id, leader)
                || self.nodes.keys().any(|via| self.links.both(id, *via) && self.links.both(*via, leader))
        };
        let waits = |id: &Id| {
            let gateway = &self.nodes[id].state.gateway;
            !gateway.writes.is_empty()
                || !gateway.reads.is_empty()
                || !self.answered.contains(&(*id, 0))
                || !self.answered.contains(&(*id, 1))
        };
        self.nodes.keys().copied().find(|id| near(*id) && waits(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_model::replica::Options;
    use paxos_model::replica::configuration::Configuration;

    fn start(count: usize) -> (Vec<Replica<Audit>>, BTreeMap<Id, Frozen>) {
        let replica = Replica::new(Configuration::of_voters(count), Options::default());
        let frozen = (0..count).map(|node| {
            let Step { state, outputs } = step(&replica, node.into(), None, &None, &Input::Start);
            let timers = outputs.iter().filter_map(|output| match output {
                Output::SetTimer(timer, _) => Some(timer.clone()),
                _ => None,
            });
            let timers = timers.collect();
            (Id::from(node), Frozen { state: state.expect("started"), stored: None, timers })
        });
        let frozen = frozen.collect();
        (vec![replica; count], frozen)
    }

    fn every_first(count: usize, links: &Links) {
        let (replicas, frozen) = start(count);
        for first in 0..count {
            check(&replicas, &frozen, links, first)
                .unwrap_or_else(|why| panic!("first {first}, links {links:?}: {why}"));
        }
    }

    #[test]
    fn a_leader_emerges_under_every_partial_partition_of_three() {
        let all: Vec<(Id, Id)> = Links::among(&[0, 1, 2]).0.into_iter().collect();
        for bits in 0..1u32 << all.len() {
            let links =
                Links(all.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, link)| *link).collect());
            if [0, 1, 2].iter().any(|a| [0, 1, 2].iter().any(|b| a != b && links.both((*a).into(), (*b).into()))) {
                every_first(3, &links);
            }
        }
    }

    #[test]
    fn a_leader_emerges_in_star_and_chain_of_five() {
        every_first(5, &Links::among(&[0, 1, 2, 3, 4]));
        every_first(5, &Links::both_ways(&[(2, 0), (2, 1), (2, 3), (2, 4)]));
        every_first(5, &Links::both_ways(&[(0, 1), (1, 2), (2, 3), (3, 4)]));
    }

    #[test]
    fn without_a_quorum_the_schedule_says_so() {
        let (replicas, frozen) = start(3);
        assert!(check(&replicas, &frozen, &Links::among(&[]), 0).is_err());
    }
}
