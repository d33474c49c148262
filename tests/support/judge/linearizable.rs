//! Whether what clients saw of one key could have happened one operation after the other, each between its begin and its end.
//!
//! The states of a key have rising versions, so the order of all states that were seen is known, and no search is needed: *n* operations
//! are judged in *n* log *n*. A history is linearizable if and only if
//!
//! 1. whatever was seen at one version is one value, and somebody made it: the one write that was answered with this version, a write of
//!    unknown outcome, the beginning, or, where a key is absent, the floor, which rises by itself;
//! 2. no operation at a later state, or the making of it, ended before one at an earlier state began: since the order within time and that of
//!    the versions then have no cycle;
//! 3. what a write without a version needs was there: the version just before its own. Where nobody saw that, writes of unknown outcome
//!    must have made it, each once. They wait for nothing but their begin, so the gaps are filled in their order, greedily.
//!
//! A local read shows some state that was there before it ended, so it counts as one that began with the run. Values are unique, and what
//! deletes has a version: a history of others is not judged, and that is an error too. `naive` in the tests tries all orders instead.

use super::history::{Act, Entry, NEVER, Operation, Outcome, Time, Val};
use std::collections::{BTreeMap, BTreeSet};

/// How a state came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maker {
    begin: Time,
    /// Whether it needs the version just before.
    next: bool,
}

/// A state of the key that somebody saw or made.
#[derive(Clone, Debug)]
struct State {
    val: Val,
    maker: Option<Maker>,
    /// The latest begin and the earliest end of all operations at this state.
    begin: Time,
    end: Time,
}

/// Writes whose outcome nobody knows.
#[derive(Default)]
struct Unknown {
    /// With a value, by that.
    puts: BTreeMap<Val, (Option<u64>, Time)>,
    /// Deletes by their version: the earliest begin.
    deletes: BTreeMap<u64, Time>,
}

/// Judges all operations of one key; `floor` says whether absent keys may show a rising version.
pub(crate) fn judge(operations: &[Operation], floor: bool) -> Result<(), String> {
    let (mut states, mut unknown) = gather(operations)?;
    // No operation of a later state may have ended before: for each state the earliest end from there on.
    let mut ends = Vec::with_capacity(states.len());
    let mut earliest = NEVER;
    for state in states.values().rev() {
        earliest = earliest.min(state.end);
        ends.push(earliest);
    }
    ends.reverse();
    attribute(&mut states, &mut unknown, &ends, floor)?;
    in_time(&states, &ends)?;
    fill_gaps(&states, &unknown, &ends, floor)
}

/// The states that were seen or made, by version, and the writes of unknown outcome.
fn gather(operations: &[Operation]) -> Result<(BTreeMap<u64, State>, Unknown), String> {
    let mut states: BTreeMap<u64, State> = BTreeMap::new();
    let mut unknown = Unknown::default();
    for operation in operations {
        let Operation { begin, end, act, outcome, .. } = *operation;
        let (entry, maker) = match (act, outcome) {
            (_, Outcome::Refused) | (Act::Read | Act::Local, Outcome::Unknown) => continue,
            (Act::Write { val: 0, ver: None }, _) => return Err(format!("a delete without a version: {operation:?}")),
            (Act::Write { val, ver }, Outcome::Applied(made)) => {
                if ver.is_some_and(|ver| ver != made) {
                    return Err(format!("done at another version than its own: {operation:?}"));
                }
                (Entry { val, ver: made }, Some(Maker { begin, next: ver.is_none() }))
            }
            (Act::Write { ver, .. }, Outcome::Seen(entry)) => {
                if ver.is_none_or(|ver| ver > entry.ver) {
                    return Err(format!("a conflict with what is no greater: {operation:?}"));
                }
                (entry, None)
            }
            (Act::Write { val: 0, ver: Some(ver) }, Outcome::Unknown) => {
                let earliest = unknown.deletes.entry(ver).or_insert(begin);
                *earliest = begin.min(*earliest);
                continue;
            }
            (Act::Write { val, ver }, Outcome::Unknown) => {
                if unknown.puts.insert(val, (ver, begin)).is_some() {
                    return Err(format!("two writes of one value: {operation:?}"));
                }
                continue;
            }
            (Act::Read | Act::Local, Outcome::Seen(entry)) => (entry, None),
            (Act::Read | Act::Local, Outcome::Applied(_)) => return Err(format!("a read that wrote: {operation:?}")),
        };
        let begin = if act == Act::Local { 0 } else { begin };
        let state = states.entry(entry.ver).or_insert(State { val: entry.val, maker: None, begin, end });
        if state.val != entry.val {
            return Err(format!("version {} has the values {} and {}: {operation:?}", entry.ver, state.val, entry.val));
        }
        if maker.is_some() && state.maker.is_some() {
            return Err(format!("two writes made version {}: {operation:?}", entry.ver));
        }
        state.maker = state.maker.or(maker);
        state.begin = state.begin.max(begin);
        state.end = state.end.min(end);
    }
    let mut values = BTreeMap::new();
    for (ver, state) in &states {
        if state.val != 0
            && let Some(other) = values.insert(state.val, ver)
        {
            return Err(format!("value {} was applied at version {other} and again at {ver}", state.val));
        }
    }
    Ok((states, unknown))
}

/// Finds who made each state that no answered write did; takes the writes of unknown outcome that did out of `unknown`.
fn attribute(
    states: &mut BTreeMap<u64, State>,
    unknown: &mut Unknown,
    ends: &[Time],
    floor: bool,
) -> Result<(), String> {
    let mut before = (0, 0);
    for ((ver, state), end) in states.iter_mut().zip(ends) {
        if state.maker.is_none() {
            state.maker = Some(if state.val != 0 {
                let Some((asked, begin)) = unknown.puts.remove(&state.val) else {
                    return Err(format!("nobody wrote value {}, which was seen at version {ver}", state.val));
                };
                if asked.is_some_and(|asked| asked != *ver) {
                    return Err(format!("value {} was seen at version {ver}, and was not written there", state.val));
                }
                Maker { begin, next: asked.is_none() }
            } else if *ver == 0 {
                Maker { begin: 0, next: false }
            } else if let Some(begin) = unknown.deletes.get(ver).filter(|begin| *begin <= end) {
                Maker { begin: *begin, next: false }
            } else if floor && (before.1 == 0 || deleted_between(unknown, before.0, *ver, *end)) {
                Maker { begin: 0, next: false }
            } else {
                return Err(format!("the key is absent at version {ver}, where nobody deleted it"));
            });
        }
        if let Some(maker) = state.maker {
            if maker.begin > state.end {
                return Err(format!("version {ver} was seen before its write began"));
            }
            state.begin = state.begin.max(maker.begin);
        }
        before = (*ver, state.val);
    }
    Ok(())
}

/// Whether a delete of unknown outcome may have been done at a version between two, by `end`.
fn deleted_between(unknown: &Unknown, above: u64, below: u64, end: Time) -> bool {
    above + 1 < below && unknown.deletes.range(above + 1..below).any(|(_, begin)| *begin <= end)
}

fn in_time(states: &BTreeMap<u64, State>, ends: &[Time]) -> Result<(), String> {
    let mut begun = (0, 0);
    for ((ver, state), end) in states.iter().zip(ends) {
        if *end < begun.1 {
            return Err(format!(
                "version {ver} or a later one was there by {end} µs, and version {} still at {} µs: an old state was shown, or a \
                 version went back",
                begun.0, begun.1
            ));
        }
        if state.begin > begun.1 {
            begun = (*ver, state.begin);
        }
    }
    Ok(())
}

fn fill_gaps(states: &BTreeMap<u64, State>, unknown: &Unknown, ends: &[Time], floor: bool) -> Result<(), String> {
    // Those that may be anywhere, by begin; and those that are at one version only, if at all.
    let mut anywhere: Vec<Time> =
        unknown.puts.values().filter(|(ver, _)| ver.is_none()).map(|(_, begin)| *begin).collect();
    anywhere.sort_unstable();
    let fixed: BTreeSet<(u64, Time)> = unknown
        .puts
        .values()
        .filter_map(|(ver, begin)| Some(((*ver)?, *begin)))
        .chain(unknown.deletes.iter().map(|(ver, begin)| (*ver, *begin)))
        .collect();
    let mut used = 0;
    let mut before = (0, 0);
    for ((ver, state), end) in states.iter().zip(ends) {
        let (last, val) = before;
        before = (*ver, state.val);
        if state.maker.is_none_or(|maker| !maker.next) || *ver == last + 1 {
            continue;
        }
        if *ver == 0 {
            return Err("a write without a version made version 0".into());
        }
        if floor && (val == 0 || deleted_between(unknown, last, *ver, *end)) {
            continue;
        }
        let between = fixed.range((last + 1, 0)..(*ver, 0)).rev();
        let reached = between.into_iter().find(|(_, begin)| begin <= end).map_or(last, |(ver, _)| *ver);
        used += ver - 1 - reached;
        let begun = anywhere.partition_point(|begin| begin <= end) as u64;
        if used > begun {
            return Err(format!(
                "version {ver} is the next one after {}, which nobody wrote: something was applied twice, or what was refused",
                ver - 1
            ));
        }
    }
    Ok(())
}
