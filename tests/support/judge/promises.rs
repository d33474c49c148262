//! What is promised beside linearizable keys: local reads never go back, listings and backups show one moment, pairs are written together.

use super::history::{Act, Cut, Entry, History, Listing, Operation, Outcome, Time, Val};
use std::collections::BTreeMap;

/// What is known of a key's states, to judge what spans several keys.
#[derive(Default)]
pub(crate) struct Known {
    /// Where the write that made a version began, if that is known; and the value.
    made: BTreeMap<u64, (Time, Val)>,
    /// Ends of linearizable operations, rising, each with the highest version that was shown by then.
    shown: Vec<(Time, u64)>,
    /// Writes of unknown outcome: begin, value, and the version asked for.
    unknown: Vec<(Time, Val, Option<u64>)>,
}

/// So many states after the last known one are looked at: more than there are clients that write at a time.
const AHEAD: usize = 64;

impl Known {
    pub(crate) fn of(operations: &[Operation]) -> Known {
        let mut known = Known::default();
        let unknown = |operation: &&Operation| operation.outcome == Outcome::Unknown;
        for operation in operations.iter().filter(unknown) {
            if let Act::Write { val, ver } = operation.act {
                known.unknown.push((operation.begin, val, ver));
            }
        }
        known.unknown.sort_unstable();
        let begins: BTreeMap<Val, Time> = known.unknown.iter().map(|(begin, val, _)| (*val, *begin)).collect();
        for Operation { begin, end, act, outcome, .. } in operations {
            let ver = match (act, outcome) {
                (Act::Write { val, .. }, Outcome::Applied(ver)) => {
                    known.made.insert(*ver, (*begin, *val));
                    *ver
                }
                (_, Outcome::Seen(Entry { val, ver })) => {
                    // A delete may have been another one's, or the floor's: it is not known to have begun.
                    let begin = begins.get(val).filter(|_| *val != 0).copied().unwrap_or(0);
                    known.made.entry(*ver).or_insert((begin, *val));
                    *ver
                }
                _ => continue,
            };
            if *act != Act::Local {
                known.shown.push((*end, ver));
            }
        }
        known.shown.sort_unstable();
        let mut highest = 0;
        for (_, ver) in &mut known.shown {
            highest = highest.max(*ver);
            *ver = highest;
        }
        known
    }

    /// The highest version of which somebody had an answer before `time`.
    fn answered_before(&self, time: Time) -> u64 {
        let count = self.shown.partition_point(|(end, _)| *end < time);
        count.checked_sub(1).map_or(0, |index| self.shown[index].1)
    }

    /// Whether the key may have had a value between, and whether it may have had none.
    fn presence(&self, begin: Time, end: Time) -> (bool, bool) {
        let least = self.answered_before(begin);
        let there = self.made.get(&least).map_or(0, |(_, val)| *val);
        let later = self.made.range(least + 1..).take(AHEAD).filter(|(_, (begun, _))| *begun <= end);
        // What asked for an earlier version, or was seen at one, does not come any more.
        let seen = |val: Val| val != 0 && self.made.range(..=least).any(|(_, (_, made))| *made == val);
        let open = |(_, val, ver): &&(Time, Val, Option<u64>)| ver.is_none_or(|ver| ver > least) && !seen(*val);
        let unknown = self.unknown.iter().take_while(|(begun, ..)| *begun <= end).filter(open).map(|(_, val, _)| *val);
        let vals = [there].into_iter().chain(later.map(|(_, (_, val))| *val)).chain(unknown);
        vals.fold((false, false), |(some, none), val| (some || val != 0, none || val == 0))
    }
}

pub(crate) type Keys = BTreeMap<String, Known>;

/// A node's local reads show no earlier prefix of the log than the node showed before, whatever the key, over restarts too.
pub(crate) fn judge_local(history: &History, known: &Keys) -> Result<(), String> {
    let mut nodes: BTreeMap<usize, Vec<(Time, bool, &str, &Operation)>> = BTreeMap::new();
    for (key, operations) in &history.keys {
        let reads = |operation: &&Operation| matches!(operation.act, Act::Read | Act::Local);
        for operation in operations.iter().filter(reads) {
            let events = nodes.entry(operation.node).or_default();
            // Of one moment the begin comes first: what ends then need not have come before.
            events.push((operation.begin, false, key, operation));
            events.push((operation.end, true, key, operation));
        }
    }
    for (node, mut events) in nodes {
        events.sort_by_key(|(time, ended, ..)| (*time, *ended));
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        // The latest begin of a write that this node showed: it has whatever was answered before that.
        let mut begun = 0;
        let mut needed: BTreeMap<(&str, Time, Time), u64> = BTreeMap::new();
        for (_, ended, key, operation) in events {
            let Outcome::Seen(entry) = operation.outcome else { continue };
            let name = (key, operation.begin, operation.end);
            if !ended {
                if operation.act == Act::Local {
                    let shown = highest.get(key).copied().unwrap_or(0);
                    needed.insert(name, shown.max(known.get(key).map_or(0, |known| known.answered_before(begun))));
                }
                continue;
            }
            if let Some(least) = needed.remove(&name)
                && entry.ver < least
            {
                return Err(format!(
                    "a local read of {key} at node {node} went back behind version {least}: {operation:?}"
                ));
            }
            let shown = highest.entry(key).or_default();
            *shown = entry.ver.max(*shown);
            let made = known.get(key).and_then(|known| known.made.get(&entry.ver));
            begun = begun.max(made.map_or(0, |(begin, _)| *begin));
        }
    }
    Ok(())
}

/// A listing shows the keys that have a value: each by itself, and those of a pair together.
pub(crate) fn judge_listings(listings: &[Listing], known: &Keys) -> Result<(), String> {
    for listing in listings {
        if let Some(stranger) = listing.keys.iter().find(|key| !known.contains_key(*key)) {
            return Err(format!("{stranger:?} was listed, and nobody wrote it: {listing:?}"));
        }
        if !listing.keys.is_sorted() {
            return Err(format!("a listing out of order: {listing:?}"));
        }
        for (key, known) in known.iter().filter(|(key, _)| key.starts_with(listing.prefix)) {
            let listed = listing.keys.contains(key);
            let (some, none) = known.presence(listing.begin, listing.end);
            if !(if listed { some } else { none }) {
                return Err(format!("{key} cannot have been {}: {listing:?}", if listed { "there" } else { "absent" }));
            }
            if let Some(other) = partner(key)
                && listing.keys.contains(&other) != listed
            {
                return Err(format!("{key} and {other} are written together, and one is listed: {listing:?}"));
            }
        }
    }
    Ok(())
}

/// The other key of a pair, which is written by the same commands.
pub(crate) fn partner(key: &str) -> Option<String> {
    let name = key.strip_prefix("pair-")?;
    let name = name
        .strip_suffix("-a")
        .map(|name| format!("{name}-b"))
        .or_else(|| Some(format!("{}-a", name.strip_suffix("-b")?)));
    name.map(|name| format!("pair-{name}"))
}

/// Backups show everything at one slot; what is shown only grows with the slot, and the slot with time.
pub(crate) fn judge_cuts(cuts: &[Cut]) -> Result<(), String> {
    let about =
        |cut: &Cut| format!("the backup of node {} at slot {}, {}–{} µs", cut.node, cut.slot, cut.begin, cut.end);
    let mut by_slot: Vec<&Cut> = cuts.iter().collect();
    by_slot.sort_by_key(|cut| cut.slot);
    for pair in by_slot.windows(2) {
        let (earlier, later) = (pair[0], pair[1]);
        let told = || format!("{}, and {}", about(earlier), about(later));
        if earlier.slot == later.slot && earlier.checksum != later.checksum {
            return Err(format!("nodes have different states at one slot: {}", told()));
        }
        if earlier.floor > later.floor {
            return Err(format!("the floor fell: {}", told()));
        }
        let fell =
            |(key, entry): (&String, &Entry)| later.entries.get(key).map_or(later.floor, |now| now.ver) < entry.ver;
        if let Some((key, _)) = earlier.entries.iter().find(|(key, entry)| fell((key, entry))) {
            return Err(format!("the version of {key} fell: {}", told()));
        }
    }
    let mut latest: Option<(&Cut, Time)> = None;
    let mut by_begin: Vec<&Cut> = cuts.iter().collect();
    by_begin.sort_by_key(|cut| cut.begin);
    let mut by_end = by_begin.clone();
    by_end.sort_by_key(|cut| cut.end);
    let mut ended = by_end.into_iter().peekable();
    for cut in by_begin {
        while let Some(before) = ended.next_if(|before| before.end < cut.begin) {
            if latest.is_none_or(|(highest, _)| highest.slot < before.slot) {
                latest = Some((before, before.end));
            }
        }
        if let Some((before, _)) = latest.filter(|(before, _)| before.slot > cut.slot) {
            return Err(format!("a backup went back: {}, then {}", about(before), about(cut)));
        }
        for (key, entry) in &cut.entries {
            if let Some(other) = partner(key)
                && cut.entries.get(&other) != Some(entry)
            {
                return Err(format!("{key} and {other} are written together, and differ: {}", about(cut)));
            }
        }
    }
    Ok(())
}
