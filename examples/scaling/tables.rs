//! What the model says of machines that are not here: one a node, each with a disk of its own.

use crate::predict::{Place, Setting, predict};
use crate::stages::{Costs, NODES, VALUES};

/// As many as a node takes connections, and as many requests as it lets wait.
const ASKS: [usize; 2] = [1024, 4096];
const PIPELINES: [u64; 3] = [1, 8, 32];
const CORES: [f64; 4] = [2.0, 4.0, 8.0, 16.0];

pub(crate) fn print(costs: &Costs) {
    let apart = |cores, nodes, round_trip_ms: f64, pipeline, asks, value| {
        let round_trip = round_trip_ms / 1e3;
        let setting = Setting { place: Place::Apart, cores, nodes, round_trip, pipeline, asks, value };
        let predicted = predict(costs, &setting);
        format!("{:.0} ({})", predicted.rate, predicted.bound)
    };
    println!(
        "\nA machine and a disk for each node, 0.1 ms between them, {} clients, by processors of each:\n",
        ASKS[0]
    );
    println!("| nodes | value, B | {} |", CORES.map(|cores| cores.to_string()).join(" | "));
    println!("|---|---|---|---|---|---|");
    for nodes in NODES {
        for value in VALUES {
            let cells = CORES.map(|cores| apart(cores, nodes, 0.1, 1, ASKS[0], value));
            println!("| {nodes} | {value} | {} |", cells.join(" | "));
        }
    }
    println!("\nThe same with 8 processors each, by round trip and pipeline:\n");
    println!(
        "| nodes | value, B | clients | round trip, ms | {} |",
        PIPELINES.map(|p| format!("pipeline {p}")).join(" | ")
    );
    println!("|---|---|---|---|---|---|---|");
    for nodes in NODES {
        for value in VALUES {
            for asks in ASKS {
                for round_trip_ms in [1.0, 10.0, 100.0] {
                    let cells = PIPELINES.map(|pipeline| apart(8.0, nodes, round_trip_ms, pipeline, asks, value));
                    println!("| {nodes} | {value} | {asks} | {round_trip_ms} | {} |", cells.join(" | "));
                }
            }
        }
    }
}
