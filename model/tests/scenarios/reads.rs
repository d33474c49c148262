//! When a linearizable read is served.

use crate::cluster::Cluster;
use crate::phrases::{applied, options, read, write};
use paxos_model::kv::Answer;
use paxos_model::replica::Timer;
use paxos_model::replica::message::{Message, Outcome};

#[test]
fn a_read_waits_for_a_quorum_round_sent_after_it_arrived() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.timeout(0, Timer::Resend);
    let heartbeats = cluster.take(|e| matches!(e.msg, Message::Heartbeat { .. }));
    cluster.request(0, 1, read("k"));
    for heartbeat in heartbeats {
        cluster.deliver(heartbeat.src, heartbeat.dst, heartbeat.msg);
    }
    let early = cluster.take(|e| matches!(e.msg, Message::HeartbeatAck { .. }));
    cluster.timeout(0, Timer::Flush);
    assert_eq!(early.len(), 2);
    for ack in early {
        cluster.deliver(ack.src, ack.dst, ack.msg);
    }
    assert_eq!(cluster.reply(1), None, "confirmed by a round from before it arrived");
    cluster.settle();
    assert!(matches!(cluster.reply(1), Some(Outcome::Answer { .. })));
}

#[test]
fn a_deposed_leaders_read_is_never_served() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.cut.insert(0);
    cluster.elect(1);
    cluster.request(1, 1, write("k", "new"));
    cluster.settle();
    assert!(applied(cluster.reply(1)));
    assert!(cluster.leads(0), "it does not know yet");
    cluster.request(0, 2, read("k"));
    cluster.settle();
    cluster.timeout(0, Timer::Resend);
    cluster.cut.clear();
    for heartbeat in cluster.take(|e| e.src == 0) {
        cluster.deliver(0, heartbeat.dst, heartbeat.msg);
    }
    assert_eq!(cluster.reply(2), None, "an old value would be read");
    cluster.settle();
    cluster.timeout(1, Timer::Resend);
    cluster.settle_after_resend();
    match cluster.reply(2) {
        Some(Outcome::Answer { answer: Answer::Entry(entry), .. }) => assert_eq!(&*entry.val, "new"),
        other => panic!("{other:?}"),
    }
}

/// A confirmed read waits for a slot that nobody fills.
#[test]
fn a_confirmed_read_outlives_its_leader() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(0, 1, write("a", "1"));
    cluster.settle();
    cluster.request(0, 2, write("a", "2"));
    cluster.timeout(0, Timer::Flush);
    cluster.take(|e| matches!(e.msg, Message::Accept { .. }));
    cluster.request(1, 3, read("a"));
    cluster.settle();
    cluster.cut.insert(0);
    cluster.elect(2);
    for _ in 0..20 {
        for node in [1, 2] {
            cluster.timeout(node, Timer::Resend);
            cluster.settle();
        }
    }
    assert!(cluster.reply(3).is_some(), "stuck: {:?}", cluster.nodes[1].gateway.reads);
}
