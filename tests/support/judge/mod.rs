//! What clients did and what came of it, and all verdicts on that, each by itself. Tests whose nodes are real and those whose nodes are
//! simulated judge by this.

pub(crate) mod history;
pub(crate) mod linearizable;
mod promises;

use history::{Act, Entry, History, Operation, Outcome};
use promises::{Keys, Known, judge_cuts, judge_listings, judge_local};

/// What was judged, and what came of it.
pub(crate) type Verdict = (&'static str, Result<(), String>);

/// Judges what clients recorded; `floor` says whether absent keys may show rising versions.
pub(crate) fn judge(history: &History, floor: bool) -> Vec<Verdict> {
    let mut full = History { keys: history.keys.clone(), ..History::default() };
    // A backup reads every key.
    for cut in &history.cuts {
        for key in history.keys.keys() {
            let entry = cut.entries.get(key).copied().unwrap_or(Entry { val: 0, ver: cut.floor });
            let outcome = Outcome::Seen(entry);
            full.push(key, Operation { node: cut.node, begin: cut.begin, end: cut.end, act: Act::Read, outcome });
        }
    }
    let keys = full.keys.iter().try_for_each(|(key, operations)| {
        linearizable::judge(operations, floor).map_err(|why| format!("{key}: {why}"))
    });
    let known: Keys = full.keys.iter().map(|(key, operations)| (key.clone(), Known::of(operations))).collect();
    vec![
        ("each key is linearizable, exactly once, its versions never go back", keys),
        ("local reads never go back at a node", judge_local(&full, &known)),
        ("listings show what there is", judge_listings(&history.listings, &known)),
        ("backups are cuts, the same at each slot, and pairs stay together", judge_cuts(&history.cuts)),
    ]
}
