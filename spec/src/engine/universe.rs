//! The components of all states of one system, each held once, and the memo of what handlers do with them.

use super::arena::{Arena, SharedMap, number, stable_hash};
use super::cache;
use super::graveyard::Graveyard;
use super::state::{Describe, State};
use super::{Cost, Ghost, Settings, StepView, Subject, text};
use paxos_model::trace::{self, Input};
use smallvec::SmallVec;
use stateright::actor::{Actor, Command, Id};
use std::cmp::Ordering;
use std::fmt::{self, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, OnceLock};

/// All that one node has at some time: the unit of memoisation.
pub type Local<A> = LocalParts<<A as Actor>::State, <A as Actor>::Storage, <A as Actor>::Timer>;

/// See [`Local`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalParts<S, D, T> {
    /// The node.
    pub node: usize,
    /// The actor's state.
    pub state: S,
    /// What is stored.
    pub stored: Option<D>,
    /// The timers that are set, in order.
    pub timers: Vec<T>,
    /// Their numbers.
    pub(super) timer_numbers: SmallVec<[u32; 4]>,
}

/// A message with its sender and its destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope<M> {
    /// Who sent it.
    pub src: Id,
    /// Whom it is for.
    pub dst: Id,
    /// What it says.
    pub msg: M,
    /// The same in every process: destination, source, then the content's hash.
    pub(super) key: u64,
    /// Whether it may be removed when it is dead.
    pub(super) reducible: bool,
    /// Whether it is delivered at most once.
    pub(super) once: bool,
}

/// The input of a step as one number: a message's number, or a timer's with [`TIMER`] set, or [`RESTART`].
pub(super) type InputNumber = u32;
/// Marks the number of a timer.
pub(super) const TIMER: InputNumber = 1 << 31;
/// A crash followed by a start from what is stored.
pub(super) const RESTART: InputNumber = u32::MAX;

/// A list of numbers that is mostly short.
pub(super) type Numbers = SmallVec<[u32; 4]>;

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
    /// Whether the history has anything to say about it.
    pub(super) relevant: bool,
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

/// The components of all states of one system, and the memo of steps. Shared by the threads of a check.
pub struct Universe<A: Subject, G: Ghost<A>> {
    pub(super) number: u32,
    pub(super) actors: Vec<A>,
    pub(super) ghost: G,
    pub(super) settings: Settings<A>,
    locals: Arena<Local<A>>,
    envelopes: Arena<Envelope<A::Msg>>,
    timers: Arena<A::Timer>,
    records: Arena<G::Record>,
    steps: boxcar::Vec<Step>,
    step_numbers: SharedMap<u64, u32>,
    observed: SharedMap<u64, (u32, u32)>,
    pub(super) graveyard: Graveyard,
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
    pub(super) fn new(number: u32, actors: Vec<A>, ghost: G, settings: Settings<A>) -> Self {
        Universe {
            number,
            actors,
            ghost,
            settings,
            locals: Arena::new(),
            envelopes: Arena::new(),
            timers: Arena::new(),
            records: Arena::new(),
            steps: boxcar::Vec::new(),
            step_numbers: SharedMap::default(),
            observed: SharedMap::default(),
            graveyard: Graveyard::default(),
        }
    }

    /// The actors, clients included.
    pub fn actors(&self) -> &[A] {
        &self.actors
    }

    /// The judge.
    pub fn ghost(&self) -> &G {
        &self.ghost
    }

    /// The bounds of the scope.
    pub fn settings(&self) -> &Settings<A> {
        &self.settings
    }

    /// How many distinct local states, messages, records and steps are known.
    pub fn sizes(&self) -> [usize; 4] {
        [self.locals.len(), self.envelopes.len(), self.records.len(), self.steps.count()]
    }

    #[inline]
    pub(super) fn local(&self, local: u32) -> &Local<A> {
        self.locals.get(local)
    }

    #[inline]
    pub(super) fn envelope(&self, envelope: u32) -> &Envelope<A::Msg> {
        self.envelopes.get(envelope)
    }

    pub(super) fn timer(&self, timer: u32) -> &A::Timer {
        self.timers.get(timer)
    }

    pub(super) fn record(&self, record: u32) -> &G::Record {
        self.records.get(record)
    }

    pub(super) fn initial_record(&self) -> u32 {
        self.records.intern(self.ghost.initial())
    }

    #[inline]
    pub(super) fn step(&self, step: u32) -> &Step {
        &self.steps[step as usize]
    }

    /// The order of messages: by content, so that it is the same in every process and thread.
    #[inline]
    pub(super) fn order(&self, a: u32, b: u32) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        let (a, b) = (self.envelope(a), self.envelope(b));
        a.key.cmp(&b.key).then_with(|| (a.dst, a.src, &a.msg).cmp(&(b.dst, b.src, &b.msg)))
    }

    /// The step that a node takes on an input; the handler runs at most once a thread for it.
    #[inline]
    pub(super) fn step_of(&self, local: u32, input: InputNumber) -> u32 {
        let key = u64::from(local) << 32 | u64::from(input);
        if let Some(step) = cache::with(self.number, |cache| cache.steps.get(&key).copied()) {
            return step;
        }
        let step = self.step_shared(key, local, input);
        cache::with(self.number, |cache| cache.steps.insert(key, step));
        step
    }

    #[cold]
    fn step_shared(&self, key: u64, local: u32, input: InputNumber) -> u32 {
        if let Some(step) = self.step_numbers.get(&key) {
            return *step;
        }
        let step = self.take(local, input);
        // Another thread may have been as fast; its step is the one, so that there is one number for each key.
        *self.step_numbers.entry(key).or_insert_with(|| number(self.steps.push(step)))
    }

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
    fn take(&self, local: u32, input: InputNumber) -> Step {
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
            relevant: false,
            breaks: 0,
            cost: Cost::Free,
            panicked,
            verdict: OnceLock::new(),
            marks: AtomicU8::new(0),
        };
        if step.panicked.is_none() {
            (step.relevant, step.breaks, step.cost) =
                self.view(&step, |view| (self.ghost.relevant(view), self.ghost.breaks(view), self.ghost.cost(view)));
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

    /// A record that was kept elsewhere.
    pub(super) fn intern_record(&self, record: G::Record) -> u32 {
        self.records.intern(record)
    }

    /// A message that was sent elsewhere.
    pub(super) fn intern_message(&self, src: Id, dst: Id, msg: A::Msg) -> u32 {
        self.intern_envelope(src, dst, msg)
    }

    /// A local state that was reached elsewhere.
    pub(super) fn intern_node(
        &self,
        node: usize,
        state: A::State,
        stored: Option<A::Storage>,
        timers: Vec<A::Timer>,
    ) -> u32 {
        let mut timers = timers;
        timers.sort();
        let timers: Vec<u32> = timers.into_iter().map(|timer| self.timers.intern(timer)).collect();
        self.intern_local(node, state, stored, &timers)
    }

    fn intern_local(&self, node: usize, state: A::State, stored: Option<A::Storage>, timers: &[u32]) -> u32 {
        self.locals.intern(LocalParts {
            node,
            state,
            stored,
            timers: timers.iter().map(|timer| self.timer(*timer).clone()).collect(),
            timer_numbers: SmallVec::from_slice(timers),
        })
    }

    fn intern_envelope(&self, src: Id, dst: Id, msg: A::Msg) -> u32 {
        let byte = |id: Id| usize::from(id).min(255) as u64;
        let key = byte(dst) << 56 | byte(src) << 48 | stable_hash(&msg) >> 16;
        let reducible = (self.settings.reducible)(&msg);
        let once = (self.settings.once)(src, &msg);
        self.envelopes.intern(Envelope { src, dst, msg, key, reducible, once })
    }

    /// An input as the actor sees it.
    pub(super) fn input(&self, input: InputNumber) -> Input<A::Msg, A::Timer> {
        if input == RESTART {
            Input::Start
        } else if input & TIMER != 0 {
            Input::Timeout(self.timer(input & !TIMER).clone())
        } else {
            let envelope = self.envelope(input);
            Input::Deliver { src: envelope.src, msg: envelope.msg.clone() }
        }
    }

    fn view<T>(&self, step: &Step, f: impl FnOnce(&StepView<'_, A>) -> T) -> T {
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

    /// What a step adds to a history: the history after it and the rules broken by it.
    #[inline]
    pub(super) fn observe(&self, record: u32, step: u32) -> (u32, u32) {
        let key = u64::from(record) << 32 | u64::from(step);
        if let Some(found) = cache::with(self.number, |cache| cache.observed.get(&key).copied()) {
            return found;
        }
        let found = self.observe_shared(key, record, step);
        cache::with(self.number, |cache| cache.observed.insert(key, found));
        found
    }

    #[cold]
    fn observe_shared(&self, key: u64, record: u32, step: u32) -> (u32, u32) {
        if let Some(found) = self.observed.get(&key) {
            return *found;
        }
        let seen = self.view(self.step(step), |view| self.ghost.observe(self.record(record), view));
        let found = (seen.record.map_or(record, |record| self.records.intern(record)), seen.broken);
        self.observed.insert(key, found);
        found
    }
}

impl<A: Subject, G: Ghost<A>> Describe for Universe<A, G> {
    fn describe(&self, state: &State, f: &mut Formatter<'_>) -> fmt::Result {
        text::state(self, state, f)
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

/// A universe under its number in the registry.
pub(super) fn create<A: Subject, G: Ghost<A>>(actors: Vec<A>, ghost: G, settings: Settings<A>) -> Arc<Universe<A, G>> {
    let number = super::state::reserve();
    let universe = Arc::new(Universe::new(number, actors, ghost, settings));
    let registered = Arc::downgrade(&universe);
    super::state::register(number, registered);
    universe
}
