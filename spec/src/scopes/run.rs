//! The scopes as the command line runs them.

use super::prefix::{BEGINNING, Broken, Play};
use super::referee::Referee;
use super::{Scope, Variation, alone, catalogue, story};
use crate::cli::{Catalogue, Exhibit, RunOptions, ScopeInfo, ScopeRun, SimulateOptions};
use crate::engine::{self, Action, DEAD_STAYS_DEAD, Limits, NO_PANIC, Outcome, Stop, Strategy, System};
use crate::original;
use crate::properties::party::Party;
use crate::report::progress::Progress;
use crate::report::{Counterexample, PropertyReport, ScopeReport, StepKind, StoryStep, Verdict, collision_odds};
use paxos_model::mark::Mark;
use stateright::{Expectation, Model};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a counterexample of random runs is shortened.
const SHORTENING: Duration = Duration::from_secs(30);
/// Distinct steps of nodes after which random runs go on with an empty memory.
const REMEMBERED_MAX: usize = 2_000_000;

/// Every scope, and the Go original.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scopes;

impl Scopes {
    fn find(name: &str) -> Scope {
        catalogue::find(name).expect("the command line asks only for scopes that are listed")
    }
}

impl Catalogue for Scopes {
    fn scopes(&self) -> Vec<ScopeInfo> {
        let info = |scope: Scope| ScopeInfo {
            name: scope.name.into(),
            description: scope.description.into(),
            default: scope.default,
            small: scope.small,
        };
        let without_replicas = alone::ALL.map(|alone| ScopeInfo {
            name: alone.name.into(),
            description: alone.description.into(),
            default: alone.default,
            small: false,
        });
        catalogue::scopes().into_iter().map(info).chain(without_replicas).collect()
    }

    fn run(&self, name: &str, options: &RunOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun {
        if let Some(run) = run_without_replicas(name) {
            return run;
        }
        let scope = Self::find(name);
        let sought = options.property.as_deref();
        let system = match scope.system(Variation { salt: options.salt, reduce: options.reductions, sought }) {
            Ok(system) => system,
            Err(broken) => return spoilt(&scope, &broken, options.reductions),
        };
        let limits = Limits {
            time: options.seconds.map(Duration::from_secs),
            unique: None,
            memory: options.memory_mib.map(|mib| mib << 20),
        };
        let run_options = engine::RunOptions { threads: options.threads, strategy: Strategy::Dfs, limits };
        let mut progress = |now: &engine::Progress| progress(progress_of(now));
        let found = sought.and_then(|property| engine::seek(&system, property, &run_options, &mut progress));
        let outcome = found.unwrap_or_else(|| engine::run(&system, &run_options, progress));
        let shortening = Duration::from_secs(options.shortening_seconds);
        let tell = |name: &&'static str| counterexample(&scope, &system, &outcome, name, shortening);
        let counterexamples = outcome.violations.iter().map(tell).collect();
        let mut report = report(&scope, &system, &outcome);
        if let Some(property) = &options.property {
            report.properties.retain(|reported| reported.name == *property);
        }
        ScopeRun { report, counterexamples }
    }

    fn simulate(&self, name: &str, options: &SimulateOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun {
        if let Some(run) = run_without_replicas(name) {
            return run;
        }
        let scope = Self::find(name);
        let mut walk = engine::SimulationOptions {
            threads: options.threads,
            seed: options.seed,
            first: 0,
            time: Duration::from_secs(options.seconds),
            steps_max: REMEMBERED_MAX,
        };
        let mut total: Option<Outcome> = None;
        loop {
            let system = match scope.system(Variation::default()) {
                Ok(system) => system,
                Err(broken) => return spoilt(&scope, &broken, true),
            };
            let before = total.as_ref().map_or((0, 0.0), |total| (total.generated, total.seconds));
            let found = engine::simulate(&system, &walk, |now| {
                let now = progress_of(now);
                let generated_states = now.generated_states + before.0 as u64;
                progress(Progress { generated_states, seconds: now.seconds + before.1, ..now });
            });
            let mut outcome = found.outcome;
            walk.first = found.next;
            walk.time = walk.time.saturating_sub(Duration::from_secs_f64(outcome.seconds));
            if let Some(earlier) = total.take() {
                outcome.generated += earlier.generated;
                outcome.seconds += earlier.seconds;
                outcome.depth = outcome.depth.max(earlier.depth);
                outcome.memory_max = outcome.memory_max.max(earlier.memory_max);
                for (name, path) in earlier.discoveries {
                    outcome.discoveries.entry(name).or_insert(path);
                }
            }
            if outcome.violations.is_empty() && !walk.time.is_zero() {
                total = Some(outcome);
                continue;
            }
            let tell = |name: &&'static str| counterexample(&scope, &system, &outcome, name, SHORTENING);
            let counterexamples = outcome.violations.iter().map(tell).collect();
            let mut report = report(&scope, &system, &outcome);
            report.why_incomplete = Some(match found.violating {
                Some(run) => format!("stopped at run {run} of seed {}", options.seed),
                None => format!("{} runs of seed {}", walk.first, options.seed),
            });
            return ScopeRun { report, counterexamples };
        }
    }

    fn properties(&self, name: &str, reductions: bool) -> Vec<String> {
        if let Some(alone) = alone::find(name) {
            return vec![alone.property.into()];
        }
        let judged = judged(&Self::find(name), reductions).into_iter();
        judged.filter(|name| !name.starts_with("sometimes ")).map(str::to_owned).collect()
    }

    fn begin(&self, name: &str) -> Result<(), String> {
        if alone::find(name).is_some() {
            return Err("it has no replicas to walk through".into());
        }
        Self::find(name).begin(None).map(|_| ()).map_err(|broken| format!("its beginning breaks {}", broken.why()))
    }

    fn explore(&self, name: &str, address: SocketAddr) -> Result<(), String> {
        let system = Self::find(name).system(Variation::default()).map_err(|broken| broken.why())?;
        let _ = system.with_svg(story::svg).checker().threads(2).serve(address);
        Ok(())
    }

    fn exhibits(&self) -> Vec<Exhibit> {
        let exhibit = |(name, claim): (&str, &str)| Exhibit {
            scope: name.into(),
            property: original::AGREEMENT.into(),
            claim: claim.into(),
        };
        ORIGINALS.map(exhibit).to_vec()
    }

    fn marks(&self) -> Vec<(String, String, bool)> {
        let mark = |mark: &Mark| (format!("{mark:?}"), mark.meaning().trim().to_owned(), mark.reached());
        Mark::ALL.iter().map(mark).collect()
    }
}

fn progress_of(now: &engine::Progress) -> Progress {
    Progress {
        unique_states: now.unique as u64,
        generated_states: now.generated as u64,
        depth: now.depth as u64,
        queue: None,
        seconds: now.elapsed.as_secs_f64(),
    }
}

fn report(scope: &Scope, system: &System<Party, Referee>, outcome: &Outcome) -> ScopeReport {
    let violated: BTreeSet<&str> = outcome.violations.iter().copied().collect();
    let always = |name: &'static str| PropertyReport {
        name: name.into(),
        verdict: match (violated.contains(name), outcome.exhausted) {
            (true, _) => Verdict::Violated,
            // Without it nothing would have been visited.
            _ if name == BEGINNING => Verdict::Holds,
            (false, true) => Verdict::Holds,
            (false, false) => Verdict::Incomplete,
        },
    };
    let sometimes = |name: &'static str| PropertyReport {
        name: name.into(),
        verdict: match (outcome.discoveries.contains_key(name), outcome.exhausted) {
            (true, _) => Verdict::Witnessed,
            (false, true) => Verdict::NotWitnessed,
            (false, false) => Verdict::Incomplete,
        },
    };
    let begins = (!scope.prefix.is_empty()).then(|| always(BEGINNING));
    let rules = system.rules().iter().map(|rule| always(rule.name)).chain(begins);
    let predicates = system.predicates().iter().map(|predicate| match predicate.expectation {
        Expectation::Sometimes => sometimes(predicate.name),
        _ => always(predicate.name),
    });
    ScopeReport {
        name: scope.name.into(),
        description: scope.description.into(),
        bounds: scope.bounds(),
        exhausted: outcome.exhausted,
        why_incomplete: outcome.stop.as_ref().map(|stop| match stop {
            Stop::Violation => "stopped at a violation".into(),
            Stop::Time => "the time was up (see --seconds)".into(),
            Stop::Unique => "too many states".into(),
            Stop::Memory => "the memory limit was reached (see --memory-mib)".into(),
            Stop::Panic(said) => format!("the checker panicked: {said}"),
        }),
        unique_states: outcome.unique as u64,
        generated_states: outcome.generated as u64,
        depth: outcome.depth as u64,
        seconds: outcome.seconds,
        states_per_second: outcome.rate(),
        peak_memory_bytes: outcome.memory_max,
        collision_odds: collision_odds(outcome.unique as u64),
        properties: rules.chain(predicates).collect(),
    }
}

/// The names of the properties that are judged in a scope.
fn judged(scope: &Scope, reductions: bool) -> Vec<&'static str> {
    let referee = Referee::new(scope.clone(), scope.judge());
    let rules = engine::Ghost::rules(&referee).into_iter().map(|rule| rule.name);
    let own = [(NO_PANIC, true), (DEAD_STAYS_DEAD, reductions), (BEGINNING, !scope.prefix.is_empty())];
    let own = own.into_iter().filter(|(_, judged)| *judged).map(|(name, _)| name);
    let predicates = engine::Ghost::predicates(&referee).into_iter().map(|predicate| predicate.name);
    rules.chain(own).chain(predicates).collect()
}

/// A scope whose scripted beginning is a violation: nothing can be explored from there.
pub(super) fn spoilt(scope: &Scope, broken: &Broken, reductions: bool) -> ScopeRun {
    let violated = |name: &str| broken.properties.iter().any(|(other, _)| *other == name);
    let properties = judged(scope, reductions).into_iter().map(|name| PropertyReport {
        name: name.into(),
        verdict: if violated(name) { Verdict::Violated } else { Verdict::Incomplete },
    });
    let report = ScopeReport {
        name: scope.name.into(),
        description: scope.description.into(),
        bounds: scope.bounds(),
        exhausted: false,
        why_incomplete: Some("its scripted beginning is broken".into()),
        unique_states: 0,
        generated_states: 0,
        depth: broken.steps.len() as u64,
        seconds: 0.0,
        states_per_second: 0.0,
        peak_memory_bytes: engine::resident_bytes(),
        collision_odds: 0.0,
        properties: properties.collect(),
    };
    let steps = story::played(&scope.parties(), broken);
    let counterexamples = broken.properties.iter().map(|(property, why)| Counterexample {
        scope: scope.name.into(),
        property: (*property).into(),
        explanation: format!("In the scope's scripted beginning, of which only the steps that matter are told:\n{why}"),
        beginning: Vec::new(),
        steps: steps.clone(),
        explore: String::new(),
    });
    ScopeRun { report, counterexamples: counterexamples.collect() }
}

fn counterexample(
    scope: &Scope,
    system: &System<Party, Referee>,
    outcome: &Outcome,
    property: &'static str,
    shortening: Duration,
) -> Counterexample {
    let found = engine::thin(system, property, &outcome.discoveries[property]);
    let limits = Limits { time: Some(shortening), unique: None, memory: None };
    let options = engine::RunOptions { threads: 1, strategy: Strategy::Bfs, limits };
    let path: Vec<Action> = engine::shorten(system, property, found.len(), &options).unwrap_or_else(|| found.clone());
    let mut explanation = story::why(system, &path, property);
    if property == DEAD_STAYS_DEAD {
        explanation = system.universe().revived().into_iter().next().unwrap_or_default();
    }
    Counterexample {
        scope: scope.name.into(),
        property: property.into(),
        explanation,
        beginning: scope.prefix.iter().map(Play::tell).collect(),
        steps: story::steps(system, &path),
        explore: format!("#/steps/{}", engine::encode(system, &path)),
    }
}

/// The names under which the command line runs the Go original.
const ORIGINALS: [(&str, &str); 2] = [
    ("original-tie", "the Go original: a tie between two answers, two proposers"),
    ("original-overwritten", "the Go original: a promise overwrites the accepted ballot, three ballots"),
];

/// Runs what has nothing to choose at random, and nothing to walk through: it is small, and visited whole.
fn run_without_replicas(name: &str) -> Option<ScopeRun> {
    if let Some(alone) = alone::find(name) {
        let (report, counterexample) = alone.run();
        return Some(ScopeRun { report, counterexamples: counterexample.into_iter().collect() });
    }
    run_original(name)
}

fn run_original(name: &str) -> Option<ScopeRun> {
    let index = ORIGINALS.iter().position(|(other, _)| *other == name)?;
    let (mechanism, scope) = original::SCOPES[index];
    let found = original::find_disagreement(mechanism, scope, original::AGREEMENT);
    let verdict = if found.is_some() { Verdict::Violated } else { Verdict::Holds };
    let (unique, generated) = found.as_ref().map_or((0, 0), |e| (e.unique_states as u64, e.generated_states as u64));
    let report = ScopeReport {
        name: name.into(),
        description: ORIGINALS[index].1.into(),
        bounds: "3 nodes, one slot".into(),
        exhausted: found.is_none(),
        why_incomplete: None,
        unique_states: unique,
        generated_states: generated,
        depth: found.as_ref().map_or(0, |e| e.steps.len() as u64),
        seconds: 0.0,
        states_per_second: 0.0,
        peak_memory_bytes: engine::resident_bytes(),
        collision_odds: collision_odds(unique),
        properties: vec![PropertyReport { name: original::AGREEMENT.into(), verdict }],
    };
    let counterexamples = found
        .map(|exhibit| Counterexample {
            scope: name.into(),
            property: original::AGREEMENT.into(),
            explanation: exhibit.broken,
            beginning: Vec::new(),
            steps: (1..)
                .zip(exhibit.steps)
                .map(|(number, line)| StoryStep {
                    number,
                    actor: "original".into(),
                    kind: StepKind::Timeout { node: "original".into(), label: line.clone() },
                    what: line,
                    changes: Vec::new(),
                    sends: Vec::new(),
                    broke: Vec::new(),
                })
                .collect(),
            explore: String::new(),
        })
        .into_iter()
        .collect();
    Some(ScopeRun { report, counterexamples })
}
