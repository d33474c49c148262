//! Who waits for an answer at this node. Every request is answered once, if only with "unknown" when the node stops.

use crate::Outcome;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// How a request ended, as far as this node can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// As the replica decided.
    Outcome(Outcome),
    /// The store is full, and the request would have had to be saved: certainly not done.
    Full,
    /// The node recovered or stopped with the request under way: as if the connection had broken.
    Interrupted,
}

/// The requests that are under way.
#[derive(Debug, Default)]
pub(super) struct Clients {
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Answered>>>,
}

impl Clients {
    /// Takes down who waits for request `number`.
    pub(super) fn insert(&self, number: u64, client: oneshot::Sender<Answered>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, client);
    }

    /// Answers request `number`. The client may have gone.
    pub(super) fn answer(&self, number: u64, outcome: Outcome) {
        let client = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(client) = client {
            let _ = client.send(Answered::Outcome(outcome));
        }
    }

    /// Answers request `number` that there is no room.
    pub(super) fn refuse_full(&self, number: u64) {
        let client = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(client) = client {
            let _ = client.send(Answered::Full);
        }
    }

    /// Answers everybody below `number` that the outcome is not known.
    pub(super) fn interrupt_below(&self, number: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let later = waiting.split_off(&number);
        let interrupted = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        for client in interrupted.into_values() {
            let _ = client.send(Answered::Interrupted);
        }
    }
}
