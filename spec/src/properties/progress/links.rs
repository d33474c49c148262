//! Which links are up once faults end.

use paxos_model::replica::configuration::Configuration;
use stateright::actor::Id;
use std::fmt;

/// How many nodes there can be.
const NODES_MAX: usize = 8;

/// Who takes part, and which directed links are up; a node hears itself always.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Links {
    /// A bit for each node that takes part.
    nodes: u8,
    /// For each node the bits of those that hear it.
    up: [u8; NODES_MAX],
}

impl Links {
    /// Every link among `nodes`.
    ///
    /// # Panics
    ///
    /// Like the others, if a node is not below 8.
    pub fn among(nodes: &[usize]) -> Self {
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b)));
        let mut links = Links::directed(pairs.filter(|(a, b)| a != b));
        nodes.iter().for_each(|node| links.nodes |= bit(*node));
        links
    }

    /// These links; whoever has one takes part.
    pub fn directed(up: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut links = Links { nodes: 0, up: [0; NODES_MAX] };
        for (a, b) in up {
            links.nodes |= bit(a) | bit(b);
            links.up[a] |= bit(b);
        }
        links
    }

    /// These links, both ways.
    pub fn both_ways(pairs: &[(usize, usize)]) -> Self {
        Links::directed(pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]))
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
        let all: Vec<(usize, usize)> = Links::among(&nodes).all_up().map(|(a, b)| (a.into(), b.into())).collect();
        let subset = |bits: u32| all.iter().zip(0..).filter(move |(_, i)| bits >> i & 1 == 1).map(|(link, _)| *link);
        (0..1 << all.len()).map(|bits| Links::directed(subset(bits))).filter(|l| l.reach_quorum(count)).collect()
    }

    /// Whether some node reaches a quorum of `count` replicas in both directions: then a leader must emerge.
    pub fn reach_quorum(&self, count: usize) -> bool {
        let configuration = Configuration::of_voters(count);
        let near = |node: Id| self.nodes().filter(move |other| self.both(node, *other)).collect();
        self.nodes().any(|node| configuration.is_quorum(&near(node)))
    }

    /// The nodes that take part, in order.
    pub fn nodes(&self) -> impl Iterator<Item = Id> + use<> {
        let nodes = self.nodes;
        (0..NODES_MAX).filter(move |node| nodes & bit(*node) != 0).map(Id::from)
    }

    /// Whether that one does.
    pub fn takes_part(&self, node: Id) -> bool {
        self.nodes & bit(node.into()) != 0
    }

    /// Whether what `src` sends reaches `dst`.
    pub fn up(&self, src: Id, dst: Id) -> bool {
        src == dst || self.up[usize::from(src)] & bit(dst.into()) != 0
    }

    /// Whether two nodes hear each other.
    pub fn both(&self, a: Id, b: Id) -> bool {
        self.up(a, b) && self.up(b, a)
    }

    fn all_up(&self) -> impl Iterator<Item = (Id, Id)> {
        self.nodes().flat_map(|a| self.nodes().map(move |b| (a, b))).filter(|(a, b)| a != b && self.up(*a, *b))
    }
}

fn bit(node: usize) -> u8 {
    assert!(node < NODES_MAX, "node {node} of at most {NODES_MAX}");
    1 << node
}

/// As `0-1 1>2`: 0 and 1 hear each other, and 2 hears 1.
impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all_up().next().is_none() {
            return write!(f, "none");
        }
        let mut separator = "";
        for (a, b) in self.all_up().filter(|(a, b)| a < b || !self.up(*b, *a)) {
            let sign = if self.up(b, a) { '-' } else { '>' };
            write!(f, "{separator}{}{sign}{}", usize::from(a), usize::from(b))?;
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
        assert!(!Links::directed([(0, 1), (1, 2), (2, 0)]).reach_quorum(3));
    }

    #[test]
    fn a_star_and_a_chain_of_five_reach_a_quorum_and_a_shorter_chain_does_not() {
        assert!(Links::star(3, 5).reach_quorum(5) && Links::chain(&[4, 2, 0, 1, 3]).reach_quorum(5));
        assert!(!Links::both_ways(&[(0, 1), (1, 0), (2, 3), (3, 4)]).reach_quorum(7));
        assert!(!Links::both_ways(&[(0, 1), (2, 3)]).reach_quorum(5));
    }

    #[test]
    fn links_are_told_briefly() {
        let links = Links::directed([(0, 1), (1, 0), (2, 0)]);
        assert_eq!(format!("{links:?}"), "0-1 2>0");
    }
}
