//! Short lives of clusters of the real node loop with simulated time, network and disks, of which `tests/simulation/run` lives more; and
//! counterexamples of the check, which `tests/simulation/roundtrip` has that loop repeat.

#![allow(dead_code, reason = "the example uses the rest")]

mod harness;
mod peers;
mod replay;
mod roundtrip;

use harness::live;

/// So many lives are lived here, from the first seed on.
const LIVES: u64 = 200;

/// Seeds of lives that failed once.
const FAILED_ONCE: [u64; 0] = [];

#[test]
fn short_lives_with_faults_keep_every_promise() {
    let mut operations = 0;
    for seed in (1..=LIVES).chain(FAILED_ONCE) {
        let lived = live(seed);
        operations += lived.operations;
        if let Some(failure) = lived.failure() {
            panic!("{failure}");
        }
    }
    assert!(operations > 50 * LIVES, "{operations} operations");
}

#[test]
fn a_life_is_a_function_of_its_seed() {
    for seed in 1..=20 {
        let (once, again) = (live(seed), live(seed));
        assert_eq!((once.digest, once.events, once.time), (again.digest, again.events, again.time), "seed {seed}");
    }
    assert_ne!(live(1).digest, live(2).digest);
}
