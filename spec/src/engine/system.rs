//! The system of actors as a model of `stateright`.

use super::arena::SharedMap;
use super::path::StepRecord;
use super::properties::{DEAD_BIT, DEAD_STAYS_DEAD, NO_PANIC, PANIC_BIT, PREDICATES_MAX, RULES_MAX};
use super::state::{Action, Key, State};
use super::universe::{self, RESTART, TIMER, Universe};
use super::{Cost, Ghost, Predicate, Rule, Settings, Subject, path, text};
use smallvec::SmallVec;
use stateright::{Expectation, Model, Path, Property};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Draws a path as a picture.
pub type Svg<A, G> = fn(&System<A, G>, &[StepRecord<A>]) -> Option<String>;

/// Actors, a network that loses, duplicates, delays and reorders, crashes, and a judge: as a model of `stateright`.
///
/// A clone shares everything that has been worked out.
pub struct System<A: Subject, G: Ghost<A>> {
    pub(super) universe: Arc<Universe<A, G>>,
    pub(super) shared: Arc<Shared>,
    pub(super) control: Arc<Control>,
    pub(super) initial: Arc<State>,
    prefix: Arc<Vec<Action>>,
    pub(super) start: Arc<State>,
    svg: Option<Svg<A, G>>,
}

/// What is the same for all clones.
pub(super) struct Shared {
    rules: Vec<Rule>,
    predicates: Vec<Predicate>,
    /// The bits of the predicates that must hold always.
    pub(super) always: u64,
    /// The bits of the predicates by what they depend on.
    pub(super) masks: [u64; 6],
    /// The predicates that hold, by the components that they depend on.
    pub(super) truths: [SharedMap<Key, u64>; 3],
    /// The same by what is told in a state, and by the facts of it that are told together: many states tell the same, and much of what they tell
    /// together others tell, too.
    pub(super) told: SharedMap<Box<[u32]>, u64>,
    pub(super) together: SharedMap<Box<[u32]>, u64>,
}

/// What one run shares with the threads of its checker.
#[derive(Default)]
pub(super) struct Control {
    /// Whether properties are listed as a run needs them.
    pub(super) lean: bool,
    /// The run is to end: states have no successors any more.
    pub(super) stop: AtomicBool,
    /// Some state was denied its successors: the run is not exhaustive.
    pub(super) cut: AtomicBool,
    /// The witnesses found.
    pub(super) found: AtomicU64,
    /// A violation has been found.
    pub(super) violated: AtomicBool,
    /// What to look for, if not for any violation.
    pub(super) focus: Option<Focus>,
}

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Focus {
    /// The property.
    pub(super) name: &'static str,
    /// Broken rules that count.
    pub(super) broken: u32,
    /// Predicates whose failure counts.
    pub(super) always: u64,
    /// Predicates that count once they hold.
    pub(super) never: u64,
}

impl<A: Subject, G: Ghost<A>> Clone for System<A, G> {
    fn clone(&self) -> Self {
        System {
            universe: Arc::clone(&self.universe),
            shared: Arc::clone(&self.shared),
            control: Arc::clone(&self.control),
            initial: Arc::clone(&self.initial),
            prefix: Arc::clone(&self.prefix),
            start: Arc::clone(&self.start),
            svg: self.svg,
        }
    }
}

impl<A: Subject, G: Ghost<A>> System<A, G> {
    /// A system whose nodes have just started, each from nothing.
    ///
    /// # Panics
    ///
    /// If there are more rules or predicates than bits for them, a bit or a name is used twice, or a node panics at its
    /// first start.
    pub fn new(actors: Vec<A>, ghost: G, settings: Settings<A>) -> Self {
        let mut rules = ghost.rules();
        let used = rules.iter().fold(0u32, |used, rule| {
            let own = rule.bit.is_power_of_two() && rule.bit.trailing_zeros() < RULES_MAX as u32;
            assert!(own && used & rule.bit == 0, "the rule {} has no bit of its own", rule.name);
            used | rule.bit
        });
        assert!(used & (DEAD_BIT | PANIC_BIT) == 0);
        rules.push(Rule { name: NO_PANIC, bit: PANIC_BIT });
        if settings.reduce {
            rules.push(Rule { name: DEAD_STAYS_DEAD, bit: DEAD_BIT });
        }
        let predicates = ghost.predicates();
        assert!(predicates.len() <= PREDICATES_MAX, "at most {PREDICATES_MAX} predicates");
        let mut names: Vec<_> =
            rules.iter().map(|rule| rule.name).chain(predicates.iter().map(|predicate| predicate.name)).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two properties have one name: {names:?}");
        let (mut always, mut masks) = (0, [0; 6]);
        for (index, predicate) in predicates.iter().enumerate() {
            masks[predicate.depends as usize] |= 1 << index;
            match predicate.expectation {
                Expectation::Always => always |= 1 << index,
                Expectation::Sometimes => {}
                Expectation::Eventually => panic!("{}: eventually is not supported", predicate.name),
            }
        }
        let universe = universe::create(actors, ghost, settings);
        let initial = Arc::new(first_state(&universe));
        System {
            universe,
            shared: Arc::new(Shared {
                rules,
                predicates,
                always,
                masks,
                truths: Default::default(),
                told: Default::default(),
                together: Default::default(),
            }),
            control: Arc::default(),
            start: Arc::clone(&initial),
            initial,
            prefix: Arc::default(),
            svg: None,
        }
    }

    /// The system after a scripted prefix: the scope begins there.
    ///
    /// # Panics
    ///
    /// If an action of the prefix isn't possible where it stands.
    pub fn after(mut self, prefix: Vec<Action>) -> Self {
        let mut state = (*self.start).clone();
        for (place, action) in prefix.iter().enumerate() {
            let next = self.next_state(&state, *action);
            state = next.unwrap_or_else(|| panic!("action {place} of the prefix does nothing: {}", self.name(action)));
        }
        let mut whole = (*self.prefix).clone();
        whole.extend(prefix);
        self.prefix = Arc::new(whole);
        state.counters.iter_mut().for_each(|counter| *counter = 0);
        state.restarts = 0;
        self.start = Arc::new(state);
        self
    }

    /// Draws paths in the Explorer.
    pub fn with_svg(mut self, svg: Svg<A, G>) -> Self {
        self.svg = Some(svg);
        self
    }

    /// The same system for one run.
    pub(super) fn controlled(&self, control: Control) -> Self {
        System { control: Arc::new(control), ..self.clone() }
    }

    /// The components of all states.
    pub fn universe(&self) -> &Universe<A, G> {
        &self.universe
    }

    /// The rules that steps can break, the engine's own included.
    pub fn rules(&self) -> &[Rule] {
        &self.shared.rules
    }

    /// The names of the properties whose discovery is a violation.
    pub fn violations_named(&self) -> Vec<&'static str> {
        let always = self.shared.predicates.iter().filter(|predicate| predicate.expectation == Expectation::Always);
        self.shared.rules.iter().map(|rule| rule.name).chain(always.map(|predicate| predicate.name)).collect()
    }

    /// The predicates on states.
    pub fn predicates(&self) -> &[Predicate] {
        &self.shared.predicates
    }

    /// The state in which the scope begins.
    pub fn start(&self) -> &State {
        &self.start
    }

    /// The state in which the nodes have just started, before the prefix.
    pub fn initial(&self) -> &State {
        &self.initial
    }

    /// The scripted prefix.
    pub fn prefix(&self) -> &[Action] {
        &self.prefix
    }

    /// A state, as predicates see it.
    pub fn view<'a>(&'a self, state: &'a State) -> super::View<'a, A, G> {
        super::View { universe: &*self.universe, state }
    }

    /// The name of a node.
    pub fn who(&self, node: usize) -> String {
        text::who(&self.universe, node)
    }

    /// An action in words.
    pub fn name(&self, action: &Action) -> String {
        text::action(&self.universe, action)
    }

    /// The step that an action amounts to: its node, its input.
    pub(super) fn step_number(&self, state: &State, action: Action) -> u32 {
        let (node, input) = match action {
            Action::Deliver(message) => (usize::from(self.universe.envelope(message).dst), message),
            Action::Timeout(node, timer) => (node as usize, TIMER | timer),
            Action::Restart(node) => (node as usize, RESTART),
        };
        self.universe.step_of(state.locals[node], input)
    }

    /// What can happen in a state, in an order that is the same in every process.
    pub(super) fn list(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.network.iter().map(|message| Action::Deliver(*message)));
        for (node, local) in state.locals.iter().enumerate() {
            let timers = &self.universe.local(*local).timer_numbers;
            actions.extend(timers.iter().map(|timer| Action::Timeout(node as u32, *timer)));
        }
        let settings = &self.universe.settings;
        if settings.restarts_max.is_none_or(|max| state.restarts < max) {
            let nodes = (0..state.locals.len()).filter(|node| settings.may_restart(*node));
            actions.extend(nodes.map(|node| Action::Restart(node as u32)));
        }
    }

    /// Whether an action is among those of [`System::list`].
    pub(super) fn possible(&self, state: &State, action: Action) -> bool {
        match action {
            Action::Deliver(message) => state.network.contains(&message),
            Action::Timeout(node, timer) => {
                self.universe.local(state.locals[node as usize]).timer_numbers.contains(&timer)
            }
            Action::Restart(_) => {
                let mut actions = Vec::new();
                self.list(state, &mut actions);
                actions.contains(&action)
            }
        }
    }

    fn successor(&self, state: &State, action: Action) -> Option<State> {
        let universe = &*self.universe;
        let expansion = universe.settings.reduce.then(|| universe.expand(state));
        let number = match (&expansion, action) {
            (Some(expansion), Action::Deliver(message)) => expansion.delivery(message),
            _ => None,
        };
        let number = number.unwrap_or_else(|| self.step_number(state, action));
        let step = universe.step(number);
        let (ghost, mut broken) = universe.observe(state.ghost, step.effect);
        broken |= step.breaks;
        if step.panicked.is_some() {
            broken |= PANIC_BIT;
        }
        let consumed = match action {
            Action::Deliver(message) => universe.envelope(message).once,
            _ => false,
        };
        let moved = step.next != step.local;
        let still = !moved && ghost == state.ghost && broken == 0 && !consumed;
        if still && step.sends.iter().all(|send| state.network.contains(send)) {
            return None;
        }
        let mut next = state.clone();
        match step.cost {
            Cost::Free => {}
            // What breaks a rule is told even where it is the last step.
            Cost::Forbidden if broken == 0 => return None,
            Cost::Forbidden => {}
            Cost::Counter(index) => {
                let cap = universe.settings.caps.get(index).copied().unwrap_or(0);
                // Nor does anything go on beyond it, which may where one property is sought, whatever else is broken.
                let used = next.counters[index];
                if used > cap || used == cap && broken == 0 {
                    return None;
                }
                next.counters[index] += 1;
            }
        }
        if let (Action::Restart(_), Some(max)) = (action, universe.settings.restarts_max) {
            if next.restarts >= max && broken == 0 {
                return None;
            }
            next.restarts += 1;
        }
        next.locals[step.node] = step.next;
        next.ghost = ghost;
        if let (Action::Deliver(message), true) = (action, consumed) {
            next.network.retain(|present| *present != message);
        }
        for send in &step.sends {
            insert(universe, &mut next.network, *send);
        }
        if let Some(expansion) = expansion {
            if moved && universe.note_step(number) {
                broken |= DEAD_BIT;
            }
            broken |= universe.prune(&mut next, expansion.live_without((moved || consumed).then_some(step.node)));
            // Nothing but dead messages came of it.
            if still && broken == 0 && next.network == state.network {
                return None;
            }
        }
        next.broken = broken;
        Some(next)
    }
}

/// Puts a message into its place among the messages in flight.
pub(super) fn insert<A: Subject, G: Ghost<A>>(
    universe: &Universe<A, G>,
    network: &mut SmallVec<[u32; 24]>,
    message: u32,
) {
    if !network.contains(&message) {
        let place = network.partition_point(|present| universe.order(*present, message).is_lt());
        network.insert(place, message);
    }
}

/// The state in which each node has just started from nothing.
fn first_state<A: Subject, G: Ghost<A>>(universe: &Universe<A, G>) -> State {
    let mut state = State {
        universe: universe.number,
        salt: universe.settings.salt,
        locals: SmallVec::new(),
        network: SmallVec::new(),
        ghost: universe.initial_record(),
        counters: SmallVec::from_elem(0, universe.settings.caps.len()),
        restarts: 0,
        broken: 0,
    };
    for node in 0..universe.actors.len() {
        let number = universe.first_start(node);
        let step = universe.step(number);
        state.locals.push(step.next);
        state.broken |= step.breaks;
        let (ghost, broken) = universe.observe(state.ghost, step.effect);
        state.ghost = ghost;
        state.broken |= broken;
        for send in &step.sends {
            insert(universe, &mut state.network, *send);
        }
    }
    if universe.settings.reduce {
        state.broken |= universe.prune(&mut state, std::iter::empty());
    }
    state
}

impl<A: Subject, G: Ghost<A>> Model for System<A, G> {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![(*self.start).clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Nothing follows a violation, except where another one is looked for.
        if state.broken & self.control.focus.map_or(u32::MAX, |focus| focus.broken) != 0 {
            return;
        }
        if self.control.stop.load(Ordering::Relaxed) {
            self.control.cut.store(true, Ordering::Relaxed);
            return;
        }
        self.list(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.successor(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if self.control.lean { self.properties_lean() } else { self.properties_named() }
    }

    fn format_action(&self, action: &Action) -> String {
        self.name(action)
    }

    fn format_step(&self, state: &State, action: Action) -> Option<String> {
        let next = self.next_state(state, action)?;
        Some(text::step(self, &path::record(self, state, action, &next)))
    }

    fn as_svg(&self, path: Path<State, Action>) -> Option<String> {
        let svg = self.svg?;
        svg(self, &path::replay_from(self, &self.start, &path.into_actions()))
    }
}
