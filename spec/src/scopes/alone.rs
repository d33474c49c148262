//! Scopes without a system of replicas: small enough to be visited whole at once, with nothing to choose at random, and nothing to
//! walk through.

use super::{anywhere, machine};
use crate::engine::resident_bytes;
use crate::report::{Counterexample, PropertyReport, ScopeReport, StepKind, StoryStep, Verdict, collision_odds};
use std::time::Instant;

/// All of them.
pub const ALL: [Alone; 5] =
    [machine::SCOPE, anywhere::SCOPE, anywhere::SCOPE_AT_WORK, anywhere::SCOPE_OF_TWO_SLOTS, anywhere::SCOPE_OF_OWNERS];

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Alone {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Its bounds, in words.
    pub bounds: &'static str,
    /// Whether it is visited by default; by `--full` it is.
    pub default: bool,
    /// The property that it judges.
    pub property: &'static str,
    /// Visits every state.
    pub explore: fn() -> Found,
}

/// What is found by visiting every state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Distinct states.
    pub unique: usize,
    /// Steps taken.
    pub generated: usize,
    /// Steps on the longest of the shortest ways to a state.
    pub depth: usize,
    /// The steps that lead to what is wrong, and what is wrong.
    pub broken: Option<(Vec<String>, String)>,
}

/// The one of that name.
pub fn find(name: &str) -> Option<Alone> {
    ALL.into_iter().find(|alone| alone.name == name)
}

impl Alone {
    /// Visits every state, and tells of it.
    #[allow(clippy::disallowed_methods, reason = "the check is timed; what it checks is not")]
    pub fn run(&self) -> (ScopeReport, Option<Counterexample>) {
        let start = Instant::now();
        let found = (self.explore)();
        self.report(&found, start.elapsed().as_secs_f64(), resident_bytes())
    }

    fn report(&self, found: &Found, seconds: f64, peak_memory_bytes: u64) -> (ScopeReport, Option<Counterexample>) {
        let verdict = if found.broken.is_some() { Verdict::Violated } else { Verdict::Holds };
        let report = ScopeReport {
            name: self.name.into(),
            description: self.description.into(),
            bounds: self.bounds.into(),
            exhausted: found.broken.is_none(),
            why_incomplete: found.broken.as_ref().map(|_| "stopped at a violation".into()),
            unique_states: found.unique as u64,
            generated_states: found.generated as u64,
            depth: found.depth as u64,
            seconds,
            states_per_second: found.generated as f64 / seconds.max(f64::MIN_POSITIVE),
            peak_memory_bytes,
            collision_odds: collision_odds(0),
            properties: vec![PropertyReport { name: self.property.into(), verdict }],
        };
        let counterexample = found.broken.as_ref().map(|(path, why)| Counterexample {
            scope: self.name.into(),
            property: self.property.into(),
            explanation: why.clone(),
            beginning: Vec::new(),
            steps: (1..)
                .zip(path)
                .map(|(number, step)| StoryStep {
                    number,
                    actor: self.name.into(),
                    what: step.clone(),
                    kind: StepKind::Timeout { node: self.name.into(), label: step.clone() },
                    changes: Vec::new(),
                    sends: Vec::new(),
                    broke: if number == path.len() { vec![self.property.into()] } else { Vec::new() },
                })
                .collect(),
            explore: String::new(),
        });
        (report, counterexample)
    }
}
