//! Real nodes under fire, briefly; and the tests of those who judge it. `tests/fire/soak` runs for longer.

#![allow(dead_code, reason = "the example uses the rest")]

mod harness;
mod judgement;
mod naive;

use harness::Settings;

/// Twenty seconds of faults among three nodes.
#[test]
fn three_nodes_under_fire_keep_their_promises() {
    let settings = Settings {
        seed: 1,
        seconds: 20,
        nodes: 3,
        clients: 6,
        node: env!("CARGO_BIN_EXE_node").into(),
        logcat: env!("CARGO_BIN_EXE_logcat").into(),
        namespaces: false,
        only: String::new(),
        tell: false,
    };
    let report = harness::run(&settings).expect("it runs");
    println!("{report}");
    assert!(report.failures().is_empty(), "{report}\nagain: tests/fire/soak --seconds 20 --seed 1 --clients 6");
    assert!(report.operations() > 1000, "{report}");
}
