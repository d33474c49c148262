//! Snapshots: what takes the place of the log, and how it gets to who is behind.

use crate::cluster::Cluster;
use crate::phrases::{applied, options, write};
use paxos_model::replica::{Options, Timer};

fn short() -> Options {
    Options { snapshot_every: 8, tail: 4, bytes_max: 600, patience: 2, ..options() }
}

/// Writes `count` values to ten keys at node 0, each decided before the next.
fn write_many(cluster: &mut Cluster, from: u64, count: u64) {
    for number in from..from + count {
        cluster.request(0, number, write(&format!("k{}", number % 10), &format!("{number}")));
        cluster.settle();
        assert!(applied(cluster.reply(number)), "{number}: {:?}", cluster.reply(number));
    }
}

#[test]
fn the_log_holds_no_more_than_an_interval_and_a_tail() {
    let mut cluster = Cluster::new(3, short());
    cluster.timeout(0, Timer::Election);
    cluster.settle();
    write_many(&mut cluster, 1, 100);
    for node in 0..3 {
        let durable = &cluster.nodes[node].durable;
        assert!(durable.decided > 100 && durable.log.len() <= 12, "node {node} keeps {} slots", durable.log.len());
        assert_eq!(durable.snapshot.applied, durable.decided / 8 * 8);
    }
    cluster.restart(2);
    assert_eq!(cluster.value(2, "k1"), "91", "it begins from the snapshot");
}

#[test]
fn who_was_away_is_sent_the_snapshot_in_parts_while_writes_go_on() {
    let mut cluster = Cluster::new(3, short());
    cluster.cut.insert(2);
    cluster.timeout(0, Timer::Election);
    cluster.settle();
    write_many(&mut cluster, 1, 100);
    cluster.cut.clear();
    for number in 101..140 {
        cluster.timeout(0, Timer::Resend);
        write_many(&mut cluster, number, 1);
    }
    let (leader, late) = (&cluster.nodes[0], &cluster.nodes[2]);
    assert_eq!((late.durable.decided, &late.executor), (leader.durable.decided, &leader.executor));
    assert!(late.durable.first() > 90, "it has no log of what it was away for");
}
