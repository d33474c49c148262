//! The costs of all stages on this machine, and their tables.

use crate::commits::{self, Commit};
use crate::line::Line;
use crate::lockstep::{self, Measured, Steps};
use crate::threads::{self, Hop};
use crate::write::KEY_BYTES;
use crate::{Failure, asks, http};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The sizes of clusters.
pub(crate) const NODES: [usize; 3] = [3, 5, 7];
/// The lengths of values.
pub(crate) const VALUES: [usize; 2] = [32, 4096];
/// The sizes of slots that lines are drawn through. The last one is nearly the largest that is proposed.
const COUNTS: [usize; 3] = [1, 16, 240];

/// What a commit costs where so many stores on one disk commit at the same time, by operations in it; in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commits {
    pub(crate) time: Line,
    pub(crate) cpu: Line,
}

/// The measured costs.
pub(crate) struct Costs {
    /// By nodes and length of values.
    pub(crate) steps: BTreeMap<(usize, usize), Steps>,
    /// By stores that commit at the same time, and length of values.
    pub(crate) commits: BTreeMap<(usize, usize), Commits>,
    /// Processor time of a request within the process that needs no slot, in seconds.
    pub(crate) ask: f64,
    /// To wake another thread: where processors are idle, and where all are busy.
    pub(crate) wake: [Hop; 2],
    /// Over a socket.
    pub(crate) socket: Hop,
    /// How late a thread wakes, in seconds.
    pub(crate) lateness: f64,
    /// Processor time of an HTTP request, in seconds, by length of values.
    pub(crate) http: BTreeMap<usize, f64>,
}

/// Measures all of them, and prints them.
pub(crate) fn measure(directory: &Path, quick: bool) -> Result<Costs, Failure> {
    let slots = if quick { 260 } else { 520 };
    let time = Duration::from_millis(if quick { 500 } else { 1500 });
    let (mut steps, mut commits) = (BTreeMap::new(), BTreeMap::new());
    let mut told = Vec::new();
    for value in VALUES {
        for nodes in NODES {
            let measure = |count: &usize| {
                let kept = commits::kept(count * (KEY_BYTES + value));
                lockstep::measure(nodes, *count, value, slots, kept)
            };
            let measured: Vec<Measured> = COUNTS.iter().map(measure).collect();
            steps.insert((nodes, value), Steps::through(&measured));
            for stores in [1, nodes] {
                if commits.contains_key(&(stores, value)) {
                    continue;
                }
                let mut found = Vec::new();
                for slot in &measured {
                    found.push((slot.count as f64, commits::measure(directory, stores, &slot.saved)?));
                }
                let line =
                    |of: fn(&Commit) -> f64| Line::through(&found.iter().map(|(x, c)| (*x, of(c))).collect::<Vec<_>>());
                commits.insert((stores, value), Commits { time: line(|c| c.time), cpu: line(|c| c.cpu) });
                told.extend(found.into_iter().map(|(count, commit)| (value, stores, count, commit)));
            }
        }
    }
    let busy = 2 * thread::available_parallelism()?.get();
    let http = VALUES.into_iter().zip(http::measure(&VALUES, time)?).collect();
    let costs = Costs {
        steps,
        commits,
        ask: asks::measure(time)?,
        wake: [threads::wake(1, time)?, threads::wake(busy, time)?],
        socket: threads::socket(time)?,
        lateness: threads::lateness(400),
        http,
    };
    print(&costs);
    print_commits(&told);
    Ok(costs)
}

fn print(costs: &Costs) {
    println!("\nSteps, in µs of one processor for a slot of b operations:\n");
    println!(
        "| nodes | value, B | propose | own vote | decide, answer | follower: vote | follower: learn | encode | decode | bytes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for ((nodes, value), steps) in &costs.steps {
        let Steps { propose, own_vote, decide, vote, learn, encode, decode, bytes } = *steps;
        let cells: Vec<_> =
            [propose, own_vote, decide, vote, learn, encode, decode].into_iter().map(microseconds).collect();
        println!("| {nodes} | {value} | {} | {:.0} + {:.0} b |", cells.join(" | "), bytes.fixed, bytes.each);
    }
    println!("\nBetween threads and processes:\n");
    println!("| stage | time, µs | processor, µs |\n|---|---|---|");
    for (told, hop) in ["idle", "busy"].into_iter().zip(costs.wake) {
        println!("| to wake another thread, processors {told} | {:.1} | {:.1} |", hop.time * 1e6, hop.cpu * 1e6);
    }
    println!("| over a socket | {:.1} | {:.1} |", costs.socket.time * 1e6, costs.socket.cpu * 1e6);
    println!("| lateness of a thread that waits for a moment | {:.1} | |", costs.lateness * 1e6);
    println!("| a request within the process | | {:.1} |", costs.ask * 1e6);
    for (value, cpu) in &costs.http {
        println!("| an HTTP request, value of {value} B | | {:.1} |", cpu * 1e6);
    }
}

fn print_commits(found: &[(usize, usize, f64, Commit)]) {
    println!("\nCommits, one after another, by so many stores on one disk at the same time:\n");
    println!("| value, B | stores | b | mean, ms | median | longest | processor, ms |\n|---|---|---|---|---|---|---|");
    for (value, stores, count, Commit { time, cpu, median, longest }) in found {
        let [time, median, longest, cpu] = [time, median, longest, cpu].map(|seconds| seconds * 1e3);
        println!("| {value} | {stores} | {count} | {time:.3} | {median:.3} | {longest:.1} | {cpu:.3} |");
    }
}

fn microseconds(line: Line) -> String {
    format!("{:.1} + {:.2} b", line.fixed * 1e6, line.each * 1e6)
}
