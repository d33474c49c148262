//! Where what nodes send to each other gathers, until it is put on its way.

use paxos::Msg;
use paxos::node::Peers;
use stateright::actor::Id;
use std::sync::{Mutex, PoisonError};

/// A node's messages to others.
#[derive(Default)]
pub(crate) struct Gathered(Mutex<Vec<(Id, Msg)>>);

impl Gathered {
    /// Whether none came since they were taken last.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Those that came since they were taken last, in their order.
    pub(crate) fn take(&self) -> Vec<(Id, Msg)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Peers for Gathered {
    fn send(&self, dst: Id, message: Msg) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((dst, message));
    }
}
