//! What is recorded and judged beside the actors.

use super::universe::{Envelope, Local, Universe};
use super::{State, Subject};
use paxos_model::trace::Input;
use stateright::Expectation;
use stateright::actor::Id;
use std::fmt::Debug;
use std::hash::Hash;

/// The judge of a check: it records history, says which steps break a rule, and bounds the scope.
///
/// Everything it is asked is a function of its arguments, so that the answers can be remembered.
pub trait Ghost<A: Subject>: Sized + Send + Sync + 'static {
    /// What is remembered of the past: a part of every state, so keep it small.
    type Record: Clone + Eq + Hash + Debug + Send + Sync + 'static;

    /// All that a record is told of a step: the less, the more steps are one for it.
    type Effect: Eq + Hash + Send + Sync + 'static;

    /// What a predicate that depends on [`Depends::Facts`] is told about.
    type Topic: Copy + Ord + Hash + Send + Sync + 'static;

    /// What it is told of a node, a record or a message: the less, the more states are one for it.
    type Facts: Eq + Hash + Send + Sync + 'static;

    /// The record before any node has started.
    fn initial(&self) -> Self::Record;

    /// What of a step bears on the record; none if the record has nothing to say about it, whatever it is.
    fn effect(&self, step: &StepView<'_, A>) -> Option<Self::Effect>;

    /// What a step of that effect adds to the record, and which rules it breaks by what is recorded.
    ///
    /// A step that changes nothing and sends nothing new should leave the record alone: such steps are not taken.
    fn observe(&self, record: &Self::Record, effect: &Self::Effect) -> Observed<Self::Record>;

    /// The bits of the rules that a step breaks whatever happened before it.
    ///
    /// A delivery that breaks one is not dead, so that what the reduction removes is judged again in each later state of its
    /// destination.
    fn breaks(&self, step: &StepView<'_, A>) -> u32 {
        let _ = step;
        0
    }

    /// Whether a step is in the scope, and what it takes from the scope's allowances.
    fn cost(&self, step: &StepView<'_, A>) -> Cost {
        let _ = step;
        Cost::Free
    }

    /// The rules that a step can break, named.
    fn rules(&self) -> Vec<Rule> {
        Vec::new()
    }

    /// The predicates on states.
    fn predicates(&self) -> Vec<Predicate> {
        Vec::new()
    }

    /// Whether the predicate in place `index` of [`Ghost::predicates`] holds. It may look only at what it depends on.
    fn evaluate(&self, index: usize, view: &View<'_, A, Self>) -> bool {
        let _ = (index, view);
        true
    }

    /// The same of a predicate that looks at [`Depends::Each`] node by itself, at one of them.
    fn evaluate_at(&self, index: usize, local: &Local<A>) -> bool {
        let _ = (index, local);
        true
    }

    /// What a node tells.
    fn facts_of_node(&self, node: usize, state: &A::State, stored: &Option<A::Storage>) -> Vec<TellingOf<A, Self>> {
        let _ = (node, state, stored);
        Vec::new()
    }

    /// What a message in flight tells.
    fn facts_of_message(&self, src: Id, message: &A::Msg) -> Vec<TellingOf<A, Self>> {
        let _ = (src, message);
        Vec::new()
    }

    /// What a record tells: on each topic it gives at most once.
    fn facts_of_record(&self, record: &Self::Record) -> Vec<TellingOf<A, Self>> {
        let _ = record;
        Vec::new()
    }

    /// What is so by a record, for what hinges on it.
    fn hinges(&self, record: &Self::Record) -> Vec<u64> {
        let _ = record;
        Vec::new()
    }

    /// Whether what a node or a message tells, and what it hinges on is so, says anything beside what the record gives on its topic.
    fn bears(&self, told: &TellingOf<A, Self>, given: &Self::Facts) -> bool {
        let _ = (told, given);
        true
    }

    /// Whether a predicate that depends on [`Depends::Facts`] holds of all facts that are given on a topic and of one that is asked about, if
    /// there is one. They come in any order, equal ones once. It holds of a state if it does so on each topic, whatever is asked about there.
    fn evaluate_facts<'a>(
        &self,
        index: usize,
        topic: Self::Topic,
        facts: impl Iterator<Item = &'a Self::Facts>,
    ) -> bool {
        let _ = (index, topic, facts);
        true
    }

    /// A message in a few words.
    fn tell_message(&self, message: &A::Msg) -> String {
        format!("{message:?}")
    }

    /// A timer in a few words.
    fn tell_timer(&self, timer: &A::Timer) -> String {
        format!("{timer:?}")
    }

    /// What a node has, as named fields.
    fn tell_local(&self, local: &Local<A>) -> Vec<(String, String)> {
        let field = |name: &str, value: &dyn Debug| (name.to_string(), format!("{value:?}"));
        vec![field("state", &local.state), field("stored", &local.stored), field("timers", &local.timers)]
    }

    /// A record, as named fields.
    fn tell_record(&self, record: &Self::Record) -> Vec<(String, String)> {
        vec![("record".into(), format!("{record:?}"))]
    }
}

/// No history and no judgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGhost;

impl<A: Subject> Ghost<A> for NoGhost {
    type Record = ();
    type Effect = ();
    type Topic = ();
    type Facts = ();

    fn initial(&self) {}

    fn effect(&self, _: &StepView<'_, A>) -> Option<()> {
        None
    }

    fn observe(&self, (): &(), (): &()) -> Observed<()> {
        Observed::default()
    }
}

/// What a node, a message or a record tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Telling<T, F> {
    /// About what.
    pub topic: T,
    /// Beside what.
    pub part: Part,
    /// What must be so by the record ([`Ghost::hinges`]), and what is told must bear on it ([`Ghost::bears`]): else it says nothing, and is not
    /// told, so that states that differ in it alone are one. What does not hinge on anything, or is told by the record, always is.
    pub hinge: Option<u64>,
    /// What.
    pub facts: F,
}

/// What is told to a judge.
pub type TellingOf<A, G> = Telling<<G as Ghost<A>>::Topic, <G as Ghost<A>>::Facts>;

/// Which facts of a topic are told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of these.
    Given,
    /// Each of these by itself, with all that is given.
    Asked,
}

/// What [`Ghost::observe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed<R> {
    /// The record after the step, where it differs.
    pub record: Option<R>,
    /// The bits of the rules that the step broke.
    pub broken: u32,
}

impl<R> Default for Observed<R> {
    fn default() -> Self {
        Observed { record: None, broken: 0 }
    }
}

/// What a step takes from the scope's allowances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The step is outside of the scope: it isn't taken.
    Forbidden,
    /// The step takes nothing.
    Free,
    /// The step takes one from the allowance of that number in [`Settings::caps`](super::Settings::caps).
    Counter(usize),
}

/// A rule that a step can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// Its bit in [`Observed::broken`]: one of the lower [`RULES_MAX`](super::RULES_MAX).
    pub bit: u32,
}

/// A predicate on states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Its name.
    pub name: &'static str,
    /// Whether it must hold always, or at least once. `Eventually` is not supported.
    pub expectation: Expectation,
    /// What it looks at.
    pub depends: Depends,
}

/// What a predicate looks at; the less, the cheaper it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depends {
    /// The record alone: evaluated once per record.
    Record,
    /// The nodes alone: evaluated once per combination of local states.
    Locals,
    /// The nodes and the record.
    Both,
    /// Each node by itself, and it holds if it holds at each: evaluated once per local state, by [`Ghost::evaluate_at`].
    Each,
    /// The facts that nodes, record and messages in flight tell, and nothing else: evaluated once for what is told together on one topic, by
    /// [`Ghost::evaluate_facts`]. A reduced network lacks the dead messages.
    Facts,
    /// Also the messages in flight: evaluated at each state. A reduced network lacks the dead messages.
    All,
}

/// A step of one node, as [`Ghost`] sees it.
pub struct StepView<'a, A: Subject> {
    /// The node.
    pub node: usize,
    /// What made it take the step.
    pub input: &'a Input<A::Msg, A::Timer>,
    /// Its state before the step. For the first start: the state after it.
    pub before: &'a A::State,
    /// What was stored before.
    pub stored_before: &'a Option<A::Storage>,
    /// Its state after the step.
    pub after: &'a A::State,
    /// What is stored afterwards.
    pub stored_after: &'a Option<A::Storage>,
    /// What it sent, in order, each message once; also to nodes that the system doesn't have.
    pub sends: &'a [(Id, &'a A::Msg)],
    /// Whether the node crashed and started again.
    pub restart: bool,
    /// Whether it is the node's first start, before the initial state.
    pub first: bool,
}

/// A state, as predicates see it.
pub struct View<'a, A: Subject, G: Ghost<A>> {
    pub(super) universe: &'a Universe<A, G>,
    pub(super) state: &'a State,
}

impl<'a, A: Subject, G: Ghost<A>> View<'a, A, G> {
    /// How many nodes there are, clients included.
    pub fn nodes(&self) -> usize {
        self.state.locals.len()
    }

    /// The local state of a node.
    pub fn local(&self, node: usize) -> &'a Local<A> {
        self.universe.local(self.state.locals[node])
    }

    /// The number of the local state of a node: the same number, the same local state.
    pub fn local_number(&self, node: usize) -> u32 {
        self.state.locals[node]
    }

    /// The local states of all nodes, in order.
    pub fn locals(&self) -> impl Iterator<Item = &'a Local<A>> + use<'a, A, G> {
        let universe = self.universe;
        self.state.locals.iter().map(move |local| universe.local(*local))
    }

    /// The history.
    pub fn record(&self) -> &'a G::Record {
        self.universe.record(self.state.ghost)
    }

    /// All that is told together, by topic.
    pub fn told(&self) -> Vec<(G::Topic, Vec<&'a G::Facts>)> {
        let universe = self.universe;
        let mut all = Vec::new();
        universe.each_together(&universe.told_in(self.state), |topic, numbers| {
            all.push((topic, numbers.iter().map(|number| &universe.facts.get(*number).facts).collect()));
        });
        all
    }

    /// The messages in flight.
    pub fn messages(&self) -> impl Iterator<Item = &'a Envelope<A::Msg>> + use<'a, A, G> {
        let universe = self.universe;
        self.state.network.iter().map(move |message| universe.envelope(*message))
    }
}
