//! Paths as data: for stories, pictures, and the Explorer's addresses.

use super::state::{Action, State};
use super::system::System;
use super::universe::RESTART;
use super::{Ghost, Local, Subject};
use paxos_model::trace::Input;
use stateright::Model;
use stateright::actor::Id;

/// One step of a path, with everything that it touched.
pub struct StepRecord<A: Subject> {
    /// The action.
    pub action: Action,
    /// The node that took the step.
    pub node: usize,
    /// What made it take the step; [`Input::Start`] for a restart.
    pub input: Input<A::Msg, A::Timer>,
    /// Whether the node crashed and started again.
    pub restart: bool,
    /// The node before.
    pub before: Local<A>,
    /// The node after.
    pub after: Local<A>,
    /// What it sent, in order, each message once, and whether that came newly into flight.
    pub sends: Vec<(Id, A::Msg, bool)>,
    /// Timers that it set, even if they were set before.
    pub timers_set: Vec<A::Timer>,
    /// Timers that it cancelled.
    pub timers_cancelled: Vec<A::Timer>,
    /// Whether the handler touched the actor's state.
    pub touched: bool,
    /// Whether it saved.
    pub saved: bool,
    /// Whether the message is in flight no longer, as it is delivered at most once.
    pub consumed: bool,
    /// Messages that were taken out of the network because they are dead in the state after the step.
    pub removed: Vec<(Id, Id, A::Msg)>,
    /// The bits of the rules that it broke.
    pub broken: u32,
    /// What the handler said as it panicked.
    pub panicked: Option<String>,
}

/// A path as data, from the state in which the scope begins. Ends early at an action that does nothing.
pub fn replay<A: Subject, G: Ghost<A>>(system: &System<A, G>, actions: &[Action]) -> Vec<StepRecord<A>> {
    replay_from(system, system.start(), actions)
}

/// A path as data, from `state`.
pub(super) fn replay_from<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    state: &State,
    actions: &[Action],
) -> Vec<StepRecord<A>> {
    let mut state = state.clone();
    let mut records = Vec::new();
    for action in actions {
        let Some(next) = system.next_state(&state, *action) else {
            break;
        };
        records.push(record(system, &state, *action, &next));
        state = next;
    }
    records
}

/// The states of a path, with the one in which the scope begins. Ends early at an action that does nothing.
pub fn walk<A: Subject, G: Ghost<A>>(system: &System<A, G>, actions: &[Action]) -> Vec<State> {
    let mut states = vec![system.start().clone()];
    for action in actions {
        let Some(next) = system.next_state(&states[states.len() - 1], *action) else {
            break;
        };
        states.push(next);
    }
    states
}

/// One step as data.
pub(super) fn record<A: Subject, G: Ghost<A>>(
    system: &System<A, G>,
    state: &State,
    action: Action,
    next: &State,
) -> StepRecord<A> {
    let universe = system.universe();
    let step = universe.step(system.step_number(state, action));
    let timers = |numbers: &[u32]| numbers.iter().map(|timer| universe.timer(*timer).clone()).collect();
    let was_in_flight = |message: &u32| state.network.contains(message);
    let delivered = |message: u32| action == Action::Deliver(message);
    let consumed = matches!(action, Action::Deliver(message) if universe.envelope(message).once);
    StepRecord {
        action,
        node: step.node,
        input: universe.input(step.input),
        restart: step.input == RESTART,
        before: universe.local(step.local).clone(),
        after: universe.local(step.next).clone(),
        sends: step
            .sends_all
            .iter()
            .map(|send| {
                let envelope = universe.envelope(*send);
                let new = !was_in_flight(send) && next.network.contains(send);
                (envelope.dst, envelope.msg.clone(), new)
            })
            .collect(),
        timers_set: timers(&step.timers_set),
        timers_cancelled: timers(&step.timers_cancelled),
        touched: step.touched,
        saved: step.saved,
        consumed,
        removed: state
            .network
            .iter()
            .filter(|message| !(next.network.contains(message) || consumed && delivered(**message)))
            .map(|message| {
                let envelope = universe.envelope(*message);
                (envelope.src, envelope.dst, envelope.msg.clone())
            })
            .collect(),
        broken: next.broken,
        panicked: step.panicked.clone(),
    }
}

/// The address of a path's last state in the Explorer, after `#/steps/`: the places of the actions among those possible.
///
/// # Panics
///
/// If an action isn't possible where it stands.
pub fn encode<A: Subject, G: Ghost<A>>(system: &System<A, G>, actions: &[Action]) -> String {
    let mut places = vec!["0".to_string()];
    let states = walk(system, actions);
    for (state, action) in states.iter().zip(actions) {
        let mut possible = Vec::new();
        system.list(state, &mut possible);
        let place = possible.iter().position(|other| other == action).expect("an action that is possible");
        places.push(place.to_string());
    }
    places.join("/")
}
