//! A path through a scope, told.

use super::prefix::{Broken, Played};
use super::referee::{INDUCTIVE_INVARIANT, Referee};
use super::words::{self, Fields, Words};
use crate::engine::{self, Action, State, StepRecord, System};
use crate::properties::audit::Audit;
use crate::properties::judge::Rule;
use crate::properties::party::Party;
use crate::report::svg::sequence_diagram;
use crate::report::{StepKind, StoryStep};
use paxos_model::replica::Timer;
use paxos_model::replica::message::MessageOf;
use paxos_model::trace::Input;
use stateright::actor::{Actor, Id};

/// The steps of a path, in words.
pub fn steps(system: &System<Party, Referee>, path: &[Action]) -> Vec<StoryStep> {
    let states = engine::walk(system, path);
    let records = engine::replay(system, path);
    let broke = |index: usize| {
        let named = system.violated(&states[index + 1]);
        if named.is_empty() {
            return Vec::new();
        }
        let reasons = reasons(system, &states[index], &states[index + 1], &records[index]);
        let reason = |name: &str| reasons.iter().find(|(rule, _)| rule.name() == name).map(|(_, why)| why);
        let told = |name: &str| reason(name).map_or_else(|| name.to_owned(), |why| format!("{name}: {why}"));
        named.into_iter().map(told).collect()
    };
    let told = records
        .iter()
        .enumerate()
        .map(|(index, record)| StoryStep { broke: broke(index), ..step(system, index + 1, record) });
    told.collect()
}

/// The rules that a step breaks, each with the reason; a history is told by its answers.
fn reasons(
    system: &System<Party, Referee>,
    before: &State,
    after: &State,
    record: &StepRecord<Party>,
) -> Vec<(Rule, String)> {
    let mut reasons = system.universe().ghost().reasons(system.view(before).record(), record);
    for (_, why) in reasons.iter_mut().filter(|(rule, _)| *rule == Rule::Linearizable) {
        let told = words::record(system.view(after).record()).into_iter().filter(|(name, _)| name.starts_with("item "));
        let told: Vec<String> = told.map(|(name, value)| format!("{name}: {value}")).collect();
        *why = format!("no order explains these answers: {}", told.join("; "));
    }
    reasons
}

fn step(system: &System<Party, Referee>, number: usize, record: &StepRecord<Party>) -> StoryStep {
    let fields = |local: &engine::Local<Party>| words::local(&local.state, &local.stored, &local.timers);
    let told = Told::<Audit> {
        node: record.node,
        input: &record.input,
        before: fields(&record.before),
        after: fields(&record.after),
        same: record.before == record.after,
        saved: record.saved,
        sends: record.sends.iter().filter(|(_, _, new)| *new).map(|(dst, message, _)| (*dst, message)).collect(),
    };
    told.step(number, |node| system.who(node))
}

/// The steps of a scripted beginning that ends in a violation.
pub fn played(parties: &[Party], broken: &Broken) -> Vec<StoryStep> {
    let who = |node: usize| {
        parties.get(node).map_or_else(|| format!("client {node}"), |party| format!("{} {node}", party.name()))
    };
    let fields = |seat: &super::prefix::Seat| words::local(&seat.state, &seat.stored, &seat.timers);
    let step = |(number, step): (usize, &Played)| {
        let told = Told::<Audit> {
            node: step.node,
            input: &step.input,
            before: fields(&step.before),
            after: fields(&step.after),
            same: step.before == step.after,
            saved: step.saved,
            sends: step.sends.iter().map(|(dst, message)| (*dst, message)).collect(),
        };
        told.step(number, who)
    };
    let mut steps: Vec<StoryStep> = (1..).zip(&broken.steps).map(step).collect();
    if let Some(last) = steps.last_mut() {
        last.broke = broken.properties.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    }
    steps
}

/// A step, wherever it was taken.
pub(crate) struct Told<'a, S: Words> {
    pub(crate) node: usize,
    pub(crate) input: &'a Input<MessageOf<S>, Timer>,
    pub(crate) before: Fields,
    pub(crate) after: Fields,
    /// Whether nothing changed.
    pub(crate) same: bool,
    pub(crate) saved: bool,
    pub(crate) sends: Vec<(Id, &'a MessageOf<S>)>,
}

impl<S: Words> Told<'_, S> {
    /// In words; `who` names a node or a client.
    pub(crate) fn step(self, number: usize, who: impl Fn(usize) -> String) -> StoryStep {
        let actor = who(self.node);
        let (what, kind) = match self.input {
            Input::Start => (format!("{actor} crashes and starts again"), StepKind::Restart { node: actor.clone() }),
            Input::Timeout(timer) => {
                let label = words::timer(timer);
                (format!("{actor}: its {label} timer runs out"), StepKind::Timeout { node: actor.clone(), label })
            }
            Input::Deliver { src, msg } => {
                let (src, label) = (who(usize::from(*src)), words::message::<S>(msg));
                let what = format!("{actor} receives {label} from {src}");
                (what, StepKind::Deliver { src, dst: actor.clone(), label })
            }
        };
        let changed = engine::changes(&self.before, &self.after);
        let mut changes: Vec<String> =
            changed.iter().map(|(name, before, after)| format!("{name}: {before} → {after}")).collect();
        if changes.is_empty() && !self.same {
            changes.push("something that is not shown".into());
        }
        if self.saved {
            changes.push("saves".into());
        }
        let sends = self.sends.iter().map(|(dst, message)| (who(usize::from(*dst)), words::message::<S>(message)));
        StoryStep { number, what, kind, changes, sends: sends.collect(), actor, broke: Vec::new() }
    }
}

/// Why the last step of a path, or the state that it leads to, breaks `property`.
pub fn why(system: &System<Party, Referee>, path: &[Action], property: &str) -> String {
    let states = engine::walk(system, path);
    let records = engine::replay(system, path);
    let amiss = |state| match property {
        "timers-set" => Referee::timer_amiss(&system.view(state)),
        INDUCTIVE_INVARIANT => {
            let referee = system.universe().ghost();
            let mut told = system.view(state).told().into_iter();
            let clause = told.find_map(|(topic, facts)| referee.clause_broken(topic, facts.into_iter()));
            clause.map(|clause| format!("the clause {clause} of the invariant does not hold"))
        }
        _ => system.universe().ghost().no_progress(&system.view(state)),
    };
    let (Some(last), Some(state)) = (records.last(), states.last()) else {
        return amiss(system.start()).unwrap_or_else(|| format!("{property} is broken at the start"));
    };
    if let Some(said) = &last.panicked {
        return format!("a handler panicked: {said}");
    }
    let reasons = reasons(system, &states[states.len().saturating_sub(2)], state, last);
    let reason = reasons.into_iter().find(|(rule, _)| rule.name() == property).map(|(_, why)| why);
    reason.or_else(|| amiss(state)).unwrap_or_else(|| property.into())
}

/// The sequence diagram of a path, for the Explorer.
pub fn svg(system: &System<Party, Referee>, records: &[StepRecord<Party>]) -> Option<String> {
    let lanes: Vec<String> = (0..system.universe().actors().len()).map(|index| system.who(index)).collect();
    let steps: Vec<StoryStep> = (1..).zip(records).map(|(number, record)| step(system, number, record)).collect();
    Some(sequence_diagram(&lanes, &steps))
}
