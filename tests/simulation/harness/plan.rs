//! What a life is like: everything about it that is drawn before it begins.

use super::Time;
use super::random::Random;
use paxos_model::replica::Options;
use paxos_model::replica::configuration::{Configuration, Role};
use stateright::actor::Id;
use std::ops::Range;
use std::time::Duration;

pub(crate) const MS: Time = 1000;
/// In so many lives one has its stores on a real disk.
const ON_DISK: u64 = 8;

/// What a life is like.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Members, the learner included.
    pub(crate) nodes: usize,
    pub(crate) configuration: Configuration,
    pub(crate) options: Options,
    /// Whether the stores are those of LMDB.
    pub(crate) on_disk: bool,
    pub(crate) clients: u64,
    /// How long there are faults.
    pub(crate) faults_until: Time,
    pub(crate) faults: u64,
    /// Whether one leader after the other is cut off, and about how often.
    pub(crate) rotation: Option<Time>,
    pub(crate) weather: Weather,
    /// How long a commit takes.
    pub(crate) commit: Range<Time>,
    /// How long a client pauses at most between two requests.
    pub(crate) pause: Time,
    /// Messages of others, and requests, that wait for a node's loop; each. More are not taken.
    pub(crate) inputs_max: usize,
}

/// What links do to what they carry.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// How long a message is on its way.
    pub(crate) delay: Range<Time>,
    /// Of 100 messages, those that take much longer.
    pub(crate) late: u64,
    /// Of 100 messages, those that are lost, that come twice, and that are altered.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) altered: u64,
    /// Whether what is sent first comes first, as over TCP.
    pub(crate) ordered: bool,
}

impl Weather {
    /// As it is once all faults have ended.
    pub(crate) fn fair(&self) -> Weather {
        Weather { late: 0, lost: 0, repeated: 0, altered: 0, ..self.clone() }
    }
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Plan {
        let voters = *random.pick(&[3, 3, 3, 3, 3, 3, 5, 5, 2, 1]);
        let learner = random.percent(8);
        let mut configuration = Configuration::of_voters(voters);
        if learner {
            configuration.members.insert(Id::from(voters), Role::Learner);
        }
        let nodes = voters + usize::from(learner);
        // Each node has a session of its own, and one that it cannot keep is lost again and again.
        configuration.sessions_max = *random.pick(&[nodes + 1, nodes + 4, 4096]);
        configuration.replies_max = *random.pick(&[1, 3, 1024]);
        let faults = random.pick(&[(1, 10), (1, 10), (10, 50)]).range();
        let options = options(random);
        // Long enough for the others to elect one, or a little too short.
        let election = options.election.end.as_micros() as Time;
        let rotation = random.percent(25).then(|| random.within(election / 2..election * 2));
        Plan {
            nodes,
            configuration,
            options,
            on_disk: random.below(ON_DISK) == 0,
            clients: random.within(2..7),
            faults_until: random.within(300..1500) * MS + rotation.unwrap_or(0) * 8,
            rotation,
            faults: random.within(faults),
            weather: weather(random),
            commit: random.pick(&[(20, 60), (100, 1000), (500, 8000)]).range(),
            pause: *random.pick(&[500, 3000, 20_000]),
            inputs_max: *random.pick(&[2, 8, 64, 1024]),
        }
    }
}

fn options(random: &mut Random) -> Options {
    let ms = Duration::from_millis;
    let (from, to, resend) = *random.pick(&[(40, 80, 8), (60, 120, 10), (150, 300, 50), (300, 600, 50)]);
    let window = *random.pick(&[1, 2, 4, 32]);
    Options {
        election: ms(from)..ms(to),
        resend: ms(resend),
        window,
        pipeline: *random.pick(&[1, 1, 2, 4]),
        horizon: window * *random.pick(&[1, 2, 2]),
        batch_max: *random.pick(&[1, 3, 256]),
        bytes_max: *random.pick(&[1, 300, 1 << 20]),
        window_bytes_max: *random.pick(&[1, 1000, 16 << 20]),
        requests_max: *random.pick(&[1, 4, 4096, 4096]),
        fetch_max: *random.pick(&[1, 3, 256]),
        pre_vote: random.percent(85),
        snapshot_every: *random.pick(&[0, 1, 2, 4, 8, 32, 32]),
        tail: *random.pick(&[0, 2, 16, 1024]),
        tail_bytes: *random.pick(&[200, 64 << 20]),
        kept_bytes: *random.pick(&[200, 512 << 20]),
        patience: *random.pick(&[1, 5, 40]),
        source_patience: *random.pick(&[1, 4, 20]),
    }
}

fn weather(random: &mut Random) -> Weather {
    let delay = random.pick(&[(20, 80), (100, 500), (200, 4000), (1000, 15_000)]).range();
    let chance = |random: &mut Random| *random.pick(&[0, 0, 1, 5, 15]);
    Weather {
        delay,
        late: *random.pick(&[0, 1, 5]),
        lost: chance(random),
        repeated: chance(random),
        altered: *random.pick(&[0, 0, 1, 3]),
        ordered: random.percent(40),
    }
}

trait AsRange {
    fn range(&self) -> Range<Time>;
}

impl AsRange for (Time, Time) {
    fn range(&self) -> Range<Time> {
        self.0..self.1
    }
}
