//! Exactly what survives a crash.
//!
//! One value, saved whole. `promised`, `accepted` and the entries voted for are saved in the very step that sends the promise
//! or the vote, and the runtime lets no message of a step leave before its save is synced. `decided` and the snapshot that
//! follows from it are saved lazily, with whatever is saved next: what is decided follows from the votes of a quorum, so losing
//! the mark loses no decision. What arrives of a snapshot of another replica is saved as it arrives.

use super::ballot::{Ballot, Slot};
use super::executor::Executor;
use super::message::Entry;
use super::snapshot::Arriving;
use crate::machine::StateMachine;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// The durable state of one replica: its acceptor, what is decided, and a count of its lives.
///
/// Invariant: `accepted` holds slots from `decided` on, each with an entry in `log`; below `decided`, `log` holds every slot from
/// `snapshot.applied` on, and before that the tail that is kept for those who are a little behind, or what others are being sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct Durable<S: StateMachine> {
    /// The highest ballot promised: nothing below it is promised or voted for again. Saved before the promise is seen.
    pub promised: Ballot,
    /// What was decided here when that promise was made: it decides where the promise's report begins.
    pub promised_at: Slot,
    /// The ballot of the latest vote for each slot that is not decided here. Saved before the vote is seen.
    pub accepted: OrdMap<Slot, Ballot>,
    /// The entry voted for, or, below `decided`, the entry decided.
    pub log: OrdMap<Slot, Entry<S::Command>>,
    /// Every slot below is decided. Saved lazily.
    pub decided: Slot,
    /// How often this node took a new number for its session and its reads: in each life that took a request from a client, and
    /// again when the session was lost. Saved before anything that carries it is seen, so that
    /// no two lives send the same number.
    pub incarnation: u64,
    /// What the decided entries below its slot came to; those need be kept no longer.
    pub snapshot: Executor<S>,
    /// The part of another replica's snapshot that has arrived. It is of a slot above `decided`.
    pub arriving: Option<Arriving<S>>,
}

impl<S: StateMachine> Default for Durable<S> {
    fn default() -> Self {
        Durable {
            promised: Ballot::default(),
            promised_at: 0,
            accepted: OrdMap::new(),
            log: OrdMap::new(),
            decided: 0,
            incarnation: 0,
            snapshot: Executor::default(),
            arriving: None,
        }
    }
}

impl<S: StateMachine> Durable<S> {
    /// The first decided slot whose entry is kept; `decided` if none is.
    pub fn first(&self) -> Slot {
        self.log.get_min().map_or(self.decided, |(slot, _)| self.decided.min(*slot))
    }
}

/// `imbl` hashes the elements of a map without their count, so two neighbouring maps could trade elements unnoticed.
impl<S: StateMachine> Hash for Durable<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.promised.hash(state);
        state.write_u64(self.promised_at);
        state.write_usize(self.accepted.len());
        self.accepted.hash(state);
        state.write_usize(self.log.len());
        self.log.hash(state);
        state.write_u64(self.decided);
        state.write_u64(self.incarnation);
        self.snapshot.hash(state);
        self.arriving.hash(state);
    }
}
