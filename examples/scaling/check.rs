//! The predictions beside what was measured.

use crate::Failure;
use crate::cluster::Cluster;
use crate::predict::{Place, Setting, predict};
use crate::stages::Costs;
use std::path::Path;
use std::time::Duration;

/// By which factor a prediction may be off.
pub(crate) const FACTOR: f64 = 2.0;

/// A cluster to start, and the loads that it is put under: how many asks, and values of how many bytes.
struct Run {
    nodes: usize,
    round_trip_ms: f64,
    pipeline: u64,
    loads: &'static [(usize, usize)],
}

fn runs(quick: bool) -> Vec<Run> {
    let mut runs = Vec::new();
    let (trips, pipelines): (&[f64], &[u64]) =
        if quick { (&[0.0, 10.0], &[1, 32]) } else { (&[0.0, 1.0, 10.0, 100.0], &[1, 8, 32]) };
    for round_trip_ms in trips.iter().copied() {
        for pipeline in pipelines.iter().copied() {
            let with_long = !quick && round_trip_ms < 100.0 && pipeline != 8;
            let loads: &[_] = match with_long {
                true => &[(1, 32), (64, 32), (1024, 32), (1, 4096), (256, 4096)],
                false => &[(1, 32), (64, 32), (1024, 32)],
            };
            runs.push(Run { nodes: 3, round_trip_ms, pipeline, loads });
        }
    }
    let larger: &[usize] = if quick { &[7] } else { &[5, 7] };
    for nodes in larger.iter().copied() {
        for (round_trip_ms, pipeline) in [(0.0, 1), (10.0, 1), (10.0, 32)] {
            runs.push(Run { nodes, round_trip_ms, pipeline, loads: &[(64, 32), (1024, 32)] });
        }
    }
    runs
}

/// Runs them all and prints the table. Returns how many predictions were off by more than [`FACTOR`].
pub(crate) fn run(costs: &Costs, directory: &Path, cores: f64, quick: bool) -> Result<usize, Failure> {
    println!(
        "\n| nodes | round trip, ms | pipeline | value, B | asks | predicted/s | measured/s | measured / predicted | bound by | p50, ms | p99 | processors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut off = 0;
    for Run { nodes, round_trip_ms, pipeline, loads } in runs(quick) {
        let round_trip = round_trip_ms / 1e3;
        let of = |asks, value| Setting { place: Place::Together, cores, nodes, round_trip, pipeline, asks, value };
        let mut cluster = Cluster::start(&of(1, 32), directory)?;
        for (asks, value) in loads.iter().copied() {
            let predicted = predict(costs, &of(asks, value));
            let trips = |count| Duration::from_secs_f64(count * round_trip);
            let (warm, time) = if quick { (100, 400) } else { (200, 800) };
            let (warm, time) =
                (Duration::from_millis(warm).max(trips(5.0)), Duration::from_millis(time).max(trips(20.0)));
            let load = cluster.load(asks, value, warm, time)?;
            let ratio = load.rate / predicted.rate;
            let is_off = !(1.0 / FACTOR..=FACTOR).contains(&ratio);
            off += usize::from(is_off);
            let mark = if is_off { "**" } else { "" };
            println!(
                "| {nodes} | {round_trip_ms} | {pipeline} | {value} | {asks} | {:.0} | {:.0} | {mark}{ratio:.2}{mark} | {} | {:.2} | {:.2} | {:.1} |",
                predicted.rate,
                load.rate,
                predicted.bound,
                load.median * 1e3,
                load.p99 * 1e3,
                load.processors
            );
        }
        let dropped = cluster.stop()?;
        if dropped > 0 {
            return Err(format!("{dropped} messages were dropped on their way").into());
        }
    }
    Ok(off)
}
