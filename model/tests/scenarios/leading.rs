//! Who leads and until when, what a leader proposes, and how the others catch up.

use crate::cluster::Cluster;
use crate::phrases::{applied, deliver_where, options, write};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Options, Timer};
use stateright::actor::Id;

#[test]
fn a_pre_vote_does_not_depose() {
    let mut cluster = Cluster::new(3, Options::default());
    cluster.elect(0);
    let before: Vec<Ballot> = cluster.nodes.iter().map(|node| node.durable.promised).collect();
    cluster.cut.insert(2);
    for _ in 0..3 {
        cluster.timeout(2, Timer::Election);
        cluster.settle();
    }
    cluster.cut.clear();
    cluster.timeout(2, Timer::Resend);
    cluster.settle();
    assert!(cluster.leads(0) && !cluster.leads(2));
    assert_eq!(cluster.nodes.iter().map(|node| node.durable.promised).collect::<Vec<_>>(), before);
}

#[test]
fn a_leader_that_lost_its_quorum_steps_down() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    cluster.timeout(0, Timer::Election);
    assert!(cluster.leads(0), "it was in contact");
    cluster.cut.insert(0);
    cluster.timeout(0, Timer::Resend);
    cluster.settle();
    cluster.timeout(0, Timer::Election);
    assert!(!cluster.leads(0));
}

#[test]
fn a_write_costs_one_save_a_replica() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(0, 1, write("k", "1"));
    cluster.settle();
    assert_eq!(cluster.request(0, 2, write("k", "2")).saves, 0, "taking a request saves but once a life");
    let flush = cluster.timeout(0, Timer::Flush);
    assert_eq!(flush.saves, 0, "proposing saves nothing");
    for envelope in cluster.take(|e| matches!(e.msg, Message::Accept { .. })) {
        assert_eq!(cluster.deliver(envelope.src, envelope.dst, envelope.msg).saves, 1, "a vote is saved");
    }
    for envelope in cluster.take(|e| matches!(e.msg, Message::Accepted { .. })) {
        assert_eq!(cluster.deliver(envelope.src, envelope.dst, envelope.msg).saves, 0, "deciding saves nothing");
    }
    assert!(applied(cluster.reply(2)));
}

#[test]
fn requests_that_gather_are_proposed_as_one_entry() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(0, 1, write("k", "1"));
    cluster.settle();
    let slot = cluster.nodes[0].durable.decided;
    for number in 2..=4 {
        cluster.request(0, number, write("k", &number.to_string()));
    }
    cluster.settle();
    assert!((2..=4).all(|number| applied(cluster.reply(number))));
    assert_eq!(cluster.entry(0, slot).map(|entry| entry.operations().len()), Some(3));
    assert_eq!(cluster.nodes[0].durable.decided, slot + 1);
}

#[test]
fn a_lagging_replica_catches_up_in_chunks() {
    let mut cluster = Cluster::new(3, Options { fetch_max: 2, ..options() });
    cluster.elect(0);
    cluster.cut.insert(2);
    for number in 1..=5 {
        cluster.request(0, number, write("k", &number.to_string()));
        cluster.settle();
        assert!(applied(cluster.reply(number)));
    }
    let decided = cluster.nodes[0].durable.decided;
    assert_eq!(cluster.nodes[2].durable.decided, 0);
    cluster.cut.clear();
    cluster.timeout(0, Timer::Resend);
    let chunks =
        cluster.settle().into_iter().filter(|e| e.dst == 2 && matches!(e.msg, Message::Decided { .. })).count();
    assert_eq!(chunks as u64, decided.div_ceil(2));
    assert_eq!(cluster.nodes[2].executor, cluster.nodes[0].executor);
}

/// Its followers take its decided mark for what it proposed itself.
#[test]
fn a_deposed_leader_does_not_vouch_for_its_own_proposal() {
    let (l, f, m, c) = (0, 1, 2, 3);
    let mut cluster = Cluster::new(5, options());
    // 1. A client's write at L, which follows nobody: it fetches from everybody; the copy to C is late.
    cluster.request(l, 1, write("k", "p"));
    cluster.timeout(l, Timer::Resend);
    let late = cluster.take(|e| e.dst == c && matches!(e.msg, Message::Fetch { .. }));
    assert_eq!(late.len(), 1);
    cluster.pool.clear();
    // 2. L prepares 1.0, F and C promise; L leads.
    cluster.timeout(l, Timer::Election);
    deliver_where(&mut cluster, |e| [f, c].contains(&e.dst) && matches!(e.msg, Message::Prepare { .. }));
    deliver_where(&mut cluster, |e| matches!(e.msg, Message::Promise { .. }));
    assert!(cluster.leads(l));
    cluster.pool.clear();
    cluster.timeout(l, Timer::Flush);
    // L and F vote; nothing else arrives.
    deliver_where(&mut cluster, |e| [l, f].contains(&e.dst) && matches!(e.msg, Message::Accept { .. }));
    cluster.pool.clear();
    // 3. M prepares above, C and D promise (no votes there), and decides an entry of its own.
    cluster.cut.extend([l, f]);
    cluster.request(m, 2, write("k", "v"));
    cluster.elect(m);
    cluster.timeout(m, Timer::Resend);
    cluster.settle();
    assert_eq!(cluster.nodes[c].durable.promised.node, Id::from(m));
    assert!(cluster.nodes[c].durable.decided >= 1);
    // 4. The late Fetch reaches C, its answer L.
    cluster.pool.clear();
    cluster.cut.clear();
    for e in late {
        cluster.deliver(e.src, e.dst, e.msg);
    }
    deliver_where(&mut cluster, |e| e.dst == l && matches!(e.msg, Message::Decided { .. }));
    assert!(cluster.nodes[l].durable.decided >= 1);
    // 5. L's heartbeat reaches F.
    cluster.pool.clear();
    cluster.timeout(l, Timer::Resend);
    deliver_where(&mut cluster, |e| e.dst == f && matches!(e.msg, Message::Heartbeat { .. }));
    assert!(
        cluster.entry(f, 0).is_none_or(|decided| Some(decided) == cluster.entry(c, 0)),
        "F and C disagree on slot 0"
    );
}
