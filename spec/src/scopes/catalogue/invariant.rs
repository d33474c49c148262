//! The invariant that is proved, of every vote ever cast: where none is forgotten, which makes more states of the same.

use super::{ballots, decisions};
use crate::scopes::Scope;

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let others: Vec<Scope> = ballots::scopes().into_iter().chain(decisions::scopes()).collect();
    let whole = |name, description, of: &str| {
        let of = others.iter().find(|scope| scope.name == of).expect("there is one of that name");
        Scope { name, description, collapse: false, ..of.clone() }
    };
    vec![
        Scope {
            restarts: Some(1),
            ..whole("invariant-decided", "one slot, two ballots with decisions, every vote remembered", "decided-mark")
        },
        whole("invariant-three-ballots", "one slot, three ballots, every vote remembered", "one-slot-three-owners"),
        whole("invariant-hole", "two slots, two ballots, a hole filled, every vote remembered", "hole"),
    ]
}
