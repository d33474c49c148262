//! The loop of a node, its storage and codec, with time, network and disks simulated from a seed: a short life of a cluster with faults, that
//! they end, and the judgement of what clients saw and of what the nodes have.
//!
//! A life is a function of its seed and of these sources: another one of the same seed does the same, event by event, and so has the same
//! digest. What is simulated is what `src/node/run.rs` does with threads and channels, what the transport does with sockets, and what the
//! clients do over HTTP; everything between is what is deployed.

pub(crate) mod answers;
pub(crate) mod clients;
pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod inflict;
#[path = "../../support/judge/mod.rs"]
pub(crate) mod judge;
pub(crate) mod life;
pub(crate) mod network;
pub(crate) mod plan;
#[path = "../../support/random.rs"]
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod requests;
pub(crate) mod watch;

pub(crate) use judge::history::Time;
use life::Life;
use paxos::Machine;
use plan::Plan;
use random::Random;
use record::Record;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Counts the lives whose stores are those of LMDB.
pub(crate) const ON_DISK: &str = "lives with stores of LMDB";
/// What must happen in some of so many lives as are lived in a test: or faults do nothing, or lives go another way than they are meant to.
pub(crate) const EFFECTS: [&str; 19] = [
    ON_DISK,
    "altered messages",
    "answers to a fetch",
    "commits",
    "commits not written at a crash",
    "commits without room",
    "commits written at a crash",
    "crashes of all",
    "failed commits",
    "leaders",
    "looks for room",
    "messages cut off",
    "messages lost",
    "messages repeated",
    "messages too many",
    "requests sent again",
    "snapshots installed",
    "snapshots taken",
    "turns put off by a pause",
];

/// How many of the last events a failure tells.
const TOLD: usize = 60;

/// What came of a life.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) seed: u64,
    /// Of everything that happened.
    pub(crate) digest: u64,
    pub(crate) events: u64,
    /// How much time went by in it, in microseconds.
    pub(crate) time: Time,
    pub(crate) operations: u64,
    /// How often what happened that a life may be without.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) verdict: Result<(), String>,
}

/// Lives the life of `seed`.
pub(crate) fn live(seed: u64) -> Lived {
    attempt(seed, 0).0
}

/// Of all that is drawn for the life of `seed` before it begins. A seed of which it is another one now means another life.
pub(crate) fn drawn(seed: u64) -> u64 {
    let mut random = Random::new(seed, 0);
    let plan = Plan::draw(&mut random);
    let mut hasher = DefaultHasher::new();
    format!("{plan:?} {:?}", faults::schedule(&plan, &mut random)).hash(&mut hasher);
    hasher.finish()
}

/// Lives it, keeping the last `keep` events in words.
fn attempt(seed: u64, keep: usize) -> (Lived, Vec<String>) {
    let mut random = Random::new(seed, 0);
    let plan = Plan::draw(&mut random);
    let mut life = Life::new(seed, plan, random, Record::new(keep));
    // A node's assertions hold, or the life fails by them.
    let verdict = catch_unwind(AssertUnwindSafe(|| life.live())).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("no panic: {}", said.unwrap_or("it does not say why")))
    });
    let (time, operations, record) = life.end();
    let (digest, events, counts) = (record.digest(), record.events, record.counts.clone());
    (Lived { seed, digest, events, time, operations, counts, verdict }, record.last())
}

/// A life that failed: its seed, its verdict, what it is like, and the last that happened.
pub(crate) struct Failure(Lived);

impl Lived {
    /// What to print if it failed.
    pub(crate) fn failure(self) -> Option<Failure> {
        self.verdict.is_err().then_some(Failure(self))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.0.seed;
        // The same again, in words.
        let (again, events) = attempt(seed, TOLD);
        writeln!(f, "seed {seed}: {}", self.0.verdict.as_ref().err().map_or("", String::as_str))?;
        writeln!(f, "drawn: {:#018x}; {:#?}", drawn(seed), Plan::draw(&mut Random::new(seed, 0)))?;
        writeln!(f, "the last of {} events:", again.events)?;
        events.iter().try_for_each(|event| writeln!(f, "{event:.400}"))?;
        write!(f, "again: tests/simulation/run --seed {seed} --lives 1")
    }
}
