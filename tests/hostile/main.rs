//! Nodes among those who mean them harm: whatever reaches their three ports, they count it, say it once in an interval, stay below a bound in
//! memory, panic never, and serve the others meanwhile. Real nodes as child processes, over real sockets, judged by what an operator sees.
//!
//! What is random is drawn from [`seed`], which a failure names; `HOSTILE_SEED` sets another one.

#![allow(clippy::disallowed_types, reason = "what runs for real has sockets")]
#![allow(clippy::disallowed_methods, reason = "what runs for real has a clock")]

mod attacked;
mod flood;
mod impostors;
mod member;
mod mutation;
mod rubbish;
mod slow;
#[path = "../support/mod.rs"]
mod support;

/// Of everything random in a run. What a test prints is shown if it fails.
fn seed() -> u64 {
    let seed = std::env::var("HOSTILE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("HOSTILE_SEED={seed}");
    seed
}
