//! What is done to the nodes and when: a function of the seed alone. Whom a fault hits may depend on who leads by then.

use super::proxy::{State, Weather};
use super::random::Random;

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Leader,
    /// So many places after the leader.
    Other(usize),
    All,
}

/// What is left of the links between nodes, counted from the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The leader and as many others as are still no majority, on one side.
    LeaderInMinority,
    /// A minority without the leader.
    OthersInMinority,
    /// All reach each other through one that does not lead, only.
    Star,
    /// Each reaches its neighbours only; the leader is at the end.
    Chain,
    /// The leader hears nobody, and is heard.
    DeafLeader,
    /// Nobody hears the leader, which hears all.
    MuteLeader,
    /// No link at all.
    Nothing,
    /// Every directed link by itself, with even odds; the bits say which are up.
    Any(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill(Who),
    /// Asks it to stop, as an operator does.
    Stop(Who),
    Hang(Who),
    Partition(Shape, State),
    /// The same weather on all links.
    Weather(Weather),
    /// So many microseconds before each write and sync.
    SlowDisk(Who, u32),
    /// All are killed while their disks are slow: what was not yet written is lost.
    KillAllAtSlowDisks(u32),
    /// All are killed while their disks are full: what was answered meanwhile must have been stored somewhere.
    KillAllAtFullDisks,
    FailingDisk(Who),
    FullDisk(Who),
    /// Wall clocks jump, each node's in its own direction.
    Clocks(i64),
    /// One that is far behind is brought up, and the leader is killed so many milliseconds after it begins to be.
    KillInTransfer(u64),
}

/// One fault, and another one in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) pause_ms: u64,
    pub(crate) fault: Fault,
    pub(crate) also: Option<Fault>,
    pub(crate) hold_ms: u64,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill(Who::Leader) => "kill the leader",
            Fault::Kill(Who::Other(_)) => "kill a follower",
            Fault::Kill(Who::All) => "kill all",
            Fault::Stop(_) => "stop and start",
            Fault::Hang(Who::Leader) => "the leader hangs",
            Fault::Hang(_) => "a follower hangs",
            Fault::Partition(Shape::LeaderInMinority, _) => "partition: leader in the minority",
            Fault::Partition(Shape::OthersInMinority, _) => "partition: followers in the minority",
            Fault::Partition(Shape::Star, _) => "partition: star",
            Fault::Partition(Shape::Chain, _) => "partition: chain",
            Fault::Partition(Shape::DeafLeader, _) => "partition: one way, deaf leader",
            Fault::Partition(Shape::MuteLeader, _) => "partition: one way, mute leader",
            Fault::Partition(Shape::Nothing, _) => "partition: no links",
            Fault::Partition(Shape::Any(_), _) => "partition: any links",
            Fault::Weather(Weather { corruption: 1.., .. }) => "packets: corrupted",
            Fault::Weather(_) => "packets: delayed, lost, repeated, overtaking",
            Fault::SlowDisk(..) => "slow disk",
            Fault::KillAllAtSlowDisks(_) => "kill all at slow disks",
            Fault::KillAllAtFullDisks => "kill all at full disks",
            Fault::FailingDisk(_) => "failing disk",
            Fault::FullDisk(_) => "full disk",
            Fault::Clocks(_) => "wall clocks jump",
            Fault::KillInTransfer(_) => "kill the leader in a snapshot transfer",
        }
    }
}

fn who(random: &mut Random, nodes: usize) -> Who {
    if random.percent(50) { Who::Leader } else { other(random, nodes) }
}

fn other(random: &mut Random, nodes: usize) -> Who {
    Who::Other(1 + random.below(nodes as u64 - 1) as usize)
}

fn state(random: &mut Random) -> State {
    if random.percent(50) { State::Cut } else { State::Stalled }
}

/// One fault of each kind, in a random order.
fn deck(random: &mut Random, nodes: usize) -> Vec<Fault> {
    let weather =
        Weather { delay_ms: random.within(5..60), loss: random.within(5..30), duplication: 20, ..Weather::default() };
    let corrupting = Weather { corruption: random.within(1..10), ..Weather::default() };
    let shapes = [
        Shape::LeaderInMinority,
        Shape::OthersInMinority,
        Shape::Star,
        Shape::Chain,
        Shape::DeafLeader,
        Shape::MuteLeader,
        Shape::Nothing,
        Shape::Any(random.next()),
    ];
    let mut deck = vec![
        Fault::Kill(Who::Leader),
        Fault::Kill(other(random, nodes)),
        Fault::Kill(Who::All),
        Fault::Stop(who(random, nodes)),
        Fault::Hang(Who::Leader),
        Fault::Hang(other(random, nodes)),
        Fault::Weather(weather),
        Fault::Weather(corrupting),
        Fault::SlowDisk(who(random, nodes), random.within(2_000..80_000) as u32),
        Fault::KillAllAtSlowDisks(random.within(20_000..80_000) as u32),
        Fault::KillAllAtFullDisks,
        Fault::FailingDisk(who(random, nodes)),
        Fault::FullDisk(who(random, nodes)),
        Fault::Clocks(random.within(1_000..1_000_000_000) as i64),
        Fault::KillInTransfer(random.below(150)),
    ];
    deck.extend(shapes.map(|shape| Fault::Partition(shape, state(random))));
    for last in (1..deck.len()).rev() {
        deck.swap(last, random.below(last as u64 + 1) as usize);
    }
    deck
}

/// The steps of `ms` milliseconds, with faults only whose names contain `only`; `weather` says whether packets can be delayed and the like.
pub(crate) fn schedule(seed: u64, nodes: usize, ms: u64, only: &str, weather: bool) -> Vec<Step> {
    let mut random = Random::new(seed, 0);
    let (mut steps, mut deck_left, mut time) = (Vec::new(), Vec::new(), 0);
    while time < ms {
        let Some(fault) = deck_left.pop() else {
            deck_left = deck(&mut random, nodes);
            deck_left.retain(|fault| fault.name().contains(only) && (weather || !matches!(fault, Fault::Weather(_))));
            if deck_left.is_empty() {
                return Vec::new();
            }
            continue;
        };
        let also = match fault {
            // What they do has a course of its own.
            Fault::KillInTransfer(_) | Fault::KillAllAtSlowDisks(_) | Fault::KillAllAtFullDisks => None,
            _ if only.is_empty() && random.percent(25) => Some(match random.below(if weather { 3 } else { 2 }) {
                0 => Fault::Kill(who(&mut random, nodes)),
                1 => Fault::Hang(who(&mut random, nodes)),
                _ => Fault::Weather(Weather { delay_ms: 20, loss: 10, duplication: 10, ..Weather::default() }),
            }),
            _ => None,
        };
        let step = Step { pause_ms: random.within(100..700), fault, also, hold_ms: random.within(300..1800) };
        time += step.pause_ms + step.hold_ms;
        steps.push(step);
    }
    steps
}
