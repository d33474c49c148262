//! The rules and predicates as properties of `stateright`, whose conditions are plain function pointers.

use super::cache::{self, Judged};
use super::state::{Key, State};
use super::system::System;
use super::{Depends, Ghost, Subject, View};
use smallvec::SmallVec;
use stateright::{Expectation, Property};
use std::sync::atomic::Ordering;

/// The rule that the reduction leans on: a message that was removed as dead never comes back to life.
pub const DEAD_STAYS_DEAD: &str = "dead-stays-dead";
/// The rule that no handler panics.
pub const NO_PANIC: &str = "no-panic";
/// The one property that stands for all rules while a scope is being exhausted.
pub(super) const EVERY_RULE: &str = "every-rule";
/// How many rules a scope can have of its own: they use the lower bits.
pub const RULES_MAX: usize = 30;
/// How many predicates a scope can have.
pub const PREDICATES_MAX: usize = 48;

pub(super) const DEAD_BIT: u32 = 1 << 31;
pub(super) const PANIC_BIT: u32 = 1 << 30;

type Condition<A, G> = fn(&System<A, G>, &State) -> bool;

impl<A: Subject, G: Ghost<A>> System<A, G> {
    /// All properties, each under its name: for the Explorer.
    pub(super) fn properties_named(&self) -> Vec<Property<Self>> {
        let rules = rule_conditions::<A, G>();
        let mut properties: Vec<_> = self
            .rules()
            .iter()
            .map(|rule| Property::always(rule.name, rules[rule.bit.trailing_zeros() as usize]))
            .collect();
        let conditions = predicate_conditions::<A, G>();
        for (index, predicate) in self.predicates().iter().enumerate() {
            properties.push(match predicate.expectation {
                // The Explorer puts that word before it.
                Expectation::Sometimes => {
                    let name = predicate.name.strip_prefix("sometimes ").unwrap_or(predicate.name);
                    Property::sometimes(name, conditions[index])
                }
                _ => Property::always(predicate.name, conditions[index]),
            });
        }
        properties
    }

    /// One property for all that must hold always, then the witnesses not found yet: for an exhaustive run.
    ///
    /// The checkers ask for the properties anew with each block of states, look each up in a map at each state, and note
    /// a witness again at each state that is one: a list that shrinks saves all that.
    pub(super) fn properties_lean(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::always(EVERY_RULE, every_rule)];
        let conditions = witness_conditions::<A, G>();
        let found = self.control.found.load(Ordering::Relaxed);
        for (index, predicate) in self.predicates().iter().enumerate() {
            if predicate.expectation == Expectation::Sometimes && found & 1 << index == 0 {
                properties.push(Property::sometimes(predicate.name, conditions[index]));
            }
        }
        properties
    }

    /// The bits of those of the predicates in `asked` that hold in a state.
    pub(super) fn truth(&self, state: &State, asked: u64) -> u64 {
        let masks = &self.shared.masks;
        let on = |depends: Depends| masks[depends as usize] & asked;
        let mut truth = if on(Depends::Each) == 0 { 0 } else { self.truth_of_each(state) };
        if on(Depends::Record) | on(Depends::Locals) | on(Depends::Both) != 0 {
            truth |= self.truth_of_components(state, asked);
        }
        if on(Depends::Facts) != 0 {
            truth |= self.truth_of_facts(state);
        }
        if on(Depends::All) != 0 {
            truth |= self.evaluate(state, Depends::All);
        }
        truth & asked
    }

    /// The bits of the predicates on single nodes that hold at each node.
    fn truth_of_each(&self, state: &State) -> u64 {
        state.locals.iter().fold(u64::MAX, |truth, local| {
            let known = cache::with(self.universe.number, |cache| cache.truths.get(local).copied());
            truth
                & known.unwrap_or_else(|| {
                    let truth = self.evaluate_at(*local);
                    cache::with(self.universe.number, |cache| cache.truths.insert(*local, truth));
                    truth
                })
        })
    }

    fn evaluate_at(&self, local: u32) -> u64 {
        let holds = |index: &usize| self.universe.ghost.evaluate_at(*index, self.universe.local(local));
        bits(self.shared.masks[Depends::Each as usize]).filter(holds).fold(0, |truth, index| truth | 1 << index)
    }

    fn truth_of_facts(&self, state: &State) -> u64 {
        let told = self.universe.told_in(state);
        if let Some(truth) = self.shared.told.get(&told[..]) {
            return *truth;
        }
        let mut truth = u64::MAX;
        self.universe.each_together(&told, |topic, together| {
            let known = self.shared.together.get(together).map(|known| *known);
            truth &= known.unwrap_or_else(|| {
                let truth = self.evaluate_facts(topic, together);
                self.shared.together.insert(together.into(), truth);
                truth
            });
        });
        self.shared.told.insert(told.into_boxed_slice(), truth);
        truth
    }

    /// The bits of the predicates that hold of what is told together on a topic.
    #[cold]
    fn evaluate_facts(&self, topic: G::Topic, told: &[u32]) -> u64 {
        let universe = &*self.universe;
        let facts = || told.iter().map(|number| &universe.facts.get(*number).facts);
        let holds = |index: &usize| universe.ghost.evaluate_facts(*index, topic, facts());
        bits(self.shared.masks[Depends::Facts as usize]).filter(holds).fold(0, |truth, index| truth | 1 << index)
    }

    fn truth_of_components(&self, state: &State, asked: u64) -> u64 {
        let is_it = |((locals, ghost), known): (&Key, u64)| {
            *ghost == state.ghost && locals[..] == state.locals[..] && asked & !known == 0
        };
        let remembered = cache::with(self.universe.number, |cache| {
            cache.judged.as_ref().filter(|judged| is_it((&judged.key, judged.asked))).map(|judged| judged.truth)
        });
        remembered.unwrap_or_else(|| {
            let key: Key = (SmallVec::from_slice(&state.locals), state.ghost);
            let truth = self.look_up(state, &key, asked);
            cache::with(self.universe.number, |cache| cache.judged = Some(Judged { key, asked, truth }));
            truth
        })
    }

    fn look_up(&self, state: &State, key: &Key, asked: u64) -> u64 {
        let mut truth = 0;
        for depends in [Depends::Record, Depends::Locals, Depends::Both] {
            if self.shared.masks[depends as usize] & asked == 0 {
                continue;
            }
            let part: Key = match depends {
                Depends::Record => (SmallVec::new(), key.1),
                Depends::Locals => (SmallVec::from_slice(&key.0), u32::MAX),
                _ => (SmallVec::from_slice(&key.0), key.1),
            };
            let memo = &self.shared.truths[depends as usize];
            let known = memo.get(&part).map(|truth| *truth);
            truth |= known.unwrap_or_else(|| {
                let truth = self.evaluate(state, depends);
                memo.insert(part, truth);
                truth
            });
        }
        truth
    }

    /// Evaluates the predicates that depend on just that.
    fn evaluate(&self, state: &State, depends: Depends) -> u64 {
        let view = View { universe: &*self.universe, state };
        let holds = |index: &usize| self.universe.ghost.evaluate(*index, &view);
        bits(self.shared.masks[depends as usize]).filter(holds).fold(0, |truth, index| truth | 1 << index)
    }

    /// The names of the rules and of the predicates that must hold always and don't in a state.
    pub fn violated(&self, state: &State) -> Vec<&'static str> {
        let truth = self.truth(state, u64::MAX);
        let rules = self.rules().iter().filter(|rule| state.broken & rule.bit != 0).map(|rule| rule.name);
        let predicates = self.predicates().iter().enumerate().filter_map(|(index, predicate)| {
            let wrong = predicate.expectation == Expectation::Always && truth & 1 << index == 0;
            wrong.then_some(predicate.name)
        });
        rules.chain(predicates).collect()
    }
}

/// The places of the bits that are set.
fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..u64::BITS as usize).filter(move |index| mask & 1 << index != 0)
}

/// The predicates that a run still asks about: a witness that was found is not looked for again.
fn asked<A: Subject, G: Ghost<A>>(system: &System<A, G>) -> u64 {
    let control = &system.control;
    match &control.focus {
        None => system.shared.always | !control.found.load(Ordering::Relaxed),
        Some(focus) => focus.always | focus.never,
    }
}

fn every_rule<A: Subject, G: Ghost<A>>(system: &System<A, G>, state: &State) -> bool {
    let control = &system.control;
    let truth = system.truth(state, asked(system));
    let holds = match &control.focus {
        None => state.broken == 0 && truth & system.shared.always == system.shared.always,
        Some(focus) => {
            state.broken & focus.broken == 0 && truth & focus.always == focus.always && truth & focus.never == 0
        }
    };
    // The first violation is the one: a checker would overwrite it with later ones until its block of states ends.
    holds || control.violated.swap(true, Ordering::Relaxed)
}

fn rule_holds<A: Subject, G: Ghost<A>, const BIT: u32>(_: &System<A, G>, state: &State) -> bool {
    state.broken & 1 << BIT == 0
}

fn predicate_holds<A: Subject, G: Ghost<A>, const INDEX: usize>(system: &System<A, G>, state: &State) -> bool {
    system.truth(state, 1 << INDEX) != 0
}

/// Whether a state is the first to be a witness.
fn is_first_witness<A: Subject, G: Ghost<A>, const INDEX: usize>(system: &System<A, G>, state: &State) -> bool {
    let found = &system.control.found;
    found.load(Ordering::Relaxed) & 1 << INDEX == 0
        && system.truth(state, 1 << INDEX) != 0
        && found.fetch_or(1 << INDEX, Ordering::Relaxed) & 1 << INDEX == 0
}

macro_rules! instances {
    ($function:ident: $($index:literal)*) => {
        [$($function::<A, G, $index>),*]
    };
}

fn rule_conditions<A: Subject, G: Ghost<A>>() -> [Condition<A, G>; 32] {
    instances!(rule_holds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
}

macro_rules! predicate_instances {
    ($function:ident) => {
        instances!($function: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23
            24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47)
    };
}

fn predicate_conditions<A: Subject, G: Ghost<A>>() -> [Condition<A, G>; PREDICATES_MAX] {
    predicate_instances!(predicate_holds)
}

fn witness_conditions<A: Subject, G: Ghost<A>>() -> [Condition<A, G>; PREDICATES_MAX] {
    predicate_instances!(is_first_witness)
}
