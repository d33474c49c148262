//! A counterexample as exact inputs and outputs, for who repeats it with something else than the check: the nodes that are deployed.
//!
//! Nothing more is kept of a counterexample than what is told of it; its address in the Explorer names every action, so the rest is found
//! again by walking there.

use super::{Counterexample, StepKind, StoryStep};
use crate::engine::{self, Action, System};
use crate::properties::audit::{Audit, Tagged};
use crate::properties::party::{Msg, Party, PartyState, Stored};
use crate::scopes::prefix::{self, Play, Played};
use crate::scopes::referee::Referee;
use crate::scopes::{Scope, Variation, catalogue, words};
use paxos_model::kv::{Place, Versioned};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::Entry;
use paxos_model::replica::{Options, Replica, Role, Timer};
use paxos_model::trace::Input;
use serde::Serialize;
use stateright::Model;
use stateright::actor::Id;
use std::collections::BTreeSet;

/// The address of a state in the Explorer begins with this.
const STEPS: &str = "#/steps/0";

/// Everything that it takes to repeat a counterexample.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// Nodes below this number are replicas, the others clients.
    pub replicas: usize,
    /// Who the members are.
    pub configuration: Configuration,
    /// The replicas' options.
    pub options: Options,
    /// So many of the steps are the scope's scripted beginning.
    pub beginning: usize,
    /// The steps after everybody has started for the first time.
    pub steps: Vec<Step>,
}

/// A step: what goes in, and all that comes out.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Who takes it.
    pub node: usize,
    /// What makes it take it.
    pub input: Input<Msg, Timer>,
    /// What it sends, each message once.
    pub sends: Vec<(Id, Msg)>,
    /// What it saves, if it does.
    pub saves: Option<Saved>,
    /// What can be seen of it afterwards, if it is a replica.
    pub after: Option<Seen>,
}

/// What a replica says of itself.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// `leader`, `candidate` or `follower`.
    pub role: &'static str,
    /// Whom it follows, itself included.
    pub leader: Option<Id>,
    /// The highest ballot promised.
    pub promised: Ballot,
    /// Every slot below is decided there.
    pub decided: Slot,
    /// Every slot below is applied there.
    pub applied: Slot,
    /// Requests of clients that it has under way.
    pub requests: usize,
    /// How many sessions are open.
    pub sessions: usize,
    /// The timers that are set.
    pub timers: BTreeSet<Timer>,
    /// The store, without the count that the check keeps beside it.
    pub store: Vec<(Place, Versioned)>,
}

impl Seen {
    fn of<'a>(state: &PartyState, timers: impl IntoIterator<Item = &'a Timer>) -> Option<Seen> {
        let state = state.replica()?;
        let role = match state.role {
            Role::Leading(_) => "leader",
            Role::Following => "follower",
            Role::Polling { .. } | Role::Preparing(_) => "candidate",
        };
        Some(Seen {
            role,
            leader: state.following.map(|ballot| ballot.node),
            promised: state.durable.promised,
            decided: state.durable.decided,
            applied: state.executor.applied,
            requests: state.gateway.writes.len() + state.gateway.reads.len(),
            sessions: state.executor.sessions.len(),
            timers: timers.into_iter().cloned().collect(),
            store: state.executor.machine.kv.items(None).collect(),
        })
    }
}

/// What is durable, but for what a snapshot holds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// The highest ballot promised.
    pub promised: Ballot,
    /// What was decided when that promise was made.
    pub promised_at: Slot,
    /// Every slot below is decided.
    pub decided: Slot,
    /// The count of the node's sessions.
    pub incarnation: u64,
    /// The slot of the snapshot.
    pub snapshot: Slot,
    /// The ballot of the latest vote for each slot.
    pub accepted: Vec<(Slot, Ballot)>,
    /// The entries.
    pub log: Vec<(Slot, Entry<Tagged>)>,
}

impl Saved {
    fn of(stored: &Stored) -> Saved {
        Saved {
            promised: stored.promised,
            promised_at: stored.promised_at,
            decided: stored.decided,
            incarnation: stored.incarnation,
            snapshot: stored.snapshot.applied,
            accepted: stored.accepted.iter().map(|(slot, ballot)| (*slot, *ballot)).collect(),
            log: stored.log.iter().map(|(slot, entry)| (*slot, entry.clone())).collect(),
        }
    }
}

impl Replay {
    /// Of a counterexample; none if it is not one of replicas, leads nowhere, or leads elsewhere than its story.
    pub fn of(example: &Counterexample) -> Option<Replay> {
        let scope = catalogue::find(&example.scope)?;
        let (mut steps, mut beginning) = (Vec::new(), 0);
        let sought = Some(example.property.as_str());
        match scope.system(Variation { sought, ..Variation::default() }) {
            Err(broken) => steps.extend(broken.steps.into_iter().map(played)),
            Ok(system) => {
                steps.extend(scripted(&scope, sought));
                beginning = steps.len();
                let walked = walked(&system, &actions(&system, &example.explore)?);
                // The address is of the system that was checked; without reductions its places are others in this one.
                if !tell_the_same(&system, &walked, &example.steps) {
                    return None;
                }
                steps.extend(walked);
            }
        }
        let Replica { options, .. } = scope.nodes().into_iter().next()?;
        let configuration = scope.judge().configuration;
        Some(Replay { replicas: scope.replicas, configuration, options, beginning, steps })
    }
}

/// The steps of a scope's scripted beginning.
fn scripted(scope: &Scope, sought: Option<&str>) -> Vec<Step> {
    // A script that cannot go on tells all its steps; one that can, only where it ends.
    let script: Vec<Play> = scope.prefix.iter().cloned().chain([Play::Admit(usize::MAX)]).collect();
    let broken = prefix::play(&scope.parties(), &scope.judge(), sought, &script);
    broken.map_or_else(|broken| broken.steps.into_iter().map(played).collect(), |_| Vec::new())
}

fn played(step: Played) -> Step {
    let saves = step.after.stored.as_ref().filter(|_| step.saved).map(Saved::of);
    Step {
        node: step.node,
        input: step.input,
        sends: step.sends,
        saves,
        after: Seen::of(&step.after.state, &step.after.timers),
    }
}

fn walked(system: &System<Party, Referee>, actions: &[Action]) -> Vec<Step> {
    let records = engine::replay(system, actions).into_iter();
    let step = |record: engine::StepRecord<Party>| Step {
        node: record.node,
        saves: record.after.stored.as_ref().filter(|_| record.saved).map(Saved::of),
        after: Seen::of(&record.after.state, &record.after.timers),
        sends: record.sends.into_iter().map(|(dst, message, _)| (dst, message)).collect(),
        input: record.input,
    };
    records.map(step).collect()
}

/// The actions that lead to an address of the Explorer.
fn actions(system: &System<Party, Referee>, address: &str) -> Option<Vec<Action>> {
    let mut state = system.start().clone();
    let mut actions = Vec::new();
    for place in address.strip_prefix(STEPS)?.split('/').skip(1) {
        let mut possible = Vec::new();
        system.actions(&state, &mut possible);
        let action = *possible.get(place.parse::<usize>().ok()?)?;
        state = system.next_state(&state, action)?;
        actions.push(action);
    }
    Some(actions)
}

/// Whether these are the steps of a story: as many, and in each the same happens to the same node.
fn tell_the_same(system: &System<Party, Referee>, steps: &[Step], story: &[StoryStep]) -> bool {
    let same = |(step, told): (&Step, &StoryStep)| {
        let happens = match (&step.input, &told.kind) {
            (Input::Start, StepKind::Restart { .. }) => true,
            (Input::Timeout(timer), StepKind::Timeout { label, .. }) => words::timer(timer) == *label,
            (Input::Deliver { src, msg }, StepKind::Deliver { src: from, label, .. }) => {
                system.who(usize::from(*src)) == *from && words::message::<Audit>(msg) == *label
            }
            _ => false,
        };
        happens && system.who(step.node) == told.actor
    };
    steps.len() == story.len() && steps.iter().zip(story).all(same)
}

#[cfg(test)]
mod tests {
    use super::{Replay, Saved, actions, walked};
    use crate::engine::{self, Action};
    use crate::report::{Counterexample, StepKind, StoryStep, samples};
    use crate::scopes::{Variation, catalogue, story};
    use stateright::Model;

    /// Some steps into a scope: each time the last of those that change anything.
    fn walk(scope: &str, steps: usize, reduce: bool) -> (Counterexample, Vec<super::Step>) {
        let variation = Variation { reduce, ..Variation::default() };
        let system = catalogue::find(scope).unwrap().system(variation).unwrap();
        let mut states = vec![system.start().clone()];
        let mut path = Vec::new();
        for _ in 0..steps {
            let mut possible = Vec::new();
            system.actions(states.last().unwrap(), &mut possible);
            let next = |action: &Action| Some((*action, system.next_state(states.last()?, *action)?));
            let (action, state) = possible.iter().rev().find_map(next).expect("something is possible");
            states.push(state);
            path.push(action);
        }
        let mut example = samples::counterexample();
        example.scope = scope.into();
        example.explore = format!("#/steps/{}", engine::encode(&system, &path));
        example.steps = story::steps(&system, &path);
        assert_eq!(actions(&system, &example.explore), Some(path.clone()));
        (example, walked(&system, &path))
    }

    fn example(scope: &str, steps: usize) -> (Replay, Vec<super::Step>) {
        let (example, steps) = walk(scope, steps, true);
        (Replay::of(&example).expect("it leads somewhere"), steps)
    }

    #[test]
    fn the_steps_are_found_again_by_the_address() {
        let (replay, steps) = example("one-slot-three-owners", 6);
        assert_eq!((replay.replicas, replay.beginning), (3, 0));
        assert_eq!(replay.steps, steps);
        assert_eq!(steps.len(), 6);
        assert!(serde_json::to_string(&replay).is_ok());
    }

    #[test]
    fn a_scripted_beginning_is_told_to_where_the_scope_begins() {
        let scopes = catalogue::scopes();
        let scope = scopes.iter().find(|scope| scope.prefix.len() > 2).expect("some have one");
        let (replay, steps) = example(scope.name, 2);
        assert_eq!(replay.steps[replay.beginning..], steps[..]);
        let begun = scope.begin(None).unwrap();
        for node in 0..replay.replicas {
            let last = replay.steps[..replay.beginning].iter().rev();
            let saved = last.filter(|step| step.node == node).find_map(|step| step.saves.as_ref());
            assert_eq!(saved, begun.seats[node].stored.as_ref().map(Saved::of).as_ref(), "{}", scope.name);
        }
    }

    #[test]
    fn what_leads_elsewhere_than_its_story_is_not_told() {
        let (mut example, _) = walk("one-slot-three-owners", 6, true);
        let last = example.steps.pop().unwrap();
        assert!(Replay::of(&example).is_none(), "a step is missing");
        example.steps.push(StoryStep { actor: "node 7".into(), ..last.clone() });
        assert!(Replay::of(&example).is_none(), "somebody else takes it");
        example.steps[5] =
            StoryStep { kind: StepKind::Timeout { node: last.actor.clone(), label: "another".into() }, ..last.clone() };
        assert!(Replay::of(&example).is_none(), "something else happens");
        example.steps[5] = last;
        assert!(Replay::of(&example).is_some());
    }

    #[test]
    fn an_address_without_reductions_is_told_only_where_it_leads_the_same_way() {
        for steps in 1..=5 {
            let (example, steps) = walk("one-slot-three-owners", steps, false);
            if let Some(replay) = Replay::of(&example) {
                let inputs = |steps: &[super::Step]| {
                    steps.iter().map(|step| (step.node, step.input.clone())).collect::<Vec<_>>()
                };
                assert_eq!(inputs(&replay.steps), inputs(&steps));
            }
        }
    }

    #[test]
    fn what_leads_nowhere_is_not_told() {
        assert!(Replay::of(&samples::counterexample()).is_none());
    }
}
