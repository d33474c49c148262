//! What a checker's thread remembers of the memo tables, so that it takes no lock for what it has looked up before.

use super::state::Key;
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// Entries of one universe; a thread that turns to another universe forgets them.
#[derive(Default)]
pub(super) struct Cache {
    universe: u32,
    /// (local state, input) to the number of the step.
    pub(super) steps: FxHashMap<u64, u32>,
    /// (history, step) to (history after it, rules broken by it).
    pub(super) observed: FxHashMap<u64, (u32, u32)>,
    /// The components that the predicates were evaluated for last, and which of them hold.
    pub(super) judged: Option<(Key, u64)>,
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
