//! A path through a scope, told.

use super::referee::Referee;
use crate::engine::{self, Action, StepRecord, System};
use crate::properties::party::{Msg, Party, PartyState};
use crate::report::svg::sequence_diagram;
use crate::report::{StepKind, StoryStep};
use paxos_model::trace::Input;
use stateright::actor::Actor;

/// The name of a party's lane.
fn lane(system: &System<Party, Referee>, index: usize) -> String {
    match system.universe().actors().get(index) {
        Some(party) => format!("{} {index}", party.name()),
        None => format!("client {index}"),
    }
}

fn label(message: &Msg) -> String {
    format!("{message:?}")
}

/// The steps of a path, in words.
pub fn steps(system: &System<Party, Referee>, path: &[Action]) -> Vec<StoryStep> {
    let states = engine::walk(system, path);
    let records = engine::replay(system, path);
    (1..)
        .zip(records.iter().zip(states.iter().skip(1)))
        .map(|(number, (record, after))| StoryStep {
            broke: system.violated(after).into_iter().map(str::to_owned).collect(),
            ..step(system, number, record)
        })
        .collect()
}

fn step(system: &System<Party, Referee>, number: usize, record: &StepRecord<Party>) -> StoryStep {
    let actor = lane(system, record.node);
    let (what, kind) = match &record.input {
        Input::Start => (format!("{actor} crashes and starts again"), StepKind::Restart { node: actor.clone() }),
        Input::Timeout(timer) => {
            let kind = StepKind::Timeout { node: actor.clone(), label: format!("{timer:?}") };
            (format!("{timer:?} runs out at {actor}"), kind)
        }
        Input::Deliver { src, msg } => {
            let src = lane(system, usize::from(*src));
            let kind = StepKind::Deliver { src: src.clone(), dst: actor.clone(), label: label(msg) };
            (format!("{actor} receives from {src}: {}", label(msg)), kind)
        }
    };
    let sends = record.sends.iter().filter(|(_, _, new)| *new);
    StoryStep {
        number,
        what,
        kind,
        changes: changes(record),
        sends: sends.map(|(dst, message, _)| (lane(system, usize::from(*dst)), label(message))).collect(),
        actor,
        broke: Vec::new(),
    }
}

fn changes(record: &StepRecord<Party>) -> Vec<String> {
    let mut changes = Vec::new();
    let mut compare = |name: &str, before: String, after: String| {
        if before != after {
            changes.push(format!("{name}: {before} → {after}"));
        }
    };
    match (&record.before.state, &record.after.state) {
        (PartyState::Replica(before), PartyState::Replica(after)) => {
            compare("durable", format!("{:?}", before.durable), format!("{:?}", after.durable));
            compare("role", format!("{:?}", before.role), format!("{:?}", after.role));
            compare("following", format!("{:?}", before.following), format!("{:?}", after.following));
            compare("outbid", format!("{:?}", before.outbid), format!("{:?}", after.outbid));
            compare("executor", format!("{:?}", before.executor), format!("{:?}", after.executor));
            compare("gateway", format!("{:?}", before.gateway), format!("{:?}", after.gateway));
        }
        (before, after) => compare("client", format!("{before:?}"), format!("{after:?}")),
    }
    compare("stored", format!("{:?}", record.before.stored), format!("{:?}", record.after.stored));
    changes
}

/// Why the last step of a path, or the state that it leads to, breaks `property`.
pub fn why(system: &System<Party, Referee>, path: &[Action], property: &str) -> String {
    let states = engine::walk(system, path);
    let records = engine::replay(system, path);
    let (Some(last), Some(state)) = (records.last(), states.last()) else {
        return format!("{property} is broken at the start");
    };
    if let Some(said) = &last.panicked {
        return format!("a handler panicked: {said}");
    }
    let view = system.view(&states[states.len().saturating_sub(2)]);
    let reasons = system.universe().ghost().reasons(view.record(), last);
    let reason = reasons.into_iter().find(|(rule, _)| rule.name() == property).map(|(_, why)| why);
    reason.or_else(|| system.universe().ghost().no_progress(&system.view(state))).unwrap_or_else(|| property.into())
}

/// The sequence diagram of a path, for the Explorer.
pub fn svg(system: &System<Party, Referee>, records: &[StepRecord<Party>]) -> Option<String> {
    let lanes: Vec<String> = (0..system.universe().actors().len()).map(|index| lane(system, index)).collect();
    let steps: Vec<StoryStep> = (1..).zip(records).map(|(number, record)| step(system, number, record)).collect();
    Some(sequence_diagram(&lanes, &steps))
}
