//! What an acceptor answers and keeps, and what a new leader must take up.

use crate::cluster::Cluster;
use crate::phrases::{accept, ballot, entry, messages, options};
use paxos_model::replica::message::{Entry, Message, Vote};

#[test]
fn phase_1_recovers_the_highest_vote() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(1, 0, accept(ballot(1, 1), 0, "low"));
    cluster.deliver(2, 2, accept(ballot(2, 2), 0, "high"));
    cluster.pool.clear();
    cluster.cut.insert(1);
    cluster.elect(0);
    for node in [0, 2] {
        assert_eq!(cluster.entry(node, 0), Some(&entry("high")), "node {node}");
    }
}

#[test]
fn a_hole_is_filled_with_a_no_op() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(1, 1, accept(ballot(1, 1), 1, "later"));
    cluster.pool.clear();
    cluster.cut.insert(2);
    cluster.elect(0);
    for node in [0, 1] {
        assert_eq!(cluster.entry(node, 0), Some(&Entry::Noop), "node {node}");
        assert_eq!(cluster.entry(node, 1), Some(&entry("later")), "node {node}");
    }
}

#[test]
fn a_stale_accept_is_ignored() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(2, 1, Message::Prepare { ballot: ballot(2, 2) });
    let before = cluster.nodes[1].clone();
    let outputs = cluster.deliver(0, 1, accept(ballot(1, 0), 0, "stale"));
    assert!(outputs.sent.is_empty() && outputs.saves == 0);
    assert_eq!(cluster.nodes[1], before);
}

#[test]
fn a_duplicate_is_answered_identically_without_a_save() {
    let mut cluster = Cluster::new(3, options());
    for msg in [Message::Prepare { ballot: ballot(1, 0) }, accept(ballot(1, 0), 0, "a")] {
        let first = cluster.deliver(0, 1, msg.clone());
        let again = cluster.deliver(0, 1, msg.clone());
        assert_eq!(messages(&first), messages(&again), "{msg:?}");
        assert_eq!((first.saves, again.saves), (1, 0), "{msg:?}");
    }
}

#[test]
fn a_restart_keeps_promise_and_votes() {
    let mut cluster = Cluster::new(3, options());
    cluster.deliver(0, 1, Message::Prepare { ballot: ballot(1, 0) });
    cluster.deliver(2, 1, accept(ballot(2, 2), 0, "a"));
    cluster.restart(1);
    assert!(cluster.deliver(0, 1, accept(ballot(1, 0), 1, "stale")).sent.is_empty());
    let outputs = cluster.deliver(0, 1, Message::Prepare { ballot: ballot(3, 0) });
    let votes = vec![Vote { slot: 0, ballot: ballot(2, 2), entry: entry("a") }];
    assert_eq!(messages(&outputs), [&Message::Promise { ballot: ballot(3, 0), first: 0, votes }]);
}
