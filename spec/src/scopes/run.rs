//! The scopes as the command line runs them.

use super::referee::Referee;
use super::{Scope, Variation, catalogue, story};
use crate::cli::{Catalogue, Exhibit, RunOptions, ScopeInfo, ScopeRun, SimulateOptions};
use crate::engine::{self, Action, DEAD_STAYS_DEAD, Limits, Outcome, Stop, Strategy, System};
use crate::original;
use crate::properties::party::Party;
use crate::report::progress::Progress;
use crate::report::{Counterexample, PropertyReport, ScopeReport, StepKind, StoryStep, Verdict, collision_odds};
use paxos_model::mark::Mark;
use stateright::{Checker, Expectation, Model, UniformChooser};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a counterexample is shortened.
const SHORTENING: Duration = Duration::from_secs(30);

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
            full: true,
            small: scope.small,
        };
        catalogue::scopes().into_iter().map(info).collect()
    }

    fn run(&self, name: &str, options: &RunOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun {
        if let Some(run) = run_original(name) {
            return run;
        }
        let scope = Self::find(name);
        let system = scope.system(Variation { salt: options.salt, reduce: options.reductions });
        let limits = Limits {
            time: options.seconds.map(Duration::from_secs),
            unique: None,
            memory: options.memory_mib.map(|mib| mib << 20),
        };
        let run_options = engine::RunOptions { threads: options.threads, strategy: Strategy::Dfs, limits };
        let outcome = engine::run(&system, &run_options, |now| progress(progress_of(now)));
        let counterexamples =
            outcome.violations.iter().map(|name| counterexample(&scope, &system, &outcome, name)).collect();
        ScopeRun { report: report(&scope, &system, &outcome), counterexamples }
    }

    fn simulate(&self, name: &str, options: &SimulateOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun {
        let scope = Self::find(name);
        let system = scope.system(Variation::default());
        let checker = system
            .clone()
            .checker()
            .threads(options.threads)
            .timeout(Duration::from_secs(options.seconds))
            .spawn_simulation(options.seed, UniformChooser)
            .join();
        let seconds = options.seconds as f64;
        let count = checker.state_count();
        progress(Progress {
            unique_states: count as u64,
            generated_states: count as u64,
            depth: checker.max_depth() as u64,
            queue: None,
            seconds,
        });
        let violated = |name: &str| system.violations_named().contains(&name);
        let discoveries = checker.discoveries();
        let outcome = Outcome {
            unique: count,
            generated: count,
            depth: checker.max_depth(),
            seconds,
            memory_max: engine::resident_bytes(),
            exhausted: false,
            stop: Some(Stop::Time),
            violations: discoveries.keys().copied().filter(|name| violated(name)).collect(),
            discoveries: discoveries.into_iter().map(|(name, path)| (name, path.into_actions())).collect(),
        };
        let counterexamples =
            outcome.violations.iter().map(|name| counterexample(&scope, &system, &outcome, name)).collect();
        ScopeRun { report: report(&scope, &system, &outcome), counterexamples }
    }

    fn explore(&self, name: &str, address: SocketAddr) -> Result<(), String> {
        let system = Self::find(name).system(Variation::default()).with_svg(story::svg);
        let _ = system.checker().threads(2).serve(address);
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
    let rules = system.rules().iter().map(|rule| always(rule.name));
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
            Stop::Time => "the time was up".into(),
            Stop::Unique => "too many states".into(),
            Stop::Memory => "the memory limit was reached".into(),
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

fn counterexample(
    scope: &Scope,
    system: &System<Party, Referee>,
    outcome: &Outcome,
    property: &'static str,
) -> Counterexample {
    let found = &outcome.discoveries[property];
    let limits = Limits { time: Some(SHORTENING), unique: None, memory: None };
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
        steps: story::steps(system, &path),
        explore: format!("#/steps/{}", engine::encode(system, &path)),
    }
}

/// The names under which the command line runs the Go original.
const ORIGINALS: [(&str, &str); 2] = [
    ("original-tie", "the Go original: a tie between two answers, two proposers"),
    ("original-overwritten", "the Go original: a promise overwrites the accepted ballot, three ballots"),
];

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
