//! The acceptor of the Go original (`paxos/simple_acceptor.go`) for one slot, and its ballots (`paxos/proposer.go`).

use std::fmt;

/// Go `INITIAL`: the ballot of a slot that nobody has touched.
pub const INITIAL: u64 = 0;
/// Go `COMMITTED`: the mark of a committed slot, in the field that otherwise holds a ballot.
pub const COMMITTED: u64 = u64::MAX;
/// Go `PROPOSAL_STEP`.
pub const PROPOSAL_STEP: u64 = 1 << 32;

/// Go `compose`. Go's unsigned arithmetic wraps around without a word, so this does.
pub fn compose(round: u64, node: u64) -> u64 {
    PROPOSAL_STEP.wrapping_mul(round).wrapping_add(node)
}

/// Go `decompose`: round and node of a ballot.
pub fn decompose(proposal: u64) -> (u64, u64) {
    (proposal / PROPOSAL_STEP, proposal % PROPOSAL_STEP)
}

/// Go `quorum`.
pub fn quorum(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// Go `Cmd`, of which only the identity matters here: the value that a client writes at the node of this number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Value(pub u8);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// The one switch between the original and its repaired twin.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Repair {
    /// The Go code as it stands.
    None,
    /// The ballot at which a value was accepted is a field of its own, and phase 1 takes the value with the highest of
    /// these.
    AcceptedBallotKeptApart,
}

/// Go `Promise[T]`: all that an acceptor keeps of a slot, and what it answers with.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Promise {
    /// The ballot promised, or that of the accepted value, whichever was last: the mistake.
    pub proposal: u64,
    /// The value accepted, if any.
    pub value: Option<Value>,
    /// The ballot at which it was accepted. The original has no such field: only the repaired twin fills it.
    pub accepted: u64,
}

impl Promise {
    /// Go `simpleAcceptor.prepare`: what the slot holds afterwards and whether the answer is Ok. The answer carries
    /// what it held before.
    pub fn prepare(self, proposal: u64) -> (Self, bool) {
        if self.proposal < proposal { (Self { proposal, ..self }, true) } else { (self, false) }
    }

    /// Go `simpleAcceptor.accept`, likewise.
    pub fn accept(self, proposal: u64, value: Value, repair: Repair) -> (Self, bool) {
        if self.proposal <= proposal { (Self::holding(proposal, value, repair), true) } else { (self, false) }
    }

    /// Go `simpleAcceptor.commit`, which looks neither at what it overwrites nor at who asks.
    pub fn commit(self, value: Value, repair: Repair) -> Self {
        Self::holding(COMMITTED, value, repair)
    }

    fn holding(proposal: u64, value: Value, repair: Repair) -> Self {
        let accepted = if repair == Repair::None { INITIAL } else { proposal };
        Self { proposal, value: Some(value), accepted }
    }
}
