//! A request from its arrival to its one answer: handed on, refused, or unknown.

use crate::cluster::Cluster;
use crate::phrases::{applied, opened, operation, options, write, write_in};
use paxos_model::replica::message::{Act, Message, Outcome, Refusal, Request, Uncertainty};
use paxos_model::replica::{Options, Timer};
use std::sync::Arc;

#[test]
fn a_forward_is_relayed_once() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    let operations: Arc<[_]> = Arc::from([operation("a")]);
    let first = cluster.deliver(2, 1, Message::Forward { operations: operations.clone(), relayed: false });
    assert_eq!(first.sent.len(), 1);
    assert_eq!(first.sent[0].dst, 0);
    assert_eq!(first.sent[0].msg, Message::Forward { operations: operations.clone(), relayed: true });
    assert!(cluster.deliver(2, 1, Message::Forward { operations, relayed: true }).sent.is_empty());
}

#[test]
fn a_deadline_before_it_is_handed_on_refuses_and_it_is_never_applied() {
    let mut cluster = Cluster::new(3, options());
    cluster.request(1, 1, write("k", "v"));
    cluster.settle();
    cluster.timeout(1, cluster.deadline(1));
    assert_eq!(cluster.reply(1), Some(&Outcome::Refused(Refusal::Deadline)));
    cluster.elect(0);
    for node in [0, 1, 2, 0, 1, 2] {
        cluster.timeout(node, Timer::Resend);
        cluster.settle();
    }
    assert_eq!(cluster.value(0, "k"), "");
}

#[test]
fn a_deadline_after_it_is_handed_on_is_unknown() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, write("k", "v"));
    cluster.settle();
    assert!(applied(cluster.reply(1)));
    cluster.request(1, 2, write("k", "w"));
    cluster.timeout(1, Timer::Flush);
    let on_its_way = cluster.take(|e| matches!(e.msg, Message::Forward { .. }));
    assert_eq!(on_its_way.len(), 1);
    cluster.timeout(1, cluster.deadline(1));
    assert_eq!(cluster.reply(2), Some(&Outcome::Unknown(Uncertainty::Deadline)));
    cluster.pool.extend(on_its_way);
    cluster.settle();
    assert_eq!(cluster.value(0, "k"), "w", "unknown may still mean done");
}

#[test]
fn one_request_too_many_is_refused_as_busy() {
    let mut cluster = Cluster::new(3, Options { requests_max: 1, ..options() });
    cluster.request(0, 1, write("a", "1"));
    cluster.request(0, 2, write("b", "2"));
    assert_eq!(cluster.reply(1), None);
    assert_eq!(cluster.reply(2), Some(&Outcome::Refused(Refusal::Busy)));
    cluster.elect(0);
    assert!(applied(cluster.reply(1)));
    assert_eq!(cluster.value(0, "b"), "");
}

/// A refusal of an operation that is on its way.
#[test]
fn a_retry_at_the_same_node_is_not_refused_while_the_first_attempt_is_on_its_way() {
    let mut cluster = Cluster::new(3, options());
    cluster.elect(0);
    cluster.request(1, 1, Request::Write { session: None, act: Act::OpenSession });
    cluster.settle();
    let session = opened(cluster.reply(1));
    cluster.request(1, 2, write_in(session, 1, "k", "v"));
    cluster.timeout(1, Timer::Flush);
    cluster.request(1, 3, write_in(session, 1, "k", "v"));
    let deadline = cluster.deadline(1);
    cluster.timeout(1, deadline);
    cluster.settle();
    assert!(
        !matches!(cluster.reply(3), Some(Outcome::Refused(_))) || cluster.value(0, "k").is_empty(),
        "{:?}",
        cluster.reply(3)
    );
}
