//! The key-value store: versioned values, deterministic and total.
//!
//! A put is applied if and only if its version is greater than the key's; but for what deletes a key at the highest version, without
//! naming one. A deleted key keeps its version, as a tombstone;
//! when tombstones are collected, lowest version first, the floor rises to the highest version collected, and a key that is
//! absent shows the floor. So no write is applied that is older than what was deleted.

use crate::machine::StateMachine;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// The highest version: the highest integer that a JSON reader with floating-point numbers keeps exact.
pub const VERSION_MAX: u64 = (1 << 53) - 1;

/// Tombstones above this version are never collected: the floor stays so far below [`VERSION_MAX`] that a client which writes
/// "version read + 1" never gets there.
pub const FLOOR_MAX: u64 = VERSION_MAX / 2;

/// A key with its value and version, as clients see it. An absent or deleted key has the empty value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The value; empty if there is none.
    pub val: Arc<str>,
    /// The version.
    pub ver: u64,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Put {
    /// The key.
    pub key: Arc<str>,
    /// The value; the empty one deletes.
    pub val: Arc<str>,
    /// The version; without it the next one, whatever the present one is. After [`VERSION_MAX`] there is none: then only what deletes is
    /// applied, and leaves that version.
    pub ver: Option<u64>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Writes, in order.
    Write {
        /// The writes.
        puts: Vec<Put>,
        /// Whether none is applied unless all can be.
        atomic: bool,
    },
    /// Forgets tombstones, lowest version first, until at most this many are left.
    Collect {
        /// How many tombstones may stay.
        keep: u64,
    },
    /// Raises the floor, as where a backup is restored: so far, and at most to [`FLOOR_MAX`].
    RaiseFloor {
        /// The lowest version that it may have afterwards.
        to: u64,
    },
}

/// What came of one write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Written {
    /// Applied: the entry as it is now.
    Applied(Entry),
    /// Not applied: the entry as it was, and is.
    Conflict(Entry),
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// For every write, what came of it.
    Written(Vec<Written>),
    /// The floor after a collection, or after it was raised.
    Collected(u64),
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Query {
    /// One key.
    Get(Arc<str>),
    /// The keys that have a value and begin with `prefix`, from `start` on, at most `limit` of them, in order.
    Keys {
        /// What they begin with.
        prefix: Arc<str>,
        /// The lowest key of interest.
        start: Arc<str>,
        /// At most so many.
        limit: u64,
    },
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The entry of a key.
    Entry(Entry),
    /// Keys, in order.
    Keys(Vec<Arc<str>>),
}

/// Where a part of the store is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The floor, as the version of no key.
    Floor,
    /// A key, deleted ones included.
    Key(Arc<str>),
}

/// What a place of the store holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Versioned {
    /// The value; empty if it was deleted.
    pub val: Arc<str>,
    /// The version.
    pub ver: u64,
}

/// The store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kv {
    entries: OrdMap<Arc<str>, Versioned>,
    /// Deleted keys by version, then key.
    tombstones: OrdMap<(u64, Arc<str>), ()>,
    floor: u64,
}

/// With the counts that `imbl` leaves out.
impl Hash for Kv {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.entries.len());
        self.entries.hash(state);
        state.write_u64(self.floor);
    }
}

impl Kv {
    /// The entry of `key`; for an absent key the empty value with the floor as its version.
    pub fn get(&self, key: &Arc<str>) -> Entry {
        match self.entries.get(key) {
            Some(Versioned { val, ver }) => Entry { key: key.clone(), val: val.clone(), ver: *ver },
            None => Entry { key: key.clone(), val: Arc::from(""), ver: self.floor },
        }
    }

    /// The version below which nothing is written to an absent key.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many deleted keys are remembered.
    pub fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// What differs from `before`, in the order of the places, with what is there now. What both share is not looked at.
    pub fn changes<'a>(&'a self, before: &'a Kv) -> impl Iterator<Item = (Place, Option<Versioned>)> + 'a {
        let floor = (self.floor != before.floor).then(|| (Place::Floor, Some(self.floor_item())));
        let keys = before.entries.diff(&self.entries).map(|change| match change {
            DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => {
                (Place::Key(key.clone()), Some(value.clone()))
            }
            DiffItem::Remove(key, _) => (Place::Key(key.clone()), None),
        });
        floor.into_iter().chain(keys)
    }

    fn floor_item(&self) -> Versioned {
        Versioned { val: Arc::from(""), ver: self.floor }
    }

    fn write(&mut self, put: &Put) -> Written {
        let present = self.get(&put.key);
        let ver = match put.ver {
            Some(ver) if ver <= present.ver || ver > VERSION_MAX => return Written::Conflict(present),
            Some(ver) => ver,
            None if present.ver < VERSION_MAX => present.ver + 1,
            // No version is left above it, and a value can be deleted all the same.
            None if put.val.is_empty() => present.ver,
            None => return Written::Conflict(present),
        };
        if present.val.is_empty() {
            self.tombstones.remove(&(present.ver, put.key.clone()));
        }
        if put.val.is_empty() {
            self.tombstones.insert((ver, put.key.clone()), ());
        }
        self.entries.insert(put.key.clone(), Versioned { val: put.val.clone(), ver });
        Written::Applied(Entry { key: put.key.clone(), val: put.val.clone(), ver })
    }

    /// A tombstone above [`FLOOR_MAX`] stays: a floor there would leave little or nothing above it to write at.
    fn collect(&mut self, keep: u64) {
        while self.tombstones.len() as u64 > keep
            && let Some(((ver, key), ())) = self.tombstones.get_min().cloned()
            && ver <= FLOOR_MAX
        {
            self.tombstones.remove(&(ver, key.clone()));
            self.entries.remove(&key);
            self.floor = self.floor.max(ver);
        }
    }
}

impl StateMachine for Kv {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;
    type Place = Place;
    type Item = Versioned;

    fn apply(&mut self, command: &Command) -> Reply {
        match command {
            Command::Write { puts, atomic } => {
                // Kept only where it may be needed: while a clone is there, each change copies what it touches.
                let before = atomic.then(|| self.clone());
                let written: Vec<Written> = puts.iter().map(|put| self.write(put)).collect();
                if let Some(before) = before
                    && written.iter().any(|w| matches!(w, Written::Conflict(_)))
                {
                    *self = before;
                    return Reply::Written(puts.iter().map(|put| Written::Conflict(self.get(&put.key))).collect());
                }
                Reply::Written(written)
            }
            Command::Collect { keep } => {
                self.collect(*keep);
                Reply::Collected(self.floor)
            }
            Command::RaiseFloor { to } => {
                self.floor = self.floor.max((*to).min(FLOOR_MAX));
                Reply::Collected(self.floor)
            }
        }
    }

    fn size(command: &Command) -> usize {
        match command {
            Command::Write { puts, .. } => puts.iter().map(|put| put.key.len() + put.val.len() + 24).sum(),
            Command::Collect { .. } | Command::RaiseFloor { .. } => 8,
        }
    }

    fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Get(key) => Answer::Entry(self.get(key)),
            Query::Keys { prefix, start, limit } => {
                let from = prefix.max(start).clone();
                let keys = self.entries.range(from..).take_while(|(key, _)| key.starts_with(&**prefix));
                let present = keys.filter(|(_, entry)| !entry.val.is_empty());
                Answer::Keys(
                    present.map(|(key, _)| key.clone()).take(usize::try_from(*limit).unwrap_or(usize::MAX)).collect(),
                )
            }
        }
    }

    /// The floor, if it ever rose, then the keys.
    fn items(&self, after: Option<&Place>) -> impl Iterator<Item = (Place, Versioned)> {
        let floor = (after.is_none() && self.floor > 0).then(|| (Place::Floor, self.floor_item()));
        let from = match after {
            Some(Place::Key(key)) => Excluded(key.clone()),
            Some(Place::Floor) | None => Unbounded,
        };
        let keys = self.entries.range((from, Unbounded));
        floor.into_iter().chain(keys.map(|(key, value)| (Place::Key(key.clone()), value.clone())))
    }

    fn put(&mut self, place: Place, item: Versioned) {
        match place {
            Place::Floor => self.floor = item.ver,
            Place::Key(key) => {
                if item.val.is_empty() {
                    self.tombstones.insert((item.ver, key.clone()), ());
                }
                self.entries.insert(key, item);
            }
        }
    }

    fn reply_size(reply: &Reply) -> usize {
        let size = |entry: &Entry| entry.key.len() + entry.val.len() + 24;
        match reply {
            Reply::Written(written) => {
                written.iter().map(|(Written::Applied(entry) | Written::Conflict(entry))| size(entry)).sum()
            }
            Reply::Collected(_) => 8,
        }
    }

    fn item_size(place: &Place, item: &Versioned) -> usize {
        let key = match place {
            Place::Floor => 0,
            Place::Key(key) => key.len(),
        };
        key + item.val.len() + 24
    }
}
