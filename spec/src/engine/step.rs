//! Steps: what one node does with one input in one local state, found out by running its handler once.

use super::arena::number;
use super::universe::{InputNumber, Numbers, RESTART, TIMER, Universe};
use super::{Cost, Ghost, StepView, Subject};
use paxos_model::trace::{self, Input};
use smallvec::SmallVec;
use stateright::actor::{Command, Id};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;

/// What one node does with one input in one local state.
pub(super) struct Step {
    pub(super) node: usize,
    /// The local state before; for a first start, the one after.
    pub(super) local: u32,
    pub(super) input: InputNumber,
    /// The local state after.
    pub(super) next: u32,
    /// What was sent to nodes of the system: each message once, in order.
    pub(super) sends: Numbers,
    /// All that was sent, also to nodes that the system doesn't have.
    pub(super) sends_all: Numbers,
    /// Timers that were set by the step, even if they were set before.
    pub(super) timers_set: Numbers,
    /// Timers that were cancelled by the step.
    pub(super) timers_cancelled: Numbers,
    /// Whether the handler saved.
    pub(super) saved: bool,
    /// Whether the handler touched the actor's state.
    pub(super) touched: bool,
    /// Whether it is the first start of a node.
    pub(super) first: bool,
    /// The number of its effect on the history, if the history has anything to say about it.
    pub(super) effect: Option<u32>,
    /// The rules that it breaks whatever happened before.
    pub(super) breaks: u32,
    /// What it takes from the scope's allowances.
    pub(super) cost: Cost,
    /// What the handler said as it panicked.
    pub(super) panicked: Option<String>,
    /// For a message: whether its delivery does nothing, now and after a restart.
    pub(super) verdict: OnceLock<super::reduction::Verdict>,
    /// What the graveyard knows of it.
    pub(super) marks: AtomicU8,
}

/// What the outputs of a handler come to.
struct Outcome<S> {
    stored: Option<Option<S>>,
    saved: bool,
    timers: Vec<u32>,
    sends: Numbers,
    sends_all: Numbers,
    set: Numbers,
    cancelled: Numbers,
}

impl<A: Subject, G: Ghost<A>> Universe<A, G> {
    /// The first start of a node.
    pub(super) fn first_start(&self, node: usize) -> u32 {
        let (after, next, out) = self.start(node, &None);
        let (local, panicked) = match after {
            Ok(()) => (next.expect("a started node has a local state"), None),
            Err(said) => panic!("node {node} panics at its first start: {said}"),
        };
        number(self.steps.push(self.finish(node, local, RESTART, local, out, (true, true), panicked)))
    }

    /// Runs `on_start`.
    #[allow(clippy::type_complexity)]
    fn start(
        &self,
        node: usize,
        stored: &Option<A::Storage>,
    ) -> (Result<(), String>, Option<u32>, Outcome<A::Storage>) {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            trace::step(&self.actors[node], Id::from(node), None, stored, &Input::Start)
        }));
        match ran {
            Ok(step) => {
                let mut out = self.digest(node, Vec::new(), step.outputs);
                let stored = out.stored.take().unwrap_or_else(|| stored.clone());
                let state = step.state.expect("a start yields a state");
                let next = self.intern_local(node, state, stored, &out.timers);
                (Ok(()), Some(next), out)
            }
            Err(said) => (Err(panic_text(&*said)), None, Outcome::empty()),
        }
    }

    /// Runs the handler of one input.
    pub(super) fn take(&self, local: u32, input: InputNumber) -> Step {
        let before = self.local(local);
        let node = before.node;
        if input == RESTART {
            let (ran, next, out) = self.start(node, &before.stored);
            return self.finish(node, local, input, next.unwrap_or(local), out, (true, false), ran.err());
        }
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let actor = &self.actors[node];
            trace::step(actor, Id::from(node), Some(&before.state), &before.stored, &self.input(input))
        }));
        let step = match ran {
            Ok(step) => step,
            Err(said) => {
                let said = Some(panic_text(&*said));
                return self.finish(node, local, input, local, Outcome::empty(), (false, false), said);
            }
        };
        let mut timers = before.timer_numbers.to_vec();
        if input & TIMER != 0 {
            timers.retain(|timer| *timer != input & !TIMER);
        }
        let mut out = self.digest(node, timers, step.outputs);
        let touched = step.state.is_some();
        let stored = out.stored.take();
        let next = if !touched && stored.is_none() && out.timers[..] == before.timer_numbers[..] {
            local
        } else {
            let state = step.state.unwrap_or_else(|| before.state.clone());
            self.intern_local(node, state, stored.unwrap_or_else(|| before.stored.clone()), &out.timers)
        };
        self.finish(node, local, input, next, out, (touched, false), None)
    }

    #[allow(clippy::too_many_arguments)]
    fn finish(
        &self,
        node: usize,
        local: u32,
        input: InputNumber,
        next: u32,
        out: Outcome<A::Storage>,
        (touched, first): (bool, bool),
        panicked: Option<String>,
    ) -> Step {
        let mut step = Step {
            node,
            local,
            input,
            next,
            sends: out.sends,
            sends_all: out.sends_all,
            timers_set: out.set,
            timers_cancelled: out.cancelled,
            saved: out.saved,
            touched,
            first,
            effect: None,
            breaks: 0,
            cost: Cost::Free,
            panicked,
            verdict: OnceLock::new(),
            marks: AtomicU8::new(0),
        };
        if step.panicked.is_none() {
            (step.effect, step.breaks, step.cost) = self.view(&step, |view| {
                let effect = self.ghost.effect(view).map(|effect| self.effects.intern(effect));
                (effect, self.ghost.breaks(view), self.ghost.cost(view))
            });
        }
        step
    }

    /// What the outputs of a handler come to, in their order.
    #[allow(clippy::type_complexity)]
    fn digest(
        &self,
        node: usize,
        mut timers: Vec<u32>,
        outputs: Vec<Command<A::Msg, A::Timer, A::Random, A::Storage>>,
    ) -> Outcome<A::Storage> {
        let mut out = Outcome::empty();
        for output in outputs {
            match output {
                Command::Send(dst, msg) => {
                    let envelope = self.intern_envelope(Id::from(node), dst, msg);
                    if !out.sends_all.contains(&envelope) {
                        out.sends_all.push(envelope);
                        // What is for a node that isn't there, or is lost in this scope, can't ever be delivered.
                        let lost = (self.settings.lost)(Id::from(node), dst, &self.envelope(envelope).msg);
                        if usize::from(dst) < self.actors.len() && !lost {
                            out.sends.push(envelope);
                        }
                    }
                }
                Command::SetTimer(timer, _) => {
                    if (self.settings.timers)(node, &timer) {
                        let timer = self.timers.intern(timer);
                        push_new(&mut out.set, timer);
                        if !timers.contains(&timer) {
                            timers.push(timer);
                        }
                    }
                }
                Command::CancelTimer(timer) => {
                    let timer = self.timers.intern(timer);
                    push_new(&mut out.cancelled, timer);
                    timers.retain(|set| *set != timer);
                }
                Command::Save(storage) => {
                    out.stored = Some(Some(storage));
                    out.saved = true;
                }
                Command::ChooseRandom(_, choices) => {
                    assert!(choices.is_empty(), "the engine gives no random choices to actors");
                }
            }
        }
        timers.sort_by(|a, b| self.timer(*a).cmp(self.timer(*b)));
        out.timers = timers;
        out
    }

    pub(super) fn view<T>(&self, step: &Step, f: impl FnOnce(&StepView<'_, A>) -> T) -> T {
        let (before, after) = (self.local(step.local), self.local(step.next));
        let sends: SmallVec<[(Id, &A::Msg); 8]> = step
            .sends_all
            .iter()
            .map(|send| {
                let envelope = self.envelope(*send);
                (envelope.dst, &envelope.msg)
            })
            .collect();
        f(&StepView {
            node: step.node,
            input: &self.input(step.input),
            before: &before.state,
            stored_before: if step.first { &None } else { &before.stored },
            after: &after.state,
            stored_after: &after.stored,
            sends: &sends,
            restart: step.input == RESTART,
            first: step.first,
        })
    }
}

impl<S> Outcome<S> {
    fn empty() -> Self {
        Outcome {
            stored: None,
            saved: false,
            timers: Vec::new(),
            sends: Numbers::new(),
            sends_all: Numbers::new(),
            set: Numbers::new(),
            cancelled: Numbers::new(),
        }
    }
}

fn push_new(list: &mut Numbers, item: u32) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// What a panic said.
pub fn panic_text(said: &(dyn std::any::Any + Send)) -> String {
    let text = said.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| said.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_string())
}
