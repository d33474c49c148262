//! What happened in a life: a digest of all of it, and the last of it in words.

use super::Time;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Takes down events.
pub(crate) struct Record {
    digest: DefaultHasher,
    pub(crate) events: u64,
    last: VecDeque<String>,
    /// How many are kept in words.
    keep: usize,
    /// How often what happened that a life may be without.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Record {
    pub(crate) fn new(keep: usize) -> Record {
        Record { digest: DefaultHasher::new(), events: 0, last: VecDeque::new(), keep, counts: BTreeMap::new() }
    }

    /// Something happened; `what` tells it from everything else, and `words` says it.
    pub(crate) fn event(&mut self, at: Time, what: impl Hash, words: impl FnOnce() -> String) {
        self.events += 1;
        at.hash(&mut self.digest);
        what.hash(&mut self.digest);
        if self.keep > 0 {
            if self.last.len() == self.keep {
                self.last.pop_front();
            }
            self.last.push_back(format!("{:10.3} ms  {}", at as f64 / 1000.0, words()));
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(crate) fn last(self) -> Vec<String> {
        self.last.into()
    }
}
