//! Carries out a schedule on the nodes and the links between them.

use super::clients::Load;
use super::network::Network;
use super::nodes::Nodes;
use super::proxy::{State, Weather};
use super::random::Random;
use super::request::Sender;
use super::schedule::{Fault, Shape, Step, Who};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long it may take until every node serves again after a fault has ended.
const BACK: Duration = Duration::from_secs(20);
/// How long a node may take to say how it is.
const STATUS_MS: u64 = 300;
/// How long it may take until a node is so far behind that it is sent a snapshot, and until it begins to be.
const BEHIND: Duration = Duration::from_secs(8);
/// How much later than the others one node comes back where all were killed: they elect a leader meanwhile.
const LATE: Duration = Duration::from_millis(1200);
/// Slots by which a node must be behind to be sent a snapshot.
const BEHIND_SLOTS: u64 = super::SNAPSHOT_EVERY + super::TAIL + 16;

/// What was done of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) times: u64,
    /// The longest time without an answer from its begin to that of the next step, in microseconds.
    pub(crate) gap: u64,
    /// The longest time from its end until every node served again, in microseconds.
    pub(crate) back: u64,
}

pub(crate) struct Inflictor<'a> {
    pub(crate) nodes: Nodes<'a>,
    network: &'a Network,
    load: &'a Load,
    sender: Sender,
    random: Random,
    pub(crate) done: BTreeMap<&'static str, Done>,
    /// Leader kills after which the receiver of a snapshot was still behind.
    pub(crate) in_transfer: u64,
    /// Nodes that stopped since their disk failed.
    pub(crate) stopped: usize,
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}

impl<'a> Inflictor<'a> {
    pub(crate) fn new(nodes: Nodes<'a>, network: &'a Network, load: &'a Load) -> Inflictor<'a> {
        let random = Random::new(load.seed, 999);
        let (done, in_transfer, stopped) = Default::default();
        Inflictor { nodes, network, load, sender: Sender::new(), random, done, in_transfer, stopped }
    }

    /// One step: from its pause to the end of what it does.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        std::thread::park_timeout(Duration::from_millis(step.pause_ms));
        self.load.gaps.take(self.load.now());
        let leader = self.leader();
        self.inflict(step.fault, leader)?;
        let half = Duration::from_millis(step.hold_ms / 2);
        std::thread::park_timeout(half);
        if let Some(also) = step.also {
            self.inflict(also, leader)?;
        }
        std::thread::park_timeout(half);
        let name = step.fault.name();
        let also = step.also.map(Fault::name);
        self.mend()?;
        let end = Instant::now() + Duration::from_secs(20);
        let begun = self.load.now();
        while self.load.gaps.latest() < begun {
            if Instant::now() > end {
                return Err(format!("nothing is answered for 20 s after {step:?}"));
            }
            self.tend()?;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let gap = self.load.gaps.take(self.load.now());
        self.all_serve(step)?;
        let back = self.load.now() - begun;
        let done = self.done.entry(name).or_default();
        done.times += 1;
        done.gap = done.gap.max(gap);
        done.back = done.back.max(back);
        if let Some(also) = also {
            self.done.entry(also).or_default().times += 1;
        }
        Ok(())
    }

    /// Waits until every node serves: that it is one of those who do not, or nobody hears it, is seen by its own clients only.
    fn all_serve(&mut self, step: &Step) -> Result<(), String> {
        let end = Instant::now() + BACK;
        for node in 0..self.nodes.count() {
            while self.sender.get(self.load.stores[node], "/readyz", 500).is_none() {
                if Instant::now() > end {
                    return Err(format!("node {node} does not serve for {BACK:?} after {step:?}"));
                }
                self.tend()?;
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        (0..self.nodes.count()).for_each(|node| self.nodes.may_end(node, false));
        Ok(())
    }

    /// Starts nodes that stopped since their disk failed, which they may find out when that is over.
    fn tend(&mut self) -> Result<(), String> {
        let ended = self.nodes.look()?;
        self.stopped += ended;
        if ended > 0 {
            (0..self.nodes.count()).try_for_each(|node| self.nodes.start(node)).map_err(told)?;
        }
        Ok(())
    }

    fn status(&self, node: usize) -> Option<serde_json::Value> {
        self.sender.get(self.load.stores[node], "/status", STATUS_MS)
    }

    /// Who leads, as far as that can be seen; else anybody.
    fn leader(&mut self) -> usize {
        for _ in 0..3 {
            let leads = |node: &usize| self.status(*node).is_some_and(|status| status["role"] == "leader");
            if let Some(leader) = (0..self.nodes.count()).find(leads) {
                return leader;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
        self.any()
    }

    fn any(&mut self) -> usize {
        self.random.below(self.nodes.count() as u64) as usize
    }

    fn of(&self, who: Who, leader: usize) -> Vec<usize> {
        let count = self.nodes.count();
        match who {
            Who::Leader => vec![leader],
            Who::Other(places) => vec![(leader + places) % count],
            Who::All => (0..count).collect(),
        }
    }

    fn inflict(&mut self, fault: Fault, leader: usize) -> Result<(), String> {
        match fault {
            Fault::Kill(who) => {
                self.of(who, leader).into_iter().try_for_each(|node| self.nodes.kill(node)).map_err(told)
            }
            Fault::Stop(who) => {
                for node in self.of(who, leader) {
                    if self.nodes.is_running(node) {
                        self.nodes.terminate(node)?;
                    }
                }
                Ok(())
            }
            Fault::Hang(who) => {
                self.of(who, leader).into_iter().try_for_each(|node| self.nodes.hang(node, true)).map_err(told)
            }
            Fault::Partition(shape, state) => self.partition(shape, state, leader),
            Fault::Weather(weather) => self.links(|_, _| weather),
            Fault::SlowDisk(who, us) => {
                let nodes = self.of(who, leader);
                nodes.into_iter().try_for_each(|node| self.nodes.shim(node).delay_us(us)).map_err(told)
            }
            Fault::KillAllAtSlowDisks(us) => {
                for node in self.of(Who::All, leader) {
                    self.nodes.shim(node).delay_us(us).map_err(told)?;
                }
                self.kill_all_soon()
            }
            Fault::KillAllAtFullDisks => {
                for node in self.of(Who::All, leader) {
                    self.nodes.may_end(node, true);
                    self.nodes.shim(node).full(true).map_err(told)?;
                }
                self.kill_all_soon()
            }
            Fault::FailingDisk(who) => {
                for node in self.of(who, leader) {
                    self.nodes.may_end(node, true);
                    self.nodes.shim(node).syncs_fail(true).map_err(told)?;
                }
                Ok(())
            }
            Fault::FullDisk(who) => {
                for node in self.of(who, leader) {
                    self.nodes.may_end(node, true);
                    self.nodes.shim(node).full(true).map_err(told)?;
                }
                Ok(())
            }
            Fault::Clocks(ms) => {
                for node in 0..self.nodes.count() {
                    let off = if self.random.percent(50) { ms } else { -ms };
                    self.nodes.shim(node).wall_ms(off).map_err(told)?;
                }
                Ok(())
            }
            Fault::KillInTransfer(after_ms) => self.kill_in_transfer(leader, after_ms),
        }
    }

    /// Kills all after a moment, as close to one as it goes: who is killed last must not save what the others lost.
    fn kill_all_soon(&mut self) -> Result<(), String> {
        std::thread::park_timeout(Duration::from_millis(400));
        self.stopped += self.nodes.look()?;
        (0..self.nodes.count()).try_for_each(|node| self.nodes.hang(node, true)).map_err(told)?;
        (0..self.nodes.count()).try_for_each(|node| self.nodes.kill(node)).map_err(told)
    }

    fn links(&self, weather: impl Fn(usize, usize) -> Weather) -> Result<(), String> {
        let count = self.nodes.count();
        for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
            if from != to {
                self.network.set(from, to, weather(from, to))?;
            }
        }
        Ok(())
    }

    fn partition(&self, shape: Shape, state: State, leader: usize) -> Result<(), String> {
        let count = self.nodes.count();
        let minority = (count - 1) / 2;
        // Places are counted from the leader.
        let place = |node: usize| (node + count - leader) % count;
        let up = |from: usize, to: usize| {
            let (a, b) = (place(from), place(to));
            match shape {
                Shape::LeaderInMinority => (a < minority) == (b < minority),
                Shape::OthersInMinority => (a < count - minority) == (b < count - minority),
                Shape::Star => a == count - 1 || b == count - 1,
                Shape::Chain => a.abs_diff(b) == 1,
                Shape::DeafLeader => b != 0,
                Shape::MuteLeader => a != 0,
                Shape::Nothing => false,
                Shape::Any(bits) => bits >> (a * count + b) & 1 == 1,
            }
        };
        let down = Weather { state, ..Weather::default() };
        self.links(|from, to| if up(from, to) { Weather::default() } else { down })
    }

    fn applied(&self, node: usize) -> Option<u64> {
        self.status(node)?["applied"].as_u64()
    }

    /// Keeps a node away until it must be sent a snapshot, and kills the leader while that is on its way over a slow link.
    fn kill_in_transfer(&mut self, leader: usize, after_ms: u64) -> Result<(), String> {
        let behind = (leader + 1) % self.nodes.count();
        self.nodes.kill(behind).map_err(told)?;
        let end = Instant::now() + BEHIND;
        let begin = self.applied(leader);
        let far = |now: Option<u64>| now.zip(begin).is_some_and(|(now, begin)| now >= begin + BEHIND_SLOTS);
        while !far(self.applied(leader)) && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(30));
        }
        let slow = Weather { delay_ms: 40, ..Weather::default() };
        self.links(|_, to| if to == behind { slow } else { Weather::default() })?;
        self.nodes.start(behind).map_err(told)?;
        let end = Instant::now() + BEHIND;
        while self.applied(behind).is_none() && Instant::now() < end {
            self.nodes.look()?;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        std::thread::park_timeout(Duration::from_millis(after_ms));
        let goal = self.applied(leader);
        self.nodes.kill(leader).map_err(told)?;
        let reached = self.applied(behind);
        if reached.zip(goal).is_some_and(|(reached, goal)| reached + super::TAIL < goal) {
            self.in_transfer += 1;
        }
        Ok(())
    }

    /// Ends all faults but the clocks', which stay as they are.
    pub(crate) fn mend(&mut self) -> Result<(), String> {
        self.links(|_, _| Weather::default())?;
        for node in 0..self.nodes.count() {
            let shim = self.nodes.shim(node);
            shim.delay_us(0).and_then(|()| shim.syncs_fail(false)).and_then(|()| shim.full(false)).map_err(told)?;
            self.nodes.hang(node, false).map_err(told)?;
        }
        self.stopped += self.nodes.look()?;
        let count = self.nodes.count();
        // Where all are down one comes later than the others: so what was answered must be at any majority of those that were there.
        let late = if (0..count).any(|node| self.nodes.is_running(node)) { None } else { Some(self.any()) };
        for node in (0..count).filter(|node| Some(*node) != late).chain(late) {
            if late == Some(node) {
                std::thread::park_timeout(LATE);
            }
            self.nodes.start(node).map_err(told)?;
        }
        Ok(())
    }
}
