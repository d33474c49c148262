//! Sessions: nothing is applied twice, and none is used by two.

use crate::cluster::{Cluster, Envelope};
use crate::phrases::{applied, opened, options, put, write, write_in};
use paxos_model::replica::Timer;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::{
    Act, Entry, Message, Operation, OperationId, Outcome, Refusal, Request, Uncertainty,
};
use std::sync::Arc;

#[test]
fn a_retry_through_another_node_is_answered_from_the_session() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    let session = opened(cluster.reply(1));
    cluster.request(1, 2, write_in(session, 1, "k", "once"));
    cluster.settle_after_resend();
    assert!(applied(cluster.reply(2)));
    let log = cluster.nodes[2].durable.log.clone();
    cluster.request(2, 3, write_in(session, 1, "k", "once"));
    assert_eq!(cluster.reply(3), cluster.reply(2));
    assert_eq!(cluster.nodes[2].durable.log, log);
}

#[test]
fn an_operation_that_is_in_the_log_twice_is_applied_once() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    let session = opened(cluster.reply(1));
    let id = OperationId { session, sequence: 1 };
    let operation = Operation::InSession { id, by_node: false, acknowledged_below: 1, act: put("k", "once") };
    let twice = Entry::Batch(Arc::from([operation.clone(), operation]));
    let from = cluster.nodes[2].durable.decided;
    cluster.deliver(0, 2, Message::Decided { from, entries: vec![twice] });
    assert_eq!(cluster.nodes[2].executor.machine.get(&"k".into()).ver, 1);
}

#[test]
fn what_an_evicted_session_sends_is_unknown_and_not_applied() {
    let mut cluster = Cluster::of(Configuration { sessions_max: 2, ..Configuration::of_voters(3) }, options());
    cluster.elect(0);
    let mut sessions = Vec::new();
    for number in 1..=2 {
        cluster.request(0, number, Request::Write { session: None, act: Act::OpenSession });
        cluster.settle();
        sessions.push(opened(cluster.reply(number)));
    }
    cluster.request(0, 3, write_in(sessions[0], 1, "evicted", "v"));
    cluster.request(0, 4, write_in(sessions[1], 1, "kept", "v"));
    cluster.settle();
    assert_eq!(cluster.reply(3), Some(&Outcome::Unknown(Uncertainty::SessionExpired)));
    assert!(applied(cluster.reply(4)));
    assert_eq!((cluster.value(0, "evicted"), cluster.value(0, "kept")), (String::new(), "v".into()));
}

/// Room for two sessions.
fn two_sessions() -> Cluster {
    let configuration = Configuration { sessions_max: 2, ..Configuration::of_voters(3) };
    Cluster::of(configuration, options())
}

/// An operation of an older session expires after a new session is open.
#[test]
fn an_older_sessions_expiry_does_not_end_the_new_one() {
    let mut cluster = two_sessions();
    cluster.elect(0);
    cluster.request(1, 1, write("a", "1"));
    cluster.settle_after_resend();
    assert!(applied(cluster.reply(1)));
    let session = *cluster.nodes[1].executor.sessions.keys().next().expect("open");
    // w2 is handed on, and late.
    cluster.request(1, 2, write("a", "2"));
    cluster.timeout(1, Timer::Flush);
    let late = cluster.take(|e| matches!(e.msg, Message::Forward { .. }));
    assert_eq!(late.len(), 1);
    // Node 0's session, and then a client's, for which node 1's makes room.
    cluster.request(0, 3, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle_after_resend();
    assert!(!cluster.nodes[0].executor.sessions.contains_key(&session), "it made room");
    // w3 finds out, w4 opens a new session and is done.
    cluster.request(1, 4, write("a", "3"));
    cluster.settle_after_resend();
    assert_eq!(cluster.reply(4), Some(&Outcome::Refused(Refusal::SessionExpired)));
    cluster.request(1, 5, write("a", "4"));
    cluster.settle_after_resend();
    assert!(applied(cluster.reply(5)), "{:?}", cluster.reply(5));
    // Now w2 arrives.
    cluster.pool.extend(late);
    cluster.settle_after_resend();
    assert_eq!(cluster.reply(2), Some(&Outcome::Refused(Refusal::SessionExpired)));
    // And w6 must be done.
    cluster.request(1, 6, write("a", "5"));
    cluster.resend_for_long();
    assert!(applied(cluster.reply(6)), "stuck: {:?} {:?}", cluster.reply(6), cluster.nodes[1].gateway.session);
}

/// A duplicate opening after the session ended.
#[test]
fn a_duplicate_opening_does_not_stop_the_node() {
    let mut cluster = two_sessions();
    cluster.elect(0);
    cluster.request(1, 1, write("a", "1"));
    cluster.timeout(1, Timer::Flush);
    let opening: Vec<Envelope> =
        cluster.pool.iter().filter(|e| matches!(e.msg, Message::Forward { .. })).cloned().collect();
    assert_eq!(opening.len(), 1);
    cluster.settle_after_resend();
    assert!(applied(cluster.reply(1)));
    let session = *cluster.nodes[1].executor.sessions.keys().next().expect("open");
    cluster.request(0, 2, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    assert!(!cluster.nodes[0].executor.sessions.contains_key(&session), "it made room");
    cluster.pool.extend(opening);
    cluster.settle_after_resend();
    cluster.request(1, 3, write("a", "2"));
    cluster.settle_after_resend();
    assert_eq!(cluster.reply(3), Some(&Outcome::Refused(Refusal::SessionExpired)));
    cluster.request(1, 4, write("a", "3"));
    cluster.resend_for_long();
    assert!(applied(cluster.reply(4)), "stuck: {:?} {:?}", cluster.reply(4), cluster.nodes[1].gateway.session);
}

/// A client that names a node's session swallows another client's write.
#[test]
fn a_client_cannot_use_a_nodes_session() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, write("a", "1"));
    cluster.settle_after_resend();
    let session = *cluster.nodes[1].executor.sessions.keys().next().expect("open");
    // The client X names node 1's session, at node 0; node 1 does not hear of it yet.
    cluster.request(0, 2, write_in(session, 2, "x", "x"));
    cluster.timeout(0, Timer::Flush);
    cluster.cut.insert(1);
    cluster.settle();
    cluster.cut.clear();
    cluster.request(1, 3, write("y", "y"));
    cluster.settle();
    for _ in 0..3 {
        for node in [1, 0] {
            cluster.timeout(node, Timer::Resend);
            cluster.settle();
        }
    }
    assert!(
        !applied(cluster.reply(3)) || cluster.value(0, "y") == "y",
        "told done, not applied: {:?}",
        cluster.reply(3)
    );
}
