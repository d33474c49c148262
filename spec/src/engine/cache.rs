//! What a checker's thread remembers of the memo tables, so that it takes no lock for what it has looked up before.

use super::reduction::Expansion;
use super::state::Key;
use super::universe::InputNumber;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// What is remembered of a step.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Its number.
    pub(super) step: u32,
    /// Of the delivery of a message, what that does.
    pub(super) fate: Fate,
}

/// What the delivery of a message in a local state is known to do.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// Not known here.
    Unknown,
    /// The message is live.
    Live,
    /// The message is quiet and sends nothing, and the graveyard knows it and has nothing against it. It is dead where a
    /// history has nothing to say about the effect.
    Buried(Option<u32>),
}

/// The predicates that were evaluated last.
pub(super) struct Judged {
    /// The components that they were evaluated for.
    pub(super) key: Key,
    /// Their bits.
    pub(super) asked: u64,
    /// The bits of those that hold.
    pub(super) truth: u64,
}

/// Entries of one universe; a thread that turns to another universe forgets them.
#[derive(Default)]
pub(super) struct Cache {
    universe: u32,
    /// For each local state, by number: its inputs, each with its step. A table each, as one local state is asked about many
    /// inputs in a row: these lie side by side.
    steps: Vec<FxHashMap<InputNumber, Known>>,
    /// (history, effect) to (history after it, rules broken by it).
    pub(super) observed: FxHashMap<u64, (u32, u32)>,
    /// Local states to the bits of the predicates on single nodes that hold there.
    pub(super) truths: FxHashMap<u32, u64>,
    /// What the predicates on components came to last.
    pub(super) judged: Option<Judged>,
    /// The state whose successors were asked for last.
    pub(super) expansion: Option<Rc<Expansion>>,
}

impl Cache {
    /// What is known of the step that a node takes on an input.
    #[inline]
    pub(super) fn step(&self, local: u32, input: InputNumber) -> Option<Known> {
        self.steps.get(local as usize)?.get(&input).copied()
    }

    /// Remembers a step.
    pub(super) fn remember(&mut self, local: u32, input: InputNumber, known: Known) {
        let local = local as usize;
        if self.steps.len() <= local {
            self.steps.resize_with(local + 1, FxHashMap::default);
        }
        self.steps[local].insert(input, known);
    }
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Gives `f` this thread's cache for `universe`. `f` must not run handlers or anything else that needs the cache.
#[inline]
pub(super) fn with<T>(universe: u32, f: impl FnOnce(&mut Cache) -> T) -> T {
    CACHE.with_borrow_mut(|cache| {
        if cache.universe != universe {
            *cache = Cache { universe, ..Cache::default() };
        }
        f(cache)
    })
}
