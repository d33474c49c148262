//! Runs: exhausting a scope on `stateright`'s checkers, and shortening what was found.
//!
//! A checker of `stateright` says that it is done after a limit, too, and one that runs on a single thread doesn't look at
//! its timeout. So limits are watched here, and end a run by letting states have no successors any more; whether a state
//! was denied its successors decides whether the run was exhaustive.

use super::state::{Action, State};
use super::system::{Control, Focus, System};
use super::{Ghost, Subject};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often progress is told and limits are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// In which order states are visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Depth first: the fastest, and the least memory.
    #[default]
    Dfs,
    /// Breadth first: short counterexamples.
    Bfs,
}

/// When a run ends although there are states left. `None`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time.
    pub time: Option<Duration>,
    /// Distinct states.
    pub unique: Option<usize>,
    /// Resident memory of the process, in bytes.
    pub memory: Option<u64>,
}

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// How many threads search; 0 counts as 1.
    pub threads: usize,
    /// The order.
    pub strategy: Strategy,
    /// The limits.
    pub limits: Limits,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Transitions generated, with the initial state.
    pub generated: usize,
    /// Distinct states.
    pub unique: usize,
    /// The longest path so far, in states.
    pub depth: usize,
    /// Time since the start.
    pub elapsed: Duration,
    /// Resident memory of the process, in bytes.
    pub memory: u64,
}

/// Why a run ended before the states did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A property was violated.
    Violation,
    /// The time was up.
    Time,
    /// There were too many states.
    Unique,
    /// There was too little memory.
    Memory,
    /// A thread of the checker panicked.
    Panic(String),
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Distinct states.
    pub unique: usize,
    /// Transitions generated, with the initial state.
    pub generated: usize,
    /// The longest path, in states.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// The most memory that was seen resident, in bytes.
    pub memory_max: u64,
    /// Every reachable state was visited and had its successors generated.
    pub exhausted: bool,
    /// Why not, where not.
    pub stop: Option<Stop>,
    /// A path to a violation of each property violated, and to a witness of each witness found.
    pub discoveries: BTreeMap<&'static str, Vec<Action>>,
    /// The properties violated: names of [`Outcome::discoveries`].
    pub violations: Vec<&'static str>,
}

impl Outcome {
    /// Transitions per second.
    pub fn rate(&self) -> f64 {
        self.generated as f64 / self.seconds.max(1e-9)
    }
}

/// Visits every state of the scope, up to the first violation or a limit.
///
/// `progress` is called every 200 ms, and once at the end.
pub fn run<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    options: &RunOptions,
    progress: impl FnMut(&Progress),
) -> Outcome {
    search(system, options, None, None, progress)
}

/// Visits states up to the first violation, or witness, of the property `name` alone.
///
/// States that break other rules have successors here, so that one violation doesn't hide another. Whether the scope was
/// exhausted is told as by [`run`]; the discovery stands under the property's name. `None`: the system has no such property.
pub fn seek<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    name: &str,
    options: &RunOptions,
    progress: impl FnMut(&Progress),
) -> Option<Outcome> {
    Some(search(system, options, Some(focus(system, name)?), None, progress))
}

/// Looks for a shorter path to a violation or witness of the property `name`, of which one with `found` actions is known.
///
/// Breadth first, again below what was found until nothing is: with several threads the first path found need not be the
/// shortest. `None`: no shorter one was found in that time and memory.
pub fn shorten<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    name: &str,
    found: usize,
    options: &RunOptions,
) -> Option<Vec<Action>> {
    let focus = focus(system, name)?;
    let started = now();
    let mut shortest: Option<Vec<Action>> = None;
    loop {
        // A path with n actions has n + 1 states, and states from the target depth on are left out.
        let depth_max = shortest.as_ref().map_or(found, Vec::len);
        let mut options = RunOptions { strategy: Strategy::Bfs, ..*options };
        if let Some(time) = &mut options.limits.time {
            *time = time.checked_sub(started.elapsed())?;
        }
        if depth_max == 0 {
            return shortest;
        }
        let outcome = search(system, &options, Some(focus), Some(depth_max + 1), |_| {});
        match outcome.discoveries.get(focus.name) {
            Some(path) if path.len() < depth_max => shortest = Some(path.clone()),
            _ => return shortest,
        }
    }
}

/// `path` without the actions that its last state breaks the property `name` without, too.
///
/// One action after the other is left out, and what is then not possible any more with it. The result is no longer than the
/// path, and need not be the shortest: for paths too long to be searched for again.
pub fn thin<A: Subject, G: Ghost<A>>(system: &System<A, G>, name: &str, path: &[Action]) -> Vec<Action> {
    let Some(focus) = focus(system, name) else { return path.to_vec() };
    let system = system.controlled(Control { focus: Some(focus), ..Control::default() });
    let mut path = path.to_vec();
    loop {
        let length = path.len();
        for place in (0..length).rev() {
            if place < path.len()
                && let Some(shorter) = without(&system, name, &path, place)
            {
                path = shorter;
            }
        }
        if path.len() == length {
            return path;
        }
    }
}

/// The path without the action at `place`, up to the first state that breaks `name`, if there is one.
fn without<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    name: &str,
    path: &[Action],
    place: usize,
) -> Option<Vec<Action>> {
    let mut state = system.start().clone();
    let mut taken = Vec::with_capacity(path.len());
    for action in path[..place].iter().chain(&path[place + 1..]) {
        if !system.possible(&state, *action) {
            continue;
        }
        let Some(next) = system.next_state(&state, *action) else { continue };
        taken.push(*action);
        if system.violated(&next).contains(&name) {
            return Some(taken);
        }
        state = next;
    }
    None
}

fn focus<A: Subject, G: Ghost<A>>(system: &System<A, G>, name: &str) -> Option<Focus> {
    if let Some(rule) = system.rules().iter().find(|rule| rule.name == name) {
        return Some(Focus { name: rule.name, broken: rule.bit, always: 0, never: 0 });
    }
    let index = system.predicates().iter().position(|predicate| predicate.name == name)?;
    let predicate = &system.predicates()[index];
    let (always, never) = match predicate.expectation {
        Expectation::Sometimes => (0, 1 << index),
        _ => (1 << index, 0),
    };
    Some(Focus { name: predicate.name, broken: 0, always, never })
}

fn search<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    options: &RunOptions,
    focus: Option<Focus>,
    depth_max: Option<usize>,
    progress: impl FnMut(&Progress),
) -> Outcome {
    // A search with a focus is after one thing: witnesses count as found.
    let found = if focus.is_some() { u64::MAX } else { 0 };
    let system = system.controlled(Control { lean: true, focus, found: found.into(), ..Control::default() });
    let mut builder = system.clone().checker().threads(options.threads.max(1)).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth_max) = depth_max {
        builder = builder.target_max_depth(depth_max);
    }
    match options.strategy {
        Strategy::Dfs => watch(&system, builder.spawn_dfs(), &options.limits, progress),
        Strategy::Bfs => watch(&system, builder.spawn_bfs(), &options.limits, progress),
    }
}

fn watch<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    mut checker: impl Checker<System<A, G>>,
    limits: &Limits,
    mut progress: impl FnMut(&Progress),
) -> Outcome {
    let started = now();
    let control = Arc::clone(&system.control);
    let handles = checker.handles();
    let (done, ended) = channel();
    let joiner = std::thread::spawn(move || {
        let results: Vec<_> = handles.into_iter().map(std::thread::JoinHandle::join).collect();
        let _ = done.send(());
        results.into_iter().find_map(Result::err).map(|said| {
            let text = said.downcast_ref::<&str>().map(|text| (*text).to_string());
            text.or_else(|| said.downcast_ref::<String>().cloned()).unwrap_or_default()
        })
    });
    let mut stop = None;
    let mut memory_max = 0;
    loop {
        let running = ended.recv_timeout(SAMPLE_EVERY) == Err(RecvTimeoutError::Timeout);
        let memory = resident_bytes();
        memory_max = memory_max.max(memory);
        let sample = Progress {
            generated: checker.state_count(),
            unique: checker.unique_state_count(),
            depth: checker.max_depth(),
            elapsed: started.elapsed(),
            memory,
        };
        progress(&sample);
        if !running {
            break;
        }
        if stop.is_none() {
            stop = if limits.time.is_some_and(|time| sample.elapsed >= time) {
                Some(Stop::Time)
            } else if limits.unique.is_some_and(|unique| sample.unique >= unique) {
                Some(Stop::Unique)
            } else if limits.memory.is_some_and(|bytes| memory >= bytes) {
                Some(Stop::Memory)
            } else {
                None
            };
            if stop.is_some() {
                control.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let panicked = joiner.join().unwrap_or_else(|_| Some("the checker's threads could not be joined".to_string()));
    // Paths are walked again from here on, which takes successors.
    control.stop.store(false, Ordering::Relaxed);
    let cut = control.cut.load(Ordering::Relaxed);
    let mut discoveries = BTreeMap::new();
    let mut violations = Vec::new();
    if panicked.is_none() {
        for (name, path) in checker.discoveries() {
            note(system, name, path, &mut discoveries, &mut violations);
        }
    }
    let violated = control.violated.load(Ordering::Relaxed);
    let stop = match panicked {
        Some(said) => Some(Stop::Panic(said)),
        None if violated => Some(Stop::Violation),
        None => stop.filter(|_| cut),
    };
    Outcome {
        unique: checker.unique_state_count(),
        generated: checker.state_count(),
        depth: checker.max_depth(),
        seconds,
        memory_max,
        exhausted: stop.is_none() && !cut,
        stop,
        discoveries,
        violations,
    }
}

/// Files a path of the checker under the names of what it shows.
fn note<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    name: &'static str,
    path: Path<State, Action>,
    discoveries: &mut BTreeMap<&'static str, Vec<Action>>,
    violations: &mut Vec<&'static str>,
) {
    let violated = if name == super::properties::EVERY_RULE { system.violated(path.last_state()) } else { Vec::new() };
    let actions = path.into_actions();
    if let Some(focus) = &system.control.focus {
        discoveries.insert(focus.name, actions);
        if focus.never == 0 {
            violations.push(focus.name);
        }
    } else if name == super::properties::EVERY_RULE {
        for name in violated {
            discoveries.insert(name, actions.clone());
            violations.push(name);
        }
    } else {
        discoveries.insert(name, actions);
    }
}

/// The time, for how long a check took.
#[allow(clippy::disallowed_methods, reason = "the check is timed; what it checks is not")]
pub fn now() -> Instant {
    Instant::now()
}

/// The resident memory of this process, in bytes; 0 where the system doesn't tell.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/status").ok();
    let kilobytes = pages.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    kilobytes.unwrap_or(0) * 1024
}
