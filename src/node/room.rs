//! What the loop knows about the room in its store.
//!
//! The store is *nearly full* from a tenth before its limit on: then clients' values are refused, and deletes are taken. It is
//! *full* when a commit failed for want of room: then the replica begins anew from what is stored, and what would have to be
//! saved is dropped, as if it were lost on the way, until a look at the store finds room.

use crate::Stored;
use crate::storage::{Usage, needs_room};
use std::time::{Duration, Instant};

/// The first and the longest pause before the store is looked at again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Room {
    usage: Usage,
    full: Option<Full>,
    /// How long it is full before the next look: longer each time that there seemed to be room and was none.
    pause: Duration,
}

struct Full {
    until: Instant,
    /// What is in the store. What needs no more room can be saved even now, since a store keeps a little for that.
    stored: Stored,
    /// Whether even that failed.
    wholly: bool,
}

impl Room {
    pub(super) fn new(usage: Usage) -> Self {
        Room { usage, full: None, pause: PAUSE.0 }
    }

    /// Whether inputs that would save are dropped.
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Whether clients' values are refused.
    pub(super) fn refuses_values(&self) -> bool {
        self.is_full() || self.usage.is_nearly_full()
    }

    /// Whether `value` would not fit.
    pub(super) fn lacks_room_for(&self, value: &Stored) -> bool {
        self.full.as_ref().is_some_and(|full| full.wholly || needs_room(&full.stored, value))
    }

    /// The store was found full with `stored` in it; or, if it was full before, without room for anything at all.
    pub(super) fn found_full(&mut self, stored: Option<&Stored>, now: Instant) {
        self.full =
            Some(Full { until: now + self.pause, stored: stored.cloned().unwrap_or_default(), wholly: self.is_full() });
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// A batch was committed.
    pub(super) fn committed(&mut self, usage: Usage) {
        if !self.is_full() {
            self.pause = PAUSE.0;
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
    use paxos_model::replica::executor::Executor;
    use paxos_model::replica::message::Entry;
    use paxos_model::replica::snapshot::Arriving;
    use std::sync::Arc;

    #[test]
    fn a_full_store_takes_what_leaves_log_and_snapshots_alone() {
        let now = Instant::now();
        let mut room = Room::new(Usage { used: 10, limit: 100 });
        let mut stored = Durable::default();
        stored.log.insert(0, Entry::Noop);
        let stored = Arc::new(stored);
        assert!(!room.refuses_values() && !room.lacks_room_for(&stored));
        room.found_full(Some(&stored), now);
        let mut marks = Durable::clone(&stored);
        marks.incarnation += 1;
        assert!(!room.lacks_room_for(&Arc::new(marks.clone())));
        let changes: [fn(&mut Durable<Machine>); 3] = [
            |value| value.log.insert(1, Entry::Noop).map_or((), drop),
            |value| value.snapshot.applied = 1,
            |value| value.arriving = Some(Arriving { executor: Executor::default(), after: None }),
        ];
        for change in changes {
            let mut value = marks.clone();
            change(&mut value);
            assert!(room.lacks_room_for(&Arc::new(value)) && room.refuses_values());
        }
        room.found_full(Some(&stored), now);
        assert!(room.lacks_room_for(&stored), "not even for that");
        let first = room.next_look().unwrap();
        room.looked(false, Usage { used: 95, limit: 100 }, first);
        assert!(room.next_look().unwrap() - first > first - now, "it looks less and less often");
        room.looked(true, Usage { used: 95, limit: 100 }, first);
        assert!(!room.is_full() && room.refuses_values(), "nearly full");
        room.committed(Usage { used: 89, limit: 100 });
        assert!(!room.refuses_values());
    }
}
