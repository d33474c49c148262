//! The model: from the costs of the stages to writes a second. `spec/scaling.md` tells it in formulas.

use crate::stages::{Commits, Costs};
use crate::write::KEY_BYTES;
use paxos::model::replica::Options;

/// What a node takes in at a time, in bytes of requests, and what a request counts beside its key and value.
const ADMITTED_BYTES: f64 = (8 << 20) as f64;
const REQUEST_BYTES: f64 = 256.0;
/// What an operation counts beside its key and value, where an entry is bounded in bytes.
const OPERATION_BYTES: f64 = 64.0;
/// Threads that are woken one after another between a request and its answer: the leader's loop, a link, the follower's loop, its disk, a link, the
/// leader's loop, the client.
const WAKES: f64 = 7.0;
/// Messages between the leader and one follower for a slot: accept, accepted, heartbeat, acknowledgement.
const MESSAGES: f64 = 4.0;
/// The bytes a second that a node can send, with machines of their own: 10 Gbit/s.
pub(crate) const NETWORK: f64 = 10e9 / 8.0;

/// Where nodes run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// All in one process with the load, on one disk.
    Together,
    /// Each on a machine and a disk of its own, with clients that come over HTTP.
    Apart,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    /// Processors of a machine.
    pub(crate) cores: f64,
    pub(crate) nodes: usize,
    /// In seconds.
    pub(crate) round_trip: f64,
    pub(crate) pipeline: u64,
    /// Writes that are asked for and not answered.
    pub(crate) asks: usize,
    pub(crate) value: usize,
}

/// What is to be expected.
pub(crate) struct Prediction {
    /// Writes a second.
    pub(crate) rate: f64,
    /// What keeps it from being more.
    pub(crate) bound: &'static str,
}

/// Operations that are asked for, proposed, voted for and answered together.
struct Group {
    /// How many they are: a slot, or several full ones.
    size: f64,
    /// How many such groups are on their way.
    count: f64,
}

/// How long a group takes from its proposal until its clients have asked again, in seconds: the parts with their names.
fn in_turn(costs: &Costs, setting: &Setting, size: f64) -> [(&'static str, f64); 5] {
    let steps = costs.steps[&(setting.nodes, setting.value)];
    let (commits, together) = (commits(costs, setting), setting.place == Place::Together);
    let [idle, busy] = costs.wake;
    let chain = [steps.propose, steps.encode, steps.decode, steps.vote, steps.decide];
    // Here one thread asks; where clients come over HTTP all processors take them.
    let asking = size * if together { costs.ask } else { costs.http[&setting.value] / setting.cores };
    let chain = chain.iter().map(|line| line.at(size)).sum::<f64>();
    // Here the same processors do what else there is to do for the group.
    let in_chain = chain + asking + commits.cpu.at(size) + WAKES * busy.cpu;
    let rest = if together { (work(costs, setting, size) - in_chain).max(0.0) / setting.cores } else { 0.0 };
    // Here who waits for the delay to be over wakes late.
    let beside = match setting.place {
        Place::Together if setting.round_trip == 0.0 => 0.0,
        Place::Together => 2.0 * costs.lateness,
        Place::Apart => 2.0 * costs.socket.time,
    };
    // A vote may find the disk at another commit, and then waits for half of it in the mean.
    let shared = setting.pipeline > 1 && setting.asks > 1;
    let commit = commits.time.at(size) * if shared { 1.5 } else { 1.0 };
    [
        ("round trip", setting.round_trip + beside),
        ("commit", commit),
        ("steps in turn", chain + WAKES * idle.time),
        ("clients", asking),
        ("processors", rest),
    ]
}

/// The processor time of a group, in seconds: of all nodes and clients where they are together, of the leader's machine where not.
fn work(costs: &Costs, setting: &Setting, size: f64) -> f64 {
    let steps = costs.steps[&(setting.nodes, setting.value)];
    let (nodes, others) = (setting.nodes as f64, setting.nodes as f64 - 1.0);
    let commit = commits(costs, setting).cpu.at(size);
    let [_, busy] = costs.wake;
    let leads = steps.propose.at(size) + steps.own_vote.at(size) + steps.decide.at(size) + steps.encode.at(size);
    if setting.place == Place::Together {
        let follows = steps.vote.at(size) + steps.learn.at(size) + steps.decode.at(size);
        // Each node's disk and then its loop; for each message a link and a loop; the leader's loop and the client.
        let wakes = 2.0 * nodes + 2.0 * MESSAGES * others + 2.0;
        leads + others * follows + nodes * commit + wakes * busy.cpu + size * costs.ask
    } else {
        let messages = MESSAGES * others * costs.socket.cpu;
        // Its loop for requests, for votes and for the disk, and the disk.
        let wakes = 4.0;
        leads + commit + wakes * busy.cpu + messages + size * costs.http[&setting.value]
    }
}

fn commits(costs: &Costs, setting: &Setting) -> Commits {
    let at_a_time = if setting.place == Place::Together { setting.nodes } else { 1 };
    costs.commits[&(at_a_time, setting.value)]
}

/// How many operations go together, and how many such groups are on their way.
///
/// What arrives while the disk is at a commit shares the next one and is answered together, and then the clients ask again together. So no
/// more groups are on their way than commits fit into the time that one takes, nor more than the pipeline lets.
fn groups(costs: &Costs, setting: &Setting) -> Group {
    let options = Options::default();
    let bytes = (KEY_BYTES + setting.value) as f64;
    let most = (options.batch_max as f64).min((options.bytes_max as f64 / (OPERATION_BYTES + bytes)).floor());
    let asks = (setting.asks.min(options.requests_max) as f64).min(ADMITTED_BYTES / (REQUEST_BYTES + bytes));
    let mut group = Group { size: 1.0, count: 1.0 };
    // The more there are the smaller they are, and the faster: a few rounds settle it.
    for _ in 0..20 {
        let time: f64 = in_turn(costs, setting, group.size).iter().map(|(_, time)| time).sum();
        let commits = time / commits(costs, setting).time.at(group.size);
        group.count = commits.min(setting.pipeline as f64).max(1.0);
        // As many as in one of them wait for the next.
        group.size = (asks / (group.count + 1.0)).max(1.0);
    }
    if group.size > most {
        // Full slots wait for none.
        Group { size: asks.min(most * options.window as f64), count: 1.0 }
    } else {
        Group { count: group.count.min(asks), ..group }
    }
}

pub(crate) fn predict(costs: &Costs, setting: &Setting) -> Prediction {
    let Group { size, count } = groups(costs, setting);
    let steps = costs.steps[&(setting.nodes, setting.value)];
    let parts = in_turn(costs, setting, size);
    let time: f64 = parts.iter().map(|(_, time)| time).sum();
    let longest = parts.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there are some").0;
    // Of one thread, which takes the leader's steps.
    let leads = steps.propose.at(size) + steps.own_vote.at(size) + steps.decide.at(size);
    let under_way = size * count;
    let mut bounds = vec![
        (longest, under_way / time),
        ("processors", size * setting.cores / work(costs, setting, size)),
        ("leader's loop", size / leads),
        ("disk", under_way / commits(costs, setting).time.at(under_way)),
    ];
    if setting.place == Place::Apart {
        let others = setting.nodes as f64 - 1.0;
        bounds.push(("network", size * NETWORK / (others * steps.bytes.at(size))));
    }
    let (bound, rate) = bounds.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are some");
    Prediction { rate, bound }
}
