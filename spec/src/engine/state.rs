//! States and actions: short sequences of the numbers under which a universe holds the components.

use smallvec::SmallVec;
use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, RwLock, Weak};

/// The components that most predicates look at: the local states and the record.
pub(super) type Key = (SmallVec<[u32; 8]>, u32);

/// A state of the whole system.
///
/// Its `Hash` writes a salt, and each collection preceded by its length, so that two states can't have one fingerprint
/// because of how their parts are cut; two runs with two salts expose accidental collisions.
#[derive(PartialEq, Eq)]
pub struct State {
    pub(super) universe: u32,
    pub(super) salt: u64,
    /// The local state of each node.
    pub(super) locals: SmallVec<[u32; 8]>,
    /// The messages in flight, each once, in the stable order of messages.
    pub(super) network: SmallVec<[u32; 24]>,
    /// The history.
    pub(super) ghost: u32,
    /// What has been taken from the scope's allowances.
    pub(super) counters: SmallVec<[u8; 8]>,
    /// How many restarts there were, where the scope bounds them.
    pub(super) restarts: u8,
    /// The rules broken by the step into this state.
    pub(super) broken: u32,
}

impl State {
    /// The bits of the rules that the step into this state broke. Such a state has no successors.
    pub fn broken(&self) -> u32 {
        self.broken
    }

    /// How many messages are in flight.
    pub fn messages(&self) -> usize {
        self.network.len()
    }
}

// Written out because a `SmallVec` of integers is copied far faster from a slice than item by item.
impl Clone for State {
    #[inline]
    fn clone(&self) -> Self {
        State {
            locals: SmallVec::from_slice(&self.locals),
            network: SmallVec::from_slice(&self.network),
            counters: SmallVec::from_slice(&self.counters),
            ..*self
        }
    }
}

impl Hash for State {
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.salt);
        // The length of a slice is part of its hash.
        self.locals.as_slice().hash(hasher);
        self.network.as_slice().hash(hasher);
        self.counters.as_slice().hash(hasher);
        hasher.write_u64(u64::from(self.ghost) << 32 | u64::from(self.broken));
        hasher.write_u8(self.restarts);
    }
}

impl Debug for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match find(self.universe) {
            Some(universe) => universe.describe(self, f),
            None => write!(f, "State(locals {:?}, network {:?}, record {})", self.locals, self.network, self.ghost),
        }
    }
}

/// Something that can happen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A message in flight arrives.
    Deliver(u32),
    /// A timer of a node runs out.
    Timeout(u32, u32),
    /// A node crashes and starts again from what it has stored.
    Restart(u32),
}

/// A universe, as the registry knows it.
pub(super) trait Describe: Send + Sync {
    /// Prints a state of this universe.
    fn describe(&self, state: &State, f: &mut Formatter<'_>) -> fmt::Result;
}

/// The universes by number, so that a state can be printed without carrying more than a number.
static UNIVERSES: RwLock<Vec<Option<Weak<dyn Describe>>>> = RwLock::new(Vec::new());

/// Takes a number for a universe; numbers start from 1.
pub(super) fn reserve() -> u32 {
    let mut universes = UNIVERSES.write().unwrap_or_else(|e| e.into_inner());
    universes.push(None);
    super::arena::number(universes.len())
}

/// Makes a universe known under its number.
pub(super) fn register(number: u32, universe: Weak<dyn Describe>) {
    let mut universes = UNIVERSES.write().unwrap_or_else(|e| e.into_inner());
    universes[number as usize - 1] = Some(universe);
}

fn find(number: u32) -> Option<Arc<dyn Describe>> {
    let universes = UNIVERSES.read().unwrap_or_else(|e| e.into_inner());
    universes.get((number as usize).checked_sub(1)?)?.as_ref()?.upgrade()
}
