//! The replica's timers on a clock.

use paxos_model::replica::Timer;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

#[allow(clippy::disallowed_methods, reason = "the loop is where the clock enters")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// What is set, and when it runs out.
#[derive(Debug)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    due: BTreeMap<(Instant, Timer), ()>,
    random: StdRng,
}

impl Timers {
    /// None set; delays are drawn from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Timers { at: BTreeMap::new(), due: BTreeMap::new(), random: StdRng::seed_from_u64(seed) }
    }

    /// Sets `timer`, anew if it is set, to run out at a random moment of `range` from `now` on.
    pub(super) fn set(&mut self, timer: Timer, range: Range<Duration>, now: Instant) {
        self.cancel(&timer);
        let delay = if range.is_empty() { range.start } else { self.random.random_range(range) };
        let at = now + delay;
        self.at.insert(timer.clone(), at);
        self.due.insert((at, timer), ());
    }

    /// Forgets `timer`. False if it is not set.
    pub(super) fn cancel(&mut self, timer: &Timer) -> bool {
        self.at.remove(timer).is_some_and(|at| self.due.remove(&(at, timer.clone())).is_some())
    }

    /// When the next one runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), ())| *at)
    }

    /// Those that have run out by `now`, in their order; they are still set.
    pub(super) fn due(&self, now: Instant) -> Vec<(Instant, Timer)> {
        self.due.keys().take_while(|(at, _)| *at <= now).cloned().collect()
    }

    /// Whether `timer` is set, and to run out at `at`.
    pub(super) fn is_set(&self, timer: &Timer, at: Instant) -> bool {
        self.at.get(timer) == Some(&at)
    }

    /// Those that are set, whenever they run out.
    pub(super) fn set_now(&self) -> impl Iterator<Item = &Timer> {
        self.at.keys()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.at.clear();
        self.due.clear();
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
        let mut timers = Timers::new(1);
        timers.set(Timer::Resend, minute..minute, now);
        timers.set(Timer::Flush, Duration::ZERO..Duration::ZERO, now);
        timers.set(Timer::Election, second..2 * second, now);
        assert_eq!(timers.due(now), [(now, Timer::Flush)]);
        assert!(timers.is_set(&Timer::Flush, now) && timers.cancel(&Timer::Flush));
        assert!(!timers.is_set(&Timer::Flush, now) && !timers.cancel(&Timer::Flush));
        assert_eq!(timers.due(now), []);
        let election = timers.next().expect("there are others");
        assert!(election >= now + second && election < now + 2 * second);
        timers.set(Timer::Resend, second / 2..second / 2, now);
        timers.set(Timer::Deadline(1), second..second, now);
        assert!(timers.cancel(&Timer::Deadline(1)));
        assert_eq!(timers.due(now + minute), [(now + second / 2, Timer::Resend), (election, Timer::Election)]);
        timers.clear();
        assert_eq!(timers.due(now + minute), []);
        assert_eq!(timers.next(), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
    fn the_delays_of_a_seed_are_the_same_each_time() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let delays = |seed| {
            let mut timers = Timers::new(seed);
            let mut draw = || {
                timers.set(Timer::Election, second..2 * second, now);
                timers.next()
            };
            [draw(), draw()]
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
        assert_ne!(delays(1)[0], delays(1)[1]);
    }
}
