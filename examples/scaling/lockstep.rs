//! What the steps of leader and followers cost: the loops of a whole cluster driven by one thread, slot by slot, with stores in memory, so
//! that each phase of a slot is timed by itself and nothing waits for anything.

use crate::line::Line;
use crate::load::TIMEOUT_MS;
use crate::peers::Gathered;
use crate::write::write;
use paxos::model::replica::Options;
use paxos::model::replica::configuration::Configuration;
use paxos::node::{Answered, Core, Outlet, Settings};
use paxos::storage::Store;
use paxos::storage::memory::MemoryStore;
use paxos::transport::codec;
use paxos::{Msg, Outcome, Stored};
use stateright::actor::Id;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What the phases of a slot take, in seconds, and how long its `Accept` is, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    /// The leader takes the requests in and proposes.
    pub(crate) propose: Line,
    /// The leader votes, and counts that.
    pub(crate) own_vote: Line,
    /// A follower votes.
    pub(crate) vote: Line,
    /// The leader counts the votes, decides, applies, answers, tells the followers, and takes that they heard it.
    pub(crate) decide: Line,
    /// A follower hears of the decision and applies it.
    pub(crate) learn: Line,
    pub(crate) encode: Line,
    pub(crate) decode: Line,
    pub(crate) bytes: Line,
}

const PHASES: usize = 8;

/// The mean of each phase for slots of `count` operations, and what a follower saved in the last of them.
pub(crate) struct Measured {
    pub(crate) count: usize,
    phases: [f64; PHASES],
    pub(crate) saved: VecDeque<Stored>,
}

impl Steps {
    /// The lines through what was measured for slots of several sizes.
    pub(crate) fn through(measured: &[Measured]) -> Steps {
        let line = |phase: usize| {
            let points: Vec<_> = measured.iter().map(|m| (m.count as f64, m.phases[phase])).collect();
            Line::through(&points)
        };
        let [propose, own_vote, vote, decide, learn, encode, decode, bytes] = std::array::from_fn(line);
        Steps { propose, own_vote, vote, decide, learn, encode, decode, bytes }
    }
}

struct Node {
    id: Id,
    core: Core,
    outlet: Arc<Outlet>,
    sent: Arc<Gathered>,
    store: MemoryStore,
}

impl Node {
    fn new(index: usize, nodes: usize, start: Instant) -> Node {
        let ms = Duration::from_millis;
        let hour = ms(3_600_000);
        let election = if index == 0 { ms(1000)..ms(1001) } else { hour..2 * hour };
        let settings = Settings {
            id: Id::from(index),
            configuration: Configuration::of_voters(nodes),
            options: Options { election, resend: ms(500), ..Options::default() },
            inputs_max: 1,
        };
        let (sent, store) = (Arc::new(Gathered::default()), MemoryStore::new("scaling", index as u64));
        let outlet = Arc::new(Outlet::new(settings.id, sent.clone(), None));
        let core = Core::new(&settings, None, store.usage(), outlet.clone(), 0, start);
        Node { id: settings.id, core, outlet, sent, store }
    }

    /// Takes turns until there is nothing to do at `now`.
    fn settle(&mut self, now: Instant) {
        loop {
            while self.core.take_own(now) {}
            self.core.run_timers(now);
            if let Some(order) = self.core.next_order(now) {
                let report = order.carry_out(&mut self.store, &self.outlet);
                self.core.take_report(report, now).expect("a store in memory does not fail");
            } else if !self.core.has_own() {
                return;
            }
        }
    }

    /// What it has sent, as source, destination and message.
    fn sent(&mut self) -> Vec<(Id, Id, Msg)> {
        self.sent.take().into_iter().map(|(dst, message)| (self.id, dst, message)).collect()
    }
}

struct Group {
    leader: Node,
    followers: Vec<Node>,
    /// Time stands still once there is a leader: no timer runs out but those without a delay.
    now: Instant,
    written: u64,
}

impl Group {
    fn new(nodes: usize) -> Group {
        let start = Instant::now();
        let mut all = (0..nodes).map(|index| Node::new(index, nodes, start));
        let leader = all.next().expect("there is a node");
        let followers = all.collect();
        let mut group = Group { leader, followers, now: start + Duration::from_secs(2), written: 0 };
        // The node opens its session with the first request.
        let (number, mut answer) = group.begin(1).pop().expect("there is one");
        group.leader.core.take_ask((number, write(0, 1)), group.now);
        group.exchange();
        assert!(answer.try_recv().is_ok(), "a cluster without faults answers");
        group
    }

    /// Delivers what the nodes send to each other until they are silent.
    fn exchange(&mut self) {
        self.leader.settle(self.now);
        let mut to_followers = self.leader.sent();
        while !to_followers.is_empty() {
            let to_leader = deliver(&mut self.followers, to_followers, self.now);
            to_followers = deliver(std::slice::from_mut(&mut self.leader), to_leader, self.now);
        }
    }

    /// Takes down so many requests at the leader.
    fn begin(&self, count: usize) -> Vec<(u64, oneshot::Receiver<Answered>)> {
        let clients = self.leader.outlet.clients();
        let begin = |_| clients.begin(&write(0, 1), TIMEOUT_MS, self.now).expect("few are under way");
        (0..count).map(begin).collect()
    }

    /// Writes `count` values of so many bytes in one slot; adds what its phases took, and what a follower saved, of which the last `kept` are kept.
    fn slot(&mut self, count: usize, value_bytes: usize, kept: usize, total: &mut Measured) {
        let now = self.now;
        let requests: Vec<_> = (0..count as u64).map(|at| write(self.written + at, value_bytes)).collect();
        self.written += count as u64;
        let (numbers, answers): (Vec<u64>, Vec<_>) = self.begin(count).into_iter().unzip();

        let leader = &mut self.leader;
        let ((), propose) = timed(|| {
            for asked in numbers.into_iter().zip(requests) {
                leader.core.take_ask(asked, now);
            }
            leader.core.run_timers(now);
            assert!(leader.core.next_order(now).is_none(), "who proposes saves nothing");
        });
        let accepts = leader.sent();
        let ((), own_vote) = timed(|| leader.settle(now));

        let accept = accepts[0].2.clone();
        let (encoded, encode) = timed(|| codec::encode(&accept).expect("it fits"));
        let (_, decode) = timed(|| black_box(codec::decode(&encoded)));

        let each = 1.0 / self.followers.len() as f64;
        let (votes, vote) = timed(|| deliver(&mut self.followers, accepts, now));
        total.saved.extend(self.followers[0].store.load().expect("a store in memory does not fail"));
        while total.saved.len() > kept {
            total.saved.pop_front();
        }
        let (heartbeats, decide) = timed(|| deliver(std::slice::from_mut(&mut self.leader), votes, now));
        let (acks, learn) = timed(|| deliver(&mut self.followers, heartbeats, now));
        let (_, heard) = timed(|| deliver(std::slice::from_mut(&mut self.leader), acks, now));

        for mut answer in answers {
            let done = matches!(answer.try_recv(), Ok(Answered::Outcome(Outcome::Done(_))));
            assert!(done, "a slot answers all that are in it");
        }
        let bytes = encoded.len() as f64;
        let phases = [propose, own_vote, vote * each, decide + heard, learn * each, encode, decode, bytes];
        total.phases.iter_mut().zip(phases).for_each(|(sum, phase)| *sum += phase);
    }
}

/// Delivers `messages` to the `nodes` that they are for; returns what those send.
fn deliver(nodes: &mut [Node], messages: Vec<(Id, Id, Msg)>, now: Instant) -> Vec<(Id, Id, Msg)> {
    for (src, dst, message) in messages {
        let node = nodes.iter_mut().find(|node| node.id == dst).expect("a message is for a member");
        node.core.take_message(src, message, now);
        node.settle(now);
    }
    nodes.iter_mut().flat_map(Node::sent).collect()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begin = Instant::now();
    let done = work();
    (done, begin.elapsed().as_secs_f64())
}

/// Measures the phases of `slots` slots, each of `count` writes, in a cluster of so many nodes. Of what a follower saved the last `kept` are kept.
pub(crate) fn measure(nodes: usize, count: usize, value_bytes: usize, slots: usize, kept: usize) -> Measured {
    let mut group = Group::new(nodes);
    let mut total = Measured { count, phases: [0.0; PHASES], saved: VecDeque::new() };
    for _ in 0..slots {
        group.slot(count, value_bytes, kept, &mut total);
    }
    total.phases.iter_mut().for_each(|sum| *sum /= slots as f64);
    total
}
