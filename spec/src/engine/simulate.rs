//! Random runs: for scopes too large to exhaust. They refute, and prove nothing.
//!
//! Run number r of a seed makes the same choices in every process, whatever the threads: what is drawn depends on both
//! numbers alone, and the actions of a state have one order. Only how many runs fit into the time differs.

use super::run::{Outcome, Progress, Stop, now, resident_bytes};
use super::state::{Action, State};
use super::system::System;
use super::{Ghost, Subject};
use stateright::{Expectation, Model};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Steps after which a run that could go on is ended.
const STEPS_MAX: usize = 2_000;
/// How often progress is told.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// How to follow random runs.
#[derive(Clone, Copy, Debug)]
pub struct SimulationOptions {
    /// How many threads walk; 0 counts as 1.
    pub threads: usize,
    /// The seed.
    pub seed: u64,
    /// The number of the first run.
    pub first: u64,
    /// For how long.
    pub time: Duration,
    /// After how many distinct steps of nodes to end, since each is remembered.
    pub steps_max: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// As of an exhaustive run, but that distinct states are not counted; never exhausted.
    pub outcome: Outcome,
    /// The number of the first run that was not followed.
    pub next: u64,
    /// The run that broke a rule.
    pub violating: Option<u64>,
}

/// Follows random runs from the start of the scope until a rule is broken, the time is up, or too much is remembered.
pub fn simulate<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    options: &SimulationOptions,
    mut progress: impl FnMut(&Progress),
) -> Simulation {
    let started = now();
    let walk = Walk {
        system,
        seed: options.seed,
        next: AtomicU64::new(options.first),
        steps: AtomicUsize::new(0),
        depth: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        found: Mutex::default(),
    };
    let mut memory_max = 0;
    std::thread::scope(|scope| {
        let walkers: Vec<_> = (0..options.threads.max(1)).map(|_| scope.spawn(|| walk.runs())).collect();
        while !walkers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let (elapsed, memory) = (started.elapsed(), resident_bytes());
            memory_max = memory_max.max(memory);
            let (generated, depth) = (walk.steps.load(Ordering::Relaxed), walk.depth.load(Ordering::Relaxed));
            progress(&Progress { generated, unique: 0, depth, elapsed, memory });
            if elapsed >= options.time || system.universe().sizes()[3] >= options.steps_max {
                walk.stop.store(true, Ordering::Relaxed);
            }
            std::thread::park_timeout(SAMPLE_EVERY.min(options.time.saturating_sub(elapsed)));
        }
    });
    let found = walk.found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut discoveries = found.witnesses;
    let mut violations = Vec::new();
    let violating = found.violation.as_ref().map(|(run, _, _)| *run);
    if let Some((_, names, path)) = found.violation {
        for name in names {
            violations.push(name);
            discoveries.insert(name, path.clone());
        }
    }
    let outcome = Outcome {
        unique: 0,
        generated: walk.steps.into_inner(),
        depth: walk.depth.into_inner(),
        seconds: started.elapsed().as_secs_f64(),
        memory_max,
        exhausted: false,
        stop: Some(if violations.is_empty() { Stop::Time } else { Stop::Violation }),
        discoveries,
        violations,
    };
    Simulation { outcome, next: walk.next.into_inner(), violating }
}

type Violation = (u64, Vec<&'static str>, Vec<Action>);

#[derive(Default)]
struct Found {
    /// The violation of the run with the lowest number.
    violation: Option<Violation>,
    witnesses: BTreeMap<&'static str, Vec<Action>>,
}

struct Walk<'a, A: Subject, G: Ghost<A>> {
    system: &'a System<A, G>,
    seed: u64,
    next: AtomicU64,
    steps: AtomicUsize,
    depth: AtomicUsize,
    stop: AtomicBool,
    found: Mutex<Found>,
}

impl<A: Subject, G: Ghost<A>> Walk<'_, A, G> {
    /// Follows one run after the other.
    fn runs(&self) {
        // The start belongs to all runs.
        if !self.note(0, self.system.start(), &[], &mut 0) {
            return;
        }
        let mut seen = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let run = self.next.fetch_add(1, Ordering::Relaxed);
            self.run(run, &mut seen);
        }
    }

    fn run(&self, number: u64, seen: &mut u64) {
        let mut run = RandomRun::new(self.system, self.seed, number);
        while !self.stop.load(Ordering::Relaxed) && run.goes_on() {
            if !self.note(number, &run.state, &run.path, seen) {
                break;
            }
        }
        self.steps.fetch_add(run.path.len(), Ordering::Relaxed);
        self.depth.fetch_max(run.path.len(), Ordering::Relaxed);
    }

    /// Judges a state; false if it breaks a rule. `seen`: the witnesses that this thread knows to be found.
    fn note(&self, run: u64, state: &State, path: &[Action], seen: &mut u64) -> bool {
        let always = self.system.shared.always;
        let truth = self.system.truth(state, always | !*seen);
        let witnessed = truth & !always & !*seen;
        if witnessed != 0 {
            *seen |= witnessed;
            let mut found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for (index, predicate) in self.system.predicates().iter().enumerate() {
                if witnessed & 1 << index != 0 && predicate.expectation == Expectation::Sometimes {
                    found.witnesses.entry(predicate.name).or_insert_with(|| path.to_vec());
                }
            }
        }
        if state.broken == 0 && truth & always == always {
            return true;
        }
        let names = self.system.violated(state);
        let mut found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if found.violation.as_ref().is_none_or(|(other, _, _)| run < *other) {
            found.violation = Some((run, names, path.to_vec()));
        }
        self.stop.store(true, Ordering::Relaxed);
        false
    }
}

/// The actions of random run `number` of a seed, from the start of the scope to where nothing can happen any more, or to the longest that a run may be.
#[cfg(test)]
pub fn random_path<A: Subject, G: Ghost<A>>(system: &System<A, G>, seed: u64, number: u64) -> Vec<Action> {
    let mut run = RandomRun::new(system, seed, number);
    while run.goes_on() {}
    run.path
}

/// One random run, as far as it has come.
struct RandomRun<'a, A: Subject, G: Ghost<A>> {
    system: &'a System<A, G>,
    random: Random,
    state: State,
    path: Vec<Action>,
    /// What can happen in the state; kept for its memory.
    actions: Vec<Action>,
}

impl<'a, A: Subject, G: Ghost<A>> RandomRun<'a, A, G> {
    fn new(system: &'a System<A, G>, seed: u64, number: u64) -> Self {
        let (random, state) = (Random::new(seed, number), system.start().clone());
        RandomRun { system, random, state, path: Vec::new(), actions: Vec::new() }
    }

    /// Takes one action that leads somewhere; false if there is none, or the run is long enough.
    fn goes_on(&mut self) -> bool {
        if self.path.len() == STEPS_MAX {
            return false;
        }
        self.actions.clear();
        self.system.list(&self.state, &mut self.actions);
        while !self.actions.is_empty() {
            let action = self.actions.swap_remove(self.random.below(self.actions.len()));
            if let Some(next) = self.system.next_state(&self.state, action) {
                self.path.push(action);
                self.state = next;
                return true;
            }
        }
        false
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): written out, so that a seed means the same in every version.
struct Random(u64);

impl Random {
    fn new(seed: u64, run: u64) -> Self {
        let mut mixed = Random(seed);
        Random(mixed.next() ^ run.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small: the bias is beyond notice.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
