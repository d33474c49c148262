//! Who is a member, from which slot on, and what a quorum is.
//!
//! The configuration is a function of the slot: an entry decided at slot s rules from s + window on, so a leader always
//! knows the configuration of every slot that it may propose in. The commands that change it come later; every quorum is
//! computed through here so that they can.

use super::ballot::Slot;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::collections::BTreeSet;
use std::ops::Range;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Promises, votes, and may lead.
    Voter,
    /// Learns and serves; counts in no quorum.
    Learner,
}

/// The members that rule a range of slots, and the limits on sessions: they decide what is applied, so that they too may
/// change only by an entry of the log. Node numbers are never reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Every member and its role.
    pub members: OrdMap<Id, Role>,
    /// Open sessions, at least 1; the least recently used one makes room.
    pub sessions_max: usize,
    /// Replies that a session keeps, at least 1: how far ahead of the acknowledged operations a client may be.
    pub replies_max: u64,
}

impl Configuration {
    /// Nodes 0 to `count` - 1, all voters.
    pub fn of_voters(count: usize) -> Self {
        let members = (0..count).map(|node| (Id::from(node), Role::Voter)).collect();
        Configuration { members, sessions_max: 4096, replies_max: 1024 }
    }

    /// Whether `node` promises and votes.
    pub fn is_voter(&self, node: Id) -> bool {
        self.members.get(&node) == Some(&Role::Voter)
    }

    /// The voters, in order.
    pub fn voters(&self) -> impl Iterator<Item = Id> + '_ {
        self.members.iter().filter(|(_, role)| **role == Role::Voter).map(|(node, _)| *node)
    }

    /// Whether the voters among `nodes` are a majority of the voters. Any two quorums of one configuration intersect.
    pub fn is_quorum(&self, nodes: &BTreeSet<Id>) -> bool {
        let present = self.voters().filter(|node| nodes.contains(node)).count();
        present * 2 > self.voters().count()
    }
}

/// The configuration of every slot: each entry rules from its slot up to the next entry's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configurations {
    from: OrdMap<Slot, Configuration>,
}

impl Configurations {
    /// `initial` rules every slot.
    pub fn new(initial: Configuration) -> Self {
        Configurations { from: OrdMap::unit(0, initial) }
    }

    /// The configuration that rules `slot`.
    pub fn at(&self, slot: Slot) -> &Configuration {
        let (_, configuration) = self.from.get_prev(&slot).expect("a configuration rules from slot 0 on");
        configuration
    }

    /// Every configuration that rules a slot of `slots` (at least that of its first).
    pub fn over(&self, slots: Range<Slot>) -> impl Iterator<Item = &Configuration> {
        std::iter::once(self.at(slots.start))
            .chain(self.from.range(slots.start + 1..slots.end.max(slots.start + 1)).map(|(_, c)| c))
    }

    /// Whether `nodes` are a quorum in every configuration that rules a slot of `slots`: what phase 1 needs.
    pub fn is_quorum_over(&self, slots: Range<Slot>, nodes: &BTreeSet<Id>) -> bool {
        self.over(slots).all(|configuration| configuration.is_quorum(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(of: &[usize]) -> BTreeSet<Id> {
        of.iter().map(|node| Id::from(*node)).collect()
    }

    #[test]
    fn every_two_quorums_intersect_and_a_majority_is_one() {
        for count in [1, 2, 3, 5, 7] {
            let configuration = Configuration::of_voters(count);
            let subsets: Vec<BTreeSet<Id>> = (0..1u32 << count)
                .map(|bits| (0..count).filter(|n| bits >> n & 1 == 1).map(Id::from).collect())
                .collect();
            let quorums: Vec<_> = subsets.iter().filter(|s| configuration.is_quorum(s)).collect();
            assert!(quorums.iter().all(|a| quorums.iter().all(|b| !a.is_disjoint(b))), "{count}");
            assert!(subsets.iter().all(|s| configuration.is_quorum(s) == (s.len() > count / 2)), "{count}");
        }
    }

    #[test]
    fn learners_and_strangers_do_not_count() {
        let mut configuration = Configuration::of_voters(3);
        configuration.members.insert(Id::from(3), Role::Learner);
        assert!(!configuration.is_quorum(&nodes(&[0, 3, 9])));
        assert!(configuration.is_quorum(&nodes(&[0, 2, 3])));
    }

    #[test]
    fn phase_one_needs_a_quorum_in_every_configuration_of_the_open_slots() {
        let mut configurations = Configurations::new(Configuration::of_voters(3));
        configurations.from.insert(5, Configuration::of_voters(5));
        assert_eq!(configurations.at(4).members.len(), 3);
        assert_eq!(configurations.at(5).members.len(), 5);
        assert!(configurations.is_quorum_over(3..5, &nodes(&[0, 1])));
        assert!(!configurations.is_quorum_over(3..6, &nodes(&[0, 1])));
        assert!(!configurations.is_quorum_over(3..6, &nodes(&[0, 3, 4])));
        assert!(configurations.is_quorum_over(3..6, &nodes(&[0, 1, 4])));
        assert!(configurations.is_quorum_over(7..7, &nodes(&[2, 3, 4])));
    }
}
