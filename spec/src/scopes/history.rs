//! Whole runs as runs of the abstract protocol, with one abstract state for all nodes.
//!
//! `refines-spec` judges a step by what it rests on, and concludes by induction what holds of the history, which is a part of no state
//! ([`crate::properties::refines`]). Here the history is kept, and the conclusion looked at: each action that a step is has its guards in
//! the history, all clauses of the proved invariant hold there, and what is stored, sent and known is in it.

use super::referee::Referee;
use super::{Scope, Variation, catalogue};
use crate::engine::{self, random_path};
use crate::properties::audit::Audit;
use crate::properties::refines::{self, Known, Value};
use crate::properties::step::Seen;
use crate::refinement::invariant::clauses;
use crate::refinement::protocol::{Action, Domain};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use std::collections::BTreeSet;

/// Slots beyond those of a scope that a run is held against: where nothing is, and everybody who promises says so.
const BEYOND: Slot = 2;
/// Random runs of each scope.
const RUNS: u64 = 20;

/// Everything that was ever stored and sent.
#[derive(Clone)]
struct History {
    configuration: Configuration,
    domain: Domain,
    /// Every value is known.
    state: Known<Audit>,
}

impl History {
    fn of(scope: &Scope) -> Self {
        let configuration = scope.configuration();
        let domain =
            Domain { quorums: refines::quorums(&configuration), ballots: Vec::new(), slots: 0..scope.slots + BEYOND };
        History { configuration, domain, state: Known::<Audit>::default() }
    }

    /// The actions that a step is, none of which has happened.
    fn actions(&self, seen: &Seen<'_>) -> Result<Vec<Action<Value<Audit>>>, String> {
        refines::actions(&self.configuration, seen)?.into_iter().map(|action| self.with_value(action)).collect()
    }

    /// What a slot held that is truncated is not known to the replica, but here it is.
    fn with_value(&self, action: Action<Value<Audit>>) -> Result<Action<Value<Audit>>, String> {
        let decided = |slot: Slot| {
            let found = self.state.decided.iter().find(|(at, _)| *at == slot).map(|(_, value)| value.clone());
            found.ok_or_else(|| format!("{action:?}, and nothing is decided there"))
        };
        Ok(match action {
            Action::Store { node, slot, value: None } => Action::Store { node, slot, value: decided(slot)? },
            Action::Mark { ballot, slot, value: None } => Action::Mark { ballot, slot, value: decided(slot)? },
            known => known,
        })
    }

    fn take(&mut self, action: &Action<Value<Audit>>) -> Result<(), String> {
        self.state.take(&self.domain, action).map_err(|guard| format!("{action:?} lacks its guard: {guard}"))
    }

    /// Judges what is so after a step.
    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        refines::has_come_about(&self.configuration, &self.domain, &self.state, seen)?;
        // And one below each in which something is proposed, though nobody began it.
        let proposed = self.state.proposals.iter().flat_map(|(ballot, ..)| [*ballot, ballot.before()]);
        let ballots = self.state.promised.values().copied().chain(proposed);
        self.domain.ballots = ballots.collect::<BTreeSet<Ballot>>().into_iter().collect();
        match clauses().into_iter().find(|(_, holds)| !holds(&self.state, &self.domain)) {
            Some((clause, _)) => Err(format!("{clause} does not hold of {:?}", self.state)),
            None => Ok(()),
        }
    }

    /// Takes a step, and returns how many actions it was.
    fn step(&mut self, seen: &Seen<'_>) -> Result<usize, String> {
        let actions = self.actions(seen)?;
        actions.iter().try_for_each(|action| self.take(action))?;
        self.judge(seen)?;
        Ok(actions.len())
    }
}

/// Random runs of a scope, after its beginning: `each` is called on every step of a replica, with the history before it.
fn on_steps(scope: &Scope, runs: u64, mut each: impl FnMut(&History, &Seen<'_>)) {
    let step = |history: &mut History, seen: &Seen<'_>, place: &str| {
        history.step(seen).unwrap_or_else(|why| panic!("{}, {place}: {why}", scope.name));
    };
    let mut begun = History::of(scope);
    for played in scope.begin(None).expect("it can begin").steps {
        if let Some(seen) = played.seen() {
            each(&begun, &seen);
            step(&mut begun, &seen, "in its beginning");
        }
    }
    let system = scope.system(Variation::default()).expect("it can begin");
    for run in 0..runs {
        let mut history = begun.clone();
        for record in engine::replay(&system, &random_path(&system, 1, run)) {
            let sends: Vec<_> = record.sends.iter().map(|(dst, message, _)| (*dst, message.clone())).collect();
            if let Some(seen) = Referee::seen_of_path(&record, &sends) {
                each(&history, &seen);
                step(&mut history, &seen, &format!("run {run}"));
            }
        }
    }
}

/// The name of an action.
fn kind(action: &Action<Value<Audit>>) -> &'static str {
    match action {
        Action::Promise { .. } => "Promise",
        Action::Propose { .. } => "Propose",
        Action::CastVote { .. } => "CastVote",
        Action::Decide { .. } => "Decide",
        Action::Mark { .. } => "Mark",
        Action::DecideMarked { .. } => "DecideMarked",
        Action::Store { .. } => "Store",
    }
}

const KINDS: [&str; 7] = ["CastVote", "Decide", "DecideMarked", "Mark", "Promise", "Propose", "Store"];

#[test]
fn the_history_of_a_run_is_one_of_the_abstract_protocol() {
    let mut kinds = BTreeSet::new();
    for scope in catalogue::scopes() {
        on_steps(&scope, RUNS, |history, seen| {
            kinds.extend(history.actions(seen).iter().flatten().map(kind));
        });
    }
    assert_eq!(kinds, KINDS.into());
}

/// By the guards of what follows, or by what is stored, sent or known then; if it changed anything.
#[test]
fn an_action_that_is_left_out_is_missed() {
    let mut missed = BTreeSet::new();
    for scope in catalogue::scopes() {
        on_steps(&scope, 1, |history, seen| {
            let actions = history.actions(seen).expect("the step is one of the abstract protocol");
            let mut whole = history.clone();
            actions.iter().for_each(|action| whole.take(action).expect("it has its guards"));
            for (place, action) in actions.iter().enumerate() {
                let mut without = history.clone();
                let mut others = actions.iter().enumerate().filter(|(other, _)| *other != place);
                let taken = others.all(|(_, other)| without.take(other).is_ok());
                if !taken || without.judge(seen).is_err() {
                    missed.insert(kind(action));
                } else if without.state != whole.state {
                    // What a leader says of its decisions is looked at when it says it.
                    assert_eq!(kind(action), "Mark", "{}: {action:?} is not missed", scope.name);
                }
            }
        });
    }
    // What a leader marked it has decided before.
    assert_eq!(missed, KINDS.into_iter().filter(|kind| *kind != "DecideMarked").collect());
}
