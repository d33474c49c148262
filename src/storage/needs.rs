//! What a value needs room for, beside what is stored.

use super::delta::changes_snapshots;
use crate::{Command, Machine};
use imbl::ordmap::DiffItem;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Act, Operation};

/// What a value brings that the stored one has not: the most of it. Where there was no room for one of these, there may still be for
/// those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Ballots, slots and counts alone.
    Marks,
    /// Entries without values: deletes, sessions, no-ops.
    Entries,
    /// A later snapshot, or more of one that arrives. It lets go of the log.
    Snapshot,
    /// Entries with values.
    Values,
}

impl Needs {
    /// Of `value` in a store that holds `before`.
    pub(crate) fn of(before: &Durable<Machine>, value: &Durable<Machine>) -> Needs {
        if logs_values(before, value) {
            Needs::Values
        } else if changes_snapshots(before, value) {
            Needs::Snapshot
        } else if before.log.diff(&value.log).next().is_some() {
            Needs::Entries
        } else {
            Needs::Marks
        }
    }
}

/// Whether an act brings values. What brings none is small.
pub(crate) fn brings_values(act: &Act<Command>) -> bool {
    matches!(act, Act::Apply(Command::Write { puts, .. }) if puts.iter().any(|put| !put.val.is_empty()))
}

/// Whether `value` has entries with values in its log that `before` has not.
fn logs_values(before: &Durable<Machine>, value: &Durable<Machine>) -> bool {
    before.log.diff(&value.log).any(|change| match change {
        DiffItem::Add(_, entry) | DiffItem::Update { new: (_, entry), .. } => {
            entry.operations().iter().any(|operation| match operation {
                Operation::InSession { act, .. } => brings_values(act),
                Operation::Open { .. } => false,
            })
        }
        DiffItem::Remove(..) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kv::Put;
    use paxos_model::replica::executor::Executor;
    use paxos_model::replica::message::{Entry, OperationId, SessionId};
    use paxos_model::replica::snapshot::Arriving;

    #[test]
    fn a_value_needs_room_for_the_most_that_it_brings() {
        let mut before = Durable::default();
        before.log.insert(0, Entry::Noop);
        let with_value = |val: &str| {
            let put = Put { key: "k".into(), val: val.into(), ver: None };
            let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: 1 };
            let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
            Entry::Batch(vec![Operation::InSession { id, by_node: true, acknowledged_below: 1, act }].into())
        };
        let mut value = before.clone();
        let mut expect = |needs, change: &dyn Fn(&mut Durable<Machine>)| {
            change(&mut value);
            assert_eq!(Needs::of(&before, &value), needs);
            assert_eq!(Needs::of(&value, &value), Needs::Marks);
        };
        expect(Needs::Marks, &|value| value.incarnation += 1);
        // What was read again from the disk lies elsewhere, and is the same.
        expect(Needs::Marks, &|value| {
            value.log = value.log.iter().map(|(slot, entry)| (*slot, entry.clone())).collect()
        });
        expect(Needs::Entries, &|value| drop(value.log.insert(1, with_value(""))));
        expect(Needs::Snapshot, &|value| {
            value.arriving = Some(Arriving { executor: Executor::default(), after: None })
        });
        expect(Needs::Snapshot, &|value| {
            value.arriving = None;
            value.snapshot.applied = 1;
        });
        expect(Needs::Values, &|value| drop(value.log.insert(2, with_value("v"))));
    }
}
