//! What waits for one peer: how many bytes, and which messages. One that waits already is not taken again: the protocol sends again what
//! is not answered, and a peer that is slow would have to read each of these before anything new.

use super::codec::MESSAGE_MAX;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that wait for one peer: the largest message, and some that are not, wait together.
pub(super) const WAITING_BYTES: usize = MESSAGE_MAX + (8 << 20);

/// The account of what waits for one peer, and the gauge that shows its bytes.
#[derive(Clone)]
pub(super) struct Waiting {
    account: Arc<Mutex<Account>>,
    gauge: metrics::Gauge,
}

#[derive(Default)]
struct Account {
    bytes: usize,
    /// Two that differ do so in their first bytes mostly, in the ballot or the slot, and are told apart there; the same one is compared to its end,
    /// when it is sent again and when it has left.
    messages: BTreeSet<Arc<[u8]>>,
}

/// What came of a message that was to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits now.
    Now,
    /// The same waits already.
    Before,
    /// It does not wait already, and with it more bytes would wait than [`WAITING_BYTES`].
    TooMuch,
}

impl Waiting {
    pub(super) fn new(gauge: metrics::Gauge) -> Self {
        Waiting { account: Arc::default(), gauge }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `message` into the account, if it may wait. An empty one always may.
    pub(super) fn add(&self, message: &Arc<[u8]>) -> Added {
        if message.is_empty() {
            return Added::Now;
        }
        let mut account = self.account();
        if account.messages.contains(message) {
            return Added::Before;
        }
        if account.bytes + message.len() > WAITING_BYTES {
            return Added::TooMuch;
        }
        account.messages.insert(message.clone());
        account.bytes += message.len();
        self.gauge.increment(message.len() as f64);
        Added::Now
    }

    /// Takes `message`, which was added, off the account.
    pub(super) fn take(&self, message: &[u8]) {
        if !message.is_empty() {
            let mut account = self.account();
            account.messages.remove(message);
            account.bytes -= message.len();
            self.gauge.decrement(message.len() as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_already_is_not_taken_again_and_bytes_are_bounded() {
        let waiting = Waiting::new(metrics::Gauge::noop());
        let add = |message: &[u8]| waiting.add(&message.into());
        let large = vec![1; WAITING_BYTES - 3];
        assert_eq!(add(&large), Added::Now);
        assert_eq!(add(b"abc"), Added::Now);
        assert_eq!((add(b"d"), add(b"abc"), add(b"")), (Added::TooMuch, Added::Before, Added::Now));
        waiting.take(&large);
        assert_eq!((add(b"abc"), add(b"abd")), (Added::Before, Added::Now));
        waiting.take(b"abc");
        assert_eq!((add(b"abc"), add(b"abd")), (Added::Now, Added::Before));
        waiting.take(b"abc");
        waiting.take(b"abd");
        let left = waiting.account.lock().unwrap();
        assert_eq!((left.bytes, left.messages.len()), (0, 0));
    }
}
