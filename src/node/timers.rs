//! The replica's timers on a clock.

use paxos_model::replica::Timer;
use rand::RngExt;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

#[allow(clippy::disallowed_methods, reason = "the loop is where the clock enters")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// What is set, and when it runs out.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    due: BTreeMap<(Instant, Timer), ()>,
}

impl Timers {
    /// Sets `timer`, anew if it is set, to run out at a random moment of `range` from `now` on.
    pub(super) fn set(&mut self, timer: Timer, range: Range<Duration>, now: Instant) {
        self.cancel(&timer);
        let delay = if range.is_empty() { range.start } else { rand::rng().random_range(range) };
        let at = now + delay;
        self.at.insert(timer.clone(), at);
        self.due.insert((at, timer), ());
    }

    /// Forgets `timer`.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.due.remove(&(at, timer.clone()));
        }
    }

    /// When the next one runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), ())| *at)
    }

    /// One that has run out by `now`; it is set no more.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, _) = self.due.first_key_value()?.0;
        if *at > now {
            return None;
        }
        let ((_, timer), ()) = self.due.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Timers::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
    fn timers_run_out_in_order_and_once() {
        let now = Instant::now();
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut timers = Timers::default();
        timers.set(Timer::Resend, minute..minute, now);
        timers.set(Timer::Flush, Duration::ZERO..Duration::ZERO, now);
        timers.set(Timer::Election, second..2 * second, now);
        assert_eq!(timers.pop(now), Some(Timer::Flush));
        assert_eq!(timers.pop(now), None);
        assert!(timers.next().is_some_and(|at| at >= now + second && at < now + 2 * second));
        timers.set(Timer::Resend, second / 2..second / 2, now);
        timers.set(Timer::Deadline(1), second..second, now);
        timers.cancel(&Timer::Deadline(1));
        assert_eq!(timers.pop(now + minute), Some(Timer::Resend));
        assert_eq!(timers.pop(now + minute), Some(Timer::Election));
        assert_eq!(timers.pop(now + minute), None);
        assert_eq!(timers.next(), None);
    }
}
