//! After all faults have ended: progress at every node, and the same state at all of them.

use super::clients::{Load, backup};
use super::judge::history::{Cut, History};
use super::nodes::Nodes;
use super::request::{Attempt, Sender};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long it may take until every node serves, and until all have the same state.
const RECOVERY: Duration = Duration::from_secs(30);

/// Tries again until there is something, or the time is up.
fn until<T>(what: &str, nodes: &mut Nodes<'_>, mut attempt: impl FnMut() -> Option<T>) -> Result<T, String> {
    let end = Instant::now() + RECOVERY;
    loop {
        nodes.look()?;
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(format!("{RECOVERY:?} after the last fault {what}"));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Requires a write at every node. Returns how long that took, in microseconds.
pub(crate) fn progress(load: &Load, nodes: &mut Nodes<'_>) -> Result<u64, String> {
    let (sender, begin) = (Sender::new(), load.now());
    for node in 0..nodes.count() {
        let write = ("PUT", "/kvstore/filling-progress", r#"{"val": "x"}"#);
        until(&format!("node {node} does no write"), nodes, || {
            matches!(sender.send(load.stores[node], write, &[], 2000), Attempt::Answer(200, _)).then_some(())
        })?;
    }
    Ok(load.now() - begin)
}

/// Requires backups of all nodes that show one state at one slot; they go into the history, as the last reads. Nobody writes any more.
pub(crate) fn agreement(load: &Load, nodes: &mut Nodes<'_>, history: &mut History) -> Result<(), String> {
    let sender = Sender::new();
    let count = nodes.count();
    let cuts = until("the nodes show no common slot", nodes, || {
        let cuts: Vec<Cut> = (0..count).map(|node| backup(load, &sender, node, 5000)).collect::<Option<_>>()?;
        cuts.iter().all(|cut| cut.slot == cuts[0].slot).then_some(cuts)
    })?;
    let checksums: Vec<&String> = cuts.iter().map(|cut| &cut.checksum).collect();
    if checksums.iter().any(|checksum| *checksum != checksums[0]) {
        return Err(format!("the nodes have different states at slot {}: {checksums:?}", cuts[0].slot));
    }
    history.cuts.extend(cuts);
    Ok(())
}

/// Ends the nodes, and requires that what they wrote down of themselves replays and keeps every rule. Returns what was replayed.
pub(crate) fn replay(nodes: &mut Nodes<'_>, check: &Path) -> Result<String, String> {
    for node in 0..nodes.count() {
        nodes.kill(node).map_err(|error| error.to_string())?;
    }
    let output = Command::new(check).arg("replay").arg(nodes.traces()).output();
    let output = output.map_err(|error| format!("{}: {error}", check.display()))?;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{said}{error}"));
    }
    // What is wrong there would not be seen.
    if said.contains("judged") {
        return Err(format!("the traces are not whole: {said}{error}"));
    }
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// Requires that all logs on disk have the same entry in each slot that is decided. Returns how many slots are in more than one of them.
pub(crate) fn logs(nodes: &Nodes<'_>, logcat: &Path) -> Result<u64, String> {
    let mut slots: BTreeMap<u64, String> = BTreeMap::new();
    let mut compared = 0;
    for node in 0..nodes.count() {
        let output = Command::new(logcat).arg(nodes.data(node)).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("logcat of node {node}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mark = text.lines().find_map(|line| line.split_once("decided below ")?.1.split(',').next()?.parse().ok());
        let decided: u64 = mark.ok_or("logcat does not say what is decided")?;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            // slot: state: entry
            let mut parts = line.splitn(3, ": ");
            let (slot, entry) = (parts.next().and_then(|slot| slot.parse().ok()), parts.nth(1));
            let (Some(slot), Some(entry)) = (slot, entry) else { return Err(format!("logcat says {line:.200}")) };
            if slot >= decided {
                continue;
            }
            match slots.get(&slot) {
                Some(other) if other != entry => {
                    return Err(format!("slot {slot} has two entries: {other:.300} and, at node {node}, {entry:.300}"));
                }
                Some(_) => compared += 1,
                None => drop(slots.insert(slot, entry.to_owned())),
            }
        }
    }
    Ok(compared)
}
