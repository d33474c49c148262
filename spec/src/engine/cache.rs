//! What a checker's thread remembers of the memo tables, so that it takes no lock for what it has looked up before.

use super::reduction::Expansion;
use super::state::Key;
use super::universe::InputNumber;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Beside the number of a step: it is the delivery of a message that is known to be live.
const LIVE: u32 = 1 << 31;

/// Entries of one universe; a thread that turns to another universe forgets them.
#[derive(Default)]
pub(super) struct Cache {
    universe: u32,
    /// For each local state, by number: its inputs, each with its step. A table each, as one local state is asked about many
    /// inputs in a row: these lie side by side.
    steps: Vec<FxHashMap<InputNumber, u32>>,
    /// (history, effect) to (history after it, rules broken by it).
    pub(super) observed: FxHashMap<u64, (u32, u32)>,
    /// The components that the predicates were evaluated for last, and which of them hold.
    pub(super) judged: Option<(Key, u64)>,
    /// The state whose successors were asked for last.
    pub(super) expansion: Option<Rc<Expansion>>,
}

impl Cache {
    /// The step that a node takes on an input, and whether it is known to be the delivery of a live message.
    #[inline]
    pub(super) fn step(&self, local: u32, input: InputNumber) -> Option<(u32, bool)> {
        let found = self.steps.get(local as usize)?.get(&input)?;
        Some((found & !LIVE, found & LIVE != 0))
    }

    /// Remembers a step.
    pub(super) fn remember(&mut self, local: u32, input: InputNumber, step: u32, live: bool) {
        let local = local as usize;
        if self.steps.len() <= local {
            self.steps.resize_with(local + 1, FxHashMap::default);
        }
        self.steps[local].insert(input, if live { step | LIVE } else { step });
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
