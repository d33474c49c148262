//! The components of all states of one system, each held once, and the memo of what handlers do with them.

use super::arena::{Arena, SharedMap, number, stable_hash};
use super::cache::{self, Fate, Known};
use super::graveyard::Graveyard;
use super::state::{Describe, State};
use super::step::Step;
use super::told::{Aside, Tellings};
use super::{Ghost, Settings, Subject, TellingOf, text};
use paxos_model::trace::Input;
use smallvec::SmallVec;
use stateright::actor::{Actor, Id};
use std::cmp::Ordering;
use std::fmt::{self, Formatter};
use std::sync::Arc;

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
    /// What it tells, by its number.
    pub(super) told: Aside<u32>,
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
    /// What it tells, by its number.
    pub(super) told: Aside<u32>,
}

/// A record with what it tells.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Noted<R> {
    pub(super) record: R,
    pub(super) told: Aside<u32>,
}

/// The input of a step as one number: a message's number, or a timer's with [`TIMER`] set, or [`RESTART`].
pub(super) type InputNumber = u32;
/// Marks the number of a timer.
pub(super) const TIMER: InputNumber = 1 << 31;
/// A crash followed by a start from what is stored.
pub(super) const RESTART: InputNumber = u32::MAX;

/// A list of numbers that is mostly short.
pub(super) type Numbers = SmallVec<[u32; 4]>;

/// The components of all states of one system, and the memo of steps. Shared by the threads of a check.
pub struct Universe<A: Subject, G: Ghost<A>> {
    pub(super) number: u32,
    pub(super) actors: Vec<A>,
    pub(super) ghost: G,
    pub(super) settings: Settings<A>,
    locals: Arena<Local<A>>,
    envelopes: Arena<Envelope<A::Msg>>,
    pub(super) timers: Arena<A::Timer>,
    pub(super) records: Arena<Noted<G::Record>>,
    pub(super) tellings: Arena<Tellings>,
    pub(super) topics: Arena<G::Topic>,
    pub(super) facts: Arena<TellingOf<A, G>>,
    pub(super) effects: Arena<G::Effect>,
    pub(super) steps: boxcar::Vec<Step>,
    step_numbers: SharedMap<u64, u32>,
    observed: SharedMap<u64, (u32, u32)>,
    pub(super) graveyard: Graveyard,
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
            tellings: Arena::new(),
            topics: Arena::new(),
            facts: Arena::new(),
            effects: Arena::new(),
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

    /// The node that a message is for.
    #[inline]
    pub(super) fn destination(&self, envelope: u32) -> usize {
        usize::from(self.envelope(envelope).dst)
    }

    pub(super) fn timer(&self, timer: u32) -> &A::Timer {
        self.timers.get(timer)
    }

    pub(super) fn record(&self, record: u32) -> &G::Record {
        &self.records.get(record).record
    }

    pub(super) fn initial_record(&self) -> u32 {
        self.intern_record(self.ghost.initial())
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
        if let Some(known) = cache::with(self.number, |cache| cache.step(local, input)) {
            return known.step;
        }
        let step = self.step_shared(local, input);
        let known = Known { step, fate: Fate::Unknown };
        cache::with(self.number, |cache| cache.remember(local, input, known));
        step
    }

    #[cold]
    fn step_shared(&self, local: u32, input: InputNumber) -> u32 {
        let key = u64::from(local) << 32 | u64::from(input);
        if let Some(step) = self.step_numbers.get(&key) {
            return *step;
        }
        let step = self.take(local, input);
        // Another thread may have been as fast; its step is the one, so that there is one number for each key.
        *self.step_numbers.entry(key).or_insert_with(|| number(self.steps.push(step)))
    }

    /// A record that was kept elsewhere.
    pub(super) fn intern_record(&self, record: G::Record) -> u32 {
        self.records.intern(Noted { record, told: Aside::default() })
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

    pub(super) fn intern_local(&self, node: usize, state: A::State, stored: Option<A::Storage>, timers: &[u32]) -> u32 {
        self.locals.intern(LocalParts {
            told: Aside::default(),
            node,
            state,
            stored,
            timers: timers.iter().map(|timer| self.timer(*timer).clone()).collect(),
            timer_numbers: SmallVec::from_slice(timers),
        })
    }

    pub(super) fn intern_envelope(&self, src: Id, dst: Id, msg: A::Msg) -> u32 {
        let byte = |id: Id| usize::from(id).min(255) as u64;
        let key = byte(dst) << 56 | byte(src) << 48 | stable_hash(&msg) >> 16;
        let reducible = (self.settings.reducible)(&msg);
        let once = (self.settings.once)(src, &msg);
        self.envelopes.intern(Envelope { src, dst, msg, key, reducible, once, told: Aside::default() })
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

    /// What a step of that effect adds to a history: the history after it and the rules broken by it.
    #[inline]
    pub(super) fn observe(&self, record: u32, effect: Option<u32>) -> (u32, u32) {
        let Some(effect) = effect else { return (record, 0) };
        let key = u64::from(record) << 32 | u64::from(effect);
        if let Some(found) = cache::with(self.number, |cache| cache.observed.get(&key).copied()) {
            return found;
        }
        let found = self.observe_shared(key, record, effect);
        cache::with(self.number, |cache| cache.observed.insert(key, found));
        found
    }

    #[cold]
    fn observe_shared(&self, key: u64, record: u32, effect: u32) -> (u32, u32) {
        if let Some(found) = self.observed.get(&key) {
            return *found;
        }
        let seen = self.ghost.observe(self.record(record), self.effects.get(effect));
        let found = (seen.record.map_or(record, |record| self.intern_record(record)), seen.broken);
        self.observed.insert(key, found);
        found
    }
}

impl<A: Subject, G: Ghost<A>> Describe for Universe<A, G> {
    fn describe(&self, state: &State, f: &mut Formatter<'_>) -> fmt::Result {
        text::state(self, state, f)
    }
}

/// A universe under its number in the registry.
pub(super) fn create<A: Subject, G: Ghost<A>>(actors: Vec<A>, ghost: G, settings: Settings<A>) -> Arc<Universe<A, G>> {
    let number = super::state::reserve();
    let universe = Arc::new(Universe::new(number, actors, ghost, settings));
    let registered = Arc::downgrade(&universe);
    super::state::register(number, registered);
    universe
}
