//! What the loop knows about the room in its store.
//!
//! The store is *nearly full* from a tenth before its limit on: then clients' values are refused, and deletes are taken. It is
//! *full* when a commit failed for want of room: then the replica begins anew from what is stored, and what needs as much room or
//! more is dropped, as if it were lost on the way, until a look at the store finds room. Deletes need less than values.

use crate::Stored;
use crate::storage::{Needs, Usage};
use std::time::{Duration, Instant};

/// The first and the longest pause before the store is looked at again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Room {
    usage: Usage,
    full: Option<Full>,
    /// How long it is full before the next look: longer each time that there seemed to be room and was none.
    pause: Duration,
    /// When there was room again, if there was none.
    since: Option<Instant>,
}

struct Full {
    until: Instant,
    /// What was in the store then.
    stored: Stored,
    /// What there was no room for. For what needs less a store keeps a little.
    lacks: Needs,
}

impl Room {
    pub(super) fn new(usage: Usage) -> Self {
        Room { usage, full: None, pause: PAUSE.0, since: None }
    }

    /// Whether inputs may have to be dropped for what they would save.
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Whether clients' values are refused.
    pub(super) fn refuses_values(&self) -> bool {
        self.is_full() || self.usage.is_nearly_full()
    }

    /// Whether `value` would not fit.
    pub(super) fn lacks_room_for(&self, value: &Stored) -> bool {
        self.full.as_ref().is_some_and(|full| Needs::of(&full.stored, value) >= full.lacks)
    }

    /// The store, with `stored` in it, had no room for `failed`.
    pub(super) fn found_full(&mut self, stored: Option<&Stored>, failed: &Stored, now: Instant) {
        let stored = stored.cloned().unwrap_or_default();
        let needs = Needs::of(&stored, failed);
        let lacks = self.full.as_ref().map_or(needs, |full| needs.min(full.lacks));
        if self.since.take().is_some_and(|since| now.duration_since(since) > PAUSE.1) {
            self.pause = PAUSE.0;
        }
        self.full = Some(Full { until: now + self.pause, stored, lacks });
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// A batch was committed: `stored` is in the store.
    pub(super) fn committed(&mut self, stored: Stored, usage: Usage) {
        if let Some(full) = &mut self.full {
            full.stored = stored;
        }
        self.note(usage);
    }

    fn note(&mut self, usage: Usage) {
        if usage.is_nearly_full() && !self.usage.is_nearly_full() {
            tracing::warn!(used = usage.used, limit = usage.limit, "the store is nearly full: values are refused");
        }
        self.usage = usage;
    }

    /// When to look at the store again, if it is full.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.full.as_ref().map(|full| full.until)
    }

    /// What a look found.
    pub(super) fn looked(&mut self, room: bool, usage: Usage, now: Instant) {
        self.note(usage);
        if room {
            tracing::info!("the store has room again");
            self.full = None;
            self.since = Some(now);
        } else if let Some(full) = &mut self.full {
            full.until = now + self.pause;
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
mod tests {
    use super::*;
    use crate::Machine;
    use paxos_model::replica::durable::Durable;
    use paxos_model::replica::message::Entry;
    use std::sync::Arc;

    #[test]
    fn a_full_store_takes_what_needs_less_room() {
        let now = Instant::now();
        let mut room = Room::new(Usage { used: 10, limit: 100 });
        let stored: Stored = Arc::default();
        let changed = |change: fn(&mut Durable<Machine>)| {
            let mut value = Durable::clone(&stored);
            change(&mut value);
            Arc::new(value)
        };
        let marks = changed(|value| value.incarnation += 1);
        let entry = changed(|value| drop(value.log.insert(1, Entry::Noop)));
        let snapshot = changed(|value| value.snapshot.applied = 1);
        assert!(!room.refuses_values() && !room.lacks_room_for(&snapshot));
        room.found_full(Some(&stored), &snapshot, now);
        assert!(room.lacks_room_for(&snapshot) && room.refuses_values());
        assert!(!room.lacks_room_for(&entry) && !room.lacks_room_for(&marks));
        room.found_full(Some(&stored), &entry, now);
        assert!(room.lacks_room_for(&snapshot) && room.lacks_room_for(&entry) && !room.lacks_room_for(&marks));
        room.found_full(Some(&stored), &marks, now);
        assert!(room.lacks_room_for(&marks), "not even for that");
        let first = room.next_look().unwrap();
        room.looked(false, Usage { used: 95, limit: 100 }, first);
        assert!(room.next_look().unwrap() - first > first - now, "it looks less and less often");
        room.looked(true, Usage { used: 95, limit: 100 }, first);
        assert!(!room.is_full() && room.refuses_values(), "nearly full");
        let later = first + 2 * PAUSE.1;
        room.found_full(Some(&stored), &marks, later);
        assert_eq!(room.next_look().unwrap() - later, PAUSE.0, "and soon again, after a time with room");
        room.looked(true, Usage { used: 95, limit: 100 }, later);
        room.committed(stored, Usage { used: 89, limit: 100 });
        assert!(!room.refuses_values());
    }
}
