//! Ballots and slots: the two numbers that everything else is ordered by.

use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::fmt;

/// A ballot number: compared by round first, then by the node that owns it, so no two nodes ever own the same one.
///
/// *Paxos Made Simple*, section 2.5: "different proposers choose their numbers from disjoint sets of numbers".
/// The default, round 0 of node 0, is below every ballot that a node starts.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Counts up; 0 only before any ballot.
    pub round: u64,
    /// The node that may propose in this ballot.
    pub node: Id,
}

impl Ballot {
    /// The lowest ballot of `node` that is above every ballot of this round.
    pub fn next(self, node: Id) -> Ballot {
        Ballot { round: self.round + 1, node }
    }

    /// The highest ballot below this one, whoever's it would be; of the lowest one itself there is none, and it is returned.
    pub fn before(self) -> Ballot {
        match (usize::from(self.node).checked_sub(1), self.round.checked_sub(1)) {
            (Some(node), _) => Ballot { node: node.into(), ..self },
            (None, Some(round)) => Ballot { round, node: usize::MAX.into() },
            (None, None) => self,
        }
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, usize::from(self.node))
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A position in the log, from 0.
pub type Slot = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_are_ordered_by_round_then_node() {
        let ballot = |round, node: usize| Ballot { round, node: node.into() };
        assert!(Ballot::default() < ballot(1, 0));
        assert!(ballot(1, 2) < ballot(2, 0));
        assert!(ballot(1, 0) < ballot(1, 1));
        assert_eq!(ballot(3, 2).next(0.into()), ballot(4, 0));
        assert_eq!((ballot(3, 2).before(), ballot(0, 0).before()), (ballot(3, 1), ballot(0, 0)));
        let before = ballot(3, 0).before();
        assert!(ballot(2, 1000) < before && before < ballot(3, 0));
    }
}
