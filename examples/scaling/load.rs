//! Keeps requests under way at a node, without HTTP, and measures.

use crate::{Failure, cpu};
use futures_util::stream::{FuturesUnordered, StreamExt};
use paxos::node::{Answered, NodeHandle};
use paxos::{Outcome, Request};
use std::time::{Duration, Instant};

/// How long a request may take, in milliseconds.
pub(crate) const TIMEOUT_MS: u32 = 30_000;

/// What was measured.
pub(crate) struct Load {
    /// Answers a second.
    pub(crate) rate: f64,
    /// From the request to its answer, in seconds.
    pub(crate) median: f64,
    /// The same, of the slowest in a hundred.
    pub(crate) p99: f64,
    /// How many processors this process kept busy.
    pub(crate) processors: f64,
}

/// Keeps `asks` requests under way at `node`, each a new one of `next`, and measures for `time` after `warm`.
pub(crate) fn run(
    node: &NodeHandle,
    asks: usize,
    mut next: impl FnMut() -> Request,
    warm: Duration,
    time: Duration,
) -> Result<Load, Failure> {
    let mut ask = || {
        let begin = Instant::now();
        let answer = node.request(next(), TIMEOUT_MS);
        async move {
            match answer.map_err(|_| "overloaded")?.await? {
                Answered::Outcome(Outcome::Done(_) | Outcome::Answer { .. }) => Ok::<_, Failure>(begin.elapsed()),
                other => Err(format!("a request ended so: {other:?}").into()),
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut times, cpu) = runtime.block_on(async {
        let (begin, mut before) = (Instant::now(), None);
        let mut under_way: FuturesUnordered<_> = (0..asks).map(|_| ask()).collect();
        let mut times = Vec::new();
        let mut used = 0.0;
        while let Some(answered) = under_way.next().await {
            let (took, elapsed) = (answered?, begin.elapsed());
            if elapsed < warm + time {
                under_way.push(ask());
                if elapsed >= warm {
                    times.push(took.as_secs_f64());
                    if before.is_none() {
                        before = Some(cpu::of_process()?);
                    }
                }
            } else if let Some(before) = before.take() {
                used = cpu::of_process()? - before;
            }
        }
        Ok::<_, Failure>((times, used))
    })?;
    times.sort_by(f64::total_cmp);
    let at =
        |share: f64| times.get((times.len() as f64 * share) as usize).copied().ok_or("nothing was answered in time");
    let seconds = time.as_secs_f64();
    Ok(Load { rate: times.len() as f64 / seconds, median: at(0.5)?, p99: at(0.99)?, processors: cpu / seconds })
}
