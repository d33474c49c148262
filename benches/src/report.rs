//! What was measured, as a table and as JSON.

use crate::What;
use crate::cluster::System;
use crate::door::Door;
use crate::load::Measured;
use crate::measure::Plan;
use crate::process::THREADS;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// One measurement of one load through one door.
pub(crate) struct Cell {
    pub(crate) what: What,
    pub(crate) bytes: usize,
    pub(crate) clients: usize,
    pub(crate) door: Door,
    pub(crate) measured: Measured,
}

/// Bytes written to disk by all nodes together for each write.
pub(crate) struct Disk {
    pub(crate) system: System,
    pub(crate) bytes: usize,
    pub(crate) clients: usize,
    pub(crate) written: f64,
}

/// Each node's peak of resident memory, and what it has at the end beside mapped files; in bytes.
pub(crate) struct Memory {
    pub(crate) system: System,
    pub(crate) leader: usize,
    pub(crate) nodes: Vec<(u64, u64)>,
    /// How long filling took.
    pub(crate) seconds: f64,
}

/// Everything.
pub(crate) struct Report {
    conditions: Vec<(&'static str, String)>,
    held: u64,
    listed: u64,
    pub(crate) cells: Vec<Cell>,
    pub(crate) failovers: Vec<(System, Duration)>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) memories: Vec<Memory>,
    /// How often another node led at the end of a load than at its beginning.
    pub(crate) leader_changes: usize,
}

/// A load behind all doors.
type Row<'a> = BTreeMap<Door, Vec<&'a Measured>>;

/// All rounds of a cell together.
struct Summary {
    rate: f64,
    /// p50, p99 and p99.9 in milliseconds.
    latencies: [f64; 3],
    /// Processor time of all three nodes for each request, in microseconds: what is least disturbed by other programs.
    cost_us: f64,
    /// Processor time for each request, in microseconds: of the generator, of the leader and of its threads, of the other nodes and of theirs.
    each_us: [f64; 3],
    threads_us: [[f64; THREADS.len()]; 2],
    /// Percent of one core: generator, leader, other nodes, and all else on the machine.
    cpu: [f64; 4],
}

impl Summary {
    fn of(rounds: &[&Measured]) -> Option<Summary> {
        let (first, others) = rounds.split_first()?;
        let mut all = (*first).clone();
        for round in others {
            // The bounds are those of the first, so that this always fits.
            all.latencies.add(&round.latencies).ok()?;
            all.seconds += round.seconds;
            all.cpu.iter_mut().zip(round.cpu).for_each(|(sum, one)| *sum += one);
            let threads = all.threads.iter_mut().flatten().zip(round.threads.iter().flatten());
            threads.for_each(|(sum, one)| *sum += one);
        }
        let each_us = |seconds: f64| seconds * 1e6 / all.latencies.len().max(1) as f64;
        let latency = |quantile| all.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Some(Summary {
            rate: all.rate(),
            latencies: [latency(0.5), latency(0.99), latency(0.999)],
            cost_us: each_us(all.cpu[1] + all.cpu[2]),
            each_us: [all.cpu[0], all.cpu[1], all.cpu[2]].map(each_us),
            threads_us: all.threads.map(|threads| threads.map(each_us)),
            cpu: all.cpu.map(|seconds| seconds / all.seconds * 100.0),
        })
    }
}

fn title(what: What) -> &'static str {
    match what {
        What::Puts => "puts",
        What::Reads => "linearizable reads",
        What::Local => "local reads",
        What::Keys => "listings of all keys",
        What::Failover | What::Disk | What::Memory => "",
    }
}

impl Report {
    /// Of nothing as yet.
    pub(crate) fn new(plan: &Plan) -> Report {
        let conditions = vec![
            ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("machine", machine()),
            ("directory", filesystem(&plan.places.directory)),
            ("ours", said(&plan.places.node.to_string_lossy(), &["--version"])),
            ("etcd", said(&plan.places.etcd.to_string_lossy(), &["--version"])),
            (
                "load",
                format!(
                    "{} rounds of {} s a cell, {} keys, {} thread(s), up to {} connections of gRPC a thread; all at the leader, HTTP/1.1 with \
                     keep-alive; both systems sync each write on a majority, with the settings that they ship with",
                    plan.rounds,
                    plan.time.as_secs_f64(),
                    plan.keys,
                    plan.threads,
                    plan.channels
                ),
            ),
        ];
        Report {
            conditions,
            held: plan.held,
            listed: plan.listed,
            cells: Vec::new(),
            failovers: Vec::new(),
            disks: Vec::new(),
            memories: Vec::new(),
            leader_changes: 0,
        }
    }

    /// What was measured of each load: what it was, the size of values, and the number of clients.
    fn rows(&self) -> BTreeMap<(What, usize, usize), Row<'_>> {
        let mut rows = BTreeMap::<_, Row<'_>>::new();
        for cell in &self.cells {
            let row = rows.entry((cell.what, cell.bytes, cell.clients)).or_default();
            row.entry(cell.door).or_default().push(&cell.measured);
        }
        rows
    }

    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes what is written");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        for (name, condition) in &self.conditions {
            writeln!(text, "- {name}: {condition}")?;
        }
        if self.leader_changes > 0 {
            writeln!(text, "- the leader changed under load {} times", self.leader_changes)?;
        }
        self.write_loads(text)?;
        self.write_threads(text)?;
        let milliseconds = |system| {
            let all = self.failovers.iter().filter(|(of, _)| *of == system).map(|(_, time)| time.as_millis());
            let mut all: Vec<_> = all.collect();
            all.sort_unstable();
            all
        };
        if !self.failovers.is_empty() {
            writeln!(text, "\nFailover, from kill -9 of the leader to the first acknowledged write:\n")?;
            writeln!(text, "| | median, ms | all, ms |\n|---|---|---|")?;
            for (name, system) in [("ours", System::Ours), ("etcd", System::Etcd)] {
                let all = milliseconds(system);
                writeln!(text, "| {name} | {} | {all:?} |", all.get(all.len() / 2).copied().unwrap_or(0))?;
            }
        }
        if !self.disks.is_empty() {
            writeln!(text, "\nBytes written to disk for each put, by all three nodes together:\n")?;
            writeln!(text, "| value, B | clients | ours | etcd | etcd / ours |\n|---|---|---|---|---|")?;
            for ours in self.disks.iter().filter(|disk| disk.system == System::Ours) {
                let same = |disk: &&Disk| {
                    disk.system == System::Etcd && (disk.bytes, disk.clients) == (ours.bytes, ours.clients)
                };
                let theirs = self.disks.iter().find(same).map_or(0.0, |disk| disk.written);
                let ratio = theirs / ours.written;
                writeln!(
                    text,
                    "| {} | {} | {:.0} | {theirs:.0} | {ratio:.2} |",
                    ours.bytes, ours.clients, ours.written
                )?;
            }
        }
        if !self.memories.is_empty() {
            writeln!(text, "\nMemory of a node with {} keys and values of 32 B, MiB:\n", self.held)?;
            writeln!(text, "| | peak: leader | peak: others | beside mapped files: leader | others | filled in, s |")?;
            writeln!(text, "|---|---|---|---|---|---|")?;
            for memory in &self.memories {
                let mib = |pick: fn(&(u64, u64)) -> u64, leads: bool| {
                    let chosen = memory.nodes.iter().enumerate().filter(|(at, _)| (*at == memory.leader) == leads);
                    let texts: Vec<_> = chosen.map(|(_, node)| (pick(node) >> 20).to_string()).collect();
                    texts.join(", ")
                };
                writeln!(
                    text,
                    "| {:?} | {} | {} | {} | {} | {:.0} |",
                    memory.system,
                    mib(|node| node.0, true),
                    mib(|node| node.0, false),
                    mib(|node| node.1, true),
                    mib(|node| node.1, false),
                    memory.seconds
                )?;
            }
        }
        Ok(())
    }

    fn write_loads(&self, text: &mut String) -> std::fmt::Result {
        let mut last = None;
        for ((what, bytes, clients), row) in self.rows() {
            if last != Some((what, bytes)) {
                last = Some((what, bytes));
                let of = if what == What::Keys { format!(" ({})", self.listed) } else { String::new() };
                writeln!(text, "\n{}{of}, values of {bytes} B:\n", title(what))?;
                writeln!(
                    text,
                    "| clients | door | per second | ratio to etcd's better | p50, ms | p99 | p99.9 | p50 to etcd's better | CPU µs each, nodes | CPU %: \
                     generator, leader, others, all else |\n|---|---|---|---|---|---|---|---|---|---|"
                )?;
            }
            let summaries: BTreeMap<Door, Summary> =
                row.iter().filter_map(|(door, rounds)| Some((*door, Summary::of(rounds)?))).collect();
            let theirs = || summaries.iter().filter(|(door, _)| **door != Door::Ours).map(|(_, it)| it);
            let best_rate = theirs().map(|it| it.rate).fold(0.0, f64::max);
            let best_p50 = theirs().map(|it| it.latencies[0]).fold(f64::INFINITY, f64::min);
            for (door, it) in &summaries {
                let ours = *door == Door::Ours && best_rate > 0.0;
                let ratio = |value: f64| if ours { format!("**{value:.2}**") } else { String::new() };
                writeln!(
                    text,
                    "| {clients} | {} | {:.0} | {} | {:.2} | {:.2} | {:.2} | {} | {:.0} | {} |",
                    door.name(),
                    it.rate,
                    ratio(it.rate / best_rate),
                    it.latencies[0],
                    it.latencies[1],
                    it.latencies[2],
                    ratio(it.latencies[0] / best_p50),
                    it.cost_us,
                    it.cpu.map(|percent| format!("{percent:.0}")).join(", ")
                )?;
            }
        }
        Ok(())
    }

    /// Where the processor time of a request goes in our nodes.
    fn write_threads(&self, text: &mut String) -> std::fmt::Result {
        let rows = self.rows();
        let ours = rows.iter().filter_map(|(load, row)| Some((load, Summary::of(row.get(&Door::Ours)?)?)));
        let mut ours = ours.peekable();
        if ours.peek().is_none() {
            return Ok(());
        }
        let names = |who: &str| THREADS.map(|(_, does)| format!("{who}: {does}")).join(" | ");
        writeln!(text, "\nProcessor time for each request with our nodes, µs; the other nodes taken together:\n")?;
        writeln!(
            text,
            "| | value, B | clients | generator | leader | {} | others | {} |",
            names("leader"),
            names("others")
        )?;
        writeln!(text, "|---|---|---|---|---|{0}---|{0}", "---|".repeat(THREADS.len()))?;
        for ((what, bytes, clients), it) in ours {
            let of = |who: usize| it.threads_us[who].map(|us| format!("{us:.1}")).join(" | ");
            let [generator, leader, others] = it.each_us;
            writeln!(
                text,
                "| {} | {bytes} | {clients} | {generator:.1} | {leader:.1} | {} | {others:.1} | {} |",
                title(*what),
                of(0),
                of(1)
            )?;
        }
        Ok(())
    }

    /// For programs: each round by itself.
    pub(crate) fn json(&self) -> Value {
        let cell = |cell: &Cell| {
            let latency = |quantile| cell.measured.latencies.value_at_quantile(quantile);
            let does = || THREADS.iter().map(|(_, does)| *does);
            let threads = |who: usize| does().zip(cell.measured.threads[who]).collect::<BTreeMap<_, _>>();
            json!({
                "what": title(cell.what), "value_bytes": cell.bytes, "clients": cell.clients, "door": cell.door.name(),
                "per_second": cell.measured.rate(), "p50_us": latency(0.5), "p99_us": latency(0.99), "p999_us": latency(0.999),
                "seconds": cell.measured.seconds,
                "threads_cpu_seconds": { "leader": threads(0), "others": threads(1) },
                "cpu_seconds": { "generator": cell.measured.cpu[0], "leader": cell.measured.cpu[1], "others": cell.measured.cpu[2], "all_else": cell.measured.cpu[3] },
            })
        };
        let name = |system: System| if system == System::Ours { "ours" } else { "etcd" };
        let failover =
            |(system, time): &(System, Duration)| json!({ "system": name(*system), "ms": time.as_secs_f64() * 1000.0 });
        let disk = |disk: &Disk| {
            json!({
                "system": name(disk.system), "value_bytes": disk.bytes, "clients": disk.clients, "bytes_per_put": disk.written,
            })
        };
        let memory = |memory: &Memory| {
            let node = |(peak, anonymous): &(u64, u64)| json!({ "peak_bytes": peak, "anonymous_bytes": anonymous });
            let nodes: Vec<Value> = memory.nodes.iter().map(node).collect();
            json!({ "system": name(memory.system), "leader": memory.leader, "nodes": nodes, "fill_seconds": memory.seconds })
        };
        let conditions: serde_json::Map<String, Value> =
            self.conditions.iter().map(|(name, it)| ((*name).to_owned(), it.clone().into())).collect();
        json!({
            "conditions": conditions,
            "leader_changes": self.leader_changes,
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "failovers": self.failovers.iter().map(failover).collect::<Vec<_>>(),
            "disk": self.disks.iter().map(disk).collect::<Vec<_>>(),
            "memory": self.memories.iter().map(memory).collect::<Vec<_>>(),
        })
    }
}

/// The first line of what `program` says, or that it says nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = |path, name: &str| {
        let text: String = read(path);
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores of {}, {} of memory, Linux {}",
        info("/proc/cpuinfo", "model name"),
        info("/proc/meminfo", "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// The kind of file system that `directory` is on, and its device.
fn filesystem(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let parts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holds = parts.filter(|parts| parts.len() > 2 && directory.starts_with(parts[1]));
    let closest = holds.max_by_key(|parts| parts[1].len());
    let kind = closest.map_or_else(|| "unknown".to_owned(), |parts| format!("{} on {}", parts[2], parts[0]));
    format!("{}, {kind}; the data of both systems", directory.display())
}
