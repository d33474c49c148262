//! What a run of the check found, as plain data, and the forms in which it is shown and kept.
//!
//! Nothing here decides anything: a [`Verdict`] is made by the engine, and what the verdicts amount to by [`crate::cli`]. Table, story,
//! diagram and JSON are all rendered from the same values, so they cannot disagree.

pub mod files;
pub mod progress;
pub mod replay;
pub mod story;
pub mod svg;
pub mod table;

use serde::{Deserialize, Serialize};

/// What came of one property in one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds in every reachable state.
    Holds,
    /// A reachable state or step breaks it.
    Violated,
    /// A `sometimes` property: a reachable state shows it.
    Witnessed,
    /// A `sometimes` property that no reachable state shows: the scope is vacuous where it should not be.
    NotWitnessed,
    /// The scope was not exhausted, and nothing was found so far.
    Incomplete,
}

impl Verdict {
    /// The verdict as it is written in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Violated => "violated",
            Verdict::Witnessed => "witnessed",
            Verdict::NotWitnessed => "not_witnessed",
            Verdict::Incomplete => "incomplete",
        }
    }
}

/// One property of a scope, with its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyReport {
    /// The property's name.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of one scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopeReport {
    /// The scope's name.
    pub name: String,
    /// What it is for, in one line.
    pub description: String,
    /// Its bounds, in one line: replicas, slots, ballots, clients, restarts.
    pub bounds: String,
    /// Whether every state within the bounds was visited.
    pub exhausted: bool,
    /// Which limit ended the run, if it was not exhausted.
    pub why_incomplete: Option<String>,
    /// Distinct states.
    pub unique_states: u64,
    /// Transitions generated, including those that led to a known state.
    pub generated_states: u64,
    /// Length of the longest path that was followed.
    pub depth: u64,
    /// Wall time.
    pub seconds: f64,
    /// Transitions generated per second.
    pub states_per_second: f64,
    /// The most memory that the process held up to the end of this scope.
    pub peak_memory_bytes: u64,
    /// Odds that two distinct states shared a 64-bit fingerprint, so that one of them was not visited.
    pub collision_odds: f64,
    /// Every property that was judged.
    pub properties: Vec<PropertyReport>,
}

/// Odds that any two of `unique_states` distinct states share a 64-bit fingerprint: n² / 2^65, an upper bound, at most 1.
pub fn collision_odds(unique_states: u64) -> f64 {
    ((unique_states as f64).powi(2) / 2f64.powi(65)).min(1.0)
}

/// What happens in a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    /// A message arrives.
    Deliver {
        /// Who sent it.
        src: String,
        /// Who receives it.
        dst: String,
        /// The message, readable and short; equal to the label in the sender's [`StoryStep::sends`].
        label: String,
    },
    /// A timer fires.
    Timeout {
        /// Whose timer.
        node: String,
        /// Which timer.
        label: String,
    },
    /// A replica crashes and starts again from what it stored.
    Restart {
        /// Which replica.
        node: String,
    },
}

/// One step of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryStep {
    /// Counted from 1.
    pub number: usize,
    /// Who acts: the name of its lane.
    pub actor: String,
    /// What happens, in one sentence.
    pub what: String,
    /// The same for the diagram.
    #[serde(flatten)]
    pub kind: StepKind,
    /// What changed, as `field: before → after`.
    pub changes: Vec<String>,
    /// What the actor sends: to whom, and the message.
    pub sends: Vec<(String, String)>,
    /// The rules that this step breaks.
    pub broke: Vec<String>,
}

/// A way to break a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterexample {
    /// The scope in which it happens.
    pub scope: String,
    /// The property that it breaks.
    pub property: String,
    /// Which rule broke, and why.
    pub explanation: String,
    /// What happens before, by script: one line each. The steps begin after it.
    #[serde(default)]
    pub beginning: Vec<String>,
    /// What happens, from the state in which the scope begins.
    pub steps: Vec<StoryStep>,
    /// The Explorer's page of the last state: what follows `http://127.0.0.1:3000/` in the address. Empty if it has none.
    pub explore: String,
}

/// The marks on the replica's branches, and which of them no scope reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarksReport {
    /// How many there are.
    pub total: usize,
    /// Those that were not reached: name and meaning.
    pub unreached: Vec<UnreachedMark>,
}

/// A rule-bearing branch of the replica that no scope reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreachedMark {
    /// The mark's name.
    pub name: String,
    /// What reaching it means.
    pub meaning: String,
}

/// Where a counterexample was written, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterexampleSummary {
    /// The scope.
    pub scope: String,
    /// The property.
    pub property: String,
    /// Its number of steps.
    pub steps: usize,
    /// The files that tell it, relative to the workspace.
    pub files: Vec<String>,
}

/// The sums over all scopes of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Distinct states.
    pub unique_states: u64,
    /// Transitions.
    pub generated_states: u64,
    /// Wall time of all of them together, several of which may run side by side.
    pub seconds: f64,
    /// Transitions per second.
    pub states_per_second: f64,
    /// The most memory that the process held.
    pub peak_memory_bytes: u64,
    /// Odds that a fingerprint collision hid a state in any scope.
    pub collision_odds: f64,
}

/// A whole run: what the table shows and `--json` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Each scope, in the order in which they ran.
    pub scopes: Vec<ScopeReport>,
    /// Their sums.
    pub totals: Totals,
    /// Coverage of the replica, if every default scope was run.
    pub marks: Option<MarksReport>,
    /// The violations.
    pub counterexamples: Vec<CounterexampleSummary>,
    /// How the sources and counts compare with the record of the last green check, if every default scope was run.
    pub record: Option<String>,
    /// The exit status of the process.
    pub exit_status: u8,
}

impl Totals {
    /// Sums up `scopes`, which took `seconds` together.
    pub fn of(scopes: &[ScopeReport], seconds: f64) -> Totals {
        let generated_states = scopes.iter().map(|s| s.generated_states).sum();
        Totals {
            unique_states: scopes.iter().map(|s| s.unique_states).sum(),
            generated_states,
            seconds,
            states_per_second: if seconds > 0.0 { generated_states as f64 / seconds } else { 0.0 },
            peak_memory_bytes: scopes.iter().map(|s| s.peak_memory_bytes).max().unwrap_or(0),
            collision_odds: scopes.iter().map(|s| s.collision_odds).sum::<f64>().min(1.0),
        }
    }
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::{Totals, collision_odds, samples};

    #[test]
    fn collision_odds_are_those_of_the_birthday_bound() {
        assert_eq!(collision_odds(0), 0.0);
        assert_eq!(collision_odds(1 << 20), 2f64.powi(-25));
        assert_eq!(collision_odds(u64::MAX), 1.0);
    }

    #[test]
    fn totals_are_sums_and_the_peak_is_a_maximum() {
        let mut other = samples::report("two");
        other.peak_memory_bytes = 7;
        let totals = Totals::of(&[samples::report("one"), other], 1.0);
        assert_eq!((totals.unique_states, totals.generated_states), (2 * 4408, 2 * 20123));
        assert_eq!(totals.peak_memory_bytes, 64 << 20);
        assert_eq!(totals.states_per_second, 2.0 * 20123.0 / 1.0);
    }

    #[test]
    fn a_counterexample_survives_json() {
        let example = samples::counterexample();
        let text = serde_json::to_string(&example).unwrap();
        assert_eq!(serde_json::from_str::<super::Counterexample>(&text).unwrap(), example);
        assert!(text.contains(r#""kind":"deliver""#));
    }
}
