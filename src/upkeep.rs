//! What nobody else asks for: sessions that are not used end, deleted keys are forgotten, and a log that fills the store gives way to a
//! snapshot.
//!
//! The node that leads asks for it in the log, through its own handle, as any client does. Which sessions have not been used for long
//! depends on a clock, so that is for a node to say and not for the replica.

use crate::node::{Answered, NodeHandle};
use crate::{Command, Machine, Outcome, Request};
use paxos_model::kv::Reply;
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Act, Done};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked whether there is something to do; more often if sessions end sooner.
const LOOK: Duration = Duration::from_secs(1);
/// Into so many steps the time is divided after which a session ends: it ends at most two steps later, or one and two looks.
const STEPS: u32 = 16;
/// The shortest step.
const STEP_MIN: Duration = Duration::from_millis(50);
/// Deleted keys that one command forgets at most, so that no node is silent for long.
const COLLECT_MAX: usize = 4096;
/// What changes nothing: no session was used before the first slot.
const NOTHING: Act<Command> = Act::ExpireUnused(0);
/// Slots after a snapshot with whose votes every node saves it.
const SAVED_AFTER: Slot = 2;
/// When slots are used up once more although nothing was done since: as long as a transfer may be silent, for which a log is kept.
const FILL_AGAIN: Duration = Duration::from_secs(20);
/// How long a request of this sort may take.
const TIMEOUT_MS: u32 = 5000;

/// What there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client's session may be unused; none if for ever.
    pub session_timeout: Option<Duration>,
    /// How many deleted keys are remembered.
    pub tombstones_max: usize,
    /// Slots from one snapshot to the next.
    pub snapshot_every: Slot,
}

/// What was applied at this node when.
#[derive(Debug, Default)]
struct Samples(VecDeque<(Instant, Slot)>);

impl Samples {
    /// Notes that everything below `applied` is applied now, if the latest note is a step old.
    fn note(&mut self, now: Instant, applied: Slot, step: Duration) {
        if self.0.back().is_none_or(|(at, _)| now.duration_since(*at) >= step) {
            self.0.push_back((now, applied));
        }
    }

    /// What was applied `time` ago, or a little earlier; none if this node was not there.
    fn ago(&mut self, now: Instant, time: Duration) -> Option<Slot> {
        let old = |sample: Option<&(Instant, Slot)>| sample.is_some_and(|(at, _)| now.duration_since(*at) >= time);
        while old(self.0.get(1)) {
            self.0.pop_front();
        }
        self.0.front().filter(|sample| old(Some(sample))).map(|(_, applied)| *applied)
    }
}

/// Works for as long as the node does.
pub async fn run(node: NodeHandle, limits: Limits) {
    let step = limits.session_timeout.map(|time| (time / STEPS).max(STEP_MIN));
    let pause = step.map_or(LOOK, |step| step.min(LOOK));
    let mut samples = Samples::default();
    let mut filled = None;
    loop {
        sleep(pause).await;
        let (applied, leads, tombstones, full) = {
            let status = node.status();
            let status = status.borrow();
            (status.applied, status.role == "leader", status.tombstones, status.full)
        };
        let now = Instant::now();
        // Those that do not lead take notes too: they may lead next.
        let unused = limits.session_timeout.zip(step).and_then(|(time, step)| {
            samples.note(now, applied, step);
            samples.ago(now, time)
        });
        if !leads {
            continue;
        }
        if let Some(since) = unused {
            expire_unused(&node, since).await;
        }
        if tombstones > limits.tombstones_max {
            collect(&node, limits.tombstones_max).await;
        }
        // If nothing was done since the last time there is little to be gained: a log that was kept for another node.
        if full && filled.is_none_or(|(at, slot)| slot != applied || now.duration_since(at) >= FILL_AGAIN) {
            filled = fill(&node, limits.snapshot_every).await.map(|slot| (now, slot));
        }
    }
}

/// Whether a client's session was last used before slot `since`.
fn has_unused(executor: &Executor<Machine>, since: Slot) -> bool {
    executor.sessions.values().any(|session| session.owner.is_none() && session.used < since)
}

async fn expire_unused(node: &NodeHandle, since: Slot) {
    if let Ok(executor) = node.applied().await
        && has_unused(&executor, since)
    {
        let before = executor.sessions.len();
        drop(executor);
        if submit(node, Act::ExpireUnused(since)).await.is_some() {
            tracing::info!(since, before, "sessions that were not used for long are ended");
        }
    }
}

/// Has deleted keys forgotten until `most` are left, or none of them can be.
async fn collect(node: &NodeHandle, most: usize) {
    while let Ok(executor) = node.applied().await {
        let mut machine = executor.machine;
        let there = machine.tombstones();
        let command = Command::Collect { keep: there.saturating_sub(COLLECT_MAX).max(most) as u64 };
        // Some versions are too high for the floor, and what would change nothing is not asked for.
        machine.apply(&command);
        let left = machine.tombstones();
        if left >= there || submit(node, Act::Apply(command)).await.is_none() {
            return;
        }
        tracing::debug!(there, left, "deleted keys are forgotten");
    }
}

/// Uses up the slots to the next snapshot, which takes the place of the log: with few and very large entries that fills the store long
/// before. Returns what is applied then; none if something went wrong.
async fn fill(node: &NodeHandle, every: Slot) -> Option<Slot> {
    let applied = || node.status().borrow().applied;
    let begin = applied();
    let end = begin.next_multiple_of(every) + SAVED_AFTER;
    while applied() < end {
        submit(node, NOTHING).await?;
    }
    tracing::info!(begin, end, "the store is nearly full: slots were used up to the next snapshot");
    Some(applied())
}

/// Asks this node for something. None if that was not done, or nobody knows: then there is a next time.
async fn submit(node: &NodeHandle, act: Act<Command>) -> Option<Done<Reply>> {
    let answer = node.request(Request::Write { session: None, act }, TIMEOUT_MS).ok()?;
    match answer.await {
        Ok(Answered::Outcome(Outcome::Done(done))) => Some(done),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_some_time_ago_is_never_told_too_high() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut samples = Samples::default();
        for ms in 0..100_000 {
            let now = begin + Duration::from_millis(ms);
            samples.note(now, ms, second);
            let ago = samples.ago(now, 16 * second);
            assert_eq!(ago, (ms >= 16_000).then(|| ms / 1000 * 1000 - 16_000), "at {ms}");
            assert!(samples.0.len() <= 18, "{}", samples.0.len());
        }
    }
}
