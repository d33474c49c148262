//! What a scope allows.

use stateright::actor::{Actor, Id};

/// The bounds and reductions of a scope.
pub struct Settings<A: Actor> {
    /// Goes into every fingerprint: two runs with two salts must give the same counts.
    pub salt: u64,
    /// Whether dead messages are removed.
    pub reduce: bool,
    /// Which nodes may crash and start again, at any time.
    pub restarts: Vec<bool>,
    /// How many restarts there may be in all; `None` for any number.
    pub restarts_max: Option<u8>,
    /// The allowances that [`Cost::Counter`](super::Cost::Counter) takes from: how many such steps a run may have.
    pub caps: Vec<u8>,
    /// Whether a message may be removed when it is dead.
    pub reducible: fn(&A::Msg) -> bool,
    /// Whether a message is delivered at most once: a client's request over a stream.
    pub once: fn(src: Id, &A::Msg) -> bool,
    /// Whether a message is always lost in this scope.
    pub lost: fn(src: Id, dst: Id, &A::Msg) -> bool,
    /// Whether a node has a timer in this scope at all: one that it has not never runs out.
    pub timers: fn(node: usize, &A::Timer) -> bool,
}

impl<A: Actor> Settings<A> {
    /// Nothing reduced, nothing restarted, every message duplicated at will.
    pub fn plain() -> Self {
        Settings {
            salt: 0,
            reduce: false,
            restarts: Vec::new(),
            restarts_max: None,
            caps: Vec::new(),
            reducible: |_| true,
            once: |_, _| false,
            lost: |_, _, _| false,
            timers: |_, _| true,
        }
    }

    /// Whether that node may crash and start again.
    pub(super) fn may_restart(&self, node: usize) -> bool {
        self.restarts.get(node).copied().unwrap_or(false) && self.restarts_max != Some(0)
    }
}

impl<A: Actor> Clone for Settings<A> {
    fn clone(&self) -> Self {
        Settings { restarts: self.restarts.clone(), caps: self.caps.clone(), ..*self }
    }
}
