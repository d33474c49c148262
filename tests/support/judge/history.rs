//! What clients did and what came of it.

use std::collections::BTreeMap;

/// Microseconds since the run began.
pub(crate) type Time = u64;

/// After everything: when an operation of unknown outcome ends, which may still be done whenever.
pub(crate) const NEVER: Time = Time::MAX;

/// A value by its number; each write has one of its own, but for deletes, which are all 0.
pub(crate) type Val = u64;

/// A value with its version, as a node showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) val: Val,
    pub(crate) ver: u64,
}

/// What was asked of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// With a version it is applied if that is greater; without, always, at the next one.
    Write {
        val: Val,
        ver: Option<u64>,
    },
    Read,
    /// A read of what one node has: any prefix of the log.
    Local,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The write is done, and made this version.
    Applied(u64),
    /// A read's answer; or a conflict's, which shows what is there.
    Seen(Entry),
    /// Certainly not done.
    Refused,
    /// Done once or not at all, until the end of time.
    Unknown,
}

/// One operation on one key. What was sent again in a session is one operation, from its first attempt to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Who answered.
    pub(crate) node: usize,
    pub(crate) begin: Time,
    pub(crate) end: Time,
    pub(crate) act: Act,
    pub(crate) outcome: Outcome,
}

/// The keys from one listing of all that begin with a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) node: usize,
    pub(crate) begin: Time,
    pub(crate) end: Time,
    pub(crate) prefix: &'static str,
    pub(crate) keys: Vec<String>,
}

/// Everything that was there at one slot, as a node streamed it.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) node: usize,
    pub(crate) begin: Time,
    pub(crate) end: Time,
    pub(crate) slot: u64,
    pub(crate) floor: u64,
    /// Of the keys that clients write; deleted ones with the value 0.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// The checksum in its last line, over all that stands before.
    pub(crate) checksum: String,
}

/// All that was recorded in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) keys: BTreeMap<String, Vec<Operation>>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) cuts: Vec<Cut>,
}

impl History {
    pub(crate) fn push(&mut self, key: &str, operation: Operation) {
        if let Some(operations) = self.keys.get_mut(key) {
            operations.push(operation);
        } else {
            self.keys.insert(key.to_owned(), vec![operation]);
        }
    }

    /// Takes in another client's.
    pub(crate) fn merge(&mut self, other: History) {
        for (key, operations) in other.keys {
            self.keys.entry(key).or_default().extend(operations);
        }
        self.listings.extend(other.listings);
        self.cuts.extend(other.cuts);
    }

    pub(crate) fn operations(&self) -> usize {
        self.keys.values().map(Vec::len).sum::<usize>() + self.listings.len() + self.cuts.len()
    }
}
