//! The writes that all measurements do.

use paxos::Request;
use paxos::model::kv::{Command, Put};
use paxos::model::replica::message::Act;

/// How many keys there are.
pub(crate) const KEYS: u64 = 10_000;
/// How long a key is, in bytes.
pub(crate) const KEY_BYTES: usize = 9;

/// Write number `number`, of a value of so many bytes.
pub(crate) fn write(number: u64, value_bytes: usize) -> Request {
    // A step that has no common factor with the number of keys, so that neighbours are not written together.
    let key = format!("k{:08}", number.wrapping_mul(7919) % KEYS);
    let val = format!("{number:0value_bytes$}");
    let put = Put { key: key.into(), val: val.into(), ver: None };
    Request::Write { session: None, act: Act::Apply(Command::Write { puts: vec![put], atomic: false }) }
}
