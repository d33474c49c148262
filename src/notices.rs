//! Tells what goes wrong over and over: logged at most once for each reason and interval. Whoever sends rubbish must not fill the disk
//! with what is said about it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing more is logged about the same reason.
const QUIET: Duration = Duration::from_secs(10);

/// When what was logged last, and how often it was not since.
#[derive(Debug, Default)]
struct Notices(BTreeMap<&'static str, (Instant, u64)>);

impl Notices {
    const fn new() -> Self {
        Notices(BTreeMap::new())
    }

    /// Whether to log `reason` now; if so, how often it was left out since the last time.
    fn note(&mut self, reason: &'static str, now: Instant) -> Option<u64> {
        match self.0.get_mut(reason) {
            Some((last, left_out)) if now < *last + QUIET => {
                *left_out += 1;
                None
            }
            _ => Some(self.0.insert(reason, (now, 0)).map_or(0, |(_, left_out)| left_out)),
        }
    }
}

/// Counts that something was dropped for `reason`, which there are few of.
pub(crate) fn count_dropped(reason: &'static str) {
    metrics::counter!("paxos_dropped_total", "reason" => reason).increment(1);
}

/// Counts that something was dropped for `reason`, and warns of it. `why` tells this one case.
pub(crate) fn dropped(reason: &'static str, why: impl Display) {
    count_dropped(reason);
    warn("dropped", reason, why);
}

/// Warns of `what`, once in an interval for each `reason`.
#[allow(clippy::disallowed_methods, reason = "only what is logged depends on it")]
pub(crate) fn warn(what: &'static str, reason: &'static str, why: impl Display) {
    static NOTICES: Mutex<Notices> = Mutex::new(Notices::new());
    let noted = NOTICES.lock().unwrap_or_else(PoisonError::into_inner).note(reason, Instant::now());
    if let Some(left_out) = noted {
        tracing::warn!(reason, %why, left_out, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
    fn each_reason_is_logged_once_in_an_interval() {
        let now = Instant::now();
        let mut notices = Notices::default();
        assert_eq!(notices.note("a", now), Some(0));
        assert_eq!(notices.note("b", now), Some(0));
        assert_eq!((notices.note("a", now), notices.note("a", now + QUIET / 2)), (None, None));
        assert_eq!(notices.note("a", now + QUIET), Some(2));
        assert_eq!(notices.note("a", now + QUIET), None);
    }
}
