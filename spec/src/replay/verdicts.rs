//! What came of a replay, and by which rules.

use super::shown::Shown;
use crate::engine::NO_PANIC;
use crate::properties::judge::Rule;
use crate::report::{Counterexample, StoryStep};
use stateright::actor::Id;
use std::collections::VecDeque;

/// What is judged at the border between the actor, the disk and the network.
pub(super) const AT_BORDER: [&str; 4] =
    ["released-after-commit", "starts-from-what-it-saved", "sent-before-received", "same-outputs"];
/// The rules of a scope's steps that are judged.
const OF_STEPS: [Rule; 9] = [
    Rule::PromisesKept,
    Rule::OneAnswer,
    Rule::AnswersFit,
    Rule::ExactlyOnce,
    Rule::TimersAsLong,
    Rule::Bounded,
    Rule::Snapshots,
    Rule::RefinesSpec,
    Rule::SameAnswerAgain,
];
/// Those of its history.
const OF_HISTORY: [Rule; 5] =
    [Rule::Agreement, Rule::OneValueABallot, Rule::DecidedIsChosen, Rule::Validity, Rule::Prefix];
/// Steps that are told of a counterexample.
const TOLD: usize = 40;

/// The rules that were broken, with the reasons.
#[derive(Debug, Default)]
pub(super) struct Broken(pub(super) Vec<(&'static str, String)>);

impl Broken {
    pub(super) fn add(&mut self, rule: impl Into<RuleName>, why: String) {
        self.0.push((rule.into().0, why));
    }
}

/// The name of a rule.
pub(super) struct RuleName(&'static str);

impl From<Rule> for RuleName {
    fn from(rule: Rule) -> Self {
        RuleName(rule.name())
    }
}

impl From<&'static str> for RuleName {
    fn from(name: &'static str) -> Self {
        RuleName(name)
    }
}

/// What came of a replay.
pub struct Replayed {
    /// The digest of the protocol that the nodes were built from.
    pub protocol: String,
    /// The name of their cluster.
    pub cluster: String,
    /// How many nodes were followed.
    pub nodes: usize,
    /// Their lives.
    pub lives: u64,
    /// The steps that were taken again.
    pub steps: u64,
    /// Messages whose sending is not in the traces.
    pub nowhere: u64,
    /// The commits.
    pub commits: u64,
    /// The slots in which something was chosen by votes in the traces.
    pub chosen: usize,
    /// The rules, in order: whether each was judged (else why not), and broken.
    pub rules: Vec<Judged>,
    /// What was broken, with the reason: all of one step.
    pub broken: Vec<(String, String)>,
    /// The latest steps, the last of which broke it if anything did.
    pub(super) shown: VecDeque<Shown>,
    pub(super) members: Vec<Id>,
}

impl Replayed {
    /// The latest steps, told.
    pub(super) fn story(&self) -> Vec<StoryStep> {
        let is_member = |node| self.members.contains(&node);
        (1..).zip(&self.shown).map(|(number, shown)| shown.told(number, is_member)).collect()
    }

    /// What was broken, told like that of a scope; the last steps before it only.
    pub fn counterexample(&self) -> Option<Counterexample> {
        let (property, _) = self.broken.first()?;
        let reasons: Vec<String> = self.broken.iter().map(|(rule, why)| format!("{rule}: {why}")).collect();
        let mut steps = self.story();
        let left_out = steps.len().saturating_sub(TOLD);
        steps.drain(..left_out);
        for (number, step) in (1..).zip(&mut steps) {
            step.number = number;
        }
        let before = self.steps - steps.len() as u64;
        Some(Counterexample {
            scope: super::NAME.into(),
            property: property.clone(),
            explanation: reasons.join("\n"),
            beginning: vec![format!("{before} steps of {} nodes, in the traces", self.nodes)],
            steps,
            explore: String::new(),
        })
    }
}

/// What came of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its name.
    pub name: &'static str,
    /// Why it was not judged, or not everywhere.
    pub limited: Option<&'static str>,
}

/// The names of all rules by which a replay judges.
pub fn names() -> Vec<&'static str> {
    rules(true, false).into_iter().map(|judged| judged.name).collect()
}

/// What a rule at the border is limited to where something is missing in the traces.
fn limited_at_border(name: &str) -> Option<&'static str> {
    match AT_BORDER.iter().position(|other| *other == name)? {
        0 => Some("not judged of what was saved before the traces begin"),
        1 => Some("where something is missing, judged of what must never go back"),
        2 => Some("judged of who has all its traces, and of what others put out in theirs"),
        _ => None,
    }
}

/// Every rule, with what it was limited to: whether all is in the traces, and whether votes may not be.
pub(super) fn rules(complete: bool, unseen: bool) -> Vec<Judged> {
    let limited = |rule: Rule| match rule {
        Rule::Validity if !complete => Some("not judged: what clients asked is not all in the traces"),
        Rule::DecidedIsChosen if unseen => Some("judged in slots in which all votes are in the traces"),
        Rule::Agreement | Rule::OneValueABallot if !complete => Some("judged of the votes in the traces"),
        _ => None,
    };
    let border = |name: &'static str| Judged { name, limited: if complete { None } else { limited_at_border(name) } };
    let of = |rule: &Rule| Judged { name: rule.name(), limited: limited(*rule) };
    let rules = AT_BORDER.into_iter().map(border).chain([Judged { name: NO_PANIC, limited: None }]);
    rules.chain(OF_STEPS.iter().chain(&OF_HISTORY).map(of)).collect()
}
