//! The node: what runs the checked replica of `paxos-model`. It holds no rule of the protocol.

pub mod backup;
pub mod config;
pub mod http;
pub mod metrics;
pub mod node;
mod notices;
mod object;
pub mod protocol;
pub mod server;
pub mod storage;
pub mod trace;
pub mod transport;
pub mod upkeep;

pub use paxos_model as model;

use paxos_model::kv::Kv;
use paxos_model::replica::message::{MessageOf, OutcomeOf};
use std::sync::Arc;

/// The longest key, in bytes.
pub const KEY_MAX: usize = 511;
/// Entries that are restored at a time. Each may be answered with what is there instead, a value of the longest, and the answer is kept
/// in the session and sent with it.
pub const RESTORE_MAX: usize = 32;
/// The longest value, in bytes.
pub const VALUE_MAX: usize = 1 << 20;
/// The longest time that a request may be given, in milliseconds.
pub const TIMEOUT_MS_MAX: u32 = 600_000;

/// The state machine that is deployed.
pub type Machine = Kv;
/// What the log carries.
pub type Command = paxos_model::kv::Command;
/// What a replica saves.
pub type Stored = Arc<paxos_model::replica::durable::Durable<Machine>>;
/// What replicas say to each other, and clients to them.
pub type Msg = MessageOf<Machine>;
/// What a client asks.
pub type Request = paxos_model::replica::message::Request<Command, paxos_model::kv::Query>;
/// How a client's request ended.
pub type Outcome = OutcomeOf<Machine>;
