//! What schedules have in common, found out once.
//!
//! They differ little: nearly all of their steps were taken in another one, and most come to a situation that another one was
//! in. A handler is a function of its node, state and input, as everywhere in the check, and the schedule one of its
//! situation: so what came of either is looked up when it comes again.

use super::super::audit::Audit;
use super::super::party::Msg;
use super::links::Links;
use crate::engine::Arena;
use dashmap::DashMap;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::{self, Input, OutputOf};
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use stateright::actor::{Command, Id};
use std::sync::Arc;

/// Replicas, their states and inputs by number, the steps known, and the situations from which all goes well; shared by the
/// threads of a check.
pub struct Memo {
    replicas: Vec<Replica<Audit>>,
    states: Arena<State<Audit>>,
    inputs: Arena<Input<Msg, Timer>>,
    steps: DashMap<(Id, u32, u32), Arc<Step>, FxBuildHasher>,
    /// The fewest rounds that were left where a schedule went on from there and did not fail.
    passed: DashMap<Situation, u64, FxBuildHasher>,
}

/// A moment between two rounds in which nobody has served everything yet: all that decides what comes then.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Situation {
    pub(super) links: Links,
    pub(super) first: usize,
    /// Whether the nodes were given their requests.
    pub(super) probed: bool,
    /// The number of each node's state.
    pub(super) nodes: SmallVec<[(Id, u32); 5]>,
    /// In how many rounds each timer is due.
    pub(super) due: Vec<(Id, Timer, u64)>,
    pub(super) earlier: Vec<(Id, Id, u64)>,
    pub(super) unanswered: Vec<(Id, u64)>,
    pub(super) unsent: Vec<(Id, u64)>,
}

/// The number of the state after a step, and what the handler put out, in order.
pub(super) struct Step {
    pub(super) next: u32,
    pub(super) outputs: Vec<Output>,
}

/// An output of a handler.
pub(super) enum Output {
    /// To whom a message goes, and the number of the input that it is there.
    Send(Id, u32),
    /// Anything else, replies among it.
    Other(OutputOf<Replica<Audit>>),
}

impl Memo {
    /// Those of `replicas`: the number of each is its place.
    pub fn of(replicas: Vec<Replica<Audit>>) -> Self {
        Memo {
            replicas,
            states: Arena::new(),
            inputs: Arena::new(),
            steps: DashMap::default(),
            passed: DashMap::default(),
        }
    }

    pub(super) fn replicas(&self) -> &[Replica<Audit>] {
        &self.replicas
    }

    pub(super) fn state(&self, number: u32) -> &State<Audit> {
        self.states.get(number)
    }

    pub(super) fn number_of(&self, state: State<Audit>) -> u32 {
        self.states.intern(state)
    }

    pub(super) fn input(&self, number: u32) -> &Input<Msg, Timer> {
        self.inputs.get(number)
    }

    pub(super) fn number_of_input(&self, input: Input<Msg, Timer>) -> u32 {
        self.inputs.intern(input)
    }

    /// The step of `node` in a state on an input, by their numbers.
    ///
    /// # Panics
    ///
    /// If the handler does.
    pub(super) fn step(&self, node: Id, state: u32, input: u32) -> Arc<Step> {
        let key = (node, state, input);
        if let Some(known) = self.steps.get(&key) {
            return Arc::clone(&known);
        }
        let replica = &self.replicas[usize::from(node)];
        let taken = trace::step(replica, node, Some(self.state(state)), &None, self.input(input));
        let next = taken.state.map_or(state, |state| self.number_of(state));
        let outputs = taken.outputs.into_iter().map(|output| match output {
            Command::Send(dst, msg) if !matches!(msg, Message::Reply { .. }) => {
                Output::Send(dst, self.number_of_input(Input::Deliver { src: node, msg }))
            }
            output => Output::Other(output),
        });
        let step = Arc::new(Step { next, outputs: outputs.collect() });
        self.steps.insert(key, Arc::clone(&step));
        step
    }

    /// Whether a schedule that had at most as many rounds `left` went on from such a situation and did not fail: then none
    /// does.
    pub(super) fn passes(&self, situation: &Situation, left: u64) -> bool {
        self.passed.get(situation).is_some_and(|enough| *enough <= left)
    }

    /// A schedule that went through these situations, with so many rounds left, did not fail.
    pub(super) fn pass(&self, situations: Vec<(Situation, u64)>) {
        for (situation, left) in situations {
            let mut enough = self.passed.entry(situation).or_insert(left);
            *enough = left.min(*enough);
        }
    }
}
