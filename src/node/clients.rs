//! Who waits for an answer at this node. Every request is answered once: by the replica, or when its time is up, or with "unknown"
//! when the node starts anew or ends. That a disk hangs keeps back what the replica says, and so must not keep the client.

use super::sizes;
use crate::{Outcome, Request};
use paxos_model::replica::message::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How much longer than its time a request may wait for what the replica decides about it.
const GRACE: Duration = Duration::from_millis(100);
/// Bytes of requests that wait to be taken in.
const QUEUED_BYTES: usize = 64 << 20;
/// Bytes of requests that are taken in and not answered. One entry of the log holds requests of all nodes, and must fit into a
/// message: a cluster of seven stays below [`crate::transport::codec::MESSAGE_MAX`].
const ADMITTED_BYTES: usize = 8 << 20;

/// How a request ended, as far as this node can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// As the replica decided.
    Outcome(Outcome),
    /// The store has no room for values (deletes are still taken): certainly not done.
    Full,
    /// The node recovered or stopped with the request under way, or its disk hangs: as if the connection had broken.
    Interrupted,
}

/// The loop has more to do than it can, or has ended; nothing of the request was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

#[derive(Debug)]
struct Waiting {
    client: oneshot::Sender<Answered>,
    deadline: Instant,
    bytes: usize,
    /// Whether the replica has the request. What it never had is certainly not done.
    admitted: bool,
}

/// The requests that are under way.
#[derive(Debug, Default)]
pub struct Clients(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    latest: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// When to answer in the replica's place.
    due: BTreeSet<(Instant, u64)>,
    queued_bytes: usize,
    admitted_bytes: usize,
    closed: bool,
}

impl Waiting {
    fn due(&self) -> Instant {
        if self.admitted { self.deadline + GRACE } else { self.deadline }
    }
}

impl All {
    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        self.due.remove(&(waiting.due(), number));
        let account = if waiting.admitted { &mut self.admitted_bytes } else { &mut self.queued_bytes };
        *account -= waiting.bytes;
        Some(waiting)
    }

    fn interrupt(&mut self, which: impl Fn(&Waiting) -> bool) {
        let numbers: Vec<u64> = self.waiting.iter().filter(|(_, waiting)| which(waiting)).map(|(n, _)| *n).collect();
        for number in numbers {
            if let Some(waiting) = self.remove(number) {
                let _ = waiting.client.send(Answered::Interrupted);
            }
        }
    }
}

impl Clients {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down a request that is to be answered within `timeout_ms` from `now` on. Returns its number, from 1, and where its answer
    /// comes.
    pub fn begin(
        &self,
        request: &Request,
        timeout_ms: u32,
        now: Instant,
    ) -> Result<(u64, oneshot::Receiver<Answered>), Overloaded> {
        self.insert(now + Duration::from_millis(timeout_ms.into()), sizes::of_request(request))
    }

    /// Takes down a request of `bytes` that is to be answered by `deadline`. Returns its number, from 1, and where its answer comes.
    fn insert(&self, deadline: Instant, bytes: usize) -> Result<(u64, oneshot::Receiver<Answered>), Overloaded> {
        let mut all = self.all();
        if all.closed || (all.queued_bytes > 0 && all.queued_bytes + bytes > QUEUED_BYTES) {
            return Err(Overloaded);
        }
        let (client, answer) = oneshot::channel();
        all.latest += 1;
        let number = all.latest;
        all.queued_bytes += bytes;
        all.due.insert((deadline, number));
        all.waiting.insert(number, Waiting { client, deadline, bytes, admitted: false });
        Ok((number, answer))
    }

    /// Forgets a request that was not queued after all.
    pub(super) fn forget(&self, number: u64) {
        self.all().remove(number);
    }

    /// How many requests are not answered.
    pub fn waiting(&self) -> usize {
        self.all().waiting.len()
    }

    /// Whether another request may be taken in.
    pub(super) fn admits(&self) -> bool {
        self.all().admitted_bytes < ADMITTED_BYTES
    }

    /// Request `number` is taken in. Returns what is left of its time; none if it is answered already.
    pub(super) fn admit(&self, number: u64, now: Instant) -> Option<Duration> {
        let mut all = self.all();
        let waiting = all.waiting.get_mut(&number)?;
        if waiting.deadline <= now {
            let waiting = all.remove(number)?;
            drop(all);
            let _ = waiting.client.send(Answered::Outcome(Outcome::Refused(Refusal::Deadline)));
            return None;
        }
        let (deadline, bytes, before) = (waiting.deadline, waiting.bytes, waiting.due());
        waiting.admitted = true;
        let due = waiting.due();
        all.queued_bytes -= bytes;
        all.admitted_bytes += bytes;
        all.due.remove(&(before, number));
        all.due.insert((due, number));
        Some(deadline - now)
    }

    /// Answers request `number`, if nobody did. The client may have gone.
    pub(super) fn answer(&self, number: u64, answer: Answered) {
        let waiting = self.all().remove(number);
        if let Some(waiting) = waiting {
            let _ = waiting.client.send(answer);
        }
    }

    /// Answers these requests, but those that somebody answered. Nobody is woken while others wait for the lock.
    pub(super) fn answer_all(&self, answers: Vec<(u64, Answered)>) {
        if answers.is_empty() {
            return;
        }
        let mut all = self.all();
        let waiting = |(number, answer)| all.remove(number).map(|waiting| (waiting.client, answer));
        let woken: Vec<_> = answers.into_iter().filter_map(waiting).collect();
        drop(all);
        for (client, answer) in woken {
            let _ = client.send(answer);
        }
    }

    /// When the next request must be answered in the replica's place.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.all().due.first().map(|(at, _)| *at)
    }

    /// Answers those whose time is up. What the replica may have done is unknown: what it says of it is not durable.
    pub(super) fn end_overdue(&self, now: Instant) {
        let mut all = self.all();
        while let Some((at, number)) = all.due.first().copied()
            && at <= now
        {
            if let Some(waiting) = all.remove(number) {
                let refused = Answered::Outcome(Outcome::Refused(Refusal::Deadline));
                let _ = waiting.client.send(if waiting.admitted { Answered::Interrupted } else { refused });
            }
        }
    }

    /// Answers everybody whose request the replica had that the outcome is not known.
    pub(super) fn interrupt_admitted(&self) {
        self.all().interrupt(|waiting| waiting.admitted);
    }

    /// Answers everybody, and takes no more.
    pub fn close(&self) {
        let mut all = self.all();
        all.closed = true;
        all.interrupt(|_| true);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn everybody_is_answered_once_and_the_accounts_return_to_zero() {
        let clients = Clients::default();
        let now = Instant::now();
        let (first, mut first_answer) = clients.insert(now + SECOND, 10).unwrap();
        let (second, mut second_answer) = clients.insert(now + 2 * SECOND, 10).unwrap();
        let (third, mut third_answer) = clients.insert(now + 3 * SECOND, 10).unwrap();
        assert_eq!(clients.admit(second, now), Some(2 * SECOND));
        assert_eq!(clients.next_due(), Some(now + SECOND));
        clients.end_overdue(now + SECOND);
        assert_eq!(first_answer.try_recv(), Ok(Answered::Outcome(Outcome::Refused(Refusal::Deadline))));
        assert_eq!(clients.admit(first, now), None, "it was answered that it is not done");
        clients.end_overdue(now + 2 * SECOND);
        assert!(second_answer.try_recv().is_err(), "the replica is given a little longer");
        clients.end_overdue(now + 2 * SECOND + GRACE);
        assert_eq!(second_answer.try_recv(), Ok(Answered::Interrupted));
        clients.answer(second, Answered::Full);
        clients.interrupt_admitted();
        assert!(third_answer.try_recv().is_err(), "it was not taken in");
        clients.close();
        assert_eq!(third_answer.try_recv(), Ok(Answered::Interrupted));
        assert_eq!(clients.admit(third, now), None);
        assert_eq!((clients.insert(now, 1).err(), clients.waiting()), (Some(Overloaded), 0));
        let all = clients.all();
        assert_eq!((all.queued_bytes, all.admitted_bytes, all.due.len(), all.waiting.len()), (0, 0, 0, 0));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let clients = Clients::default();
        let at = Instant::now() + SECOND;
        let (large, _answer) = clients.insert(at, 2 * QUEUED_BYTES).expect("one may be as large as it is");
        assert_eq!(clients.insert(at, 1).err(), Some(Overloaded));
        assert!(clients.admits());
        clients.admit(large, Instant::now()).expect("there is time");
        assert!(!clients.admits());
        clients.insert(at, 1).expect("there is room in the queue");
        clients.answer(large, Answered::Full);
        assert!(clients.admits());
    }
}
