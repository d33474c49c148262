//! The twin of the judge of one key: tries every order.

use super::harness::judge::history::{Act, Entry, Operation, Outcome};
use std::collections::BTreeSet;

/// Whether the operations could have happened one after the other.
pub(crate) fn is_linearizable(operations: &[Operation], floor: bool) -> bool {
    let wanted = |operation: &&Operation| {
        !matches!(
            (operation.act, operation.outcome),
            (_, Outcome::Refused) | (Act::Read | Act::Local, Outcome::Unknown)
        )
    };
    let operations: Vec<Operation> = operations.iter().filter(wanted).copied().collect();
    let versions = operations.iter().flat_map(|operation| match (operation.act, operation.outcome) {
        (_, Outcome::Seen(entry)) => [entry.ver, entry.ver.saturating_sub(1)],
        (_, Outcome::Applied(ver)) => [ver, ver.saturating_sub(1)],
        _ => [0, 0],
    });
    let floors: BTreeSet<u64> = if floor { versions.collect() } else { BTreeSet::new() };
    search(&operations, &floors, 0, Entry { val: 0, ver: 0 }, &mut BTreeSet::new())
}

/// Whether what is left of the operations, but those in the set `done`, can go on from `state`.
fn search(
    operations: &[Operation],
    floors: &BTreeSet<u64>,
    done: u32,
    state: Entry,
    seen: &mut BTreeSet<(u32, Entry)>,
) -> bool {
    let left = |index: &usize| done & 1 << index == 0;
    let certain = |index: &usize| operations[*index].outcome != Outcome::Unknown;
    if !(0..operations.len()).filter(left).any(|index| certain(&index)) {
        return true;
    }
    if !seen.insert((done, state)) {
        return false;
    }
    let end = (0..operations.len()).filter(left).filter(certain).map(|index| operations[index].end).min();
    for index in (0..operations.len()).filter(left) {
        let Operation { begin, act, outcome, .. } = operations[index];
        let begin = if act == Act::Local { 0 } else { begin };
        if end.is_some_and(|end| end < begin) {
            continue;
        }
        let after = match act {
            Act::Read | Act::Local => (outcome == Outcome::Seen(state)).then_some(state),
            Act::Write { val, ver } => {
                let made = Entry { val, ver: ver.unwrap_or(state.ver + 1) };
                if made.ver > state.ver {
                    matches!(outcome, Outcome::Unknown)
                        .then_some(made)
                        .or((outcome == Outcome::Applied(made.ver)).then_some(made))
                } else {
                    (outcome == Outcome::Seen(state)).then_some(state)
                }
            }
        };
        if let Some(after) = after
            && search(operations, floors, done | 1 << index, after, seen)
        {
            return true;
        }
    }
    state.val == 0
        && floors
            .iter()
            .filter(|floor| **floor > state.ver)
            .any(|floor| search(operations, floors, done, Entry { val: 0, ver: *floor }, seen))
}
