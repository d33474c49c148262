//! Which links are up once faults end.

use paxos_model::replica::configuration::Configuration;
use stateright::actor::Id;
use std::collections::BTreeSet;
use std::fmt;

/// Who takes part, and which directed links are up; a node hears itself always.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Links {
    nodes: BTreeSet<Id>,
    up: BTreeSet<(Id, Id)>,
}

impl Links {
    /// Every link among `nodes`.
    pub fn among(nodes: &[usize]) -> Self {
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (Id::from(*a), Id::from(*b))));
        Links { nodes: nodes.iter().map(|node| Id::from(*node)).collect(), up: pairs.filter(|(a, b)| a != b).collect() }
    }

    /// These links; whoever has one takes part.
    pub fn directed(up: impl IntoIterator<Item = (Id, Id)>) -> Self {
        let up: BTreeSet<(Id, Id)> = up.into_iter().collect();
        Links { nodes: up.iter().flat_map(|(a, b)| [*a, *b]).collect(), up }
    }

    /// These links, both ways.
    pub fn both_ways(pairs: &[(usize, usize)]) -> Self {
        Links::directed(pairs.iter().flat_map(|(a, b)| [((*a).into(), (*b).into()), ((*b).into(), (*a).into())]))
    }

    /// `center` and each of the others, among `count`.
    pub fn star(center: usize, count: usize) -> Self {
        let pairs: Vec<_> = (0..count).filter(|node| *node != center).map(|node| (center, node)).collect();
        Links::both_ways(&pairs)
    }

    /// Each of `nodes` with the next.
    pub fn chain(nodes: &[usize]) -> Self {
        let pairs: Vec<_> = nodes.windows(2).map(|pair| (pair[0], pair[1])).collect();
        Links::both_ways(&pairs)
    }

    /// Every set of links among `count` replicas, at most 4, under which a leader must emerge.
    pub fn every(count: usize) -> Vec<Self> {
        let nodes: Vec<usize> = (0..count).collect();
        let all: Vec<_> = Links::among(&nodes).up.into_iter().collect();
        let subset = |bits: u32| all.iter().zip(0..).filter(move |(_, i)| bits >> i & 1 == 1).map(|(link, _)| *link);
        (0..1 << all.len()).map(|bits| Links::directed(subset(bits))).filter(|l| l.reach_quorum(count)).collect()
    }

    /// Whether some node reaches a quorum of `count` replicas in both directions: then a leader must emerge.
    pub fn reach_quorum(&self, count: usize) -> bool {
        let configuration = Configuration::of_voters(count);
        let near = |node: Id| self.nodes.iter().copied().filter(move |other| self.both(node, *other)).collect();
        self.nodes.iter().any(|node| configuration.is_quorum(&near(*node)))
    }

    /// The nodes that take part.
    pub fn nodes(&self) -> &BTreeSet<Id> {
        &self.nodes
    }

    /// Whether what `src` sends reaches `dst`.
    pub fn up(&self, src: Id, dst: Id) -> bool {
        src == dst || self.up.contains(&(src, dst))
    }

    /// Whether two nodes hear each other.
    pub fn both(&self, a: Id, b: Id) -> bool {
        self.up(a, b) && self.up(b, a)
    }
}

/// As `0-1 1>2`: 0 and 1 hear each other, and 2 hears 1.
impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.up.is_empty() {
            return write!(f, "none");
        }
        let mut separator = "";
        for (a, b) in self.up.iter().filter(|(a, b)| a < b || !self.up(*b, *a)) {
            let sign = if self.up(*b, *a) { '-' } else { '>' };
            write!(f, "{separator}{}{sign}{}", usize::from(*a), usize::from(*b))?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_sets_of_links_among_three_those_with_a_pair_both_ways_count() {
        // 64 sets; in 27 of them each of the three pairs has one link or none.
        assert_eq!(Links::every(3).len(), 37);
        assert!(Links::among(&[0]).reach_quorum(1) && !Links::among(&[0]).reach_quorum(2));
        assert!(!Links::directed([(0.into(), 1.into()), (1.into(), 2.into()), (2.into(), 0.into())]).reach_quorum(3));
    }

    #[test]
    fn a_star_and_a_chain_of_five_reach_a_quorum_and_a_shorter_chain_does_not() {
        assert!(Links::star(3, 5).reach_quorum(5) && Links::chain(&[4, 2, 0, 1, 3]).reach_quorum(5));
        assert!(!Links::both_ways(&[(0, 1), (1, 0), (2, 3), (3, 4)]).reach_quorum(7));
        assert!(!Links::both_ways(&[(0, 1), (2, 3)]).reach_quorum(5));
    }

    #[test]
    fn links_are_told_briefly() {
        let links = Links::directed([(0.into(), 1.into()), (1.into(), 0.into()), (2.into(), 0.into())]);
        assert_eq!(format!("{links:?}"), "0-1 2>0");
    }
}
