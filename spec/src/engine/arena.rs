//! Append-only stores whose items are named by a number and, where they are interned, held only once.

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

/// A map that several threads share.
pub(super) type SharedMap<K, V> = DashMap<K, V, FxBuildHasher>;

/// Items held once each and named by the order of their arrival.
///
/// Two items have one number if and only if they are equal: hashes only narrow the search down, so that components never
/// collide, whatever the quality of their `Hash`.
pub(crate) struct Arena<T> {
    items: boxcar::Vec<T>,
    index: SharedMap<u64, SmallVec<[u32; 2]>>,
}

impl<T: Eq + Hash> Arena<T> {
    /// An empty arena.
    pub(crate) fn new() -> Self {
        Arena { items: boxcar::Vec::new(), index: SharedMap::default() }
    }

    /// The number of `item`, which is stored if it is new.
    pub(crate) fn intern(&self, item: T) -> u32 {
        let mut numbers = self.index.entry(FxBuildHasher.hash_one(&item)).or_default();
        if let Some(number) = numbers.iter().find(|number| self.items[**number as usize] == item) {
            return *number;
        }
        let number = number(self.items.push(item));
        numbers.push(number);
        number
    }

    /// The item of that number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.items.count()
    }
}

/// A hash that is the same in every process.
pub(super) fn stable_hash(item: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    hasher.finish()
}

/// The place of an item as a number of 32 bits.
///
/// # Panics
///
/// If there are more than 2^30 items: the higher bits mark the kinds of input.
pub(super) fn number(place: usize) -> u32 {
    assert!(place < 1 << 30, "too many distinct components");
    place as u32
}
