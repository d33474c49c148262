//! `agreement` can fail. In the scopes whatever leads to it breaks `refines-spec` steps before, as the proof says; so it is shown here,
//! on the record of votes that it is judged by.

use paxos_model::kv::{Command, Put};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::{Act, Entry, Operation, OperationId, SessionId};
use paxos_spec::properties::audit::Tagged;
use paxos_spec::properties::record::Record;
use stateright::actor::Id;

fn value(tag: u8) -> Entry<Tagged> {
    let puts = vec![Put { key: "k".into(), val: "v".into(), ver: None }];
    let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: tag.into() };
    let act = Act::Apply(Tagged { tag, command: Command::Write { puts, atomic: false } });
    Entry::Batch([Operation::InSession { id, by_node: false, acknowledged_below: 1, act }].into())
}

#[test]
fn two_values_with_a_quorum_each_are_a_disagreement_whatever_their_ballots() {
    let three = Configuration::of_voters(3);
    let ballot = |round| Ballot { round, node: Id::from(0) };
    for collapse in [false, true] {
        let mut record = Record::new(collapse);
        let mut vote = |node: usize, slot, round, tag| {
            record.vote(node.into(), slot, ballot(round), &value(tag), &three);
            record.disagrees()
        };
        assert!(!vote(0, 0, 1, 1) && !vote(1, 0, 1, 1), "one value is chosen");
        assert!(!vote(1, 0, 2, 1) && !vote(2, 0, 2, 1), "and chosen again");
        assert!(!vote(0, 1, 1, 2) && !vote(2, 1, 1, 2), "another in another slot");
        assert!(!vote(2, 0, 3, 2), "a vote for another is none");
        assert!(!vote(0, 0, 4, 2), "nor are two in two ballots");
        assert!(vote(2, 0, 4, 2), "but two in one");
    }
}
