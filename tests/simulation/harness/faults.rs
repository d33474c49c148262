//! What goes wrong in a life, and when.

use super::Time;
use super::disk::Full;
use super::plan::{MS, Plan};
use super::random::Random;

/// What of a commit that is under way when its node dies is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Written {
    Nothing,
    All,
}

/// What begins, or ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// A node dies.
    Crash(Whom, Written),
    /// All do.
    CrashAll(Written),
    /// Its next commit fails, written or not, and it ends.
    FailCommit(Whom, bool),
    /// It does nothing until then.
    Pause(Whom, Time),
    /// Its commits take so many times as long.
    Slow(Whom, Time),
    Full(Whom, Full),
    NearlyFull(Whom),
    /// All links between it and others, out, in, or both.
    Isolate(Whom, bool, bool),
    /// The links are mended, and those of the leader cut. One time after the other, so that each leader leaves something behind that those
    /// before it come back with.
    Rotate,
    /// Each link by itself, by a coin.
    CutAtRandom(u64),
    /// Those below this number from the others.
    Split(usize),
    /// So many of 100 messages are lost in addition.
    Loss(u64),
    /// The links are as they were at first, and so are the disks.
    Mend,
    /// All faults end for good.
    End,
}

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whom {
    Node(usize),
    /// Whoever leads then.
    Leader,
}

/// The faults of a life with their times.
pub(crate) fn schedule(plan: &Plan, random: &mut Random) -> Vec<(Time, Fault)> {
    let mut steps = vec![(plan.faults_until, Fault::End)];
    for _ in 0..plan.faults {
        let at = random.below(plan.faults_until);
        steps.push((at, draw(plan, random)));
        if random.percent(60) {
            steps.push((at + random.within(5..400) * MS, Fault::Mend));
        }
    }
    if let Some(every) = plan.rotation {
        let mut at = every;
        while at < plan.faults_until {
            steps.push((at, Fault::Rotate));
            at += random.within(every / 2..every * 2);
        }
    }
    steps.retain(|(at, fault)| *at < plan.faults_until || *fault == Fault::End);
    steps
}

fn draw(plan: &Plan, random: &mut Random) -> Fault {
    let nodes = plan.nodes;
    let whom = if random.percent(40) { Whom::Leader } else { Whom::Node(random.below(nodes as u64) as usize) };
    let written = *random.pick(&[Written::Nothing, Written::All]);
    match random.below(16) {
        0..4 => Fault::Crash(whom, written),
        4 => Fault::CrashAll(written),
        5 => Fault::FailCommit(whom, random.percent(50)),
        6 => Fault::Pause(whom, random.within(20..800) * MS),
        7 => Fault::Slow(whom, random.within(3..100)),
        8 => Fault::Full(whom, *random.pick(&[Full::Log, Full::All])),
        // With its next vote a voter learns that it is so no more; what a learner stores is little, and seldom.
        9 if plan.configuration.members.len() == plan.configuration.voters().count() => Fault::NearlyFull(whom),
        10..12 => {
            let (out, inward) = *random.pick(&[(true, true), (true, false), (false, true)]);
            Fault::Isolate(whom, out, inward)
        }
        12 => Fault::CutAtRandom(random.within(10..70)),
        13..15 => Fault::Split(random.within(1..nodes.max(2) as u64) as usize),
        _ => Fault::Loss(random.within(10..70)),
    }
}
