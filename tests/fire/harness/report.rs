//! What came of a run.

use super::Settings;
use super::clients::Load;
use super::ending;
use super::inflict::Done;
use super::judge::history::{Act, History, Outcome, Time};
use super::judge::{self, Verdict};
use super::network::Network;
use super::nodes::Nodes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

pub(crate) struct Report {
    settings: Settings,
    history: History,
    done: BTreeMap<&'static str, Done>,
    /// In which somebody led.
    ballots: BTreeSet<String>,
    lasted: Time,
    pub(crate) in_transfer: u64,
    pub(crate) stopped: usize,
    verdicts: Vec<Verdict>,
    /// From the last fault's end to a write at every node, in microseconds.
    recovery: Option<Time>,
    /// Slots that were found in more than one log.
    compared: u64,
    judging: Duration,
    packets: String,
    /// How often disks were slow, full or failing and clocks off, and writes that were undone.
    disks: (u64, u64),
    /// What of the nodes' traces was taken again.
    replayed: String,
}

impl Report {
    pub(crate) fn new(
        settings: &Settings,
        history: History,
        done: BTreeMap<&'static str, Done>,
        ballots: BTreeSet<String>,
        lasted: Time,
    ) -> Report {
        let settings = settings.clone();
        let (in_transfer, stopped, verdicts, recovery, compared, judging, packets, disks, replayed) =
            Default::default();
        Report {
            settings,
            history,
            done,
            ballots,
            lasted,
            in_transfer,
            stopped,
            verdicts,
            recovery,
            compared,
            judging,
            packets,
            disks,
            replayed,
        }
    }

    pub(crate) fn verdict(&mut self, what: &'static str, verdict: Result<(), String>) {
        self.verdicts.push((what, verdict));
    }

    /// Requires progress and agreement, and judges the history.
    pub(crate) fn end(&mut self, load: &Load, mut nodes: Nodes<'_>, network: &Network, settings: &Settings) {
        match ending::progress(load, &mut nodes) {
            Ok(recovery) => {
                self.recovery = Some(recovery);
                self.verdict("every node does a write once all faults have ended", Ok(()));
            }
            Err(why) => self.verdict("every node does a write once all faults have ended", Err(why)),
        }
        let agreement = ending::agreement(load, &mut nodes, &mut self.history);
        self.verdict("all nodes have one state at one slot", agreement);
        let logs = ending::logs(&nodes, &settings.logcat);
        self.compared = *logs.as_ref().unwrap_or(&0);
        self.verdict("all logs have the same entry in each slot", logs.map(drop));
        self.verdict("no node panicked", nodes.panics());
        let faults = load.faults.lock().map_or_else(|_| vec!["a client panicked".into()], |faults| faults.clone());
        let sound = if faults.is_empty() { Ok(()) } else { Err(faults.join("\n    ")) };
        self.verdict("every answer is one that there may be", sound);
        let begin = Instant::now();
        self.verdicts.extend(judge::judge(&self.history, true));
        self.judging = begin.elapsed();
        self.packets = network.told();
        self.disks = nodes.shims().unwrap_or_default();
        if let Some(check) = &settings.check {
            let replayed = ending::replay(&mut nodes, check);
            self.replayed = replayed.as_ref().cloned().unwrap_or_default();
            self.verdict("all steps, taken again by the checked actor, keep its rules", replayed.map(drop));
        }
    }

    /// What is wrong.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.verdicts.iter().filter_map(|(what, verdict)| Some((what, verdict.as_ref().err()?)));
        failed.map(|(what, why)| format!("not so: {what}: {why}")).collect()
    }

    /// How many kinds of faults took place.
    pub(crate) fn kinds(&self) -> usize {
        self.done.len()
    }

    pub(crate) fn operations(&self) -> usize {
        self.history.operations()
    }

    fn outcomes(&self) -> String {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for operation in self.history.keys.values().flatten() {
            let name = match (operation.act, operation.outcome) {
                (Act::Write { .. }, Outcome::Applied(_)) => "writes done",
                (Act::Write { .. }, Outcome::Seen(_)) => "conflicts",
                (Act::Local, _) => "local reads",
                (Act::Read, _) => "reads",
                (_, Outcome::Refused) => "writes refused",
                (_, Outcome::Unknown) => "writes of unknown outcome",
            };
            *counts.entry(name).or_default() += 1;
        }
        counts.insert("listings", self.history.listings.len() as u64);
        counts.insert("backups", self.history.cuts.len() as u64);
        counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }
}

fn seconds(time: Time) -> f64 {
    time as f64 / 1e6
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { seed, nodes, clients, .. } = self.settings;
        writeln!(f, "seed {seed}: {nodes} nodes, {clients} clients, {:.0} s of faults", seconds(self.lasted))?;
        writeln!(
            f,
            "operations  {} judged in {:.1} s: {}",
            self.operations(),
            self.judging.as_secs_f64(),
            self.outcomes()
        )?;
        writeln!(f, "packets     {}", self.packets)?;
        let (hits, undone) = self.disks;
        writeln!(
            f,
            "disks       {hits} calls met a fault of disk or clock, {undone} writes undone, as they were not synced"
        )?;
        if !self.replayed.is_empty() {
            writeln!(f, "traces      {}", self.replayed)?;
        }
        writeln!(f, "failovers   {} ballots in which somebody was seen to lead", self.ballots.len())?;
        writeln!(f, "            {} nodes stopped since their disk failed", self.stopped)?;
        writeln!(f, "            {} leaders killed while a node was still far behind", self.in_transfer)?;
        let worst = self.done.values().map(|done| done.gap).max().unwrap_or(0);
        writeln!(f, "worst time without an answer: {:.2} s, faults included", seconds(worst))?;
        if let Some(recovery) = self.recovery {
            writeln!(
                f,
                "a write at every node {:.2} s after the last fault; {} slots compared",
                seconds(recovery),
                self.compared
            )?;
        }
        writeln!(f, "{:<44} {:>6}  longest without an answer, until all serve again", "fault", "times")?;
        for (name, done) in &self.done {
            writeln!(f, "{name:<44} {:>6}  {:>6.2} s {:>6.2} s", done.times, seconds(done.gap), seconds(done.back))?;
        }
        for (what, verdict) in &self.verdicts {
            match verdict {
                Ok(()) => writeln!(f, "holds       {what}")?,
                Err(why) => writeln!(f, "FAILS       {what}: {why}")?,
            }
        }
        Ok(())
    }
}
